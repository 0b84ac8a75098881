//! Which budget holds at a moment: a change by hand, or that of the window of the day that is open, or the usual one; and
//! when that changes next, also in the nights in which the clocks do.
//!
//! Moments are minutes since 1970. The time zone is a function from those to minutes of the local day: nothing here knows
//! a calendar.

use super::windows::{Window, Windows};

const DAY: i64 = 24 * 60;
const MINUTE_SECS: f64 = 60.0;
/// Moments beyond this, some 30,000 years off, count as this one.
const MOST_SECS: f64 = 1e12;
/// Clocks change a few times a year; a zone in which they do so more often within a day is none.
const TURNS_MOST: usize = 8;

/// The budgets of a day.
#[derive(Debug, Clone, Copy)]
pub struct Day<'a> {
    /// Outside all windows, in cores.
    pub usual: f64,
    /// By hand, in cores: holds until it is taken back, whatever the time.
    pub changed: Option<f64>,
    pub windows: &'a Windows,
}

/// What holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holding {
    /// The budget, in cores.
    pub rate: f64,
    /// The window that is open.
    pub open: Option<Window>,
    /// When the budget changes by itself, in seconds since 1970, and to how many cores; `None` if it never does.
    pub next: Option<(f64, f64)>,
}

impl Day<'_> {
    /// Says what holds at a moment, in seconds since 1970; `local` gives the minute of the local day for a minute since
    /// 1970.
    pub fn at(&self, unix_secs: f64, local: impl Fn(i64) -> u16) -> Holding {
        let minute = (unix_secs.clamp(-MOST_SECS, MOST_SECS) / MINUTE_SECS).floor() as i64;
        let open = self.windows.open_at(local(minute));
        let of = |open: Option<Window>| open.map_or(self.usual, |window| window.rate);
        let next = self.next_change(minute, &local).map(|(at, then)| (at as f64 * MINUTE_SECS, of(then)));
        match self.changed {
            Some(rate) => Holding { rate, open, next: None },
            None => Holding { rate: of(open), open, next },
        }
    }

    /// The first minute after this one in which another window is open, and that one.
    fn next_change(&self, from: i64, local: &impl Fn(i64) -> u16) -> Option<(i64, Option<Window>)> {
        let open = self.windows.open_at(local(from));
        let mut at = from;
        for _ in 0..TURNS_MOST {
            let (wait, then) = self.windows.next_change(local(at))?;
            let due = at + i64::from(wait);
            let Some(turn) = turn_between(at, due, local) else { return Some((due, then)) };
            // What was due by the old time is not by the new one: from here on it is looked up anew.
            let then = self.windows.open_at(local(turn));
            if then != open {
                return Some((turn, then));
            }
            at = turn;
        }
        None
    }
}

/// The first minute after `from`, up to `to`, at which the clocks show something else than they would have.
fn turn_between(from: i64, to: i64, local: &impl Fn(i64) -> u16) -> Option<i64> {
    let offset = |minute: i64| (i64::from(local(minute)) - minute).rem_euclid(DAY);
    let was = offset(from);
    if offset(to) == was {
        return None;
    }
    let (mut before, mut after) = (from, to);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        *(if offset(middle) == was { &mut before } else { &mut after }) = middle;
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: f64 = 0.1;

    fn windows(spans: &[(&str, f64)]) -> Windows {
        let window = |(span, rate): &(&str, f64)| Window { span: span.parse().unwrap(), rate: *rate };
        Windows::new(spans.iter().map(window).collect()).unwrap()
    }

    /// A zone whose clocks are put forward by so many minutes at a minute.
    fn turning(at: i64, by: i64) -> impl Fn(i64) -> u16 {
        move |minute| (minute + if minute < at { 0 } else { by }).rem_euclid(DAY) as u16
    }

    fn secs(hours: i64, minutes: i64) -> f64 {
        (hours * 60 + minutes) as f64 * 60.0
    }

    #[test]
    fn a_change_by_hand_holds_in_every_window_and_nothing_ends_it() {
        let windows = windows(&[("22:00-06:00", 0.5)]);
        let day = Day { usual: USUAL, changed: None, windows: &windows };
        let night = day.at(secs(23, 0) + 59.9, turning(0, 0));
        assert_eq!((night.rate, night.next), (0.5, Some((secs(30, 0), USUAL))));
        let by_hand = Day { changed: Some(0.3), ..day }.at(secs(23, 0), turning(0, 0));
        assert_eq!((by_hand.rate, by_hand.open, by_hand.next), (0.3, night.open, None));
        let none = Day { windows: &Windows::default(), ..day }.at(secs(23, 0), turning(0, 0));
        assert_eq!(none, Holding { rate: USUAL, open: None, next: None });
    }

    #[test]
    fn in_the_nights_in_which_clocks_change_windows_open_and_close_by_what_the_clocks_show() {
        // At 02:00 it is 03:00: the night is an hour shorter, and a window that begins in the lost hour opens late.
        let (night, lost) = (windows(&[("22:00-06:00", 0.5)]), windows(&[("02:30-03:30", 0.5)]));
        let spring = turning(120, 60);
        let at = |windows, from, zone: &dyn Fn(i64) -> u16| {
            Day { usual: USUAL, changed: None, windows }.at(from, zone).next.unwrap()
        };
        assert_eq!(at(&night, secs(1, 0), &spring), (secs(5, 0), USUAL));
        assert_eq!(at(&lost, secs(1, 0), &spring), (secs(2, 0), 0.5));
        assert_eq!(at(&lost, secs(2, 0), &spring), (secs(2, 30), USUAL));
        // At 03:00 it is 02:00 again: the night is an hour longer, and a window of the doubled hour opens twice.
        let autumn = turning(180, -60);
        let doubled = windows(&[("02:30-02:45", 0.5)]);
        assert_eq!(at(&night, secs(1, 0), &autumn), (secs(7, 0), USUAL));
        assert_eq!(at(&doubled, secs(2, 50), &autumn), (secs(3, 30), 0.5));
        assert_eq!(at(&doubled, secs(3, 50), &autumn), (secs(27, 30), 0.5));
    }

    #[test]
    fn no_moment_is_too_odd() {
        let windows = windows(&[("22:00-06:00", 0.5)]);
        let day = Day { usual: USUAL, changed: None, windows: &windows };
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1e9] {
            assert!([USUAL, 0.5].contains(&day.at(odd, turning(0, 0)).rate), "{odd}");
        }
    }

    proptest! {
        /// Against looking at every minute, one after the other.
        #[test]
        fn the_next_change_is_the_first_minute_with_another_window(
            edges in proptest::collection::btree_set(0u16..1440, 2..9),
            from in 0i64..1440, turn in 0i64..2880, by in prop_oneof![Just(60i64), Just(-60), Just(30), Just(0)],
        ) {
            let edges: Vec<u16> = edges.into_iter().collect();
            let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            let spans = edges.chunks_exact(2).map(|e| format!("{}-{}", text(e[0]), text(e[1])));
            let all = spans.zip(1u8..).map(|(s, n)| Window { span: s.parse().unwrap(), rate: f64::from(n) }).collect();
            let (windows, zone) = (Windows::new(all).unwrap(), turning(turn, by));
            let day = Day { usual: USUAL, changed: None, windows: &windows };
            let holding = day.at(from as f64 * 60.0 + 59.0, &zone);
            let open = |minute: i64| windows.open_at(zone(minute));
            let first = (from + 1..from + 2 * DAY).find(|minute| open(*minute) != holding.open).unwrap();
            let then = open(first).map_or(USUAL, |window| window.rate);
            prop_assert_eq!(holding.next, Some((first as f64 * 60.0, then)));
        }
    }
}
