//! How many buckets a second each crawl works off, from what the walk has shown so far.
//!
//! Owns a few readings of each walk. Reads no clock and asks nobody: it is handed a status.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{CrawlStatus, Status, TaskState};

/// Time between two readings of one walk, at least.
const STEP: Duration = Duration::from_secs(10);
/// How many of the last readings count: a minute's, and more where slices are rare.
const RECENT: usize = 6;
/// What is shorter says nothing of a pace.
const LEAST: Duration = Duration::from_secs(1);

/// The pace of each crawl.
#[derive(Debug, Default)]
pub struct Paces(BTreeMap<String, UnbrokenWalk>);

/// A walk without a break: of one cycle, in this process, since it began or since the last pause.
#[derive(Debug)]
struct UnbrokenWalk {
    cycle: Option<u64>,
    /// When how many buckets of the cycle were saved. The first is from the beginning until there are enough others; each
    /// further one has more buckets than the one before.
    readings: VecDeque<(Duration, u64)>,
}

impl Paces {
    /// Looks at what the crawls do at this moment of the monotonic clock.
    pub fn look(&mut self, status: &Status, now: Duration) {
        let walks = |crawl: &CrawlStatus| crawl.phase == TaskState::Walking && !crawl.held && !status.budget.paused;
        self.0.retain(|name, walk| {
            let crawl = status.crawls.get(name).filter(|crawl| walks(crawl));
            crawl.is_some_and(|crawl| crawl.cycle == walk.cycle && Some(crawl.buckets) >= walk.last())
        });
        for (name, crawl) in status.crawls.iter().filter(|(_, crawl)| walks(crawl)) {
            let begins = || UnbrokenWalk { cycle: crawl.cycle, readings: VecDeque::from([(now, crawl.buckets)]) };
            self.0.entry(name.clone()).or_insert_with(begins).look(crawl.buckets, now);
        }
    }

    /// Buckets in each second up to now, given how many of the cycle are saved; `None` until that is known.
    pub fn buckets_per_sec(&self, crawl: &str, buckets: u64, now: Duration) -> Option<f64> {
        let (from, first) = *self.0.get(crawl)?.readings.front()?;
        let (elapsed, done) = (now.saturating_sub(from), buckets.checked_sub(first)?);
        (done > 0 && elapsed >= LEAST).then(|| done as f64 / elapsed.as_secs_f64())
    }
}

impl UnbrokenWalk {
    fn last(&self) -> Option<u64> {
        self.readings.back().map(|(_, buckets)| *buckets)
    }

    fn look(&mut self, buckets: u64, now: Duration) {
        let is_new = |(at, last): &(Duration, u64)| buckets > *last && now.saturating_sub(*at) >= STEP;
        if self.readings.back().is_some_and(is_new) {
            self.readings.push_back((now, buckets));
        }
        while self.readings.len() > RECENT + 1 {
            self.readings.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Board;

    /// Looks each second, as long as `buckets` has some for the second; gives the paces.
    fn paces(walk: &[(TaskState, u64, u64)]) -> Vec<Option<f64>> {
        let mut status = Board::unused().status();
        let (mut paces, mut seen) = (Paces::default(), Vec::new());
        for ((phase, cycle, buckets), second) in walk.iter().zip(100u64..) {
            let crawl = CrawlStatus::new("count", 1, 1024);
            let crawl = CrawlStatus { phase: *phase, cycle: Some(*cycle), buckets: *buckets, ..crawl };
            status.crawls.insert("a".to_owned(), crawl);
            let now = Duration::from_secs(second);
            paces.look(&status, now);
            seen.push(paces.buckets_per_sec("a", *buckets, now));
        }
        seen
    }

    #[test]
    fn a_walk_has_a_pace_from_its_first_buckets_on_and_later_that_of_the_last_minute() {
        // Resumed with 1000 buckets; 3 in each second, and 9 after two minutes.
        let buckets = |second: u64| 1000 + 3 * second + 6 * second.saturating_sub(120);
        let walk: Vec<_> = (0..240).map(|second| (TaskState::Walking, 7, buckets(second))).collect();
        let seen = paces(&walk);
        assert_eq!((seen[0], seen[1], seen[119]), (None, Some(3.0), Some(3.0)));
        assert!(seen[150].is_some_and(|pace| pace > 3.1 && pace < 8.9), "{:?}", seen[150]);
        assert_eq!(seen[239], Some(9.0));
    }

    #[test]
    fn where_slices_are_rare_nothing_is_claimed_before_the_first_and_none_is_forgotten_after_it() {
        // 25 buckets in each slice, one in 100 s.
        let walk: Vec<_> = (0..1000).map(|second| (TaskState::Walking, 0, (second + 50) / 100 * 25)).collect();
        let seen = paces(&walk);
        assert_eq!((seen[0], seen[49], seen[50]), (None, None, Some(0.5)));
        assert!(seen[200..].iter().flatten().all(|pace| (0.2..=0.35).contains(pace)));
        assert_eq!(seen[200..].iter().flatten().count(), 800);
    }

    #[test]
    fn a_pause_and_another_cycle_begin_anew() {
        let (walking, asleep) = (TaskState::Walking, TaskState::Sleeping);
        let walk = [(walking, 0, 0), (walking, 0, 5), (asleep, 0, 5), (walking, 1, 0), (walking, 1, 7)];
        assert_eq!(paces(&walk), [None, Some(5.0), None, None, Some(7.0)]);
        // Without a moment of sleep in between.
        let walk = [(walking, 0, 0), (walking, 0, 5), (walking, 1, 9), (walking, 1, 10), (walking, 1, 2)];
        assert_eq!(paces(&walk), [None, Some(5.0), None, Some(1.0), None]);
    }
}
