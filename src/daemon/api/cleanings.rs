//! Cleanings and their plans, as the API shows them.

use std::sync::Arc;

use super::picture::Picture;
use super::shapes::{Cleaning, CleaningRun, CleaningState, OddRow, Plan, Threshold};
use crate::cumulus::policy::{CleaningPlan, Number, Odd, Policy};
use crate::cumulus::settings::Manner;
use crate::cumulus::{CleaningFigures, CleaningReport};
use crate::daemon::shared::CleaningView;
use crate::lock::lock;
use crate::maintenance::MaintenanceResult;
use crate::model::{MaintenanceEnd, MaintenancePhase, MaintenanceStatus};

/// All cleanings, in the order of the file.
pub fn all(picture: &Picture<'_>) -> Vec<Cleaning> {
    picture.view.cleanings.iter().map(|view| one(picture, view)).collect()
}

/// One cleaning.
pub fn one(picture: &Picture<'_>, view: &CleaningView) -> Cleaning {
    let name = &view.settings.task.name;
    let status = picture.status.maintenance.get(name);
    let found = status.cloned().unwrap_or_else(|| MaintenanceStatus::new(view.settings.database.display().to_string()));
    let progress = found.progress;
    Cleaning {
        name: name.clone(),
        database: view.settings.database.display().to_string(),
        dry_run: view.settings.manner == Manner::DryRun,
        state: state(view, status),
        doing: progress.doing.to_owned(),
        rows_done: progress.rows_done,
        rows_planned: progress.rows_planned,
        locks: progress.locks,
        longest_lock_secs: progress.longest_lock_secs,
        lock_overrun: progress.lock_overrun,
        resumed: progress.resumed,
        planned_again: progress.planned_again,
        waiting_for: found.waiting_for,
        error: found.error,
        by_hand: view.by_hand,
        next_run_at: found.next_run_in_secs.map(|wait| picture.now + wait),
        last_run: last_run(picture, view),
    }
}

fn state(view: &CleaningView, status: Option<&MaintenanceStatus>) -> CleaningState {
    let Some(found) = status else {
        return if view.stopped { CleaningState::Stopped } else { CleaningState::Waiting };
    };
    match found.phase {
        MaintenancePhase::Failed => CleaningState::Failed,
        _ if view.stopped => CleaningState::Stopped,
        MaintenancePhase::Ended => CleaningState::Done,
        _ if found.paused => CleaningState::Paused,
        MaintenancePhase::Paused => CleaningState::Paused,
        MaintenancePhase::SlowStart | MaintenancePhase::SleepingBetweenRuns => CleaningState::Sleeping,
        MaintenancePhase::Working => CleaningState::Working,
        MaintenancePhase::Pausing => CleaningState::Pausing,
        MaintenancePhase::Waiting => CleaningState::Waiting,
    }
}

/// How the last run of a cleaning went, also of an earlier process; then only in short.
pub fn last_run(picture: &Picture<'_>, view: &CleaningView) -> Option<CleaningRun> {
    let name = &view.settings.task.name;
    let found = picture.status.maintenance.get(name).and_then(|found| found.last.clone());
    let MaintenanceEnd { ended, result } = found.or_else(|| lock(&picture.shared.past).run(name).cloned())?;
    let report = last_report(picture, name);
    let bytes = |of: fn(&CleaningPlan) -> Number, known: u64| match &report {
        Some(report) => of(&report.plan),
        None => Number::Int(known.into()),
    };
    // Figures that a newer Sexton has written are not shown.
    let figures = CleaningFigures::of_result(&result);
    let refused = match result {
        MaintenanceResult::Done { .. } => figures.map(|_| None)?,
        MaintenanceResult::Refused { why } => Some(why),
        MaintenanceResult::Failed { error } => Some(format!("it failed: {error}")),
    };
    let of_figures = |of: fn(CleaningFigures) -> u64| figures.map_or(0, of);
    let locks = report.as_ref().map(|report| &report.steps);
    Some(CleaningRun {
        cleaning: name.clone(),
        finished: ended,
        elapsed_secs: report.as_ref().map_or(0.0, |report| report.elapsed_secs),
        refused,
        dry_run: view.settings.manner == Manner::DryRun,
        marked_segments: of_figures(|done| done.segments_marked),
        reclaimable_bytes: bytes(|plan| plan.reclaimable_bytes, of_figures(|done| done.reclaimable_bytes)),
        rewrite_bytes: bytes(|plan| plan.rewrite_bytes, of_figures(|done| done.rewrite_bytes)),
        obsolete_bytes: bytes(|plan| plan.obsolete_bytes, 0),
        locks: locks.map_or(0, |locks| locks.count),
        longest_lock_secs: locks.and_then(|locks| locks.longest_ms).map_or(0.0, |ms| ms / 1e3),
    })
}

fn last_report(picture: &Picture<'_>, cleaning: &str) -> Option<Arc<CleaningReport>> {
    picture.shared.engine.last_maintenance(cleaning)?.body()
}

/// The newest plan of a cleaning and the report that has its segments, if one was made since the start.
pub fn plan(picture: &Picture<'_>, view: &CleaningView) -> Option<(Plan, Arc<CleaningReport>)> {
    let report = last_report(picture, &view.settings.task.name)?;
    let ended = picture.status.maintenance.get(&view.settings.task.name).and_then(|found| found.last.as_ref());
    let plan = &report.plan;
    let odd = |odd: &Odd| OddRow { segment: odd.segment, name: odd.name.clone(), what: odd.what.to_string() };
    let figures = Plan {
        cleaning: view.settings.task.name.clone(),
        made: ended.map_or(picture.now, |end| end.ended),
        dry_run: view.settings.manner == Manner::DryRun,
        refused: report.refused(),
        era: plan.era,
        threshold: threshold(&plan.policy),
        removed: plan.removed,
        reclaimable_bytes: plan.reclaimable_bytes,
        rewrite_bytes: plan.rewrite_bytes,
        obsolete_bytes: plan.obsolete_bytes,
        space_comes_free: plan.space_comes_free.to_string(),
        odd: plan.odd.iter().map(odd).collect(),
        locks: report.steps,
    };
    Some((figures, report))
}

fn threshold(policy: &Policy) -> Threshold {
    match *policy {
        Policy::Benefit { threshold_days, age_boost_days, .. } => {
            Threshold { kind: "benefit", value: threshold_days, age_boost_days }
        }
        Policy::Utilization { least } => Threshold { kind: "utilization", value: least, age_boost_days: 0.0 },
    }
}
