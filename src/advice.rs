//! What the program tells people of an error: the library's text, and what to do about it with its own options and settings.

use crate::error::{Error, StateLack};
use crate::tahoe::ChangeRefusal;

/// The error with its advice.
pub fn told(error: &Error) -> String {
    match error {
        Error::StateForeign { .. } => {
            format!("{error}; name another one (--state, or `state` in config.ron)")
        }
        Error::StateHeld { .. } => {
            format!("{error}; wait for it to end, stop it, or name another file (--state, or `state` in config.ron)")
        }
        Error::StateUnusable { lacks: StateLack::Rights, .. } => {
            format!("{error}, or name another file (--state, or `state` in config.ron)")
        }
        Error::StateUnusable { lacks: StateLack::Locks, .. } => {
            format!("{error}; --state (`state` in config.ron) names the file")
        }
        Error::HalfDone { .. } => format!("{error}, without --fresh"),
        Error::CycleDiffers { .. } => format!("{error}; use those again, or begin anew with --fresh"),
        Error::SafetyCatch { crawl, cycle, would_delete, deleted, examined, most } => format!(
            "cycle {cycle} of {crawl} is examined and would delete {would_delete} of {examined} shares (deleted already: \
             {deleted}), and {:.1} % is the most allowed, so it waits: check the clock, the rule of expiry and whether clients \
             still renew their leases; if all is right, the same command with a larger --max-delete (`max_delete` in config.ron) \
             deletes what was examined, without examining it again",
            most * 100.0
        ),
        Error::Clock { .. } => format!("{error}, and the same command then goes on"),
        Error::Unchangeable { .. } => format!("{error}, and once that is mended the same command goes on"),
        error => match error.downcast_ref() {
            Some(ChangeRefusal::NodeSilent { .. }) => format!(
                "{error}; set the clock if it is wrong, start the node if it is stopped, or let it be stopped and delete with \
                 --offline (`delete: offline` in config.ron); if the clock is right all the same, say so with --accept-clock \
                 (`accept_clock: true` in config.ron)"
            ),
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_waits_says_what_to_look_at_and_how_it_goes_on() {
        let crawl = "c".to_owned();
        let waits = Error::SafetyCatch { crawl, cycle: 3, would_delete: 300, deleted: 0, examined: 1200, most: 0.1 };
        let keys = ["--max-delete", "`max_delete` in config.ron", "without examining it again"];
        for words in ["300 of 1200 shares", "(deleted already: 0)", "10.0 %", "the clock"].into_iter().chain(keys) {
            assert!(told(&waits).contains(words), "{}", told(&waits));
        }
    }

    #[test]
    fn the_library_names_no_option_and_the_program_does() {
        let (path, cause, crawl) = (PathBuf::from("/s"), "why".to_owned(), "c".to_owned());
        let unusable = |lacks| Error::StateUnusable { doing: "open", path: path.clone(), cause: cause.clone(), lacks };
        let silent = ChangeRefusal::NodeSilent { folder: path.clone(), fault: "is old".to_owned() };
        for (error, option) in [
            (Error::StateForeign { path: path.clone(), cause: cause.clone() }, "--state"),
            (Error::StateHeld { path: path.clone(), holder: cause.clone() }, "--state"),
            (unusable(StateLack::Rights), "--state"),
            (unusable(StateLack::Locks), "--state"),
            (Error::CycleDiffers { crawl: crawl.clone(), cycle: 3, differences: Vec::new() }, "--fresh"),
            (Error::HalfDone { crawl: crawl.clone(), cycle: 3, buckets: 1 }, "--fresh"),
            (
                Error::SafetyCatch { crawl, cycle: 3, would_delete: 2, deleted: 0, examined: 9, most: 0.1 },
                "--max-delete",
            ),
            (silent.into(), "--accept-clock"),
        ] {
            assert!(told(&error).contains(option), "{}", told(&error));
            assert!(!error.to_string().contains("--") && !error.to_string().contains("config.ron"), "{error}");
        }
    }
}
