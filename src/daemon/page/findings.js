// Findings and errors as a table to search, to filter and to save.

import { byId, el, setText, table } from "./dom.js";
import { count, iso, many } from "./format.js";
import { when } from "./cycles.js";
import { getFindings } from "./api.js";

// Rows shown at once; on a narrow screen each is several lines.
const PAGE_ROWS = matchMedia("(max-width: 900px)").matches ? 20 : 100;
// What is held here; the daemon keeps its own bound.
const MOST = 20000;

/** Makes the table. `now()` is the daemon's clock. */
export function makeFindings({ now }) {
    let all = [], loaded = false, last = 0, boot = null, missing = false, shown = PAGE_ROWS, problem = null;
    const search = byId("findings-search"), kind = byId("findings-kind"), crawl = byId("findings-crawl");

    const filtered = () => {
        // `prefix:ab` means that prefix and nothing else; any other word may stand anywhere.
        const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
        const matches = (f, word) => (word.startsWith("prefix:") ? f.prefix === word.slice(7) : haystack(f).includes(word));
        return all.filter((f) => (!kind.value || f.kind === kind.value) && (!crawl.value || f.crawl === crawl.value)
            && words.every((word) => matches(f, word))).reverse();
    };
    const render = () => {
        const rows = filtered();
        const any = all.length > 0;
        byId("findings-form").hidden = !any;
        setText(byId("findings-count"), problem ?? (any ? countText(rows.length, all.length, missing) : ""));
        byId("findings-more").hidden = rows.length <= shown;
        setText(byId("findings-more"), `Show ${count(Math.min(PAGE_ROWS, rows.length - shown))} more`);
        byId("findings-table").replaceChildren(
            rows.length ? findingTable(rows.slice(0, shown), now())
                : el("p", { class: "empty" }, any ? "Nothing matches." : problem ? "" : loaded ? "No finding and no error is kept." : "Not loaded yet."));
    };
    // Findings come in crowds; the table is made anew a few times a second at most.
    let due = 0;
    const renderSoon = () => { due ||= setTimeout(() => { due = 0; crawls(); render(); }, 250); };
    const crawls = () => {
        const names = [...new Set(all.map((f) => f.crawl))].sort();
        const now = [...crawl.options].slice(1).map((o) => o.value);
        if (names.join("\n") === now.join("\n")) return;
        const chosen = crawl.value;
        crawl.replaceChildren(crawl.options[0], ...names.map((name) => el("option", { value: name }, name)));
        crawl.value = names.includes(chosen) ? chosen : "";
    };
    const again = () => { shown = PAGE_ROWS; render(); };
    for (const control of [search, kind, crawl]) control.addEventListener("input", again);
    byId("findings-form").addEventListener("submit", (event) => event.preventDefault());
    byId("findings-more").addEventListener("click", () => { shown += PAGE_ROWS; render(); });
    byId("save-csv").addEventListener("click", () => save("csv", "text/csv", csv(filtered())));
    byId("save-json").addEventListener("click", () => save("json", "application/json", `${JSON.stringify(filtered(), null, 1)}\n`));

    const take = (list) => {
        for (const finding of list) {
            if (finding.number <= last) continue;
            all.push(finding);
            last = finding.number;
        }
        if (all.length > MOST) { all = all.slice(-MOST); missing = true; }
    };
    let busy = null;
    const load = async () => {
        for (let more = true; more;) {
            const answer = await getFindings(last);
            if (boot !== null && answer.boot !== boot) { all = []; last = 0; missing = false; boot = answer.boot; continue; }
            boot = answer.boot;
            if (last === 0 && answer.first > 1) missing = true;
            take(answer.findings);
            more = answer.more && answer.findings.length > 0;
        }
        problem = null;
        loaded = true;
    };
    return {
        /** Loads what is new; from the start after a restart of the daemon. */
        load() {
            busy ??= load().catch((error) => { problem = `The findings could not be loaded: ${error.message}`; })
                .finally(() => { busy = null; crawls(); render(); });
            return busy;
        },
        add(finding) { take([finding]); renderSoon(); },
        /** Shows only this crawl's, or what has this text. */
        only({ name = "", text = "" }) {
            search.value = text;
            kind.value = "";
            if (![...crawl.options].some((o) => o.value === name)) crawl.append(el("option", { value: name }, name));
            crawl.value = name;
            again();
            byId("findings").scrollIntoView({ block: "start" });
            byId("findings").focus({ preventScroll: true });
        },
        last: () => last,
    };
}

const COLUMNS = ["number", "kind", "crawl", "cycle", "at", "prefix", "storage_index", "share", "region", "path", "text"];

const haystack = (f) => COLUMNS.map((c) => f[c] ?? "").join("\n").toLowerCase();

function countText(found, all, missing) {
    const text = found === all ? many(all, "entry", "entries") : `${count(found)} of ${many(all, "entry", "entries")}`;
    return `${text}, newest first${missing ? "; older ones are no longer kept" : ""}`;
}

function findingTable(rows, now) {
    return table("Findings and errors, newest first", [
        { head: "Kind", cell: (f) => el("span", { class: "chip", "data-tone": f.kind === "error" ? "danger" : "attention" }, f.kind) },
        { head: "When", class: "nowrap", cell: (f) => when(f.at, now) },
        { head: "Crawl", class: "broken", cell: (f) => f.crawl },
        { head: "Prefix", class: "code", cell: (f) => f.prefix },
        { head: "Where", class: "code wide", cell: (f) => f.path ?? ([f.storage_index, f.share].filter((x) => x !== null).join("/") || "") },
        { head: "Part", class: "broken", cell: (f) => f.region ?? "" },
        { head: "What", class: "wide", cell: (f) => f.text },
    ], rows, { class: "figures stacked" });
}

/** RFC 4180; what a spreadsheet would take for a formula is kept from being one by an apostrophe. */
function csv(rows) {
    const cell = (value) => {
        const text = String(value ?? "");
        const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
        return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const lines = rows.map((f) => COLUMNS.map((c) => cell(c === "at" ? iso(f.at) : f[c])).join(","));
    return `${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
}

function save(ending, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    el("a", { href: url, download: `sexton-findings-${new Date().toISOString().slice(0, 10)}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}
