//! Maintenance of the server's own: removes what interrupted uploads have left, a few files a step.

use std::fs::{self, ReadDir};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use sexton::Result;
use sexton::maintenance::{
    Maintenance, MaintenanceProgress, MaintenanceReport, MaintenanceResult, MaintenanceRun, MaintenanceStep,
    ReportBody, StepOutcome,
};
use sexton::slice::TimeSlice;

/// An upload that takes longer than this was interrupted.
const UPLOAD_SECS_MOST: f64 = 3600.0;

/// The folder `uploads`.
pub struct TidyUploads(pub PathBuf);

/// How many files were removed.
#[derive(Debug)]
pub struct Removed(pub u64);

impl ReportBody for Removed {}

struct Tidying {
    folder: PathBuf,
    now: f64,
    listing: Option<ReadDir>,
    removed: u64,
}

impl Maintenance for TidyUploads {
    fn kind(&self) -> &'static str {
        "tidying"
    }

    fn subject(&self) -> String {
        self.0.display().to_string()
    }

    fn begin(&self, unix_secs: f64) -> Box<dyn MaintenanceRun> {
        Box::new(Tidying { folder: self.0.clone(), now: unix_secs, listing: None, removed: 0 })
    }
}

impl MaintenanceRun for Tidying {
    fn step(&mut self, slice: &TimeSlice) -> Result<MaintenanceStep> {
        let mut outcome = StepOutcome::Finished;
        if self.listing.is_none() {
            // No folder, no uploads.
            self.listing = fs::read_dir(&self.folder).ok();
        }
        for file in self.listing.iter_mut().flatten().flatten() {
            let written = file.metadata().ok().and_then(|file| file.modified().ok()?.duration_since(UNIX_EPOCH).ok());
            let is_old = written.is_some_and(|written| written.as_secs_f64() + UPLOAD_SECS_MOST < self.now);
            self.removed += u64::from(is_old && fs::remove_file(file.path()).is_ok());
            if slice.is_over() {
                outcome = StepOutcome::More;
                break;
            }
        }
        let progress =
            MaintenanceProgress { doing: "removes uploads".into(), rows_done: self.removed, ..Default::default() };
        Ok(MaintenanceStep { outcome, leave_alone: Duration::ZERO, progress })
    }

    fn report(self: Box<Self>) -> MaintenanceReport {
        let common = MaintenanceResult::done(&json!({ "removed": self.removed }));
        MaintenanceReport::new("tidying", common, Removed(self.removed))
    }
}
