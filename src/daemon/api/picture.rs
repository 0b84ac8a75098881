//! Makes the API's answers of what the engine and the supervisor know. Reads, and asks no actor.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::shapes::{
    AccessStatus, Budget, BudgetReport, Client, ConfigStatus, Crawl, CrawlDetail, CrawlSettings, CrawlState, Cycle,
    History, LeaseAge, Moment, Priority, Problem, Range, Rehearsal, RingPicture, SeriesShape, Space, Spared, Status,
    WindowShape,
};
use super::target::target;
use super::{cleanings, problems};
use crate::daemon::series::{SAMPLES_KEPT, STEP, Series};
use crate::daemon::shared::{CrawlView, Shared, View};
use crate::lock::lock;
use crate::model::{self, BudgetStatus, CrawlStatus, CycleReport, Phase, RehearsalStatus, Verdict, WouldDelete};
use crate::policy::windows::Window;
use crate::settings::Priority as Asked;
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

    pub fn status(&self, may_change: bool) -> Status {
        let uptime = self.shared.time.clock.now().saturating_sub(self.shared.started);
        let view = &self.view;
        let crawls: Vec<Crawl> = view.crawls.iter().map(|crawl| self.crawl(crawl)).collect();
        let cleanings = cleanings::all(self);
        let problems = problems::all(self, &crawls, &cleanings);
        Status {
            version: env!("CARGO_PKG_VERSION"),
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
            priority: self.priority(),
            crawls,
            cleanings,
            verdict: Verdict::over(problems.iter().map(|problem| problem.severity)),
            problems,
            last_finding: self.shared.engine.last_finding(),
        }
    }

    fn priority(&self) -> Priority {
        let found = &self.view.priority;
        Priority {
            asked: match found.asked {
                Asked::Idle => "idle",
                Asked::Low => "low",
                Asked::Normal => "normal",
            },
            in_force: found.grip.as_str(),
            text: found.text.clone(),
            cpu_class: found.cpu_class.to_owned(),
            io_class: found.io_class.to_owned(),
            autogroup: found.autogroup,
            cgroup: found.cgroup.clone(),
            cgroup_idle: found.cgroup_idle,
        }
    }

    pub fn budget(&self) -> Budget {
        let (view, budget) = (&self.view, &self.status.budget);
        let series = lock(&self.shared.series);
        let source = match (view.changed, view.open) {
            (Some(_), _) => "changed",
            (None, Some(_)) => "window",
            (None, None) => "file",
        };
        let longest_overrun = (budget.longest_slice_secs - budget.cpu_slice_secs).max(0.0);
        let moment = |at: f64, rate: f64| Moment { at, cpu_percentage: percent(rate) };
        Budget {
            requested_percentage: budget.cpu_percentage,
            source,
            file_percentage: percent(view.file_rate),
            window: view.open.as_ref().map(window),
            windows: view.windows.all().iter().map(window).collect(),
            next_change: view.next_change.map(|(at, rate)| moment(at, rate)),
            changed: view.changed.map(|change| moment(change.at, change.rate)),
            measured_percentage: series.last_minute().unwrap_or(budget.measured_percentage),
            measured_hour_percentage: series.last_hour().unwrap_or(budget.measured_percentage),
            measured_total_percentage: budget.measured_percentage,
            basis: budget.basis,
            slice_secs: budget.cpu_slice_secs,
            balance_secs: budget.balance_secs,
            // Plus zero, since the other zero would be shown with a sign.
            debt_secs: (-budget.balance_secs).max(0.0) + 0.0,
            current_sleep_secs: budget.current_sleep_secs,
            waiting: budget.waiting,
            slices: budget.slices,
            longest_slice_secs: budget.longest_slice_secs,
            longest_overrun_secs: longest_overrun,
            clients: clients(budget, &series),
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
        let found = self.found(view);
        let report = self.shared.last_report(name);
        let begins = status.is_none_or(|found| found.phase == Phase::Ended) && !view.stopped && view.failed.is_none();
        let opening = begins.then(|| "its store is being opened".to_owned());
        let waiting_for = view.waiting.clone().or(found.waiting_for.clone()).or(opening);
        let target = target(self, view, &found, report.as_deref());
        let error = view.failed.clone().or(found.error.clone().filter(|_| view.waiting.is_none()));
        Crawl {
            name: name.clone(),
            job: view.job.to_owned(),
            store: view.store.display().to_string(),
            state: state(view, status),
            cycle: found.cycle,
            cycle_started: found.cycle_started,
            resumed_with: found.prefixes_done_before,
            prefixes_done: found.prefixes_done,
            prefixes_total: found.prefixes_total,
            last_complete_prefix: found.last_complete_prefix,
            last_complete_bucket: found.last_complete_bucket,
            buckets: found.buckets,
            shares: found.shares,
            errors: found.errors,
            findings: found.findings,
            vanished: found.vanished,
            damaged: found.damaged,
            buckets_per_sec: lock(&self.shared.paces).buckets_per_sec(
                name,
                found.buckets,
                self.shared.time.clock.now(),
            ),
            remaining_secs: found.remaining_secs.map(|(least, most)| Range { least, most }),
            next_cycle_at: found.next_cycle_in_secs.map(|wait| self.now + wait),
            workers: found.workers,
            waiting_for,
            error,
            by_hand: view.by_hand,
            target,
            rehearsal: found.rehearsal.map(|rehearsal| shown(view, rehearsal)),
            rehearsing: self.is_rehearsing(view),
            last_cycle: report.map(|report| cycle(&report)),
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
            settings: CrawlSettings {
                workers: settings.workers,
                weight: settings.weight,
                minimum_cycle_secs: settings.minimum_cycle_time.as_secs_f64(),
                slow_start_secs: settings.slow_start.as_secs_f64(),
                jitter_secs: settings.jitter.as_secs_f64(),
                read_ahead: settings.read_ahead,
                parameters: view.parameters.clone(),
            },
            ring: self.shared.engine.ring(name).map(ring).unwrap_or_default(),
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
        if cycles.iter().any(|cycle| cycle.cycle == number) {
            return cycles;
        }
        cycles.push(Cycle {
            crawl: name.clone(),
            job: view.job.to_owned(),
            cycle: number,
            started,
            finished: None,
            elapsed_secs: (self.now - started).max(0.0),
            result: "in_progress",
            buckets: found.buckets,
            shares: (view.job != "count").then_some(found.shares),
            errors: found.errors,
            findings: found.findings,
            vanished: found.vanished,
            incomplete_prefixes: 0,
            no_prefix: false,
            space: None,
            spared: None,
        });
        cycles
    }

    pub fn history(&self, of: Option<&str>) -> History {
        let wanted = |name: &str| of.is_none_or(|of| of == name);
        let crawls = self.view.crawls.iter().filter(|crawl| wanted(&crawl.settings.name));
        let mut cycles: Vec<Cycle> = crawls.flat_map(|crawl| self.cycles(crawl)).collect();
        cycles.sort_by(|a, b| b.started.total_cmp(&a.started));
        let cleanings = self.view.cleanings.iter().filter(|cleaning| wanted(&cleaning.settings.task.name));
        History { cycles, cleanings: cleanings.filter_map(|cleaning| cleanings::last_run(self, cleaning)).collect() }
    }
}

/// In percent of one core. Rounded to nine places, so that 0.07 gives 7.
fn percent(rate: f64) -> f64 {
    crate::config::units::Percent::of_cores(rate).get()
}

fn window(window: &Window) -> WindowShape {
    WindowShape { from: window.span.from(), to: window.span.to(), cpu_percentage: percent(window.rate) }
}

fn clients(budget: &BudgetStatus, series: &Series) -> Vec<Client> {
    let client = |(name, client): (&String, &model::ClientStatus)| Client {
        name: name.clone(),
        percentage: series.client(name).unwrap_or(client.percentage),
        total_percentage: client.percentage,
        cost_secs: client.cost_secs,
        slices: client.slices,
        longest_slice_secs: client.longest_slice_secs,
        out: client.out,
        overrun_secs: client.overrun_secs,
    };
    budget.clients.iter().map(client).collect()
}

fn state(view: &CrawlView, status: Option<&CrawlStatus>) -> CrawlState {
    if view.stopped {
        return CrawlState::Stopped;
    }
    if view.failed.is_some() {
        return CrawlState::Failed;
    }
    let Some(found) = status.filter(|_| view.waiting.is_none()) else { return CrawlState::Waiting };
    match found.phase {
        _ if found.held => CrawlState::Paused,
        Phase::Failed => CrawlState::Failed,
        // Nobody has stopped it: it has ended to begin with other settings.
        Phase::Ended => CrawlState::Waiting,
        _ if found.waiting_for.is_some() => CrawlState::Waiting,
        Phase::SlowStart => CrawlState::SlowStart,
        Phase::Walking => CrawlState::Walking,
        Phase::SleepingBetweenCycles => CrawlState::Sleeping,
        Phase::Rehearsed => CrawlState::Rehearsed,
    }
}

fn shown(view: &CrawlView, rehearsal: RehearsalStatus) -> Rehearsal {
    let RehearsalStatus { cycle, examined, over_limit, confirmed, would_delete } = rehearsal;
    let WouldDelete { leases, shares, bytes, buckets } = would_delete;
    let (max_delete, confirmed) = (view.max_delete.clone(), confirmed.is_some());
    Rehearsal { cycle, examined, over_limit, buckets, shares, leases, bytes, max_delete, confirmed }
}

/// A finished cycle.
pub fn cycle(report: &Arc<CycleReport>) -> Cycle {
    let shares = (report.own.get("objects") != Some(&Value::Null)).then_some(report.counts.objects);
    Cycle {
        crawl: report.key.crawl.clone(),
        job: report.job.clone(),
        cycle: report.key.number,
        started: report.started,
        finished: Some(report.finished),
        elapsed_secs: (report.finished - report.started).max(0.0),
        result: if report.complete { "complete" } else { "incomplete" },
        buckets: report.counts.buckets,
        shares,
        errors: report.counts.errors,
        findings: report.counts.findings,
        vanished: report.counts.vanished,
        incomplete_prefixes: report.incomplete_prefixes.len(),
        no_prefix: report.no_prefix,
        space: space(&report.own),
        spared: report.own.get("spared").and_then(|spared| Spared::deserialize(spared).ok()),
    }
}

/// What was examined, of the entry that Tahoe's own history would have; what has expired and what was deleted, of Sexton's
/// own accounts: the other counts empty buckets as expired in each cycle, and as deleted what a dry run or a rehearsal only
/// would.
fn space(own: &Map<String, Value>) -> Option<Space> {
    let recovered = own.get("history")?.get("space-recovered")?;
    let ages = own.get("history").and_then(|history| history["lease-age-histogram"].as_array());
    let leases = ages.into_iter().flatten().filter_map(|bin| bin[2].as_u64()).fold(0u64, u64::saturating_add);
    let figure = |name: &str| recovered.get(name).and_then(Value::as_u64).unwrap_or(0);
    let of = |account: &str, key: &str| own.get(account)?.get(key)?.as_u64();
    let expired = |key: &str| own.get("expired").and_then(|expired| expired["by_rule"][key].as_u64()).unwrap_or(0);
    Some(Space {
        examined_bytes: figure("examined-diskbytes"),
        expired_bytes: expired("disk_bytes"),
        expired_shares: expired("shares"),
        deleted_bytes: of("deleted", "bytes").unwrap_or(0),
        deleted_shares: of("deleted", "shares").unwrap_or(0),
        would_delete_bytes: of("would_delete", "bytes"),
        would_delete_shares: of("would_delete", "shares"),
        leases,
    })
}

fn lease_ages(report: &Arc<CycleReport>) -> Option<Vec<LeaseAge>> {
    let bins = report.own.get("history")?.get("lease-age-histogram")?.as_array()?;
    let days = |bin: &Value, i: usize| bin[i].as_f64().unwrap_or(0.0) / DAY_SECS;
    let age =
        |bin: &Value| LeaseAge { from_days: days(bin, 0), to_days: days(bin, 1), leases: bin[2].as_u64().unwrap_or(0) };
    Some(bins.iter().map(age).collect())
}

fn ring(picture: model::RingPicture) -> RingPicture {
    RingPicture {
        prefixes: picture.ring.names().to_vec(),
        visited: picture.marks.iter().map(|mark| mark.visited).collect(),
        errors: picture.marks.iter().map(|mark| mark.errors).collect(),
        findings: picture.marks.iter().map(|mark| mark.findings).collect(),
        current: picture.current,
    }
}

/// One problem.
pub fn problem(about: &'static str, name: Option<&str>, severity: Verdict, text: String) -> Problem {
    Problem { about, name: name.map(str::to_owned), severity, text }
}
