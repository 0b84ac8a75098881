//! When a lease counts as expired, and which shares that is asked of.
//!
//! Pure: a lease and a moment in, a yes or no out.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::Error;
use crate::tahoe::container::ShareType;
use crate::tahoe::lease::{DAY_SECS, Lease};

/// The rule by which leases expire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expiry {
    /// No rule was configured.
    #[default]
    None,
    /// Tahoe's mode `age` without a duration, as coded: the age in seconds is compared with the expiration date in
    /// seconds since 1970, so that only a lease with a tiny date ever expires. For comparing with Tahoe only.
    AgeAsCoded,
    /// A lease expires this long after it was granted or renewed, whatever its own date says.
    Age {
        /// The duration, in seconds.
        secs: u64,
    },
    /// A lease expires if it was granted or renewed before this moment.
    Cutoff {
        /// The moment, in seconds since 1970.
        unix: i64,
    },
}

impl Expiry {
    /// Whether the rule lets a lease expire by the moment `now`, in seconds since 1970.
    ///
    /// [`Expiry::None`] gives what [`Expiry::AgeAsCoded`] gives: that is what Tahoe evaluates if nothing is configured.
    pub fn expires(self, lease: Lease, now: f64) -> bool {
        match self {
            Expiry::None | Expiry::AgeAsCoded => lease.age_secs(now) > f64::from(lease.expires_unix),
            // Ages are far below 2^53, so a duration above that is not exceeded by rounding either.
            Expiry::Age { secs } => lease.age_secs(now) > secs as f64,
            Expiry::Cutoff { unix } => lease.granted_unix() < unix,
        }
    }

    /// Whether a lease has been expired by the rule for a day at least, at the moment `now`, in seconds since 1970. By a
    /// cutoff leases expire at the cutoff, whenever they were granted.
    pub fn expired_a_day_ago(self, lease: Lease, now: f64) -> bool {
        let a_day_ago = now - f64::from(DAY_SECS);
        // Moments that matter are far below 2^53.
        let since_cutoff = !matches!(self, Expiry::Cutoff { unix } if unix as f64 > a_day_ago);
        since_cutoff && self.expires(lease, a_day_ago)
    }

    /// Tahoe's `configured-expiration-mode`: mode, duration, moment, types.
    pub fn mode(self, sharetypes: &[ShareType]) -> Value {
        let types: Vec<&str> = sharetypes.iter().map(|t| t.as_str()).collect();
        match self {
            Expiry::None | Expiry::AgeAsCoded => json!(["age", null, null, types]),
            Expiry::Age { secs } => json!(["age", secs, null, types]),
            Expiry::Cutoff { unix } => json!(["cutoff-date", null, unix, types]),
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expiry::None => f.write_str("none"),
            Expiry::AgeAsCoded => f.write_str("age"),
            Expiry::Age { secs } => write!(f, "age:{secs}"),
            Expiry::Cutoff { unix } => write!(f, "cutoff:{unix}"),
        }
    }
}

impl FromStr for Expiry {
    type Err = Error;

    /// Reads `none`, `age:SECONDS` or `cutoff:UNIXTIME`; and `age`, which the settings allow only for comparing with
    /// Tahoe.
    ///
    /// # Errors
    /// [`Error::Config`] with what it must be.
    fn from_str(text: &str) -> Result<Expiry, Error> {
        let wrong = |why: &str| Error::Config(format!("expiry \"{text}\" {why}"));
        match text.split_once(':') {
            None if text == "none" => Ok(Expiry::None),
            None if text == "age" => Ok(Expiry::AgeAsCoded),
            None if text == "cutoff" => Err(wrong("needs a moment: give cutoff:UNIXTIME, in seconds since 1970")),
            Some(("age", secs)) => secs.parse().map(|secs| Expiry::Age { secs }).map_err(|_| {
                wrong("has no whole number of seconds after age: give age:SECONDS, for 31 days age:2678400")
            }),
            Some(("cutoff", unix)) => unix
                .parse()
                .map(|unix| Expiry::Cutoff { unix })
                .map_err(|_| wrong("has no moment in whole seconds since 1970 after cutoff: give cutoff:UNIXTIME")),
            _ => Err(wrong("is none of none, age:SECONDS, cutoff:UNIXTIME")),
        }
    }
}

/// The types of shares that expire, in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareTypes(pub Vec<ShareType>);

impl Default for ShareTypes {
    /// Both, in Tahoe's order: mutable, immutable.
    fn default() -> ShareTypes {
        ShareTypes(ShareType::ALL.to_vec())
    }
}

impl FromStr for ShareTypes {
    type Err = Error;

    /// Reads `mutable`, `immutable`, or both with a comma between them.
    ///
    /// # Errors
    /// [`Error::Config`] with what it must be.
    fn from_str(text: &str) -> Result<ShareTypes, Error> {
        let mut types = Vec::new();
        for word in text.split(',') {
            let share_type = match word.trim() {
                "mutable" => ShareType::Mutable,
                "immutable" => ShareType::Immutable,
                _ => return Err(Error::Config(format!("share types \"{text}\": give mutable, immutable or both"))),
            };
            if types.contains(&share_type) {
                return Err(Error::Config(format!("share types \"{text}\" name {share_type} twice")));
            }
            types.push(share_type);
        }
        Ok(ShareTypes(types))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease(expires_unix: u32) -> Lease {
        Lease { owner: 0, expires_unix }
    }

    #[test]
    fn rules_differ_at_their_very_second() {
        let now = 1_700_000_000.0;
        let aged = |secs: u32| lease(1_700_000_000 - secs + 2_678_400);
        assert!(!Expiry::Age { secs: 100 }.expires(aged(100), now));
        assert!(Expiry::Age { secs: 100 }.expires(aged(101), now));
        assert!(Expiry::Age { secs: 100 }.expires(aged(100), now + 0.5));
        assert!(!Expiry::Cutoff { unix: 1_699_999_900 }.expires(aged(100), now));
        assert!(Expiry::Cutoff { unix: 1_699_999_901 }.expires(aged(100), now));
        assert!(!Expiry::Age { secs: u64::MAX }.expires(lease(0), now));
        assert!(Expiry::Cutoff { unix: i64::MAX }.expires(lease(u32::MAX), now));
        assert!(!Expiry::Cutoff { unix: i64::MIN }.expires(lease(0), now));
    }

    #[test]
    fn without_a_rule_only_leases_with_tiny_dates_expire() {
        let now = 1_700_000_000.0;
        assert!(!Expiry::None.expires(lease(1_665_000_000), now), "more than a year old");
        assert!(Expiry::None.expires(lease(0), now));
        // age > date where now - date + 31 days > date.
        assert!(Expiry::None.expires(lease(851_339_199), now));
        assert!(!Expiry::None.expires(lease(851_339_200), now));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_to_give() {
        assert_eq!("age".parse::<Expiry>().unwrap(), Expiry::AgeAsCoded);
        for text in
            ["", "age:", "age:-1", "age:1d", "age:18446744073709551616", "cutoff", "cutoff:", "cutoff:1.5", "no"]
        {
            assert!(matches!(text.parse::<Expiry>(), Err(Error::Config(_))), "{text}");
        }
    }

    #[test]
    fn a_day_has_to_pass_after_the_expiry() {
        let now = 1_700_000_000.0;
        let aged = |secs: u32| lease(1_700_000_000 - secs + 2_678_400);
        let rule = Expiry::Age { secs: 1000 };
        assert!(!rule.expired_a_day_ago(aged(1000 + 86_400), now));
        assert!(rule.expired_a_day_ago(aged(1001 + 86_400), now));
        let cutoff = |unix| Expiry::Cutoff { unix };
        assert!(cutoff(1_700_000_000 - 86_400).expired_a_day_ago(aged(90_000), now));
        assert!(!cutoff(1_700_000_000 - 86_399).expired_a_day_ago(aged(90_000), now));
        assert!(!cutoff(1_700_000_000 - 86_400).expired_a_day_ago(aged(86_400), now));
    }

    #[test]
    fn share_types_keep_their_order_and_stand_once() {
        assert_eq!("mutable,immutable".parse::<ShareTypes>().unwrap(), ShareTypes::default());
        let types = "immutable, mutable".parse::<ShareTypes>().unwrap();
        assert_eq!(types.0, [ShareType::Immutable, ShareType::Mutable]);
        for text in ["", "mutable,", "mutable,mutable", "both"] {
            assert!(text.parse::<ShareTypes>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(secs in any::<u64>(), unix in any::<i64>()) {
            for expiry in [Expiry::None, Expiry::AgeAsCoded, Expiry::Age { secs }, Expiry::Cutoff { unix }] {
                prop_assert_eq!(expiry.to_string().parse::<Expiry>().unwrap(), expiry);
            }
        }

        #[test]
        fn rules_are_whole_number_arithmetic(expires in any::<u32>(), now in any::<u32>(), secs in 0u64..1 << 40) {
            let age = i64::from(now) - (i64::from(expires) - 2_678_400);
            let at = f64::from(now);
            prop_assert_eq!(Expiry::Age { secs }.expires(lease(expires), at), age > secs as i64);
            prop_assert_eq!(Expiry::None.expires(lease(expires), at), age > i64::from(expires));
        }
    }
}
