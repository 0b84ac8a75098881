// What the browser keeps for this page. Storage may be forbidden; then things hold until the page is closed.

const kept = new Map();

/** Reads what was kept under this name; null if there is nothing. */
export function recall(storage, name) {
    try {
        return window[storage].getItem(`sexton-${name}`);
    } catch {
        return kept.get(name) ?? null;
    }
}

/** Keeps a text under this name. */
export function keep(storage, name, text) {
    kept.set(name, text);
    try {
        window[storage].setItem(`sexton-${name}`, text);
    } catch {
        // See above.
    }
}
