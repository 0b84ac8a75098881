// The ring of prefixes as a dial: the walk begins at the top, goes outward along each spoke and clockwise from spoke to
// spoke. Colour is the age of the last visit; marks are errors and findings; the hands are where its workers are.

import { byId, el, lazy, setAttr, setText, svg, table } from "./dom.js";
import { troubleText as foundText } from "./crawls.js";
import { away, count, inFull, progressText, range, UNKNOWN } from "./format.js";
import { probe } from "./probe.js";

const SIZE = 640,
    MIDDLE = SIZE / 2,
    INNER = 158,
    OUTER = 278,
    LABELS = 298;
const LEVELS = 16;
const HANDS_MOST = 16;
const YOUNGEST_SECS = 60,
    OLDEST_SECS = 90 * 86400;

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
    const turn = (2 * Math.PI) / spokes,
        depth = (OUTER - INNER) / tracks;
    const at = (angle, radius) => [MIDDLE + radius * Math.sin(angle), MIDDLE - radius * Math.cos(angle)];
    const spokeOf = (index) => Math.floor(index / tracks);
    const opens = (spoke) => spoke > 0 && names[spoke * tracks][0] !== names[(spoke - 1) * tracks][0];
    const cell = (index) => {
        const spoke = spokeOf(index),
            track = index % tracks;
        const gap = spokes > 40 ? 0.5 : 1.5;
        const wide = (first) => (first ? 2.2 : gap);
        const before = wide(opens(spoke)),
            after = wide(spoke + 1 < spokes && opens(spoke + 1));
        const low = INNER + track * depth + 0.5,
            high = INNER + (track + 1) * depth - 0.5;
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
    const between = (first, last, radius) => at(((spokeOf(first) + spokeOf(last) + 1) / 2) * turn, radius);
    const degrees = (index) => ((spokeOf(index) + 0.5) * turn * 180) / Math.PI;
    return { cell, centre, hit, degrees, between };
}

/** The ring in `#ring`, of one crawl at a time. */
export class Ring {
    #now;
    #detail = null;
    #shape = null;
    #cells = [];
    #chosen = -1;
    #prober = null;
    #picture = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "dial" });
    #cellLayer = svg("g");
    #hands = svg("g");
    #marks = svg("g");
    #chosenMark = svg("path", { class: "chosen" });
    #letters = svg("g", { class: "letters", "aria-hidden": "true" });
    #lines = [
        ["dial-over", 262],
        ["dial-big", 332],
        ["dial-under", 372],
        ["dial-under dial-last", 402],
    ].map(([name, y]) => svg("text", { class: name, x: MIDDLE, y }));
    #refreshText = lazy(byId("ring-text"), () => ringTable(this.#detail, this.#now()));

    /** `now()` is the daemon's clock; `pick(prefix)` is called when one is chosen. */
    constructor({ now, pick }) {
        this.#now = now;
        const heart = svg("g", { class: "heart", "aria-hidden": "true" }, this.#lines);
        this.#picture.append(this.#cellLayer, this.#hands, this.#marks, this.#chosenMark, this.#letters, heart);
        this.#prober = probe(this.#picture, {
            label: "Prefixes of the ring",
            count: () => this.#detail?.ring.prefixes.length ?? 0,
            start: () => this.#detail.ring.current[0] ?? 0,
            at: (x, y) => this.#shape?.hit(x, y) ?? -1,
            show: (index) => this.#show(index),
            describe: (index) => describe(this.#detail, index, now()),
            pick: (index) => pick(this.#detail.ring.prefixes[index]),
            steps: { PageUp: -32, PageDown: 32 },
        });
        byId("ring").append(this.#picture);
        byId("ring-legend").replaceChildren(...legend());
    }

    /** Shows this crawl, or nothing. */
    set(detail) {
        const before = this.#detail;
        this.#detail = detail;
        byId("ring").hidden = byId("ring-legend").hidden = byId("ring-text").hidden = !detail;
        if (!detail) return;
        const same =
            before?.crawl.name === detail.crawl.name && before.ring.prefixes.length === detail.ring.prefixes.length;
        if (!same) this.#build();
        this.#paint();
        if (!same) this.#prober.refresh();
        this.heart();
        this.#refreshText();
    }

    /** Takes over prefixes that were completed, and those where the walk was before. */
    mark(changed, before) {
        if (!this.#detail) return;
        this.#paint([...changed, ...before, ...this.#detail.ring.current]);
        if (this.#chosen >= 0) this.#prober.refresh();
        this.heart();
    }

    /** Lets ages grow. */
    tick() {
        if (!this.#detail) return;
        this.#paint();
        if (this.#chosen >= 0) this.#prober.refresh();
        this.#refreshText();
    }

    /** Writes what stands in the middle: the chosen prefix, or how far the cycle is. */
    heart() {
        const texts = !this.#detail
            ? []
            : this.#chosen < 0
              ? cycleLines(this.#detail.crawl)
              : prefixLines(this.#detail, this.#chosen, this.#now());
        this.#lines.forEach((line, i) => setText(line, texts[i]));
    }

    #show(index) {
        this.#chosen = index;
        setAttr(this.#chosenMark, "d", index < 0 ? "" : this.#shape.cell(index));
        setText(
            byId("ring-read"),
            index < 0 ? "Point at a prefix, or move with the arrow keys." : describe(this.#detail, index, this.#now()),
        );
        this.heart();
    }

    #build() {
        const { prefixes } = this.#detail.ring;
        this.#shape = geometry(prefixes);
        this.#cells = prefixes.map((_, i) => svg("path", { d: this.#shape.cell(i) }));
        this.#cellLayer.replaceChildren(...this.#cells);
        const ends = new Map();
        prefixes.forEach((name, i) => ends.set(name[0], [ends.get(name[0])?.[0] ?? i, i]));
        this.#letters.replaceChildren(
            ...[...ends].map(([letter, [first, last]], n) => {
                const [x, y] = this.#shape.between(first, last, LABELS);
                return svg("text", { x: x.toFixed(1), y: y.toFixed(1), class: n % 2 ? "odd" : null }, letter);
            }),
        );
    }

    #paint(only) {
        const { visited, current, errors, findings } = this.#detail.ring;
        const time = this.#now(),
            under = new Set(current);
        for (const i of only ?? visited.keys()) {
            if (i >= this.#cells.length) continue;
            const age = visited[i] === null ? "unseen" : `a${level(time - visited[i])}`;
            setAttr(this.#cells[i], "class", `cell ${age}${under.has(i) ? " current" : ""}`);
        }
        this.#marks.replaceChildren(
            ...errors.flatMap((n, i) => (n || findings[i] ? [this.#mark(i, n, findings[i])] : [])),
        );
        const walking = ["walking", "paused", "waiting"].includes(this.#detail.crawl.state);
        this.#hands.replaceChildren(
            ...(walking ? current.slice(0, HANDS_MOST) : []).map((i) =>
                svg("path", {
                    class: "hand",
                    d: `M${MIDDLE} ${MIDDLE - INNER + 14}V${MIDDLE - OUTER - 7}`,
                    transform: `rotate(${this.#shape.degrees(i).toFixed(2)} ${MIDDLE} ${MIDDLE})`,
                }),
            ),
        );
    }

    /** Larger for more, but not by much: what matters is that there is something. */
    #mark(index, errors, findings) {
        const [x, y] = this.#shape.centre(index),
            r = Math.min(5 + Math.log2(errors + findings) * 1.2, 11);
        if (!errors)
            return svg("circle", { class: "mark finding", cx: x.toFixed(1), cy: y.toFixed(1), r: r.toFixed(1) });
        const d = (r * 1.25).toFixed(1);
        return svg("path", {
            class: "mark error",
            d: `M${x.toFixed(1)} ${(y - d).toFixed(1)}l${d} ${d}l-${d} ${d}l-${d} -${d}Z`,
        });
    }
}

function visitText({ ring, crawl }, i, now) {
    if (ring.current.includes(i)) return "begun, not complete";
    const at = ring.visited[i];
    if (at === null) return "no visit known";
    const earlier = crawl.cycle_started !== null && at < crawl.cycle_started;
    return `visited ${away(at, now)}${earlier ? ", in an earlier cycle" : ""}`;
}

function troubleText({ ring }, i) {
    const errors = ring.errors[i],
        findings = ring.findings[i];
    if (!errors && !findings) return ring.visited[i] === null ? "" : "nothing found";
    return foundText(errors, findings);
}

function describe(detail, i, now) {
    const { prefixes } = detail.ring;
    const texts = [visitText(detail, i, now), troubleText(detail, i)].filter(Boolean);
    return `prefix ${prefixes[i]}, ${count(i + 1)} of ${count(prefixes.length)}: ${texts.join("; ")}`;
}

function prefixLines(detail, i, now) {
    const { prefixes } = detail.ring;
    return [
        `${count(i + 1)} of ${count(prefixes.length)}`,
        prefixes[i],
        visitText(detail, i, now).split(",")[0],
        troubleText(detail, i),
    ];
}

function cycleLines(c) {
    const left = c.remaining_secs ? range(c.remaining_secs) : "time left not known yet";
    return [
        c.cycle === null ? "" : `cycle ${count(c.cycle)}`,
        progressText(c),
        `${count(c.prefixes_done)} of ${count(c.prefixes_total)}`,
        c.state === "walking" ? left : c.state.replace("_", " "),
    ];
}

function legend() {
    const scale = el(
        "span",
        { class: "scale", "aria-hidden": "true" },
        Array.from({ length: LEVELS }, (_, i) => el("i", { class: `a${i}` })),
    );
    const marks = [
        ["finding", svg("circle", { class: "mark finding", cx: 8, cy: 8, r: 5 })],
        ["error", svg("path", { class: "mark error", d: "M8 1.5L14.5 8L8 14.5L1.5 8Z" })],
        ["never", svg("rect", { class: "cell unseen", x: 3, y: 3, width: 10, height: 10 })],
    ];
    return [
        el("span", { class: "ages" }, el("span", {}, "visited 1 min ago"), scale, el("span", {}, "3 months")),
        ...marks.map(([name, shape]) =>
            el(
                "span",
                { class: "key" },
                svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, shape),
                name === "never" ? "no visit known" : name,
            ),
        ),
    ];
}

/** The same picture for those who read: one row for each first letter. */
function ringTable(detail, now) {
    const { prefixes, visited, errors, findings } = detail.ring;
    const rows = new Map();
    const started = detail.crawl.cycle_started ?? Infinity;
    prefixes.forEach((name, i) => {
        const row = rows.get(name[0]) ?? {
            letter: name[0],
            first: name,
            all: 0,
            done: 0,
            unseen: 0,
            oldest: null,
            errors: 0,
            findings: 0,
        };
        row.last = name;
        row.all += 1;
        row.done += visited[i] !== null && visited[i] >= started ? 1 : 0;
        row.unseen += visited[i] === null ? 1 : 0;
        if (visited[i] !== null && (row.oldest === null || visited[i] < row.oldest)) row.oldest = visited[i];
        row.errors += errors[i];
        row.findings += findings[i];
        rows.set(name[0], row);
    });
    return table(
        "Prefixes by their first letter",
        [
            { head: "Prefixes", cell: (r) => (r.first === r.last ? r.first : `${r.first} to ${r.last}`) },
            { head: "Visited in this cycle", number: true, cell: (r) => `${r.done} of ${r.all}` },
            {
                head: "Oldest visit",
                number: true,
                cell: (r) =>
                    r.oldest === null ? UNKNOWN : el("time", { title: inFull(r.oldest) }, away(r.oldest, now)),
            },
            { head: "No visit known", number: true, cell: (r) => count(r.unseen) },
            { head: "Errors", number: true, cell: (r) => count(r.errors) },
            { head: "Findings", number: true, cell: (r) => count(r.findings) },
        ],
        [...rows.values()],
    );
}
