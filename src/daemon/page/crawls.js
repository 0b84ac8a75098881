// The crawls: how far each is, when it will be done, what it waits for, and what can be done with it.

import { byId, el, keyed, setAttr, setText } from "./dom.js";
import { away, bytes, count, duration, many, moment, percent, range, UNKNOWN } from "./format.js";

const STATES = {
    slow_start: ["waiting to begin", "calm"], walking: ["walking", "good"], sleeping: ["sleeping", "calm"],
    paused: ["paused", "attention"], waiting: ["waiting", "attention"], rehearsed: ["rehearsed", "attention"],
    stopped: ["stopped", "calm"], failed: ["failed", "danger"],
};
const ACTIVE = ["walking", "slow_start", "sleeping", "waiting"];
const STARTABLE = ["slow_start", "sleeping", "stopped", "failed", "rehearsed"];

/** A state as a word with a mark whose form differs too, not only its colour. */
export function chip() {
    const node = el("span", { class: "chip" });
    return { node, update(word, tone, live) { setText(node, word); setAttr(node, "data-tone", tone); setAttr(node, "data-live", Boolean(live)); } };
}

/** Puts the focus back on the card if the button that had it has gone. */
export function keepFocus(card, had) {
    if (had && (had.hidden || had.disabled)) card.querySelector(".buttons button:not([hidden]):not(:disabled)")?.focus();
}

/** A list of facts: `[term, text]`; those without text are left out. */
export function facts() {
    const node = el("dl", { class: "facts" });
    return {
        node,
        update(list) {
            keyed(node, list.filter(([, text]) => text), ([term]) => term, ([term]) => {
                const value = el("dd");
                return { node: el("div", {}, el("dt", {}, term), value), update: ([, text]) => setText(value, text) };
            });
        },
    };
}

/**
 * Makes the list. `on` has `act(name, what)`, `confirm(crawl)`, `select(name)`, `findings(name)`;
 * `now()` is the daemon's clock.
 */
export function makeCrawls({ now, on }) {
    const parent = byId("crawl-list");
    return {
        update(status, selected) {
            if (status.crawls.length === 0) {
                parent.replaceChildren(el("p", { class: "empty" }, "No crawl is configured. Add one to the configuration and read it again."));
                delete parent.keyedParts;
                return;
            }
            if (!parent.keyedParts) parent.replaceChildren();
            keyed(parent, status.crawls.map((crawl) => ({ crawl, selected: crawl.name === selected, status })), (x) => x.crawl.name, (x) => card(x.crawl.name, now, on));
        },
    };
}

function card(name, now, on) {
    const state = chip(), line = el("p", { class: "line quiet" });
    const pick = el("button", { type: "button", class: "pick", onclick: () => on.select(name) }, name);
    const where = el("p", { class: "path quiet" });
    const bar = el("progress", { "aria-label": `Progress of ${name}` });
    const part = el("span", { class: "part" }), left = el("span", { class: "left" });
    const trouble = el("button", { type: "button", class: "link", onclick: () => on.findings(name) });
    const note = el("p", { class: "note strong" });
    const ask = el("button", { type: "button", class: "button strong", onclick: () => on.confirm(node.crawl) }, "Look and confirm…");
    const askText = el("p");
    const rehearsal = el("div", { class: "callout" }, askText, ask);
    const press = (what) => () => on.act(name, what());
    const toggle = el("button", { type: "button", class: "button", onclick: press(() => toggle.dataset.what) });
    const start = el("button", { type: "button", class: "button", onclick: press(() => "start") }, "Start now");
    const stop = el("button", { type: "button", class: "button", onclick: press(() => "stop") }, "Stop");
    for (const [button, word] of [[start, "Start now:"], [stop, "Stop"]]) setAttr(button, "aria-label", `${word} ${name}`);
    const node = el("article", { class: "card", "aria-label": `Crawl ${name}` },
        el("header", {}, el("h3", {}, pick), state.node), where,
        el("div", { class: "progress" }, el("div", { class: "numbers" }, part, left), bar),
        line, note, rehearsal,
        el("div", { class: "foot" }, trouble, el("div", { class: "buttons" }, toggle, start, stop)));
    node.addEventListener("click", (event) => {
        if (!event.target.closest("button, a") && !String(getSelection())) on.select(name);
    });

    const update = ({ crawl: c, selected, status }) => {
        const had = node.contains(document.activeElement) ? document.activeElement : null;
        const mayChange = status.access.may_change && !status.stopping;
        node.crawl = c;
        setAttr(node, "data-selected", selected ? "true" : "false");
        setAttr(pick, "aria-pressed", selected ? "true" : "false");
        state.update(...(STATES[c.state] ?? [c.state, "calm"]), c.state === "walking");
        setText(where, c.job === c.name ? c.store : `${c.job} · ${c.store}`);
        bar.max = Math.max(c.prefixes_total, 1);
        bar.value = c.prefixes_done;
        setText(part, partText(c));
        setText(left, leftText(c, now()));
        setText(line, lineText(c, now()));
        trouble.hidden = !c.errors && !c.findings;
        setText(trouble, [c.errors && many(c.errors, "error"), c.findings && many(c.findings, "finding")].filter(Boolean).join(", ") + " in this cycle");
        setAttr(trouble, "data-tone", c.errors ? "danger" : "attention");
        const why = c.error ?? c.waiting_for;
        note.hidden = !why;
        setText(note, why);
        setAttr(note, "data-tone", c.error ? "danger" : "attention");
        const r = c.rehearsal;
        rehearsal.hidden = !r;
        setText(askText, r && (r.confirmed ? `Confirmed: the next cycle deletes ${many(r.shares, "share")} (${bytes(r.bytes)}).`
            : `The rehearsal would delete ${many(r.shares, "share")} (${bytes(r.bytes)}) in ${many(r.buckets, "bucket")}. Nothing was deleted.`));
        ask.hidden = !r || r.confirmed;
        const paused = c.state === "paused";
        toggle.dataset.what = paused ? "resume" : "pause";
        setText(toggle, paused ? "Resume" : "Pause");
        setAttr(toggle, "aria-label", `${paused ? "Resume" : "Pause"} ${name}`);
        toggle.hidden = !paused && !ACTIVE.includes(c.state);
        start.hidden = !STARTABLE.includes(c.state);
        stop.hidden = c.state === "stopped" || c.state === "failed";
        for (const button of [toggle, start, stop, ask]) button.disabled = !mayChange;
        if (paused && status.paused) toggle.disabled = true;
        keepFocus(node, had);
    };
    return { node, update };
}

function partText(c) {
    if (!c.prefixes_total) return UNKNOWN;
    const all = c.prefixes_done === c.prefixes_total;
    // 100 % is said of a complete cycle only.
    return all ? "100 %" : percent(Math.min((100 * c.prefixes_done) / c.prefixes_total, 99.9));
}

function leftText(c, now) {
    const left = c.remaining_secs;
    if (c.state === "walking") return left ? `${range(left)} left` : "time left not known yet";
    if (c.state === "paused" && left) return `${range(left)} of walking left`;
    if (c.next_cycle_at !== null && c.next_cycle_at > now) return `next cycle ${away(c.next_cycle_at, now)}`;
    if (c.state === "rehearsed") return "waits to be confirmed";
    return "";
}

/** The cycle in one line: since when, how much, how fast; of a crawl at rest, how the last one went. */
function lineText(c, now) {
    if (c.cycle === null) return "No cycle has begun yet.";
    const active = ["walking", "paused", "waiting"].includes(c.state);
    const last = c.last_cycle, seen = [many(c.buckets, "bucket"), c.shares && many(c.shares, "share")].filter(Boolean).join(", ");
    return [
        `cycle ${count(c.cycle)}${active && c.cycle_started !== null ? ` since ${moment(c.cycle_started, now)}` : ""}`,
        !active && last?.finished && `${last.result.replace("_", " ")} ${moment(last.finished, now)}, took ${duration(last.elapsed_secs)}`,
        seen,
        c.state === "walking" && rateText(c.buckets_per_sec),
        active && c.resumed_with !== null && `resumed with ${many(c.resumed_with, "prefix", "prefixes")} done`,
    ].filter(Boolean).join(" · ");
}

/** Of the last minute; while nothing was measured, no rate is claimed. */
function rateText(rate) {
    if (!(rate > 0)) return "rate not known yet";
    return `${rate < 0.1 ? "under 0.1" : rate < 100 ? rate.toFixed(1) : count(rate)} buckets/s`;
}

/** About when a walking crawl ends, as a range of clock times. */
export function endText(c, now) {
    if (!c.remaining_secs) return UNKNOWN;
    const first = moment(now + c.remaining_secs.least, now), last = moment(now + c.remaining_secs.most, now);
    return first === last ? `about ${first}` : `between ${first} and ${last}`;
}
