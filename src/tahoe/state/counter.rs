//! `bucket_counter.state.json`: how many names each prefix has.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::Position;
use super::position::PositionKeys;
use crate::policy::ring::Ring;

/// The state of the bucket counter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counter {
    /// Where it stands. It never stops inside a prefix, so the last bucket means nothing.
    pub position: Position,
    /// The counts that are kept: by cycle, and by the prefix's position in the ring.
    pub counts: BTreeMap<u64, BTreeMap<u32, u64>>,
    /// Sum of the last cycle that was counted as a whole.
    pub last_count: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct CounterStateFile {
    #[serde(flatten)]
    keys: PositionKeys,
    #[serde(rename = "bucket-counts", default)]
    counts: CountedCycles,
    #[serde(rename = "last-complete-bucket-count", default)]
    last_count: Option<u64>,
    /// Names of the first prefix, which nobody reads.
    #[serde(rename = "storage-index-samples", default)]
    samples: Map<String, Value>,
}

impl Counter {
    /// Reads the file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &[u8], ring: &Ring) -> Result<Counter, String> {
        let file: CounterStateFile = super::parse(text)?;
        let mut known: BTreeMap<u64, BTreeMap<u32, u64>> = BTreeMap::new();
        for (cycle, prefixes) in file.counts.0 {
            let of_cycle = known.entry(cycle).or_default();
            for (prefix, names) in prefixes {
                let at = ring.position(&prefix).ok_or_else(|| format!("{prefix:?} in bucket-counts is no prefix"))?;
                of_cycle.insert(at, names);
            }
        }
        Ok(Counter { position: file.keys.meaning(ring)?, counts: known, last_count: file.last_count })
    }

    /// Writes the file.
    pub fn write(&self, ring: &Ring) -> Value {
        let named = |(at, names): (&u32, &u64)| Some((ring.name(*at)?.to_owned(), *names));
        let of_cycle =
            |(cycle, counts): (&u64, &BTreeMap<u32, u64>)| (*cycle, counts.iter().filter_map(named).collect());
        let counts = CountedCycles(self.counts.iter().map(of_cycle).collect());
        let keys = PositionKeys::of(&self.position, ring);
        // Text, numbers and maps of text: this always serializes.
        serde_json::to_value(CounterStateFile { keys, counts, last_count: self.last_count, samples: Map::new() })
            .unwrap_or_default()
    }
}

/// Counts by cycle and prefix; a cycle that comes twice is one.
#[derive(Debug, Default, Serialize)]
struct CountedCycles(BTreeMap<u64, BTreeMap<String, u64>>);

impl<'de> Deserialize<'de> for CountedCycles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CountedCycles, D::Error> {
        struct Merging;

        impl<'de> Visitor<'de> for Merging {
            type Value = CountedCycles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("counts by cycle and prefix")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CountedCycles, A::Error> {
                let mut cycles = CountedCycles::default();
                while let Some((cycle, counts)) = map.next_entry::<String, BTreeMap<String, u64>>()? {
                    let number = cycle.parse().map_err(|_| {
                        serde::de::Error::custom(format!("{cycle:?} in bucket-counts is no number of a cycle"))
                    })?;
                    cycles.0.entry(number).or_default().extend(counts);
                }
                Ok(cycles)
            }
        }

        deserializer.deserialize_map(Merging)
    }
}
