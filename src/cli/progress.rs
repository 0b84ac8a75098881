//! Progress on stderr: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::maintenance::MaintenanceProgress;
use crate::model::{CrawlStatus, MaintenanceStatus, Range, Status};
use crate::shown::range;
use crate::sizes::plural;

/// Time between two lines where stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows how one crawl comes along.
pub struct ProgressLine {
    crawl: String,
    bar: Option<ProgressBar>,
    told: Instant,
    /// Whether it was said that the cycle goes on where an earlier run ended.
    resumption_told: bool,
    rate: Rate,
}

impl ProgressLine {
    /// Begins to show a crawl of so many prefixes.
    pub fn new(crawl: &str, prefixes: u32) -> Self {
        let bar = output::is_terminal().then(|| {
            let bar = ProgressBar::new(u64::from(prefixes));
            let style = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len} prefixes  {msg}");
            // The template is a constant that every test with a terminal goes through; the default is a bar too.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(crawl.to_owned());
            bar
        });
        output::set_bar(bar.clone());
        ProgressLine { crawl: crawl.to_owned(), bar, told: Instant::now(), resumption_told: false, rate: Rate::new() }
    }

    /// Shows the engine's status as it is now.
    pub fn show(&mut self, status: &Status) {
        let Some(crawl) = status.crawls.get(&self.crawl) else { return };
        self.tell_resumption(crawl);
        let per_sec = self.rate.add(crawl.buckets);
        let line = line(crawl, per_sec, status.budget.measured_total_percentage);
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(crawl.prefixes_done));
            bar.set_message(line);
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            output::say(&format!("{}: {}/{} prefixes  {line}", self.crawl, crawl.prefixes_done, crawl.prefixes_total));
        }
    }

    fn tell_resumption(&mut self, crawl: &CrawlStatus) {
        let (Some(cycle), Some(done)) = (crawl.cycle, crawl.resumed_with) else { return };
        if std::mem::replace(&mut self.resumption_told, true) {
            return;
        }
        let total = crawl.prefixes_total;
        output::say(&if crawl.examined_before {
            format!("{}: cycle {cycle} was examined by an earlier run, and is not examined again", self.crawl)
        } else if done == total {
            format!("{}: an earlier run has finished cycle {cycle}, this is its report", self.crawl)
        } else {
            format!("{}: resuming cycle {cycle}, of which {done} of {total} prefixes are complete", self.crawl)
        });
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        output::set_bar(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how a cleaning comes along.
pub struct CleaningProgress {
    cleaning: String,
    bar: Option<ProgressBar>,
    told: Instant,
    resumption_told: bool,
    planned_again: u32,
}

impl CleaningProgress {
    /// Begins to show a cleaning.
    pub fn new(cleaning: &str) -> Self {
        let bar = output::is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} [{bar:32}] {percent}%  {msg}");
            // As above.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(cleaning.to_owned());
            bar
        });
        output::set_bar(bar.clone());
        let cleaning = cleaning.to_owned();
        CleaningProgress { cleaning, bar, told: Instant::now(), resumption_told: false, planned_again: 0 }
    }

    /// Shows the engine's status as it is now.
    pub fn show(&mut self, status: &Status) {
        let Some(cleaning) = status.maintenance.get(&self.cleaning) else { return };
        let progress = &cleaning.progress;
        if progress.resumed && !std::mem::replace(&mut self.resumption_told, true) {
            output::say(&format!("{}: goes on with the plan of an earlier run", self.cleaning));
        }
        if std::mem::replace(&mut self.planned_again, progress.planned_again) < progress.planned_again {
            output::say(&format!("{}: a backup has run meanwhile, planned again", self.cleaning));
        }
        let line = cleaning_line(cleaning);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.rows_planned);
            bar.set_position(progress.rows_done);
            bar.set_message(line);
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            output::say(&format!("{}: {line}", self.cleaning));
        }
    }
}

impl Drop for CleaningProgress {
    fn drop(&mut self) {
        output::set_bar(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn cleaning_line(cleaning: &MaintenanceStatus) -> String {
    let MaintenanceProgress { doing, rows_done, rows_planned, locks, longest_lock_secs, .. } = &cleaning.progress;
    let mut line = format!("{doing}  {rows_done} of about {rows_planned} rows");
    if *locks > 0 {
        line += &format!("  {locks} locks, longest {:.1} ms", 1e3 * longest_lock_secs);
    }
    if let Some(cause) = &cleaning.waiting_for {
        line += &format!("  WAITING: {cause}");
    }
    line
}

fn line(crawl: &CrawlStatus, per_sec: f64, percentage: f64) -> String {
    let mut line = format!("{}  {per_sec:.0}/s", plural(crawl.buckets, "bucket"));
    if let Some(prefix) = &crawl.last_complete_prefix {
        line += &format!("  to {prefix}");
    }
    line += &format!("  {percentage:.0}% of a core");
    if let Some(Range { least, most }) = crawl.remaining_secs {
        line += &format!("  {} left", range(least, most));
    }
    if crawl.errors > 0 {
        line += &format!("  {} errors", crawl.errors);
    }
    if let Some(cause) = &crawl.waiting_for {
        line += &format!("  WAITING: {cause}");
    }
    line
}

/// Buckets per second over the last few seconds.
struct Rate {
    points: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(10);

    fn new() -> Self {
        Rate { points: std::collections::VecDeque::new() }
    }

    fn add(&mut self, buckets: u64) -> f64 {
        let now = Instant::now();
        self.points.push_back((now, buckets));
        while self.points.len() > 2 && self.points.front().is_some_and(|(at, _)| now - *at > Self::WINDOW) {
            self.points.pop_front();
        }
        let Some((since, before)) = self.points.front() else { return 0.0 };
        let secs = (now - *since).as_secs_f64();
        if secs > 0.0 { buckets.saturating_sub(*before) as f64 / secs } else { 0.0 }
    }
}
