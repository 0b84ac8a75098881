//! Which budget holds: a change by hand, or a window of the day, or the file's.

use jiff::{Timestamp, tz::TimeZone};
use tracing::info;

use super::Supervisor;
use crate::daemon::keep::Change;
use crate::lock::lock;
use crate::policy::day::{Day, Holding};
use crate::settings::BudgetSettings;

/// The minute of the local day for each minute since 1970.
fn local(zone: &TimeZone) -> impl Fn(i64) -> u16 + '_ {
    |minute| {
        // Out of the calendar's range no window opens by mistake: midnight.
        let Ok(moment) = Timestamp::from_second(minute.saturating_mul(60)) else { return 0 };
        let time = zone.to_datetime(moment).time();
        u16::try_from(i16::from(time.hour()) * 60 + i16::from(time.minute())).unwrap_or(0)
    }
}

impl Supervisor {
    /// Applies what holds now, if it is not what the engine has.
    pub(super) fn look_at_budget(&mut self) {
        let budget = &self.start.config.settings.budget;
        let day = Day {
            usual: budget.rate,
            changed: self.kept.budget.map(|change| change.rate),
            windows: &self.start.config.daemon.windows,
        };
        // Asked anew at each look: the machine's time zone may change too.
        let Holding { rate, open, next } = day.at(self.shared.time.clock.unix_secs(), local(&TimeZone::system()));
        let wanted = BudgetSettings { rate, ..budget.clone() };
        {
            let mut view = lock(&self.shared.view);
            if view.open != open {
                let (window, percent) = (open.map(|window| window.span.to_string()), 100.0 * rate);
                match self.kept.budget {
                    None => info!(window, percent, "another window of the day"),
                    Some(_) => {
                        info!(window, percent, "another window of the day; the budget set by hand stays in force")
                    }
                }
            }
            (view.open, view.next_change, view.changed) = (open, next, self.kept.budget);
        }
        if self.told.budget.as_ref() != Some(&wanted) {
            // Checked when it was read; what is refused all the same stays as it is.
            if self.shared.engine.set_budget(wanted.clone()).is_ok() {
                self.told.budget = Some(wanted);
            }
        }
    }

    /// Changes the budget by hand, or takes that back; kept over restarts.
    pub(super) fn change_budget(&mut self, rate: Option<f64>) {
        let at = self.shared.time.clock.unix_secs();
        info!(percent = rate.map(|rate| 100.0 * rate), "the budget is changed by hand");
        self.kept.budget = rate.map(|rate| Change { at, rate });
        self.look_at_budget();
        self.keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_minute_follows_the_clocks_of_a_zone() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let local = local(&zone);
        let at = |text: &str| local(text.parse::<Timestamp>().unwrap().as_second() / 60);
        assert_eq!(at("2025-01-01T22:59:00Z"), 23 * 60 + 59);
        // The night of the 30th of March has no 02:00 to 03:00, that of the 26th of October has it twice.
        assert_eq!((at("2025-03-30T00:59:00Z"), at("2025-03-30T01:00:00Z")), (119, 180));
        assert_eq!((at("2025-10-26T00:30:00Z"), at("2025-10-26T01:30:00Z")), (150, 150));
        assert_eq!((local(i64::MAX), local(i64::MIN)), (0, 0));
    }
}
