//! The report of a cleaning, for people: what comes free, the segments worst first, what was odd.

use std::time::Duration;

use serde_json::Value;

use crate::cumulus::CleaningReport;

/// Segments and odd things that are shown; `--json` has all.
const SHOWN: usize = 20;

/// Makes the text. A dry run says what would be.
pub fn for_people(report: &CleaningReport, dry_run: bool) -> String {
    let at = |key: &str| report.plan.get(key).unwrap_or(&Value::Null);
    let resumed = if report.resumed { ", resumed" } else { "" };
    let secs = report.elapsed_secs;
    let mut lines = vec![format!("clean: era {}, now {}{resumed}, {secs:.1} s", text(at("era")), at("now"))];
    if at("refused").is_string() {
        return lines.join("\n") + "\n";
    }
    let removed = |key: &str| at("removed")[key].as_u64().unwrap_or(0);
    lines.push(format!(
        "  {} {} snapshots, {} usage rows, {} segments, {} blocks, {} signatures",
        if dry_run { "would remove" } else { "removed" },
        removed("snapshots"),
        removed("usage_rows"),
        removed("segments"),
        removed("blocks"),
        removed("signatures"),
    ));
    let segments = list(at("segments"));
    let marked = segments.iter().filter(|s| is_marked(s)).count();
    lines.push(format!(
        "  {} {marked} of {} segments: {} come free, {} are to be written again",
        if dry_run { "would mark" } else { "marked" },
        segments.len(),
        bytes(at("reclaimable_bytes")),
        bytes(at("rewrite_bytes")),
    ));
    lines.push(format!("  obsolete now: {}", bytes(at("obsolete_bytes"))));
    lines.push(format!("  space comes free: {}", text(at("space_comes_free"))));
    lines.extend(table(segments));
    lines.extend(names("obsolete segments", list(at("obsolete"))));
    lines.extend(names("obsolete after the next backup of each scheme", list(at("obsolete_after_backup"))));
    let odd = list(at("odd"));
    if !odd.is_empty() {
        lines.push(format!("  odd: {}{}", odd.len(), more(odd.len())));
        lines.extend(odd.iter().take(SHOWN).map(|odd| match &odd["segment"] {
            Value::Null => format!("    {}", text(&odd["what"])),
            id => format!("    segment {id} {}: {}", text(&odd["name"]), text(&odd["what"])),
        }));
    }
    lines.push(locks(report));
    lines.join("\n") + "\n"
}

fn locks(report: &CleaningReport) -> String {
    let ms = |time: Option<Duration>| time.map_or(0.0, |t| 1e3 * t.as_secs_f64());
    let steps = &report.steps;
    format!(
        "  locked {} times: median {:.1} ms, 99 of 100 within {:.1} ms, longest {:.1} ms",
        steps.count(),
        ms(steps.percentile(50)),
        ms(steps.percentile(99)),
        ms(Some(steps.longest())),
    )
}

/// The worst segments; what a column does not have is a dash.
fn table(segments: &[Value]) -> Vec<String> {
    if segments.is_empty() {
        return Vec::new();
    }
    let title = format!(
        "    {:>10}  {:>7}  {:>9}  {:>10}  {:>6}  segment, worst first{}",
        "benefit",
        "in use",
        "age, days",
        "size",
        "marked",
        more(segments.len())
    );
    let number = |value: &Value, unit: f64, decimals: usize| {
        value.as_f64().map_or_else(|| "-".to_owned(), |x| format!("{:.decimals$}", x * unit))
    };
    let row = |s: &Value| {
        format!(
            "    {:>10}  {:>6}%  {:>9}  {:>10}  {:>6}  {} {}",
            number(&s["benefit"], 1.0, 1),
            number(&s["utilization"], 100.0, 1),
            number(&s["age_days"], 1.0, 1),
            bytes(&s["size_bytes"]),
            if is_marked(s) { "yes" } else { "" },
            s["id"],
            text(&s["name"]),
        )
    };
    std::iter::once(title).chain(segments.iter().take(SHOWN).map(row)).collect()
}

fn names(what: &str, names: &[Value]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let shown: Vec<&str> = names.iter().take(SHOWN).map(text).collect();
    Some(format!("  {what}: {}{}: {}", names.len(), more(names.len()), shown.join(" ")))
}

fn more(count: usize) -> String {
    if count > SHOWN { format!(" (the first {SHOWN} of {count}; all with --json)") } else { String::new() }
}

fn is_marked(segment: &Value) -> bool {
    segment["marked"] == Value::Bool(true)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// A number of bytes as people say it.
fn bytes(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(n) if n < 1e3 => format!("{n:.0} B"),
        Some(n) if n < 1e6 => format!("{:.1} kB", n / 1e3),
        Some(n) if n < 1e9 => format!("{:.1} MB", n / 1e6),
        Some(n) => format!("{:.1} GB", n / 1e9),
    }
}
