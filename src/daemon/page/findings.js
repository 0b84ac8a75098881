// Findings and errors as a table to search, to filter and to save.

import { byId, el, setText, table } from "./dom.js";
import { count, iso, many } from "./format.js";
import { when } from "./cycles.js";
import { getFindings } from "./api.js";

// Rows shown at once; on a narrow screen each is several lines.
const PAGE_ROWS = matchMedia("(max-width: 900px)").matches ? 20 : 100;
// What is held here; the daemon keeps its own bound.
const MOST = 20000;

/** The panel `#findings`. */
export class FindingsPanel {
    #now;
    #all = [];
    #last = 0;
    #boot = null;
    #loaded = false;
    /** Whether older ones were given up. */
    #missing = false;
    #shown = PAGE_ROWS;
    #problem = null;
    #busy = null;
    #due = 0;
    #search = byId("findings-search");
    #kind = byId("findings-kind");
    #crawl = byId("findings-crawl");

    /** `now()` is the daemon's clock. */
    constructor({ now }) {
        this.#now = now;
        const again = () => {
            this.#shown = PAGE_ROWS;
            this.#render();
        };
        for (const control of [this.#search, this.#kind, this.#crawl]) control.addEventListener("input", again);
        byId("findings-form").addEventListener("submit", (event) => event.preventDefault());
        byId("findings-more").addEventListener("click", () => {
            this.#shown += PAGE_ROWS;
            this.#render();
        });
        byId("save-csv").addEventListener("click", () => save("csv", "text/csv", csv(this.#filtered())));
        byId("save-json").addEventListener("click", () =>
            save("json", "application/json", `${JSON.stringify(this.#filtered(), null, 1)}\n`),
        );
    }

    /** The number of the newest one that is known here. */
    get last() {
        return this.#last;
    }

    /** Loads what is new; from the start after a restart of the daemon. */
    load() {
        this.#busy ??= this.#load()
            .catch((error) => {
                this.#problem = `The findings could not be loaded: ${error.message}`;
            })
            .finally(() => {
                this.#busy = null;
                this.#render();
            });
        return this.#busy;
    }

    /** Adds one from an event. They come in crowds, so the table is made anew a few times a second at most. */
    add(finding) {
        this.#take([finding]);
        this.#due ||= setTimeout(() => {
            this.#due = 0;
            this.#render();
        }, 250);
    }

    /** Shows only those of a crawl, or those that have this text, and goes there. */
    only({ name = "", text = "" }) {
        this.#search.value = text;
        this.#kind.value = "";
        if (![...this.#crawl.options].some((option) => option.value === name)) this.#crawl.append(crawlOption(name));
        this.#crawl.value = name;
        this.#shown = PAGE_ROWS;
        this.#render();
        byId("findings").scrollIntoView({ block: "start" });
        byId("findings").focus({ preventScroll: true });
    }

    async #load() {
        for (let more = true; more;) {
            const answer = await getFindings(this.#last);
            const restarted = this.#boot !== null && answer.boot !== this.#boot;
            this.#boot = answer.boot;
            if (restarted) {
                this.#all = [];
                this.#last = 0;
                this.#missing = false;
                continue;
            }
            if (this.#last === 0 && answer.first > 1) this.#missing = true;
            this.#take(answer.findings);
            more = answer.more && answer.findings.length > 0;
        }
        this.#problem = null;
        this.#loaded = true;
    }

    #take(list) {
        for (const finding of list) {
            if (finding.number <= this.#last) continue;
            this.#all.push(finding);
            this.#last = finding.number;
        }
        // What was met again stands there once.
        const replaced = new Set(list.map((finding) => finding.replaces).filter(Boolean));
        if (replaced.size) this.#all = this.#all.filter((finding) => !replaced.has(finding.number));
        if (this.#all.length > MOST) {
            this.#all = this.#all.slice(-MOST);
            this.#missing = true;
        }
    }

    /** Newest first. `prefix:ab` means that prefix and nothing else; any other word may stand anywhere. */
    #filtered() {
        const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
        const matches = (f, word) =>
            word.startsWith("prefix:") ? f.prefix === word.slice(7) : haystack(f).includes(word);
        const [kind, crawl] = [this.#kind.value, this.#crawl.value];
        return this.#all
            .filter((f) => (!kind || f.kind === kind) && (!crawl || f.crawl === crawl))
            .filter((f) => words.every((word) => matches(f, word)))
            .reverse();
    }

    #render() {
        this.#offerCrawls();
        const rows = this.#filtered(),
            any = this.#all.length > 0;
        byId("findings-form").hidden = !any;
        setText(
            byId("findings-count"),
            this.#problem ?? (any ? countText(rows.length, this.#all.length, this.#missing) : ""),
        );
        byId("findings-more").hidden = rows.length <= this.#shown;
        setText(byId("findings-more"), `Show ${count(Math.min(PAGE_ROWS, rows.length - this.#shown))} more`);
        const nothing = any
            ? "Nothing matches."
            : this.#loaded
              ? "No finding and no error is kept."
              : "Not loaded yet.";
        byId("findings-table").replaceChildren(
            rows.length ? findingTable(rows.slice(0, this.#shown), this.#now()) : el("p", { class: "empty" }, nothing),
        );
    }

    #offerCrawls() {
        const names = [...new Set(this.#all.map((f) => f.crawl))].sort();
        const offered = [...this.#crawl.options].slice(1).map((option) => option.value);
        if (names.every((name) => offered.includes(name))) return;
        const chosen = this.#crawl.value;
        this.#crawl.replaceChildren(this.#crawl.options[0], ...names.map(crawlOption));
        this.#crawl.value = names.includes(chosen) ? chosen : "";
    }
}

const crawlOption = (name) => el("option", { value: name }, name);

const COLUMNS = [
    "number",
    "kind",
    "crawl",
    "cycle",
    "cycles",
    "since",
    "at",
    "prefix",
    "storage_index",
    "share",
    "region",
    "path",
    "text",
];

const haystack = (f) =>
    COLUMNS.map((c) => f[c] ?? "")
        .join("\n")
        .toLowerCase();

function countText(found, all, missing) {
    const text = found === all ? many(all, "entry", "entries") : `${count(found)} of ${many(all, "entry", "entries")}`;
    return `${text}, newest first${missing ? "; older ones are no longer kept" : ""}`;
}

function findingTable(rows, now) {
    return table(
        "Findings and errors, newest first",
        [
            {
                head: "Kind",
                cell: (f) =>
                    el("span", { class: "chip", "data-tone": f.kind === "error" ? "danger" : "attention" }, f.kind),
            },
            { head: "When", class: "nowrap", cell: (f) => when(f.at, now) },
            {
                head: "Since",
                class: "nowrap",
                cell: (f) => (f.cycles > 1 ? el("span", {}, when(f.since, now), `, ${count(f.cycles)} cycles`) : ""),
            },
            { head: "Crawl", class: "broken", cell: (f) => f.crawl },
            { head: "Prefix", class: "code", cell: (f) => f.prefix },
            {
                head: "Where",
                class: "code wide",
                cell: (f) => f.path ?? ([f.storage_index, f.share].filter((x) => x !== null).join("/") || ""),
            },
            { head: "Part", class: "broken", cell: (f) => f.region ?? "" },
            { head: "What", class: "wide", cell: (f) => f.text },
        ],
        rows,
        { class: "figures stacked" },
    );
}

/** RFC 4180; what a spreadsheet would take for a formula is kept from being one by an apostrophe. */
function csv(rows) {
    const cell = (value) => {
        const text = String(value ?? "");
        const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
        return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const lines = rows.map((f) => COLUMNS.map((c) => cell(c === "at" || c === "since" ? iso(f[c]) : f[c])).join(","));
    return `${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
}

function save(ending, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    el("a", { href: url, download: `sexton-findings-${new Date().toISOString().slice(0, 10)}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}
