// Sets the chosen colour scheme before the first paint. A script of its own, because it must not wait for the modules.
"use strict";
try {
    const theme = localStorage.getItem("sexton-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
    // Storage may be forbidden; then the system's scheme holds.
}
