// The budget: what was asked for and what was measured, over the last hour, with each client's part; and how to change it.

import { byId, drawn, el, keyed, setAttr, setText, svg } from "./dom.js";
import { asked, away, duration, moment, percent, toTheSecond } from "./format.js";
import { round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";
import { setBudget, takeBudgetBack } from "./api.js";

const HEIGHT = 210,
    LEFT = 46,
    RIGHT = 10,
    TOP = 12,
    BOTTOM = 184,
    COLOURS = 6;
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

/** The panel `#budget`. */
export class BudgetPanel {
    #now;
    #colour = palette();
    #series = { step_secs: 10, most: 360, samples: [] };
    #budget = null;
    #names = [];
    #x = () => 0;
    #picture = svg("svg", { class: "time" });
    #body = svg("g", { "aria-hidden": "true" });
    #cursor = svg("path", { class: "cursor" });
    #redraw;
    #prober;

    /** `now()` is the daemon's clock, `done(budget)` takes an answer over, `refused(error)` tells a refusal. */
    constructor({ now, done, refused }) {
        this.#now = now;
        this.#picture.append(this.#body, this.#cursor);
        byId("budget-chart").append(this.#picture);
        this.#redraw = drawn(byId("budget-chart"), (width) => this.#draw(width));
        this.#prober = probe(this.#picture, {
            label: "Budget over the last hour",
            count: () => this.#series.samples.length,
            start: () => this.#series.samples.length - 1,
            at: (x) => this.#at(x),
            show: (index) => this.#show(index),
            describe: (index) => this.#describe(index),
            steps: { PageUp: -30, PageDown: 30 },
        });
        const field = byId("budget-value");
        byId("budget-form").addEventListener("submit", (event) => {
            event.preventDefault();
            setBudget(Number(field.value)).then((budget) => {
                field.value = "";
                done(budget);
            }, refused);
        });
        byId("budget-back").addEventListener("click", () => takeBudgetBack().then(done, refused));
    }

    /** Shows the samples of the last hour. */
    series(next) {
        this.#series = next;
        this.#sort();
        this.#redraw();
        this.#prober.refresh();
    }

    /** Adds the newest sample. */
    sample(next) {
        this.#series.samples = [...this.#series.samples, next].slice(-this.#series.most);
        this.#sort();
        this.#redraw();
        if (this.#prober.index() < 0) this.#prober.refresh();
    }

    /** Takes the budget of a status; `order` are the names of crawls and cleanings, for their colours. */
    update(next, mayChange, order) {
        order.forEach(this.#colour);
        const first = this.#budget === null;
        this.#budget = next;
        if (first) this.#redraw();
        setText(byId("budget-source"), sourceText(next, this.#now()));
        setAttr(byId("budget-value"), "placeholder", Number(next.requested_percentage.toFixed(2)));
        byId("budget-back").hidden = next.source !== "changed";
        for (const control of byId("budget-form").querySelectorAll("input, button")) control.disabled = !mayChange;
        keyed(
            byId("budget-clients").tBodies[0],
            next.clients,
            (c) => c.name,
            () => clientRow(this.#colour),
        );
        byId("budget-clients").hidden = next.clients.length === 0;
    }

    /** Whoever used most lies lowest. */
    #sort() {
        const sums = new Map();
        for (const s of this.#series.samples) {
            for (const [name, part] of Object.entries(s.clients)) sums.set(name, (sums.get(name) ?? 0) + part);
        }
        this.#names = [...sums].sort((a, b) => b[1] - a[1]).map(([name]) => name);
    }

    #at(px) {
        const { samples, step_secs: step } = this.#series;
        return px < LEFT ? -1 : samples.findIndex((s) => this.#x(s.at - step) <= px && px <= this.#x(s.at));
    }

    #describe(i) {
        const s = this.#series.samples[i];
        const parts = this.#names
            .filter((name) => s.clients[name])
            .map((name) => `${name} ${percent(s.clients[name])}`);
        const at = toTheSecond(s.at - this.#series.step_secs);
        return `${at}: measured ${percent(s.measured)} of ${asked(s.requested)} allowed${parts.length ? `: ${parts.join(", ")}` : ""}`;
    }

    #show(i) {
        const { samples, step_secs: step } = this.#series;
        setAttr(this.#cursor, "d", i < 0 ? "" : `M${this.#x(samples[i].at - step / 2).toFixed(1)} ${TOP}V${BOTTOM}`);
        const idle = samples.length
            ? `The line is what was measured, in steps of ${duration(step)}; the dashed one what was allowed.`
            : "";
        setText(byId("budget-read"), i < 0 ? idle : this.#describe(i));
    }

    #draw(width) {
        setAttr(this.#picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(this.#picture, "height", HEIGHT);
        const { samples, step_secs: step } = this.#series;
        const last = Math.max(this.#now(), samples.at(-1)?.at ?? 0);
        const young = (last - (samples[0]?.at ?? last) + step) / 60;
        const span = SPANS_MIN.find((minutes) => minutes >= young) ?? SPANS_MIN.at(-1);
        const x = (this.#x = scale(last - span * 60, last, LEFT, width - RIGHT));
        const top = Math.max(
            ...samples.map((s) => Math.max(s.measured, s.requested)),
            this.#budget?.requested_percentage ?? 0,
            0.1,
        );
        const ticks = round(top * 1.04, 4),
            y = scale(0, ticks.at(-1), BOTTOM, TOP);
        const empty = svg(
            "text",
            { class: "empty", x: (LEFT + width) / 2, y: (TOP + BOTTOM) / 2, "text-anchor": "middle" },
            "The first sample is not there yet.",
        );
        this.#body.replaceChildren(
            ...rows(ticks, y, LEFT, width - RIGHT, (v) => `${Number(v.toPrecision(3))} %`),
            ...minutesAgo(span, width, (minutes) => x(last - minutes * 60)),
            ...stacked(samples, this.#names, step, x, y).map(([name, d]) =>
                svg("path", { class: `area ${this.#colour(name)}`, d }),
            ),
            svg("path", { class: "requested", d: steps(samples, step, x, (s) => y(s.requested)) }),
            svg("path", { class: "measured", d: steps(samples, step, x, (s) => y(s.measured)) }),
            ...(samples.length ? [] : [empty]),
        );
    }
}

/** Labels below: quarters of the span, on narrow screens halves. */
function minutesAgo(span, width, x) {
    const parts = width > 480 ? [1, 0.75, 0.5, 0.25, 0] : [1, 0.5, 0];
    return parts.map((part) =>
        svg(
            "text",
            {
                class: "tick",
                x: x(part * span).toFixed(1),
                y: BOTTOM + 18,
                "text-anchor": part === 1 ? "start" : part === 0 ? "end" : "middle",
            },
            part === 0 ? "now" : `${part * span} min ago`,
        ),
    );
}

function clientRow(colour) {
    const name = el("span"),
        cells = [el("td", { class: "n" }), el("td", { class: "n" }), el("td", { class: "n" })];
    const swatch = el("i", { "aria-hidden": "true" });
    const node = el("tr", {}, el("th", { scope: "row" }, swatch, name), cells);
    return {
        node,
        update(c) {
            setAttr(swatch, "class", `swatch ${colour(c.name)}`);
            setText(name, c.name);
            [percent(c.percentage), percent(c.total_percentage), duration(c.longest_slice_secs)].forEach((t, i) =>
                setText(cells[i], t),
            );
        },
    };
}

function sourceText(b, now) {
    const usual = asked(b.file_percentage);
    if (b.source === "changed") {
        return `${asked(b.requested_percentage)} of one core, changed ${b.changed ? away(b.changed.at, now) : "by hand"}; holds until it is taken back, also over restarts. The file says ${usual}.`;
    }
    const next = b.next_change
        ? ` From ${moment(b.next_change.at, now)} on ${asked(b.next_change.cpu_percentage)}.`
        : "";
    if (b.source === "window" && b.window) {
        return `${asked(b.requested_percentage)} of one core, by the window ${b.window.from} to ${b.window.to}; ${usual} outside of windows.${next}`;
    }
    return `${asked(b.requested_percentage)} of one core, as the configuration says.${next}`;
}

/** Samples without a gap between them: while the daemon was down there is no line. */
function runs(samples, step) {
    const all = [];
    samples.forEach((s, i) => {
        if (i && s.at - samples[i - 1].at < step * 1.6) all.at(-1).push(s);
        else all.push([s]);
    });
    return all;
}

const point = (px, py) => `${px.toFixed(1)} ${py.toFixed(1)}`;

/** A sample holds for its whole step; so each is a level, not a point. */
const level = (run, step, x, y) => run.flatMap((s) => [point(x(s.at - step), y(s)), point(x(s.at), y(s))]);

const steps = (samples, step, x, y) =>
    runs(samples, step)
        .map((run) => `M${level(run, step, x, y).join("L")}`)
        .join("");

/** One path for each client, on top of those before it. */
function stacked(samples, names, step, x, y) {
    const base = new Map(samples.map((s) => [s, 0]));
    return names.map((name) => {
        const d = runs(samples, step)
            .map((run) => {
                const low = level(run, step, x, (s) => y(base.get(s)));
                for (const s of run) base.set(s, base.get(s) + (s.clients[name] ?? 0));
                return `M${level(run, step, x, (s) => y(base.get(s))).join("L")}L${low.reverse().join("L")}Z`;
            })
            .join("");
        return [name, d];
    });
}
