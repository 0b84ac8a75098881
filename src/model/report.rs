//! The report of a cycle: made of what is saved, and shaped as JSON for the command line and the API.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{BudgetStatus, Range, Verdict};
use crate::error::{Error, Result};
use crate::job::{Counts, CycleView, ErrorNote, Finding, Job, Note, NoteKind, PrefixTally, Severity, StrayNote, Tally};
use crate::policy::cycle::{CycleKey, KnownCycle};
use crate::state::PrefixRow;
use crate::store::{STRAYS_NAMED, Store};

/// What a finished cycle has found.
#[derive(Debug, Clone)]
pub struct CycleReport {
    /// Which cycle.
    pub key: CycleKey,
    /// The job's name.
    pub job: String,
    /// Whether the cycle was begun by an earlier run.
    pub resumed: bool,
    /// Whether all prefixes were listed, so that the totals are the store's.
    pub complete: bool,
    /// The walk's counts, over all prefixes.
    pub counts: Counts,
    /// Names beside the ring.
    pub not_in_ring: u64,
    /// Paths of the first strays: of names beside the ring, then of those that are no bucket or no object, in the order of the
    /// walk; at most [`STRAYS_NAMED`].
    pub stray_paths: Vec<String>,
    /// Whether there were names in the store's root and none was a prefix: what was walked is most likely no such store.
    pub no_prefix: bool,
    /// Findings, in the order of the walk.
    pub findings: Vec<Finding>,
    /// The first errors, in the order of the walk; `counts.errors` counts all.
    pub errors: Vec<ErrorNote>,
    /// Prefixes that could not be listed.
    pub incomplete_prefixes: Vec<String>,
    /// When the cycle began, in seconds since 1970.
    pub started: f64,
    /// When it was finished, in seconds since 1970.
    pub finished: f64,
    /// How long this run worked on it.
    pub elapsed: Duration,
    /// The job's own keys.
    pub own: Map<String, Value>,
}

/// How a cycle has ended, or that it has not.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CycleResult {
    /// All of it was visited.
    Complete,
    /// Prefixes could not be listed, so all numbers are at least.
    Incomplete,
    /// It has not ended.
    InProgress,
    /// It was given up for another one.
    GivenUp,
    /// A result that only a newer version knows.
    #[serde(other)]
    #[cfg_attr(feature = "daemon", schemars(skip))]
    Other,
}

impl CycleResult {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            CycleResult::Complete => "complete",
            CycleResult::Incomplete => "incomplete",
            CycleResult::InProgress => "in_progress",
            CycleResult::GivenUp => "given_up",
            CycleResult::Other => "other",
        }
    }
}

/// A cycle in short, finished or in progress.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CycleSummary {
    pub crawl: String,
    pub job: String,
    /// The cycle's number.
    pub cycle: u64,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// When it ended, in seconds since 1970; null while it is in progress.
    pub finished: Option<f64>,
    /// From start to end, or until now.
    pub elapsed_secs: f64,
    /// How it has ended.
    pub result: CycleResult,
    /// Buckets visited.
    pub buckets: u64,
    /// Shares visited; null where the job opens no bucket.
    pub shares: Option<u64>,
    /// What could not be read.
    pub errors: u64,
    /// Findings made.
    pub findings: u64,
    /// What was gone when its turn came.
    pub vanished: u64,
    /// Prefixes that could not be listed.
    pub incomplete_prefixes: usize,
}

/// What the prefixes of a cycle have come to together. They are added in ring order.
#[derive(Debug, Default)]
pub(crate) struct CycleTotal<T> {
    tally: T,
    counts: Counts,
    /// Those that have buckets, with how many.
    prefixes: Vec<(String, u64)>,
    incomplete_prefixes: Vec<String>,
}

impl<T: Tally> CycleTotal<T> {
    /// Adds the next prefix.
    ///
    /// # Errors
    /// [`Error::Tally`] if its tally is not one of this job.
    pub(crate) fn add(&mut self, cycle: &KnownCycle, row: PrefixRow) -> Result<()> {
        let Some(tally) = row.tally else { return Ok(()) };
        let PrefixTally::<T> { counts, tally, .. } = serde_json::from_slice(&tally)
            .map_err(|e| Error::Tally { crawl: cycle.crawl.clone(), cause: e.to_string() })?;
        let name = cycle.identity.ring.get(row.prefix as usize).cloned().unwrap_or_default();
        if counts.unlisted > 0 {
            self.incomplete_prefixes.push(name.clone());
        }
        if counts.buckets > 0 {
            self.prefixes.push((name, counts.buckets));
        }
        self.counts.merge(&counts);
        self.tally.merge(tally);
        Ok(())
    }
}

/// Errors that a report lists at most; all are counted.
const ERRORS_LISTED: usize = 10_000;

/// What a report lists of the notes of a cycle. They are added in the order of the walk.
#[derive(Debug, Default)]
pub(crate) struct ListedNotes {
    findings: Vec<Finding>,
    errors: Vec<ErrorNote>,
    strays: Vec<StrayNote>,
}

impl ListedNotes {
    /// Adds the next note.
    ///
    /// # Errors
    /// [`Error::Tally`] if it is not one of a job.
    pub(crate) fn add(&mut self, cycle: &CycleKey, note: &Note) -> Result<()> {
        let unreadable = |e: serde_json::Error| Error::Tally { crawl: cycle.crawl.clone(), cause: e.to_string() };
        match note.kind {
            NoteKind::Finding => self.findings.push(serde_json::from_str(&note.body).map_err(unreadable)?),
            NoteKind::Error if self.errors.len() < ERRORS_LISTED => {
                self.errors.push(serde_json::from_str(&note.body).map_err(unreadable)?);
            }
            NoteKind::Stray if self.strays.len() < STRAYS_NAMED => {
                self.strays.push(serde_json::from_str(&note.body).map_err(unreadable)?);
            }
            NoteKind::Error | NoteKind::Stray => {}
        }
        Ok(())
    }

    /// How many findings there are.
    pub(crate) fn findings(&self) -> usize {
        self.findings.len()
    }
}

/// What a report's JSON calls things, where a store has words of its own for them. Default: as they are called here.
#[derive(Debug, Clone, Copy)]
pub struct ReportWords {
    /// Makes the JSON of a finding.
    pub finding: fn(&Finding) -> Value,
    /// Renames common figures.
    pub figures: fn(&mut Map<String, Value>),
}

impl Default for ReportWords {
    fn default() -> Self {
        ReportWords { finding: |finding| json!(finding), figures: |_| {} }
    }
}

impl CycleReport {
    /// Makes the report of a cycle that is finished.
    pub(crate) fn new<S: Store, J: Job<S>>(
        job: &J,
        cycle: &KnownCycle,
        total: CycleTotal<J::Tally>,
        notes: ListedNotes,
        resumed: bool,
        elapsed: Duration,
    ) -> Self {
        let CycleTotal { tally, counts, prefixes, incomplete_prefixes } = total;
        let ListedNotes { findings, errors, strays } = notes;
        let mut stray_paths = cycle.identity.stray_paths.clone();
        stray_paths.extend(strays.into_iter().map(|stray| stray.path));
        stray_paths.truncate(STRAYS_NAMED);
        let KnownCycle { ref identity, started, finished, .. } = *cycle;
        let finished = finished.unwrap_or(started);
        let own = job.report(&CycleView {
            now: identity.now,
            fixed_clock: identity.fixed_clock,
            started,
            finished,
            tally: &tally,
            counts: &counts,
            prefixes: &prefixes,
            findings: &findings,
        });
        CycleReport {
            key: cycle.key(),
            job: identity.job.clone(),
            resumed,
            complete: cycle.finished.is_some() && incomplete_prefixes.is_empty(),
            counts,
            not_in_ring: identity.not_in_ring,
            stray_paths,
            no_prefix: identity.no_prefix,
            findings,
            errors,
            incomplete_prefixes,
            started,
            finished,
            elapsed,
            own,
        }
    }

    /// The same in short.
    pub fn summary(&self) -> CycleSummary {
        let opens_none = self.own.get("objects") == Some(&Value::Null);
        CycleSummary {
            crawl: self.key.crawl.clone(),
            job: self.job.clone(),
            cycle: self.key.number,
            started: self.started,
            finished: Some(self.finished),
            elapsed_secs: (self.finished - self.started).max(0.0),
            result: if self.complete { CycleResult::Complete } else { CycleResult::Incomplete },
            buckets: self.counts.buckets,
            shares: (!opens_none).then_some(self.counts.objects),
            errors: self.counts.errors,
            findings: self.counts.findings,
            vanished: self.counts.vanished,
            incomplete_prefixes: self.incomplete_prefixes.len(),
        }
    }

    /// How long it took, in seconds; `None` if it did not visit the whole store.
    pub(crate) fn took(&self) -> Option<Range> {
        let secs = (self.finished - self.started).max(0.0);
        self.complete.then_some(Range { least: secs, most: secs })
    }

    /// How the store stands by it.
    pub fn verdict(&self) -> Verdict {
        let damaged = self.findings.iter().filter(|finding| finding.severity == Severity::Bad).count() as u64;
        let unlisted = self.incomplete_prefixes.len() as u64;
        Verdict::found(damaged, self.counts.errors.saturating_add(unlisted))
    }

    /// The report as one object; the job's own keys stand beside the common ones.
    ///
    /// Times are seconds, `cpu_percentage` and `measured_percentage` percent of one core. `objects` is `null` where the
    /// job opens no bucket.
    pub fn to_json(&self, budget: &BudgetStatus) -> Value {
        self.to_json_in(&ReportWords::default(), budget)
    }

    /// The same in a store's own words.
    pub fn to_json_in(&self, words: &ReportWords, budget: &BudgetStatus) -> Value {
        let mut report = self.with_own(budget, |_, _| true);
        let findings = || self.findings.iter().map(words.finding).collect::<Value>();
        report.entry("findings").or_insert_with(findings);
        report.entry("errors").or_insert_with(|| json!(self.errors));
        (words.figures)(&mut report);
        Value::Object(report)
    }

    /// The same as text. What may be large, findings, errors and the job's own part, is not copied for it.
    pub fn to_json_text(&self, words: &ReportWords, budget: &BudgetStatus) -> String {
        let mut common = self.with_own(budget, |key, common| common.contains_key(key));
        let rest: Vec<_> = self.own.iter().filter(|(key, _)| !common.contains_key(key.as_str())).collect();
        (words.figures)(&mut common);
        let mut text = Value::Object(common).to_string();
        text.pop();
        let findings = list(self.findings.iter().map(words.finding));
        for (key, list) in [("findings", findings), ("errors", list(&self.errors))] {
            if !self.own.contains_key(key) {
                text.push_str(&format!(",\"{key}\":{list}"));
            }
        }
        for (key, value) in rest {
            text.push_str(&format!(",{}:{value}", json!(key)));
        }
        text.push('}');
        text
    }

    /// The common keys but for findings and errors, and of the job's own those that are wanted.
    fn with_own(&self, budget: &BudgetStatus, which: impl Fn(&str, &Map<String, Value>) -> bool) -> Map<String, Value> {
        let strays = json!({
            "no_bucket": self.counts.no_bucket,
            "no_object": self.counts.no_object,
            "not_in_ring": self.not_in_ring,
        });
        let report = json!({
            "job": self.job,
            "cycle": self.key.number,
            "resumed": self.resumed,
            "complete": self.complete,
            "buckets": self.counts.buckets,
            "objects": self.counts.objects,
            "strays": strays,
            "stray_paths": self.stray_paths,
            "vanished": self.counts.vanished,
            "errors_total": self.counts.errors,
            "incomplete_prefixes": self.incomplete_prefixes,
            "elapsed_secs": self.elapsed.as_secs_f64(),
            "budget": {
                "cpu_percentage": budget.requested_percentage,
                "measured_percentage": budget.measured_total_percentage,
                "slices": budget.slices,
                "longest_slice_secs": budget.longest_slice_secs,
            },
        });
        let mut report = if let Value::Object(report) = report { report } else { Map::new() };
        let own = self.own.iter().filter(|(key, _)| which(key.as_str(), &report));
        let own: Vec<_> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
        report.extend(own);
        report
    }
}

/// A list as JSON. It is of text and numbers, so it always serializes.
fn list(items: impl IntoIterator<Item = impl Serialize>) -> String {
    let mut text = Vec::new();
    let _ = serde_json::Serializer::new(&mut text).collect_seq(items);
    String::from_utf8(text).unwrap_or_default()
}
