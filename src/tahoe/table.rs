//! Lease tables: every lease of a share, in the order in which Tahoe's lease checker reads them.
//!
//! A table is read as Tahoe reads it, also where it makes no sense: from shifted bytes where a count is wrong, and up
//! to the very record that is cut off. No table is held in memory; it is read in pieces of at most a page.

use std::io;

use rustix::fs::SeekFrom;

use super::be32;
use super::container::{Header, Immutable, MUTABLE_SLOTS, MUTABLE_SLOTS_AT, Mutable};
use super::lease::{IMMUTABLE_RECORD_LEN, Lease, MUTABLE_RECORD_LEN};
use crate::calls::seek;
use crate::store::ObjectFile;

/// Bytes of the largest piece that is read at once.
pub const PIECE_LEN: usize = 4096;

/// Where the bytes of a share come from.
pub trait ReadAt {
    /// Fills `buf` from this offset on, as far as the file goes, and gives the number of bytes read.
    ///
    /// # Errors
    /// If the file cannot be read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Whether the file system has such an offset at all, within the file or not.
    fn has_offset(&self, offset: u64) -> bool;
}

impl ReadAt for ObjectFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        ObjectFile::read_at(self, buf, offset)
    }

    fn has_offset(&self, offset: u64) -> bool {
        seek(self, SeekFrom::Start(offset)).is_ok()
    }
}

/// A share of which the first bytes were read already.
pub struct ShareBytes<'a, R> {
    /// The first bytes of the file.
    pub head: &'a [u8],
    /// The file's size, in bytes.
    pub size: u64,
    /// The file.
    pub rest: &'a R,
    /// How many records of a table are read, empty ones included; where there are more, none is but those in a mutable
    /// container's header.
    pub most: u64,
}

/// Why a table could not be read to its end.
#[derive(Debug)]
pub enum TableFault {
    /// Tahoe lists the share under `corrupt-shares`.
    Corrupt(String),
    /// Tahoe's lease checker does not survive it.
    Stops(String),
    /// There are more than are read: so many.
    TooMany(u64),
    /// The file cannot be read.
    Unreadable(io::Error),
}

/// How far a table was read. Begins at its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TablePlace {
    /// Whether the slots in a mutable container's header are behind it.
    in_extra: bool,
    /// Records read, where it is.
    done: u64,
}

/// Where reading a table has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRead {
    /// To its end; the count of extra slots where there are such.
    End(Option<u32>),
    /// To the [place](TablePlace) where it goes on.
    Part,
}

/// A lease where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What it says.
    pub lease: Lease,
    /// Where it begins, in bytes from the beginning of the file.
    pub at: u64,
    /// The record, secrets and all.
    pub bytes: &'a [u8],
}

impl<R: ReadAt> ShareBytes<'_, R> {
    /// Gives each lease of the share to `visit`, in Tahoe's order; the count of extra slots where there are such.
    ///
    /// # Errors
    /// [`TableFault`]; leases before it were visited.
    pub fn each_lease(&self, header: &Header, mut visit: impl FnMut(Lease)) -> Result<Option<u32>, TableFault> {
        self.each_record(header, |record| visit(record.lease))
    }

    /// As [`each_lease`](Self::each_lease), with the records themselves.
    ///
    /// # Errors
    /// [`TableFault`]; leases before it were visited.
    pub fn each_record(&self, header: &Header, visit: impl FnMut(Record<'_>)) -> Result<Option<u32>, TableFault> {
        match self.records_from(&mut TablePlace::default(), header, visit, || true)? {
            TableRead::End(extra) => Ok(extra),
            // Nobody has told it to stop.
            TableRead::Part => Ok(None),
        }
    }

    /// As [`each_record`](Self::each_record), from a place on as long as `goes_on` says so, which is asked after each piece.
    ///
    /// # Errors
    /// [`TableFault`]; leases before it were visited.
    pub fn records_from(
        &self,
        place: &mut TablePlace,
        header: &Header,
        mut visit: impl FnMut(Record<'_>),
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<TableRead, TableFault> {
        match header {
            Header::Immutable(header) => self.immutable_leases(place, header, &mut visit, &mut goes_on),
            Header::Mutable(header) => self.mutable_leases(place, header, &mut visit, &mut goes_on),
        }
    }

    fn immutable_leases(
        &self,
        place: &mut TablePlace,
        header: &Immutable,
        visit: &mut impl FnMut(Record<'_>),
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<TableRead, TableFault> {
        let count = u64::from(header.leases);
        let Some(start) = header.leases_at(self.size) else {
            let (needed, size) = (IMMUTABLE_RECORD_LEN * count, self.size);
            return Err(TableFault::Stops(format!("its {count} leases need {needed} bytes, the file has {size}")));
        };
        let visit = |at, bytes: &[u8]| {
            let lease = Lease::from_immutable(bytes)?;
            visit(Record { lease, at, bytes });
            Some(())
        };
        let is_end = self.records((start, count, IMMUTABLE_RECORD_LEN), &mut place.done, visit, goes_on)?;
        Ok(if is_end { TableRead::End(None) } else { TableRead::Part })
    }

    fn mutable_leases(
        &self,
        place: &mut TablePlace,
        header: &Mutable,
        visit: &mut impl FnMut(Record<'_>),
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<TableRead, TableFault> {
        let (at, size) = (header.extra_leases_at, self.size);
        let beyond = at.checked_add(4).is_none_or(|end| end > size);
        if beyond && (i64::try_from(at).is_err() || !self.rest.has_offset(at)) {
            return Err(TableFault::Stops(format!("its extra leases begin at {at}, an offset that no file has")));
        }
        let mut buf = Vec::new();
        let count = if beyond { None } else { be32(self.bytes(at, 4, &mut buf)?, 0) };
        let Some(extra) = count else {
            return Err(TableFault::Corrupt(format!("the extra leases begin at {at}, but the file has {size} bytes")));
        };
        let mut visit = |at, bytes: &[u8]| {
            let lease = Lease::from_mutable(bytes)?;
            if lease.owner != 0 {
                visit(Record { lease, at, bytes });
            }
            Some(())
        };
        if !place.in_extra {
            let slots = (MUTABLE_SLOTS_AT, MUTABLE_SLOTS, MUTABLE_RECORD_LEN);
            self.records(slots, &mut place.done, &mut visit, &mut || true)?;
            *place = TablePlace { in_extra: true, done: 0 };
        }
        // Cannot overflow: `at` + 4 lies within the file.
        let slots = (at + 4, u64::from(extra), MUTABLE_RECORD_LEN);
        let is_end = self.records(slots, &mut place.done, &mut visit, goes_on)?;
        Ok(if is_end { TableRead::End(Some(extra)) } else { TableRead::Part })
    }

    /// Gives `count` records of one length from `start` on to `visit`, of which `done` were given before, piece by piece;
    /// it tells with `None` that one is cut off. Whether that was all of them.
    fn records(
        &self,
        (start, count, record_len): (u64, u64, u64),
        done: &mut u64,
        mut visit: impl FnMut(u64, &[u8]) -> Option<()>,
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, TableFault> {
        if count == 0 {
            return Ok(true);
        }
        // As many as are not cut off: a count alone may be anything.
        let within = count.min(self.size.saturating_sub(start) / record_len);
        if within > self.most {
            return Err(TableFault::TooMany(count));
        }
        let per_piece = PIECE_LEN as u64 / record_len;
        // Grows only where a record is not in the head.
        let mut piece = Vec::new();
        while *done < count {
            let batch = per_piece.min(count - *done);
            // No overflow: every record before this one was within the file.
            let at = start + *done * record_len;
            let bytes = self.bytes(at, (batch * record_len) as usize, &mut piece)?;
            let mut records = bytes.chunks(record_len as usize);
            for number in *done..*done + batch {
                let at = start + number * record_len;
                records.next().and_then(|record| visit(at, record)).ok_or_else(|| {
                    let (record, size) = (number + 1, self.size);
                    TableFault::Corrupt(format!(
                        "lease {record} of {count} from {start} on is cut off by the end of the file at {size}"
                    ))
                })?;
            }
            *done += batch;
            if *done < count && !goes_on() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `len` bytes at `at`, or as many as the file has; from the head where they are in it.
    fn bytes<'b>(&'b self, at: u64, len: usize, buf: &'b mut Vec<u8>) -> Result<&'b [u8], TableFault> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(bytes) = self.head.get(start..start.saturating_add(len)) {
            return Ok(bytes);
        }
        buf.resize(len, 0);
        let read = self.rest.read_at(buf, at).map_err(TableFault::Unreadable)?;
        Ok(&buf[..read.min(buf.len())])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file in memory; offsets beyond 2^44 do not exist in it, as in ext4.
    pub(crate) struct Bytes<'a>(pub &'a [u8]);

    impl ReadAt for Bytes<'_> {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or(&[]);
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn has_offset(&self, offset: u64) -> bool {
            offset <= 1 << 44
        }
    }

    fn leases(file: &[u8], head_len: usize) -> (Vec<u32>, Result<Option<u32>, TableFault>) {
        let header = Header::parse(file).unwrap();
        let rest = Bytes(file);
        let (head, size) = (&file[..head_len.min(file.len())], file.len() as u64);
        let share = ShareBytes { head, size, rest: &rest, most: 250 };
        let mut met = Vec::new();
        let end = share.each_lease(&header, |lease| met.push(lease.expires_unix));
        (met, end)
    }

    fn immutable(count: u32, data: usize) -> Vec<u8> {
        let mut file: Vec<u8> = [2, data as u32, count].iter().flat_map(|f: &u32| f.to_be_bytes()).collect();
        file.resize(12 + data, 9);
        for i in 0..count {
            file.extend_from_slice(&[0; 68]);
            file.extend_from_slice(&i.to_be_bytes());
        }
        file
    }

    fn mutable(slots: &[(u32, u32)], data: usize) -> Vec<u8> {
        let mut file = b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e".to_vec();
        file.resize(84, 5);
        file.extend_from_slice(&(data as u64).to_be_bytes());
        file.extend_from_slice(&(468 + data as u64).to_be_bytes());
        let record = |(owner, expires): (u32, u32)| {
            let mut record = [owner.to_be_bytes(), expires.to_be_bytes()].concat();
            record.resize(92, 3);
            record
        };
        for i in 0..4 {
            file.extend(record(slots.get(i).copied().unwrap_or((0, 0))));
        }
        file.resize(468 + data, 8);
        let extra = slots.get(4..).unwrap_or(&[]);
        file.extend_from_slice(&(extra.len() as u32).to_be_bytes());
        extra.iter().for_each(|slot| file.extend(record(*slot)));
        file
    }

    #[test]
    fn leases_come_in_file_order_from_head_and_rest_alike() {
        let file = immutable(130, 5000);
        for head_len in [12, 4096, file.len()] {
            let (met, end) = leases(&file, head_len);
            assert_eq!(met, (0..130).collect::<Vec<_>>());
            assert_eq!(end.unwrap(), None);
        }
        let slots: Vec<(u32, u32)> = (0..200).map(|i| (u32::from(i != 1 && i != 7), i)).collect();
        let file = mutable(&slots, 3000);
        for head_len in [100, 4096, file.len()] {
            let (met, end) = leases(&file, head_len);
            assert_eq!(met, (0..200).filter(|i| *i != 1 && *i != 7).collect::<Vec<_>>());
            assert_eq!(end.unwrap(), Some(196));
        }
    }

    #[test]
    fn a_table_that_is_read_in_parts_gives_the_same_leases() {
        let slots: Vec<(u32, u32)> = (0..250).map(|i| (1, i)).collect();
        for (file, extra) in [(immutable(240, 700), None), (mutable(&slots, 300), Some(246))] {
            let (header, rest) = (Header::parse(&file).unwrap(), Bytes(&file));
            let share = ShareBytes { head: &file[..100], size: file.len() as u64, rest: &rest, most: 250 };
            let (mut met, mut place, mut parts) = (Vec::new(), TablePlace::default(), 1);
            let end = loop {
                let visit = |record: Record<'_>| met.push(record.lease.expires_unix);
                match share.records_from(&mut place, &header, visit, || false).unwrap() {
                    TableRead::Part => parts += 1,
                    TableRead::End(extra) => break extra,
                }
            };
            assert_eq!((&met, end), (&leases(&file, 4096).0, extra));
            assert!(parts > 4, "{parts}");
        }
    }

    #[test]
    fn leases_before_a_cut_are_met_and_then_the_share_is_corrupt() {
        let whole = mutable(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)], 300);
        let (met, end) = leases(&whole[..whole.len() - 1], 4096);
        assert_eq!(met, [1, 2, 3, 4, 5]);
        assert!(matches!(end, Err(TableFault::Corrupt(_))));
        let (met, end) = leases(&whole[..whole.len() - 185], 4096);
        assert!(met.is_empty() && matches!(end, Err(TableFault::Corrupt(_))), "the count itself is cut off");
    }

    #[test]
    fn a_table_that_is_too_long_is_not_read_and_one_that_is_cut_off_is_none() {
        assert!(matches!(leases(&immutable(250, 0), 4096), (met, Ok(None)) if met.len() == 250));
        assert!(matches!(leases(&immutable(251, 0), 4096), (met, Err(TableFault::TooMany(251))) if met.is_empty()));
        let whole = mutable(&vec![(1, 1); 255], 300);
        assert!(matches!(leases(&whole, 4096), (met, Err(TableFault::TooMany(251))) if met == [1; 4]));
        // Whatever it counts, one more than 250 is not there.
        let (met, end) = leases(&whole[..whole.len() - 1], 4096);
        assert!(met.len() == 254 && matches!(end, Err(TableFault::Corrupt(_))));
    }

    #[test]
    fn what_seek_refuses_stops_tahoe() {
        let mut file = immutable(1, 100);
        file[8] = 0x7f;
        assert!(matches!(leases(&file, 4096).1, Err(TableFault::Stops(_))));
        for (at, stops) in [(u64::MAX, true), (1 << 63, true), ((1 << 44) + 1, true), (1 << 44, false)] {
            let mut file = mutable(&[(1, 1)], 10);
            file[92..100].copy_from_slice(&at.to_be_bytes());
            let (met, end) = leases(&file, 4096);
            assert!(met.is_empty());
            assert_eq!(matches!(end, Err(TableFault::Stops(_))), stops, "{at}");
            assert_eq!(matches!(end, Err(TableFault::Corrupt(_))), !stops, "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics_and_no_more_leases_than_fit(
            mut file in prop::collection::vec(any::<u8>(), 12..2000),
            is_mutable in any::<bool>(), small in any::<u16>(), head in 100usize..2100,
        ) {
            if is_mutable && file.len() >= 100 {
                file[..32].copy_from_slice(b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e");
                file[92..100].copy_from_slice(&(u64::from(small) % 2100).to_be_bytes());
            } else {
                file[..4].copy_from_slice(&1u32.to_be_bytes());
                file[8..12].copy_from_slice(&(u32::from(small) % 30).to_be_bytes());
            }
            let (met, _) = leases(&file, head);
            prop_assert!(met.len() <= file.len() / 72 + 4);
        }
    }
}
