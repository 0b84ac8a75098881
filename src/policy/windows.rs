//! Windows of the day: at which local time which budget holds.

use std::fmt;
use std::str::FromStr;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// More windows than this are refused.
pub const WINDOWS_MOST: usize = 48;

/// A stretch of each day, by local time: from a minute up to, not including, another, which may be on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyWindow {
    from: u16,
    to: u16,
}

impl DailyWindow {
    /// Whether a minute of the day is in it.
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            // Past midnight, or the whole day.
            minute >= self.from || minute < self.to
        }
    }

    /// Its beginning, as `HH:MM`.
    pub fn from(self) -> String {
        clock(self.from)
    }

    /// Its end, as `HH:MM`.
    pub fn to(self) -> String {
        clock(self.to)
    }
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl fmt::Display for DailyWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from(), self.to())
    }
}

impl FromStr for DailyWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<DailyWindow, String> {
        let minute = |text: &str| -> Option<u16> {
            let (hour, minute) = text.trim().split_once(':')?;
            let number = |digits: &str, most: u16| {
                let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse().ok().filter(|n: &u16| plain && *n <= most)
            };
            let of_day = number(hour, 24)? * 60 + number(minute, 59)?;
            (of_day <= DAY).then_some(of_day % DAY)
        };
        let ends = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match ends {
            Some((from, to)) => Ok(DailyWindow { from, to }),
            None => Err(format!("{text:?} is no window of the day; write it like \"22:00-06:00\"")),
        }
    }
}

/// A window of the day with its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// When.
    pub span: DailyWindow,
    /// The budget in it, in cores.
    pub rate: f64,
}

/// The windows of a day, none of which overlap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Takes windows in any order.
    ///
    /// # Errors
    /// Says which two overlap, or that there are too many.
    pub fn new(windows: Vec<Window>) -> Result<Windows, String> {
        if windows.len() > WINDOWS_MOST {
            return Err(format!("{} windows are too many: {WINDOWS_MOST} at most", windows.len()));
        }
        for (i, a) in windows.iter().enumerate() {
            for b in &windows[..i] {
                if a.span.contains(b.span.from) || b.span.contains(a.span.from) {
                    return Err(format!("the windows {} and {} overlap", b.span, a.span));
                }
            }
        }
        Ok(Windows(windows))
    }

    /// All of them.
    pub fn all(&self) -> &[Window] {
        &self.0
    }

    /// The window that is open at this minute of the local day.
    pub fn open_at(&self, minute: u16) -> Option<Window> {
        self.0.iter().find(|window| window.span.contains(minute)).copied()
    }

    /// In how many minutes the window that is open changes, and which one is open then; `None` if that never happens.
    pub fn next_change(&self, minute: u16) -> Option<(u16, Option<Window>)> {
        let now = self.open_at(minute);
        let edges = self.0.iter().flat_map(|window| [window.span.from, window.span.to]);
        // What begins in this very minute has begun.
        let mut waits: Vec<u16> =
            edges.map(|edge| (edge + DAY - minute % DAY) % DAY).filter(|wait| *wait > 0).collect();
        waits.sort_unstable();
        let then = |wait: u16| self.open_at((minute + wait) % DAY);
        waits.into_iter().map(|wait| (wait, then(wait))).find(|(_, then)| *then != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(texts: &[(&str, f64)]) -> Result<Windows, String> {
        Windows::new(texts.iter().map(|(span, rate)| Window { span: span.parse().unwrap(), rate: *rate }).collect())
    }

    fn rate(windows: &Windows, at: &str) -> Option<f64> {
        let span: DailyWindow = format!("{at}-00:00").parse().unwrap();
        windows.open_at(span.from).map(|w| w.rate)
    }

    #[test]
    fn a_window_past_midnight_is_open_on_both_days() {
        let night = windows(&[("22:00-06:00", 0.5), ("12:00-13:00", 0.2)]).unwrap();
        let at = ["21:59", "22:00", "23:59", "00:00", "05:59", "06:00", "12:30"].map(|at| rate(&night, at));
        assert_eq!(at, [None, Some(0.5), Some(0.5), Some(0.5), Some(0.5), None, Some(0.2)]);
        let (wait, then) = night.next_change(23 * 60).unwrap();
        assert_eq!((wait, then), (7 * 60, None));
        let (wait, then) = night.next_change(6 * 60).unwrap();
        assert_eq!((wait, then.map(|w| w.rate)), (6 * 60, Some(0.2)));
    }

    #[test]
    fn a_window_of_the_whole_day_never_changes() {
        let day = windows(&[("07:00-07:00", 0.3)]).unwrap();
        assert!(["06:59", "07:00", "00:00"].iter().all(|at| rate(&day, at) == Some(0.3)));
        assert_eq!(day.next_change(7 * 60), None);
        let two_halves = windows(&[("00:00-12:00", 0.1), ("12:00-24:00", 0.1)]).unwrap();
        assert_eq!(two_halves.next_change(0).map(|(wait, _)| wait), Some(720));
    }

    #[test]
    fn overlaps_and_nonsense_are_refused() {
        assert_eq!(
            windows(&[("22:00-06:00", 0.5), ("05:59-07:00", 0.1)]).unwrap_err(),
            "the windows 22:00-06:00 and 05:59-07:00 overlap"
        );
        windows(&[("22:00-06:00", 0.5), ("06:00-07:00", 0.1)]).unwrap();
        for text in ["", "22-6", "25:00-01:00", "24:01-01:00", "22:60-01:00", "22:00", "-1:00-02:00", "+1:00-2:00"] {
            assert!(text.parse::<DailyWindow>().is_err(), "{text}");
        }
        assert_eq!("9:05-24:00".parse::<DailyWindow>().unwrap().to_string(), "09:05-00:00");
    }

    proptest! {
        #[test]
        fn until_the_next_change_the_same_window_is_open(
            edges in proptest::collection::btree_set(0u16..DAY, 2..9), minute in 0u16..DAY
        ) {
            let edges: Vec<u16> = edges.into_iter().collect();
            let pairs = edges.chunks_exact(2).zip(1u8..);
            let all = pairs.map(|(e, n)| Window { span: DailyWindow { from: e[0], to: e[1] }, rate: f64::from(n) }).collect();
            let windows = Windows::new(all).unwrap();
            let (wait, then) = windows.next_change(minute).unwrap();
            for passed in 0..wait {
                prop_assert_eq!(windows.open_at((minute + passed) % DAY), windows.open_at(minute));
            }
            prop_assert_ne!(then, windows.open_at(minute));
        }
    }
}
