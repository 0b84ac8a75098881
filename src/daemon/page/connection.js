// Whether the daemon is there: the banner that says when it is not, since when, and that it is back.

import { getStatus } from "./api.js";
import { byId, setText } from "./dom.js";
import { duration, toTheSecond } from "./format.js";

const BACK_SECS = 8;
// A daemon that was only restarted has its stream back by then.
const REFUSED_AFTER = 3;

const clock = () => Date.now() / 1000;

/** What is known of the connection. */
export class Connection {
    #lostAt = null;
    #why = null;
    #timer = 0;

    /** This machine's clock; while the connection is lost it stands still at the daemon's last word, as the figures do. */
    get now() {
        return this.#lostAt ?? clock();
    }

    /** Whether it is lost. */
    get lost() {
        return this.#lostAt !== null;
    }

    /** The daemon has said that it goes down, and why. */
    goodbye(why) {
        this.#why = why;
    }

    /** The stream is open. */
    opened() {
        const down = this.#lostAt === null ? null : clock() - this.#lostAt;
        this.#lostAt = this.#why = null;
        document.documentElement.classList.remove("stale");
        if (down === null) return;
        this.#say(`Connected again, after ${duration(down)}.`, "back");
        this.#timer = setTimeout(() => this.#say(""), BACK_SECS * 1000);
    }

    /**
     * The stream is gone, for the nth time in a row; the daemon was `heard` last at this moment of this machine's clock, and
     * `ahead` is what its own clock is before that.
     */
    broken(times, heard, ahead, shownAnything) {
        this.#lostAt ??= heard;
        document.documentElement.classList.add("stale");
        const since = `These figures are of ${toTheSecond(this.#lostAt + ahead)}`;
        if (!shownAnything) this.#say("The daemon does not answer; trying again.", "lost");
        else if (this.#why)
            this.#say(`The daemon has ended (${this.#why}). ${since}; the page comes back when it does.`, "lost");
        else this.#say(`Connection lost. ${since}; trying again.`, "lost");
        this.#ask(times, shownAnything ? `${since}; t` : "T", shownAnything);
    }

    /** A stream does not tell why it was refused; a plain call does. */
    async #ask(times, trying, shownAnything) {
        try {
            await getStatus();
            if (this.lost && times >= REFUSED_AFTER) {
                this.#say(
                    `The daemon runs, but sends no events: it may have as many readers as it takes. ${trying}rying again.`,
                    "lost",
                );
            }
        } catch (error) {
            if (!this.lost || error.status === 0) return;
            if (!shownAnything) setText(byId("verdict"), "This page may not look.");
            this.#say(`The daemon answers, but does not let this page look: ${error.message}.`, "lost");
        }
    }

    #say(text, kind = "") {
        const node = byId("banner");
        clearTimeout(this.#timer);
        node.hidden = !text;
        node.className = `banner ${kind}`;
        setText(node, text);
    }
}
