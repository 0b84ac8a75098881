// What is asked before anything that deletes. Each resolves to true if it may be done, at once where nothing is deleted.

import { ask } from "./ask.js";
import { bytes, count, many } from "./format.js";

const FORWARD = ["start", "resume"];

/** States that no resuming of everything ends. */
const AT_REST = ["stopped", "failed", "done"];

/** Whether a crawl may delete something if it goes on; one of which too little is known may. */
function mayDelete(crawl, detail) {
    // What is not examined to its end, or not confirmed, is so first, also by an order to start.
    if (crawl.rehearsing) return false;
    if (crawl.rehearsal) return crawl.rehearsal.confirmed;
    if (!detail) return true;
    const { expire, delete: word, dry_run: dry } = detail.settings.parameters ?? {};
    return Boolean(word && word !== "nothing") || (Boolean(expire) && expire !== "none" && dry === false);
}

/** Before a crawl is started or resumed. */
export async function mayCrawl(crawl, detail, what) {
    if (!FORWARD.includes(what) || !mayDelete(crawl, detail)) return true;
    return ask({
        title: `Let ${crawl.name} go on?`,
        yes: `Yes, ${what} it`,
        lines: ["This crawl may delete what has expired, for good."],
        facts: [["Store", crawl.store]],
    });
}

/** Whether a cleaning changes its database if it goes on. */
export const mayTouch = (cleaning) => cleaning.dry_run !== true;

/** Before a cleaning is started or resumed. */
export async function mayClean(cleaning, what) {
    if (!FORWARD.includes(what) || !mayTouch(cleaning)) return true;
    const line =
        "A run takes old snapshots, unused rows and dead segments out of this database, and marks others to be " +
        "written anew by the next backup. This cannot be taken back.";
    return ask({
        title: `Clean ${cleaning.name}?`,
        yes: `Yes, ${what} it`,
        lines: [line],
        facts: [["Database", cleaning.database]],
    });
}

/** Before everything is resumed. */
export async function mayResumeAll(status, details) {
    const what = [
        ...status.crawls.filter((c) => mayDelete(c, details.get(c.name))),
        ...status.cleanings.filter(mayTouch),
    ];
    const names = what.filter((x) => !AT_REST.includes(x.state)).map((x) => x.name);
    if (names.length === 0) return true;
    return ask({
        title: "Resume everything?",
        yes: "Yes, resume",
        lines: [`What goes on may delete something, for good: ${names.join(", ")}.`],
    });
}

const OVER_LIMIT =
    "That is more than the limit in the settings allows. Check the clock, the rule of expiry and whether clients still renew " +
    "their leases.";

/** Before it is confirmed what a cycle would delete. Where that is more than the limit, the number has to be typed. */
export function mayConfirm(crawl) {
    const r = crawl.rehearsal;
    return ask({
        title: `Delete what ${crawl.name} has found?`,
        yes: `Delete ${many(r.shares, "share")}`,
        lines: [
            "What this cycle has found to be expired is deleted for good. Shares whose leases are renewed until then stay.",
            ...(r.over_limit ? [OVER_LIMIT] : []),
        ],
        facts: [
            ["Store", crawl.store],
            ["Shares", count(r.shares)],
            ["Leases", count(r.leases)],
            ["Buckets", count(r.buckets)],
            ["Space", bytes(r.bytes)],
            ["Limit in the settings", r.max_delete ?? "none"],
            ["Found by", `cycle ${count(r.cycle)}, among ${many(r.examined, "share")}`],
        ],
        number: r.over_limit ? r.shares : null,
        numberLabel: "To delete them, type how many shares that is:",
    });
}
