//! Cleanings and their plans, as the API shows them.

use std::sync::Arc;

use super::picture::Picture;
use super::shapes::{Cleaning, CleaningRunRecord, Plan, Threshold};
use crate::cumulus::policy::Policy;
use crate::cumulus::settings::CleaningMode;
use crate::cumulus::{CleaningFigures, CleaningReport};
use crate::daemon::shared::CleaningView;
use crate::lock::lock;
use crate::maintenance::MaintenanceResult;
use crate::model::{MaintenanceEnd, MaintenanceStatus, TaskState};

/// All cleanings, in the order of the file.
pub fn all(picture: &Picture<'_>) -> Vec<Cleaning> {
    picture.view.cleanings.iter().map(|view| one(picture, view)).collect()
}

/// One cleaning.
pub fn one(picture: &Picture<'_>, view: &CleaningView) -> Cleaning {
    let name = &view.settings.task.name;
    let status = picture.status.maintenance.get(name);
    let found = status.cloned().unwrap_or_else(|| MaintenanceStatus::new(view.settings.database.display().to_string()));
    Cleaning {
        name: name.clone(),
        database: view.settings.database.display().to_string(),
        dry_run: view.settings.manner == CleaningMode::DryRun,
        by_hand: view.by_hand,
        last_run: last_run(picture, view),
        status: MaintenanceStatus { state: state(view, status), ..found },
    }
}

fn state(view: &CleaningView, status: Option<&MaintenanceStatus>) -> TaskState {
    match status.map(|found| found.state) {
        Some(TaskState::Failed) => TaskState::Failed,
        _ if view.stopped => TaskState::Stopped,
        None => TaskState::Waiting,
        Some(TaskState::SlowStart) => TaskState::Sleeping,
        Some(state) => state,
    }
}

/// How the last run of a cleaning went, also of an earlier process.
pub fn last_run(picture: &Picture<'_>, view: &CleaningView) -> Option<CleaningRunRecord> {
    let name = &view.settings.task.name;
    let found = picture.status.maintenance.get(name).and_then(|found| found.last.clone());
    let MaintenanceEnd { ended, result } = found.or_else(|| lock(&picture.shared.past).run(name).cloned())?;
    let (kind, figures) = ((&result).into(), CleaningFigures::of_result(&result));
    let refused = match result {
        // Figures that a newer Sexton has written are not shown.
        MaintenanceResult::Done { .. } => figures.map(|_| None)?,
        MaintenanceResult::Refused { why } => Some(why),
        MaintenanceResult::Failed { error } => Some(error),
    };
    Some(CleaningRunRecord {
        cleaning: name.clone(),
        finished: ended,
        result: kind,
        refused,
        dry_run: view.settings.manner == CleaningMode::DryRun,
        figures: figures.unwrap_or_default(),
    })
}

fn last_report(picture: &Picture<'_>, cleaning: &str) -> Option<Arc<CleaningReport>> {
    picture.shared.engine.last_maintenance(cleaning)?.body()
}

/// The report that has the newest plan of a cleaning, if one was made since the start, and when that run ended.
pub fn made(picture: &Picture<'_>, view: &CleaningView) -> Option<(f64, Arc<CleaningReport>)> {
    let name = &view.settings.task.name;
    let ended = picture.status.maintenance.get(name).and_then(|found| found.last.as_ref());
    Some((ended.map_or(picture.now, |end| end.ended), last_report(picture, name)?))
}

/// The plan of that report.
pub fn plan<'a>(view: &'a CleaningView, made: f64, report: &'a CleaningReport) -> Plan<'a> {
    let plan = &report.plan;
    Plan {
        cleaning: &view.settings.task.name,
        made,
        dry_run: view.settings.manner == CleaningMode::DryRun,
        refused: report.refused(),
        era: plan.era,
        threshold: threshold(&plan.policy),
        removed: plan.removed,
        reclaimable_bytes: plan.reclaimable_bytes,
        rewrite_bytes: plan.rewrite_bytes,
        obsolete_bytes: plan.obsolete_bytes,
        space_comes_free: plan.space_comes_free.to_string(),
        odd: &plan.odd,
        locks: report.steps,
    }
}

fn threshold(policy: &Policy) -> Threshold {
    match *policy {
        Policy::Benefit { threshold_days, age_boost_days, .. } => {
            Threshold { kind: "benefit", value: threshold_days, age_boost_days }
        }
        Policy::Utilization { least } => Threshold { kind: "utilization", value: least, age_boost_days: 0.0 },
    }
}
