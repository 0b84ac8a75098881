// Questions before anything that deletes, and messages about what was refused.

import { byId, el, setText } from "./dom.js";

/** Asks; resolves to true only if the named button was pressed. `lines` are paragraphs, `facts` pairs of term and text. */
export function ask({ title, lines, facts = [], yes }) {
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
    setText(byId("ask-yes"), yes);
    return new Promise((resolve) => {
        dialog.returnValue = "no";
        byId("ask-no").onclick = () => dialog.close("no");
        byId("ask-yes").onclick = () => dialog.close("yes");
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
