//! Which buckets are scrubbed: all of them, or a part that the report names.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::job::{Job, PrefixWalk};
use crate::store::Store;

/// A part of all buckets, drawn anew in each cycle, whatever was drawn before: by name and the moment at which the
/// cycle began, so that a cycle that is resumed draws the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Above 0, at most 100.
    percent: f64,
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Sample, String> {
        let percent = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Sample { percent }),
            _ => Err(format!("{text:?} is no part of the buckets: write it as \"5%\", above 0% and up to 100%")),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

impl Sample {
    /// Whether a bucket is picked in the cycle that began at this moment.
    fn picks(self, name: &[u8], now: f64) -> bool {
        // Names are cryptographic hashes; mixed with the moment each is in a part of its own in each cycle.
        let place = xxh3_64_with_seed(name, now.to_bits()) as f64 / (u64::MAX as f64);
        place * 100.0 < self.percent
    }
}

/// Which buckets are scrubbed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// A sample of them. Default: all.
    pub sample: Option<Sample>,
    /// The buckets of these names only. Default: all.
    pub buckets: BTreeSet<String>,
    /// Only prefixes last verified before this moment, in seconds since 1970. What those are the caller finds out; here
    /// it is part of the report.
    pub since: Option<f64>,
}

impl Selection {
    /// Whether that is everything.
    pub fn is_all(&self) -> bool {
        *self == Selection::default()
    }

    /// Leaves out what is not selected of a prefix. Within a prefix that is visited only in part the state does not
    /// remember it as verified.
    pub(super) fn narrow<S: Store, J: Job<S>>(&self, walk: &mut PrefixWalk<'_, S, J>) {
        if self.sample.is_none() && self.buckets.is_empty() {
            return;
        }
        let (sample, buckets, now) = (self.sample, self.buckets.clone(), walk.now());
        walk.only(move |name| {
            let named = || std::str::from_utf8(name).is_ok_and(|name| buckets.contains(name));
            (buckets.is_empty() || named()) && sample.is_none_or(|sample| sample.picks(name, now))
        });
    }

    /// As the report names it, with this key for names of buckets; `None` for everything.
    pub(crate) fn to_json(&self, buckets_key: &str) -> Option<Value> {
        if self.is_all() {
            return None;
        }
        let mut partial = json!({});
        if let Some(sample) = self.sample {
            partial["sample"] = sample.to_string().into();
        }
        if !self.buckets.is_empty() {
            partial[buckets_key] = self.buckets.iter().cloned().collect();
        }
        if let Some(since) = self.since {
            partial["since"] = since.into();
        }
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_asked_and_another_in_each_cycle() {
        let sample: Sample = "5%".parse().unwrap();
        let picked = |now: f64| (0..20_000u32).filter(|i| sample.picks(&i.to_le_bytes(), now)).collect::<BTreeSet<_>>();
        let (one, other) = (picked(1.7e9), picked(1.7e9 + 0.5));
        assert!((900..1100).contains(&one.len()), "{}", one.len());
        assert_eq!(one, picked(1.7e9));
        assert!(one.intersection(&other).count() < 120, "each bucket has its turn");
        assert!((0..99u32).all(|i| "100%".parse::<Sample>().unwrap().picks(&i.to_le_bytes(), 1.0)));
        for wrong in ["0%", "101%", "5", "-1%", "NaN%", "%", ""] {
            assert!(wrong.parse::<Sample>().is_err(), "{wrong}");
        }
    }
}
