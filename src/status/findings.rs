//! The newest findings and errors of all crawls, numbered, so that a reader can ask for what came after the last one.

use std::collections::VecDeque;

use serde::Serialize;

use crate::job::{ErrorNote, Finding, Note, NoteKind};

/// How many are kept; the state has all of those that belong to cycles which are kept there.
pub const FINDINGS_KEPT: usize = 10_000;

/// A finding or an error, as it was saved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FindingRow {
    /// Counts from 1 since the engine's start.
    pub number: u64,
    /// What it is.
    pub kind: NoteKind,
    /// The crawl.
    pub crawl: String,
    /// The cycle.
    pub cycle: u64,
    /// When it was saved, in seconds since 1970; of those from before the engine's start, when their cycle began.
    pub at: f64,
    /// The prefix.
    pub prefix: String,
    /// The bucket; `None` for errors.
    pub storage_index: Option<String>,
    /// The share's number.
    pub share: Option<i64>,
    /// The part of the share.
    pub region: Option<String>,
    /// Path of what could not be read; `None` for findings.
    pub path: Option<String>,
    /// What is wrong, for people.
    pub text: String,
}

impl FindingRow {
    /// Makes a row of a note; `None` if its body is none that is known here.
    pub(crate) fn of(note: &Note, crawl: &str, cycle: u64, at: f64, prefix: &str) -> Option<FindingRow> {
        let (crawl, prefix) = (crawl.to_owned(), prefix.to_owned());
        let row = FindingRow {
            number: 0,
            kind: note.kind,
            crawl,
            cycle,
            at,
            prefix,
            storage_index: None,
            share: None,
            region: None,
            path: None,
            text: String::new(),
        };
        Some(match note.kind {
            NoteKind::Finding => {
                let Finding { storage_index, share, region, reason, .. } = serde_json::from_str(&note.body).ok()?;
                FindingRow { storage_index: Some(storage_index), share, region: Some(region), text: reason, ..row }
            }
            NoteKind::Error => {
                let ErrorNote { path, error } = serde_json::from_str(&note.body).ok()?;
                FindingRow { path: Some(path), text: error, ..row }
            }
        })
    }
}

/// Some of the findings, and where they stand among all.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingsPage {
    /// Number of the oldest that is kept; 0 if there is none.
    pub first: u64,
    /// Number of the newest; 0 if there is none.
    pub last: u64,
    /// Whether more follow that were asked for.
    pub more: bool,
    /// Those asked for, oldest first.
    pub rows: Vec<FindingRow>,
}

/// A bounded log.
#[derive(Debug, Default)]
pub(super) struct FindingLog {
    rows: VecDeque<FindingRow>,
    last: u64,
}

impl FindingLog {
    pub fn push(&mut self, mut row: FindingRow) {
        self.last += 1;
        row.number = self.last;
        if self.rows.len() >= FINDINGS_KEPT {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// Those after a number, of one crawl or of all, at most `limit`.
    pub fn after(&self, number: u64, crawl: Option<&str>, limit: usize) -> FindingsPage {
        let first = self.rows.front().map_or(0, |row| row.number);
        // Numbers follow each other without gaps.
        let skipped = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = self.rows.iter().skip(skipped).filter(|row| crawl.is_none_or(|name| row.crawl == name));
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
        let note = ErrorNote { path: "/x".into(), error: "why".into() };
        let body = serde_json::to_string(&note).unwrap();
        let note = Note { number: 0, bucket: Vec::new(), kind: NoteKind::Error, body };
        FindingRow::of(&note, crawl, 3, 1.5, "aa").unwrap()
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
    fn the_oldest_rows_go_and_numbers_go_on() {
        let mut log = FindingLog::default();
        for _ in 0..FINDINGS_KEPT + 10 {
            log.push(row("a"));
        }
        let page = log.after(0, None, 1);
        assert_eq!((page.first, numbers(&page)), (11, vec![11]));
        assert_eq!(log.last(), FINDINGS_KEPT as u64 + 10);
    }
}
