//! The ring of one crawl as a picture: when each prefix was visited last, what was met there, and where the walk is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::ring::Ring;

/// What is known of one prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct PrefixMark {
    visited: Option<f64>,
    errors: u64,
    findings: u64,
    revision: u64,
}

/// A crawl's ring at one moment: for each prefix, in ring order, when it was visited last and what was met there.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RingPicture {
    /// The names, in ring order; a position counts from 0 in it.
    pub prefixes: Vec<String>,
    /// When each was last completed, in seconds since 1970; null if that is unknown.
    pub visited: Vec<Option<f64>>,
    /// Errors in each at that visit.
    pub errors: Vec<u64>,
    /// Findings in each at that visit.
    pub findings: Vec<u64>,
    /// Positions at which workers are now, and those begun but not complete, ascending.
    pub current: Vec<u32>,
    /// Grows with each change of any prefix, so that a reader knows which are new to it: the revision of each.
    #[serde(skip)]
    pub revisions: Vec<u64>,
    /// The revision of the newest change.
    #[serde(skip)]
    pub revision: u64,
}

/// The marks of one crawl's ring.
#[derive(Debug)]
pub(crate) struct RingMarks {
    ring: Ring,
    marks: Vec<PrefixMark>,
    /// Errors and findings so far in prefixes that are begun.
    begun: BTreeMap<u32, (u64, u64)>,
    /// Those of them that a worker of this run has begun, in the order in which it met something there last.
    trail: Vec<u32>,
    /// Where each worker is, and whether that prefix was completed since.
    workers: BTreeMap<u32, (u32, bool)>,
    revision: u64,
}

impl RingMarks {
    pub fn new(ring: Ring) -> Self {
        let marks = vec![PrefixMark::default(); ring.len() as usize];
        RingMarks { ring, marks, begun: BTreeMap::new(), trail: Vec::new(), workers: BTreeMap::new(), revision: 0 }
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// A cycle begins or goes on: nothing is begun but what is told from here on.
    pub fn restart(&mut self) {
        self.begun.clear();
        self.trail.clear();
        self.workers.clear();
    }

    /// A worker is at this position, or nowhere.
    pub fn worker(&mut self, number: u32, position: Option<u32>) {
        match position {
            Some(position) => self.workers.insert(number, (position, false)),
            None => self.workers.remove(&number),
        };
    }

    /// So much more was met in a prefix that is not complete.
    pub fn met(&mut self, position: u32, errors: u64, findings: u64) {
        let begun = self.begun.entry(position).or_default();
        *begun = (begun.0 + errors, begun.1 + findings);
        self.trail.retain(|at| *at != position);
        if !self.workers.is_empty() {
            self.trail.push(position);
        }
    }

    /// A prefix is complete, at this moment if it is known.
    pub fn complete(&mut self, position: u32, visited: Option<f64>) {
        let (errors, findings) = self.begun.remove(&position).unwrap_or_default();
        self.trail.retain(|at| *at != position);
        for (at, done) in self.workers.values_mut() {
            *done |= *at == position;
        }
        self.set(position, visited, errors, findings);
    }

    /// What an earlier run knew, unless there was a visit since.
    pub fn remember(&mut self, position: u32, visited: f64) {
        if self.marks.get(position as usize).is_some_and(|mark| mark.visited.is_none_or(|at| at < visited)) {
            let PrefixMark { errors, findings, .. } = self.marks[position as usize];
            self.set(position, Some(visited), errors, findings);
        }
    }

    fn set(&mut self, position: u32, visited: Option<f64>, errors: u64, findings: u64) {
        let Some(mark) = self.marks.get_mut(position as usize) else { return };
        self.revision += 1;
        *mark = PrefixMark { visited: visited.or(mark.visited), errors, findings, revision: self.revision };
    }

    pub fn picture(&self) -> RingPicture {
        let mut current: Vec<u32> = self.workers.values().filter(|(_, done)| !done).map(|(at, _)| *at).collect();
        // A worker that goes through several prefixes at a stretch is in one that is begun; else it is where it was last.
        let mut begun: Vec<u32> = self.trail.iter().filter(|at| !current.contains(at)).copied().collect();
        for (at, _) in self.workers.values().filter(|(_, done)| *done) {
            current.push(begun.pop().unwrap_or(*at));
        }
        current.sort_unstable();
        current.dedup();
        RingPicture {
            prefixes: self.ring.names().to_vec(),
            visited: self.marks.iter().map(|mark| mark.visited).collect(),
            errors: self.marks.iter().map(|mark| mark.errors).collect(),
            findings: self.marks.iter().map(|mark| mark.findings).collect(),
            current,
            revisions: self.marks.iter().map(|mark| mark.revision).collect(),
            revision: self.revision,
        }
    }

    /// When the prefix that has waited longest was visited; `None` while the visit of one is not known.
    pub fn oldest_visit(&self) -> Option<f64> {
        let visits: Option<Vec<f64>> = self.marks.iter().map(|mark| mark.visited).collect();
        visits?.into_iter().reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_marked_with_all_that_was_met_in_it() {
        let mut marks = RingMarks::new(Ring::new(["a", "b", "c"].map(str::to_owned).to_vec()));
        marks.met(1, 1, 0);
        marks.worker(0, Some(2));
        marks.met(1, 1, 3);
        assert_eq!(marks.picture().current, [2], "one worker is in one place");
        marks.complete(2, Some(6.0));
        assert_eq!(marks.picture().current, [1], "it has gone on");
        marks.complete(1, Some(7.0));
        let picture = marks.picture();
        assert_eq!((picture.visited[1], picture.errors[1], picture.findings[1]), (Some(7.0), 2, 3));
        assert_eq!((&*picture.prefixes[1], picture.revisions[1]), ("b", 2));
        assert_eq!((picture.current, picture.revision), (vec![2], 2), "nothing is begun: where it was last");
    }

    #[test]
    fn a_worker_is_where_it_has_met_something_and_not_where_an_earlier_run_has() {
        let mut marks = RingMarks::new(Ring::new((0..9).map(|i| i.to_string()).collect::<Vec<_>>()));
        marks.restart();
        marks.met(3, 0, 1);
        marks.met(8, 0, 1);
        marks.worker(0, Some(3));
        marks.met(3, 0, 1);
        marks.complete(3, Some(1.0));
        assert_eq!(marks.picture().current, [3], "nothing is begun: where it was last");
        marks.met(4, 0, 0);
        assert_eq!(marks.picture().current, [4]);
        // Left for another after a panic there; what was met last is where it is.
        marks.met(7, 0, 0);
        marks.met(5, 0, 0);
        assert_eq!(marks.picture().current, [5]);
        marks.worker(1, Some(8));
        marks.met(8, 0, 0);
        marks.complete(8, Some(2.0));
        assert_eq!((marks.picture().current, marks.picture().findings[8]), (vec![5, 7], 1));
    }

    #[test]
    fn what_an_earlier_run_knew_gives_way_to_what_this_one_knows() {
        let mut marks = RingMarks::new(Ring::new(["a", "b"].map(str::to_owned).to_vec()));
        marks.met(0, 0, 2);
        marks.complete(0, None);
        marks.complete(1, Some(9.0));
        marks.remember(0, 3.0);
        marks.remember(1, 3.0);
        marks.remember(2, 3.0);
        let picture = marks.picture();
        assert_eq!((picture.visited, picture.findings), (vec![Some(3.0), Some(9.0)], vec![2, 0]));
        assert_eq!(marks.oldest_visit(), Some(3.0));
    }
}
