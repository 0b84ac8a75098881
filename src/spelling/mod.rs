//! How people write values: `10%`, `1s`, `every(10s)`, `500MB`.
//!
//! One spelling for the configuration file and the command line. Each reader gives back an error that says what would
//! be right. Nothing here knows which key or option a value belongs to; what only one store knows is spelled in its room.

pub(crate) mod value;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::settings::{self, Basis, Checkpoint, INTERVAL, RATE_CORES, SLICE, TARGET};

/// Part of one core, in percent; above 100 where there are more cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(f64);

impl Percent {
    /// Converts from cores: 0.10 is 10 %. Rounded to nine places, so that 0.07 gives 7 and not 7.000000000000001.
    pub fn of_cores(cores: f64) -> Self {
        Percent((cores * 1e11).round() / 1e9)
    }

    /// In cores: 10 % is 0.10.
    pub fn cores(self) -> f64 {
        self.0 / 100.0
    }

    /// In percent: 10 % is 10.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return Err(match plain_number(text) {
                Some(n) => bare_percent(n),
                None => format!("{text:?} is no percentage; write it like \"10%\""),
            });
        };
        let Some(percent) = plain_number(number) else {
            return Err(format!("{text:?} is no percentage; write it like \"10%\""));
        };
        let percent = Percent(percent);
        settings::within(&RATE_CORES, &percent.cores(), |cores| Percent::of_cores(*cores).to_string())?;
        Ok(percent)
    }
}

/// Reads a part of something, `0%` to `100%`; 10% gives 0.10.
///
/// # Errors
/// Says what the text must be.
pub fn parse_part(text: &str) -> Result<f64, String> {
    let percent = text.trim().strip_suffix('%').and_then(plain_number);
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Some(percent) => Err(format!("{percent}% is out of range: must be between 0% and 100%")),
        None => Err(format!("{text:?} is no percentage; write it like \"10%\"")),
    }
}

/// What to say to a number where a percentage belongs. A small one may have been meant as cores.
pub(crate) fn bare_percent(n: f64) -> String {
    if n > 0.0 && n < 1.0 {
        let cores = Percent::of_cores(n);
        return format!("{n} has no unit: write \"{n}%\", or \"{cores}\" if that part of a core is meant");
    }
    match settings::within(&RATE_CORES, &Percent(n).cores(), |cores| Percent::of_cores(*cores).to_string()) {
        Ok(()) => format!("{n} has no unit: write \"{n}%\""),
        Err(out_of_range) => format!("{n} has no unit, and {out_of_range}"),
    }
}

/// A finite number written without sign of infinity or the like.
fn plain_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
    text.parse().ok().filter(|n: &f64| plain && n.is_finite())
}

/// Reads a duration such as `1s`, `12h` or `1day 30min`.
///
/// # Errors
/// Says what the text must be.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Some(n) = plain_number(text) {
        return Err(format!("{n} has no unit: write \"{n}s\", \"{n}m\" or \"{n}h\""));
    }
    let wrong = |why: &dyn fmt::Display| format!("{text:?} is no duration ({why}); write it like \"1s\" or \"12h\"");
    // Keeps every sum far below u64::MAX seconds, where humantime 2.4 can overflow in its last carry and panic.
    let longest_run = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if longest_run > 9 || text.len() > 64 {
        return Err(wrong(&"too long a number"));
    }
    humantime::parse_duration(text).map_err(|e| wrong(&e))
}

/// Reads a size such as `500MB` (a million bytes each), `2GiB` (1,073,741,824 each) or `100B`.
///
/// # Errors
/// Says what the text must be.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("B", 1.0),
    ];
    /// Whole numbers of bytes are exact up to here.
    const MOST: f64 = 9_007_199_254_740_992.0;
    if let Some(n) = plain_number(text) {
        return Err(format!("{n} has no unit: write \"{n}B\", \"{n}MB\" or \"{n}GB\""));
    }
    let wrong = || format!("{text:?} is no size; write it like \"500MB\" or \"2GiB\"");
    let read = |(unit, bytes): &(&str, f64)| Some(plain_number(text.trim().strip_suffix(unit)?)? * bytes);
    let bytes = UNITS.iter().find_map(read).ok_or_else(wrong)?;
    settings::within(&(0.0..=MOST), &bytes, |bytes| format!("{bytes}B"))?;
    // Within the limits, so whole and exact but for a fraction of a byte.
    Ok(bytes.round() as u64)
}

/// Reads the length of a slice: a duration from 1 ms to 1 h.
///
/// # Errors
/// Says what the text must be.
pub fn parse_slice(text: &str) -> Result<Duration, String> {
    let slice = parse_duration(text)?;
    settings::within(&SLICE, &slice, settings::duration)?;
    Ok(slice)
}

/// Reads a waiting time within the day: a duration from 1 ms to 1 day.
///
/// # Errors
/// Says what the text must be.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    settings::within(&INTERVAL, &interval, settings::duration)?;
    Ok(interval)
}

/// Reads the time within which all is to be visited again: a duration from 1 s to 100 years.
///
/// # Errors
/// Says what the text must be.
pub fn parse_target(text: &str) -> Result<Duration, String> {
    let target = parse_duration(text)?;
    settings::within(&TARGET, &target, settings::duration)?;
    Ok(target)
}

/// Reads a moment in seconds since 1970: a number from 0 on.
///
/// # Errors
/// Says what the text must be.
pub fn unix_time(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(secs) if secs.is_finite() && (0.0..1e11).contains(&secs) => Ok(secs),
        _ => Err("give seconds since 1970, such as 1700000000".to_owned()),
    }
}

impl FromStr for Basis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "wall" => Ok(Basis::Wall),
            "cpu" => Ok(Basis::Cpu),
            other => Err(format!("basis must be wall or cpu, not {other:?}")),
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Wall => "wall",
            Basis::Cpu => "cpu",
        })
    }
}

impl FromStr for Checkpoint {
    type Err = String;

    /// Reads `every_bucket`, `every_slice`, `every(10s)` or `10s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "every_bucket" => return Ok(Checkpoint::EveryBucket),
            "every_slice" => return Ok(Checkpoint::EverySlice),
            _ => {}
        }
        let inside = text.strip_prefix("every(").and_then(|rest| rest.strip_suffix(')'));
        let begins_like_duration = text.starts_with(|c: char| c.is_ascii_digit());
        match inside.or(begins_like_duration.then_some(text)) {
            Some(interval) => parse_interval(interval.trim().trim_matches('"')).map(Checkpoint::Every),
            None => {
                Err(format!("checkpoint must be every_bucket, every_slice or a duration such as 10s, not {text:?}"))
            }
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checkpoint::EveryBucket => f.write_str("every_bucket"),
            Checkpoint::EverySlice => f.write_str("every_slice"),
            Checkpoint::Every(interval) => write!(f, "every({})", settings::duration(interval)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentages_are_read_as_parts_of_one_core() {
        for (text, cores) in [("10%", 0.10), ("0.5 %", 0.005), (" 250% ", 2.5), ("102400%", 1024.0), ("7%", 0.07)] {
            assert_eq!(text.parse::<Percent>().unwrap().cores(), cores, "{text}");
        }
        assert_eq!(Percent::of_cores(0.07).get(), 7.0);
    }

    #[test]
    fn wrong_spellings_are_refused_with_what_they_must_be() {
        let percent = |text: &str| text.parse::<Percent>().unwrap_err();
        assert_eq!(percent("10"), "10 has no unit: write \"10%\"");
        assert_eq!(percent("0"), "0 has no unit, and 0% is out of range: must be between 0.0001% and 102400%");
        assert_eq!(percent("0.1"), "0.1 has no unit: write \"0.1%\", or \"10%\" if that part of a core is meant");
        assert_eq!(percent("ten"), "\"ten\" is no percentage; write it like \"10%\"");
        assert_eq!(percent("inf%"), "\"inf%\" is no percentage; write it like \"10%\"");
        assert_eq!(percent("0%"), "0% is out of range: must be between 0.0001% and 102400%");
        assert_eq!(percent("-5%"), "-5% is out of range: must be between 0.0001% and 102400%");
        assert_eq!(parse_duration("10").unwrap_err(), "10 has no unit: write \"10s\", \"10m\" or \"10h\"");
        assert_eq!(
            parse_duration("10 parsecs").unwrap_err(),
            "\"10 parsecs\" is no duration (unknown time unit \"parsecs\", supported units: ns, us/µs, ms, sec, min, \
             hours, days, weeks, months, years (and few variations)); write it like \"1s\" or \"12h\""
        );
        assert_eq!(
            parse_duration("18446744073709551615s 1000000000ns").unwrap_err(),
            "\"18446744073709551615s 1000000000ns\" is no duration (too long a number); write it like \"1s\" or \"12h\""
        );
        assert_eq!(parse_slice("2h").unwrap_err(), "2h is out of range: must be between 1ms and 1h");
        assert_eq!("CPU".parse::<Basis>().unwrap_err(), "basis must be wall or cpu, not \"CPU\"");
        assert_eq!(
            "always".parse::<Checkpoint>().unwrap_err(),
            "checkpoint must be every_bucket, every_slice or a duration such as 10s, not \"always\""
        );
        assert_eq!("10".parse::<Checkpoint>().unwrap_err(), "10 has no unit: write \"10s\", \"10m\" or \"10h\"");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("100B", 100), ("1.5 kB", 1500), ("500MB", 500_000_000), ("2GiB", 2_147_483_648), ("0B", 0)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_bytes("100").unwrap_err(), "100 has no unit: write \"100B\", \"100MB\" or \"100GB\"");
        for text in ["", "MB", "10mb", "10 parsecs", "1e3MB", "infB"] {
            assert!(parse_bytes(text).unwrap_err().contains("is no size"), "{text}");
        }
        assert!(parse_bytes("-1B").unwrap_err().contains("out of range") && parse_bytes("9999999TB").is_err());
    }

    #[test]
    fn checkpoints_are_read_in_all_spellings() {
        let every = Checkpoint::Every(Duration::from_secs(10));
        for text in ["every(10s)", "10s", "every(\"10s\")", " every( 10s ) "] {
            assert_eq!(text.parse(), Ok(every), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_percentage_shown_is_read_again(percent in 0.0001f64..=102_400.0) {
            let shown = Percent(percent).to_string();
            prop_assert_eq!(shown.parse::<Percent>(), Ok(Percent(percent)), "{}", shown);
        }

        #[test]
        fn whole_and_tenth_percents_survive_the_way_through_cores(tenths in 1u32..=1_024_000) {
            let percent = Percent(f64::from(tenths) / 10.0);
            prop_assert_eq!(Percent::of_cores(percent.cores()), percent);
        }

        #[test]
        fn durations_and_checkpoints_shown_are_read_again(nanos in 1_000_000u64..=86_400_000_000_000) {
            let interval = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&settings::duration(&interval)), Ok(interval));
            let every = Checkpoint::Every(interval);
            prop_assert_eq!(every.to_string().parse(), Ok(every));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,24}", digits in "[0-9.]{1,30}[%smhdy]?") {
            for text in [text.as_str(), digits.as_str()] {
                let _ = (text.parse::<Percent>(), text.parse::<Checkpoint>(), parse_duration(text), parse_bytes(text));
            }
        }
    }
}
