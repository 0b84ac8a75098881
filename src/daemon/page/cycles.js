// The last cycles of one crawl, and the ages of the leases that the last finished one has seen.

import { byId, drawn, el, lazy, line, setAttr, setText, svg, table } from "./dom.js";
import { bytes, count, duration, inFull, iso, many, moment, percent, UNKNOWN } from "./format.js";
import { feet, round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";

const RESULTS = {
    complete: ["complete", "good"], incomplete: ["incomplete", "attention"],
    in_progress: ["in progress", "calm"], given_up: ["given up", "danger"],
};

/** A moment as text, with the whole of it for those who point at it. */
export const when = (at, now) =>
    (typeof at === "number" ? el("time", { datetime: iso(at), title: inFull(at) }, moment(at, now)) : UNKNOWN);

const CYCLES_FIRST = 8, CYCLES_MOST = 200;

/** The table of cycles; the one in progress is kept up to date from the status. */
export function makeCycles() {
    const parent = byId("cycles");
    let all = false, running = null, columns = [];
    const live = (cycle, crawl, now) => (cycle.result !== "in_progress" || cycle.cycle !== crawl.cycle ? cycle
        : { ...cycle, buckets: crawl.buckets, shares: cycle.shares === null ? null : crawl.shares, errors: crawl.errors,
            findings: crawl.findings, elapsed_secs: now - cycle.started });
    const set = (detail, now) => {
        const cycles = detail?.cycles ?? [];
        running = null;
        if (!cycles.length) return parent.replaceChildren(el("p", { class: "empty" }, "No cycle has begun yet."));
        const shown = cycles.slice(0, all ? CYCLES_MOST : CYCLES_FIRST).map((cycle) => live(cycle, detail.crawl, now));
        columns = cycleColumns(cycles, now);
        const made = table("Cycles, newest first", columns, shown, { class: "figures stacked" });
        const at = shown.findIndex((cycle) => cycle.result === "in_progress");
        if (at >= 0) running = { cycle: cycles[at], row: made.tBodies[0].rows[at] };
        const more = el("button", { type: "button", class: "button", onclick: () => { all = true; set(detail, now); } }, `Show all ${count(cycles.length)}`);
        return parent.replaceChildren(el("div", { class: "scroll" }, made), ...(cycles.length > shown.length && !all ? [more] : []));
    };
    return {
        set,
        /** Takes the numbers of the running cycle from the crawl's status. */
        update(crawl, now) {
            if (!running || crawl.cycle !== running.cycle.cycle) return;
            const row = line(columns, live(running.cycle, crawl, now));
            running.row.replaceWith(row);
            running.row = row;
        },
    };
}

/** What the table says of a cycle; one that missed something says so. */
function cycleColumns(cycles, now) {
    const result = (c) => {
        const [word, tone] = RESULTS[c.result] ?? [c.result, "calm"];
        return el("span", { class: "chip", "data-tone": tone }, c.incomplete_prefixes ? `${word}, ${many(c.incomplete_prefixes, "prefix", "prefixes")} missing` : word);
    };
    const least = (c, n) => (n === null ? "" : `${c.result === "incomplete" ? "≥ " : ""}${count(n)}`);
    const columns = [
        { head: "Cycle", number: true, cell: (c) => count(c.cycle) },
        { head: "Began", cell: (c) => when(c.started, now) },
        { head: "Ended", cell: (c) => (c.finished === null ? "" : when(c.finished, now)) },
        { head: "Took", number: true, cell: (c) => duration(c.elapsed_secs) },
        { head: "Result", cell: result },
        { head: "Buckets", number: true, cell: (c) => least(c, c.buckets) },
        { head: "Shares", number: true, cell: (c) => least(c, c.shares) },
        { head: "Errors", number: true, cell: (c) => count(c.errors) },
        { head: "Findings", number: true, cell: (c) => count(c.findings) },
    ];
    if (cycles.some((c) => c.space)) {
        columns.push({ head: "Examined", number: true, cell: (c) => (c.space ? bytes(c.space.examined_bytes) : "") });
        columns.push({ head: "Expired", number: true, cell: (c) => (c.space ? bytes(c.space.expired_bytes) : "") });
    }
    if (cycles.some((c) => c.space?.deleted_shares)) {
        columns.push({ head: "Deleted", number: true, cell: (c) => (c.space ? bytes(c.space.deleted_bytes) : "") });
    }
    return columns;
}

const HEIGHT = 190, LEFT = 54, RIGHT = 10, TOP = 12, BOTTOM = 164;

/** The histogram of lease ages. */
export function makeAges() {
    let bars = [], rule = null;
    const picture = svg("svg", { class: "bars" }), body = svg("g", { "aria-hidden": "true" });
    picture.append(body);
    byId("ages-chart").append(picture);
    let merged = [], x = () => 0, marks = [];

    const total = () => bars.reduce((sum, b) => sum + b.leases, 0);
    const days = (b) => `${Number(b.from_days.toFixed(1))} to ${Number(b.to_days.toFixed(1))} days`;
    const describe = (i) => `${days(merged[i])}: ${many(merged[i].leases, "lease")}, ${percent((100 * merged[i].leases) / total())}`;
    const draw = (width) => {
        setAttr(picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(picture, "height", HEIGHT);
        merged = thinned(bars, Math.max(12, Math.floor((width - LEFT) / 7)));
        const far = Math.max(merged.at(-1)?.to_days ?? 0, 1), most = Math.max(...merged.map((b) => b.leases), 1);
        const ticks = round(most, 3);
        x = scale(0, far, LEFT, width - RIGHT);
        const y = scale(0, ticks.at(-1), BOTTOM, TOP);
        marks = merged.map((b) => svg("rect", {
            class: rule !== null && b.from_days >= rule ? "bar old" : "bar",
            x: (x(b.from_days) + 0.5).toFixed(2), width: Math.max(x(b.to_days) - x(b.from_days) - 1, 0.6).toFixed(2),
            y: y(b.leases).toFixed(2), height: (BOTTOM - y(b.leases)).toFixed(2),
        }));
        body.replaceChildren(
            ...rows(ticks, y, LEFT, width - RIGHT, count),
            ...marks,
            ...feet(round(far, width > 480 ? 8 : 4).filter((v) => v <= far), x, BOTTOM, (v) => (v === 0 ? "0 days" : count(v))),
            ...(rule !== null && rule < far ? [svg("path", { class: "threshold", d: `M${x(rule).toFixed(1)} ${TOP}V${BOTTOM}` }),
                svg("text", { class: "tick strong", x: (x(rule) + 6).toFixed(1), y: TOP + 8, "text-anchor": "start" }, width - x(rule) > 130 ? `expires at ${Number(rule.toFixed(1))} days` : `${Number(rule.toFixed(1))} d`)] : []));
    };
    const redraw = drawn(byId("ages-chart"), draw);
    const prober = probe(picture, {
        label: "Leases by age", count: () => merged.length, start: () => 0, describe,
        at: (px) => merged.findIndex((b) => px >= x(b.from_days) && px < x(b.to_days)),
        show: (i) => {
            marks.forEach((mark, n) => mark.classList.toggle("on", n === i));
            setText(byId("ages-read"), i < 0 ? "Point at a bar, or move with the arrow keys." : describe(i));
        },
        steps: { PageUp: -10, PageDown: 10 },
    });
    const text = lazy(byId("ages-text"), () => table("Leases by age", [
        { head: "Age", cell: days }, { head: "Leases", number: true, cell: (b) => count(b.leases) },
        { head: "Part", number: true, cell: (b) => percent((100 * b.leases) / (total() || 1)) },
    ], bars.slice(0, 1000)));
    return {
        /** Shows the ages of this crawl; hides the panel for crawls that read no leases. */
        set(detail) {
            const panel = byId("ages-panel"), ages = detail?.lease_ages;
            panel.hidden = !ages;
            if (!ages) return;
            bars = ages;
            rule = expiryDays(detail.settings.parameters?.expire);
            const last = detail.cycles.find((c) => c.finished !== null);
            setText(byId("ages-lead"), bars.length === 0 ? "The last finished cycle has seen no lease."
                : `${many(total(), "lease")}, as ${last ? `cycle ${count(last.cycle)}` : "the last finished cycle"} has seen them: time since they were last renewed.`);
            redraw();
            prober.refresh();
            text();
        },
    };
}

/** The age of the rule `{"age": SECONDS}`, also as people write it, `age:SECONDS`; null for other rules. */
function expiryDays(expire) {
    const secs = expire?.age ?? /^age:([0-9.]+)$/.exec(expire ?? "")?.[1];
    return Number.isFinite(Number(secs ?? NaN)) ? Number(secs) / 86400 : null;
}

/** At most `most` bars: neighbours are put together; a hole between two stays a hole. */
function thinned(bars, most) {
    const by = Math.ceil(bars.length / most);
    if (by <= 1) return bars;
    const merged = [];
    for (let i = 0; i < bars.length; i += by) {
        const group = bars.slice(i, i + by);
        merged.push({ from_days: group[0].from_days, to_days: group.at(-1).to_days, leases: group.reduce((n, b) => n + b.leases, 0) });
    }
    return merged;
}
