// The cleanings of databases: what each does, what its last run has done, and its newest plan as a picture.

import { byId, el, keyed, setAttr, setText } from "./dom.js";
import { away, bytes, count, duration, many, moment, percent } from "./format.js";
import { chip, facts, keepFocus } from "./crawls.js";
import { makeSegments } from "./segments.js";

const STATES = {
    working: ["at work", "good"], pausing: ["keeping clear for backups", "good"], waiting: ["waiting", "attention"],
    sleeping: ["sleeping", "calm"], paused: ["paused", "attention"], done: ["done", "calm"],
    stopped: ["stopped", "calm"], failed: ["failed", "danger"],
};
const ACTIVE = ["working", "pausing", "waiting", "sleeping"];
const STARTABLE = ["sleeping", "done", "stopped", "failed"];

/** Makes the list. `act(cleaning, what)` is called by the controls; `now()` is the daemon's clock. */
export function makeCleanings({ now, act }) {
    const parent = byId("cleaning-list"), plans = new Map();
    return {
        update(status) {
            byId("cleanings").hidden = status.cleanings.length === 0;
            keyed(parent, status.cleanings.map((cleaning) => ({ cleaning, status, plan: plans.get(cleaning.name) })),
                (x) => x.cleaning.name, (x) => cleaningPart(x.cleaning.name, now, act));
        },
        plan(name, plan) { plans.set(name, plan); },
    };
}

function cleaningPart(name, now, act) {
    const state = chip(), list = facts(), segments = makeSegments(name);
    const path = el("p", { class: "path quiet" }), note = el("p", { class: "note strong" }), run = el("p", { class: "lead" });
    const bar = el("progress", { "aria-label": `Progress of ${name}` });
    const part = el("span", { class: "part" }), doing = el("span", { class: "left" });
    const press = (what) => () => act(node.cleaning, what());
    const toggle = el("button", { type: "button", class: "button", onclick: press(() => toggle.dataset.what) });
    const start = el("button", { type: "button", class: "button", "aria-label": `Start now… ${name}`, onclick: press(() => "start") }, "Start now…");
    const stop = el("button", { type: "button", class: "button", "aria-label": `Stop ${name}`, onclick: press(() => "stop") }, "Stop");
    const none = el("p", { class: "empty" }, "No plan since the daemon's start: the picture of the segments comes with the next run.");
    const progress = el("div", { class: "progress" }, el("div", { class: "numbers" }, part, doing), bar);
    const node = el("article", { class: "cleaning", "aria-label": `Cleaning ${name}` },
        el("div", { class: "card" }, el("header", {}, el("h3", {}, name), state.node), path, progress, list.node, note, run,
            el("div", { class: "buttons" }, toggle, start, stop)),
        el("div", { class: "plan" }, segments.node, none));
    let shown = null;

    const update = ({ cleaning: c, status, plan }) => {
        const had = node.contains(document.activeElement) ? document.activeElement : null;
        node.cleaning = c;
        state.update(...(STATES[c.state] ?? [c.state, "calm"]), c.state === "working");
        setText(path, c.database);
        const planned = c.rows_planned > 0 && ["working", "pausing", "waiting", "paused"].includes(c.state);
        progress.hidden = !planned;
        bar.max = Math.max(c.rows_planned, 1);
        bar.value = Math.min(c.rows_done, c.rows_planned);
        setText(part, percent((100 * c.rows_done) / Math.max(c.rows_planned, 1)));
        setText(doing, c.doing);
        list.update([
            ["Rows", planned ? `${count(c.rows_done)} of ${count(c.rows_planned)}` : ""],
            ["Locks", count(c.locks)], ["Longest lock", duration(c.longest_lock_secs)],
            ["Planned again", c.planned_again ? count(c.planned_again) : ""],
            ["Next run", c.next_run_at !== null ? away(c.next_run_at, now()) : ""],
        ]);
        const why = c.error ?? c.waiting_for;
        note.hidden = !why;
        setText(note, why);
        setAttr(note, "data-tone", c.error ? "danger" : "attention");
        setText(run, runText(c.last_run, now()));
        const paused = c.state === "paused";
        toggle.dataset.what = paused ? "resume" : "pause";
        setText(toggle, paused ? "Resume…" : "Pause");
        setAttr(toggle, "aria-label", `${paused ? "Resume…" : "Pause"} ${name}`);
        toggle.hidden = !paused && !ACTIVE.includes(c.state);
        start.hidden = !STARTABLE.includes(c.state);
        stop.hidden = ["stopped", "failed", "done"].includes(c.state);
        for (const button of [toggle, start, stop]) button.disabled = !status.access.may_change || status.stopping;
        if (paused && status.paused) toggle.disabled = true;
        if (plan !== shown || !plan) {
            shown = plan;
            segments.set(plan ?? null);
            none.hidden = Boolean(plan);
        }
        keepFocus(node, had);
    };
    return { node, update };
}

function runText(run, now) {
    if (!run) return "No run has ended yet.";
    const began = `Last run ended ${moment(run.finished, now)} after ${duration(run.elapsed_secs)}`;
    if (run.refused) return `${began}: refused, ${run.refused}`;
    return `${began}: ${run.dry_run ? "would mark" : "marked"} ${many(run.marked_segments, "segment")}; ${bytes(run.reclaimable_bytes)} come free, ${bytes(run.rewrite_bytes)} are to be written again, ${bytes(run.obsolete_bytes)} are obsolete now.`;
}
