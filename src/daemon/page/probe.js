// Lets people ask a picture for its numbers, by pointer or by arrow keys; to a screen reader it is a slider whose value is
// the text of the thing it stands on.

/**
 * Makes `node` (an SVG element) a probe over `count()` things.
 * `at(x, y)` finds the thing under a point in the picture's own units, or -1; `show(index)` marks it, -1 for none;
 * `describe(index)` tells its numbers; `steps` names what keys besides left and right do; `pick(index)` is Enter or a click.
 */
export function probe(node, { label, count, start, at, show, describe, steps = {}, pick }) {
    let index = -1;
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "slider");
    node.setAttribute("aria-label", label);
    node.setAttribute("aria-valuemin", "0");

    const go = (next) => {
        index = next < count() ? next : -1;
        node.setAttribute("aria-valuemax", String(Math.max(count() - 1, 0)));
        node.setAttribute("aria-valuenow", String(Math.max(index, 0)));
        node.setAttribute("aria-valuetext", index < 0 ? "nothing chosen" : describe(index));
        show(index);
    };
    const under = (event) => {
        const matrix = node.getScreenCTM();
        if (!matrix) return -1;
        const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
        return at(point.x, point.y);
    };
    node.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "touch") go(under(event));
    });
    node.addEventListener("pointerdown", (event) => {
        const hit = under(event);
        go(hit);
        if (hit >= 0 && pick && event.pointerType !== "touch") pick(hit);
    });
    node.addEventListener("pointerleave", (event) => {
        if (event.pointerType !== "touch" && document.activeElement !== node) go(-1);
    });
    node.addEventListener("focus", () => {
        if (index < 0 && count() && node.matches(":focus-visible")) go(start());
    });
    node.addEventListener("blur", () => go(-1));
    node.addEventListener("keydown", (event) => {
        const last = count() - 1;
        if (last < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
        const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, ...steps }[event.key];
        if (by !== undefined) go((Math.max(index, 0) + by + last + 1) % (last + 1));
        else if (event.key === "Home") go(0);
        else if (event.key === "End") go(last);
        else if (event.key === "Escape") go(-1);
        else if (event.key === "Enter" && pick && index >= 0) pick(index);
        else return;
        event.preventDefault();
    });
    go(-1);
    return { refresh: () => go(index), index: () => index };
}
