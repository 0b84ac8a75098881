//! Metrics in the Prometheus text format.
//!
//! Counters and histograms are fed by what happens; gauges are set from the same status that the API shows, when they
//! are asked for. Label values are names of crawls, cleanings and clients, and a handful of causes: bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

use super::api::shapes::{Cleaning, Crawl, Cycle, DaemonStatus};
use crate::error::{Error, Result};
use crate::job::{NoteKind, Verified};
use crate::kinds::JobKind;
use crate::lock::lock;
use crate::model::{self, FindingRow, RingPicture, SliceFigures, TargetStatus, TaskState, Totals, Verdict};
use crate::priority::Grip;
use crate::store::ErrorCause;
use crate::tahoe::leases::Spared;

/// Seconds: from a fraction of the shortest slice to beyond the longest.
const SLICE_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const COMMIT_BUCKETS: &[f64] = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

fn cause_label(cause: ErrorCause) -> &'static str {
    match cause {
        ErrorCause::PermissionDenied => "permission denied",
        ErrorCause::NotFound => "no such file",
        ErrorCause::InputOutput => "input/output error",
        ErrorCause::TooManyOpenFiles => "too many open files",
        ErrorCause::NoSpace => "no space left",
        ErrorCause::ReadOnly => "read-only file system",
        ErrorCause::TimedOut => "timed out",
        ErrorCause::Panicked => "panicked",
        ErrorCause::DanglingLink => "link to nothing",
        ErrorCause::Directory => "directory for a share",
        ErrorCause::NotDirectory => "file for a bucket",
        ErrorCause::NotRegular => "no regular file",
        ErrorCause::Malformed => "lease table",
        ErrorCause::Other => "other",
    }
}

/// All metrics of the daemon.
pub struct Metrics {
    registry: Registry,
    slice: HistogramVec,
    commit: Histogram,
    buckets: IntCounterVec,
    shares: IntCounterVec,
    vanished: IntCounterVec,
    findings: IntCounterVec,
    errors: IntCounterVec,
    cycles: IntCounterVec,
    deleted_shares: IntCounterVec,
    deleted_bytes: IntCounterVec,
    deleted_leases: IntCounterVec,
    verified_shares: IntCounterVec,
    verified_bytes: IntCounterVec,
    reloads: IntCounterVec,
    locks: IntCounterVec,
    gauges: Gauges,
    seen: Mutex<CountedTotals>,
}

/// What was counted so far, by crawl and by cleaning.
#[derive(Debug, Default)]
struct CountedTotals {
    crawls: BTreeMap<String, Totals>,
    locks: BTreeMap<String, u64>,
}

macro_rules! gauges {
    ($($field:ident = $name:literal, [$($label:literal),*], $help:literal;)*) => {
        /// What is set when it is asked for.
        struct Gauges { $($field: GaugeVec,)* }

        impl Gauges {
            fn new(registry: &Registry) -> prometheus::Result<Gauges> {
                Ok(Gauges { $($field: register(registry, GaugeVec::new(Opts::new($name, $help), &[$($label),*])?)?,)* })
            }

            /// Forgets all values: what has gone since is told no more.
            fn reset(&self) {
                $(self.$field.reset();)*
            }
        }
    };
}

gauges! {
    requested = "sexton_budget_requested_ratio", [], "Share of one core that may be used now.";
    measured = "sexton_budget_measured_ratio", [], "Share of one core that was used over the last minute.";
    client_measured = "sexton_client_measured_ratio", ["client"], "Share of one core that a client used over the last minute.";
    client_cost = "sexton_client_cost_seconds", ["client"], "What a client was charged since the start.";
    debt = "sexton_budget_debt_seconds", [], "Budget used in advance, to be slept off.";
    overrun = "sexton_slice_longest_overrun_seconds", [], "By how much the longest slice has exceeded its length.";
    waiting = "sexton_slice_requests_waiting", [], "Requests for a slice that wait.";
    paused = "sexton_paused", [], "1 while everything is paused.";
    changed = "sexton_budget_changed", [], "1 while a changed budget holds instead of the file's.";
    priority = "sexton_priority_in_force", [], "1 if the priority class is in force, 0.5 if only partly, 0 if not.";
    refused = "sexton_config_refused", [], "1 while the configuration file was refused and an old one is in force.";
    loaded = "sexton_config_loaded_timestamp_seconds", [], "When the settings in force were read.";
    unsaved = "sexton_daemon_unsaved", [], "1 while what the daemon keeps cannot be written.";
    problems = "sexton_problems", ["severity"], "What an operator should look at, by severity: damage, errors, failed, waiting, warning.";
    damaged = "sexton_damaged_objects", ["crawl"], "Objects damaged now: each from the moment at which it is found so until a later visit finds it well or gone.";
    unread = "sexton_unreadable", ["crawl"], "Things that could not be read in the last finished cycle, or in the running one where it is more.";
    walking = "sexton_crawl_walking", ["crawl"], "1 while the crawl walks, also in a pause of everything.";
    up = "sexton_crawl_up", ["crawl", "job"], "1 unless the crawl has failed or was stopped.";
    crawl_waiting = "sexton_crawl_waiting", ["crawl"], "1 while something keeps the crawl from working.";
    rehearsed = "sexton_crawl_rehearsed", ["crawl"], "1 while a cycle waits to be confirmed before it deletes.";
    cycle = "sexton_cycle_number", ["crawl"], "Number of the cycle in progress, or of the last one.";
    cycle_started = "sexton_cycle_start_timestamp_seconds", ["crawl"], "When that began.";
    cycle_progress = "sexton_cycle_progress_ratio", ["crawl"], "Part of the prefixes that are complete in it.";
    cycle_remaining = "sexton_cycle_remaining_seconds", ["crawl"], "What is left of it at most, as far as can be told.";
    target_within = "sexton_target_seconds", ["crawl"], "Within which time every prefix is to be visited again.";
    target_expected = "sexton_target_expected_seconds", ["crawl"], "In which time it is at most, at the pace so far.";
    target_missed = "sexton_target_missed", ["crawl"], "1 if the target will be missed at that pace, 0 if not, or while that is open.";
    target_met = "sexton_target_met", ["crawl"], "1 if the target will be met at that pace, 0 if not; absent while that is open.";
    last_end = "sexton_last_cycle_end_timestamp_seconds", ["crawl"], "When the last finished cycle ended.";
    last_duration = "sexton_last_cycle_duration_seconds", ["crawl"], "How long it took.";
    last_incomplete = "sexton_last_cycle_incomplete_prefixes", ["crawl"], "Prefixes that it could not list.";
    last_buckets = "sexton_last_cycle_buckets", ["crawl"], "Buckets in it.";
    last_shares = "sexton_last_cycle_shares", ["crawl"], "Shares in it.";
    last_findings = "sexton_last_cycle_findings", ["crawl"], "Findings in it.";
    last_errors = "sexton_last_cycle_errors", ["crawl"], "Errors in it.";
    last_bytes = "sexton_last_cycle_bytes", ["crawl", "kind"], "Bytes in it: examined and expired by the rule in force, both on disk; deleted, or in a dry run or rehearsal would_delete, of the files.";
    last_spared = "sexton_last_cycle_spared_shares", ["crawl", "reason"], "Shares with expired leases that it kept beside a running node, by the first reason that holds.";
    last_leases = "sexton_last_cycle_leases", ["crawl"], "Leases read in it.";
    oldest = "sexton_oldest_prefix_age_seconds", ["crawl"], "Age of the oldest visit of a prefix; of prefixes of which no visit is known, the time since the cycle or the daemon began.";
    unvisited = "sexton_prefixes_unvisited", ["crawl"], "Prefixes of which no visit is known.";
    clean_up = "sexton_cleaning_up", ["cleaning"], "1 unless the cleaning has failed or was stopped.";
    clean_waiting = "sexton_cleaning_waiting", ["cleaning"], "1 while something keeps the cleaning from working.";
    clean_done = "sexton_cleaning_rows_done", ["cleaning"], "Rows gone through in this run.";
    clean_planned = "sexton_cleaning_rows_planned", ["cleaning"], "Rows to go through in it, as far as can be told.";
    clean_longest = "sexton_cleaning_longest_lock_seconds", ["cleaning"], "The longest time for which the database was locked.";
    clean_end = "sexton_cleaning_last_end_timestamp_seconds", ["cleaning"], "When the last run ended.";
    clean_refused = "sexton_cleaning_refused", ["cleaning"], "1 if the last run refused to change anything.";
    started = "sexton_start_timestamp_seconds", [], "When the daemon began.";
    build = "sexton_build_info", ["version"], "1, with the version as a label.";
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, c: C) -> prometheus::Result<C> {
    registry.register(Box::new(c.clone()))?;
    Ok(c)
}

impl Metrics {
    /// Makes them all, at zero.
    ///
    /// # Errors
    /// [`Error::Unexpected`] if two had one name.
    pub fn new() -> Result<Metrics> {
        Self::registered().map_err(|e| Error::Unexpected(format!("the metrics do not go together: {e}")))
    }

    fn registered() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let opts = |name: &str, help: &str, buckets: &[f64]| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let slice = opts("sexton_slice_duration_seconds", "Slices, from grant to settlement.", SLICE_BUCKETS);
        let commit =
            opts("sexton_checkpoint_duration_seconds", "Saving progress at the end of a slice.", COMMIT_BUCKETS);
        Ok(Metrics {
            slice: register(&registry, HistogramVec::new(slice, &["client"])?)?,
            commit: register(&registry, Histogram::with_opts(commit)?)?,
            buckets: counter("sexton_buckets_total", "Buckets visited and saved since the start.", &["crawl"])?,
            shares: counter("sexton_shares_total", "Shares visited and saved since the start.", &["crawl"])?,
            vanished: counter("sexton_vanished_total", "What was gone when its turn came.", &["crawl"])?,
            findings: counter("sexton_findings_total", "Findings since the start.", &["crawl", "kind"])?,
            errors: counter("sexton_errors_total", "Errors since the start.", &["crawl", "cause"])?,
            cycles: counter("sexton_cycles_finished_total", "Cycles finished since the start.", &["crawl"])?,
            deleted_shares: counter("sexton_deleted_shares_total", "Shares deleted since the start.", &["crawl"])?,
            deleted_bytes: counter(
                "sexton_deleted_bytes_total",
                "Bytes deleted since the start, as lengths of files.",
                &["crawl"],
            )?,
            deleted_leases: counter("sexton_deleted_leases_total", "Leases cancelled since the start.", &["crawl"])?,
            verified_shares: counter(
                "sexton_verified_shares_total",
                "Shares verified since the start, by what they have come to.",
                &["crawl", "result"],
            )?,
            verified_bytes: counter("sexton_verified_bytes_total", "Bytes read of the shares verified.", &["crawl"])?,
            reloads: counter("sexton_config_reloads_total", "Readings of the configuration.", &["result"])?,
            locks: counter("sexton_cleaning_locks_total", "How often a database was locked.", &["cleaning"])?,
            gauges: Gauges::new(&registry)?,
            seen: Mutex::default(),
            registry,
        })
    }

    /// A slice was settled.
    pub fn slice(&self, figures: &SliceFigures) {
        self.slice.with_label_values(&[&*figures.client]).observe(figures.out.as_secs_f64());
        if figures.spent.commit > Duration::ZERO {
            self.commit.observe(figures.spent.commit.as_secs_f64());
        }
    }

    /// The configuration was read again.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.with_label_values(&[result]).inc();
    }

    /// Something was found since the start.
    pub fn found(&self, row: &FindingRow) {
        match row.kind {
            NoteKind::Finding => {
                self.findings.with_label_values(&[&*row.crawl, row.part.as_deref().unwrap_or("")]).inc();
            }
            NoteKind::Stray => {}
            NoteKind::Error => {
                self.errors.with_label_values(&[&*row.crawl, cause_label(row.cause)]).inc();
            }
        }
    }

    /// Counts what has been saved since the last look.
    pub fn look(&self, status: &model::Status) {
        let mut seen = lock(&self.seen);
        for (name, crawl) in &status.crawls {
            let was = seen.crawls.insert(name.clone(), crawl.since_start).unwrap_or_default();
            self.count(name, &crawl.job, &crawl.since_start.since(&was));
        }
        for (name, cleaning) in &status.maintenance {
            let locks = cleaning.progress.locks as u64;
            let was = seen.locks.insert(name.clone(), locks).unwrap_or_default();
            // Fewer are those of another run.
            self.locks.with_label_values(&[name]).inc_by(locks.checked_sub(was).unwrap_or(locks));
        }
        // One that is taken in again begins at nothing.
        seen.crawls.retain(|name, _| status.crawls.contains_key(name));
    }

    /// Makes the counters of a crawl exist, at 0 where nothing was counted: what begins with its first value never rises to it.
    fn exist(&self, crawl: &Crawl) {
        let name = &[&*crawl.name];
        for counter in [&self.cycles, &self.buckets, &self.vanished] {
            counter.with_label_values(name).inc_by(0);
        }
        if JobKind::named(&crawl.status.job).is_some_and(|kind| kind.verifies) {
            for result in ["ok", "corrupt", "unreadable", "in_doubt"] {
                self.verified_shares.with_label_values(&[&*crawl.name, result]).inc_by(0);
            }
        }
    }

    fn count(&self, crawl: &str, job: &str, added: &Totals) {
        let Totals { cycles, buckets, objects, vanished, deleted, deleted_bytes, deleted_records, verified } = added;
        let name = &[crawl];
        self.cycles.with_label_values(name).inc_by(*cycles);
        self.buckets.with_label_values(name).inc_by(*buckets);
        self.vanished.with_label_values(name).inc_by(*vanished);
        let kind = JobKind::named(job);
        if kind.is_none_or(|kind| kind.opens_buckets) {
            self.shares.with_label_values(name).inc_by(*objects);
        }
        if kind.is_some_and(|kind| kind.deletes) {
            self.deleted_shares.with_label_values(name).inc_by(*deleted);
            self.deleted_bytes.with_label_values(name).inc_by(*deleted_bytes);
            self.deleted_leases.with_label_values(name).inc_by(*deleted_records);
        }
        if !kind.is_some_and(|kind| kind.verifies) {
            return;
        }
        let Verified { bytes, ok, corrupt, unreadable, in_doubt, .. } = *verified;
        self.verified_bytes.with_label_values(name).inc_by(bytes);
        let results = [("ok", ok), ("corrupt", corrupt), ("unreadable", unreadable), ("in_doubt", in_doubt)];
        for (result, shares) in results {
            self.verified_shares.with_label_values(&[crawl, result]).inc_by(shares);
        }
    }

    /// Forgets what was counted of a crawl or cleaning that has gone from the configuration.
    pub fn forget(&self, name: &str) {
        let of_crawls = [
            &self.buckets,
            &self.shares,
            &self.vanished,
            &self.findings,
            &self.errors,
            &self.cycles,
            &self.deleted_shares,
            &self.deleted_bytes,
            &self.deleted_leases,
            &self.verified_shares,
            &self.verified_bytes,
        ];
        let others = |value: &str| value != name;
        of_crawls.into_iter().for_each(|counter| forget(counter, "crawl", others, |labels| counter.remove(labels)));
        forget(&self.locks, "cleaning", others, |labels| self.locks.remove(labels));
        let mut seen = lock(&self.seen);
        seen.crawls.remove(name);
        seen.locks.remove(name);
    }

    /// All of them, as text.
    pub fn text(&self, status: &DaemonStatus, unsaved: bool, ring: impl Fn(&str) -> Option<RingPicture>) -> String {
        self.gauges.reset();
        self.gauges.daemon(status, unsaved);
        let clients: BTreeSet<&str> = status.budget.status.clients.iter().map(|client| &*client.name).collect();
        forget(&self.slice, "client", |client| clients.contains(client), |labels| self.slice.remove(labels));
        for crawl in &status.crawls {
            self.exist(crawl);
            self.gauges.crawl(crawl);
            self.gauges.oldest.with_label_values(&[&crawl.name]).set(waited(crawl, status));
            if let Some(ring) = ring(&crawl.name) {
                self.gauges.ring(crawl, &ring, status);
            }
        }
        status.cleanings.iter().for_each(|cleaning| self.gauges.cleaning(cleaning));
        let mut text = Vec::new();
        // Writing to memory does not fail, and names were checked when they were registered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Takes away every series whose value of a label does not stay, whatever its other labels.
fn forget(
    series: &impl Collector,
    label: &str,
    stays: impl Fn(&str) -> bool,
    remove: impl Fn(&HashMap<&str, &str>) -> prometheus::Result<()>,
) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label).is_some_and(|value| !stays(value)) {
                // It was there a moment ago, and nobody else takes any away.
                let _ = remove(&labels);
            }
        }
    }
}

/// For how long a prefix may have waited of which no visit is known: since the cycle in progress began or, as far as is known,
/// the last one; of a crawl without any, since the daemon began.
fn waited(crawl: &Crawl, status: &DaemonStatus) -> f64 {
    let last = crawl.last_cycle.as_ref().map(|cycle| cycle.summary.started);
    let since = last.or(crawl.status.cycle_started).unwrap_or(status.started);
    (status.now - since).max(0.0)
}

fn is_up(state: TaskState) -> bool {
    !matches!(state, TaskState::Failed | TaskState::Stopped)
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn plain(gauge: &GaugeVec) -> Gauge {
    gauge.with_label_values::<&str>(&[])
}

impl Gauges {
    fn daemon(&self, status: &DaemonStatus, unsaved: bool) {
        let budget = &status.budget;
        plain(&self.requested).set(budget.status.requested_percentage / 100.0);
        plain(&self.measured).set(budget.measured_percentage / 100.0);
        plain(&self.debt).set(budget.status.debt_secs);
        plain(&self.overrun).set(budget.status.longest_overrun_secs);
        plain(&self.waiting).set(budget.status.waiting as f64);
        plain(&self.paused).set(flag(status.paused));
        plain(&self.changed).set(flag(budget.changed.is_some()));
        plain(&self.refused).set(flag(status.config.refused.is_some()));
        plain(&self.loaded).set(status.config.loaded);
        plain(&self.unsaved).set(flag(unsaved));
        plain(&self.started).set(status.started);
        for severity in Verdict::ALL.into_iter().filter(|severity| *severity != Verdict::Well) {
            let problems = status.problems.iter().filter(|problem| problem.severity == severity).count();
            self.problems.with_label_values(&[severity.as_str()]).set(problems as f64);
        }
        self.build.with_label_values(&[&status.version]).set(1.0);
        plain(&self.priority).set(match status.priority.grip {
            Grip::Yes => 1.0,
            Grip::Partly => 0.5,
            Grip::No => 0.0,
        });
        for client in &budget.status.clients {
            self.client_measured.with_label_values(&[&client.name]).set(client.percentage / 100.0);
            self.client_cost.with_label_values(&[&client.name]).set(client.cost_secs);
        }
    }

    fn crawl(&self, crawl: &Crawl) {
        let (name, found) = (&[&*crawl.name], &crawl.status);
        self.damaged.with_label_values(name).set(found.damaged as f64);
        self.unread.with_label_values(name).set(crawl.unread() as f64);
        self.walking.with_label_values(name).set(flag(found.state == TaskState::Walking));
        let missed = found.target.as_ref().is_some_and(|target| target.met == Some(false));
        self.target_missed.with_label_values(name).set(flag(missed));
        self.last_incomplete.with_label_values(name).set(0.0);
        self.up.with_label_values(&[&*crawl.name, &*found.job]).set(flag(is_up(found.state)));
        self.crawl_waiting.with_label_values(name).set(flag(found.state == TaskState::Waiting));
        self.rehearsed.with_label_values(name).set(flag(crawl.waits_to_be_confirmed()));
        if let (Some(cycle), Some(started)) = (found.cycle, found.cycle_started) {
            self.cycle.with_label_values(name).set(cycle as f64);
            self.cycle_started.with_label_values(name).set(started);
        }
        if found.prefixes_total > 0 {
            let progress = f64::from(found.prefixes_done) / f64::from(found.prefixes_total);
            self.cycle_progress.with_label_values(name).set(progress);
        }
        if let Some(range) = &found.remaining_secs {
            self.cycle_remaining.with_label_values(name).set(range.most);
        }
        if let Some(target) = &found.target {
            self.target(name, target);
        }
        let Some(Cycle { summary: last, space, spared, .. }) = &crawl.last_cycle else { return };
        self.last_end.with_label_values(name).set(last.finished.unwrap_or(0.0));
        self.last_duration.with_label_values(name).set(last.elapsed_secs);
        self.last_incomplete.with_label_values(name).set(last.incomplete_prefixes as f64);
        self.last_buckets.with_label_values(name).set(last.buckets as f64);
        self.last_findings.with_label_values(name).set(last.findings as f64);
        self.last_errors.with_label_values(name).set(last.errors as f64);
        if let Some(shares) = last.shares {
            self.last_shares.with_label_values(name).set(shares as f64);
        }
        if let Some(Spared { partly_expired, expired_within_a_day, touched_within_the_hour }) = *spared {
            for (reason, shares) in [
                ("partly_expired", partly_expired),
                ("expired_within_a_day", expired_within_a_day),
                ("touched_within_the_hour", touched_within_the_hour),
            ] {
                self.last_spared.with_label_values(&[&*crawl.name, reason]).set(shares as f64);
            }
        }
        if let Some(space) = space {
            let kinds = [
                ("examined", space.examined_bytes),
                ("expired", space.expired_bytes),
                ("deleted", space.deleted_bytes),
            ];
            let told = space.would_delete_bytes.map(|bytes| ("would_delete", bytes));
            for (kind, bytes) in kinds.into_iter().chain(told) {
                self.last_bytes.with_label_values(&[&*crawl.name, kind]).set(bytes as f64);
            }
            self.last_leases.with_label_values(name).set(space.leases as f64);
        }
    }

    fn target(&self, name: &[&str; 1], target: &TargetStatus) {
        self.target_within.with_label_values(name).set(target.within_secs);
        if let Some(range) = &target.expected_secs {
            self.target_expected.with_label_values(name).set(range.most);
        }
        if let Some(met) = target.met {
            self.target_met.with_label_values(name).set(flag(met));
        }
    }

    fn ring(&self, crawl: &Crawl, ring: &RingPicture, status: &DaemonStatus) {
        let visits = ring.visited.iter().flatten().copied();
        let unvisited = ring.visited.iter().filter(|visited| visited.is_none()).count();
        self.unvisited.with_label_values(&[&*crawl.name]).set(unvisited as f64);
        let oldest = visits.reduce(f64::min).map_or(0.0, |oldest| (status.now - oldest).max(0.0));
        let unvisited_for = if unvisited > 0 { waited(crawl, status) } else { 0.0 };
        self.oldest.with_label_values(&[&*crawl.name]).set(oldest.max(unvisited_for));
    }

    fn cleaning(&self, cleaning: &Cleaning) {
        let (name, found) = (&[&*cleaning.name], &cleaning.status);
        self.clean_up.with_label_values(name).set(flag(is_up(found.state)));
        self.clean_waiting.with_label_values(name).set(flag(found.state == TaskState::Waiting));
        self.clean_done.with_label_values(name).set(found.progress.rows_done as f64);
        self.clean_planned.with_label_values(name).set(found.progress.rows_planned as f64);
        self.clean_refused.with_label_values(name).set(0.0);
        self.clean_longest.with_label_values(name).set(found.progress.longest_lock_secs);
        if let Some(run) = &cleaning.last_run {
            self.clean_end.with_label_values(name).set(run.finished);
            self.clean_refused.with_label_values(name).set(flag(run.refused.is_some()));
        }
    }
}
