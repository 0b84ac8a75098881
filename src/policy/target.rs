//! Targets: whether every prefix is visited again within the time that was set, at the pace of the running cycle.

use std::time::Duration;

/// What becomes of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// It will be kept.
    Kept,
    /// It may be kept or missed.
    Close,
    /// It will be missed: more budget, or a shorter time between cycles, is needed.
    Missed,
}

/// How long it is from one visit of a prefix to the next: a whole cycle and what lies between two. A range, as the time
/// of a cycle is one.
///
/// It is the same for each prefix as long as they are visited in one order, and `oldest_first` keeps to the order of the
/// last cycle.
pub fn between_visits(cycle: (Duration, Duration), between_cycles: Duration) -> (Duration, Duration) {
    (cycle.0.saturating_add(between_cycles), cycle.1.saturating_add(between_cycles))
}

/// Says whether the target will be kept.
pub fn outlook(target: Duration, between_visits: (Duration, Duration)) -> Outlook {
    match between_visits {
        (_, most) if most <= target => Outlook::Kept,
        (least, _) if least > target => Outlook::Missed,
        _ => Outlook::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_target_is_kept_missed_or_close() {
        let at = |least: u32, most: u32, between: u32| {
            outlook(30 * DAY, between_visits((least * DAY, most * DAY), between * DAY))
        };
        assert_eq!(at(10, 23, 7), Outlook::Kept, "to the day");
        assert_eq!(at(10, 24, 7), Outlook::Close);
        assert_eq!(at(23, 40, 7), Outlook::Close);
        assert_eq!(at(24, 40, 7), Outlook::Missed);
        assert_eq!(between_visits((DAY, Duration::MAX), DAY), (2 * DAY, Duration::MAX));
    }
}
