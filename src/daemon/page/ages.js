// The ages of the leases that the last finished cycle has seen, as bars; those beyond the age of expiry stand out.

import { byId, drawn, lazy, setAttr, setText, svg, table } from "./dom.js";
import { count, many, percent } from "./format.js";
import { feet, round, rows, scale } from "./axes.js";
import { probe } from "./probe.js";

const HEIGHT = 190;
const LEFT = 54;
const RIGHT = 10;
const TOP = 12;
const BOTTOM = 164;
const TABLE_ROWS_MOST = 1000;

/** The panel `#ages-panel`. */
export class AgesPanel {
    #bars = [];
    /** The age of expiry in days; null where that is no age. */
    #rule = null;
    /** The bars as they are drawn: neighbours put together where there are too many. */
    #merged = [];
    #marks = [];
    #x = () => 0;
    #picture = svg("svg", { class: "bars" });
    #body = svg("g", { "aria-hidden": "true" });
    #redraw;
    #prober;
    #refreshText = lazy(byId("ages-text"), () => ageTable(this.#bars));

    constructor() {
        this.#picture.append(this.#body);
        byId("ages-chart").append(this.#picture);
        this.#redraw = drawn(byId("ages-chart"), (width) => this.#draw(width));
        this.#prober = probe(this.#picture, {
            label: "Leases by age",
            count: () => this.#merged.length,
            start: () => 0,
            at: (x) => this.#merged.findIndex((b) => x >= this.#x(b.from_days) && x < this.#x(b.to_days)),
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
        return `${days(bar)}: ${many(bar.leases, "lease")}, ${percent((100 * bar.leases) / total(this.#bars))}`;
    }

    #show(index) {
        this.#marks.forEach((mark, n) => mark.classList.toggle("on", n === index));
        setText(byId("ages-read"), index < 0 ? "Point at a bar, or move with the arrow keys." : this.#describe(index));
    }

    #draw(width) {
        setAttr(this.#picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
        setAttr(this.#picture, "height", HEIGHT);
        this.#merged = thinned(this.#bars, Math.max(12, Math.floor((width - LEFT) / 7)));
        const far = Math.max(this.#merged.at(-1)?.to_days ?? 0, 1);
        // Of one lease or two there are no halves.
        const ticks = round(Math.max(...this.#merged.map((b) => b.leases), 1), 3).filter(Number.isInteger);
        const x = (this.#x = scale(0, far, LEFT, width - RIGHT));
        const y = scale(0, ticks.at(-1), BOTTOM, TOP);
        this.#marks = this.#merged.map((b) =>
            svg("rect", {
                class: this.#rule !== null && b.from_days >= this.#rule ? "bar old" : "bar",
                x: (x(b.from_days) + 0.5).toFixed(2),
                width: Math.max(x(b.to_days) - x(b.from_days) - 1, 0.6).toFixed(2),
                y: y(b.leases).toFixed(2),
                height: (BOTTOM - y(b.leases)).toFixed(2),
            }),
        );
        const shown = round(far, width > 480 ? 8 : 4).filter((v) => v <= far && Number.isInteger(v));
        this.#body.replaceChildren(
            ...rows(ticks, y, LEFT, width - RIGHT, count),
            ...this.#marks,
            ...feet(shown, x, BOTTOM, (v) => (v === 0 ? "0 days" : count(v))),
            ...(this.#rule !== null && this.#rule < far ? ruleLine(this.#rule, x(this.#rule), width) : []),
        );
    }
}

function ruleLine(rule, x, width) {
    const number = Number(rule.toFixed(1));
    const place = { class: "tick strong", x: (x + 6).toFixed(1), y: TOP + 8, "text-anchor": "start" };
    return [
        svg("path", { class: "threshold", d: `M${x.toFixed(1)} ${TOP}V${BOTTOM}` }),
        svg("text", place, width - x > 130 ? `expires at ${number} days` : `${number} d`),
    ];
}

const total = (bars) => bars.reduce((sum, b) => sum + b.leases, 0);
const days = (b) => `${Number(b.from_days.toFixed(1))} to ${Number(b.to_days.toFixed(1))} days`;

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

/** At most `most` bars: neighbours are put together; a hole between two stays a hole. */
function thinned(bars, most) {
    const by = Math.ceil(bars.length / most);
    if (by <= 1) return bars;
    const merged = [];
    for (let i = 0; i < bars.length; i += by) {
        const group = bars.slice(i, i + by);
        merged.push({
            from_days: group[0].from_days,
            to_days: group.at(-1).to_days,
            leases: group.reduce((n, b) => n + b.leases, 0),
        });
    }
    return merged;
}
