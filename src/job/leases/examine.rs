//! The visit to one bucket: each share in turn, in byte order of their names.
//!
//! Where Tahoe's lease checker would stop for good, the history keeps what the bucket had counted so far and takes up
//! nothing more from it; the walk itself goes on with the next share.

use std::io;

use super::LeaseSettings;
use super::judge::{Dates, Flaw, HEADER, judge};
use super::tally::{Held, Kind, LeaseTally, Share};
use crate::job::{Finding, Fold, Unreadable};
use crate::store::{ShareEntry, ShareFile, TahoeBucket};
use crate::tahoe::STOPS_TAHOE;
use crate::tahoe::container::Header;
use crate::tahoe::table::{Fault, PIECE_LEN, ReadAt, ShareBytes};

/// Whether the history still follows the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    Follows,
    /// Tahoe's lease checker would have stopped in this bucket.
    Frozen,
}

struct Visit<'v, 'f> {
    settings: &'v LeaseSettings,
    bucket: &'v TahoeBucket<'v>,
    fold: &'v mut Fold<'f, LeaseTally>,
    history: History,
    /// Shares that were listed, but were gone when their turn came.
    vanished: u64,
    /// Of the last share.
    kind: Kind,
    held: Held,
}

/// Visits a bucket.
///
/// # Errors
/// [`Unreadable`] if the size of its directory is needed and cannot be told.
pub(super) fn bucket(
    settings: &LeaseSettings,
    bucket: &TahoeBucket<'_>,
    fold: &mut Fold<'_, LeaseTally>,
) -> Result<(), Unreadable> {
    fold.notes.counts.no_share += bucket.no_share();
    let held = Held { by_own_date: false, by_settings: false };
    let mut visit = Visit { settings, bucket, fold, history: History::Follows, vanished: 0, kind: Kind::None, held };
    let mut page = [0; PIECE_LEN];
    for entry in bucket.shares() {
        visit.share(entry, &mut page);
    }
    // A bucket whose shares have all vanished is on its way out itself; as an empty one it would count as recovered.
    let gone = visit.kind == Kind::None && visit.vanished > 0;
    if visit.history == History::Follows && !gone {
        let (kind, held) = (visit.kind, visit.held);
        // Asked for only where it counts, which is in a bucket that could be freed.
        let disk_bytes = if held == Held::FIRMLY { Ok(0) } else { bucket.disk_bytes() };
        let disk_bytes = disk_bytes.map_err(|error| Unreadable { path: bucket.path(), error })?;
        visit.fold.tally.add_bucket(disk_bytes, kind, held);
    }
    Ok(())
}

impl Visit<'_, '_> {
    fn share(&mut self, entry: &ShareEntry, page: &mut [u8; PIECE_LEN]) {
        let opened = self.bucket.open_share(entry);
        let read = opened.and_then(|file| file.read_at(page, 0).map(|len| (file, len)));
        let (file, len) = match read {
            Ok(read) => read,
            Err(e) => return self.unreadable(entry, &e),
        };
        self.fold.notes.counts.shares += 1;
        let head = &page[..len];
        match Header::parse(head) {
            Ok(header) => self.leases(entry, &header, &ShareBytes { head, size: file.size(), rest: &file }),
            Err(malformed) => {
                let flaw = Flaw { region: HEADER, reason: malformed.to_string(), tahoe_corrupt: true };
                self.corrupt();
                self.finding(entry, flaw);
            }
        }
    }

    fn leases(&mut self, entry: &ShareEntry, header: &Header, share: &ShareBytes<'_, ShareFile>) {
        let now = self.fold.now;
        let expiry = self.settings.expiry;
        let expires = self.settings.sharetypes.0.contains(&header.share_type());
        let follows = self.history == History::Follows;
        let tally = &mut *self.fold.tally;
        let mut dates = Dates::new(now);
        let mut held = Held { by_own_date: false, by_settings: false };
        let read = share.each_lease(header, |lease| {
            if follows {
                // At once: of a share that turns out to be corrupt, Tahoe has counted the ages of the leases before.
                tally.add_lease(lease.age_days(now));
            }
            held.by_own_date |= lease.is_valid(now);
            held.by_settings |= !(expires && expiry.expires(lease, now));
            dates.meet(lease);
        });
        match &read {
            Ok(_) => self.examined(Share {
                share_type: header.share_type(),
                size: share.size,
                disk_bytes: share.rest.disk_bytes(),
                leases: dates.met(),
                held,
            }),
            Err(Fault::Corrupt(_)) => self.corrupt(),
            Err(Fault::Stops(reason)) => self.stops(entry, reason),
            Err(Fault::Unreadable(e)) => self.unreadable_leases(entry, e),
        }
        for flaw in judge(header, share.size, &read, &dates) {
            self.finding(entry, flaw);
        }
    }

    fn examined(&mut self, share: Share) {
        self.kind = Kind::Known(share.share_type);
        self.held.by_own_date |= share.held.by_own_date;
        self.held.by_settings |= share.held.by_settings;
        if self.history == History::Follows {
            self.fold.tally.add_share(&share);
        }
    }

    /// A corrupt share is kept, whatever became of its leases.
    fn corrupt(&mut self) {
        self.kind = Kind::Unknown;
        self.held = Held::FIRMLY;
    }

    fn finding(&mut self, entry: &ShareEntry, flaw: Flaw) {
        let share = entry.number().value();
        let mut reason = flaw.reason;
        if share.is_none() {
            let name = String::from_utf8_lossy(self.bucket.share_name(entry));
            reason = format!("share {name}: {reason}");
        }
        let tahoe_corrupt = flaw.tahoe_corrupt && self.history == History::Follows;
        let (storage_index, region) = (self.bucket.storage_index(), flaw.region.to_owned());
        self.fold.notes.finding(&Finding { storage_index, share, region, reason, tahoe_corrupt, bytes: None });
    }

    /// Notes a share that could not be opened or read at all. One that is gone leaves no trace in the history: it is as
    /// if it had not been listed.
    fn unreadable(&mut self, entry: &ShareEntry, e: &io::Error) {
        let what = match e.kind() {
            io::ErrorKind::IsADirectory => "it has a share's name, but is a directory".to_owned(),
            io::ErrorKind::NotFound => "it is a link to nothing".to_owned(),
            _ => format!("cannot read share: {e}"),
        };
        let error = io::Error::new(e.kind(), self.with_consequence(&what));
        let path = self.bucket.share_path(entry);
        let vanished = self.fold.notes.counts.vanished;
        self.fold.unreadable(&Unreadable { path, error });
        if self.fold.notes.counts.vanished > vanished {
            self.vanished += 1;
        } else {
            self.fold.notes.counts.shares += 1;
            self.history = History::Frozen;
        }
    }

    fn unreadable_leases(&mut self, entry: &ShareEntry, e: &io::Error) {
        self.stops(entry, &format!("cannot read leases: {e}"));
    }

    fn stops(&mut self, entry: &ShareEntry, reason: &str) {
        let text = self.with_consequence(reason);
        self.fold.notes.error(&self.bucket.share_path(entry), &text);
        self.history = History::Frozen;
    }

    /// Tahoe's crawler stops but once: at the first such thing in a bucket.
    fn with_consequence(&self, what: &str) -> String {
        match self.history {
            History::Follows => format!("{what}; {STOPS_TAHOE}"),
            History::Frozen => what.to_owned(),
        }
    }
}
