// The ring of prefixes as a dial: the walk begins at the top, goes outward along each spoke and clockwise from spoke to
// spoke. Colour is the age of the last visit; marks are errors and findings; the hands are where its workers are.

import { byId, el, lazy, setText, svg, table } from "./dom.js";
import { away, count, inFull, many, percent, range, UNKNOWN } from "./format.js";
import { probe } from "./probe.js";

const SIZE = 640, MIDDLE = SIZE / 2, INNER = 158, OUTER = 278, LABELS = 298;
const LEVELS = 16;
const HANDS_MOST = 16;
const YOUNGEST_SECS = 60, OLDEST_SECS = 90 * 86400;

/** Which of the 16 colours an age has: by its logarithm, from a minute to three months, the same for every crawl. */
function level(age) {
    const part = Math.log(Math.max(age, YOUNGEST_SECS) / YOUNGEST_SECS) / Math.log(OLDEST_SECS / YOUNGEST_SECS);
    return Math.min(LEVELS - 1, Math.round(part * (LEVELS - 1)));
}

/** Where the cells are: a ring of 1,024 has 128 spokes of 8, so that a cell is about as wide as it is long. */
function geometry(names) {
    const total = names.length;
    const tracks = total > 256 ? 8 : total > 64 ? 4 : total > 12 ? 2 : 1;
    const spokes = Math.max(1, Math.ceil(total / tracks));
    const turn = (2 * Math.PI) / spokes, depth = (OUTER - INNER) / tracks;
    const at = (angle, radius) => [MIDDLE + radius * Math.sin(angle), MIDDLE - radius * Math.cos(angle)];
    const spokeOf = (index) => Math.floor(index / tracks);
    const opens = (spoke) => spoke > 0 && names[spoke * tracks][0] !== names[(spoke - 1) * tracks][0];
    const cell = (index) => {
        const spoke = spokeOf(index), track = index % tracks;
        const gap = spokes > 40 ? 0.5 : 1.5;
        const wide = (first) => (first ? 2.2 : gap);
        const before = wide(opens(spoke)), after = wide(spoke + 1 < spokes && opens(spoke + 1));
        const low = INNER + track * depth + 0.5, high = INNER + (track + 1) * depth - 0.5;
        const left = (radius) => at(spoke * turn + before / radius / 1.4, radius);
        const right = (radius) => at((spoke + 1) * turn - after / radius / 1.4, radius);
        const n = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;
        return `M${n(left(low))}L${n(left(high))}A${high} ${high} 0 0 1 ${n(right(high))}L${n(right(low))}A${low} ${low} 0 0 0 ${n(left(low))}Z`;
    };
    const centre = (index) => at((spokeOf(index) + 0.5) * turn, INNER + ((index % tracks) + 0.5) * depth);
    const hit = (x, y) => {
        const radius = Math.hypot(x - MIDDLE, y - MIDDLE);
        if (radius < INNER || radius >= OUTER) return -1;
        const angle = (Math.atan2(x - MIDDLE, MIDDLE - y) + 2 * Math.PI) % (2 * Math.PI);
        const index = Math.floor(angle / turn) * tracks + Math.floor((radius - INNER) / depth);
        return index < total ? index : -1;
    };
    const degrees = (index) => ((spokeOf(index) + 0.5) * turn * 180) / Math.PI;
    return { tracks, spokes, turn, at, cell, centre, hit, degrees };
}

/** Makes the ring in `#ring`. `now()` is the daemon's clock; `pick(prefix)` is called when one is chosen. */
export function makeRing({ now, pick }) {
    let detail = null, shape = null, cells = [], chosen = -1, prober = null;
    const picture = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "dial" });
    const cellLayer = svg("g"), markLayer = svg("g"), labelLayer = svg("g", { class: "letters", "aria-hidden": "true" });
    const hands = svg("g");
    const chosenMark = svg("path", { class: "chosen" });
    const lines = ["over", "big", "under", "under last"].map((c, i) =>
        svg("text", { class: `dial-${c.replace(" ", " dial-")}`, x: MIDDLE, y: [262, 332, 372, 402][i] }));
    picture.append(cellLayer, hands, markLayer, chosenMark, labelLayer, svg("g", { class: "heart", "aria-hidden": "true" }, lines));

    const ring = () => detail.ring;
    const visitText = (i) => {
        const { visited, current } = ring();
        if (current.includes(i)) return "begun, not complete";
        const at = visited[i];
        if (at === null) return "no visit known";
        const started = detail.crawl.cycle_started;
        return `visited ${away(at, now())}${started !== null && at < started ? ", in an earlier cycle" : ""}`;
    };
    const troubleText = (i) => {
        const errors = ring().errors[i], findings = ring().findings[i];
        if (!errors && !findings) return ring().visited[i] === null ? "" : "nothing found";
        return [errors && many(errors, "error"), findings && many(findings, "finding")].filter(Boolean).join(", ");
    };
    const describe = (i) => `prefix ${ring().prefixes[i]}, ${count(i + 1)} of ${count(ring().prefixes.length)}: ${[visitText(i), troubleText(i)].filter(Boolean).join("; ")}`;

    function heart() {
        const c = detail?.crawl;
        if (!c) return lines.forEach((line) => setText(line, ""));
        if (chosen >= 0) {
            [`${count(chosen + 1)} of ${count(ring().prefixes.length)}`, ring().prefixes[chosen], visitText(chosen).split(",")[0], troubleText(chosen)]
                .forEach((text, i) => setText(lines[i], text));
            return;
        }
        const part = c.prefixes_total ? (100 * c.prefixes_done) / c.prefixes_total : null;
        const left = c.state === "walking" ? (c.remaining_secs ? `${range(c.remaining_secs)}` : "time left not known yet") : c.state.replace("_", " ");
        const digits = c.prefixes_done === c.prefixes_total ? 0 : 1;
        // A cycle is at 100 % when it is complete, not when it rounds to it.
        const shown = part === null ? UNKNOWN : percent(digits ? Math.min(part, 99.9) : part, digits);
        [c.cycle === null ? "" : `cycle ${count(c.cycle)}`, shown, `${count(c.prefixes_done)} of ${count(c.prefixes_total)}`, left]
            .forEach((text, i) => setText(lines[i], text));
    }
    function show(index) {
        chosen = detail && index < ring().prefixes.length ? index : -1;
        chosenMark.setAttribute("d", chosen >= 0 ? shape.cell(chosen) : "");
        setText(byId("ring-read"), chosen >= 0 ? describe(chosen) : "Point at a prefix, or move with the arrow keys.");
        heart();
    }
    function build() {
        shape = geometry(ring().prefixes);
        cells = ring().prefixes.map((_, i) => svg("path", { d: shape.cell(i) }));
        cellLayer.replaceChildren(...cells);
        const first = new Map();
        ring().prefixes.forEach((name, i) => {
            const known = first.get(name[0]);
            if (known) known.push(i); else first.set(name[0], [i]);
        });
        labelLayer.replaceChildren(...[...first].map(([letter, all], n) => {
            const spokes = [all[0], all[all.length - 1]].map((i) => Math.floor(i / shape.tracks));
            const [x, y] = shape.at(((spokes[0] + spokes[1] + 1) / 2) * shape.turn, LABELS);
            return svg("text", { x: x.toFixed(1), y: y.toFixed(1), class: n % 2 ? "odd" : null }, letter);
        }));
    }
    function paint(only) {
        const { visited, current, errors, findings } = ring();
        const time = now(), under = new Set(current);
        const one = (i) => {
            const age = visited[i] === null ? "unseen" : `a${level(time - visited[i])}`;
            const name = `cell ${age}${under.has(i) ? " current" : ""}`;
            if (cells[i].getAttribute("class") !== name) cells[i].setAttribute("class", name);
        };
        if (only) only.forEach((i) => i < cells.length && one(i)); else cells.forEach((_, i) => one(i));
        markLayer.replaceChildren(...errors.flatMap((n, i) => {
            if (!n && !findings[i]) return [];
            const [x, y] = shape.centre(i), r = Math.min(5 + Math.log2(n + findings[i]) * 1.2, 11);
            return [n ? svg("path", { class: "mark error", d: `M${x} ${y - r * 1.25}l${r * 1.25} ${r * 1.25}l${-r * 1.25} ${r * 1.25}l${-r * 1.25} ${-r * 1.25}Z` })
                : svg("circle", { class: "mark finding", cx: x, cy: y, r })];
        }));
        const walking = ["walking", "paused", "waiting"].includes(detail.crawl.state) && current.length > 0;
        hands.replaceChildren(...(walking ? current.slice(0, HANDS_MOST) : []).map((i) => svg("path", {
            class: "hand", d: `M${MIDDLE} ${MIDDLE - INNER + 14}V${MIDDLE - OUTER - 7}`,
            transform: `rotate(${shape.degrees(i).toFixed(2)} ${MIDDLE} ${MIDDLE})`,
        })));
    }
    const refreshText = lazy(byId("ring-text"), () => ringTable(detail, now()));

    return {
        /** Shows this crawl, or tells that there is none. */
        set(next) {
            const same = detail && next && detail.ring.prefixes.length === next.ring.prefixes.length && detail.crawl.name === next.crawl.name;
            detail = next;
            byId("ring").toggleAttribute("hidden", !detail);
            if (!detail) return;
            if (!same) build();
            paint();
            prober ??= probe(picture, {
                label: "Prefixes of the ring", count: () => detail.ring.prefixes.length, at: (x, y) => shape.hit(x, y),
                start: () => ring().current[0] ?? 0, show, describe, pick: (i) => pick(ring().prefixes[i]),
                steps: { PageUp: -32, PageDown: 32 },
            });
            if (!picture.isConnected) { byId("ring").append(picture); byId("ring-legend").replaceChildren(...legend()); }
            if (!same) prober.refresh();
            heart();
            refreshText();
        },
        /** Takes over prefixes that were completed, from an event. */
        mark(changed, before) {
            if (!detail) return;
            paint([...changed, ...before, ...ring().current]);
            if (chosen >= 0) prober.refresh();
            heart();
        },
        /** Lets ages grow. */
        tick() { if (detail) { paint(); heart(); if (chosen >= 0) prober.refresh(); refreshText(); } },
        heart,
    };
}

function legend() {
    const scale = el("span", { class: "scale", "aria-hidden": "true" }, Array.from({ length: LEVELS }, (_, i) => el("i", { class: `a${i}` })));
    const marks = [["finding", svg("circle", { class: "mark finding", cx: 8, cy: 8, r: 5 })],
        ["error", svg("path", { class: "mark error", d: "M8 1.5L14.5 8L8 14.5L1.5 8Z" })],
        ["never", svg("rect", { class: "cell unseen", x: 3, y: 3, width: 10, height: 10 })]];
    return [el("span", { class: "ages" }, el("span", {}, "visited 1 min ago"), scale, el("span", {}, "3 months")),
        ...marks.map(([name, shape]) => el("span", { class: "key" }, svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, shape), name === "never" ? "no visit known" : name))];
}

/** The same picture for those who read: one row for each first letter. */
function ringTable(detail, now) {
    const { prefixes, visited, errors, findings } = detail.ring;
    const rows = new Map();
    const started = detail.crawl.cycle_started ?? Infinity;
    prefixes.forEach((name, i) => {
        const row = rows.get(name[0]) ?? { letter: name[0], first: name, all: 0, done: 0, unseen: 0, oldest: null, errors: 0, findings: 0 };
        row.last = name;
        row.all += 1;
        row.done += visited[i] !== null && visited[i] >= started ? 1 : 0;
        row.unseen += visited[i] === null ? 1 : 0;
        if (visited[i] !== null && (row.oldest === null || visited[i] < row.oldest)) row.oldest = visited[i];
        row.errors += errors[i];
        row.findings += findings[i];
        rows.set(name[0], row);
    });
    return table("Prefixes by their first letter", [
        { head: "Prefixes", cell: (r) => (r.first === r.last ? r.first : `${r.first} to ${r.last}`) },
        { head: "Visited in this cycle", number: true, cell: (r) => `${r.done} of ${r.all}` },
        { head: "Oldest visit", number: true, cell: (r) => (r.oldest === null ? UNKNOWN : el("time", { title: inFull(r.oldest) }, away(r.oldest, now))) },
        { head: "No visit known", number: true, cell: (r) => count(r.unseen) },
        { head: "Errors", number: true, cell: (r) => count(r.errors) },
        { head: "Findings", number: true, cell: (r) => count(r.findings) },
    ], [...rows.values()]);
}
