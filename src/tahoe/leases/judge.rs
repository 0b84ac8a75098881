//! Sexton's own judgement of a share: what Tahoe's lease checker does not notice.
//!
//! At most one finding per share and region, in plain words with the numbers. Never touches the history's counters.

use crate::clock;
use crate::job::Finding;
use crate::shown;
use crate::tahoe::container::{Header, Misfit};
use crate::tahoe::lease::{DAY_SECS, LEASE_SECS, Lease};
use crate::tahoe::number::ShareNumber;
use crate::tahoe::table::TableFault;
use crate::tahoe::words::ShareFinding;

/// Findings about version, magic, lengths and offsets.
pub(super) const HEADER: &str = "container header";

/// Findings about lease records.
pub(super) const LEASES: &str = "leases";

/// Findings about where a share stands.
pub(super) const BUCKET: &str = "bucket";

/// 2006-01-01: before it there was no Tahoe.
const EARLIEST_UNIX: u32 = 1_136_073_600;

/// No lease is granted for longer than 31 days; a day more allows for clocks that differ.
const AHEAD_SECS: u32 = LEASE_SECS + DAY_SECS;

/// What is wrong with one region of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseFlaw {
    pub region: &'static str,
    pub reason: String,
    /// Whether Tahoe takes the share for corrupt because of it.
    pub tahoe_corrupt: bool,
    /// Whether it is none, but why something expired is kept.
    pub only_kept: bool,
}

impl LeaseFlaw {
    /// Something of the leases, which is no fault to Tahoe.
    pub fn of_leases(reason: String) -> LeaseFlaw {
        LeaseFlaw { region: LEASES, reason, tahoe_corrupt: false, only_kept: false }
    }

    /// No flaw, but why leases of a sound share are kept though expired; `region` says where the reason lies.
    pub fn kept(region: &'static str, reason: String) -> LeaseFlaw {
        LeaseFlaw { region, reason, tahoe_corrupt: false, only_kept: true }
    }

    /// The finding about the share of this name.
    pub fn of_share(self, bucket: &[u8], share: &[u8]) -> Finding {
        let LeaseFlaw { region, mut reason, tahoe_corrupt, only_kept } = self;
        let number = ShareNumber::parse(share).and_then(|number| number.value());
        if number.is_none() {
            reason = format!("share {}: {reason}", shown::name(share));
        }
        let (storage_index, region) = (shown::name(bucket), region.to_owned());
        ShareFinding { storage_index, share: number, region, reason, tahoe_corrupt, only_kept, bytes: None }.into()
    }
}

/// Watches the leases of one share.
#[derive(Debug)]
pub(super) struct Dates {
    /// The latest moment that counts as now, in seconds since 1970.
    latest: f64,
    met: u64,
    impossible: u64,
    /// Number (from 1) and date of the first impossible one.
    first: Option<(u64, u32)>,
}

impl Dates {
    pub fn new(latest: f64) -> Dates {
        Dates { latest, met: 0, impossible: 0, first: None }
    }

    /// How many leases were met.
    pub fn met(&self) -> u64 {
        self.met
    }

    pub fn meet(&mut self, lease: Lease) {
        self.met += 1;
        if lease.expires_unix < EARLIEST_UNIX || self.is_ahead(lease.expires_unix) {
            self.impossible += 1;
            self.first.get_or_insert((self.met, lease.expires_unix));
        }
    }

    fn is_ahead(&self, expires_unix: u32) -> bool {
        f64::from(expires_unix) > self.latest + f64::from(AHEAD_SECS)
    }

    fn reason(&self) -> Option<String> {
        let (number, date) = self.first?;
        let (met, now) = (self.met, self.latest);
        let why = if self.is_ahead(date) {
            format!("more than 32 days after now ({})", shown(now))
        } else {
            "before 2006".to_owned()
        };
        let mut reason = format!("lease {number} of {met} expires at {}, {why}", shown(f64::from(date)));
        if self.impossible > 1 {
            let others = self.impossible - 1;
            reason.push_str(&format!("; {others} more cannot have the dates they have"));
        }
        Some(reason)
    }
}

/// Judges a share whose header could be read; `leases` is how the reading of its leases ended.
pub(super) fn judge(
    header: &Header,
    size: u64,
    leases: &Result<Option<u32>, TableFault>,
    dates: &Dates,
) -> Vec<LeaseFlaw> {
    let mut flaws = Vec::new();
    if let Some(misfit) = misfit(header, size, leases) {
        let region = if matches!(misfit, Misfit::LeasesBeyondFile { .. }) { LEASES } else { HEADER };
        flaws.push(LeaseFlaw { region, reason: misfit.to_string(), tahoe_corrupt: false, only_kept: false });
    }
    let leases_flaw = match leases {
        Ok(_) => dates.reason().map(|reason| (reason, false)),
        Err(TableFault::Corrupt(reason)) => Some((reason.clone(), true)),
        Err(TableFault::Stops(reason)) => Some((reason.clone(), false)),
        Err(TableFault::TooMany(leases)) => Some((
            format!("it counts {leases} leases, more than anybody grants: they are left unread, and it is kept"),
            false,
        )),
        Err(TableFault::Unreadable(_)) => None,
    };
    if let Some((reason, tahoe_corrupt)) = leases_flaw
        && flaws.iter().all(|flaw| flaw.region != LEASES)
    {
        flaws.push(LeaseFlaw { region: LEASES, reason, tahoe_corrupt, only_kept: false });
    }
    flaws
}

fn misfit(header: &Header, size: u64, leases: &Result<Option<u32>, TableFault>) -> Option<Misfit> {
    match (header, leases) {
        (Header::Immutable(header), _) => header.misfit(size),
        (Header::Mutable(header), Ok(Some(extra))) => header.misfit().or_else(|| header.misfit_at_end(*extra, size)),
        (Header::Mutable(header), _) => header.misfit(),
    }
}

/// A moment as people read it, or the number where it is none.
fn shown(unix_secs: f64) -> String {
    clock::rfc3339(unix_secs).unwrap_or_else(|| unix_secs.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::container::{Immutable, Mutable};

    const NOW: f64 = 1_700_000_000.0;

    fn dates(expirations: &[u32]) -> Dates {
        let mut dates = Dates::new(NOW);
        expirations.iter().for_each(|e| dates.meet(Lease { owner: 0, expires_unix: *e }));
        dates
    }

    #[test]
    fn dates_are_possible_from_2006_to_32_days_ahead() {
        let possible = [1_136_073_600, 1_500_000_000, 1_700_000_000 + 32 * 86_400];
        assert_eq!(dates(&possible).reason(), None);
        let reason = dates(&[1_500_000_000, 1_702_764_801, 0]).reason().unwrap();
        assert!(reason.starts_with(
            "lease 2 of 3 expires at 2023-12-16T22:13:21Z, more than 32 days after now (2023-11-14T22:13:20Z); 1 more"
        ));
        let reason = dates(&[1_136_073_599]).reason().unwrap();
        assert_eq!(reason, "lease 1 of 1 expires at 2005-12-31T23:59:59Z, before 2006");
    }

    #[test]
    fn a_region_has_one_flaw_at_most() {
        let header = Header::Immutable(Immutable { version: 1, data_length: 0, leases: 1 });
        let stops = Err(TableFault::Stops("no such offset".into()));
        let flaws = judge(&header, 50, &stops, &dates(&[]));
        assert_eq!(flaws.iter().map(|f| f.region).collect::<Vec<_>>(), [LEASES]);
        // Leases read out of the data: the header does not fit, and neither do the dates.
        let header = Header::Immutable(Immutable { version: 1, data_length: 400, leases: 2 });
        let flaws = judge(&header, 500, &Ok(None), &dates(&[0, 1]));
        assert_eq!(flaws.iter().map(|f| f.region).collect::<Vec<_>>(), [HEADER, LEASES]);
        assert!(flaws.iter().all(|f| !f.tahoe_corrupt));
    }

    #[test]
    fn leases_cut_off_are_corrupt_to_tahoe_too() {
        let header = Header::Mutable(Mutable { version: 1, data_length: 300, extra_leases_at: 700 });
        let flaws = judge(&header, 800, &Err(TableFault::Corrupt("cut off".into())), &dates(&[0]));
        let brief: Vec<_> = flaws.iter().map(|f| (f.region, f.tahoe_corrupt)).collect();
        assert_eq!(brief, [(HEADER, false), (LEASES, true)]);
        assert_eq!(flaws[1].reason, "cut off");
    }
}
