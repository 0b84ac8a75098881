// The last cycles of one crawl: when, how long, with what result.

import { byId, el, line, table } from "./dom.js";
import { sparedCount, sparedText } from "./crawls.js";
import { bytes, count, duration, inFull, iso, many, moment, UNKNOWN } from "./format.js";

const RESULTS = {
    complete: ["complete", "good"],
    incomplete: ["incomplete", "attention"],
    in_progress: ["in progress", "calm"],
    given_up: ["given up", "danger"],
};

/** A moment as text, with the whole of it for those who point at it. */
export const when = (at, now) =>
    typeof at === "number" ? el("time", { datetime: iso(at), title: inFull(at) }, moment(at, now)) : UNKNOWN;

const CYCLES_FIRST = 8,
    CYCLES_MOST = 200;

/** The table of cycles; the one in progress is kept up to date from the status. */
export function makeCycles() {
    const parent = byId("cycles");
    let all = false,
        running = null,
        columns = [];
    const live = (cycle, crawl, now) =>
        cycle.result !== "in_progress" || cycle.cycle !== crawl.cycle
            ? cycle
            : {
                  ...cycle,
                  buckets: crawl.buckets,
                  shares: cycle.shares === null ? null : crawl.shares,
                  errors: crawl.errors,
                  findings: crawl.findings,
                  elapsed_secs: now - cycle.started,
              };
    const set = (detail, now) => {
        const cycles = detail?.cycles ?? [];
        running = null;
        if (!cycles.length) return parent.replaceChildren(el("p", { class: "empty" }, "No cycle has begun yet."));
        const shown = cycles.slice(0, all ? CYCLES_MOST : CYCLES_FIRST).map((cycle) => live(cycle, detail.crawl, now));
        columns = cycleColumns(cycles, now);
        const made = table("Cycles, newest first", columns, shown, { class: "figures stacked" });
        const at = shown.findIndex((cycle) => cycle.result === "in_progress");
        if (at >= 0) running = { cycle: cycles[at], row: made.tBodies[0].rows[at] };
        const more = el(
            "button",
            {
                type: "button",
                class: "button",
                onclick: () => {
                    all = true;
                    set(detail, now);
                },
            },
            `Show all ${count(cycles.length)}`,
        );
        return parent.replaceChildren(
            el("div", { class: "scroll" }, made),
            ...(cycles.length > shown.length && !all ? [more] : []),
        );
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
        return el(
            "span",
            { class: "chip", "data-tone": tone },
            c.incomplete_prefixes ? `${word}, ${many(c.incomplete_prefixes, "prefix", "prefixes")} missing` : word,
        );
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
    if (cycles.some((c) => c.space?.would_delete_shares)) {
        const told = (c) => c.space?.would_delete_bytes;
        columns.push({ head: "Would delete", number: true, cell: (c) => (Number.isFinite(told(c)) ? bytes(told(c)) : "") });
    }
    if (cycles.some(sparedCount)) {
        const told = (c) => sparedCount(c) ?? "";
        const cell = (c) => (told(c) === "" ? "" : el("span", { title: sparedText(c) }, count(told(c))));
        columns.push({ head: "Spared", number: true, cell });
    }
    return columns;
}
