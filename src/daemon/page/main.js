// The page's one state, and who is told when it changes. Numbers come from the daemon only; its clock is the clock here.

import * as api from "./api.js";
import { tell } from "./ask.js";
import { byId, setText } from "./dom.js";
import { count, many, moment } from "./format.js";
import { keep, recall } from "./keep.js";
import { Connection } from "./connection.js";
import { live } from "./live.js";
import { BudgetPanel } from "./budget.js";
import { makeCleanings } from "./cleanings.js";
import { makeCrawls } from "./crawls.js";
import { AgesPanel } from "./ages.js";
import { makeCycles } from "./cycles.js";
import { FindingsPanel } from "./findings.js";
import { mayClean, mayConfirm, mayCrawl, mayResumeAll } from "./questions.js";
import { Ring } from "./ring.js";
import { makeSchemeButton } from "./scheme.js";
import { showSummary } from "./summary.js";

let status = null;
/** By how much the daemon's clock is before this machine's, in seconds. */
let ahead = 0;
/** The crawl whose details are shown. */
let selected = null;
let version = null;
let boot = null;
const connection = new Connection();
/** The details of crawls by name, with their rings; and of cleanings the end of the run whose plan was asked for. */
const details = new Map();
const planned = new Map();

/** The daemon's wall clock; while the connection is lost it stands still. */
const now = () => connection.now + ahead;
const refused = (error) => tell(error.message);
const detail = () => details.get(selected);

const ring = new Ring({ now, pick: (prefix) => findings.only({ name: selected, text: `prefix:${prefix}` }) });
const ages = new AgesPanel();
const cycles = makeCycles();
const findings = new FindingsPanel({ now });
const crawls = makeCrawls({
    now,
    on: {
        act: (name, what) => doing(actOnCrawl(name, what)),
        confirm: (crawl) => doing(confirm(crawl)),
        select,
        findings: (name) => findings.only({ name }),
    },
});
const cleanings = makeCleanings({ now, act: (cleaning, what) => doing(actOnCleaning(cleaning, what)) });
const budget = new BudgetPanel({
    now,
    refused,
    done: (next) => {
        status.budget = next;
        render();
    },
});

/** Shows a status everywhere. */
function render() {
    if (!status) return;
    showSummary(status, now());
    crawls.update(status, selected);
    cleanings.update(status);
    budget.update(
        status.budget,
        status.access.may_change,
        [...status.crawls, ...status.cleanings].map((x) => x.name),
    );
    byId("detail").hidden = byId("cycles-panel").hidden = status.crawls.length === 0;
    const button = byId("pause-all");
    setText(button, status.paused ? "Resume everything" : "Pause everything");
    button.hidden = false;
    button.disabled = byId("reload").disabled = !status.access.may_change;
    byId("reload").hidden = status.config.path === null;
    ring.heart();
    if (detail()) cycles.update(detail().crawl, now());
}

function take(next) {
    if (version !== null && next.version !== version) location.reload();
    version = next.version;
    const restarted = boot !== null && next.boot !== boot;
    boot = next.boot;
    status = next;
    ahead = next.now - Date.now() / 1000;
    const names = status.crawls.map((c) => c.name);
    for (const crawl of status.crawls) {
        const known = details.get(crawl.name);
        if (known) known.crawl = crawl;
        else if (!restarted) loadCrawl(crawl.name);
    }
    for (const name of details.keys()) if (!names.includes(name)) details.delete(name);
    if (!names.includes(selected)) {
        const kept = recall("sessionStorage", "crawl");
        const first = status.crawls.find((c) => c.state === "walking") ?? status.crawls[0];
        select(names.includes(kept) ? kept : (first?.name ?? null));
    }
    for (const { name, last_run: run } of status.cleanings) {
        // Plans of runs before the daemon's start are not kept.
        if (!run || run.finished < status.started || planned.get(name) === run.finished) continue;
        planned.set(name, run.finished);
        loadPlan(name);
    }
    if (restarted) loadAll();
    else if (status.last_finding > findings.last) findings.load();
    render();
}

function select(name) {
    selected = name;
    if (name) keep("sessionStorage", "crawl", name);
    showDetail();
    if (status) crawls.update(status, selected);
}

function showDetail() {
    const d = detail();
    setText(byId("ring-title"), selected ? `Ring of ${selected}` : "Ring");
    setText(byId("cycles-title"), selected ? `Cycles of ${selected}` : "Cycles");
    setText(byId("ring-lead"), d ? ringLead(d) : selected ? "Not loaded yet." : "");
    ring.set(d ?? null);
    ages.set(d ?? null);
    cycles.set(d ?? null, now());
}

function ringLead(d) {
    const { visited } = d.ring;
    const times = visited.filter((t) => t !== null);
    const unseen = visited.length - times.length;
    if (times.length === 0) return `${many(visited.length, "prefix", "prefixes")}; no visit is known yet.`;
    const oldest = times.reduce((a, b) => Math.min(a, b));
    return `${many(visited.length, "prefix", "prefixes")}. The oldest visit was ${moment(oldest, now())}${unseen ? `; of ${count(unseen)} no visit is known` : ""}.`;
}

const loading = new Map();
/** Loads the details of a crawl; what is asked for meanwhile is loaded once more afterwards. */
async function loadCrawl(name, again = false) {
    if (loading.has(name)) {
        loading.set(name, again);
        return;
    }
    loading.set(name, false);
    try {
        details.set(name, await api.getCrawl(name));
        if (name === selected) showDetail();
    } catch (error) {
        if (error.status !== 404 && error.status !== 0) refused(error);
    } finally {
        const once = loading.get(name);
        loading.delete(name);
        if (once) loadCrawl(name);
    }
}

async function loadPlan(name) {
    try {
        cleanings.plan(name, await api.getPlan(name));
    } catch (error) {
        // 404: no plan was made since the daemon's start.
        if (error.status === 404) cleanings.plan(name, null);
    }
    render();
}

/** Loads everything again: at the start, after a lost connection, and after events were missed. */
async function loadAll() {
    try {
        const [next, report] = await Promise.all([api.getStatus(), api.getBudget()]);
        details.clear();
        planned.clear();
        boot = next.boot;
        take(next);
        budget.series(report.series);
        findings.load();
    } catch (error) {
        if (error.status) refused(error);
    }
}

const doing = (promise) => promise.catch(refused);

/** Puts what a call has answered in the place of what was known before. */
function replaced(list, next) {
    const at = list.findIndex((one) => one.name === next.name);
    if (at >= 0) list[at] = next;
    render();
}

async function actOnCrawl(name, what) {
    const crawl = status.crawls.find((c) => c.name === name);
    if (!crawl || !(await mayCrawl(crawl, details.get(name), what))) return;
    const next = await api.act("crawls", name, what);
    if (details.has(name)) details.get(name).crawl = next;
    replaced(status.crawls, next);
}

async function actOnCleaning(cleaning, what) {
    if (!(await mayClean(cleaning, what))) return;
    replaced(status.cleanings, await api.act("cleanings", cleaning.name, what));
}

async function confirm(crawl) {
    // What was looked at, whatever waits by then.
    const shown = crawl.rehearsal;
    if (!(await mayConfirm(crawl))) return;
    replaced(status.crawls, await api.confirmDeletion(crawl.name, shown));
}

async function pauseOrResumeAll() {
    const what = status.paused ? "resume" : "pause";
    if (what === "resume" && !(await mayResumeAll(status, details))) return;
    status.paused = (await api.everything(what)).paused;
    render();
}

byId("pause-all").addEventListener("click", () => doing(pauseOrResumeAll()));
byId("reload").addEventListener("click", () =>
    doing(
        api.reload().then(({ changes }) =>
            tell(changes.length ? `Read again: ${changes.join("; ")}.` : "Read again; nothing has changed.", {
                tone: "good",
                secs: 12,
            }),
        ),
    ),
);

live({
    open() {
        connection.opened();
        loadAll();
    },
    lost: (times, heard) => connection.broken(times, heard, ahead, status !== null),
    status: take,
    prefixes(event) {
        const known = details.get(event.crawl);
        if (!known) return;
        const { ring: r } = known,
            before = r.current;
        for (const [i, errors, found] of event.marks) {
            r.visited[i] = event.at;
            r.errors[i] = errors;
            r.findings[i] = found;
        }
        r.current = event.current;
        if (event.crawl === selected)
            ring.mark(
                event.marks.map(([i]) => i),
                before,
            );
    },
    finding: (finding) => findings.add(finding),
    cycle: (event) => loadCrawl(event.crawl, true),
    cleaning: (event) => loadPlan(event.cleaning),
    sample: (sample) => budget.sample(sample),
    missed: () => loadAll(),
    bye: ({ why }) => connection.goodbye(why),
});

// Ages and "ago" grow also while no status comes.
setInterval(() => {
    if (!connection.lost && !document.hidden) {
        render();
    }
}, 5000);
setInterval(() => {
    if (connection.lost || document.hidden) return;
    ring.tick();
    if (detail()) setText(byId("ring-lead"), ringLead(detail()));
}, 20000);

makeSchemeButton();
