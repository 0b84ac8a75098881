//! Makes the API's answers of what the engine and the supervisor know. Reads, and asks no actor.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::shapes::{
    AccessStatus, Budget, BudgetChange, BudgetReport, BudgetSource, ConfigStatus, Crawl, CrawlDetail, CrawlOptions,
    Cycle, DaemonStatus, History, LeaseAge, Problem, ProblemSubject, SeriesShape, Space, WindowShape,
};
use super::{cleanings, problems};
use crate::daemon::series::{SAMPLES_KEPT, STEP};
use crate::daemon::shared::{CrawlView, Shared, View};
use crate::lock::lock;
use crate::model::{self, CrawlStatus, CycleReport, CycleResult, CycleSummary, TargetStatus, TaskState, Verdict};
use crate::policy::windows::Window;
use crate::tahoe::leases::{HistoryFigures, LeaseFigures};
use crate::tahoe::words;

const DAY_SECS: f64 = 86_400.0;

/// What one answer is made of, all of one moment.
pub struct Picture<'a> {
    pub shared: &'a Shared,
    pub view: View,
    pub status: model::Status,
    pub now: f64,
}

impl<'a> Picture<'a> {
    pub fn take(shared: &'a Shared) -> Self {
        let (view, status, now) = (shared.view(), shared.engine.status(), shared.time.clock.unix_secs());
        Picture { shared, view, status, now }
    }

    pub fn status(&self, may_change: bool) -> DaemonStatus {
        let uptime = self.shared.time.clock.now().saturating_sub(self.shared.started);
        let view = &self.view;
        let crawls: Vec<Crawl> = view.crawls.iter().map(|crawl| self.crawl(crawl)).collect();
        let cleanings = cleanings::all(self);
        let problems = problems::all(self, &crawls, &cleanings);
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: self.shared.boot.clone(),
            pid: std::process::id(),
            now: self.now,
            started: self.shared.started_unix,
            uptime_secs: uptime.as_secs_f64(),
            config: ConfigStatus {
                path: view.config_path.as_ref().map(|path| path.display().to_string()),
                state: view.state.display().to_string(),
                loaded: view.loaded,
                refused: view.refused.clone(),
            },
            access: AccessStatus { may_change, reading_needs_token: self.shared.access.reading_needs_token() },
            paused: self.status.budget.paused,
            stopping: view.stopping,
            budget: self.budget(),
            priority: view.priority.clone(),
            crawls,
            cleanings,
            verdict: Verdict::over(problems.iter().map(|problem| problem.severity)),
            problems,
            last_finding: self.shared.engine.last_finding(),
        }
    }

    pub fn budget(&self) -> Budget {
        let (view, mut status) = (&self.view, self.status.budget.clone());
        let series = lock(&self.shared.series);
        for client in &mut status.clients {
            client.percentage = series.client(&client.name).unwrap_or(client.total_percentage);
        }
        let change = |at: f64, rate: f64| BudgetChange { at, cpu_percentage: percent(rate) };
        Budget {
            source: match (view.changed, view.open) {
                (Some(_), _) => BudgetSource::Changed,
                (None, Some(_)) => BudgetSource::Window,
                (None, None) => BudgetSource::File,
            },
            file_percentage: percent(view.file_rate),
            window: view.open.as_ref().map(window),
            windows: view.windows.all().iter().map(window).collect(),
            next_change: view.next_change.map(|(at, rate)| change(at, rate)),
            changed: view.changed.map(|changed| change(changed.at, changed.rate)),
            measured_percentage: series.last_minute().unwrap_or(status.measured_total_percentage),
            measured_hour_percentage: series.last_hour().unwrap_or(status.measured_total_percentage),
            status,
        }
    }

    pub fn budget_report(&self) -> BudgetReport {
        let samples = lock(&self.shared.series).samples();
        let series = SeriesShape { step_secs: STEP.as_secs_f64(), most: SAMPLES_KEPT, samples };
        BudgetReport { budget: self.budget(), series }
    }

    pub fn crawl(&self, view: &CrawlView) -> Crawl {
        let name = &view.settings.name;
        let status = self.status.crawls.get(name);
        let mut found = self.found(view);
        let report = self.shared.last_report(name);
        let begins =
            status.is_none_or(|found| found.phase == TaskState::Done) && !view.stopped && view.failed.is_none();
        let opening = begins.then(|| "its store is being opened".to_owned());
        found.state = state(view, status);
        found.error = view.failed.clone().or(found.error.filter(|_| view.waiting.is_none()));
        found.waiting_for = view.waiting.clone().or(found.waiting_for).or(opening);
        found.target = target(view, found.target, report.as_deref());
        found.rehearsing = self.is_rehearsing(view);
        found.first_cycle_finished |= report.is_some() || found.cycle > Some(0);
        let (paces, now) = (lock(&self.shared.paces), self.shared.time.clock.now());
        Crawl {
            name: name.clone(),
            store: view.store.display().to_string(),
            buckets_per_sec: paces.buckets_per_sec(name, found.buckets, now),
            by_hand: view.by_hand,
            last_cycle: report.map(|report| cycle(&report)),
            status: found,
        }
    }

    /// What is known of a crawl, whether or not it runs.
    fn found(&self, view: &CrawlView) -> CrawlStatus {
        let name = &view.settings.name;
        let found = self.status.crawls.get(name).cloned();
        let found = found.unwrap_or_else(|| CrawlStatus::new(view.job, view.settings.workers, 0));
        self.shared.standing(name, found)
    }

    /// Whether nothing is deleted before somebody has confirmed a rehearsal, by what the crawl has found where it runs.
    fn is_rehearsing(&self, view: &CrawlView) -> bool {
        let name = &view.settings.name;
        let found = self.status.crawls.get(name).map(|found| found.rehearsing);
        let saved = || lock(&self.shared.past).stands(name).is_some_and(|saved| saved.rehearsing);
        view.rehearses_first && found.unwrap_or_else(saved)
    }

    pub fn crawl_detail(&self, view: &CrawlView) -> CrawlDetail {
        let name = &view.settings.name;
        let settings = &view.settings;
        let report = self.shared.last_report(name);
        let mut cycles: Vec<Cycle> = self.cycles(view);
        cycles.reverse();
        CrawlDetail {
            crawl: self.crawl(view),
            settings: CrawlOptions {
                workers: settings.workers,
                weight: settings.weight,
                minimum_cycle_secs: settings.minimum_cycle_time.as_secs_f64(),
                slow_start_secs: settings.slow_start.as_secs_f64(),
                jitter_secs: settings.jitter.as_secs_f64(),
                read_ahead: settings.read_ahead,
                parameters: view.parameters.clone(),
            },
            ring: self.shared.engine.ring(name).unwrap_or_default(),
            cycles,
            lease_ages: report.as_ref().and_then(lease_ages),
            report: report.map(|report| report.to_json_in(&words::REPORT, &self.status.budget)),
        }
    }

    /// The cycles of a crawl, the oldest first, with the one in progress.
    fn cycles(&self, view: &CrawlView) -> Vec<Cycle> {
        let name = &view.settings.name;
        let mut cycles: Vec<Cycle> = self.shared.history(name).iter().map(cycle).collect();
        let found = self.found(view);
        let (Some(number), Some(started)) = (found.cycle, found.cycle_started) else { return cycles };
        if cycles.iter().any(|cycle| cycle.summary.cycle == number) {
            return cycles;
        }
        let summary = CycleSummary {
            crawl: name.clone(),
            job: found.job,
            cycle: number,
            started,
            finished: None,
            elapsed_secs: (self.now - started).max(0.0),
            result: CycleResult::InProgress,
            buckets: found.buckets,
            shares: crate::kinds::JobKind::named(view.job)
                .is_none_or(|kind| kind.opens_buckets)
                .then_some(found.shares),
            errors: found.errors,
            findings: found.findings,
            vanished: found.vanished,
            incomplete_prefixes: 0,
        };
        cycles.push(Cycle { summary, space: None, spared: None, no_prefix: false });
        cycles
    }

    pub fn history(&self, of: Option<&str>) -> History {
        let wanted = |name: &str| of.is_none_or(|of| of == name);
        let crawls = self.view.crawls.iter().filter(|crawl| wanted(&crawl.settings.name));
        let mut cycles: Vec<Cycle> = crawls.flat_map(|crawl| self.cycles(crawl)).collect();
        cycles.sort_by(|a, b| b.summary.started.total_cmp(&a.summary.started));
        let cleanings = self.view.cleanings.iter().filter(|cleaning| wanted(&cleaning.settings.task.name));
        History { cycles, cleanings: cleanings.filter_map(|cleaning| cleanings::last_run(self, cleaning)).collect() }
    }
}

/// In percent of one core. Rounded to nine places, so that 0.07 gives 7.
fn percent(rate: f64) -> f64 {
    crate::spelling::Percent::of_cores(rate).get()
}

fn window(window: &Window) -> WindowShape {
    WindowShape { from: window.span.from(), to: window.span.to(), cpu_percentage: percent(window.rate) }
}

fn state(view: &CrawlView, status: Option<&CrawlStatus>) -> TaskState {
    if view.stopped {
        return TaskState::Stopped;
    }
    if view.failed.is_some() {
        return TaskState::Failed;
    }
    match status.filter(|_| view.waiting.is_none()) {
        None => TaskState::Waiting,
        Some(found) if found.held => TaskState::Paused,
        // Nobody has stopped it: it has ended to begin with other settings.
        Some(found) if found.state == TaskState::Done => TaskState::Waiting,
        Some(found) => found.state,
    }
}

/// How a crawl stands to its target, also where the engine does not know it: at the pace of the last complete cycle then.
fn target(view: &CrawlView, known: Option<TargetStatus>, last: Option<&CycleReport>) -> Option<TargetStatus> {
    let within = view.settings.target?;
    match known {
        Some(known) if known.expected_secs.is_some() => Some(known),
        known => {
            let oldest_secs = known.and_then(|known| known.oldest_secs);
            let cycle = last.and_then(CycleReport::took);
            Some(TargetStatus::new(within, view.settings.minimum_cycle_time, cycle, oldest_secs))
        }
    }
}

/// A finished cycle.
pub fn cycle(report: &Arc<CycleReport>) -> Cycle {
    Cycle {
        summary: report.summary(),
        space: space(&report.own),
        spared: LeaseFigures::of(&report.own).and_then(|figures| figures.spared),
        no_prefix: report.no_prefix,
    }
}

/// What was examined, of the entry that Tahoe's own history would have; what has expired and what was deleted, of Sexton's
/// own accounts: the other counts empty buckets as expired in each cycle, and as deleted what a dry run or a rehearsal only
/// would.
fn space(own: &Map<String, Value>) -> Option<Space> {
    let (history, figures) = (HistoryFigures::of(own)?, LeaseFigures::of(own)?);
    let (expired, deleted) = (figures.expired.by_rule, figures.deleted.unwrap_or_default());
    let would_delete = figures.would_delete.map(|would_delete| would_delete.freed);
    Some(Space {
        examined_bytes: history.examined.disk_bytes,
        expired_bytes: expired.disk_bytes,
        expired_shares: expired.shares,
        deleted_bytes: deleted.bytes,
        deleted_shares: deleted.shares,
        would_delete_bytes: would_delete.map(|freed| freed.bytes),
        would_delete_shares: would_delete.map(|freed| freed.shares),
        leases: history.lease_age_histogram.iter().fold(0, |all: u64, (_, _, leases)| all.saturating_add(*leases)),
    })
}

fn lease_ages(report: &Arc<CycleReport>) -> Option<Vec<LeaseAge>> {
    let bins = HistoryFigures::of(&report.own)?.lease_age_histogram.into_iter();
    let age = |(from, to, leases)| LeaseAge { from_days: from / DAY_SECS, to_days: to / DAY_SECS, leases };
    Some(bins.map(age).collect())
}

/// One problem.
pub fn problem(about: ProblemSubject, name: Option<&str>, severity: Verdict, text: String) -> Problem {
    Problem { about, name: name.map(str::to_owned), severity, text }
}
