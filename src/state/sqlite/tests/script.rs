//! A crawl whose every state is known beforehand: the oracle of the tests that break something.
//!
//! Prefix `p` is complete after `STEPS` commits; after `n` of them its row and notes are what [`Script::row`] and
//! [`Script::notes`] say. So whatever is read from a state tells how far it is, and whether it is a state that
//! ever was.

use rusqlite::Connection;

use crate::error::Result;
use crate::job::{Note, NoteKind};
use crate::policy::cycle::{CycleIdentity, Rehearsal};
use crate::state::contract::notes;
use crate::state::sqlite::rings;
use crate::state::sqlite::rows::CycleRow;
use crate::state::{Claim, PrefixProgress, PrefixRow, StateStore};

/// Commits that complete a prefix.
pub(super) const STEPS: u64 = 4;

/// Prefixes worked on at once; each commit carries one step of each.
const WORKED_AT_ONCE: u32 = 2;

/// One crawl.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    pub crawl: &'static str,
    pub prefixes: u32,
}

impl Script {
    pub(super) const fn new(crawl: &'static str, prefixes: u32) -> Self {
        Script { crawl, prefixes }
    }

    pub(super) fn identity(self) -> CycleIdentity {
        CycleIdentity {
            store: "/srv/shares".to_owned(),
            job: self.crawl.to_owned(),
            parameters: serde_json::json!({"mode": "age"}),
            ring: (0..self.prefixes).map(|n| format!("{n:04}")).collect(),
            now: 1.0e9,
            fixed_clock: false,
            not_in_ring: 0,
            stray_paths: Vec::new(),
            no_prefix: false,
            rehearsal: Rehearsal::No,
        }
    }

    /// The row of a prefix after `n` commits. Tallies grow, so that rows move between pages.
    pub(super) fn row(self, prefix: u32, n: u64) -> PrefixRow {
        if n == 0 {
            return PrefixRow { prefix, done: false, cursor: None, tally: None };
        }
        let mut tally = format!("{n} {prefix} {} ", self.crawl).into_bytes();
        let len = 100 + (u64::from(prefix) * 311 + n * 257) % 1300;
        tally.extend((0..len).map(|at| (at * 7 + n) as u8));
        PrefixRow { prefix, done: n == STEPS, cursor: Some(format!("{n:026}").into_bytes()), tally: Some(tally) }
    }

    /// The notes of a prefix after `n` commits: with every second commit there are two.
    pub(super) fn notes(self, prefix: u32, n: u64) -> Vec<Note> {
        let note = |number: u64| Note {
            number,
            bucket: format!("{number:026}").into_bytes(),
            kind: if number.is_multiple_of(2) { NoteKind::Finding } else { NoteKind::Error },
            body: format!("{{\"crawl\":{:?},\"prefix\":{prefix},\"number\":{number}}}", self.crawl),
        };
        (0..n / 2 * 2).map(note).collect()
    }

    /// How many commits a prefix has had, by its own account.
    pub(super) fn commits(row: &PrefixRow) -> u64 {
        let Some(tally) = &row.tally else { return 0 };
        String::from_utf8_lossy(tally).split(' ').next().unwrap().parse().unwrap()
    }

    fn step(self, claim: &Claim, n: u64) -> PrefixProgress {
        let PrefixRow { prefix, done, cursor, tally } = self.row(claim.prefix, n);
        let notes = self.notes(prefix, n).split_off(self.notes(prefix, n - 1).len());
        let tally = tally.unwrap();
        PrefixProgress {
            prefix,
            fence: claim.fence,
            cursor,
            tally,
            done,
            whole: true,
            notes,
            intents: Vec::new(),
            candidates: Vec::new(),
            judged: crate::job::Judged::default(),
        }
    }

    /// Goes on with the crawl as the engine would, for at most that many commits, to the delivery of its first cycle.
    /// `ask` makes each call; it may make it again.
    pub(super) fn go_on<S: StateStore>(self, store: &mut S, commits: usize, ask: &mut Ask<'_, S>) -> Result<()> {
        let mut latest = None;
        ask(store, &mut |store| store.reader().latest(self.crawl).map(|found| latest = found))?;
        if latest.is_none() {
            ask(store, &mut |store| store.begin(self.crawl, &self.identity(), 1.0).map(|new| latest = Some(new)))?;
        }
        let Some(cycle) = latest else { unreachable!("begun just now") };
        assert_eq!(cycle.number, 0, "a silent new cycle");
        let key = cycle.key();
        let mut left = commits;
        loop {
            let mut claims = Vec::new();
            ask(store, &mut |store| store.claim(&key, WORKED_AT_ONCE).map(|given| claims = given))?;
            if claims.is_empty() {
                break;
            }
            let mut at: Vec<u64> = claims.iter().map(|c| Self::commits(&self.row_of(c))).collect();
            while at.iter().any(|n| *n < STEPS) {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                let steps: Vec<PrefixProgress> = claims
                    .iter()
                    .zip(&mut at)
                    .filter(|(_, n)| **n < STEPS)
                    .map(|(claim, n)| {
                        *n += 1;
                        self.step(claim, *n)
                    })
                    .collect();
                ask(store, &mut |store| store.commit(&key, &steps, 2.0).map(drop))?;
            }
        }
        if left > 0 {
            ask(store, &mut |store| store.deliver(&key))?;
        }
        Ok(())
    }

    fn row_of(self, claim: &Claim) -> PrefixRow {
        let (cursor, tally) = (claim.cursor.clone(), claim.tally.clone());
        PrefixRow { prefix: claim.prefix, done: false, cursor, tally }
    }

    /// Reads everything of the crawl's first cycle. Panics if it is not a state that ever was; else gives the commits
    /// of each prefix.
    pub(super) fn examine(self, store: &mut impl StateStore) -> Result<Vec<u64>> {
        let cycle = store.reader().latest(self.crawl)?.expect("the cycle was begun long ago");
        assert_eq!((cycle.number, &cycle.identity, cycle.started), (0, &self.identity(), 1.0));
        let rows = store.reader().prefixes(&cycle.key(), 0)?;
        assert_eq!(rows.len(), self.prefixes as usize);
        let commits: Vec<u64> = rows.iter().map(Self::commits).collect();
        let (mut errors, mut findings) = (Vec::new(), Vec::new());
        for ((row, n), prefix) in rows.iter().zip(&commits).zip(0..) {
            assert_eq!(*row, self.row(prefix, *n));
            for note in self.notes(prefix, *n) {
                if note.kind == NoteKind::Error { &mut errors } else { &mut findings }.push((prefix, note));
            }
        }
        assert_eq!(notes(store, &cycle.key(), NoteKind::Error, u64::MAX)?, errors);
        assert_eq!(notes(store, &cycle.key(), NoteKind::Finding, u64::MAX)?, findings);
        let all_done = commits.iter().all(|n| *n == STEPS);
        assert_eq!(cycle.finished, all_done.then_some(2.0));
        assert!(all_done || !cycle.delivered);
        Ok(commits)
    }

    /// The commits of each prefix when the crawl is over.
    pub(super) fn complete(self) -> Vec<u64> {
        vec![STEPS; self.prefixes as usize]
    }
}

/// Makes one call.
pub(super) type Ask<'a, S> = dyn FnMut(&mut S, &mut dyn FnMut(&mut S) -> Result<()>) -> Result<()> + 'a;

/// Makes the call once.
pub(super) fn once<S>(store: &mut S, call: &mut dyn FnMut(&mut S) -> Result<()>) -> Result<()> {
    call(store)
}

/// Makes a database such as it was before rings were kept apart from what identifies a cycle, intents told whether they were begun,
/// and cycles whether they were.
pub(super) fn with_rings_as_before(conn: &Connection) {
    for mut row in CycleRow::all(conn).unwrap() {
        let mut identity: CycleIdentity = serde_json::from_str(&row.identity).unwrap();
        identity.ring = rings::read(conn, row.ring.take().unwrap()).unwrap();
        row.identity = serde_json::to_string(&identity).unwrap();
        conn.execute("DELETE FROM cycle WHERE id = ?1", [row.id]).unwrap();
        row.insert(conn).unwrap();
        row.save(conn).unwrap();
    }
    conn.execute_batch(
        "ALTER TABLE cycle DROP COLUMN ring; DROP TABLE ring; ALTER TABLE intent DROP COLUMN begun;
         ALTER TABLE cycle DROP COLUMN beginning",
    )
    .unwrap();
}
