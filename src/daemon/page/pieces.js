// What crawls and cleanings show alike: a state, a bar, facts, a reason, and the buttons.

import { el, keyed, setAttr, setText } from "./dom.js";
import { away } from "./format.js";

/** A state as a word, with a mark whose form differs too, not only its colour; it moves while work goes on. */
export function chip() {
    const node = el("span", { class: "chip" });
    return {
        node,
        update([word, tone], live) {
            setText(node, word);
            setAttr(node, "data-tone", tone);
            setAttr(node, "data-live", Boolean(live));
        },
    };
}

/** A bar with a figure at its left and words at its right. */
export function progress(name) {
    const bar = el("progress", { "aria-label": `Progress of ${name}` });
    const figure = el("span", { class: "part" });
    const words = el("span", { class: "left" });
    const node = el("div", { class: "progress" }, el("div", { class: "numbers" }, figure, words), bar);
    return {
        node,
        update(done, total, part, text) {
            bar.max = Math.max(total, 1);
            bar.value = Math.min(done, bar.max);
            setText(figure, part);
            setText(words, text);
        },
    };
}

/** A list of facts: `[term, text]`; those without text are left out. */
export function facts() {
    const node = el("dl", { class: "facts" });
    const make = ([term]) => {
        const value = el("dd");
        return { node: el("div", {}, el("dt", {}, term), value), update: ([, text]) => setText(value, text) };
    };
    return {
        node,
        update(list) {
            const known = list.filter(([, text]) => text);
            keyed(node, known, ([term]) => term, make);
        },
    };
}

/** What an operator has done to it, and what ends that. */
const byHand = ({ what, at }, now) =>
    what === "stopped"
        ? `Stopped by hand ${away(at, now)}, until it is started.`
        : `Paused by hand ${away(at, now)}, until it is resumed.`;

/** Why it does not go on: an error, or what it waits for, or what an operator has done. */
export function reason() {
    const node = el("p", { class: "note strong" });
    return {
        node,
        update({ error, waiting_for: waiting, by_hand: hand }, now) {
            const text = error ?? waiting ?? (hand && byHand(hand, now));
            node.hidden = !text;
            setText(node, text ?? "");
            setAttr(node, "data-tone", error ? "danger" : "attention");
        },
    };
}

const ACTIVE = ["walking", "working", "pausing", "slow_start", "sleeping", "waiting"];
const STARTABLE = ["slow_start", "sleeping", "stopped", "failed", "rehearsed", "done"];
const ENDED = ["stopped", "failed", "done"];

/**
 * The buttons, as far as they make sense in a state. `act(what)` is called with start, pause, resume or stop; the `dots` of
 * an update stand behind what asks before it is done.
 */
export function controls(name, act) {
    const button = (text, press) => el("button", { type: "button", class: "button", onclick: press }, text);
    const toggle = button("", () => act(toggle.dataset.what));
    const start = button("", () => act("start"));
    const stop = button("Stop", () => act("stop"));
    setAttr(stop, "aria-label", `Stop ${name}`);
    const node = el("div", { class: "buttons" }, toggle, start, stop);
    return {
        node,
        update(state, status, dots = "") {
            const had = [toggle, start, stop].find((one) => one === document.activeElement);
            const paused = state === "paused";
            const word = paused ? `Resume${dots}` : "Pause";
            toggle.dataset.what = paused ? "resume" : "pause";
            setText(toggle, word);
            setAttr(toggle, "aria-label", `${word} ${name}`);
            setText(start, `Start now${dots}`);
            setAttr(start, "aria-label", `Start now${dots || ":"} ${name}`);
            toggle.hidden = !paused && !ACTIVE.includes(state);
            start.hidden = !STARTABLE.includes(state);
            stop.hidden = ENDED.includes(state);
            for (const one of [toggle, start, stop]) one.disabled = !mayAct(status);
            // While everything is paused, that is what must be resumed.
            if (paused && status.paused) toggle.disabled = true;
            if (had && (had.hidden || had.disabled)) node.querySelector("button:not([hidden], :disabled)")?.focus();
        },
    };
}

/** Whether a change would be taken. */
export const mayAct = (status) => status.access.may_change && !status.stopping;
