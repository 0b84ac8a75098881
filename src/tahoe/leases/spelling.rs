//! How people say what the job `leases` is to do: in the configuration file, and on the command line.

use std::time::UNIX_EPOCH;

use clap::Args;
use serde::Deserialize;

use super::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};
use crate::error::{Error, Result};
use crate::spelling::value::{Value, no_number, no_unit, quoted_kind};
use crate::spelling::{self, Percent, parse_duration};
use crate::tahoe::container::ShareType;

quoted_kind!(Age, Expiry, "a duration such as \"31d\"", parse_age, no_unit);
quoted_kind!(Cutoff, Expiry, "a date such as \"2025-01-01\"", parse_cutoff, no_number);
quoted_kind!(Part, f64, "a part of the shares such as \"10%\"", spelling::parse_part, no_number);

/// What stands in parentheses behind `leases` in the configuration file.
#[derive(Debug, Deserialize)]
#[serde(rename = "leases", deny_unknown_fields)]
pub(crate) struct LeasesText {
    #[serde(default)]
    expire: RawExpire,
    #[serde(default)]
    sharetypes: Option<Vec<ShareType>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    delete: RawDelete,
    #[serde(default = "yes")]
    rehearsal: bool,
    #[serde(default)]
    max_delete: Option<Value<Part>>,
    #[serde(default)]
    prune_empty_buckets: bool,
    #[serde(default)]
    accept_clock: bool,
    #[serde(default)]
    compat: bool,
}

impl From<LeasesText> for LeaseSettings {
    fn from(text: LeasesText) -> LeaseSettings {
        let default = LeaseSettings::default();
        let types = text.sharetypes.map(|types| ShareTypes(types.into_iter().collect()));
        LeaseSettings {
            expiry: text.expire.into(),
            sharetypes: types.unwrap_or(default.sharetypes),
            word: text.delete.into(),
            dry_run: text.dry_run,
            conduct: if text.compat { Conduct::Compat } else { Conduct::Careful },
            prune: text.prune_empty_buckets,
            rehearsal: text.rehearsal,
            max_delete: text.max_delete.map_or(default.max_delete, |part| part.0),
            accept_clock: text.accept_clock,
            node_stopped: default.node_stopped,
        }
    }
}

/// Who leaves a program alone with a file of settings sees first what it would delete.
fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename = "delete", rename_all = "snake_case")]
enum RawDelete {
    #[default]
    Nothing,
    Offline,
    Online,
}

impl From<RawDelete> for Option<Word> {
    fn from(raw: RawDelete) -> Self {
        match raw {
            RawDelete::Nothing => None,
            RawDelete::Offline => Some(Word::Offline),
            RawDelete::Online => Some(Word::Online),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "expire", rename_all = "snake_case")]
enum RawExpire {
    #[default]
    None,
    Age(Value<Age>),
    Cutoff(Value<Cutoff>),
}

impl From<RawExpire> for Expiry {
    fn from(raw: RawExpire) -> Self {
        match raw {
            RawExpire::None => Expiry::None,
            RawExpire::Age(Value(expire)) | RawExpire::Cutoff(Value(expire)) => expire,
        }
    }
}

/// Reads the age at which leases expire: a duration in whole seconds, at least one.
///
/// # Errors
/// Says what the text must be.
pub fn parse_age(text: &str) -> std::result::Result<Expiry, String> {
    let age = parse_duration(text)?;
    if age.subsec_nanos() != 0 {
        return Err(format!("the age of a lease must be whole seconds, not {text:?}"));
    }
    if age.is_zero() {
        return Err(format!("{text:?} would expire every lease; write the age like \"31d\""));
    }
    Ok(Expiry::Age { secs: age.as_secs() })
}

/// Reads a cutoff date: `2025-01-01`, which is midnight UTC, or a moment like `2025-01-01T12:00:00Z`.
///
/// # Errors
/// Says what the text must be.
pub fn parse_cutoff(text: &str) -> std::result::Result<Expiry, String> {
    let wrong =
        || format!("{text:?} is no date; write it like \"2025-01-01\" (midnight UTC) or \"2025-01-01T12:00:00Z\"");
    let midnight = format!("{}T00:00:00Z", text.trim());
    let moment = humantime::parse_rfc3339(&midnight).or_else(|_| humantime::parse_rfc3339(text.trim()));
    let since = moment.map_err(|_| wrong())?.duration_since(UNIX_EPOCH).map_err(|_| wrong())?;
    let unix = i64::try_from(since.as_secs()).map_err(|_| wrong())?;
    Ok(Expiry::Cutoff { unix })
}

impl LeaseSettings {
    /// What they mean, for people: by which rule leases expire, and what is deleted, if anything is.
    pub(crate) fn meaning(&self) -> Vec<String> {
        let LeaseSettings { expiry, sharetypes, conduct, dry_run, word, rehearsal, .. } = self;
        let types: Vec<&str> = sharetypes.0.iter().map(|t| t.as_str()).collect();
        let way = if *conduct == Conduct::Compat { ", exactly as Tahoe does (compat)" } else { "" };
        let only = if *dry_run { ", and nothing is deleted (dry_run)" } else { "" };
        let rule = format!("leases of {} shares expire by {expiry}{way}{only}", types.join(" and "));
        let deletes = word.filter(|_| !dry_run).map(|word| {
            let (word, most) = (word.as_str(), Percent::of_cores(self.max_delete));
            let after = if *rehearsal { ", the first time only once it was confirmed" } else { "" };
            format!("deletes expired leases, {word}, {most} of the shares at most without a confirmation{after}")
        });
        (*expiry != Expiry::None).then_some(rule).into_iter().chain(deletes).collect()
    }
}

/// What `sexton crawl --job leases` takes about expiry.
#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// Which leases count as expired: none, age:SECONDS since granted or renewed, or cutoff:UNIXTIME [default: none]
    #[arg(long, value_name = "none|age:SECONDS|cutoff:UNIXTIME")]
    expire: Option<Expiry>,

    /// Delete nothing, and tell what would be deleted
    #[arg(long)]
    dry_run: bool,

    /// Delete while the node of the store is running: only whole shares, a day after their leases have expired
    #[arg(long, conflicts_with = "offline")]
    online: bool,

    /// Which types of shares may expire [default: mutable,immutable]
    #[arg(long, value_name = "TYPES")]
    sharetypes: Option<ShareTypes>,

    /// Delete nothing, and exit with 4, if more than this part of the shares examined would go; the same command with a larger
    /// part then deletes what was examined [default: 10%]
    #[arg(long, value_name = "PERCENT%", value_parser = spelling::parse_part)]
    max_delete: Option<f64>,

    /// Vouch for the clock where a share written after now or, with --online, the files of the node speak against it
    #[arg(long)]
    accept_clock: bool,

    /// Remove the directories of buckets that are left empty
    #[arg(long)]
    prune_empty_buckets: bool,

    /// Cancel leases exactly as Tahoe does, faults and all, bucket after bucket; goes with --offline and --max-delete 100%
    #[arg(long)]
    compat: bool,
}

impl ExpireArgs {
    /// The settings of the job.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that means nothing where no rule is given.
    pub fn settings(&self, offline: bool, node_stopped: bool) -> Result<LeaseSettings> {
        let of_a_rule = [
            ("--dry-run", self.dry_run),
            ("--max-delete", self.max_delete.is_some()),
            ("--accept-clock", self.accept_clock),
            ("--compat", self.compat),
        ];
        if let Some((name, _)) = of_a_rule.iter().find(|(_, given)| *given && self.expire.is_none()) {
            return Err(Error::Config(format!("{name} goes with --expire age:SECONDS or --expire cutoff:UNIXTIME")));
        }
        let word = match (offline, self.online) {
            (true, _) => Some(Word::Offline),
            (false, true) => Some(Word::Online),
            (false, false) => None,
        };
        let default = LeaseSettings::default();
        Ok(LeaseSettings {
            expiry: self.expire.unwrap_or(default.expiry),
            sharetypes: self.sharetypes.clone().unwrap_or(default.sharetypes),
            word,
            dry_run: self.dry_run,
            conduct: if self.compat { Conduct::Compat } else { Conduct::Careful },
            prune: self.prune_empty_buckets,
            // Whoever types the command has decided.
            rehearsal: false,
            max_delete: self.max_delete.unwrap_or(default.max_delete),
            accept_clock: self.accept_clock,
            node_stopped,
        })
    }

    /// Whether the run deletes nothing, whatever was said besides.
    pub fn is_dry(&self) -> bool {
        self.dry_run || self.expire.unwrap_or(Expiry::None) == Expiry::None
    }

    /// Refuses all of them, for a job that knows none.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that was given.
    pub fn refuse(&self) -> Result<()> {
        let given = [
            ("--expire", self.expire.is_some()),
            ("--dry-run", self.dry_run),
            ("--online", self.online),
            ("--sharetypes", self.sharetypes.is_some()),
            ("--max-delete", self.max_delete.is_some()),
            ("--accept-clock", self.accept_clock),
            ("--prune-empty-buckets", self.prune_empty_buckets),
            ("--compat", self.compat),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Config(format!("{name} goes with --job leases"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_age_is_answered_with_what_it_must_be() {
        assert_eq!(parse_age("0s").unwrap_err(), "\"0s\" would expire every lease; write the age like \"31d\"");
        assert_eq!(parse_age("10ms").unwrap_err(), "the age of a lease must be whole seconds, not \"10ms\"");
    }

    /// The numbers are those of GNU date: `date -u -d 2025-01-01 +%s`.
    #[test]
    fn cutoff_dates_are_midnight_utc() {
        assert_eq!(parse_cutoff("2025-01-01"), Ok(Expiry::Cutoff { unix: 1_735_689_600 }));
        assert_eq!(parse_cutoff("2024-02-29"), Ok(Expiry::Cutoff { unix: 1_709_164_800 }));
        assert_eq!(parse_cutoff("2025-01-01T12:00:00Z"), Ok(Expiry::Cutoff { unix: 1_735_732_800 }));
        for text in ["2025-13-01", "2025-02-29", "1969-01-01", "1735689600", "tomorrow", "2025-01-01T25:00:00Z", ""] {
            let why = parse_cutoff(text).unwrap_err();
            assert!(why.contains("is no date; write it like \"2025-01-01\""), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,24}", digits in "[0-9.]{1,30}[%smhdy]?") {
            for text in [text.as_str(), digits.as_str()] {
                let _ = (parse_age(text), parse_cutoff(text));
            }
        }
    }
}
