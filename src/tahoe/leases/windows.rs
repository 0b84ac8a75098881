//! The rewriting of a lease table that is too long for one intent: a window of its records after the other, each saved before it is
//! written.
//!
//! In the end the bytes are those of [`cancel`]. The records that remain move up from the front to the back, and are then
//! written over and over up to the old end. A record only moves to where it was read from or before that, so after each window all
//! leases that stay are in the table, some of them twice, and their number is as before. The count and the size come last. The
//! slots of a mutable container are emptied where they stand.
//!
//! After a crash it is the bytes that tell whose they are: those of the window that was being written are saved, and of every other
//! window a hash.

use std::collections::HashSet;
use std::io;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::plan::{ShareChange, hex, saved_rewrite, unhex};
use crate::tahoe::cancel::{self, Patch, Rewrite, blank_slot, secret_of};
use crate::tahoe::container::{Header, IMMUTABLE_DATA_AT, MUTABLE_SLOTS, MUTABLE_SLOTS_AT};
use crate::tahoe::lease::{IMMUTABLE_RECORD_LEN, MUTABLE_RECORD_LEN};
use crate::tahoe::table::{ReadAt, Record, ShareBytes, TableFault};

/// Records of a window.
pub(super) const WINDOW_LEN: u64 = 2048;

/// Records of a table up to the last one that goes, at most: a mutable container has any number of slots that are not in use.
const RECORDS_MOST: u64 = 1_000_000;

/// A table that is rewritten in windows, and how far that has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WindowedRewrite {
    layout: RecordLayout,
    /// Which records go, one bit for each.
    gone: Hex,
    pub size_before: u64,
    pub size_after: u64,
    /// How many steps are behind it: one for each window, and one for count and size.
    done: u64,
    /// Whether any of them has changed the table.
    is_begun: bool,
    /// The hash of each window as it has to stand now.
    hashes: Vec<Hex>,
    /// The step that was saved, so that it may be done.
    step: Option<WindowStep>,
}

/// Where the records stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum RecordLayout {
    Immutable { start: u64, leases: u32 },
    Mutable { version: u8, extra_slots_at: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WindowStep {
    #[serde(with = "saved_rewrite")]
    rewrite: Rewrite,
    /// The hash of the window afterwards.
    hash: Hex,
}

/// Bytes, as hexadecimal digits in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Vec<u8>);

impl From<Hex> for String {
    fn from(bytes: Hex) -> String {
        hex(&bytes.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Hex, &'static str> {
        unhex(&text).map(Hex).ok_or("an intent has bytes that are none")
    }
}

fn hash(bytes: &[u8]) -> Hex {
    Hex(digest(&SHA256, bytes).as_ref().to_vec())
}

/// What cancelling comes to.
pub(super) struct Cancelled {
    /// What is to be done; `None` if the table cannot be rewritten where it stands.
    pub change: Option<ShareChange>,
    /// How many leases go.
    pub leases: u64,
    /// Whether Tahoe's lease checker fails at a secret that an earlier cancelling has taken already.
    pub stops: bool,
}

/// Which leases go with those that have expired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// No others.
    Lease,
    /// All that have the same cancel secret, as [`cancel::by_secret`] has it.
    Secret,
}

/// Plans what is to become of a long table.
///
/// # Errors
/// If the table cannot be read.
pub(super) fn plan<R: ReadAt>(
    header: &Header,
    share: &ShareBytes<'_, R>,
    by: By,
    expires: impl Fn(&Record<'_>) -> bool,
) -> Result<Cancelled, TableFault> {
    let (mut secrets, mut stops) = (HashSet::new(), false);
    if by == By::Secret {
        share.each_record(header, |record| {
            if expires(&record) {
                stops |= !secrets.insert(secret_of(header, record.bytes));
            }
        })?;
    }
    let layout = match header {
        Header::Immutable(header) => {
            RecordLayout::Immutable { start: header.leases_at(share.size).unwrap_or(0), leases: header.leases }
        }
        Header::Mutable(header) => {
            RecordLayout::Mutable { version: header.version, extra_slots_at: header.extra_leases_at.saturating_add(4) }
        }
    };
    let (mut gone, mut leases, mut all, mut last) = (Vec::new(), 0, 0, 0);
    share.each_record(header, |record| {
        all += 1;
        let goes = match by {
            By::Lease => expires(&record),
            By::Secret => secrets.contains(&secret_of(header, record.bytes)),
        };
        if goes {
            leases += 1;
            last = layout.number_of(record.at);
            if last < RECORDS_MOST {
                let byte = last as usize / 8;
                gone.resize(gone.len().max(byte + 1), 0u8);
                gone[byte] |= 1 << (last % 8);
            }
        }
    })?;
    let rewritten =
        |size_after| Some(ShareChange::Windows(Box::new(WindowedRewrite::new(layout, gone, share.size, size_after))));
    let change = match layout {
        _ if leases == all => Some(ShareChange::Unlink),
        _ if last >= RECORDS_MOST => None,
        // As for short tables: what reaches into the header, or over other slots, is left alone.
        RecordLayout::Immutable { start, .. } if start < IMMUTABLE_DATA_AT => None,
        RecordLayout::Mutable { extra_slots_at, .. } if extra_slots_at < SLOTS_END => None,
        RecordLayout::Immutable { start, .. } => rewritten(start + IMMUTABLE_RECORD_LEN * (all - leases)),
        RecordLayout::Mutable { .. } => rewritten(share.size),
    };
    Ok(Cancelled { change, leases, stops })
}

/// Where the slots in the header of a mutable container end.
const SLOTS_END: u64 = MUTABLE_SLOTS_AT + MUTABLE_SLOTS * MUTABLE_RECORD_LEN;

impl RecordLayout {
    fn record_len(self) -> u64 {
        match self {
            RecordLayout::Immutable { .. } => IMMUTABLE_RECORD_LEN,
            RecordLayout::Mutable { .. } => MUTABLE_RECORD_LEN,
        }
    }

    /// Where the record of this number begins.
    fn at(self, number: u64) -> u64 {
        let (start, number) = match self {
            RecordLayout::Immutable { start, .. } => (start, number),
            RecordLayout::Mutable { .. } if number < MUTABLE_SLOTS => (MUTABLE_SLOTS_AT, number),
            RecordLayout::Mutable { extra_slots_at, .. } => (extra_slots_at, number - MUTABLE_SLOTS),
        };
        start.saturating_add(number.saturating_mul(self.record_len()))
    }

    /// The number of the record that begins here.
    fn number_of(self, at: u64) -> u64 {
        let (start, before) = match self {
            RecordLayout::Immutable { start, .. } => (start, 0),
            RecordLayout::Mutable { .. } if at < SLOTS_END => (MUTABLE_SLOTS_AT, 0),
            RecordLayout::Mutable { extra_slots_at, .. } => (extra_slots_at, MUTABLE_SLOTS),
        };
        before + at.saturating_sub(start) / self.record_len()
    }

    /// Reads the records of these numbers.
    fn read(self, file: &impl ReadAt, numbers: &[u64]) -> io::Result<Vec<u8>> {
        let len = self.record_len();
        let mut bytes = vec![0; numbers.len() * len as usize];
        let mut rest = &mut bytes[..];
        for run in numbers.chunk_by(|one, next| self.at(*next) == self.at(*one) + len) {
            let (records, others) = rest.split_at_mut(run.len() * len as usize);
            if file.read_at(records, self.at(run[0]))? < records.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = others;
        }
        Ok(bytes)
    }
}

impl WindowedRewrite {
    fn new(layout: RecordLayout, gone: Vec<u8>, size_before: u64, size_after: u64) -> WindowedRewrite {
        let (done, is_begun, hashes, step) = (0, false, Vec::new(), None);
        WindowedRewrite { layout, gone: Hex(gone), size_before, size_after, done, is_begun, hashes, step }
    }

    /// How many records the windows have.
    fn records(&self) -> u64 {
        match self.layout {
            RecordLayout::Immutable { leases, .. } => u64::from(leases),
            // Up to the last one that goes.
            RecordLayout::Mutable { .. } => {
                let gone = &self.gone.0;
                gone.last().map_or(0, |last| 8 * gone.len() as u64 - u64::from(last.leading_zeros()))
            }
        }
    }

    /// The numbers of the records of a window.
    fn window(&self, window: u64) -> Vec<u64> {
        (window * WINDOW_LEN..(window + 1).saturating_mul(WINDOW_LEN).min(self.records())).collect()
    }

    fn windows(&self) -> u64 {
        self.records().div_ceil(WINDOW_LEN)
    }

    fn goes(&self, number: u64) -> bool {
        let byte = usize::try_from(number / 8).ok().and_then(|byte| self.gone.0.get(byte));
        byte.is_some_and(|byte| byte >> (number % 8) & 1 == 1)
    }

    /// Whether the table was changed by a step that is done.
    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The step that was saved.
    pub fn step(&self) -> Option<&Rewrite> {
        self.step.as_ref().map(|step| &step.rewrite)
    }

    /// Notes that the step is done.
    pub fn advance(&mut self) {
        if let Some(step) = self.step.take() {
            if let Some(hash) = self.hashes.get_mut(self.done as usize) {
                *hash = step.hash;
            }
            self.done += 1;
            self.is_begun = true;
        }
    }

    /// Whether a file of which the step may be half written is otherwise as it has to be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_known(&self, file: &impl ReadAt, size: u64) -> io::Result<bool> {
        // Nothing of it but its leases is left: that it was cut says that all windows had been written.
        if self.done == self.windows() && size == self.size_after {
            return Ok(true);
        }
        if size != self.size_before || self.hashes.is_empty() {
            return Ok(false);
        }
        for (window, is) in (0..).zip(&self.hashes) {
            if window != self.done && hash(&self.layout.read(file, &self.window(window))?) != *is {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the table was changed, be it by a step that is half done.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_touched(&self, file: &impl ReadAt) -> io::Result<bool> {
        let Some(before) = self.hashes.get(self.done as usize).filter(|_| !self.is_begun) else {
            return Ok(self.is_begun);
        };
        Ok(hash(&self.layout.read(file, &self.window(self.done))?) != *before)
    }

    /// Plans the next step, which is to be saved before it is done; `false` if there is none.
    ///
    /// # Errors
    /// If the table cannot be read, or was changed.
    pub fn plan_next(&mut self, file: &impl ReadAt) -> io::Result<bool> {
        if self.hashes.is_empty() {
            let hashes = (0..self.windows()).map(|n| Ok(hash(&self.layout.read(file, &self.window(n))?)));
            self.hashes = hashes.collect::<io::Result<_>>()?;
        }
        while self.done < self.windows() {
            let numbers = self.window(self.done);
            let before = self.layout.read(file, &numbers)?;
            if self.hashes.get(self.done as usize) != Some(&hash(&before)) {
                return Err(io::Error::other("its lease table was changed meanwhile"));
            }
            let (after, patches) = match self.layout {
                RecordLayout::Immutable { .. } => self.moved_up(file, &numbers, &before)?,
                RecordLayout::Mutable { version, .. } => self.emptied(&numbers, &before, version),
            };
            if after != before {
                let rewrite = Rewrite { patches, size_before: self.size_before, size_after: self.size_before };
                self.step = Some(WindowStep { rewrite, hash: hash(&after) });
                return Ok(true);
            }
            self.done += 1;
        }
        let RecordLayout::Immutable { start, leases } = self.layout else { return Ok(false) };
        if self.done > self.windows() {
            return Ok(false);
        }
        let left = u32::try_from((self.size_after - start) / IMMUTABLE_RECORD_LEN).unwrap_or(leases);
        let patches = vec![cancel::count(leases, left)];
        let rewrite = Rewrite { patches, size_before: self.size_before, size_after: self.size_after };
        self.step = Some(WindowStep { rewrite, hash: Hex::default() });
        Ok(true)
    }

    /// A window of an immutable container, with the records that remain in it.
    fn moved_up(&self, file: &impl ReadAt, numbers: &[u64], before: &[u8]) -> io::Result<(Vec<u8>, Vec<Patch>)> {
        let first = numbers.first().copied().unwrap_or(0);
        let remain = || (0..self.records()).filter(|number| !self.goes(*number));
        let left = remain().count() as u64;
        // Those before the window have moved already.
        let to_move: Vec<u64> = remain().skip(first as usize).take(numbers.len()).collect();
        let stands = |number: &u64| {
            let remaining = number.checked_rem(left).unwrap_or(0);
            let moved = remaining.checked_sub(first).and_then(|n| to_move.get(n as usize));
            moved.copied().unwrap_or(remaining)
        };
        let after = self.layout.read(file, &numbers.iter().map(stands).collect::<Vec<_>>())?;
        let patch = Patch { at: self.layout.at(first), before: before.to_vec(), after: after.clone() };
        Ok((after, vec![patch]))
    }

    /// A window of a mutable container, with its slots emptied.
    fn emptied(&self, numbers: &[u64], before: &[u8], version: u8) -> (Vec<u8>, Vec<Patch>) {
        let (blank, mut after, mut patches) = (blank_slot(version), before.to_vec(), Vec::new());
        for (slot, number) in after.chunks_mut(blank.len()).zip(numbers).filter(|(_, number)| self.goes(**number)) {
            patches.push(Patch { at: self.layout.at(*number), before: slot.to_vec(), after: blank.clone() });
            slot.copy_from_slice(&blank);
        }
        (after, patches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::cancel::{CancelOutcome, LeaseEntry, exactly};
    use crate::tahoe::table::tests::Bytes;

    /// A container with leases that are told apart by their secrets, and which of them go.
    fn container(is_mutable: bool, leases: u32, goes: impl Fn(u32) -> bool) -> (Vec<u8>, HashSet<Vec<u8>>) {
        let mut file = if is_mutable { mutable_head(leases) } else { [[2; 4], [0; 4], [0; 4]].concat() };
        if !is_mutable {
            file[..4].copy_from_slice(&2u32.to_be_bytes());
            file[8..12].copy_from_slice(&leases.to_be_bytes());
            file.resize(112, 7);
        }
        let mut stays = HashSet::new();
        for number in 0..leases {
            let len = if is_mutable { 92 } else { 72 };
            let mut record = vec![1; len];
            record[8..12].copy_from_slice(&number.to_be_bytes());
            if !goes(number) {
                stays.insert(record.clone());
            }
            match usize::try_from(number).unwrap() {
                slot if is_mutable && slot < 4 => file[100 + 92 * slot..][..92].copy_from_slice(&record),
                _ => file.extend(record),
            }
        }
        (file, stays)
    }

    fn mutable_head(leases: u32) -> Vec<u8> {
        let mut head = b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25".to_vec();
        head.resize(92, 0);
        head.extend_from_slice(&600u64.to_be_bytes());
        head.resize(600, 8);
        head.extend_from_slice(&leases.saturating_sub(4).to_be_bytes());
        head
    }

    fn number(record: &[u8]) -> u32 {
        u32::from_be_bytes(record[8..12].try_into().unwrap())
    }

    fn records(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let (header, rest) = (Header::parse(&file[..100]).unwrap(), Bytes(file));
        let share = ShareBytes { head: &[], size: file.len() as u64, rest: &rest, most: u64::MAX };
        let mut met = Vec::new();
        share.each_record(&header, |record| met.push((record.at, record.bytes.to_vec()))).unwrap();
        met
    }

    fn write(file: &mut [u8], step: &Rewrite, patches: usize, torn: bool) {
        for (n, patch) in step.patches.iter().take(patches).enumerate() {
            let len = if torn && n + 1 == patches { patch.after.len() / 2 } else { patch.after.len() };
            file[patch.at as usize..][..len].copy_from_slice(&patch.after[..len]);
        }
    }

    /// In each state in which a crash may leave the file, all leases that stay are in it, and the plan knows it again; in the end it
    /// is as if it had been rewritten at once.
    #[test]
    fn after_each_step_all_leases_that_stay_are_there_and_the_end_is_that_of_a_short_table() {
        let patterns: [fn(u32) -> bool; 5] =
            [|n| n.is_multiple_of(2), |n| !n.is_multiple_of(3), |n| n < 3000, |n| n != 2500, |n| n == 4999];
        for (is_mutable, goes) in [false, true].into_iter().flat_map(|m| patterns.map(|goes| (m, goes))) {
            let (mut file, stays) = container(is_mutable, 5000, goes);
            let header = Header::parse(&file[..100]).unwrap();
            let size = file.len() as u64;
            let expires = |at: &[u8]| goes(number(at));
            let entry = |(at, bytes): (u64, Vec<u8>)| LeaseEntry { at, expired: expires(&bytes), bytes };
            let table: Vec<LeaseEntry> = records(&file).into_iter().map(entry).collect();
            let CancelOutcome::Rewritten(at_once) = exactly(&header, size, &table) else { panic!() };
            let mut expected = file.clone();
            write(&mut expected, &at_once, usize::MAX, false);
            expected.truncate(at_once.size_after as usize);

            let bytes = Bytes(&file);
            let share = ShareBytes { head: &[], size, rest: &bytes, most: u64::MAX };
            let planned = plan(&header, &share, By::Lease, |record| expires(record.bytes)).unwrap();
            assert_eq!(planned.leases, (0..5000).filter(|n| goes(*n)).count() as u64);
            let Some(ShareChange::Windows(mut rewrite)) = planned.change else { panic!() };
            let mut steps = 0;
            while rewrite.plan_next(&Bytes(&file)).unwrap() {
                rewrite = serde_json::from_str(&serde_json::to_string(&rewrite).unwrap()).unwrap();
                let step = rewrite.step().unwrap().clone();
                let most = 2 * 92 * WINDOW_LEN as usize;
                assert!(step.patches.iter().map(|p| p.before.len() + p.after.len()).sum::<usize>() <= most);
                for (patches, torn) in [(0, false), (1, true), (step.patches.len(), false)] {
                    let mut crashed = file.clone();
                    write(&mut crashed, &step, patches, torn);
                    let is: HashSet<Vec<u8>> = records(&crashed).into_iter().map(|(_, bytes)| bytes).collect();
                    assert!(stays.is_subset(&is), "{is_mutable}, step {steps}, {patches}");
                    assert!(rewrite.is_known(&Bytes(&crashed), size).unwrap());
                    let is_touched = steps > 0 || crashed != file;
                    // A lease elsewhere is renewed.
                    let (first, last) = (&table[0], &table[4999]);
                    let other = if step.patches[0].at < first.at + 72 * WINDOW_LEN { last } else { first };
                    if !is_mutable && step.patches[0].at > 8 {
                        crashed[other.at as usize + 71] = 99;
                        assert!(!rewrite.is_known(&Bytes(&crashed), size).unwrap());
                        assert_eq!(rewrite.is_touched(&Bytes(&crashed)).unwrap(), is_touched);
                    }
                }
                write(&mut file, &step, usize::MAX, false);
                file.truncate(step.size_after as usize);
                rewrite.advance();
                steps += 1;
                assert!(step.size_after < size || rewrite.is_known(&Bytes(&file), size).unwrap());
            }
            assert!(steps > 0 && file == expected, "{is_mutable}, {steps} steps");
        }
    }

    #[test]
    fn by_secret_others_go_with_those_that_have_expired() {
        let (mut file, _) = container(false, 3000, |_| false);
        for number in [5usize, 2999] {
            file[112 + 72 * number + 36..][..32].fill(9);
        }
        let header = Header::parse(&file[..100]).unwrap();
        let bytes = Bytes(&file);
        let share = ShareBytes { head: &[], size: file.len() as u64, rest: &bytes, most: u64::MAX };
        let only_5 = |record: &Record<'_>| number(record.bytes) == 5;
        let by = |by| plan(&header, &share, by, only_5).unwrap();
        assert_eq!((by(By::Lease).leases, by(By::Secret).leases, by(By::Secret).stops), (1, 2, false));
        let both = |record: &Record<'_>| [5, 2999].contains(&number(record.bytes));
        assert!(plan(&header, &share, By::Secret, both).unwrap().stops);
    }
}
