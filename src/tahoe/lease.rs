//! Lease records, and the arithmetic of their ages.
//!
//! A record names when the lease expires, not when it was granted; Tahoe computes the latter on the assumption that
//! every lease is granted for 31 days.

use super::be32;

/// How long a lease is granted for: 31 days, in seconds.
pub const LEASE_SECS: u32 = 31 * DAY_SECS;

/// A day, in seconds: the step of Tahoe's histogram of ages.
pub const DAY_SECS: u32 = 86_400;

/// Bytes of a record in an immutable container.
pub const IMMUTABLE_RECORD_LEN: u64 = 72;

/// Bytes of a record in a mutable container.
pub const MUTABLE_RECORD_LEN: u64 = 92;

/// What a lease record says, its secrets left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The owner's number: 0 or 1 in immutable containers; 0 marks an empty slot in mutable ones.
    pub owner: u32,
    /// When it expires, in seconds since 1970.
    pub expires_unix: u32,
}

impl Lease {
    /// Reads a record of an immutable container: owner, two secrets, expiration. `None` if it is cut off.
    pub fn from_immutable(record: &[u8]) -> Option<Lease> {
        Some(Lease { owner: be32(record, 0)?, expires_unix: be32(record, 68)? })
    }

    /// Reads a slot of a mutable container: owner, expiration, two secrets, node id. `None` if it is cut off.
    pub fn from_mutable(record: &[u8]) -> Option<Lease> {
        let whole = record.get(..MUTABLE_RECORD_LEN as usize)?;
        Some(Lease { owner: be32(whole, 0)?, expires_unix: be32(whole, 4)? })
    }

    /// When it was granted or renewed, as Tahoe computes it, in seconds since 1970. May lie before 1970.
    pub fn granted_unix(self) -> i64 {
        i64::from(self.expires_unix) - i64::from(LEASE_SECS)
    }

    /// Its age at the moment `now` (seconds since 1970), in seconds; negative if it was granted later than that.
    pub fn age_secs(self, now: f64) -> f64 {
        // Exact: the whole numbers here are far below 2^53.
        now - self.granted_unix() as f64
    }

    /// The day of its age, rounded towards zero as Tahoe does: half a day before day 0 is day 0 too.
    pub fn age_days(self, now: f64) -> i64 {
        (self.age_secs(now) / f64::from(DAY_SECS)) as i64
    }

    /// Whether it is valid by its own time at the moment `now` (seconds since 1970).
    pub fn is_valid(self, now: f64) -> bool {
        f64::from(self.expires_unix) > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expiring(expires_unix: u32) -> Lease {
        Lease { owner: 0, expires_unix }
    }

    #[test]
    fn records_are_read_where_each_container_has_its_fields() {
        let mut immutable = vec![7u8; 72];
        immutable[..4].copy_from_slice(&[0, 0, 0, 1]);
        immutable[68..].copy_from_slice(&1_700_000_000u32.to_be_bytes());
        assert_eq!(Lease::from_immutable(&immutable), Some(Lease { owner: 1, expires_unix: 1_700_000_000 }));
        assert_eq!(Lease::from_immutable(&immutable[..71]), None);
        let mut mutable = vec![7u8; 92];
        mutable[..4].copy_from_slice(&[0, 0, 0, 1]);
        mutable[4..8].copy_from_slice(&1_700_000_000u32.to_be_bytes());
        assert_eq!(Lease::from_mutable(&mutable), Some(Lease { owner: 1, expires_unix: 1_700_000_000 }));
        assert_eq!(Lease::from_mutable(&mutable[..91]), None);
    }

    #[test]
    fn age_is_rounded_towards_zero() {
        let now = 1_700_000_000.0;
        let fresh = expiring(1_700_000_000 + LEASE_SECS);
        assert_eq!(fresh.age_days(now), 0);
        assert_eq!(fresh.age_days(now + 86_399.9), 0);
        assert_eq!(fresh.age_days(now + 86_400.0), 1);
        assert_eq!(fresh.age_days(now - 86_399.9), 0);
        assert_eq!(fresh.age_days(now - 86_400.0), -1);
        assert_eq!(expiring(0).granted_unix(), -2_678_400);
        assert!(!expiring(1_700_000_000).is_valid(now));
        assert!(expiring(1_700_000_001).is_valid(now));
    }

    proptest! {
        #[test]
        fn days_agree_with_whole_number_arithmetic(expires in any::<u32>(), now in 0u32..) {
            let age = i64::from(now) - (i64::from(expires) - 2_678_400);
            prop_assert_eq!(expiring(expires).age_days(f64::from(now)), age / 86_400);
            prop_assert_eq!(expiring(expires).is_valid(f64::from(now)), expires > now);
        }

        #[test]
        fn no_moment_panics(expires in any::<u32>(), now in any::<f64>()) {
            expiring(expires).age_days(now);
        }
    }
}
