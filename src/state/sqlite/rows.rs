//! The rows of the state file: how each is read, checked, and written.
//!
//! Every row carries a checksum (xxh3, 64 bit) over its table, its key and its columns, and every reading checks it. The
//! rows of a cycle are also sealed with the cycle's nonce, so that a row of another cycle with the same key (from a file
//! restored beside a younger write-ahead log) does not pass. What a single row cannot show, rows that are not there, is
//! the business of `whole`. Notes have a file of their own, `notes`.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Row, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::faults::{CallFault, Out};
use crate::state::{PREFIXES_READ, TALLY_BYTES_READ};

/// A crawl, and the number of its newest cycle.
#[derive(Debug)]
pub(super) struct CrawlRow {
    pub id: i64,
    pub name: String,
    pub latest: u64,
}

/// A cycle. `nonce` seals its prefixes and notes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CycleRow {
    pub id: i64,
    pub crawl: String,
    pub number: u64,
    pub nonce: i64,
    /// The [`CycleIdentity`](crate::policy::cycle::CycleIdentity) as JSON, with the ring only in a cycle of 0.1.0.
    pub identity: String,
    /// Under which id its ring is kept.
    pub ring: Option<i64>,
    pub started: f64,
    pub finished: Option<f64>,
    pub delivered: bool,
    pub confirmed: Option<f64>,
    pub carrying_out: Option<f64>,
    /// Whether only the first of its prefixes are there, and all of them untouched.
    pub beginning: bool,
}

/// What the rows of a cycle are found and sealed by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal {
    pub cycle: i64,
    pub nonce: i64,
}

/// A prefix of a cycle.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PrefixRecord {
    pub position: u32,
    pub done: bool,
    /// The session that holds the claim, 0 for none.
    pub claimant: i64,
    pub fence: u64,
    /// How many notes it has, and the checksum of their checksums in order.
    pub notes: u64,
    pub chain: i64,
    /// Likewise of its intents.
    pub intents: u64,
    pub intent_chain: i64,
    /// How many candidates it has, and the sum of the checksums of their pages.
    pub candidates: u64,
    pub candidate_sum: i64,
    pub cursor: Option<Vec<u8>>,
    pub tally: Option<Vec<u8>>,
}

/// The columns of a row as bytes that no other row of any table has.
pub(super) struct Columns(Vec<u8>);

impl Columns {
    pub(super) fn of(table: &str) -> Self {
        let mut columns = Columns(Vec::with_capacity(256));
        columns.bytes(table.as_bytes());
        columns
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn real(&mut self, value: f64) -> &mut Self {
        // SQLite keeps 0.0 for -0.0.
        self.0.extend_from_slice(&(value + 0.0).to_bits().to_le_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self
    }

    fn optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
        self
    }

    pub(super) fn sum(&self, nonce: i64) -> i64 {
        xxh3_64_with_seed(&self.0, nonce.cast_unsigned()).cast_signed()
    }
}

pub(super) fn check(found: i64, expected: i64, what: impl FnOnce() -> String) -> Out<()> {
    if found == expected { Ok(()) } else { Err(CallFault::Damaged(format!("{} fails its checksum", what()))) }
}

/// A count or number as SQLite's integer.
pub(super) fn int(value: u64) -> Out<i64> {
    i64::try_from(value).map_err(|_| CallFault::Damaged(format!("the number {value} is too large")))
}

/// A column that holds a count or a number.
pub(super) fn count(row: &Row<'_>, column: usize) -> Out<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| CallFault::Damaged(format!("there is a {value} where a count should be")))
}

fn changed_one(changed: usize, what: &str) -> Out<()> {
    if changed == 1 { Ok(()) } else { Err(CallFault::Damaged(format!("{changed} rows are one {what}"))) }
}

impl CrawlRow {
    fn sum(&self) -> Out<i64> {
        Ok(Columns::of("crawl").int(self.id).bytes(self.name.as_bytes()).int(int(self.latest)?).sum(0))
    }

    /// All of them: each is checked, because a damaged one might be any.
    pub(super) fn all(conn: &Connection) -> Out<Vec<CrawlRow>> {
        let mut statement = conn.prepare_cached("SELECT id, name, latest, sum FROM crawl ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let crawl = CrawlRow { id: row.get(0)?, name: row.get(1)?, latest: count(row, 2)? };
            check(row.get(3)?, crawl.sum()?, || format!("the row of crawl {:?}", crawl.name))?;
            all.push(crawl);
        }
        Ok(all)
    }

    pub(super) fn save(&self, conn: &Connection) -> Out<()> {
        let mut statement =
            conn.prepare_cached("INSERT OR REPLACE INTO crawl (id, name, latest, sum) VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![self.id, self.name, int(self.latest)?, self.sum()?])?;
        Ok(())
    }
}

impl CycleRow {
    pub(super) fn seal(&self) -> Seal {
        Seal { cycle: self.id, nonce: self.nonce }
    }

    fn sum(&self) -> Out<i64> {
        let mut columns = Columns::of("cycle");
        columns.int(self.id).bytes(self.crawl.as_bytes()).int(int(self.number)?).int(self.nonce);
        columns.bytes(self.identity.as_bytes()).real(self.started);
        columns.optional(self.finished, |columns, at| {
            columns.real(at);
        });
        columns.int(i64::from(self.delivered));
        // A cycle that nobody has confirmed has the checksum that it had before there were confirmations.
        if let Some(at) = self.confirmed {
            columns.real(at);
        }
        if let Some(ring) = self.ring {
            columns.bytes(b"ring").int(ring);
        }
        // Likewise one that carries nothing out.
        if let Some(at) = self.carrying_out {
            columns.bytes(b"carrying out").real(at);
        }
        if self.beginning {
            columns.bytes(b"beginning");
        }
        Ok(columns.sum(0))
    }

    /// The cycles of all crawls, in the order in which they were begun.
    pub(super) fn all(conn: &Connection) -> Out<Vec<CycleRow>> {
        let mut statement = conn.prepare_cached(
            "SELECT id, crawl, number, nonce, identity, started, finished, delivered, confirmed, sum, carrying_out, ring,
             beginning FROM cycle ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let cycle = CycleRow {
                id: row.get(0)?,
                crawl: row.get(1)?,
                number: count(row, 2)?,
                nonce: row.get(3)?,
                identity: row.get(4)?,
                ring: row.get(11)?,
                started: row.get(5)?,
                finished: row.get(6)?,
                delivered: row.get(7)?,
                confirmed: row.get(8)?,
                carrying_out: row.get(10)?,
                beginning: row.get(12)?,
            };
            check(row.get(9)?, cycle.sum()?, || format!("the row of cycle {} of {:?}", cycle.number, cycle.crawl))?;
            all.push(cycle);
        }
        Ok(all)
    }

    pub(super) fn insert(&self, conn: &Connection) -> Out<()> {
        let mut statement = conn.prepare_cached(
            "INSERT INTO cycle (id, crawl, number, nonce, identity, started, finished, delivered, sum, ring, beginning)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let (number, sum) = (int(self.number)?, self.sum()?);
        let (finished, delivered) = (self.finished, self.delivered);
        statement.execute(params![
            self.id,
            self.crawl,
            number,
            self.nonce,
            self.identity,
            self.started,
            finished,
            delivered,
            sum,
            self.ring,
            self.beginning
        ])?;
        Ok(())
    }

    /// Saves what changes in a cycle: whether it has begun as a whole, how it ended, whether it was confirmed, and whether it
    /// carries out what it has shown.
    pub(super) fn save(&self, conn: &Connection) -> Out<()> {
        let mut statement = conn.prepare_cached(
            "UPDATE cycle SET finished = ?2, delivered = ?3, confirmed = ?4, sum = ?5, carrying_out = ?6, beginning = ?7
             WHERE id = ?1",
        )?;
        let CycleRow { id, finished, delivered, confirmed, carrying_out, beginning, .. } = self;
        let sum = self.sum()?;
        let changed = statement.execute(params![id, finished, delivered, confirmed, sum, carrying_out, beginning])?;
        changed_one(changed, "cycle")
    }

    /// Removes the row of a cycle and its intents. Whatever else it has is then of no cycle, and is removed in steps; so is its
    /// ring, unless others have it.
    pub(super) fn delete(&self, conn: &Connection) -> Out<()> {
        conn.prepare_cached("DELETE FROM intent WHERE cycle = ?1")?.execute([self.id])?;
        changed_one(conn.prepare_cached("DELETE FROM cycle WHERE id = ?1")?.execute([self.id])?, "cycle")
    }
}

impl Seal {
    /// The first and the last id that a prefix of the cycle can have.
    pub(super) fn ids(self) -> (i64, i64) {
        (self.id(0), self.id(u32::MAX))
    }

    pub(super) fn id(self, position: u32) -> i64 {
        (self.cycle << 32) | i64::from(position)
    }
}

/// A query for prefixes, with the columns in the order in which `PrefixRecord::read` takes them.
macro_rules! select_prefix {
    ($rest:literal) => {
        concat!(
            "SELECT id, done, claimant, fence, notes, chain, sum, cursor, tally, intents, intent_chain, candidates, candidate_sum
             FROM prefix ",
            $rest
        )
    };
}

impl PrefixRecord {
    fn sum(&self, seal: Seal) -> Out<i64> {
        let mut columns = Columns::of("prefix");
        columns.int(seal.id(self.position)).int(i64::from(self.done)).int(self.claimant).int(int(self.fence)?);
        columns.int(int(self.notes)?).int(self.chain);
        for column in [&self.cursor, &self.tally] {
            columns.optional(column.as_deref(), |columns, bytes| {
                columns.bytes(bytes);
            });
        }
        if self.intents > 0 {
            columns.int(int(self.intents)?).int(self.intent_chain);
        }
        if self.candidates > 0 {
            columns.bytes(b"candidates").int(int(self.candidates)?).int(self.candidate_sum);
        }
        Ok(columns.sum(seal.nonce))
    }

    fn read(row: &Row<'_>, seal: Seal) -> Out<PrefixRecord> {
        let id: i64 = row.get(0)?;
        let position = u32::try_from(id.wrapping_sub(seal.id(0)))
            .map_err(|_| CallFault::Damaged("a prefix stands under another cycle".to_owned()))?;
        let prefix = PrefixRecord {
            position,
            done: row.get(1)?,
            claimant: row.get(2)?,
            fence: count(row, 3)?,
            notes: count(row, 4)?,
            chain: row.get(5)?,
            cursor: row.get(7)?,
            tally: row.get(8)?,
            intents: count(row, 9)?,
            intent_chain: row.get(10)?,
            candidates: count(row, 11)?,
            candidate_sum: row.get(12)?,
        };
        check(row.get(6)?, prefix.sum(seal)?, || format!("the row of prefix {position}"))?;
        Ok(prefix)
    }

    /// The prefix at a position, if there is one.
    pub(super) fn at(conn: &Connection, seal: Seal, position: u32) -> Out<Option<PrefixRecord>> {
        let mut statement = conn.prepare_cached(select_prefix!("WHERE id = ?1"))?;
        statement.query_row([seal.id(position)], |row| Ok(PrefixRecord::read(row, seal))).optional()?.transpose()
    }

    /// The first prefix from a position on that has notes.
    pub(super) fn next_with_notes(conn: &Connection, seal: Seal, from: u32) -> Out<Option<PrefixRecord>> {
        let sql = select_prefix!("WHERE id BETWEEN ?1 AND ?2 AND notes <> 0 ORDER BY id LIMIT 1");
        let mut statement = conn.prepare_cached(sql)?;
        statement
            .query_row([seal.id(from), seal.ids().1], |row| Ok(PrefixRecord::read(row, seal)))
            .optional()?
            .transpose()
    }

    /// The prefixes from a position on that are read at once, and whether there are no more.
    pub(super) fn page(conn: &Connection, seal: Seal, from: u32) -> Out<(Vec<PrefixRecord>, bool)> {
        let mut statement = conn.prepare_cached(select_prefix!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id"))?;
        let mut rows = statement.query([seal.id(from), seal.ids().1])?;
        let (mut page, mut bytes, mut due) = (Vec::new(), 0, from);
        while bytes < TALLY_BYTES_READ && page.len() < PREFIXES_READ {
            let Some(row) = rows.next()? else { return Ok((page, true)) };
            let prefix = PrefixRecord::read(row, seal)?;
            if prefix.position != due {
                return Err(CallFault::Damaged(format!("prefix {} stands where {due} is due", prefix.position)));
            }
            due = due.saturating_add(1);
            bytes += prefix.tally.as_ref().map_or(0, Vec::len);
            page.push(prefix);
        }
        Ok((page, false))
    }

    /// Up to `most` prefixes from a position on that are neither complete nor claimed by this session.
    pub(super) fn free(conn: &Connection, seal: Seal, from: u32, most: u32, session: i64) -> Out<Vec<PrefixRecord>> {
        let mut statement = conn.prepare_cached(select_prefix!(
            "WHERE id BETWEEN ?1 AND ?2 AND done = 0 AND claimant <> ?3 ORDER BY id LIMIT ?4"
        ))?;
        let mut rows = statement.query([seal.id(from), seal.ids().1, session, i64::from(most)])?;
        let mut free = Vec::new();
        while let Some(row) = rows.next()? {
            free.push(PrefixRecord::read(row, seal)?);
        }
        Ok(free)
    }

    fn insert(&self, conn: &Connection, seal: Seal) -> Out<()> {
        let mut statement = conn.prepare_cached(
            "INSERT INTO prefix (id, done, claimant, fence, notes, chain, sum, cursor, tally, intents, intent_chain,
             candidates, candidate_sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        self.write(&mut statement, seal)
    }

    /// Adds untouched prefixes, as far as they are not there.
    pub(super) fn insert_missing(conn: &Connection, seal: Seal, positions: Range<u32>) -> Out<()> {
        let there = conn
            .prepare_cached("SELECT max(id) FROM prefix WHERE id BETWEEN ?1 AND ?2")?
            .query_row([seal.id(positions.start), seal.ids().1], |row| row.get::<_, Option<i64>>(0))?;
        let from = there.map_or(positions.start, |last| ((last - seal.id(0)) as u32).saturating_add(1));
        let mut prefix = PrefixRecord::default();
        for position in from..positions.end {
            prefix.position = position;
            prefix.insert(conn, seal)?;
        }
        Ok(())
    }

    pub(super) fn save(&self, conn: &Connection, seal: Seal) -> Out<()> {
        let mut statement = conn.prepare_cached(
            "UPDATE prefix SET done = ?2, claimant = ?3, fence = ?4, notes = ?5, chain = ?6, sum = ?7, cursor = ?8,
             tally = ?9, intents = ?10, intent_chain = ?11, candidates = ?12, candidate_sum = ?13 WHERE id = ?1",
        )?;
        self.write(&mut statement, seal)
    }

    fn write(&self, statement: &mut rusqlite::Statement<'_>, seal: Seal) -> Out<()> {
        let (fence, notes, intents, sum) = (int(self.fence)?, int(self.notes)?, int(self.intents)?, self.sum(seal)?);
        let (id, candidates) = (seal.id(self.position), int(self.candidates)?);
        let PrefixRecord { done, claimant, chain, intent_chain, candidate_sum, cursor, tally, .. } = self;
        changed_one(
            statement.execute(params![
                id,
                done,
                claimant,
                fence,
                notes,
                chain,
                sum,
                cursor,
                tally,
                intents,
                intent_chain,
                candidates,
                candidate_sum
            ])?,
            "prefix",
        )
    }
}
