//! Which budget holds: a change by hand, or a window of the day, or the file's.

use jiff::{Timestamp, tz::TimeZone};
use tracing::info;

use super::Supervisor;
use crate::daemon::keep::Change;
use crate::lock::lock;
use crate::settings::BudgetSettings;

const MINUTE_SECS: f64 = 60.0;

/// The minute of the local day at a moment, and the second in it.
fn local(unix_secs: f64) -> (u16, f64) {
    // Out of the calendar's range no window opens by mistake: midnight.
    let Ok(moment) = Timestamp::from_second(unix_secs as i64) else { return (0, 0.0) };
    let time = moment.to_zoned(TimeZone::system()).time();
    let minute = i16::from(time.hour()) * 60 + i16::from(time.minute());
    (u16::try_from(minute).unwrap_or(0), f64::from(time.second()))
}

impl Supervisor {
    /// Applies what holds now, if it is not what the engine has.
    pub(super) fn look_at_budget(&mut self) {
        let unix = self.shared.time.clock.unix_secs();
        let (minute, second) = local(unix);
        let windows = &self.start.config.daemon.windows;
        let budget = &self.start.config.settings.budget;
        let open = windows.open_at(minute);
        let rate = windows.rate(self.kept.budget.map(|change| change.rate), budget.rate, minute);
        let next = windows.next_change(minute).filter(|_| self.kept.budget.is_none());
        let next_change = next.map(|(minutes, then)| {
            let at = (unix - second + MINUTE_SECS * f64::from(minutes)).floor();
            (at, then.map_or(budget.rate, |window| window.rate))
        });
        let wanted = BudgetSettings { rate, ..budget.clone() };
        {
            let mut view = lock(&self.shared.view);
            if view.open != open {
                let window = open.map(|window| window.span.to_string());
                info!(window, percent = 100.0 * rate, "another window of the day");
            }
            (view.open, view.next_change, view.changed) = (open, next_change, self.kept.budget);
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
