//! How much a quarantine may take: so many bytes in a cycle, and only as long as enough of the disk stays free.
//!
//! Only copies count, in blocks allotted; to rename a share takes no room. What a cycle has taken is saved with its tallies, so a
//! cycle that is resumed has no more than one that was not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::calls::{fstat, fstatvfs};
use crate::sizes;
use crate::store::HeldFolder;
use crate::tahoe::store::Site;

/// What the copies of one cycle may take.
#[derive(Debug)]
pub(super) struct CopyRoom {
    max_bytes: u64,
    used_bytes: AtomicU64,
}

/// A part of it, for one copy. Dropping it gives back what the copy has not come to.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Arc<CopyRoom>,
    bytes: u64,
}

impl CopyRoom {
    pub fn new(max_bytes: u64) -> CopyRoom {
        CopyRoom { max_bytes, used_bytes: AtomicU64::new(0) }
    }

    /// A cycle begins, or goes on, of which so many bytes were copied before.
    pub fn restart(&self, used_bytes: u64) {
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
    }

    /// Counts a copy that this cycle had made before a crash.
    pub fn count(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes so many bytes for a copy.
    ///
    /// # Errors
    /// That they are not left, in words.
    pub fn reserve(self: &Arc<CopyRoom>, bytes: u64) -> Result<Reserved, String> {
        let mut reserved = Reserved { room: self.clone(), bytes: 0 };
        reserved.grow_to(bytes).map(|()| reserved)
    }
}

impl Reserved {
    /// Sees to it that so many bytes are reserved in all.
    ///
    /// # Errors
    /// As [`CopyRoom::reserve`].
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), String> {
        let more = bytes.saturating_sub(self.bytes);
        let CopyRoom { max_bytes, used_bytes } = &*self.room;
        let taken = used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|used| more == 0 || used <= max_bytes)
        });
        match taken {
            Ok(_) => self.bytes += more,
            Err(used) => {
                // What is reserved for this copy already is left for it.
                let left = max_bytes.saturating_sub(used).saturating_add(self.bytes);
                let (takes, left) = (sizes::for_people(bytes as f64), sizes::for_people(left as f64));
                return Err(format!("it takes {takes}, and {left} of quarantine_max are left in this cycle"));
            }
        }
        Ok(())
    }

    /// The copy has come, and takes so many bytes.
    pub fn keep(mut self, bytes: u64) {
        self.room.count(bytes.saturating_sub(self.bytes));
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What is to stay free of the disk that a quarantine folder stands on.
#[derive(Debug, Clone, Copy)]
pub(super) struct DiskReserve {
    bytes: u64,
}

impl DiskReserve {
    /// For a folder: so many percent of its disk, or where it is the store's own disk what `reserved_space` of tahoe.cfg says, if
    /// that is more.
    ///
    /// # Errors
    /// If the disk or tahoe.cfg cannot tell.
    pub fn on(folder: &HeldFolder, free_percent: u8, site: &Site) -> io::Result<DiskReserve> {
        // Lets a test copy on a disk that is nearly full. Does nothing in release builds.
        crate::fail_point!("quarantine::any_room", |_| Ok(DiskReserve { bytes: 0 }));
        let disk = fstatvfs(folder)?;
        let part = part_of(disk.f_blocks.saturating_mul(disk.f_frsize), free_percent);
        let is_stores_own = fstat(folder)?.st_dev == fstat(site.root()?)?.st_dev;
        let reserved = if is_stores_own { site.reserved_space().map_err(io::Error::other)? } else { 0 };
        Ok(DiskReserve { bytes: part.max(reserved) })
    }

    /// Whether so many bytes more may be written in a folder.
    ///
    /// # Errors
    /// If the disk cannot tell; the inner one that they may not, in words.
    pub fn allows(self, bytes: u64, folder: &HeldFolder) -> io::Result<Result<(), String>> {
        let disk = fstatvfs(folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Some file systems say nothing of their size.
        if disk.f_blocks == 0 || free.saturating_sub(bytes) >= self.bytes {
            return Ok(Ok(()));
        }
        let [takes, free, stays] = [bytes, free, self.bytes].map(|bytes| sizes::for_people(bytes as f64));
        Ok(Err(format!("it takes {takes}, {free} of the disk are free, and {stays} have to stay free")))
    }
}

/// So many percent of a number.
fn part_of(bytes: u64, percent: u8) -> u64 {
    // Never more than the number itself.
    u64::try_from(u128::from(bytes) * u128::from(percent.min(100)) / 100).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::verify::FREE_PERCENT;

    #[test]
    fn a_twentieth_of_a_disk_stays_free() {
        for (disk, free) in [(0, 0), (100, 5), (1_000_000_000_000, 50_000_000_000), (u64::MAX, u64::MAX / 20)] {
            assert_eq!(part_of(disk, FREE_PERCENT), free);
        }
        assert_eq!((part_of(7, 0), part_of(u64::MAX, 255)), (0, u64::MAX));
    }

    /// Whatever the disk of the tester has free: it has not all of it and one byte more.
    #[test]
    fn what_is_to_stay_free_is_not_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = HeldFolder::named(folder.path()).unwrap();
        assert_eq!(DiskReserve { bytes: 0 }.allows(1 << 20, &folder).unwrap(), Ok(()));
        let why = DiskReserve { bytes: u64::MAX }.allows(1, &folder).unwrap().unwrap_err();
        assert!(why.starts_with("it takes 1 B, ") && why.ends_with(" have to stay free"), "{why}");
    }

    #[test]
    fn copies_of_a_cycle_take_no_more_than_they_may() {
        let room = Arc::new(CopyRoom::new(100));
        let used = || room.used_bytes.load(Ordering::Relaxed);
        let mut one = room.reserve(60).unwrap();
        let why = room.reserve(41).unwrap_err();
        assert_eq!(why, "it takes 41 B, and 40 B of quarantine_max are left in this cycle");
        let other = room.reserve(30).unwrap();
        one.grow_to(70).unwrap();
        assert!(one.grow_to(71).unwrap_err().contains("it takes 71 B, and 70 B of"));
        drop(other);
        one.grow_to(71).unwrap();
        one.keep(50);
        assert_eq!(used(), 50);
        room.reserve(10).unwrap().keep(20);
        assert_eq!(used(), 70);
        room.reserve(0).unwrap().keep(0);
        room.restart(200);
        assert!(room.reserve(1).is_err() && room.reserve(0).is_ok() && used() == 200);
    }
}
