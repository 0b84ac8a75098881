//! The report of a cleaning, for people: what comes free, the segments worst first, what was odd.

use std::sync::Arc;

use crate::cumulus::CleaningReport;
use crate::cumulus::policy::{Number, SegmentEntry, SegmentList};
use crate::sizes;

/// Segments that are shown; `--json` has all.
const SHOWN: usize = 20;

/// Makes the text. A dry run says what would be.
pub fn for_people(report: &CleaningReport, dry_run: bool) -> String {
    let plan = &report.plan;
    let resumed = if report.resumed { ", resumed" } else { "" };
    let mut lines = vec![format!("clean: era {:?}, now {}{resumed}, {:.1} s", plan.era, plan.now, report.elapsed_secs)];
    if plan.refused.is_some() {
        return lines.join("\n") + "\n";
    }
    let removed = plan.removed;
    lines.push(format!(
        "  {} {} snapshots, {} usage rows, {} segments, {} blocks, {} signatures",
        if dry_run { "would remove" } else { "removed" },
        removed.snapshots,
        removed.usage_rows,
        removed.segments,
        removed.blocks,
        removed.signatures,
    ));
    lines.push(format!(
        "  {} {} of {} segments: {} come free, {} are to be written again",
        if dry_run { "would mark" } else { "marked" },
        plan.marked().count(),
        plan.segments.len(),
        bytes(plan.reclaimable_bytes),
        bytes(plan.rewrite_bytes),
    ));
    lines.push(format!("  obsolete now: {}", bytes(plan.obsolete_bytes)));
    lines.push(format!("  space comes free: {}", plan.space_comes_free));
    lines.extend(table(&plan.segments));
    lines.extend(names("obsolete segments", plan.obsolete()));
    lines.extend(names("obsolete after the next backup of each scheme", plan.obsolete_after_backup()));
    if !plan.odd.is_empty() {
        lines.push(format!("  odd: {}", plan.odd.len()));
        lines.extend(plan.odd.iter().map(|odd| match odd.segment {
            None => format!("    {}", odd.what),
            Some(id) => format!("    segment {id} {}: {}", odd.name.as_deref().unwrap_or("-"), odd.what),
        }));
    }
    lines.push(locks(report));
    lines.extend(report.lock_overrun.map(|overrun| format!("  {overrun}")));
    lines.join("\n") + "\n"
}

fn locks(report: &CleaningReport) -> String {
    let steps = &report.steps;
    let ms = |time: Option<f64>| time.unwrap_or(0.0);
    format!(
        "  locked {} times: median {:.1} ms, 99 of 100 within {:.1} ms, longest {:.1} ms",
        steps.count,
        ms(steps.p50_ms),
        ms(steps.p99_ms),
        ms(steps.longest_ms),
    )
}

/// The worst segments; what a column does not have is a dash.
fn table(segments: &SegmentList) -> Vec<String> {
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
    let number = |value: Option<f64>, unit: f64, decimals: usize| {
        value.map_or_else(|| "-".to_owned(), |x| format!("{:.decimals$}", x * unit))
    };
    let row = |s: SegmentEntry| {
        format!(
            "    {:>10}  {:>6}%  {:>9}  {:>10}  {:>6}  {} {}",
            number(s.benefit, 1.0, 1),
            number(s.utilization, 100.0, 1),
            number(s.age_days, 1.0, 1),
            bytes(s.size_bytes),
            if s.marked { "yes" } else { "" },
            s.id,
            s.name,
        )
    };
    std::iter::once(title).chain(segments.iter().take(SHOWN).map(row)).collect()
}

fn names(what: &str, mut names: impl Iterator<Item = Arc<str>>) -> Option<String> {
    let shown: Vec<Arc<str>> = names.by_ref().take(SHOWN).collect();
    let all = shown.len() + names.count();
    (all > 0).then(|| format!("  {what}: {all}{}: {}", more(all), shown.join(" ")))
}

fn more(count: usize) -> String {
    if count > SHOWN { format!(" (the first {SHOWN} of {count}; all with --json)") } else { String::new() }
}

fn bytes(number: Number) -> String {
    sizes::for_people(number.to_f64())
}
