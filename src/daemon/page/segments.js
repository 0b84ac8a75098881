// The segments of a database as a picture: how much of each is still in use, against its age, with the threshold as a line.
// What lies below the line is worth cleaning.

import { drawn, el, lazy, setAttr, setText, svg, table } from "./dom.js";
import { bytes, count, many, percent, UNKNOWN } from "./format.js";
import { feet, round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";

const HEIGHT = 300, LEFT = 54, RIGHT = 14, TOP = 14, BOTTOM = 262;

/**
 * The utilization below which a segment of this age is marked; null where none is.
 * From the rule `(1 - u) (age + boost) / (u + 0.1) > value`, solved for `u`.
 */
export function limit(threshold, age) {
    if (threshold.kind === "utilization") return threshold.value;
    const grown = age + threshold.age_boost_days;
    const u = (grown - 0.1 * threshold.value) / (threshold.value + grown);
    return Number.isFinite(u) && u > 0 ? Math.min(u, 1) : null;
}

/** Makes the picture with its text below; `set(plan)` shows a plan. */
export function makeSegments(name) {
    const picture = svg("svg", { class: "segments" }), body = svg("g", { "aria-hidden": "true" });
    picture.append(body);
    const plot = el("div", { class: "plot" }, picture), read = el("figcaption", { class: "readout" });
    const details = el("details", {}, el("summary", {}, "The segments as a table"), el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Segments of ${name} as a table` }));
    const lead = el("p", { class: "lead" });
    const figure = el("figure", { class: "chart" }, plot, read);
    const node = el("div", {}, lead, figure, details);
    let plan = null, dots = [], marks = [], places = [];

    const describe = (i) => segmentText(dots[i]);
    const draw = (width) => {
        if (!plan) return;
        setAttr(picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(picture, "height", HEIGHT);
        const oldest = Math.max(...dots.map((s) => s.age_days), 1), largest = Math.max(...dots.map((s) => s.size_bytes), 1);
        const ages = round(oldest, width > 480 ? 6 : 3);
        const x = scale(0, ages.at(-1), LEFT, width - RIGHT), y = scale(0, 1, BOTTOM, TOP);
        const curve = thresholdPoints(plan.threshold, ages.at(-1)).map(([a, u]) => `${x(a).toFixed(1)} ${y(u).toFixed(1)}`);
        places = dots.map((s) => [x(s.age_days), y(s.utilization), 3.5 + 6 * Math.sqrt(s.size_bytes / largest)]);
        marks = dots.map((s, i) => svg("circle", { class: s.marked ? "dot marked" : "dot", cx: places[i][0].toFixed(1), cy: places[i][1].toFixed(1), r: places[i][2].toFixed(1) }));
        body.replaceChildren(
            ...(curve.length ? [svg("path", { class: "below", d: `M${curve.join("L")}L${curve.at(-1).split(" ")[0]} ${BOTTOM}L${curve[0].split(" ")[0]} ${BOTTOM}Z` })] : []),
            ...rows([0, 0.25, 0.5, 0.75, 1], y, LEFT, width - RIGHT, (v) => `${v * 100} %`),
            ...feet(ages.filter((a) => x(a) < width - 24), x, BOTTOM, (a) => (a === 0 ? "0 days" : count(a))),
            svg("text", { class: "tick", x: width - RIGHT, y: BOTTOM + 34, "text-anchor": "end" }, "older, in days →"),
            ...(curve.length ? [svg("path", { class: "threshold", d: `M${curve.join("L")}` })] : []),
            ...marks);
    };
    const redraw = drawn(plot, draw);
    const prober = probe(picture, {
        label: `Segments of ${name}`, count: () => dots.length, start: () => 0, describe,
        at: (px, py) => {
            let best = -1, near = 18;
            places.forEach(([cx, cy, r], i) => {
                const far = Math.max(Math.hypot(cx - px, cy - py) - r, 0);
                if (far < near) { near = far; best = i; }
            });
            return best;
        },
        show: (i) => {
            marks.forEach((mark, n) => mark.classList.toggle("on", n === i));
            setText(read, i < 0 ? "Up: how much of a segment is in use; size of a dot: its size. Filled ones were marked to be written anew." : describe(i));
        },
        steps: { PageUp: -10, PageDown: 10 },
    });
    const text = lazy(details, () => segmentTable(plan));
    return {
        node,
        set(next) {
            plan = next;
            node.hidden = !plan;
            if (!plan) return;
            dots = plan.segments.filter((s) => s.age_days !== null && s.utilization !== null && s.age_days >= 0);
            figure.hidden = dots.length === 0;
            details.hidden = plan.segments.length === 0;
            const out = plan.segments.length - dots.length;
            const t = plan.threshold;
            const rule = t.kind === "utilization" ? `less than ${percent(t.value * 100, 0)} in use`
                : `a benefit above ${Number(t.value.toFixed(2))} days`;
            const marked = plan.segments.filter((s) => s.marked).length;
            setText(lead, plan.refused ? `The last plan was refused: ${plan.refused}`
                : `${plan.dry_run ? "Would mark" : "Marked"} ${count(marked)} of ${many(plan.segments.length, "segment")} by the rule: ${rule}.${out ? ` ${many(out, "segment")} without a known age or use ${out === 1 ? "is" : "are"} only in the table.` : ""}`);
            redraw();
            prober.refresh();
            text();
        },
    };
}

function thresholdPoints(threshold, oldest) {
    const points = [];
    for (let i = 0; i <= 120; i += 1) {
        const age = (oldest * (i / 120) ** 2);
        const u = limit(threshold, age);
        if (u !== null) points.push([age, Math.min(Math.max(u, 0), 1)]);
    }
    return points;
}

const days = (s) => (s.age_days === null ? UNKNOWN : `${s.age_days.toFixed(1)} days`);
const use = (s) => (s.utilization === null ? UNKNOWN : percent(s.utilization * 100));

function segmentText(s) {
    const benefit = s.benefit === null ? "" : `, benefit ${s.benefit.toFixed(1)}`;
    return `${s.name}: ${use(s)} of ${bytes(s.size_bytes)} in use, ${days(s)} old${benefit}, ${s.marked ? "marked" : "left as it is"}`;
}

function segmentTable(plan) {
    return table("Segments, worst first", [
        { head: "Segment", class: "code", cell: (s) => s.name },
        { head: "In use", number: true, cell: use },
        { head: "Age", number: true, cell: days },
        { head: "Size", number: true, cell: (s) => bytes(s.size_bytes) },
        { head: "Benefit", number: true, cell: (s) => (s.benefit === null ? UNKNOWN : s.benefit.toFixed(1)) },
        { head: "Marked", cell: (s) => (s.marked ? "yes" : "no") },
    ], plan.segments.slice(0, 500));
}
