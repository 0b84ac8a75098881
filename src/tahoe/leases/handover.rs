//! The lease job's tally and settings in Tahoe's terms: how a cycle that Tahoe began becomes one of ours.
//!
//! The way back is [`report`](crate::job::Job::report): its `history` is an entry that Tahoe could have written.

use serde_json::Value;

use super::tally::{LeaseTally, SpaceTally, Split};
use super::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};
use crate::tahoe::state::figures::{ExpireMode, Figures};

impl LeaseTally {
    /// The tally that holds Tahoe's figures. Corrupt shares are no part of it: they are findings.
    pub fn from_tahoe(figures: &Figures) -> LeaseTally {
        let space = |group: usize| SpaceTally::from(figures.space.groups[group].map(Split::from));
        let mut tally = LeaseTally::default();
        tally.ages.clone_from(&figures.ages);
        tally.leases_per_share.clone_from(&figures.leases_per_share);
        [tally.actual, tally.original, tally.configured, tally.examined] = std::array::from_fn(space);
        tally.unknown_buckets = figures.space.unknown_buckets;
        tally
    }
}

impl LeaseSettings {
    /// The settings under which Tahoe's figures were counted.
    pub fn from_tahoe(figures: &Figures) -> LeaseSettings {
        let expiry = match figures.mode {
            ExpireMode::Age { secs: None } => Expiry::None,
            ExpireMode::Age { secs: Some(secs) } => Expiry::Age { secs },
            ExpireMode::Cutoff { unix } => Expiry::Cutoff { unix },
        };
        LeaseSettings { expiry, sharetypes: ShareTypes(figures.sharetypes.clone()), ..LeaseSettings::default() }
    }

    /// The settings that were frozen in a cycle, from the parameters of the job that has them.
    ///
    /// # Errors
    /// Says what is not as this job writes it.
    pub fn from_parameters(parameters: &Value) -> Result<LeaseSettings, String> {
        let wrong = || format!("{parameters} are not the parameters of a lease crawl");
        let expire = parameters["expire"].as_str().ok_or_else(wrong)?;
        let types = parameters["sharetypes"].as_array().ok_or_else(wrong)?;
        let types: Option<Vec<&str>> = types.iter().map(Value::as_str).collect();
        let types = types.ok_or_else(wrong)?.join(",");
        let sharetypes = match types.as_str() {
            "" => Ok(ShareTypes(Vec::new())),
            types => types.parse(),
        };
        let word = |key: &str| match parameters[key].as_str() {
            Some("offline") => Some(Word::Offline),
            Some("online") => Some(Word::Online),
            _ => None,
        };
        let evaluated = word("dry_run");
        Ok(LeaseSettings {
            expiry: expire.parse().map_err(|e: crate::Error| e.to_string())?,
            sharetypes: sharetypes.map_err(|e| e.to_string())?,
            word: evaluated.or_else(|| word("delete")),
            dry_run: evaluated.is_some(),
            conduct: if parameters["compat"] == true { Conduct::Compat } else { Conduct::Careful },
            prune: parameters["prune_empty_buckets"] == true,
            ..LeaseSettings::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{CycleView, Job};
    use crate::tahoe::container::ShareType;
    use crate::tahoe::state::leases::HistoryEntry;
    use crate::tahoe::{Leases, TahoeStore};
    use serde_json::json;

    #[test]
    fn settings_are_read_back_from_their_parameters() {
        for expiry in [Expiry::None, Expiry::Age { secs: 1 }, Expiry::Cutoff { unix: -1 }] {
            for sharetypes in [vec![], vec![ShareType::Immutable], vec![ShareType::Immutable, ShareType::Mutable]] {
                let plain = LeaseSettings { expiry, sharetypes: ShareTypes(sharetypes), ..LeaseSettings::default() };
                let deleting = LeaseSettings { word: Some(Word::Offline), prune: true, ..plain.clone() };
                let compat = LeaseSettings { conduct: Conduct::Compat, prune: false, ..deleting.clone() };
                let tells = LeaseSettings { word: Some(Word::Online), dry_run: true, ..plain.clone() };
                for settings in [plain, deleting, compat, tells] {
                    let parameters = Job::<TahoeStore>::parameters(&Leases::new(settings.clone()));
                    assert_eq!(LeaseSettings::from_parameters(&parameters), Ok(settings));
                }
            }
        }
        for wrong in [json!(null), json!({"expire": "age:x", "sharetypes": []}), json!({"expire": "none"})] {
            assert!(LeaseSettings::from_parameters(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_of_tahoes_numbers_comes_back_under_its_own_key() {
        let numbers =
            std::array::from_fn(|g| std::array::from_fn(|u| std::array::from_fn(|e| (g * 100 + u * 10 + e) as u64)));
        let figures = Figures {
            expiration_enabled: false,
            mode: ExpireMode::Cutoff { unix: 5 },
            sharetypes: vec![ShareType::Immutable],
            ages: [(-2, 3), (40, 1)].into(),
            leases_per_share: [(0, 2), (9, 1)].into(),
            corrupt_shares: vec![],
            space: crate::tahoe::state::figures::SpaceRecovered { groups: numbers, unknown_buckets: 7 },
        };
        let tally = LeaseTally::from_tahoe(&figures);
        let view = CycleView {
            now: 0.0,
            fixed_clock: false,
            started: 1.5,
            finished: 2.5,
            tally: &tally,
            counts: &crate::job::Counts::default(),
            prefixes: &[],
            findings: &[],
        };
        let report = Job::<TahoeStore>::report(&Leases::new(LeaseSettings::from_tahoe(&figures)), &view);
        let entry = HistoryEntry::read(&report["history"]).unwrap();
        assert_eq!(entry, HistoryEntry { started: 1.5, finished: 2.5, figures });
    }
}
