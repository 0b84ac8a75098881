//! What the lease checker counts in a cycle: the object under `cycle-to-date`, and the main part of a history entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::tahoe::container::ShareType;
use crate::tahoe::lease::DAY_SECS;

/// The figures of a cycle, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Whether expired leases were cancelled.
    pub expiration_enabled: bool,
    /// The rule by which leases expired.
    pub mode: ExpireMode,
    /// The types of shares that may expire, in the order of the file.
    pub sharetypes: Vec<ShareType>,
    /// Leases by the day of their age.
    pub ages: BTreeMap<i64, u64>,
    /// Shares by their number of leases.
    pub leases_per_share: BTreeMap<u64, u64>,
    /// Storage index and share number of what was corrupt, in the order met; `None` where the number has no room in 64
    /// bits.
    pub corrupt_shares: Vec<(String, Option<i64>)>,
    /// What `space-recovered` says.
    pub space: SpaceRecovered,
}

/// Tahoe's `expire.mode`, with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireMode {
    /// `age`; without a duration it never expires anything, as coded.
    Age {
        /// `override_lease_duration`, in seconds.
        secs: Option<u64>,
    },
    /// `cutoff-date`.
    Cutoff {
        /// The moment, in seconds since 1970.
        unix: i64,
    },
}

/// The numbers of `space-recovered`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceRecovered {
    /// By [`GROUPS`], [`UNITS`] and [`ENDS`].
    pub groups: [[[u64; 3]; 4]; 4],
    /// Buckets whose last share is corrupt; the file has the key only where there was one.
    pub unknown_buckets: u64,
}

/// What is counted of each: freed, and what would have been by the leases' own dates, by the settings, and all there is.
pub const GROUPS: [&str; 4] = ["actual", "original", "configured", "examined"];
/// In what it is counted.
pub const UNITS: [&str; 4] = ["buckets", "shares", "sharebytes", "diskbytes"];
/// Over what: everything, and what is known to be mutable or immutable.
pub const ENDS: [&str; 3] = ["", "-mutable", "-immutable"];
/// The one key that is not always there.
const UNKNOWN: &str = "examined-buckets-unknown";

/// The object as it stands in the file. What lies beside these keys is left to whoever reads them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FigureKeys {
    expiration_enabled: bool,
    configured_expiration_mode: (String, Option<u64>, Option<i64>, Vec<String>),
    lease_age_histogram: LeaseHistogram,
    leases_per_share_histogram: BTreeMap<u64, u64>,
    corrupt_shares: Vec<(String, Value)>,
    space_recovered: BTreeMap<String, u64>,
}

impl Figures {
    /// Reads them from the object that has them among its keys.
    ///
    /// # Errors
    /// Says which key is wrong or missing.
    pub fn read(object: &Value) -> Result<Figures, String> {
        let keys = FigureKeys::deserialize(object).map_err(|e| e.to_string())?;
        let (mode, secs, unix, types) = keys.configured_expiration_mode;
        let mode = match (mode.as_str(), secs, unix) {
            ("age", secs, None) => ExpireMode::Age { secs },
            ("cutoff-date", None, Some(unix)) => ExpireMode::Cutoff { unix },
            _ => return Err(format!("configured-expiration-mode {mode:?} is none of Tahoe's")),
        };
        let known = |word: &String| ShareType::ALL.into_iter().find(|t| t.as_str() == word);
        let sharetypes: Option<Vec<ShareType>> = types.iter().map(known).collect();
        let corrupt = |(bucket, share): (String, Value)| match share {
            Value::Number(number) => Ok((bucket, number.as_i64())),
            Value::Null => Ok((bucket, None)),
            other => Err(format!("corrupt-shares has the share {other} of {bucket}")),
        };
        Ok(Figures {
            expiration_enabled: keys.expiration_enabled,
            mode,
            sharetypes: sharetypes.ok_or_else(|| format!("{types:?} are not types of shares"))?,
            ages: keys.lease_age_histogram.0,
            leases_per_share: keys.leases_per_share_histogram,
            corrupt_shares: keys.corrupt_shares.into_iter().map(corrupt).collect::<Result<_, _>>()?,
            space: SpaceRecovered::read(&keys.space_recovered)?,
        })
    }

    /// Writes them, as the object that has no other keys.
    pub fn write(&self) -> Map<String, Value> {
        let (mode, secs, unix) = match self.mode {
            ExpireMode::Age { secs } => ("age", secs, None),
            ExpireMode::Cutoff { unix } => ("cutoff-date", None, Some(unix)),
        };
        let types = self.sharetypes.iter().map(|t| t.as_str().to_owned()).collect();
        let keys = FigureKeys {
            expiration_enabled: self.expiration_enabled,
            configured_expiration_mode: (mode.to_owned(), secs, unix, types),
            lease_age_histogram: LeaseHistogram(self.ages.clone()),
            leases_per_share_histogram: self.leases_per_share.clone(),
            corrupt_shares: self.corrupt_shares.iter().map(|(bucket, n)| (bucket.clone(), json!(n))).collect(),
            space_recovered: self.space.write(),
        };
        match serde_json::to_value(keys) {
            Ok(Value::Object(object)) => object,
            // A plain struct of text, numbers and maps always becomes an object.
            _ => Map::new(),
        }
    }
}

impl SpaceRecovered {
    /// The name of each number, and where it stands.
    fn keys() -> impl Iterator<Item = (String, [usize; 3])> {
        let indices = (0..4).flat_map(|g| (0..4).flat_map(move |u| (0..3).map(move |e| [g, u, e])));
        indices.map(|at @ [g, u, e]| (format!("{}-{}{}", GROUPS[g], UNITS[u], ENDS[e]), at))
    }

    fn read(numbers: &BTreeMap<String, u64>) -> Result<SpaceRecovered, String> {
        let mut space =
            SpaceRecovered { unknown_buckets: numbers.get(UNKNOWN).copied().unwrap_or(0), ..SpaceRecovered::default() };
        let mut left = numbers.len() - usize::from(numbers.contains_key(UNKNOWN));
        for (key, [g, u, e]) in SpaceRecovered::keys() {
            let missing = || format!("space-recovered has no {key}; Tahoe's own status page would fail");
            space.groups[g][u][e] = *numbers.get(&key).ok_or_else(missing)?;
            left -= 1;
        }
        if left > 0 {
            Err(format!("space-recovered has {left} keys that Tahoe 1.20 does not write"))
        } else {
            Ok(space)
        }
    }

    fn write(&self) -> BTreeMap<String, u64> {
        let numbers = SpaceRecovered::keys().map(|(key, [g, u, e])| (key, self.groups[g][u][e]));
        let unknown = (self.unknown_buckets > 0).then(|| (UNKNOWN.to_owned(), self.unknown_buckets));
        numbers.chain(unknown).collect()
    }
}

/// Ages by day. Written as `[[from, to, leases], ..]` in seconds; read in that form, and as the object
/// `{"from,to": leases}` that Tahoe's migration makes of a pickle in mid-cycle. Days that come twice add up.
#[derive(Debug, Default)]
pub(super) struct LeaseHistogram(pub BTreeMap<i64, u64>);

impl Serialize for LeaseHistogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step = i64::from(DAY_SECS);
        let row = |(day, leases): (&i64, &u64)| {
            (day.saturating_mul(step), day.saturating_add(1).saturating_mul(step), *leases)
        };
        serializer.collect_seq(self.0.iter().map(row))
    }
}

impl<'de> Deserialize<'de> for LeaseHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LeaseHistogram, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Rows(Vec<(i64, i64, u64)>),
            Pairs(BTreeMap<String, u64>),
        }

        let wrong = |what: String| serde::de::Error::custom(format!("lease-age-histogram: {what} is no day"));
        let rows = match Form::deserialize(deserializer)? {
            Form::Rows(rows) => rows,
            Form::Pairs(pairs) => {
                let row = |(key, leases): (String, u64)| {
                    let ends = key.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                    let (from, to) = ends.ok_or_else(|| wrong(format!("{key:?}")))?;
                    Ok((from, to, leases))
                };
                pairs.into_iter().map(row).collect::<Result<_, _>>()?
            }
        };
        let mut ages = BTreeMap::new();
        let step = i64::from(DAY_SECS);
        for (from, to, leases) in rows {
            if from % step != 0 || to.checked_sub(from) != Some(step) {
                return Err(wrong(format!("{from} to {to}")));
            }
            let day: &mut u64 = ages.entry(from / step).or_default();
            *day = day.saturating_add(leases);
        }
        Ok(LeaseHistogram(ages))
    }
}
