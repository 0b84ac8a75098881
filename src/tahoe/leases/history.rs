//! The history entry: exactly what Tahoe's own lease checker would have written for the cycle.

use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::tally::{LeaseTally, SpaceTally, Split};
use super::{ExpiryMode, LeaseSettings};
use crate::job::{CycleView, Finding};
use crate::tahoe::lease::DAY_SECS;
use crate::tahoe::words;

/// What people are shown of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HistoryFigures {
    #[serde(rename = "space-recovered")]
    pub examined: ExaminedSpace,
    /// Seconds of age from which and to which, and how many leases.
    pub lease_age_histogram: Vec<(f64, f64, u64)>,
}

#[derive(Debug, Default, Deserialize)]
pub struct ExaminedSpace {
    #[serde(rename = "examined-buckets")]
    pub buckets: u64,
    #[serde(rename = "examined-shares")]
    pub shares: u64,
    #[serde(rename = "examined-diskbytes")]
    pub disk_bytes: u64,
}

impl HistoryFigures {
    /// Reads them from [`CycleReport::own`](crate::model::CycleReport); `None` for another job's report.
    pub fn of(own: &Map<String, Value>) -> Option<HistoryFigures> {
        HistoryFigures::deserialize(own.get("history")?).ok()
    }
}

/// Makes the entry of a cycle.
pub(super) fn entry(settings: &LeaseSettings, manner: ExpiryMode, cycle: &CycleView<'_, LeaseTally>) -> Value {
    // Moved in, one by one: `json!` copies what it is given, and there may be 50,000 ages.
    let entries = [
        ("cycle-start-finish-times", times(cycle)),
        ("expiration-enabled", json!(manner == ExpiryMode::Deletes)),
        ("configured-expiration-mode", settings.expiry.mode(&settings.sharetypes.0)),
        ("lease-age-histogram", ages(cycle.tally)),
        ("leases-per-share-histogram", leases_per_share(cycle.tally)),
        ("corrupt-shares", corrupt_shares(cycle.findings)),
        ("space-recovered", space_recovered(cycle.tally)),
    ];
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Start and finish. Where the clock stands still, both are the moment at which it does.
fn times(cycle: &CycleView<'_, LeaseTally>) -> Value {
    if cycle.fixed_clock {
        let now = whole_if_possible(cycle.now);
        return json!([now, now]);
    }
    json!([cycle.started, cycle.finished])
}

fn whole_if_possible(secs: f64) -> Value {
    // Below 2^53 every whole number is exact.
    if secs.fract() == 0.0 && secs.abs() < 9e15 { json!(secs as i64) } else { json!(secs) }
}

/// Each day that has leases: from, to (in seconds), how many.
fn ages(tally: &LeaseTally) -> Value {
    let step = i64::from(DAY_SECS);
    let row = |(day, leases): (&i64, &u64)| {
        let from = day.saturating_mul(step);
        Value::Array(vec![json!(from), json!(from.saturating_add(step)), json!(leases)])
    };
    tally.ages.iter().map(row).collect()
}

fn leases_per_share(tally: &LeaseTally) -> Value {
    let row = |(leases, shares): (&u64, &u64)| (leases.to_string(), json!(shares));
    Value::Object(tally.leases_per_share.iter().map(row).collect())
}

/// Each corrupt share's storage index and number, in the order met. `null` is a number that does not fit in 64 bits.
fn corrupt_shares(findings: &[Finding]) -> Value {
    let corrupt = findings.iter().filter(|finding| words::is_tahoe_corrupt(finding));
    corrupt.map(|finding| json!([finding.bucket, words::share_number(finding.object.as_deref())])).collect()
}

/// 48 numbers, and one more where a corrupt share ended a bucket.
fn space_recovered(tally: &LeaseTally) -> Value {
    let mut out = Map::new();
    for (group, space) in [
        ("actual", &tally.actual),
        ("original", &tally.original),
        ("configured", &tally.configured),
        ("examined", &tally.examined),
    ] {
        let SpaceTally { buckets, shares, sharebytes, diskbytes } = space;
        for (what, split) in
            [("buckets", buckets), ("shares", shares), ("sharebytes", sharebytes), ("diskbytes", diskbytes)]
        {
            let Split { all, mutable, immutable } = *split;
            for (end, n) in [("", all), ("-mutable", mutable), ("-immutable", immutable)] {
                out.insert(format!("{group}-{what}{end}"), Value::Number(Number::from(n)));
            }
        }
    }
    if tally.unknown_buckets > 0 {
        out.insert("examined-buckets-unknown".to_owned(), json!(tally.unknown_buckets));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Counts;

    fn view<'a>(now: f64, fixed_clock: bool, (tally, counts): &'a (LeaseTally, Counts)) -> CycleView<'a, LeaseTally> {
        CycleView { now, fixed_clock, started: 10.0, finished: 12.5, tally, counts, prefixes: &[], findings: &[] }
    }

    #[test]
    fn times_are_whole_only_where_the_clock_stands_still() {
        let tally = <(LeaseTally, Counts)>::default();
        assert_eq!(times(&view(1.7e9, true, &tally)).to_string(), "[1700000000,1700000000]");
        assert_eq!(times(&view(1.5, true, &tally)).to_string(), "[1.5,1.5]");
        assert_eq!(times(&view(1.7e9, false, &tally)).to_string(), "[10.0,12.5]");
    }

    #[test]
    fn an_empty_store_has_48_zeros() {
        let entry = entry(&LeaseSettings::default(), ExpiryMode::Looks, &view(0.0, true, &Default::default()));
        let space = entry["space-recovered"].as_object().unwrap();
        assert_eq!(space.len(), 48);
        assert!(space.values().all(|n| n == 0));
        assert_eq!(entry["configured-expiration-mode"], json!(["age", null, null, ["mutable", "immutable"]]));
    }

    #[test]
    fn ages_that_no_lease_has_do_not_overflow() {
        let mut tally = LeaseTally::default();
        tally.add_ages([(i64::MAX, 1), (i64::MIN, 1)].into());
        assert_eq!(ages(&tally).as_array().map(Vec::len), Some(2));
    }
}
