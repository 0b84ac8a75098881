//! How things stand, by one rule for all: damage comes first, then what could not be read, then what cannot go on, then what
//! waits. The page, `sexton status`, the metrics and the exit codes go by it.

use serde::{Deserialize, Deserializer, Serialize};

/// How things stand, the worst first.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Objects are damaged.
    Damage,
    /// Something could not be read.
    Errors,
    /// Something cannot go on by itself.
    Failed,
    /// Something waits: for a person, for room, for a store that is not there.
    Waiting,
    /// Worth a look.
    Warning,
    /// Nothing of all that.
    Well,
}

impl Verdict {
    /// All of them, the worst first.
    pub const ALL: [Verdict; 6] =
        [Verdict::Damage, Verdict::Errors, Verdict::Failed, Verdict::Waiting, Verdict::Warning, Verdict::Well];

    /// The verdict over several things: the worst.
    pub fn over(all: impl IntoIterator<Item = Verdict>) -> Verdict {
        all.into_iter().min().unwrap_or(Verdict::Well)
    }

    /// The verdict by what was found: damaged objects, and things that could not be read.
    pub fn found(damaged: u64, errors: u64) -> Verdict {
        match (damaged, errors) {
            (1.., _) => Verdict::Damage,
            (0, 1..) => Verdict::Errors,
            (0, 0) => Verdict::Well,
        }
    }

    /// As the API and the metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Damage => "damage",
            Verdict::Errors => "errors",
            Verdict::Failed => "failed",
            Verdict::Waiting => "waiting",
            Verdict::Warning => "warning",
            Verdict::Well => "well",
        }
    }
}

/// One that is not known here comes from a newer version, and is worth a look.
impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
        let said = String::deserialize(deserializer)?;
        Ok(Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == said).unwrap_or(Verdict::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_damage_is_the_worst() {
        assert_eq!(Verdict::over([]), Verdict::Well);
        assert_eq!(Verdict::over([Verdict::Waiting, Verdict::Errors, Verdict::Warning]), Verdict::Errors);
        assert_eq!(Verdict::over(Verdict::ALL), Verdict::Damage);
        assert!(Verdict::ALL.is_sorted());
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
            assert_eq!(serde_json::from_value::<Verdict>(verdict.as_str().into()).unwrap(), verdict);
        }
    }

    #[test]
    fn a_verdict_of_a_newer_version_is_worth_a_look() {
        assert_eq!(serde_json::from_str::<Verdict>("\"dubious\"").unwrap(), Verdict::Failed);
    }

    #[test]
    fn what_was_found_is_judged_by_damage_first() {
        let found = [(0, 0), (0, 3), (2, 0), (2, 3)].map(|(damaged, errors)| Verdict::found(damaged, errors));
        assert_eq!(found, [Verdict::Well, Verdict::Errors, Verdict::Damage, Verdict::Damage]);
    }
}
