//! What decides about leases, and which of it goes together.

use super::expiry::{Expiry, ShareTypes};
use crate::error::{Error, Result};
use crate::tahoe::container::Header;
use crate::tahoe::lease::{LEASE_SECS, Lease};

/// The word without which nothing is deleted: what the node of the store does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is stopped.
    Offline,
    /// It is running, renews leases and rewrites containers, and takes no lock: so only whole shares go that have been
    /// expired for a day and untouched for an hour.
    Online,
}

impl Word {
    /// As it is written: `offline`, `online`.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Offline => "offline",
            Word::Online => "online",
        }
    }
}

/// Whose judgement counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conduct {
    /// Sexton's: a damaged share is kept, and a lease goes for its own date only.
    #[default]
    Careful,
    /// Tahoe's, as coded.
    Compat,
}

/// What decides about leases.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseSettings {
    /// The rule by which leases expire. Default: none.
    pub expiry: Expiry,
    /// The types of shares whose leases expire. Default: both.
    pub sharetypes: ShareTypes,
    /// The word that lets expired leases be deleted. Default: none, so nothing is.
    pub word: Option<Word>,
    /// Whether all is evaluated and nothing deleted. Default: no.
    pub dry_run: bool,
    /// Whose judgement counts. Default: Sexton's.
    pub conduct: Conduct,
    /// Whether directories of buckets that are left empty are removed; goes with [`Word::Offline`]. Default: no.
    pub prune: bool,
    /// Whether a crawl's first cycle stops when it has examined everything, until somebody has confirmed what it would delete.
    /// Default: no.
    pub rehearsal: bool,
    /// The largest part of the shares examined that a cycle may delete without a confirmation, from 0 to 1. [`Conduct::Compat`]
    /// deletes as it goes, so it needs 1. Default: 0.10.
    pub max_delete: f64,
    /// Whether the clock is vouched for, where a share that was written after it speaks against it, or, with
    /// [`Word::Online`], the files of the node. Default: no.
    pub accept_clock: bool,
    /// Whether the node is vouched for to be stopped, as far as that cannot be seen from here: a pid file that names a living
    /// process refuses all the same. Goes with [`Word::Offline`]. Default: no.
    pub node_stopped: bool,
}

impl Default for LeaseSettings {
    fn default() -> LeaseSettings {
        LeaseSettings {
            expiry: Expiry::None,
            sharetypes: ShareTypes::default(),
            word: None,
            dry_run: false,
            conduct: Conduct::Careful,
            prune: false,
            rehearsal: false,
            max_delete: 0.10,
            accept_clock: false,
            node_stopped: false,
        }
    }
}

/// What a cycle does about expired leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryMode {
    /// None expire.
    Looks,
    /// It tells what it would delete.
    Tells,
    Deletes,
}

impl LeaseSettings {
    pub(super) fn manner(&self) -> ExpiryMode {
        match self.word {
            _ if self.expiry == Expiry::None => ExpiryMode::Looks,
            Some(_) if !self.dry_run => ExpiryMode::Deletes,
            _ => ExpiryMode::Tells,
        }
    }

    /// Whether a lease of such a share has expired by the settings at the moment `now`, in seconds since 1970.
    pub(super) fn expires(&self, header: &Header, lease: Lease, now: f64) -> bool {
        self.sharetypes.0.contains(&header.share_type()) && self.expiry.expires(lease, now)
    }

    /// Checks that it goes together, and that whoever lets something be deleted has said the word.
    ///
    /// # Errors
    /// [`Error::Config`] with what it must be.
    pub fn validate(&self) -> Result<()> {
        let types = &self.sharetypes.0;
        let expires = self.expiry != Expiry::None;
        let compat = self.conduct == Conduct::Compat;
        let wrong = |why: &str| Err(Error::Config(why.into()));
        if types.iter().enumerate().any(|(i, t)| types[..i].contains(t)) {
            return wrong("sharetypes has a type twice; leave one out");
        }
        if !(0.0..=1.0).contains(&self.max_delete) {
            return wrong("max_delete is a part of the shares examined: give a percentage from 0% to 100%");
        }
        if self.expiry == Expiry::AgeAsCoded && !compat {
            return wrong(
                "expiry \"age\" needs a duration: Tahoe's mode age without one never expires anything; give age:SECONDS, \
                 for the 31 days that leases are granted for age:2678400",
            );
        }
        if self.prune && !expires {
            return wrong("prune_empty_buckets goes with expiry: say with expire which leases expire");
        }
        match self.word {
            _ if expires && types.is_empty() => {
                wrong("sharetypes is empty, so nothing would ever expire; set expire to none instead")
            }
            None if expires && !self.dry_run => wrong(
                "deleting expired leases needs a word: offline if the node of this store is stopped, online if it is \
                 running; or dry_run (--dry-run), to see what would be deleted",
            ),
            Some(word) if !expires => {
                let word = word.as_str();
                Err(Error::Config(format!("{word} lets expired leases be deleted, but expire says that none expire")))
            }
            Some(Word::Online) if compat => {
                wrong("compat does as Tahoe does with its own lock on the store: it goes with offline")
            }
            Some(Word::Online) if self.prune => wrong(
                "prune_empty_buckets goes with offline: a running node may be about to put a share into an empty bucket",
            ),
            Some(_) if compat && !self.dry_run && (self.max_delete < 1.0 || self.rehearsal) => wrong(
                "compat deletes bucket after bucket, as Tahoe does, so nothing is judged or confirmed before it begins: it goes with \
                 a limit of 100 % (--max-delete 100%; in config.ron max_delete: \"100%\" and rehearsal: false); look with a dry run \
                 first",
            ),
            _ if compat && self.prune => {
                wrong("Tahoe prunes no empty buckets: leave out compat or prune_empty_buckets")
            }
            // A dry run with the word tells what the run would do: be refused.
            Some(_) if !compat && self.cuts_short() => wrong(
                "leases are granted for 31 days, and a shorter age deletes leases that are valid by their own dates: give 31 days, \
                 on the command line in seconds (age:2678400), in config.ron as age(\"31d\"); or, where clients are known to have \
                 renewed since, a cutoff: cutoff:UNIXTIME, or cutoff(\"2025-01-01\")",
            ),
            _ => Ok(()),
        }
    }

    /// Whether leases expire by age before their own dates.
    fn cuts_short(&self) -> bool {
        matches!(self.expiry, Expiry::Age { secs } if secs < u64::from(LEASE_SECS))
    }

    /// Refuses a cutoff after `now`, in seconds since 1970, also where nothing is deleted by it: every lease would expire.
    /// [`Conduct::Compat`] follows Tahoe in this too.
    ///
    /// # Errors
    /// [`Error::Config`] with what it must be.
    pub fn validate_at(&self, now: f64) -> Result<()> {
        match self.expiry {
            // Moments that matter are far below 2^53.
            Expiry::Cutoff { unix } if unix as f64 > now && self.conduct == Conduct::Careful => {
                Err(Error::Config(format!(
                    "the cutoff {unix} is after now ({now:.0}), so even a lease renewed this moment would expire: give a moment that \
                 has passed, on the command line in seconds (not milliseconds) since 1970"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::container::ShareType;

    fn with(change: impl FnOnce(&mut LeaseSettings)) -> LeaseSettings {
        let mut settings = LeaseSettings { expiry: Expiry::Age { secs: 2_678_400 }, ..LeaseSettings::default() };
        change(&mut settings);
        settings
    }

    #[test]
    fn deleting_needs_a_word_and_evaluating_does_not() {
        let why = |change: fn(&mut LeaseSettings)| with(change).validate().unwrap_err().to_string();
        assert!(why(|_| ()).starts_with("deleting expired leases needs a word"));
        assert!(why(|s| s.sharetypes.0 = vec![ShareType::Mutable; 2]).starts_with("sharetypes has a type twice"));
        assert!(why(|s| s.sharetypes.0.clear()).starts_with("sharetypes is empty"));
        assert!(why(|s| s.expiry = Expiry::AgeAsCoded).contains("age:2678400"));
        assert!(why(|s| (s.expiry, s.word) = (Expiry::None, Some(Word::Offline))).starts_with("offline lets"));
        assert!(why(|s| (s.conduct, s.word) = (Conduct::Compat, Some(Word::Online))).contains("offline"));
        assert!(
            why(|s| (s.prune, s.word) = (true, Some(Word::Online))).contains("prune_empty_buckets goes with offline")
        );
        assert!(why(|s| s.max_delete = f64::NAN).contains("0% to 100%"));
        with(|s| s.dry_run = true).validate().unwrap();
        with(|s| s.word = Some(Word::Online)).validate().unwrap();
        with(|s| (s.word, s.prune) = (Some(Word::Offline), true)).validate().unwrap();
        with(|s| {
            (s.word, s.conduct, s.expiry) = (Some(Word::Offline), Conduct::Compat, Expiry::AgeAsCoded);
            s.max_delete = 1.0;
        })
        .validate()
        .unwrap();
        LeaseSettings { sharetypes: ShareTypes(Vec::new()), ..LeaseSettings::default() }.validate().unwrap();
    }

    #[test]
    fn rules_by_which_valid_leases_would_go_are_refused_where_anything_is_deleted() {
        let deleting = |expiry| with(|s| (s.expiry, s.word) = (expiry, Some(Word::Offline)));
        // Meant as days.
        let why = deleting(Expiry::Age { secs: 31 }).validate().unwrap_err().to_string();
        assert!(why.contains("valid by their own dates") && why.contains("age:2678400"), "{why}");
        assert!(deleting(Expiry::Age { secs: 2_678_399 }).validate().is_err());
        deleting(Expiry::Age { secs: 2_678_400 }).validate().unwrap();
        let short = |change: fn(&mut LeaseSettings)| {
            with(|s| {
                (s.expiry, s.word) = (Expiry::Age { secs: 31 }, Some(Word::Offline));
                change(s);
            })
        };
        assert!(short(|s| s.dry_run = true).validate().is_err(), "what the run refuses is not told");
        short(|s| (s.dry_run, s.word) = (true, None)).validate().unwrap();
        short(|s| (s.conduct, s.max_delete) = (Conduct::Compat, 1.0)).validate().unwrap();
        // Milliseconds.
        let cutoff = |unix| deleting(Expiry::Cutoff { unix });
        let why = cutoff(1_700_000_000_000).validate_at(1_700_000_000.0).unwrap_err().to_string();
        assert!(why.contains("seconds (not milliseconds)"), "{why}");
        assert!(cutoff(1_700_000_001).validate_at(1_700_000_000.0).is_err());
        cutoff(1_700_000_000).validate_at(1_700_000_000.0).unwrap();
        let ways: [fn(&mut LeaseSettings); 3] = [|s| s.dry_run = true, |s| s.rehearsal = true, |s| s.word = None];
        for change in ways {
            let mut tells = cutoff(1_700_000_001);
            change(&mut tells);
            assert!(tells.validate_at(1_700_000_000.0).is_err(), "what the run refuses is not rehearsed: {tells:?}");
        }
        LeaseSettings { conduct: Conduct::Compat, ..cutoff(1_700_000_001) }.validate_at(1_700_000_000.0).unwrap();
    }

    #[test]
    fn nothing_is_deleted_without_expiry_and_word() {
        let manner = |change: fn(&mut LeaseSettings)| with(change).manner();
        assert_eq!(manner(|s| s.word = Some(Word::Offline)), ExpiryMode::Deletes);
        assert_eq!(manner(|s| (s.word, s.dry_run) = (Some(Word::Online), true)), ExpiryMode::Tells);
        assert_eq!(manner(|_| ()), ExpiryMode::Tells);
        assert_eq!(manner(|s| s.expiry = Expiry::None), ExpiryMode::Looks);
    }

    /// It deletes while it looks, so there is nothing between the two.
    #[test]
    fn compat_deletes_only_without_a_limit_and_without_a_confirmation() {
        let compat = |change: fn(&mut LeaseSettings)| {
            with(|s| {
                (s.conduct, s.word, s.max_delete) = (Conduct::Compat, Some(Word::Offline), 1.0);
                change(s);
            })
            .validate()
        };
        compat(|_| ()).unwrap();
        for max_delete in [0.0, 0.1, 0.999] {
            let limited = with(|s| {
                (s.conduct, s.word, s.max_delete) = (Conduct::Compat, Some(Word::Offline), max_delete);
            });
            let why = limited.validate().unwrap_err().to_string();
            assert!(why.contains("--max-delete 100%") && why.contains("a dry run first"), "{why}");
        }
        assert!(compat(|s| s.rehearsal = true).unwrap_err().to_string().contains("rehearsal: false"));
        compat(|s| (s.dry_run, s.max_delete, s.rehearsal) = (true, 0.1, true)).unwrap();
        compat(|s| (s.word, s.dry_run, s.max_delete) = (None, true, 0.1)).unwrap();
    }
}
