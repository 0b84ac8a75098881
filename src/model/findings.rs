//! The newest findings and errors of all crawls, numbered, so that a reader can ask for what came after the last one.
//!
//! What is met again in a later cycle takes the place of what was said of it before, under a new number.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::job::{ErrorNote, Finding, Note, NoteKind};
use crate::store::ErrorCause;

/// How many are kept; the state has all of those that belong to cycles which are kept there.
pub const FINDINGS_KEPT: usize = 10_000;

/// How many bytes of names and text these have: some 200 each. Names have up to 255 bytes, and anybody who may write to a store
/// can make ten thousand of them.
const FINDINGS_BYTES_KEPT: usize = 2 << 20;

/// A finding or an error, as it was saved.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingRow {
    /// Counts from 1 since the engine's start.
    pub number: u64,
    /// What it is.
    #[cfg_attr(feature = "daemon", schemars(with = "String", extend("enum" = ["finding", "error"])))]
    pub kind: NoteKind,
    pub crawl: String,
    /// The cycle in which it was met last.
    pub cycle: u64,
    /// In how many cycles it was met, as far as they are known.
    pub cycles: u64,
    /// When it was met first, as far as is known, in seconds since 1970.
    pub since: f64,
    /// Number of the row of which it takes the place, and which is kept no longer.
    pub replaces: Option<u64>,
    /// When it was saved, in seconds since 1970; of those from before the engine's start, when their cycle began.
    pub at: f64,
    /// Whether it is from before the engine's start, whatever the wall clock said then.
    #[serde(skip)]
    pub is_earlier: bool,
    pub prefix: String,
    /// The bucket; none for errors.
    pub bucket: Option<String>,
    /// The object in the bucket; none where it is about the bucket.
    pub object: Option<String>,
    /// The part of the object.
    pub part: Option<String>,
    /// Path of what could not be read; none for findings.
    pub path: Option<String>,
    /// What is wrong, for people.
    pub text: String,
    /// Why something could not be read.
    #[serde(skip)]
    pub cause: ErrorCause,
}

impl FindingRow {
    /// Bytes of names and text in it.
    fn bytes(&self) -> usize {
        let optional =
            [&self.bucket, &self.object, &self.part, &self.path].map(|text| text.as_ref().map_or(0, String::len));
        self.crawl.len() + self.prefix.len() + self.text.len() + optional.iter().sum::<usize>()
    }

    /// Makes a row of a note; `None` if its body is none that is known here.
    pub(crate) fn of(note: &Note, crawl: &str, cycle: u64, at: f64, prefix: &str) -> Option<FindingRow> {
        let (crawl, prefix) = (crawl.to_owned(), prefix.to_owned());
        let row = FindingRow {
            number: 0,
            kind: note.kind,
            crawl,
            cycle,
            cycles: 1,
            since: at,
            replaces: None,
            at,
            is_earlier: false,
            prefix,
            bucket: None,
            object: None,
            part: None,
            path: None,
            text: String::new(),
            cause: ErrorCause::Other,
        };
        Some(match note.kind {
            NoteKind::Finding => {
                let Finding { bucket, object, part, reason, .. } = serde_json::from_str(&note.body).ok()?;
                FindingRow { bucket: Some(bucket), object, part: Some(part), text: reason, ..row }
            }
            NoteKind::Stray => return None,
            NoteKind::Error => {
                let ErrorNote { path, error, cause } = serde_json::from_str(&note.body).ok()?;
                FindingRow { path: Some(path), text: error, cause, ..row }
            }
        })
    }
}

/// Some of the findings, and where they stand among all.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingsPage {
    /// From this number on all are kept that no newer one has taken the place of; 0 if there is none.
    pub first: u64,
    /// Number of the newest; 0 if there is none.
    pub last: u64,
    /// Whether there are more beyond the last one here.
    pub more: bool,
    /// Those asked for, oldest first.
    #[serde(rename = "findings")]
    pub rows: Vec<FindingRow>,
}

/// A bounded log.
#[derive(Debug, Default)]
pub(super) struct FindingLog {
    rows: BTreeMap<u64, FindingRow>,
    /// The row about each thing.
    known: HashMap<About, u64>,
    last: u64,
    /// Bytes of names and text in the rows.
    bytes: usize,
    /// The newest that was given up for want of room.
    given_up: u64,
}

/// What a row is about: two rows about the same thing in two cycles say that it is still there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct About {
    crawl: String,
    error: bool,
    /// Bucket or path, object and part.
    place: [Option<String>; 3],
}

impl About {
    fn of(row: &FindingRow) -> About {
        let place = row.bucket.as_ref().or(row.path.as_ref()).cloned();
        let error = row.kind == NoteKind::Error;
        About { crawl: row.crawl.clone(), error, place: [place, row.object.clone(), row.part.clone()] }
    }
}

impl FindingLog {
    pub fn push(&mut self, mut row: FindingRow) {
        self.last += 1;
        row.number = self.last;
        let about = About::of(&row);
        // Two of one cycle are two things, or the same before and after a crash.
        let again =
            self.known.get(&about).and_then(|number| self.rows.get(number)).filter(|old| old.cycle != row.cycle);
        if let Some(old) = again {
            (row.cycles, row.since, row.replaces) = (old.cycles + 1, old.since.min(row.at), Some(old.number));
            let replaced = self.rows.remove(&row.replaces.unwrap_or(0));
            self.bytes -= replaced.as_ref().map_or(0, FindingRow::bytes);
        }
        self.bytes += row.bytes();
        self.known.insert(about, row.number);
        self.rows.insert(row.number, row);
        while (self.rows.len() > FINDINGS_KEPT || self.bytes > FINDINGS_BYTES_KEPT)
            && let Some((number, gone)) = self.rows.pop_first()
        {
            self.given_up = number;
            self.bytes -= gone.bytes();
            let about = About::of(&gone);
            if self.known.get(&about) == Some(&number) {
                self.known.remove(&about);
            }
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// The newest cycle of a crawl that has a row.
    pub fn last_cycle(&self, crawl: &str) -> Option<u64> {
        self.rows.values().filter(|row| row.crawl == crawl).map(|row| row.cycle).max()
    }

    /// Those after a number, of one crawl or of all, at most `limit`.
    pub fn after(&self, number: u64, crawl: Option<&str>, limit: usize) -> FindingsPage {
        let first = if self.rows.is_empty() { 0 } else { self.given_up + 1 };
        let newer = self.rows.range(number.saturating_add(1)..).map(|(_, row)| row);
        let wanted = newer.filter(|row| crawl.is_none_or(|name| row.crawl == name));
        let mut rows: Vec<FindingRow> = wanted.take(limit.saturating_add(1)).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        FindingsPage { first, last: self.last, more, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(crawl: &str) -> FindingRow {
        at("/x", crawl, 3)
    }

    fn at(path: &str, crawl: &str, cycle: u64) -> FindingRow {
        let note = ErrorNote { path: path.into(), error: "why".into(), cause: ErrorCause::Other };
        let body = serde_json::to_string(&note).unwrap();
        let note = Note { number: 0, bucket: Vec::new(), kind: NoteKind::Error, body };
        FindingRow::of(&note, crawl, cycle, 1.5 + cycle as f64, "aa").unwrap()
    }

    fn numbers(page: &FindingsPage) -> Vec<u64> {
        page.rows.iter().map(|row| row.number).collect()
    }

    #[test]
    fn rows_after_a_number_come_in_order_and_say_whether_more_follow() {
        let mut log = FindingLog::default();
        assert_eq!(log.after(0, None, 5), FindingsPage { first: 0, last: 0, more: false, rows: vec![] });
        for crawl in ["a", "b", "a", "b", "a"] {
            log.push(row(crawl));
        }
        let page = log.after(0, None, 2);
        assert_eq!((numbers(&page), page.more, page.first, page.last), (vec![1, 2], true, 1, 5));
        let page = log.after(2, Some("a"), 2);
        assert_eq!((numbers(&page), page.more), (vec![3, 5], false));
        assert_eq!(numbers(&log.after(u64::MAX - 1, None, 2)), Vec::<u64>::new());
    }

    #[test]
    fn what_is_met_again_in_a_later_cycle_stands_there_once_with_since_when() {
        let mut log = FindingLog::default();
        for (path, cycle) in [("/a", 0), ("/b", 0), ("/a", 1), ("/a", 2), ("/b", 2)] {
            log.push(at(path, "leases", cycle));
        }
        log.push(at("/a", "verify", 2));
        let rows = log.after(0, None, 9).rows;
        let said = |row: &FindingRow| (row.number, row.cycle, row.cycles, row.since, row.replaces);
        let said: Vec<_> = rows.iter().map(said).collect();
        assert_eq!(said, [(4, 2, 3, 1.5, Some(3)), (5, 2, 2, 1.5, Some(2)), (6, 2, 1, 3.5, None)]);
        // Two in one cycle stay two.
        log.push(at("/a", "verify", 2));
        assert_eq!(numbers(&log.after(5, None, 9)), [6, 7]);
    }

    #[test]
    fn the_newest_cycle_of_a_crawl_is_known_by_its_rows() {
        let mut log = FindingLog::default();
        for (path, cycle) in [("/a", 4), ("/b", 3)] {
            log.push(at(path, "leases", cycle));
        }
        log.push(at("/a", "verify", 0));
        let cycles = ["leases", "verify", "count"].map(|crawl| log.last_cycle(crawl));
        assert_eq!(cycles, [Some(4), Some(0), None]);
    }

    #[test]
    fn the_oldest_rows_go_and_numbers_go_on() {
        let mut log = FindingLog::default();
        for _ in 0..FINDINGS_KEPT + 10 {
            log.push(row("a"));
        }
        let page = log.after(0, None, 1);
        assert_eq!((page.first, numbers(&page)), (11, vec![11]));
        assert_eq!(log.last(), FINDINGS_KEPT as u64 + 10);
    }

    #[test]
    fn long_rows_are_bounded_by_their_bytes() {
        let mut log = FindingLog::default();
        for n in 0..9000 {
            log.push(at(&format!("/{n:01000}"), "a", 3));
        }
        let page = log.after(0, None, 10_000);
        let bytes: usize = page.rows.iter().map(FindingRow::bytes).sum();
        assert!((FINDINGS_BYTES_KEPT - 2000..=FINDINGS_BYTES_KEPT).contains(&bytes), "{bytes}");
        assert_eq!((page.last, page.first), (9000, 9001 - page.rows.len() as u64));
        // What is met again takes no more room.
        for n in 8000..9000 {
            log.push(at(&format!("/{n:01000}"), "a", 4));
        }
        assert_eq!((log.bytes, log.after(0, None, 10_000).rows.len()), (bytes, page.rows.len()));
    }
}
