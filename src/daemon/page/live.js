// Keeps the stream of events open, notices when it breaks or goes silent, and comes back.

import { getStatus } from "./api.js";

const KINDS = ["status", "prefixes", "finding", "cycle", "cleaning", "sample", "missed", "bye"];
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000];
// The daemon says something every 15 s, but comments do not reach a page; so after this long without an event it is asked.
const SILENCE_MS = 40000;

/** Opens the stream. `on` has a function per kind of event, and `open()`, `lost(times)`. */
export function live(on) {
    let source = null;
    let tries = 0;
    let heard = Date.now();
    let timer = 0;

    const connect = () => {
        source = new EventSource("api/events");
        source.addEventListener("open", () => {
            tries = 0;
            heard = Date.now();
            on.open();
        });
        source.addEventListener("error", lose);
        for (const kind of KINDS) {
            source.addEventListener(kind, (event) => {
                heard = Date.now();
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
        on.lost(tries);
        timer = setTimeout(connect, AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]);
    };
    setInterval(() => {
        if (!source || Date.now() - heard < SILENCE_MS) return;
        heard = Date.now();
        getStatus().then((status) => on.status(status), lose);
    }, 5000);
    connect();
}
