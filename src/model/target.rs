//! How a crawl stands to its target: whether every prefix is visited again within the time that was set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Range;
use crate::policy::target::{between_visits, will_be_met};
use crate::shown::{duration, range};

/// Whether every prefix is visited again within the time that was set.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// All of it in one sentence.
    pub text: String,
    /// The time that was set.
    pub within_secs: f64,
    /// Age of the oldest visit of a prefix; null while one is not known.
    pub oldest_secs: Option<f64>,
    /// From one visit to the next at the pace of the running cycle; in the daemon, until that is known, at the pace of the last
    /// complete one. Null while it cannot be told.
    pub expected_secs: Option<Range>,
    /// Whether it will be met at that pace; null while that is not known, or too close to be told.
    pub met: Option<bool>,
}

impl TargetStatus {
    /// By how long a cycle takes, in seconds, and what lies between two.
    pub(crate) fn new(
        within: Duration,
        between_cycles: Duration,
        cycle_secs: Option<Range>,
        oldest_secs: Option<f64>,
    ) -> TargetStatus {
        let (within_secs, between_cycles) = (within.as_secs_f64(), between_cycles.as_secs_f64());
        let visits = cycle_secs.map(|cycle| between_visits((cycle.least, cycle.most), between_cycles));
        let met = visits.and_then(|visits| will_be_met(within_secs, visits));
        TargetStatus {
            text: text(within_secs, visits, met, between_cycles),
            within_secs,
            oldest_secs,
            expected_secs: visits.map(|(least, most)| Range { least, most }),
            met,
        }
    }
}

/// One sentence for people.
fn text(within: f64, expected: Option<(f64, f64)>, met: Option<bool>, between_cycles: f64) -> String {
    let set = format!("every bucket is to be visited again within {}", duration(within));
    let Some((least, most)) = expected else { return format!("{set}: too little was done to tell whether it will") };
    let pace = format!("it takes {}", range(least, most));
    match met {
        Some(true) => format!("{set}: at this pace {pace}, so the target will be met"),
        Some(false) => {
            // No budget helps where a cycle is not to begin in time.
            let needed = if between_cycles >= within {
                "a shorter minimum_cycle_time is needed"
            } else {
                "more budget is needed"
            };
            format!("{set}: at this pace {pace}, so the target will be MISSED: {needed}")
        }
        None => format!("{set}: at this pace {pace}, so the target may be met or missed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_will_become_of_the_target() {
        let day = 86_400.0;
        let said = |least: f64, most: f64| {
            let expected = (least * day, most * day + 3661.0);
            text(30.0 * day, Some(expected), will_be_met(30.0 * day, expected), 7.0 * day)
        };
        let set = "every bucket is to be visited again within 30 d";
        assert_eq!(
            said(10.0, 12.0),
            format!("{set}: at this pace it takes 10 d to 12 d 2 h, so the target will be met")
        );
        assert!(said(10.0, 30.0).ends_with("so the target may be met or missed"), "{}", said(10.0, 30.0));
        assert!(
            said(31.0, 40.0).ends_with("so the target will be MISSED: more budget is needed"),
            "{}",
            said(31.0, 40.0)
        );
        let too_rare = text(day, Some((2.0 * day, 3.0 * day)), Some(false), day);
        assert!(too_rare.ends_with("will be MISSED: a shorter minimum_cycle_time is needed"), "{too_rare}");
        assert_eq!(text(30.0 * day, None, None, 0.0), format!("{set}: too little was done to tell whether it will"));
    }
}
