//! The rows of damaged objects, and for each store and job one that counts them: changed with the progress that they follow
//! from, in one transaction.
//!
//! A row of damage that is lost would hide damage. So the counting row has the number of the rows and all their checksums
//! combined, whatever their order; whoever reads them all checks that. What one commit sweeps is read in pages, so its memory
//! is bounded however much is known of a prefix.

use rusqlite::{Connection, OptionalExtension, params};

use super::faults::{CallFault, Out};
use super::rows::{Columns, check, count, int};
use crate::job::{DamagedObject, Judged, ObjectName};

/// Rows that are read at once.
const PAGE_ROWS: usize = 256;
/// Likewise where nothing is written.
const PAGE_ROWS_READ: i64 = 2048;

/// What damage is found by: a job's judgement of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub store: &'a str,
    pub job: &'a str,
}

/// The buckets of a prefix between two saved cursors: after the first, up to the second or to the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketRange<'a> {
    pub prefix: &'a str,
    pub after: Option<&'a [u8]>,
    pub up_to: Option<&'a [u8]>,
}

/// The rows that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Total {
    objects: u64,
    mix: i64,
}

impl Subject<'_> {
    fn id(self) -> i64 {
        Columns::of("damage of").bytes(self.store.as_bytes()).bytes(self.job.as_bytes()).sum(0)
    }
}

fn sum_of(subject: i64, prefix: &str, name: &ObjectName, since: f64) -> i64 {
    let mut columns = Columns::of("damage");
    columns.int(subject).bytes(prefix.as_bytes()).bytes(&name.bucket).bytes(&name.object);
    columns.real(since).sum(0)
}

impl Total {
    fn sum(self, of: Subject<'_>) -> Out<i64> {
        let mut columns = Columns::of("damage total");
        columns.bytes(of.store.as_bytes()).bytes(of.job.as_bytes());
        Ok(columns.int(int(self.objects)?).int(self.mix).sum(0))
    }

    fn read(conn: &Connection, of: Subject<'_>) -> Out<Total> {
        let mut statement = conn.prepare_cached("SELECT objects, mix, sum FROM damage_total WHERE subject = ?1")?;
        let found = statement
            .query_row([of.id()], |row| {
                Ok((count(row, 0).map(|objects| Total { objects, mix: row.get(1).unwrap_or(0) }), row.get(2)?))
            })
            .optional()?;
        let Some((total, sum)) = found else { return Ok(Total::default()) };
        let total = total?;
        check(sum, total.sum(of)?, || format!("the number of damaged objects in {}", of.store))?;
        Ok(total)
    }

    fn save(self, conn: &Connection, of: Subject<'_>) -> Out<()> {
        let mut statement = conn.prepare_cached(
            "INSERT OR REPLACE INTO damage_total (subject, store, job, objects, mix, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute(params![of.id(), of.store, of.job, int(self.objects)?, self.mix, self.sum(of)?])?;
        Ok(())
    }
}

/// How many objects are damaged.
pub(super) fn objects(conn: &Connection, of: Subject<'_>) -> Out<u64> {
    Ok(Total::read(conn, of)?.objects)
}

/// Changes what is known by what the visits to a stretch of a prefix have come to; says how many objects are damaged then.
pub(super) fn apply(conn: &Connection, of: Subject<'_>, on: BucketRange<'_>, judged: &Judged, at: f64) -> Out<u64> {
    let before = Total::read(conn, of)?;
    let mut total = before;
    if !judged.changes_nothing(total.objects) {
        // The first name that comes after the cursor.
        let from = ObjectName { bucket: on.after.map(followed).unwrap_or_default(), object: Vec::new() };
        forget(conn, of.id(), on, from, judged, &mut total)?;
        for bucket in &judged.revisited {
            let (from, alone) = (whole(bucket), BucketRange { up_to: Some(bucket), ..on });
            forget(conn, of.id(), alone, from, judged, &mut total)?;
        }
        for name in &judged.damaged {
            add(conn, of.id(), on.prefix, name, at, &mut total)?;
        }
    }
    if total != before {
        total.save(conn, of)?;
    }
    Ok(total.objects)
}

/// Forgets what is not damaged any more, beginning with this name.
fn forget(
    conn: &Connection,
    subject: i64,
    on: BucketRange<'_>,
    mut from: ObjectName,
    judged: &Judged,
    total: &mut Total,
) -> Out<()> {
    if total.objects == 0 {
        return Ok(());
    }
    let mut delete =
        conn.prepare_cached("DELETE FROM damage WHERE subject = ?1 AND prefix = ?2 AND bucket = ?3 AND object = ?4")?;
    loop {
        let page = page(conn, subject, on, &from)?;
        for (name, sum) in page.iter().filter(|(name, _)| !judged.keeps(name)) {
            delete.execute(params![subject, on.prefix, name.bucket, name.object])?;
            total.objects = total.objects.checked_sub(1).ok_or_else(|| miscounted(on.prefix))?;
            total.mix ^= sum;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE_ROWS => {
                from = ObjectName { bucket: last.bucket.clone(), object: followed(&last.object) };
            }
            _ => return Ok(()),
        }
    }
}

/// The bucket itself, which comes before all objects in it.
fn whole(bucket: &[u8]) -> ObjectName {
    ObjectName { bucket: bucket.to_vec(), object: Vec::new() }
}

/// The name that comes directly after this one.
fn followed(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}

fn page(conn: &Connection, subject: i64, on: BucketRange<'_>, from: &ObjectName) -> Out<Vec<(ObjectName, i64)>> {
    let mut statement = conn.prepare_cached(
        "SELECT bucket, object, since, sum FROM damage
         WHERE subject = ?1 AND prefix = ?2 AND (bucket, object) >= (?3, ?4) AND (?5 IS NULL OR bucket <= ?5)
         ORDER BY bucket, object LIMIT ?6",
    )?;
    let most = PAGE_ROWS as i64;
    let mut rows = statement.query(params![subject, on.prefix, from.bucket, from.object, on.up_to, most])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let name = ObjectName { bucket: row.get(0)?, object: row.get(1)? };
        let sum = sum_of(subject, on.prefix, &name, row.get(2)?);
        check(row.get(3)?, sum, || format!("a row of damage in prefix {:?}", on.prefix))?;
        page.push((name, sum));
    }
    Ok(page)
}

/// One that is known already keeps its moment.
fn add(conn: &Connection, subject: i64, prefix: &str, name: &ObjectName, at: f64, total: &mut Total) -> Out<()> {
    let sum = sum_of(subject, prefix, name, at);
    let mut statement = conn.prepare_cached(
        "INSERT OR IGNORE INTO damage (subject, prefix, bucket, object, since, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    if statement.execute(params![subject, prefix, name.bucket, name.object, at, sum])? == 1 {
        total.objects += 1;
        total.mix ^= sum;
    }
    Ok(())
}

/// Reads the first objects that are damaged, in the order of their prefixes' names, a page at a time; all of them are checked
/// against their number, unless that changes meanwhile.
pub(super) struct DamageReading<'a> {
    of: Subject<'a>,
    limit: u64,
    all: Vec<DamagedObject>,
    seen: Total,
    /// How many they were at the beginning, and at the end.
    totals: (Option<Total>, Total),
    /// Where the next page begins.
    from: (String, ObjectName),
}

impl<'a> DamageReading<'a> {
    pub fn new(of: Subject<'a>, limit: u64) -> DamageReading<'a> {
        let from = (String::new(), whole(&[]));
        DamageReading { of, limit, all: Vec::new(), seen: Total::default(), totals: (None, Total::default()), from }
    }

    /// Reads some; tells whether there may be more.
    pub fn page(&mut self, conn: &Connection) -> Out<bool> {
        let subject = self.of.id();
        let total = Total::read(conn, self.of)?;
        self.totals = (self.totals.0.or(Some(total)), total);
        let mut statement = conn.prepare_cached(
            "SELECT prefix, bucket, object, since, sum FROM damage
             WHERE subject = ?1 AND (prefix, bucket, object) >= (?2, ?3, ?4) ORDER BY prefix, bucket, object LIMIT ?5",
        )?;
        let (prefix, name) = &self.from;
        let mut rows = statement.query(params![subject, prefix, name.bucket, name.object, PAGE_ROWS_READ])?;
        let (mut read, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            let (prefix, name): (String, _) = (row.get(0)?, ObjectName { bucket: row.get(1)?, object: row.get(2)? });
            let since = row.get(3)?;
            let sum = sum_of(subject, &prefix, &name, since);
            check(row.get(4)?, sum, || format!("a row of damage in prefix {prefix:?}"))?;
            (self.seen.objects, self.seen.mix) = (self.seen.objects + 1, self.seen.mix ^ sum);
            let next = ObjectName { bucket: name.bucket.clone(), object: followed(&name.object) };
            (read, last) = (read + 1, Some((prefix.clone(), next)));
            if (self.all.len() as u64) < self.limit {
                self.all.push(DamagedObject { prefix, name, since });
            }
        }
        drop(rows);
        if let Some(next) = last {
            self.from = next;
        }
        Ok(read == PAGE_ROWS_READ)
    }

    /// Those that were read.
    pub fn end(self) -> Out<Vec<DamagedObject>> {
        let (first, last) = self.totals;
        let same = first.is_none_or(|first| first == last);
        if same && self.seen != last { Err(miscounted(self.of.store)) } else { Ok(self.all) }
    }
}

fn miscounted(what: &str) -> CallFault {
    CallFault::Damaged(format!("the damaged objects in {what:?} are not as many as were counted"))
}
