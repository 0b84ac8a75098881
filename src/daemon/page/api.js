// Calls of the daemon's API. The session cookie goes along by itself; no call leaves the daemon's own origin.

/** An answer that is not the one that was asked for; `message` is for people. */
class Refused extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

const PATIENCE_MS = 15000;

async function call(method, path, body, patience = PATIENCE_MS) {
    let answer;
    try {
        answer = await fetch(`api/${path}`, {
            method,
            headers: body === undefined ? {} : { "content-type": "application/json" },
            body: body === undefined ? undefined : JSON.stringify(body),
            cache: "no-store",
            signal: AbortSignal.timeout(patience),
        });
    } catch {
        throw new Refused(0, "the daemon does not answer");
    }
    const json = await answer.json().catch(() => null);
    if (answer.ok && json !== null) return json;
    throw new Refused(answer.status, json?.error ?? `the daemon answers ${answer.status}`);
}

const of = (kind, name) => `${kind}/${encodeURIComponent(name)}`;

/** `patience` is how long to wait for the answer, in milliseconds. */
export const getStatus = (patience) => call("GET", "status", undefined, patience);
export const getBudget = () => call("GET", "budget");
export const getCrawl = (name) => call("GET", of("crawls", name));
export const getPlan = (name) => call("GET", `${of("cleanings", name)}/plan`);
export const getFindings = (after) => call("GET", `findings?after=${after}&limit=1000`);

/** Does `what` (start, pause, resume, stop) with a crawl or a cleaning. */
export const act = (kind, name, what) => call("POST", `${of(kind, name)}/${what}`);
export const confirmDeletion = (name, { cycle, shares }) =>
    call("POST", `${of("crawls", name)}/confirm`, { cycle, shares });
export const everything = (what) => call("POST", what);
export const setBudget = (percentage) => call("PUT", "budget", { cpu_percentage: percentage });
export const takeBudgetBack = () => call("DELETE", "budget");
export const reload = () => call("POST", "reload");
