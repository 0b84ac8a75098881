// What the pictures with axes share: round steps, scales, grid lines.

import { svg } from "./dom.js";

/** A scale from [from, to] to pixels. */
export const scale = (from, to, first, last) => (value) => first + ((value - from) / (to - from || 1)) * (last - first);

/** Round values from `from` or a little before it up to at least `top`, about `parts` of them: steps of 1, 2 or 5 times a power of ten. */
export function round(top, parts, from = 0) {
    const rough = Math.max(top - from, 1e-9) / parts;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((n) => n * power >= rough * 0.9999) * power;
    const values = [];
    for (let n = Math.floor(from / step + 1e-9); n <= Math.ceil(top / step - 1e-9); n += 1) values.push(n * step);
    return values;
}

/** Horizontal grid lines with their labels at the left. */
export const rows = (values, y, left, right, text) =>
    values.flatMap((value) => [
        svg("path", { class: value === 0 ? "base" : "grid", d: `M${left} ${y(value).toFixed(1)}H${right}` }),
        svg("text", { class: "tick", x: left - 8, y: (y(value) + 4).toFixed(1), "text-anchor": "end" }, text(value)),
    ]);

/** Labels below. */
export const feet = (values, x, bottom, text) =>
    values.map((value) =>
        svg("text", { class: "tick", x: x(value).toFixed(1), y: bottom + 18, "text-anchor": "middle" }, text(value)),
    );
