//! `tahoe.cfg`: what its section `[storage]` tells the crawlers of Tahoe-LAFS 1.20.0 to do.
//!
//! Values are read as Tahoe reads them, and what Tahoe's node would not start with is an error here. What is read but does
//! not mean what it seems to is told as a doubt. Pure: text in, values out.

mod ini;

use ini::Ini;

use super::container::ShareType;
use super::number::ShareNumber;
use super::state::figures::ExpireMode;

const DAY: i64 = 86_400;

/// What matters of a `tahoe.cfg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Whether the node serves storage at all.
    pub enabled: bool,
    /// Where, as it is written: relative to the folder of the file. Default `storage`.
    pub folder: String,
    /// Whether expired leases are cancelled. Default no: the lease checker evaluates only.
    pub expires: bool,
    /// The rule by which they expire.
    pub rule: Rule,
    /// The types of shares that may expire, in Tahoe's order: immutable, mutable.
    pub sharetypes: Vec<ShareType>,
    /// What is not as it seems, a sentence each.
    pub doubts: Vec<String>,
}

/// A rule of expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing ever expires.
    Never,
    /// As the mode says; its duration is given, and is more than nothing.
    By(ExpireMode),
}

impl Storage {
    /// Reads a file.
    ///
    /// # Errors
    /// Says what Tahoe's node would not start with.
    pub fn parse(text: &str) -> Result<Storage, String> {
        let ini = Ini::parse(text)?;
        let get = |key: &str| ini.get("storage", key);
        let boolean = |key: &str, default: bool| match get(key)? {
            None => Ok(default),
            Some(value) => truth(&value).ok_or_else(|| format!("{key} = {value}: neither true nor false to Tahoe")),
        };
        let expires = boolean("expire.enabled", false)?;
        let mut doubts = Vec::new();
        let mut rule = rule(&get, expires, &mut doubts)?;
        let mut sharetypes = Vec::new();
        for (key, share_type) in [("expire.immutable", ShareType::Immutable), ("expire.mutable", ShareType::Mutable)] {
            if boolean(key, true)? {
                sharetypes.push(share_type);
            }
        }
        if sharetypes.is_empty() {
            doubts.push("expire.immutable and expire.mutable are both false, so nothing ever expires".to_owned());
            (rule, sharetypes) = (Rule::Never, vec![ShareType::Immutable, ShareType::Mutable]);
        }
        let enabled = boolean("enabled", true)?;
        if !enabled {
            doubts.push("the node serves no storage (enabled = false), so its crawlers do not run".to_owned());
        }
        let folder = get("storage_dir")?.unwrap_or_else(|| "storage".to_owned());
        Ok(Storage { enabled, folder, expires, rule, sharetypes, doubts })
    }
}

/// Reads how much of its disk a node leaves free, in bytes: `reserved_space`, 0 where it is not given.
///
/// # Errors
/// Says what Tahoe's node would not start with.
pub fn reserved_space(text: &str) -> Result<u64, String> {
    match Ini::parse(text)?.get("storage", "reserved_space")? {
        Some(size) => parse_size(&size),
        None => Ok(0),
    }
}

/// Reads a size as Tahoe does, in bytes: `1G` and `1GB` (1,000 million), `1GiB` (1,024 times as much for each step), in any
/// case. What is more than 64 bits can say counts as the most.
///
/// # Errors
/// Says that it is none.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "reserved_space = {text}: it must be a number with one of the units K, M, G, T, P, E behind it, or none"
        )
    };
    let upper = text.to_uppercase();
    let digits = upper.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = upper.split_at(digits);
    if text.is_empty() {
        return Ok(0);
    }
    if number.is_empty() {
        return Err(wrong());
    }
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let (unit, step) = unit.strip_suffix('I').map_or((unit, 1000), |unit| (unit, 1024u64));
    let power = match unit {
        "" => 0,
        unit => 1 + ["K", "M", "G", "T", "P", "E"].iter().position(|known| *known == unit).ok_or_else(wrong)? as u32,
    };
    Ok(number.parse().unwrap_or(u64::MAX).saturating_mul(step.pow(power)))
}

fn rule(
    get: &impl Fn(&str) -> Result<Option<String>, String>,
    expires: bool,
    doubts: &mut Vec<String>,
) -> Result<Rule, String> {
    let mode = match get("expire.mode")? {
        Some(mode) => mode,
        None if expires => return Err("expire.enabled is true, but there is no expire.mode".to_owned()),
        None => "age".to_owned(),
    };
    // Tahoe reads it in either mode.
    let duration = get("expire.override_lease_duration")?;
    let secs = duration.as_deref().map(parse_duration).transpose()?;
    let date = get("expire.cutoff_date")?;
    match (mode.as_str(), secs, date) {
        ("age", None, date) => {
            ignored(doubts, "expire.cutoff_date", date.is_some(), "age");
            if expires {
                doubts.push(
                    "expire.mode = age without expire.override_lease_duration never expires anything in Tahoe 1.20, though \
                     its documentation says 31 days after a lease was renewed; if that is wanted, write age(\"31d\")"
                        .to_owned(),
                );
            }
            Ok(Rule::Never)
        }
        ("age", Some(secs), date) => {
            ignored(doubts, "expire.cutoff_date", date.is_some(), "age");
            match u64::try_from(secs) {
                Ok(secs) if secs > 0 => Ok(Rule::By(ExpireMode::Age { secs: Some(secs) })),
                _ => {
                    let written = duration.unwrap_or_default();
                    doubts.push(format!(
                        "expire.override_lease_duration = {written} would expire every lease at once; that is not taken over"
                    ));
                    Ok(Rule::Never)
                }
            }
        }
        ("cutoff-date", secs, Some(date)) => {
            ignored(doubts, "expire.override_lease_duration", secs.is_some(), "cutoff-date");
            let unix = parse_date(&date, doubts)?;
            if unix < 0 {
                doubts.push(format!("expire.cutoff_date = {date} is before 1970, so nothing ever expires"));
                return Ok(Rule::Never);
            }
            Ok(Rule::By(ExpireMode::Cutoff { unix }))
        }
        ("cutoff-date", _, None) => Err("expire.mode is cutoff-date, but there is no expire.cutoff_date".to_owned()),
        (other, ..) => Err(format!("expire.mode = {other}: it must be age or cutoff-date")),
    }
}

fn ignored(doubts: &mut Vec<String>, key: &str, given: bool, mode: &str) {
    if given {
        doubts.push(format!("{key} has no meaning in expire.mode = {mode}"));
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Reads a duration as Tahoe does, in seconds: `31 days`, `2mo` (of 31 days), `1year` (of 365). May be negative.
///
/// # Errors
/// Says what it is not.
///
/// ```
/// assert_eq!(sexton::tahoe::cfg::parse_duration("2mo"), Ok(62 * 86_400));
/// ```
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let one = text.strip_suffix('s').unwrap_or(text);
    let units = [("day", DAY), ("month", 31 * DAY), ("mo", 31 * DAY), ("year", 365 * DAY)];
    let split = units.iter().find_map(|(unit, secs)| Some((one.strip_suffix(unit)?, secs)));
    let (number, unit) =
        split.ok_or_else(|| format!("{text:?} has no unit (day, month, mo or year), or another behind it"))?;
    let number = ShareNumber::parse(number.trim().as_bytes()).ok_or_else(|| format!("{text:?} has no whole number"))?;
    let secs = number.value().and_then(|n| n.checked_mul(*unit));
    secs.ok_or_else(|| format!("{text:?} is longer than time"))
}

/// Reads a date as Tahoe does: midnight UTC of `YYYY-MM-DD`; a time of day behind it counts too.
fn parse_date(text: &str, doubts: &mut Vec<String>) -> Result<i64, String> {
    let wrong = || format!("expire.cutoff_date = {text}: it must be a date like 2009-03-18");
    // As Tahoe does it: a time of day is put behind, and what comes after the first one is not looked at.
    let whole = format!("{text}T00:00:00");
    let field = |at: usize, len: usize| -> Option<i64> {
        let digits = whole.get(at..at + len)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let between = |at: usize, allowed: &str| whole.get(at..=at).is_some_and(|c| allowed.contains(c));
    let separated = between(4, "-") && between(7, "-") && between(10, "T_ ") && between(13, ":") && between(16, ":");
    let fields = || Some([field(0, 4)?, field(5, 2)?, field(8, 2)?, field(11, 2)?, field(14, 2)?, field(17, 2)?]);
    let [year, month, day, hour, minute, second] = fields().filter(|_| separated).ok_or_else(wrong)?;
    if year < 1 || !(1..=12).contains(&month) {
        return Err(wrong());
    }
    if day < 1 || days_before(year, month) + day > days_before(year + month / 12, month % 12 + 1) {
        doubts.push(format!("expire.cutoff_date = {text} is no day of that month; Tahoe counts on from its first"));
    }
    if text.len() != 10 {
        doubts.push(format!("expire.cutoff_date = {text} has more than a date; Tahoe takes the time of day too"));
    }
    Ok((days_before(year, month) + day - 1) * DAY + hour * 3600 + minute * 60 + second)
}

/// Days from 1970 to the first of a month; years from 1, months 1 to 12. (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", days_from_civil.)
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(lines: &str) -> Result<Storage, String> {
        Storage::parse(&format!("[node]\nnickname = x\n[storage]\n{lines}\n"))
    }

    // What Tahoe-LAFS 1.20.0's time_format says.
    #[test]
    fn durations_are_those_of_tahoe() {
        for (text, days) in [
            ("31 days", 31),
            ("31days", 31),
            ("1day", 1),
            ("2mo", 62),
            ("2mos", 62),
            ("3 months", 93),
            ("1year", 365),
            (" 2 years", 730),
        ] {
            assert_eq!(parse_duration(text), Ok(days * DAY), "{text}");
        }
        assert_eq!(parse_duration("-1_0 day"), Ok(-10 * DAY));
        for text in ["", "31", "31d", "1.5 days", "days", "31 Days", "31 dayss", "1 week", "99999999999999999 years"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_tahoe() {
        let date = |text: &str| {
            let mut doubts = Vec::new();
            parse_date(text, &mut doubts).map(|unix| (unix, doubts.len()))
        };
        for (text, unix, doubts) in [
            ("1970-01-01", 0, 0),
            ("2009-03-18", 1_237_334_400, 0),
            ("2000-02-29", 951_782_400, 0),
            ("2100-12-31", 4_133_894_400, 0),
            ("1969-12-31", -86_400, 0),
            ("0001-01-01", -62_135_596_800, 0),
            ("2009-02-31", 1_236_038_400, 1),
            ("2009-01-00", 1_230_681_600, 1),
            ("2009-03-18T12:30:01", 1_237_379_401, 1),
            ("2009-03-18_12:30:01 or so", 1_237_379_401, 1),
        ] {
            assert_eq!(date(text), Ok((unix, doubts)), "{text}");
        }
        for text in ["", "2009-3-18", "2009-13-01", "0000-01-01", "18.03.2009", "2009-03-18 noon"] {
            assert!(date(text).is_err(), "{text}");
        }
    }

    // What Tahoe-LAFS 1.20.0's abbreviate.parse_abbreviated_size says.
    #[test]
    fn sizes_are_those_of_tahoe() {
        let reserved = |size: &str| reserved_space(&format!("[storage]\nreserved_space = {size}\n"));
        for (text, bytes) in [
            ("", 0),
            ("0", 0),
            ("100", 100),
            ("100B", 100),
            ("1k", 1000),
            ("1kb", 1000),
            ("1KiB", 1024),
            ("5i", 5),
            ("5ib", 5),
            ("100MB", 100_000_000),
            ("1G", 1_000_000_000),
            ("1gib", 1 << 30),
            ("2TI", 2 << 40),
            ("3P", 3_000_000_000_000_000),
            ("1EiB", 1 << 60),
            ("99999999999999999999E", u64::MAX),
        ] {
            assert_eq!(reserved(text), Ok(bytes), "{text}");
        }
        for text in ["1 G", "-1", "1.5G", "G", "1X", "1GG", "1BB", "1iK", "lots"] {
            assert!(reserved(text).is_err(), "{text}");
        }
        assert_eq!(reserved_space("[storage]\nenabled = maybe\n"), Ok(0));
    }

    #[test]
    fn nothing_is_said_where_nothing_is_set() {
        let storage = storage("").unwrap();
        assert_eq!((storage.enabled, storage.expires, storage.rule), (true, false, Rule::Never));
        assert_eq!(storage.folder, "storage");
        assert_eq!(storage.sharetypes, [ShareType::Immutable, ShareType::Mutable]);
        assert_eq!(storage.doubts, [""; 0]);
        assert_eq!(Storage::parse("").unwrap(), storage);
    }

    #[test]
    fn rules_are_read_and_doubts_are_told() {
        let age = Rule::By(ExpireMode::Age { secs: Some(2_678_400) });
        let cases = [
            ("expire.mode = age\nexpire.override_lease_duration = 31 days", age, ""),
            ("expire.mode = age", Rule::Never, "never expires anything"),
            ("expire.mode = age\nexpire.override_lease_duration = 0 days", Rule::Never, "every lease"),
            (
                "expire.mode = age\nexpire.override_lease_duration = 1mo\nexpire.cutoff_date = x",
                age,
                "expire.cutoff_date has no",
            ),
            (
                "expire.mode = cutoff-date\nexpire.cutoff_date = 1970-01-02",
                Rule::By(ExpireMode::Cutoff { unix: DAY }),
                "",
            ),
            ("expire.mode = cutoff-date\nexpire.cutoff_date = 1960-01-02", Rule::Never, "before 1970"),
            (
                "expire.mode = age\nexpire.override_lease_duration = 1mo\nexpire.mutable = no\nexpire.immutable = Off",
                Rule::Never,
                "both",
            ),
            ("expire.mode = age\nexpire.override_lease_duration = 1mo\nenabled = false", age, "serves no storage"),
        ];
        for (lines, rule, doubt) in cases {
            let storage = storage(&format!("expire.enabled = yes\n{lines}")).unwrap();
            assert_eq!(storage.rule, rule, "{lines}");
            assert!(storage.doubts.join("\n").contains(doubt), "{lines}: {:?}", storage.doubts);
            assert_eq!(storage.doubts.is_empty(), doubt.is_empty(), "{lines}: {:?}", storage.doubts);
        }
    }

    #[test]
    fn what_tahoe_does_not_start_with_is_refused() {
        for lines in [
            "expire.enabled = maybe",
            "expire.enabled = true ; at last",
            "expire.enabled = true",
            "expire.mode = never",
            "expire.mode = cutoff-date",
            "expire.mode = cutoff-date\nexpire.cutoff_date = soon",
            "expire.override_lease_duration = 31",
            "expire.mutable = 2",
            "storage_dir = 5%",
        ] {
            assert!(storage(lines).is_err(), "{lines}");
        }
    }
}
