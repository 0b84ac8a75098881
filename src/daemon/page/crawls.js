// The crawls: how far each is, when it will be done, what it waits for, and what can be done with it.

import { byId, el, keyed, setAttr, setText } from "./dom.js";
import { away, bytes, count, duration, many, moment, progressText, range, UNKNOWN } from "./format.js";
import { chip, controls, mayAct, progress, reason } from "./pieces.js";

const STATES = {
    slow_start: ["waiting to begin", "calm"],
    walking: ["walking", "good"],
    sleeping: ["sleeping", "calm"],
    paused: ["paused", "attention"],
    waiting: ["waiting", "attention"],
    rehearsed: ["to be confirmed", "attention"],
    stopped: ["stopped", "calm"],
    failed: ["failed", "danger"],
};

/** While everything is paused, nothing walks, and nothing begins when its time has come. */
const AT_REST_IN_A_PAUSE = ["slow_start", "walking", "sleeping"];

/**
 * Makes the list. `on` has `act(name, what)`, `confirm(crawl)`, `select(name)`, `findings(name)`;
 * `now()` is the daemon's clock.
 */
export function makeCrawls({ now, on }) {
    const parent = byId("crawl-list");
    const none = "No crawl is configured. Add one to the configuration and read it again.";
    return {
        update(status, selected) {
            const items = status.crawls.map((crawl) => ({ crawl, selected: crawl.name === selected, status }));
            byId("crawl-none").hidden = items.length > 0;
            setText(byId("crawl-none"), none);
            keyed(
                parent,
                items,
                (item) => item.crawl.name,
                (item) => card(item.crawl.name, now, on),
            );
        },
    };
}

function card(name, now, on) {
    const [state, bar, why] = [chip(), progress(name), reason()];
    const buttons = controls(name, (what) => on.act(name, what));
    const pick = el("button", { type: "button", class: "pick", onclick: () => on.select(name) }, name);
    const where = el("p", { class: "path quiet" });
    const line = el("p", { class: "line quiet" });
    const trouble = el("button", { type: "button", class: "link", onclick: () => on.findings(name) });
    const target = el("p", { class: "line quiet" });
    const spared = el("p", { class: "line quiet" });
    const rehearsal = rehearsalNote(on.confirm);
    const node = el(
        "article",
        { class: "card", "aria-label": `Crawl ${name}` },
        el("header", {}, el("h3", {}, pick), state.node),
        where,
        bar.node,
        line,
        target,
        spared,
        why.node,
        rehearsal.node,
        el("div", { class: "foot" }, trouble, buttons.node),
    );
    // The whole card is a target for the pointer; the keyboard has the name.
    node.addEventListener("click", (event) => {
        if (!event.target.closest("button, a") && !String(getSelection())) on.select(name);
    });

    const update = ({ crawl: c, selected, status }) => {
        setAttr(node, "data-selected", selected ? "true" : "false");
        setAttr(pick, "aria-pressed", selected ? "true" : "false");
        const shown = status.paused && AT_REST_IN_A_PAUSE.includes(c.state) ? "paused" : c.state;
        state.update(STATES[shown] ?? [shown, "calm"], shown === "walking");
        setText(where, c.job === c.name ? c.store : `${c.job} · ${c.store}`);
        const newest = newestCycle(c);
        const at = newest === c ? c : { ...c, prefixes_done: newest ? c.prefixes_total : 0 };
        bar.update(at.prefixes_done, at.prefixes_total, progressText(at), leftText(c, shown, now()));
        setText(line, lineText(c, shown, now()));
        target.hidden = !c.target;
        setText(target, c.target ? `${c.target.text.replace(/^./, (first) => first.toUpperCase())}.` : "");
        setAttr(target, "data-tone", c.target?.met === false ? "attention" : null);
        spared.hidden = !sparedCount(c.last_cycle);
        setText(spared, sparedText(c.last_cycle));
        const found = foundText(c);
        trouble.hidden = !found;
        setText(trouble, found);
        setAttr(trouble, "data-tone", c.damaged || tellingCycle(c)?.errors ? "danger" : "attention");
        why.update(c, now());
        rehearsal.update(c, status);
        buttons.update(c.state, status);
    };
    return { node, update };
}

/** What a cycle would delete, and the button that asks whether it may. */
function rehearsalNote(confirm) {
    let crawl = null;
    const text = el("p");
    const button = el(
        "button",
        { type: "button", class: "button strong", onclick: () => confirm(crawl) },
        "Look and confirm…",
    );
    const node = el("div", { class: "callout" }, text, button);
    const update = (next, status) => {
        crawl = next;
        const r = crawl.rehearsal;
        node.hidden = !r;
        button.disabled = !mayAct(status);
        if (!r) return;
        const what = `${many(r.shares, "share")} with ${many(r.leases, "lease")} (${bytes(r.bytes)})`;
        setText(
            text,
            r.confirmed
                ? `Confirmed: ${what} in ${many(r.buckets, "bucket")}.`
                : `This cycle would delete ${what} in ${many(r.buckets, "bucket")}${overLimit(r)}. Nothing was deleted.`,
        );
        button.hidden = r.confirmed;
    };
    return { node, update };
}

const overLimit = (r) => (r.over_limit ? `, more than the limit of ${r.max_delete} allows` : "");

/** The cycle that a crawl has begun, else the last that it has ended; null if it never walked. */
const newestCycle = (c) => (c.cycle !== null && c.cycle !== c.last_cycle?.cycle ? c : c.last_cycle);

/**
 * The cycle whose errors and findings speak for a crawl: the last that has ended, until the running one has more. A cycle
 * may take weeks; that it has found nothing in its first minutes says nothing.
 */
export function tellingCycle(c) {
    const [newest, last] = [newestCycle(c), c.last_cycle];
    if (!last || newest === last) return newest;
    const more = newest.errors - last.errors || newest.findings - last.findings;
    return more > 0 ? newest : last;
}

/** What is damaged, what the running cycle has met so far, and what the last one had; empty if there is nothing of it. */
function foundText(c) {
    const damaged = c.damaged ? `${many(c.damaged, "object")} damaged` : "";
    return [damaged, metText(c)].filter(Boolean).join("; ");
}

function metText(c) {
    const newest = newestCycle(c);
    const running = newest === c ? troubleText(c.errors, c.findings) : "";
    const last = c.last_cycle ? troubleText(c.last_cycle.errors, c.last_cycle.findings) : "";
    if (running && last) return `${running} in this cycle; ${last} in the last`;
    return running ? `${running} in this cycle` : last && `${last} in the last cycle`;
}

/** `1 error, 4 findings`; empty if there is neither. */
export const troubleText = (errors, findings, between = ", ") =>
    [errors && many(errors, "error"), findings && many(findings, "finding")].filter(Boolean).join(between);

function leftText(c, state, now) {
    const left = c.remaining_secs;
    if (state === "walking") return left ? `${range(left)} left` : "time left not known yet";
    if (state === "paused") return left ? `${range(left)} of walking left` : "";
    if (c.next_cycle_at !== null && c.next_cycle_at > now - 2) return `next cycle ${away(c.next_cycle_at, now)}`;
    if (state === "rehearsed") return "waits to be confirmed";
    return "";
}

/** The cycle in one line: since when, how much, how fast; where none is begun, how the last one went. */
function lineText(c, state, now) {
    const newest = newestCycle(c);
    if (!newest) return "No cycle has begun yet.";
    const begun = newest === c;
    return [
        `cycle ${count(newest.cycle)}${begun && c.cycle_started !== null ? ` since ${moment(c.cycle_started, now)}` : ""}`,
        !begun &&
            `${newest.result.replace("_", " ")} ${moment(newest.finished, now)}, took ${duration(newest.elapsed_secs)}`,
        [many(newest.buckets, "bucket"), newest.shares && many(newest.shares, "share")].filter(Boolean).join(", "),
        state === "walking" && begun && rateText(c.buckets_per_sec),
        begun && c.resumed_with !== null && `resumed with ${many(c.resumed_with, "prefix", "prefixes")} done`,
    ]
        .filter(Boolean)
        .join(" · ");
}

const SPARED = [
    ["partly_expired", "with only some leases expired"],
    ["expired_within_a_day", "expired less than a day ago"],
    ["touched_within_the_hour", "touched within the hour"],
];

/** How many shares with expired leases a cycle has left alone since their node runs; null where it does not say. */
export const sparedCount = (cycle) =>
    cycle?.spared ? SPARED.reduce((sum, [reason]) => sum + (cycle.spared[reason] ?? 0), 0) : null;

/** How many, and why; empty if there are none. */
export function sparedText(cycle) {
    const shares = sparedCount(cycle);
    if (!shares) return "";
    const why = SPARED.filter(([reason]) => cycle.spared[reason]).map(([r, words]) => `${count(cycle.spared[r])} ${words}`);
    return `Cycle ${count(cycle.cycle)} spared ${many(shares, "share")} with expired leases beside the running node: ${why.join(", ")}.`;
}

/** While nothing was measured, no rate is claimed. */
function rateText(rate) {
    if (rate === null) return "rate not known yet";
    return `${rate < 0.1 ? "under 0.1" : rate < 100 ? rate.toFixed(1) : count(rate)} buckets/s`;
}

/** About when a walking crawl ends, as a range of clock times. */
export function endText(c, now) {
    if (!c.remaining_secs) return UNKNOWN;
    const first = moment(now + c.remaining_secs.least, now),
        last = moment(now + c.remaining_secs.most, now);
    return first === last ? `about ${first}` : `between ${first} and ${last}`;
}
