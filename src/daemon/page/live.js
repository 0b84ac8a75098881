// Keeps the stream of events open, notices when it breaks or goes silent, and comes back.

import { getStatus } from "./api.js";

const KINDS = ["status", "prefixes", "finding", "cycle", "cleaning", "sample", "missed", "bye"];
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000];
// The daemon sends its status each second. After this long without an event it is asked, and has as long to answer: a
// connection that has gone without a word is noticed within ten seconds.
const SILENCE_MS = 4500;
const LOOK_MS = 500;

/**
 * Opens the stream. `on` has a function per kind of event, and `open()`, `lost(times, heard)`: how often in a row, and when
 * the daemon was heard last by this machine's clock, in seconds.
 */
export function live(on) {
    let source = null;
    let tries = 0;
    let heard = Date.now();
    /** Since when it is quiet: since the last word, or the last attempt to open the stream. */
    let quiet = heard;
    let asking = false;
    let timer = 0;

    const hear = () => {
        heard = quiet = Date.now();
    };
    const connect = () => {
        quiet = Date.now();
        source = new EventSource("api/events");
        source.addEventListener("open", () => {
            tries = 0;
            hear();
            on.open();
        });
        source.addEventListener("error", lose);
        for (const kind of KINDS) {
            source.addEventListener(kind, (event) => {
                hear();
                on[kind](JSON.parse(event.data));
            });
        }
    };
    // The browser would try again by itself, but not after an answer such as 503 or 401; one way for all is easier to trust.
    const lose = () => {
        source?.close();
        source = null;
        clearTimeout(timer);
        tries += 1;
        on.lost(tries, heard / 1000);
        timer = setTimeout(connect, AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]);
    };
    const silent = () => Date.now() - quiet >= SILENCE_MS;
    const look = async () => {
        if (!source || asking || !silent()) return;
        const asked = source;
        asking = true;
        const status = await getStatus(SILENCE_MS).catch(() => null);
        asking = false;
        // A stream that was opened meanwhile, and what was heard meanwhile, count for more.
        if (source !== asked || !silent()) return;
        if (!status) return lose();
        hear();
        on.status(status);
        // The daemon is there, and the stream is not: what else it would have told is loaded when another is open.
        source.close();
        connect();
    };
    setInterval(look, LOOK_MS);
    connect();
}
