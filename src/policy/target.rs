//! Targets: whether every prefix is visited again within the time that was set, at the pace of the running cycle.

/// Whether a target will be kept.
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

/// How long it is from one visit of a prefix to the next, in seconds: a whole cycle and what lies between two. A range, as
/// the time of a cycle is one.
///
/// It is the same for each prefix as long as they are visited in one order, and `oldest_first` keeps to the order of the
/// last cycle.
pub fn between_visits(cycle: (f64, f64), between_cycles: f64) -> (f64, f64) {
    (cycle.0 + between_cycles, cycle.1 + between_cycles)
}

/// Says whether the target, in seconds, will be kept.
pub fn outlook(target: f64, between_visits: (f64, f64)) -> Outlook {
    match between_visits {
        (_, most) if most <= target => Outlook::Kept,
        (least, _) if least > target => Outlook::Missed,
        _ => Outlook::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    #[test]
    fn a_target_is_kept_missed_or_close() {
        let at = |least: f64, most: f64, between: f64| {
            outlook(30.0 * DAY, between_visits((least * DAY, most * DAY), between * DAY))
        };
        assert_eq!(at(10.0, 23.0, 7.0), Outlook::Kept, "to the day");
        assert_eq!(at(10.0, 24.0, 7.0), Outlook::Close);
        assert_eq!(at(23.0, 40.0, 7.0), Outlook::Close);
        assert_eq!(at(24.0, 40.0, 7.0), Outlook::Missed);
        assert_eq!(between_visits((DAY, f64::INFINITY), DAY), (2.0 * DAY, f64::INFINITY));
    }
}
