//! What a user asks of a cleaning run. Frozen in the plan: a run that is resumed must have the same.

use serde::{Deserialize, Serialize};

/// The generation of a local database.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Era {
    /// LBS 0.3 to 0.5.1 (2007): usage of each block by each snapshot.
    A,
    /// LBS 0.6, Cumulus 0.7 to 0.10 (2007 to 2012): usage of each segment by each snapshot, as a ratio.
    B,
    /// Cumulus 0.11 (2012 to 2014): usage of each segment by each snapshot, in bytes.
    C,
}

/// Whether to do exactly what the old program of the era did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuses to destroy, repairs what dangles, treats odd segments one by one. The default.
    #[default]
    Careful,
    /// The rows of the old program, and a refusal wherever it raised an exception.
    Compat,
}

/// Which segments are worth cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Those whose benefit `(1 - u) * (age + age boost) / (u + 0.1)` is above a threshold. Default for eras A and B.
    Benefit {
        /// The threshold, in days; 7 by default. A benefit equal to it is not above it.
        threshold_days: f64,
        /// Days added to every age, to clean more before a backup that is to be kept for long; 0 by default.
        age_boost_days: f64,
        /// For how long the next snapshot is to be kept (1 daily, 7 weekly): era B drops older ones accordingly.
        intent: f64,
    },
    /// Those of which a smaller part than this is in use. Default for era C.
    Utilization {
        /// The least utilization that is left alone; 0.4 by default.
        least: f64,
    },
}

impl Policy {
    /// What the old program of the era does.
    pub fn of_era(era: Era) -> Policy {
        match era {
            Era::A | Era::B => Policy::Benefit { threshold_days: 7.0, age_boost_days: 0.0, intent: 1.0 },
            Era::C => Policy::Utilization { least: 0.4 },
        }
    }

    /// Days added to every age.
    pub fn age_boost_days(&self) -> f64 {
        match *self {
            Policy::Benefit { age_boost_days, .. } => age_boost_days,
            Policy::Utilization { .. } => 0.0,
        }
    }

    /// The intent of the next snapshot; 1 where the policy knows none.
    pub fn intent(&self) -> f64 {
        match *self {
            Policy::Benefit { intent, .. } => intent,
            Policy::Utilization { .. } => 1.0,
        }
    }
}

/// How much one run may mark. Segments are taken from the worst on; one that does not fit is passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most bytes that the next backup has to write again; no limit by default.
    pub max_rewrite_bytes: Option<u64>,
    /// Most segments; no limit by default.
    pub max_segments: Option<u64>,
    /// Least age of a segment, in days; no limit by default. A segment of unknown age has age 0.
    pub min_age_days: Option<f64>,
    /// Most blocks of a segment whose blocks are changed, since that takes one lock; no limit by default. Not for
    /// segments that are deleted: that can be done in parts.
    pub max_segment_blocks: Option<u64>,
}

/// Where the moment that counts as now comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockTrust {
    /// From the clock of the machine: refused where it does not go with the newest snapshot. The default.
    #[default]
    Wall,
    /// From the clock of the machine, which somebody vouches for.
    Accepted,
    /// Given by the user.
    Given,
}

/// Which part of a cleaning run to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPart {
    /// Garbage collection, marking, grouping. The default.
    #[default]
    Whole,
    /// Garbage collection only.
    GarbageCollection,
    /// Marking only: these segments, or what the policy says if none is named. Groups are not touched.
    Marking(Vec<i64>),
    /// Grouping what is expired already.
    Balancing,
}

/// Everything that decides a plan besides the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// What counts as now, as a Julian day (UTC).
    pub now: f64,
    /// Where that comes from.
    pub clock: ClockTrust,
    /// Compatible or careful.
    pub mode: Mode,
    /// Which segments to clean; by default what the old program of the era did.
    pub policy: Option<Policy>,
    /// How much.
    pub limits: Limits,
    /// Which part of the run.
    pub part: RunPart,
}

impl Options {
    /// The defaults, at this moment, given by the user.
    pub fn at(now: f64) -> Options {
        Options {
            now,
            clock: ClockTrust::Given,
            mode: Mode::Careful,
            policy: None,
            limits: Limits::default(),
            part: RunPart::Whole,
        }
    }

    /// The policy for a database of this era.
    pub fn policy_for(&self, era: Era) -> Policy {
        self.policy.unwrap_or_else(|| Policy::of_era(era))
    }

    /// Whether a run with `other` is the same run: all is equal, but that a clock has moved on.
    pub fn same_run(&self, other: &Options) -> bool {
        let clock_moved = self.clock != ClockTrust::Given && other.clock == self.clock;
        let now = if clock_moved { self.now } else { other.now };
        *self == Options { now, ..other.clone() }
    }

    /// Why these options cannot be used, if so.
    pub fn fault(&self) -> Option<String> {
        let finite = |what: &str, x: f64| (!x.is_finite()).then(|| format!("{what} is no finite number"));
        let policy = match self.policy {
            None => None,
            Some(Policy::Benefit { threshold_days, age_boost_days, intent }) => finite("the threshold", threshold_days)
                .or(finite("the age boost", age_boost_days))
                .or(finite("the intent", intent)),
            Some(Policy::Utilization { least }) => finite("the least utilization", least),
        };
        finite("now", self.now).or(policy).or(self.limits.min_age_days.and_then(|x| finite("the minimum age", x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_later_is_the_same_run_unless_now_was_given() {
        let given = Options::at(1.0);
        assert!(given.same_run(&Options::at(1.0)));
        assert!(!given.same_run(&Options::at(2.0)));
        let wall = Options { clock: ClockTrust::Wall, ..Options::at(1.0) };
        assert!(wall.same_run(&Options { now: 2.0, ..wall.clone() }));
        assert!(!wall.same_run(&Options { mode: Mode::Compat, ..wall.clone() }));
        assert!(!wall.same_run(&given));
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        assert_eq!(Options::at(f64::NAN).fault().as_deref(), Some("now is no finite number"));
        let policy = Some(Policy::Utilization { least: f64::INFINITY });
        assert!(Options { policy, ..Options::at(0.0) }.fault().is_some());
        assert_eq!(Options::at(0.0).fault(), None);
    }
}
