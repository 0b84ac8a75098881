// The cleanings of databases: what each does, what its last run has done, and its newest plan as a picture.

import { byId, el, keyed, setText } from "./dom.js";
import { away, bytes, count, duration, many, moment, percent } from "./format.js";
import { chip, controls, facts, progress, reason } from "./pieces.js";
import { mayTouch } from "./questions.js";
import { SegmentsPicture } from "./segments.js";

const STATES = {
    working: ["at work", "good"],
    pausing: ["keeping clear for backups", "good"],
    waiting: ["waiting", "attention"],
    sleeping: ["sleeping", "calm"],
    paused: ["paused", "attention"],
    done: ["done", "calm"],
    stopped: ["stopped", "calm"],
    failed: ["failed", "danger"],
};
/** States in which the rows of a run under way mean something. */
const UNDER_WAY = ["working", "pausing", "waiting", "paused"];

/** Makes the list. `act(cleaning, what)` is called by the controls; `now()` is the daemon's clock. */
export function makeCleanings({ now, act }) {
    const plans = new Map();
    return {
        update(status) {
            byId("cleanings").hidden = status.cleanings.length === 0;
            keyed(
                byId("cleaning-list"),
                status.cleanings.map((cleaning) => ({ cleaning, status, plan: plans.get(cleaning.name) ?? null })),
                (item) => item.cleaning.name,
                (item) => cleaningPart(item.cleaning.name, now, act),
            );
        },
        /** Takes the newest plan of a cleaning; null if there is none. */
        plan(name, plan) {
            plans.set(name, plan);
        },
    };
}

function cleaningPart(name, now, act) {
    let cleaning = null;
    let shown;
    const [state, bar, list, why] = [chip(), progress(name), facts(), reason()];
    const buttons = controls(name, (what) => act(cleaning, what));
    const segments = new SegmentsPicture(name);
    const path = el("p", { class: "path quiet" });
    const run = el("p", { class: "lead" });
    const none = el(
        "p",
        { class: "empty" },
        "No plan since the daemon's start: the picture of the segments comes with the next run.",
    );
    const head = el("header", {}, el("h3", {}, name), state.node);
    const node = el(
        "article",
        { class: "cleaning", "aria-label": `Cleaning ${name}` },
        el("div", { class: "card" }, head, path, bar.node, list.node, why.node, run, buttons.node),
        el("div", { class: "plan" }, segments.node, none),
    );

    const update = ({ cleaning: c, status, plan }) => {
        cleaning = c;
        state.update(STATES[c.state] ?? [c.state, "calm"], c.state === "working");
        setText(path, c.database);
        const planned = c.rows_planned > 0 && UNDER_WAY.includes(c.state);
        bar.node.hidden = !planned;
        bar.update(c.rows_done, c.rows_planned, percent((100 * c.rows_done) / Math.max(c.rows_planned, 1)), c.doing);
        list.update([
            ["Rows", planned ? `${count(c.rows_done)} of ${count(c.rows_planned)}` : ""],
            ["Locks", count(c.locks)],
            ["Longest lock", duration(c.longest_lock_secs)],
            ["Locked so long", c.lock_overrun ?? ""],
            ["Planned again", c.planned_again ? count(c.planned_again) : ""],
            ["Next run", c.next_run_at !== null && !status.paused ? away(c.next_run_at, now()) : ""],
        ]);
        why.update(c, now());
        setText(run, runText(c.last_run, now()));
        buttons.update(c.state, status, mayTouch(c) ? "…" : "");
        if (plan === shown) return;
        shown = plan;
        segments.set(plan);
        none.hidden = Boolean(plan);
    };
    return { node, update };
}

function runText(run, now) {
    if (!run) return "No run has ended yet.";
    // Of a run before the daemon's start only a summary is kept: not how long it took, nor what was obsolete.
    const whole = run.elapsed_secs > 0;
    const at = `${moment(run.finished, now)}${whole ? `, after ${duration(run.elapsed_secs)}` : ""}`;
    if (run.result === "failed") return `The last run failed ${at}: ${run.refused}`;
    if (run.refused) return `The last run was refused ${at}: ${run.refused}`;
    return `Last run ended ${at}: ${run.dry_run ? "would mark" : "marked"} ${many(run.marked_segments, "segment")}; ${bytes(run.reclaimable_bytes)} come free, ${bytes(run.rewrite_bytes)} are to be written again${whole ? `, ${bytes(run.obsolete_bytes)} are obsolete now` : ""}.`;
}
