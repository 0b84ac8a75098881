// The button that chooses the colour scheme; theme.js has set the kept one before the first paint.

import { byId, setText } from "./dom.js";
import { keep } from "./keep.js";

const SCHEMES = ["system", "light", "dark"];

/** Makes the button work. */
export function makeSchemeButton() {
    const root = document.documentElement;
    const now = () => root.dataset.theme ?? "system";
    const show = () => setText(byId("theme-name"), now());
    byId("theme").addEventListener("click", () => {
        const next = SCHEMES[(SCHEMES.indexOf(now()) + 1) % SCHEMES.length];
        if (next === "system") delete root.dataset.theme;
        else root.dataset.theme = next;
        keep("localStorage", "theme", next);
        show();
    });
    show();
}
