// The segments of a database as a picture: how much of each is still in use, against its age, with the threshold as a line.
// What lies below the line is worth cleaning.

import { drawn, el, lazy, setAttr, setText, svg, table } from "./dom.js";
import { bytes, count, many, percent, UNKNOWN } from "./format.js";
import { feet, round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";

const HEIGHT = 300,
    LEFT = 54,
    RIGHT = 14,
    TOP = 14,
    BOTTOM = 262;

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

/** The picture of one database, with a line above and a table below: `node`. */
export class SegmentsPicture {
    #plan = null;
    #dots = [];
    #marks = [];
    /** Where each dot is: x, y, radius. */
    #places = [];
    #picture = svg("svg", { class: "segments" });
    #body = svg("g", { "aria-hidden": "true" });
    #lead = el("p", { class: "lead" });
    #read = el("figcaption", { class: "readout" });
    #plot = el("div", { class: "plot" }, this.#picture);
    #figure = el("figure", { class: "chart" }, this.#plot, this.#read);
    #details;
    #redraw;
    #prober;
    #refreshText;

    constructor(name) {
        this.#picture.append(this.#body);
        const label = { class: "scroll", tabindex: "0", role: "group", "aria-label": `Segments of ${name} as a table` };
        this.#details = el("details", {}, el("summary", {}, "The segments as a table"), el("div", label));
        this.node = el("div", {}, this.#lead, this.#figure, this.#details);
        this.#redraw = drawn(this.#plot, (width) => this.#draw(width));
        this.#refreshText = lazy(this.#details, () => segmentTable(this.#plan));
        this.#prober = probe(this.#picture, {
            label: `Segments of ${name}`,
            count: () => this.#dots.length,
            start: () => 0,
            at: (x, y) => this.#nearest(x, y),
            show: (index) => this.#show(index),
            describe: (index) => segmentText(this.#dots[index]),
            steps: { PageUp: -10, PageDown: 10 },
        });
    }

    /** Shows a plan, or nothing. */
    set(plan) {
        this.#plan = plan;
        this.node.hidden = !plan;
        if (!plan) return;
        this.#dots = plan.segments.filter((s) => s.age_days !== null && s.utilization !== null && s.age_days >= 0);
        this.#figure.hidden = this.#dots.length === 0;
        this.#details.hidden = plan.segments.length === 0;
        setText(this.#lead, planText(plan, plan.segments.length - this.#dots.length));
        this.#redraw();
        this.#prober.refresh();
        this.#refreshText();
    }

    #nearest(x, y) {
        let best = -1;
        let near = 18;
        this.#places.forEach(([cx, cy, r], i) => {
            const far = Math.max(Math.hypot(cx - x, cy - y) - r, 0);
            if (far < near) [best, near] = [i, far];
        });
        return best;
    }

    #show(index) {
        this.#marks.forEach((mark, n) => mark.classList.toggle("on", n === index));
        setText(
            this.#read,
            index < 0
                ? "Up: how much of a segment is in use; size of a dot: its size. Filled ones were marked to be written anew."
                : segmentText(this.#dots[index]),
        );
    }

    #draw(width) {
        if (!this.#plan) return;
        setAttr(this.#picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(this.#picture, "height", HEIGHT);
        const oldest = Math.max(...this.#dots.map((s) => s.age_days), 1);
        const largest = Math.max(...this.#dots.map((s) => s.size_bytes), 1);
        const ages = round(oldest, width > 480 ? 6 : 3);
        const x = scale(0, ages.at(-1), LEFT, width - RIGHT);
        const y = scale(0, 1, BOTTOM, TOP);
        this.#places = this.#dots.map((s) => [
            x(s.age_days),
            y(s.utilization),
            3.5 + 6 * Math.sqrt(s.size_bytes / largest),
        ]);
        this.#marks = this.#dots.map((s, i) => {
            const [cx, cy, r] = this.#places[i].map((n) => n.toFixed(1));
            return svg("circle", { class: s.marked ? "dot marked" : "dot", cx, cy, r });
        });
        const unit = { class: "tick", x: width - RIGHT, y: BOTTOM + 34, "text-anchor": "end" };
        this.#body.replaceChildren(
            ...rows([0, 0.25, 0.5, 0.75, 1], y, LEFT, width - RIGHT, (v) => `${v * 100} %`),
            ...feet(
                ages.filter((a) => x(a) < width - 24),
                x,
                BOTTOM,
                (a) => (a === 0 ? "0 days" : count(a)),
            ),
            svg("text", unit, "older, in days →"),
            ...thresholdLine(this.#plan.threshold, ages.at(-1), x, y),
            ...this.#marks,
        );
    }
}

/** The threshold, and a shade below it: what lies there is worth cleaning. */
function thresholdLine(threshold, oldest, x, y) {
    const points = thresholdPoints(threshold, oldest).map(([age, u]) => [x(age).toFixed(1), y(u).toFixed(1)]);
    if (points.length === 0) return [];
    const line = points.map((point) => point.join(" ")).join("L");
    const [first, last] = [points[0][0], points.at(-1)[0]];
    return [
        svg("path", { class: "below", d: `M${line}L${last} ${BOTTOM}L${first} ${BOTTOM}Z` }),
        svg("path", { class: "threshold", d: `M${line}` }),
    ];
}

function planText(plan, left) {
    if (plan.refused) return `The last plan was refused: ${plan.refused}`;
    const { kind, value } = plan.threshold;
    const rule =
        kind === "utilization"
            ? `less than ${percent(value * 100, 0)} in use`
            : `a benefit above ${Number(value.toFixed(2))} days`;
    const marked = count(plan.segments.filter((s) => s.marked).length);
    const done = `${plan.dry_run ? "Would mark" : "Marked"} ${marked} of ${many(plan.segments.length, "segment")} by the rule: ${rule}.`;
    return left
        ? `${done} ${many(left, "segment")} without a known age or use ${left === 1 ? "is" : "are"} only in the table.`
        : done;
}

function thresholdPoints(threshold, oldest) {
    const points = [];
    for (let i = 0; i <= 120; i += 1) {
        const age = oldest * (i / 120) ** 2;
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
    return table(
        "Segments, worst first",
        [
            { head: "Segment", class: "code", cell: (s) => s.name },
            { head: "In use", number: true, cell: use },
            { head: "Age", number: true, cell: days },
            { head: "Size", number: true, cell: (s) => bytes(s.size_bytes) },
            { head: "Benefit", number: true, cell: (s) => (s.benefit === null ? UNKNOWN : s.benefit.toFixed(1)) },
            { head: "Marked", cell: (s) => (s.marked ? "yes" : "no") },
        ],
        plan.segments.slice(0, 500),
    );
}
