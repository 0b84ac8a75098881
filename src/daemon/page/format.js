// Numbers and moments as people read them. Pure; what is not known is said so.

/** Stands where a number is not known. */
export const UNKNOWN = "not known";

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** 84520 -> `84,520`. */
export const count = (n) => (n === null || n === undefined ? UNKNOWN : whole.format(n));

/** `1 finding`, `2 findings`. */
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** 49.81 -> `49.8 %`; what is too small to show is not shown as nothing. */
export function percent(n, digits = 1) {
    if (n === null || n === undefined) return UNKNOWN;
    const least = 10 ** -digits;
    if (n > 0 && n < least / 2) return `< ${least} %`;
    return `${n.toFixed(digits)} %`;
}

/** How far a cycle is; 100 % is said of a complete one only. */
export function progressText({ prefixes_done: done, prefixes_total: total }) {
    if (!total) return UNKNOWN;
    return done >= total ? "100 %" : percent(Math.min((100 * done) / total, 99.9));
}

/** As many digits as the operator wrote: 50 -> `50 %`, 12.5 -> `12.5 %`. */
export const asked = (n) => `${Number(n.toFixed(2))} %`;

/** 812336410112 -> `812.3 GB`, by thousands as the program prints it. */
export function bytes(n) {
    if (n === null || n === undefined) return UNKNOWN;
    const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let value = n,
        unit = 0;
    while (value >= 999.95 && unit < units.length - 1) {
        value /= 1000;
        unit += 1;
    }
    return unit === 0 ? `${whole.format(n)} B` : `${value.toFixed(1)} ${units[unit]}`;
}

const STEPS = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
];

/** 10020 -> `2 h 47 min`; two units at most; below ten seconds with a digit, below one in milliseconds. */
export function duration(secs) {
    if (secs === null || secs === undefined || !Number.isFinite(secs)) return UNKNOWN;
    if (secs < 0.0005) return "0 s";
    if (secs < 0.9995) return `${(secs * 1000).toFixed(secs < 0.01 ? 1 : 0)} ms`;
    if (secs < 9.95) return `${secs.toFixed(1)} s`;
    const first = STEPS.findIndex(([, size]) => secs >= size * 0.9999);
    const [unit, size] = STEPS[first];
    const next = STEPS[first + 1];
    if (!next || secs / size >= 100) return `${whole.format(Math.round(secs / size))} ${unit}`;
    const rest = Math.round(secs / next[1]);
    const big = Math.floor((rest * next[1]) / size);
    const small = rest - Math.round((big * size) / next[1]);
    return small ? `${big} ${unit} ${small} ${next[0]}` : `${big} ${unit}`;
}

/** The range of a remaining time, as honest as it is known. */
export function range(span) {
    if (!span) return UNKNOWN;
    const least = duration(span.least),
        most = duration(span.most);
    return least === most ? `about ${least}` : `${least} to ${most}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const second = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const long = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

const date = (secs) => new Date(secs * 1000);
const known = (secs) => typeof secs === "number" && Math.abs(secs) < 8.64e12;

/** `21:40` today, `14 Nov, 21:40` this year, with the year otherwise. */
export function moment(at, now) {
    if (!known(at)) return UNKNOWN;
    const a = date(at),
        b = date(now);
    if (a.toDateString() === b.toDateString()) return clock.format(a);
    return `${(a.getFullYear() === b.getFullYear() ? day : year).format(a)}, ${clock.format(a)}`;
}

/** `21:40:03`. */
export const toTheSecond = (at) => (known(at) ? second.format(date(at)) : UNKNOWN);

/** In full, for a tooltip. */
export const inFull = (at) => (known(at) ? long.format(date(at)) : UNKNOWN);

/** For files and attributes: ISO 8601, in UTC. */
export const iso = (at) => (known(at) ? date(at).toISOString() : "");

/** `12 min ago`, `in 3 h`, `just now`. */
export function away(at, now) {
    if (!known(at)) return UNKNOWN;
    const secs = now - at;
    if (Math.abs(secs) < 1.5) return secs >= 0 ? "just now" : "any moment";
    return secs > 0 ? `${duration(Math.max(secs, 1))} ago` : `in ${duration(-secs)}`;
}
