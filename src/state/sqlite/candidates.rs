//! The rows of candidates: pages of some kilobytes, each with many candidates of one prefix, so that a million of them take
//! some 36 MB and not twice that.
//!
//! Pages are numbered in the order of the buckets' names, in which candidates come; one that comes late, since its bucket was
//! visited again at the end of the prefix, is put where it belongs, into a page that then is longer than others. A prefix knows how many
//! candidates it has and the sum of the checksums of its pages; that does not depend on the order, so a page that goes only
//! takes its own away. When the last one goes the sum must come to nothing, and before that the cycle cannot end.

use rusqlite::{Connection, OptionalExtension, params};

use super::faults::{CallFault, Out};
use super::rows::{Columns, PrefixRecord, Seal, check, count, int};
use crate::job::{Candidate, DeletionCount};

/// A page of this length takes no more candidates. Some overflow pages of 4 KiB hold it, with little waste.
const PAGE_FULL: usize = 8000;

/// A page as it stands in the file.
struct Page {
    number: u64,
    candidates: u64,
    sum: i64,
    body: Vec<u8>,
}

impl Page {
    fn sum_of(seal: Seal, position: u32, number: u64, candidates: u64, body: &[u8]) -> Out<i64> {
        let mut columns = Columns::of("candidate");
        columns.int(seal.id(position)).int(int(number)?).int(int(candidates)?);
        Ok(columns.bytes(body).sum(seal.nonce))
    }

    fn read(row: &rusqlite::Row<'_>, seal: Seal, position: u32) -> Out<Page> {
        let page = Page { number: count(row, 0)?, candidates: count(row, 1)?, sum: row.get(2)?, body: row.get(3)? };
        let sum = Page::sum_of(seal, position, page.number, page.candidates, &page.body)?;
        check(page.sum, sum, || format!("page {} of the candidates of prefix {position}", page.number))?;
        Ok(page)
    }

    fn decode(&self) -> Out<Vec<Candidate>> {
        let damaged = || CallFault::Damaged(format!("page {} of candidates cannot be read", self.number));
        let (mut rest, mut candidates) = (&self.body[..], Vec::new());
        while !rest.is_empty() {
            candidates.push(decode(&mut rest).ok_or_else(damaged)?);
        }
        if candidates.len() as u64 == self.candidates { Ok(candidates) } else { Err(damaged()) }
    }

    fn save(&mut self, conn: &Connection, seal: Seal, prefix: &mut PrefixRecord) -> Out<()> {
        self.sum = Page::sum_of(seal, prefix.position, self.number, self.candidates, &self.body)?;
        prefix.candidate_sum = prefix.candidate_sum.wrapping_add(self.sum);
        let mut statement = conn.prepare_cached(
            "INSERT OR REPLACE INTO candidate (cycle, prefix, number, candidates, sum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let (number, candidates) = (int(self.number)?, int(self.candidates)?);
        statement.execute(params![seal.cycle, prefix.position, number, candidates, self.sum, self.body])?;
        Ok(())
    }
}

/// Adds candidates to those of a prefix.
pub(super) fn add(conn: &Connection, seal: Seal, prefix: &mut PrefixRecord, candidates: &[Candidate]) -> Out<()> {
    if candidates.is_empty() {
        return Ok(());
    }
    let last = one(conn, seal, prefix.position, "DESC")?;
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by(|one, other| one.bucket.cmp(&other.bucket));
    let greatest = last.as_ref().map(Page::decode).transpose()?.and_then(|mut page| page.pop());
    let is_late = |candidate: &&Candidate| greatest.as_ref().is_some_and(|last| candidate.bucket < last.bucket);
    let late = ordered.partition_point(is_late);
    if late > 0 {
        insert(conn, seal, prefix, &ordered[..late])?;
        // The last page may be another by now.
        return append(conn, seal, prefix, one(conn, seal, prefix.position, "DESC")?, &ordered[late..]);
    }
    append(conn, seal, prefix, last, &ordered)
}

/// Puts candidates, in order, into the pages that are there: each before the first one with a greater name.
fn insert(conn: &Connection, seal: Seal, prefix: &mut PrefixRecord, candidates: &[&Candidate]) -> Out<()> {
    let (mut rest, mut from) = (candidates, 0);
    while let Some(page) = one_from(conn, seal, prefix.position, from)? {
        from = page.number + 1;
        let mut held = page.decode()?;
        let belong = rest.partition_point(|new| held.last().is_some_and(|last| new.bucket < last.bucket));
        let (here, behind) = rest.split_at(belong);
        rest = behind;
        if !here.is_empty() {
            held.extend(here.iter().map(|new| (*new).clone()));
            held.sort_by(|one, other| one.bucket.cmp(&other.bucket));
            let mut body = Vec::with_capacity(page.body.len() + here.len() * 64);
            held.iter().for_each(|candidate| encode(candidate, &mut body));
            prefix.candidate_sum = prefix.candidate_sum.wrapping_sub(page.sum);
            prefix.candidates += here.len() as u64;
            Page { candidates: held.len() as u64, body, ..page }.save(conn, seal, prefix)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(CallFault::Damaged(format!("the candidates of prefix {} are not in order", prefix.position)))
}

/// Adds candidates, in order, behind all others. `last` is the last page.
fn append(
    conn: &Connection,
    seal: Seal,
    prefix: &mut PrefixRecord,
    last: Option<Page>,
    candidates: &[&Candidate],
) -> Out<()> {
    if candidates.is_empty() {
        return Ok(());
    }
    let next = last.as_ref().map_or(0, |page| page.number + 1);
    let new = |number| Page { number, candidates: 0, sum: 0, body: Vec::with_capacity(PAGE_FULL + 64) };
    let mut page = match last {
        Some(page) if page.body.len() < PAGE_FULL => {
            prefix.candidate_sum = prefix.candidate_sum.wrapping_sub(page.sum);
            page
        }
        _ => new(next),
    };
    for candidate in candidates {
        if page.body.len() >= PAGE_FULL {
            page.save(conn, seal, prefix)?;
            page = new(page.number + 1);
        }
        encode(candidate, &mut page.body);
        page.candidates += 1;
    }
    prefix.candidates += candidates.len() as u64;
    page.save(conn, seal, prefix)
}

/// The first candidates behind a bucket, at most `most`.
pub(super) fn behind(
    conn: &Connection,
    seal: Seal,
    prefix: &PrefixRecord,
    after: Option<&[u8]>,
    most: usize,
) -> Out<Vec<Candidate>> {
    let mut statement = conn.prepare_cached(
        "SELECT number, candidates, sum, body FROM candidate WHERE cycle = ?1 AND prefix = ?2 ORDER BY number",
    )?;
    let mut rows = statement.query(params![seal.cycle, prefix.position])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let page = Page::read(row, seal, prefix.position)?.decode()?;
        found.extend(page.into_iter().filter(|candidate| Some(&*candidate.bucket) > after));
        if found.len() >= most {
            found.truncate(most);
            break;
        }
    }
    Ok(found)
}

/// Removes the pages whose candidates are all at or before the bucket, or all pages of a prefix that is complete.
pub(super) fn remove(conn: &Connection, seal: Seal, prefix: &mut PrefixRecord) -> Out<()> {
    let gone = |page: &Page, prefix: &PrefixRecord| -> Out<bool> {
        let last = page.decode()?.pop().map(|candidate| candidate.bucket);
        Ok(prefix.done || last <= prefix.cursor)
    };
    while prefix.candidates > 0 {
        let lost = || CallFault::Damaged(format!("prefix {} has lost candidates", prefix.position));
        let page = one(conn, seal, prefix.position, "ASC")?.ok_or_else(lost)?;
        if !gone(&page, prefix)? {
            return Ok(());
        }
        let mut statement =
            conn.prepare_cached("DELETE FROM candidate WHERE cycle = ?1 AND prefix = ?2 AND number = ?3")?;
        statement.execute(params![seal.cycle, prefix.position, int(page.number)?])?;
        prefix.candidates = prefix.candidates.checked_sub(page.candidates).ok_or_else(lost)?;
        prefix.candidate_sum = prefix.candidate_sum.wrapping_sub(page.sum);
    }
    let is_nothing = prefix.candidate_sum == 0 && one(conn, seal, prefix.position, "ASC")?.is_none();
    if is_nothing {
        return Ok(());
    }
    Err(CallFault::Damaged(format!("the candidates of prefix {} are not of one age", prefix.position)))
}

/// The first page of a prefix with this number or a greater one.
fn one_from(conn: &Connection, seal: Seal, position: u32, from: u64) -> Out<Option<Page>> {
    let mut statement = conn.prepare_cached(
        "SELECT number, candidates, sum, body FROM candidate WHERE cycle = ?1 AND prefix = ?2 AND number >= ?3
         ORDER BY number LIMIT 1",
    )?;
    let found =
        statement.query_row(params![seal.cycle, position, int(from)?], |row| Ok(Page::read(row, seal, position)));
    found.optional()?.transpose()
}

/// The first page of a prefix, or the last.
fn one(conn: &Connection, seal: Seal, position: u32, order: &'static str) -> Out<Option<Page>> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT number, candidates, sum, body FROM candidate WHERE cycle = ?1 AND prefix = ?2 ORDER BY number {order} LIMIT 1"
    ))?;
    let found = statement.query_row(params![seal.cycle, position], |row| Ok(Page::read(row, seal, position)));
    found.optional()?.transpose()
}

/// A candidate: the length of its name, the name, and three figures; numbers as LEB128.
fn encode(candidate: &Candidate, body: &mut Vec<u8>) {
    let DeletionCount { objects, records, bytes } = candidate.shown;
    put_number(candidate.bucket.len() as u64, body);
    body.extend_from_slice(&candidate.bucket);
    [objects, records, bytes].into_iter().for_each(|figure| put_number(figure, body));
}

fn decode(rest: &mut &[u8]) -> Option<Candidate> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (bucket, after) = rest.split_at_checked(len)?;
    *rest = after;
    let bucket = bucket.to_vec();
    let (objects, records, bytes) = (take_number(rest)?, take_number(rest)?, take_number(rest)?);
    Some(Candidate { bucket, shown: DeletionCount { objects, records, bytes } })
}

fn put_number(mut number: u64, body: &mut Vec<u8>) {
    while number >= 0x80 {
        body.push(number as u8 | 0x80);
        number >>= 7;
    }
    body.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            all in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u64; 3]>()), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let candidate = |(bucket, [objects, records, bytes]): (Vec<u8>, [u64; 3])| {
                Candidate { bucket, shown: DeletionCount { objects, records, bytes } }
            };
            let all: Vec<Candidate> = all.into_iter().map(candidate).collect();
            let mut body = Vec::new();
            all.iter().for_each(|candidate| encode(candidate, &mut body));
            let (mut rest, mut read) = (&body[..], Vec::new());
            while !rest.is_empty() {
                read.push(decode(&mut rest).unwrap());
            }
            prop_assert_eq!(read, all);
            // Cut off anywhere it is not read past its end.
            let mut rest = &body[..cut.index(body.len() + 1)];
            while decode(&mut rest).is_some() {}
        }
    }

    #[test]
    fn a_number_without_an_end_is_none() {
        assert_eq!(take_number(&mut &[0xff; 20][..]), None);
        assert_eq!(take_number(&mut &[][..]), None);
    }
}
