// The ages of the leases that the last finished cycle has seen, as bars; those beyond the age of expiry stand out. The few
// that are far from all others do not stretch the axis: they have a bar at its end.

import { byId, drawn, lazy, setAttr, setText, svg, table } from "./dom.js";
import { count, many, percent } from "./format.js";
import { feet, round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";

/** The least height; where the page has room, the picture takes it. */
const HEIGHT = 196;
const LEFT = 54;
const RIGHT = 10;
/** Above the bars, for words that would not be read on them. */
const TOP = 30;
/** Below them. */
const FOOT = 26;
/** What a bar at an end takes, and the bar in it. */
const END = 58;
const END_BAR = 26;
/** The room that the words of the age of expiry take. */
const RULE_WORDS = 130;
/** The part of the leases that may lie beyond each end of the axis; of fewer leases than this, none. */
const FEW = 0.01;
const MANY_LEAST = 10;
/** The shortest axis, in days. */
const SPAN_LEAST = 14;
const TABLE_ROWS_MOST = 1000;

/** The panel `#ages-panel`. */
export class AgesPanel {
    #bars = [];
    /** The age of expiry in days; null where that is no age. */
    #rule = null;
    /** The bars as they are drawn, neighbours put together where there are too many; and from where to where each is. */
    #merged = [];
    #places = [];
    #marks = [];
    #picture = svg("svg", { class: "bars" });
    #body = svg("g", { "aria-hidden": "true" });
    #redraw;
    #prober;
    #refreshText = lazy(byId("ages-text"), () => ageTable(this.#bars));

    constructor() {
        this.#picture.append(this.#body);
        byId("ages-chart").append(this.#picture);
        this.#redraw = drawn(byId("ages-chart"), (width, height) => this.#draw(width, Math.max(height, HEIGHT)));
        this.#prober = probe(this.#picture, {
            label: "Leases by age",
            count: () => this.#merged.length,
            start: () => 0,
            at: (x) => this.#places.findIndex(([from, to]) => x >= from && x < to),
            show: (index) => this.#show(index),
            describe: (index) => this.#describe(index),
            steps: { PageUp: -10, PageDown: 10 },
        });
    }

    /** Shows the ages of this crawl; hides itself for crawls that read no leases. */
    set(detail) {
        const ages = detail?.lease_ages;
        byId("ages-panel").hidden = !ages;
        if (!ages) return;
        this.#bars = ages;
        this.#rule = expiryDays(detail.settings.parameters?.expire);
        const last = detail.cycles.find((c) => c.finished !== null);
        const whose = last ? `cycle ${count(last.cycle)}` : "the last finished cycle";
        byId("ages-figure").hidden = byId("ages-text").hidden = ages.length === 0;
        setText(
            byId("ages-lead"),
            ages.length === 0
                ? last
                    ? `Cycle ${count(last.cycle)} has seen no lease.`
                    : "No cycle is finished yet."
                : `${many(total(ages), "lease")}, as ${whose} has seen them: time since they were last renewed.`,
        );
        this.#redraw();
        this.#prober.refresh();
        this.#refreshText();
    }

    #describe(index) {
        const bar = this.#merged[index];
        return `${bar.end ? `${bar.end}, ` : ""}${days(bar)}: ${many(bar.leases, "lease")}, ${percent((100 * bar.leases) / total(this.#bars))}`;
    }

    #show(index) {
        this.#marks.forEach((mark, n) => mark.classList.toggle("on", n === index));
        setText(byId("ages-read"), index < 0 ? "Point at a bar, or move with the arrow keys." : this.#describe(index));
    }

    #draw(width, height) {
        setAttr(this.#picture, "viewBox", `0 0 ${width} ${height}`);
        setAttr(this.#picture, "height", height);
        const bottom = height - FOOT;
        const [from, to] = span(this.#bars);
        const [younger, within, older] = parted(this.#bars, from, to);
        const [left, right] = [LEFT + (younger ? END : 0), width - RIGHT - (older ? END : 0)];
        const x = scale(from, to, left, right);
        const drawn = thinned(within, from, to, Math.max(12, Math.floor((right - left) / 7)));
        this.#merged = [younger, ...drawn, older].filter(Boolean);
        this.#places = this.#merged.map((b) => {
            if (!b.end) return [x(b.from_days), x(b.to_days)];
            const middle = b === younger ? LEFT + END / 2 - 6 : width - RIGHT - END / 2 + 6;
            return [middle - END_BAR / 2, middle + END_BAR / 2];
        });
        // Of one lease or two there are no halves.
        const ticks = round(Math.max(...this.#merged.map((b) => b.leases), 1), 4).filter(Number.isInteger);
        const y = scale(0, ticks.at(-1), bottom, TOP);
        this.#marks = this.#merged.map((b, i) => bar(b, this.#places[i], y, this.#rule));
        const shown = round(to, width > 480 ? 8 : 4, from).filter(
            (v) => Number.isInteger(v) && x(v) >= left + (younger ? 18 : 0) && x(v) <= Math.min(right - 6, width - 18),
        );
        const ends = this.#merged.filter((b) => b.end);
        const middle = (b) => (this.#places[this.#merged.indexOf(b)][0] + this.#places[this.#merged.indexOf(b)][1]) / 2;
        this.#body.replaceChildren(
            ...rows(ticks, y, LEFT, width - RIGHT, count),
            ...this.#marks,
            ...feet(shown, x, bottom, (v) => (v === shown[0] ? `${count(v)} days` : count(v))),
            ...feet(ends, middle, bottom, (b) => b.end),
            ...ruleLine(this.#rule, from, to, x, bottom),
        );
    }
}

function bar(b, [from, to], y, rule) {
    // A single lease is seen too.
    const bottom = y(0);
    const top = b.leases ? Math.min(y(b.leases), bottom - 1.5) : bottom;
    return svg("rect", {
        class: rule !== null && b.from_days >= rule ? "bar old" : "bar",
        x: (from + 0.5).toFixed(2),
        width: Math.max(to - from - 1, 0.6).toFixed(2),
        y: top.toFixed(2),
        height: (bottom - top).toFixed(2),
    });
}

/**
 * From which age to which the axis goes, in days: over all leases but the few far ones at each end, and from 0 unless that
 * would leave more than half of it empty.
 */
function span(bars) {
    if (bars.length === 0) return [0, SPAN_LEAST];
    const all = total(bars);
    const few = all < MANY_LEAST ? 0 : Math.max(1, all * FEW);
    const [first, last] = [bars[0].from_days, bars.at(-1).to_days];
    const low = beyond(bars, few).from_days;
    const high = beyond(bars.toReversed(), few).to_days;
    const near = Math.max(high - low, SPAN_LEAST) / 2;
    let from = low - first <= near ? first : low;
    let to = last - high <= near ? last : high;
    if (from > 0 && from <= to - from) from = 0;
    const short = SPAN_LEAST - (to - from);
    if (short > 0) {
        from = from > 0 ? Math.max(0, from - Math.floor(short / 2)) : from;
        to = from + SPAN_LEAST;
    }
    return [from, to];
}

/** The first bar behind the `few` first leases. */
function beyond(bars, few) {
    let sum = 0;
    return bars.find((b) => (sum += b.leases) > few) ?? bars.at(-1);
}

/** The bars in three: what is younger than the axis as one, those on it, and what is older as one. */
function parted(bars, from, to) {
    const end = (end, list) => list.length > 0 && { ...put(list), end };
    return [
        end("younger", bars.filter((b) => b.to_days <= from)),
        bars.filter((b) => b.to_days > from && b.from_days < to),
        end("older", bars.filter((b) => b.from_days >= to)),
    ];
}

const put = (list) => ({ from_days: list[0].from_days, to_days: list.at(-1).to_days, leases: total(list) });

/** The age of expiry as a line; where it is not on the axis, on which side it lies. */
function ruleLine(rule, from, to, x, bottom) {
    if (rule === null) return [];
    const text = (at, anchor, words) =>
        svg("text", { class: "tick strong", x: at.toFixed(1), y: TOP - 10, "text-anchor": anchor }, words);
    if (rule < from) return [text(x(from) + 6, "start", `← expires at ${number.format(rule)} days`)];
    if (rule >= to) return [text(x(to) - 4, "end", `expires at ${number.format(rule)} days →`)];
    const line = svg("path", { class: "threshold", d: `M${x(rule).toFixed(1)} ${TOP - 22}V${bottom}` });
    const words = `expires at ${number.format(rule)} days`;
    if (x(to) - x(rule) > RULE_WORDS) return [line, text(x(rule) + 6, "start", words)];
    if (x(rule) - x(from) > RULE_WORDS) return [line, text(x(rule) - 6, "end", words)];
    return [line, text(x(rule) + 6, "start", `${number.format(rule)} d`)];
}

const total = (bars) => bars.reduce((sum, b) => sum + b.leases, 0);
const number = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const days = (b) => `${number.format(b.from_days)} to ${number.format(b.to_days)} days`;

function ageTable(bars) {
    const columns = [
        { head: "Age", cell: days },
        { head: "Leases", number: true, cell: (b) => count(b.leases) },
        { head: "Part", number: true, cell: (b) => percent((100 * b.leases) / (total(bars) || 1)) },
    ];
    return table("Leases by age", columns, bars.slice(0, TABLE_ROWS_MOST));
}

/** The age of the rule `{"age": SECONDS}`, also as people write it, `age:SECONDS`; null for other rules. */
function expiryDays(expire) {
    const secs = expire?.age ?? /^age:([0-9.]+)$/.exec(expire ?? "")?.[1];
    return Number.isFinite(Number(secs ?? NaN)) ? Number(secs) / 86400 : null;
}

/** At most `most` bars, each of as many days, on an axis from `from` to `to`. */
function thinned(bars, from, to, most) {
    const by = Math.ceil((to - from) / most);
    if (by <= 1) return bars;
    const groups = new Map();
    for (const bar of bars) {
        const nth = Math.max(0, Math.floor((bar.from_days - from) / by));
        groups.set(nth, [...(groups.get(nth) ?? []), bar]);
    }
    return [...groups].map(([nth, group]) => ({
        from_days: from + nth * by,
        to_days: Math.min(from + (nth + 1) * by, to),
        leases: total(group),
    }));
}
