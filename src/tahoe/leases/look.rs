//! A look at one share: what it is, what is wrong with it, and what is to become of it. Nothing is changed here.

use std::collections::BTreeMap;
use std::io;

use super::figures::SpareReason;
use super::judge::{Dates, HEADER, LeaseFlaw, judge};
use super::plan::{Act, ShareChange, ShareSeen};
use super::tally::{Held, Share};
use super::windows::{self, By, Cancelled, WINDOW_LEN};
use super::{Conduct, LeaseSettings, Word};
use crate::store::{ErrorCause, ObjectFile};
use crate::tahoe::cancel::{BySecret, CancelOutcome, LeaseEntry, by_secret, exactly};
use crate::tahoe::container::{Header, Malformed};
use crate::tahoe::lease::Lease;
use crate::tahoe::table::{PIECE_LEN, Record, ShareBytes, TableFault, TablePlace, TableRead};

/// How long a share must have been untouched before it may go while its node is running, in seconds.
const UNTOUCHED_SECS: f64 = 3600.0;

/// Leases of all the tables that are rewritten in one bucket in a cycle. (Real shares have a handful.)
pub(super) const LEASES_MOST: u64 = 100_000;

/// Leases of the tables of a bucket of which its intent holds all bytes; further ones are rewritten in windows.
const LEASES_AT_ONCE: u64 = 4 * WINDOW_LEN;

/// Leases of a share that are read, unless Tahoe is to be followed in everything: a file of holes has billions of them for
/// nothing, and reading those would hold a slice for an hour.
const LEASES_READ: u64 = 1_000_000;

/// What a look at a share has shown.
#[derive(Debug)]
pub(super) struct Looked {
    pub seen: ShareSeen,
    /// What is to be done to it.
    pub act: Option<Box<Act>>,
    /// Why nothing is done to it though leases of it have expired.
    pub spared: Option<SpareReason>,
    pub flaws: Vec<LeaseFlaw>,
    /// Why Tahoe's lease checker does not survive the share.
    pub stops: Option<(ErrorCause, String)>,
    /// Why its expired leases are kept, where that is no flaw of the share.
    pub kept: Option<String>,
    /// Whether its leases cannot be read just now.
    pub would_wait: bool,
}

/// Where and when it is looked.
pub(super) struct Sight<'a> {
    pub settings: &'a LeaseSettings,
    /// The moment that counts as now, in seconds since 1970.
    pub now: f64,
    /// The latest moment that counts as now, likewise: leases are renewed while a cycle lasts.
    pub latest: f64,
    /// How many leases a table may have that is to be rewritten: of [`LEASES_MOST`] those that others of its bucket leave.
    pub leases_left: u64,
    /// How many leases have which age, in days: those that are read are added, of a share that turns out to be corrupt the ones
    /// before. Dates have 32 bits, so there are 50,000 ages at most, however many leases a count speaks of.
    pub ages: &'a mut BTreeMap<i64, u64>,
    pub page: &'a mut [u8; PIECE_LEN],
}

/// What was met while the leases were read.
#[derive(Debug)]
struct Met {
    dates: Dates,
    held: Held,
    expired: u64,
    /// Whether every lease has been expired for a day.
    all_ripe: bool,
}

/// What is to become of a share whose leases could be read.
#[derive(Default)]
struct ShareDecision {
    act: Option<Box<Act>>,
    stops: Option<(ErrorCause, String)>,
    kept: Option<String>,
    spared: Option<SpareReason>,
    would_wait: bool,
}

/// A share whose leases are being read.
#[derive(Debug)]
pub(super) struct LeaseReading {
    header: Result<Header, Malformed>,
    met: Met,
    place: TablePlace,
    /// How many bytes of the page are still its first ones.
    head_len: usize,
}

impl Looked {
    fn of(seen: ShareSeen, flaws: Vec<LeaseFlaw>, decision: ShareDecision) -> Looked {
        let ShareDecision { act, stops, kept, spared, would_wait } = decision;
        Looked { seen, act, spared, flaws, stops, kept, would_wait }
    }
}

impl LeaseReading {
    /// Notes that it goes on in another slice, with another page.
    pub fn set_aside(&mut self) {
        self.head_len = 0;
    }
}

impl Sight<'_> {
    /// Looks at a share.
    ///
    /// # Errors
    /// If not even its first bytes can be read.
    pub fn look(&mut self, file: &ObjectFile) -> io::Result<Looked> {
        let mut reading = self.begin(file)?;
        loop {
            if let Some(looked) = self.go_on(&mut reading, file, || true) {
                return Ok(looked);
            }
        }
    }

    /// Begins to look at a share.
    ///
    /// # Errors
    /// If not even its first bytes can be read.
    pub fn begin(&mut self, file: &ObjectFile) -> io::Result<LeaseReading> {
        let head_len = file.read_at(self.page, 0)?;
        let header = Header::parse(&self.page[..head_len]);
        Ok(LeaseReading { header, met: Met::nothing(self.latest), place: TablePlace::default(), head_len })
    }

    /// Goes on reading leases as long as `goes_on` says so, and at the end decides. `None`: there are more to be read.
    pub fn go_on(
        &mut self,
        reading: &mut LeaseReading,
        file: &ObjectFile,
        goes_on: impl FnMut() -> bool,
    ) -> Option<Looked> {
        let LeaseReading { header, met, place, head_len } = reading;
        let header = match header {
            Ok(header) => &*header,
            Err(malformed) => {
                let reason = malformed.to_string();
                let flaw = LeaseFlaw { region: HEADER, reason, tahoe_corrupt: true, only_kept: false };
                return Some(Looked::of(ShareSeen::Corrupt, vec![flaw], ShareDecision::default()));
            }
        };
        let head = &self.page[..*head_len];
        let most = if self.settings.conduct == Conduct::Compat { u64::MAX } else { LEASES_READ };
        let share = ShareBytes { head, size: file.size(), rest: file, most };
        let visit = |record: Record<'_>| {
            *self.ages.entry(record.lease.age_days(self.now)).or_default() += 1;
            met.meet(self.settings, header, record.lease, self.now);
        };
        let read = match share.records_from(place, header, visit, goes_on) {
            Ok(TableRead::Part) => return None,
            Ok(TableRead::End(extra)) => Ok(extra),
            Err(fault) => Err(fault),
        };
        let flaws = judge(header, share.size, &read, &met.dates);
        let whole = Share {
            share_type: header.share_type(),
            size: share.size,
            disk_bytes: file.disk_bytes(),
            leases: met.dates.met(),
            held: met.held,
            damaged: self.settings.conduct == Conduct::Careful && !flaws.is_empty(),
        };
        let (seen, decision) = match read {
            Ok(_) => {
                let decision = self.decide(header, &share, met, &flaws);
                // A failure to cancel comes after the share was counted as examined.
                (
                    if decision.stops.is_some() { ShareSeen::Stops(Some(whole)) } else { ShareSeen::Whole(whole) },
                    decision,
                )
            }
            Err(TableFault::Corrupt(_) | TableFault::TooMany(_)) => (ShareSeen::Corrupt, ShareDecision::default()),
            Err(TableFault::Stops(reason)) => (
                ShareSeen::Stops(None),
                ShareDecision { stops: Some((ErrorCause::Malformed, reason)), ..ShareDecision::default() },
            ),
            Err(TableFault::Unreadable(e)) => {
                let (stops, would_wait) =
                    (Some((ErrorCause::of(&e), format!("cannot read leases: {e}"))), would_wait(&e));
                (ShareSeen::Stops(None), ShareDecision { stops, would_wait, ..ShareDecision::default() })
            }
        };
        Some(Looked::of(seen, flaws, decision))
    }

    fn decide(
        &self,
        header: &Header,
        share: &ShareBytes<'_, ObjectFile>,
        met: &Met,
        flaws: &[LeaseFlaw],
    ) -> ShareDecision {
        let nothing = ShareDecision::default();
        let (stamp, leases) = (share.rest.stamp(), met.dates.met());
        let unlink = || {
            let act = Some(Box::new(Act { stamp, leases, change: ShareChange::Unlink }));
            ShareDecision { act, ..ShareDecision::default() }
        };
        if met.expired == 0 || self.settings.expiry == super::Expiry::None {
            return nothing;
        }
        match (self.settings.conduct, self.settings.word) {
            // On the word of a damaged share nothing is deleted.
            (Conduct::Careful, _) if !flaws.is_empty() => nothing,
            (Conduct::Careful, Some(Word::Online)) => match self.spared(met, stamp.touched_unix()) {
                None => unlink(),
                spared => ShareDecision { spared, ..nothing },
            },
            (Conduct::Careful, _) if met.expired == leases => unlink(),
            _ if leases > self.leases_left => {
                let others =
                    if leases > LEASES_MOST { "" } else { ", and in this cycle other shares of the bucket come first" };
                let kept = Some(format!("its lease table is not rewritten: it has {leases} leases{others}"));
                ShareDecision { kept, ..nothing }
            }
            _ => {
                let rewritten = LEASES_MOST.saturating_sub(self.leases_left);
                self.cancel(header, share, leases > WINDOW_LEN || rewritten + leases > LEASES_AT_ONCE)
            }
        }
    }

    /// Why a share with expired leases does not go while its node is running.
    fn spared(&self, met: &Met, touched_unix: f64) -> Option<SpareReason> {
        match met {
            _ if met.expired < met.dates.met() => Some(SpareReason::PartlyExpired),
            _ if !met.all_ripe => Some(SpareReason::ExpiredWithinADay),
            _ if touched_unix + UNTOUCHED_SECS > self.now => Some(SpareReason::TouchedWithinTheHour),
            _ => None,
        }
    }

    /// Cancels the expired leases, in thought.
    fn cancel(&self, header: &Header, share: &ShareBytes<'_, ObjectFile>, is_long: bool) -> ShareDecision {
        let cancelled = if is_long { self.cancel_long(header, share) } else { self.cancel_short(header, share) };
        let Cancelled { change, leases, stops } = match cancelled {
            Ok(cancelled) => cancelled,
            Err(fault) => {
                let would_wait = matches!(fault, TableFault::Unreadable(e) if would_wait(&e));
                let kept = Some("its leases could not be read a second time".into());
                return ShareDecision { kept, would_wait, ..ShareDecision::default() };
            }
        };
        let stamp = share.rest.stamp();
        let act = |change| Some(Box::new(Act { stamp, leases, change }));
        let (act, kept) = match change {
            Some(ShareChange::Unlink) => (act(ShareChange::Unlink), None),
            Some(_) if share.rest.links() > 1 => {
                let links = share.rest.links();
                let why = "its lease table is not rewritten: it has";
                (None, Some(format!("{why} {links} names (hard links), which would all be changed")))
            }
            Some(change) => (act(change), None),
            None => (None, Some("its lease table cannot be rewritten where it stands".to_owned())),
        };
        let stops = stops.then(|| (ErrorCause::Other, "two of its expired leases have one cancel secret".to_owned()));
        ShareDecision { act, stops, kept, ..ShareDecision::default() }
    }

    fn cancel_long(&self, header: &Header, share: &ShareBytes<'_, ObjectFile>) -> Result<Cancelled, TableFault> {
        let by = if self.settings.conduct == Conduct::Compat { By::Secret } else { By::Lease };
        windows::plan(header, share, by, |record| self.settings.expires(header, record.lease, self.now))
    }

    fn cancel_short(&self, header: &Header, share: &ShareBytes<'_, ObjectFile>) -> Result<Cancelled, TableFault> {
        let mut table = Vec::new();
        share.each_record(header, |record| {
            let expired = self.settings.expires(header, record.lease, self.now);
            table.push(LeaseEntry { at: record.at, bytes: record.bytes.to_vec(), expired });
        })?;
        let expired = table.iter().filter(|entry| entry.expired).count() as u64;
        let (outcome, leases, stops) = match self.settings.conduct {
            Conduct::Careful => (exactly(header, share.size, &table), expired, false),
            Conduct::Compat => {
                let BySecret { outcome, cancelled, stops } = by_secret(header, share.size, &table);
                (outcome, cancelled, stops)
            }
        };
        let change = match outcome {
            CancelOutcome::Unlinked => Some(ShareChange::Unlink),
            CancelOutcome::Rewritten(rewrite) => Some(ShareChange::Rewrite(rewrite)),
            CancelOutcome::Untouched => None,
        };
        Ok(Cancelled { change, leases, stops })
    }
}

/// Whether something cannot be done just now.
pub(super) fn would_wait(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}

impl Met {
    fn nothing(latest: f64) -> Met {
        let held = Held { by_own_date: false, by_settings: false };
        Met { dates: Dates::new(latest), held, expired: 0, all_ripe: true }
    }

    fn meet(&mut self, settings: &LeaseSettings, header: &Header, lease: Lease, now: f64) {
        let expired = settings.expires(header, lease, now);
        self.held.by_own_date |= lease.is_valid(now);
        self.held.by_settings |= !expired;
        self.expired += u64::from(expired);
        self.all_ripe &= expired && settings.expiry.expired_a_day_ago(lease, now);
        self.dates.meet(lease);
    }
}
