// What an operator sees first: one sentence, what to look at, four figures.

import { byId, el, keyed, setAttr, setText } from "./dom.js";
import { asked, away, count, duration, inFull, many, moment, percent, range, UNKNOWN } from "./format.js";
import { endText, tellingCycle, troubleText } from "./crawls.js";

const WORST = {
    errors: "Something could not be read.",
    failed: "Something has failed.",
    waiting: "Something is waiting.",
    warning: "Worth a look.",
};
const TONES = { damage: "danger", errors: "danger", failed: "danger", waiting: "attention", warning: "attention" };

/** The sentence, with its tone. It says that all is well only if nothing at all was found. */
export function verdict(status) {
    // The daemon lists them worst first.
    const worst = status.problems[0]?.severity;
    if (worst === "damage") return [damageText(status.crawls), TONES.damage];
    if (status.stopping) return ["The daemon is going down.", "attention"];
    if (TONES[worst] === "danger") return [WORST[worst], TONES[worst]];
    if (status.paused) return ["Everything is paused.", "attention"];
    if (worst) return [WORST[worst] ?? WORST.warning, TONES[worst] ?? "attention"];
    const { errors, findings } = trouble(status);
    if (errors || findings)
        return [`Running, with ${troubleText(errors, findings, " and ")}.`, errors ? "danger" : "attention"];
    if (status.crawls.length + status.cleanings.length === 0) return ["There is nothing to do.", "calm"];
    return ["All is well.", "good"];
}

/** How many objects are damaged; two crawls that judge one store alike know of the same ones. */
const damaged = (crawls) => sum([...new Map(crawls.map((c) => [`${c.job} ${c.store}`, c.damaged])).values()], (n) => n);
const damageText = (crawls) => {
    const objects = damaged(crawls);
    return `${many(objects, "object")} ${objects === 1 ? "is" : "are"} damaged.`;
};

const sum = (list, of) => list.reduce((n, x) => n + of(x), 0);
const trouble = (status) => ({
    errors: sum(status.crawls, (c) => tellingCycle(c)?.errors ?? 0),
    findings: sum(status.crawls, (c) => tellingCycle(c)?.findings ?? 0),
});

/** Of which cycles the trouble is told. */
function whichCycles(crawls) {
    if (crawls.length === 0) return "";
    const ended = crawls.filter((c) => c.last_cycle);
    if (ended.length === 0) return "so far: no cycle has ended yet";
    const last = "in the last finished cycle of each crawl";
    const all = crawls.every((c) => tellingCycle(c) === c.last_cycle);
    return all ? last : `${last}, or in the running one where it has more`;
}

/** Shows all of it. `now` is the daemon's clock. */
export function showSummary(status, now) {
    const [sentence, tone] = verdict(status);
    setText(byId("verdict"), sentence);
    setAttr(byId("verdict"), "data-tone", tone);
    keyed(
        byId("problems"),
        status.problems,
        (p) => `${p.about} ${p.name} ${p.text}`,
        (p) => ({
            node: el(
                "li",
                { "data-tone": TONES[p.severity] ?? "attention" },
                p.name ? el("b", {}, `${p.name} `) : null,
                p.text,
            ),
            update() {},
        }),
    );
    byId("readonly").hidden = status.access.may_change;
    keyed(
        byId("vitals"),
        vitals(status, now),
        ([term]) => term,
        ([term]) => {
            const value = el("dd", { class: "big" }),
                more = el("dd", { class: "quiet" });
            return {
                node: el("div", {}, el("dt", {}, term), value, more),
                update([, big, small, kind]) {
                    setText(value, big);
                    setText(more, small);
                    setAttr(value, "data-tone", kind);
                },
            };
        },
    );
    setText(byId("facts"), `${location.host} · version ${status.version}`);
    document.title = tone === "good" ? "Sexton" : `${sentence.replace(/\.$/, "")} · Sexton`;
    showAbout(status, now);
}

function vitals(status, now) {
    const b = status.budget;
    // A crawl keeps its state while everything is paused; it does not walk.
    const goes = (list, ...states) => (status.paused ? 0 : list.filter((x) => states.includes(x.state)).length);
    const walking = goes(status.crawls, "walking");
    const working = goes(status.cleanings, "working", "pausing");
    const { errors, findings } = trouble(status);
    const done = [
        status.crawls.length && `${walking} of ${many(status.crawls.length, "crawl")} walking`,
        status.cleanings.length && `${working} of ${many(status.cleanings.length, "cleaning")} at work`,
    ].filter(Boolean);
    return [
        ["Running for", duration(status.uptime_secs), done.join(", ") || "no crawl, no cleaning"],
        [
            "Found",
            troubleText(errors, findings, " and ") || "nothing",
            whichCycles(status.crawls),
            errors || damaged(status.crawls) ? "danger" : findings ? "attention" : null,
        ],
        [
            "Budget used",
            `${percent(b.measured_percentage)} of ${asked(b.requested_percentage)}`,
            `of one core, last minute; last hour ${percent(b.measured_hour_percentage)}`,
        ],
        ["Done next", ...nextEnd(status, now)],
    ];
}

function nextEnd(status, now) {
    if (status.paused) return ["nothing", "everything is paused"];
    const walking = status.crawls.filter((c) => c.state === "walking");
    const soonest = walking
        .filter((c) => c.remaining_secs)
        .sort((a, b) => a.remaining_secs.least - b.remaining_secs.least)[0];
    if (soonest)
        return [
            range(soonest.remaining_secs),
            `${soonest.name}, cycle ${count(soonest.cycle)}: ${endText(soonest, now)}`,
        ];
    if (walking.length) return [UNKNOWN, `${walking[0].name} has not walked long enough`];
    const next = status.crawls
        .filter((c) => c.next_cycle_at !== null)
        .sort((a, b) => a.next_cycle_at - b.next_cycle_at)[0];
    if (next) return ["nothing walks", `${next.name} begins again ${away(next.next_cycle_at, now)}`];
    return ["nothing walks", "no cycle is due"];
}

function showAbout(status, now) {
    setText(byId("priority"), status.priority.text ? `Priority: ${status.priority.text}.` : "");
    setAttr(byId("priority"), "data-tone", status.priority.in_force === "yes" ? null : "attention");
    const list = [
        ["Configuration", status.config.path ?? "none: the daemon was started without a file"],
        ["Read", moment(status.config.loaded, now)],
        ["State", status.config.state],
        ["Started", `${moment(status.started, now)} as process ${status.pid}`],
        [
            "Slices",
            `${count(status.budget.slices)} of ${duration(status.budget.slice_secs)}, longest ${duration(status.budget.longest_slice_secs)}, by ${status.budget.basis} time`,
        ],
        ["Times", `of this browser, ${Intl.DateTimeFormat().resolvedOptions().timeZone}`],
    ];
    keyed(
        byId("about"),
        list,
        ([term]) => term,
        ([term]) => {
            const value = el("dd");
            return { node: el("div", {}, el("dt", {}, term), value), update: ([, text]) => setText(value, text) };
        },
    );
    byId("about").title = `Daemon started ${inFull(status.started)}`;
}
