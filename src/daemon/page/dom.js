// Makes and changes elements. Text goes in as text, never as markup: names on this page come from disks.

const SVG = "http://www.w3.org/2000/svg";

// Characters that cannot be seen, or that turn the text around them, are spelled out: a name must not look like another.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const seen = (text) => text.replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

function fill(node, attrs, children) {
    for (const [name, value] of Object.entries(attrs ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(
        ...children
            .flat()
            .filter((child) => child !== null && child !== undefined)
            .map((child) => (typeof child === "string" ? seen(child) : child)),
    );
    return node;
}

/** Makes an HTML element; attributes that begin with `on` are listeners; strings become text. */
export const el = (name, attrs, ...children) => fill(document.createElement(name), attrs, children);

/** Makes an SVG element, likewise. */
export const svg = (name, attrs, ...children) => fill(document.createElementNS(SVG, name), attrs, children);

/** Finds the element with this id; the page's own, so it is there. */
export const byId = (id) => document.getElementById(id);

/** Sets the text if it is another one, so that screen readers hear changes only. */
export function setText(node, text) {
    const now = seen(String(text ?? ""));
    if (node.textContent !== now) node.textContent = now;
}

/** Sets or removes an attribute if that changes it. */
export function setAttr(node, name, value) {
    if (value === undefined || value === null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : String(value));
}

/**
 * Keeps one child per item, in order, by key: what is there is updated in place, so that focus and selection stay.
 * `make(item)` returns an object with `node` and `update(item)`.
 */
export function keyed(parent, items, key, make) {
    const known = parent.keyedParts ?? new Map();
    const next = new Map();
    items.forEach((item, index) => {
        const name = key(item);
        const part = known.get(name) ?? make(item);
        part.update(item);
        next.set(name, part);
        if (parent.children[index] !== part.node) parent.insertBefore(part.node, parent.children[index] ?? null);
    });
    for (const [name, part] of known) if (!next.has(name)) part.node.remove();
    parent.keyedParts = next;
}

/** One row of a table. */
export const line = (columns, row) =>
    el(
        "tr",
        {},
        columns.map((c) => {
            const value = c.cell(row);
            return el("td", { class: c.number ? "n" : c.class, "data-head": c.head }, value === "" ? "–" : value);
        }),
    );

/** Makes a table. A column is `{head, number, cell(row)}`; on narrow screens each row becomes a list with the heads. */
export function table(caption, columns, rows, attrs) {
    const head = el(
        "tr",
        {},
        columns.map((c) => el("th", { scope: "col", class: c.number ? "n" : null }, c.head)),
    );
    return el(
        "table",
        { class: "figures", ...attrs },
        el("caption", { class: "sr" }, caption),
        el("thead", {}, head),
        el(
            "tbody",
            {},
            rows.map((row) => line(columns, row)),
        ),
    );
}

/** Fills a `<details>` when it is opened, and again on `refresh` while it is open: tables cost nothing while hidden. */
export function lazy(details, make) {
    const body = details.querySelector("div");
    const refresh = () => {
        if (details.open) body.replaceChildren(make());
    };
    details.addEventListener("toggle", refresh);
    return refresh;
}

/** Calls `draw(width, height)` now and whenever the size of the node changes. Returns a function that draws again. */
export function drawn(node, draw) {
    let [width, height] = [0, 0];
    const again = () => {
        [width, height] = [node.clientWidth, node.clientHeight];
        if (width) draw(width, height);
    };
    new ResizeObserver(() => {
        if (node.clientWidth !== width || node.clientHeight !== height) again();
    }).observe(node);
    return again;
}
