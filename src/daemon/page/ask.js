// Questions before anything that deletes, and messages about what was refused.

import { byId, el, setText } from "./dom.js";

/**
 * Asks; resolves to true only if the named button was pressed. `lines` are paragraphs, `facts` pairs of term and text. With
 * `number`, that number has to be typed before the button can be pressed, after the text of `numberLabel`.
 */
export function ask({ title, lines, facts = [], yes, number = null, numberLabel = "" }) {
    const dialog = byId("ask");
    setText(byId("ask-title"), title);
    byId("ask-text").replaceChildren(
        ...lines.map((line) => el("p", {}, line)),
        el(
            "dl",
            { class: "facts" },
            facts.map(([term, text]) => el("div", {}, el("dt", {}, term), el("dd", {}, text))),
        ),
    );
    const button = byId("ask-yes");
    setText(button, yes);
    button.disabled = number !== null;
    if (number !== null) {
        const input = el("input", { id: "ask-number", type: "text", inputmode: "numeric", autocomplete: "off" });
        input.oninput = () => {
            button.disabled = input.value.trim() !== String(number);
        };
        byId("ask-text").append(el("label", {}, numberLabel, " ", input));
    }
    return new Promise((resolve) => {
        dialog.returnValue = "no";
        byId("ask-no").onclick = () => dialog.close("no");
        button.onclick = () => dialog.close("yes");
        dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
        dialog.showModal();
        byId("ask-no").focus();
    });
}

let timer = 0;

/** Shows a message at the lower edge until it is dismissed, or for `secs`. */
export function tell(text, { tone = "danger", secs = 0 } = {}) {
    const toast = byId("toast");
    clearTimeout(timer);
    toast.hidden = false;
    toast.dataset.tone = tone;
    setText(toast.querySelector("p"), text);
    const hide = () => {
        toast.hidden = true;
    };
    toast.querySelector("button").onclick = hide;
    if (secs) timer = setTimeout(hide, secs * 1000);
}
