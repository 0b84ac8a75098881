// The budget: what was asked for and what was measured, over the last hour, with each client's part; and how to change it.

import { byId, drawn, el, keyed, setAttr, setText, svg } from "./dom.js";
import { asked, away, duration, moment, percent, toTheSecond } from "./format.js";
import { round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";
import { setBudget, takeBudgetBack } from "./api.js";

const HEIGHT = 210, LEFT = 46, RIGHT = 10, TOP = 12, BOTTOM = 184, COLOURS = 6;
// What the picture spans: as much of the last hour as there is, so that a young daemon shows something.
const SPANS_MIN = [4, 8, 20, 40, 60];

/** Which colour a client has: whole crawls in the order of the configuration; their parts a paler one of the same. */
function palette() {
    const known = new Map();
    return (client) => {
        const whole = client.split("/")[0];
        if (whole === "overhead" || whole === "others") return "client-other";
        if (!known.has(whole)) known.set(whole, known.size % COLOURS);
        return `client-${known.get(whole)}${client.includes("/") ? " part" : ""}`;
    };
}

/** Makes the panel. `now()` is the daemon's clock, `done(budget)` takes an answer over, `refused(error)` tells a refusal. */
export function makeBudget({ now, done, refused }) {
    const colour = palette();
    let series = { step_secs: 10, most: 360, samples: [] }, budget = null, names = [];
    const picture = svg("svg", { class: "time" });
    const body = svg("g", { "aria-hidden": "true" }), cursor = svg("path", { class: "cursor" });
    picture.append(body, cursor);
    byId("budget-chart").append(picture);
    let x = () => 0;

    const end = () => Math.max(now(), series.samples.at(-1)?.at ?? 0);
    const middle = (sample) => sample.at - series.step_secs / 2;
    const describe = (i) => {
        const s = series.samples[i];
        const parts = names.filter((n) => s.clients[n]).reverse().map((n) => `${n} ${percent(s.clients[n])}`);
        return `${toTheSecond(s.at - series.step_secs)}: measured ${percent(s.measured)} of ${asked(s.requested)} allowed${parts.length ? `: ${parts.join(", ")}` : ""}`;
    };
    const draw = (width) => {
        setAttr(picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(picture, "height", HEIGHT);
        const samples = series.samples, last = end();
        const top = Math.max(...samples.map((s) => Math.max(s.measured, s.requested)), budget?.requested_percentage ?? 0, 0.1);
        const ticks = round(top * 1.04, 4);
        const since = (last - (samples[0]?.at ?? last) + series.step_secs) / 60;
        const span = SPANS_MIN.find((m) => m >= since) ?? SPANS_MIN.at(-1);
        x = scale(last - span * 60, last, LEFT, width - RIGHT);
        const y = scale(0, ticks.at(-1), BOTTOM, TOP);
        const minutes = (width > 480 ? [1, 0.75, 0.5, 0.25, 0] : [1, 0.5, 0]).map((part) => part * span);
        body.replaceChildren(
            ...rows(ticks, y, LEFT, width - RIGHT, (v) => `${Number(v.toPrecision(3))} %`),
            ...minutes.map((m) => svg("text", { class: "tick", x: x(last - m * 60).toFixed(1), y: BOTTOM + 18, "text-anchor": m === span ? "start" : m === 0 ? "end" : "middle" }, m === 0 ? "now" : `${Number(m.toFixed(2))} min ago`)),
            ...stacked(samples, names, series.step_secs, x, y).map(([name, d]) => svg("path", { class: `area ${colour(name)}`, d })),
            svg("path", { class: "requested", d: steps(samples, series.step_secs, x, (s) => y(s.requested)) }),
            svg("path", { class: "measured", d: steps(samples, series.step_secs, x, (s) => y(s.measured)) }),
            ...(samples.length ? [] : [svg("text", { class: "empty", x: (LEFT + width) / 2, y: (TOP + BOTTOM) / 2, "text-anchor": "middle" }, "The first sample is not there yet.")]));
    };
    const redraw = drawn(byId("budget-chart"), draw);
    const idle = () => series.samples.length
        ? `The line is what was measured, in steps of ${duration(series.step_secs)}; the dashed one what was allowed.` : "";
    const prober = probe(picture, {
        label: "Budget over the last hour", count: () => series.samples.length, start: () => series.samples.length - 1, describe,
        at: (px) => {
            const found = series.samples.findIndex((s) => x(s.at) >= px);
            return found >= 0 && px >= LEFT && Math.abs(x(middle(series.samples[found])) - px) < 12 ? found : -1;
        },
        show: (i) => {
            setAttr(cursor, "d", i < 0 ? "" : `M${x(middle(series.samples[i])).toFixed(1)} ${TOP}V${BOTTOM}`);
            setText(byId("budget-read"), i < 0 ? idle() : describe(i));
        },
        steps: { PageUp: -30, PageDown: 30 },
    });
    const order = () => {
        const sums = new Map();
        for (const s of series.samples) for (const [n, v] of Object.entries(s.clients)) sums.set(n, (sums.get(n) ?? 0) + v);
        names = [...sums].sort((a, b) => b[1] - a[1]).map(([n]) => n);
    };

    const field = byId("budget-value");
    byId("budget-form").addEventListener("submit", (event) => {
        event.preventDefault();
        setBudget(Number(field.value)).then((b) => { field.value = ""; done(b); }, refused);
    });
    byId("budget-back").addEventListener("click", () => takeBudgetBack().then(done, refused));

    return {
        series(next) { series = next; order(); redraw(); prober.refresh(); },
        sample(next) {
            series.samples = [...series.samples, next].slice(-series.most);
            order();
            redraw();
            if (prober.index() < 0) prober.refresh();
        },
        update(next, mayChange, order) {
            order.forEach(colour);
            const changed = !budget || budget.requested_percentage !== next.requested_percentage;
            budget = next;
            if (changed && series.samples.length === 0) redraw();
            setText(byId("budget-source"), sourceText(budget, now()));
            setAttr(field, "placeholder", String(Number(budget.requested_percentage.toFixed(2))));
            byId("budget-back").hidden = budget.source !== "changed";
            for (const control of byId("budget-form").querySelectorAll("input, button")) control.disabled = !mayChange;
            keyed(byId("budget-clients").tBodies[0], budget.clients, (c) => c.name, () => clientRow(colour));
            byId("budget-clients").hidden = budget.clients.length === 0;
        },
    };
}

function clientRow(colour) {
    const name = el("span"), cells = [el("td", { class: "n" }), el("td", { class: "n" }), el("td", { class: "n" })];
    const swatch = el("i", { "aria-hidden": "true" });
    const node = el("tr", {}, el("th", { scope: "row" }, swatch, name), cells);
    return {
        node,
        update(c) {
            setAttr(swatch, "class", `swatch ${colour(c.name)}`);
            setText(name, c.name);
            [percent(c.percentage), percent(c.total_percentage), duration(c.longest_slice_secs)].forEach((t, i) => setText(cells[i], t));
        },
    };
}

function sourceText(b, now) {
    const usual = asked(b.file_percentage);
    if (b.source === "changed") {
        return `${asked(b.requested_percentage)} of one core, changed ${b.changed ? away(b.changed.at, now) : "by hand"}; holds until it is taken back, also over restarts. The file says ${usual}.`;
    }
    const next = b.next_change ? ` From ${moment(b.next_change.at, now)} on ${asked(b.next_change.cpu_percentage)}.` : "";
    if (b.source === "window" && b.window) {
        return `${asked(b.requested_percentage)} of one core, by the window ${b.window.from} to ${b.window.to}; ${usual} outside of windows.${next}`;
    }
    return `${asked(b.requested_percentage)} of one core, as the configuration says.${next}`;
}

/** Samples without a gap between them: while the daemon was down there is no line. */
function runs(samples, step) {
    const all = [];
    samples.forEach((s, i) => {
        if (i && s.at - samples[i - 1].at < step * 1.6) all.at(-1).push(s); else all.push([s]);
    });
    return all;
}

const point = (px, py) => `${px.toFixed(1)} ${py.toFixed(1)}`;

/** A sample holds for its whole step; so each is a level, not a point. */
const level = (run, step, x, y) => run.flatMap((s) => [point(x(s.at - step), y(s)), point(x(s.at), y(s))]);

const steps = (samples, step, x, y) => runs(samples, step).map((run) => `M${level(run, step, x, y).join("L")}`).join("");

/** One path for each client, on top of those before it. */
function stacked(samples, names, step, x, y) {
    const base = new Map(samples.map((s) => [s, 0]));
    return names.map((name) => {
        const d = runs(samples, step).map((run) => {
            const low = level(run, step, x, (s) => y(base.get(s)));
            for (const s of run) base.set(s, base.get(s) + (s.clients[name] ?? 0));
            return `M${level(run, step, x, (s) => y(base.get(s))).join("L")}L${low.reverse().join("L")}Z`;
        }).join("");
        return [name, d];
    });
}
