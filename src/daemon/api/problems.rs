//! What an operator should look at, worst first.

use super::picture::{Picture, problem};
use super::shapes::{Cleaning, CleaningState, Crawl, CrawlState, Problem, Rehearsal, Severity};
use crate::priority::Grip;
use crate::sizes;

/// All of them; none when all is well.
pub fn all(picture: &Picture<'_>, crawls: &[Crawl], cleanings: &[Cleaning]) -> Vec<Problem> {
    let view = &picture.view;
    let mut found = Vec::new();
    if let Some(why) = &view.refused {
        let text = format!("the configuration was refused, the old one is in force: {why}");
        found.push(problem("config", None, Severity::Failed, text));
    }
    if let Some(why) = &view.unsaved {
        found.push(problem("state", None, Severity::Waiting, why.clone()));
    }
    for crawl in crawls {
        let add = match (crawl.state, &crawl.error, &crawl.waiting_for) {
            (CrawlState::Failed, Some(error), _) => Some((Severity::Failed, error.clone())),
            (CrawlState::Waiting, _, Some(why)) => Some((Severity::Waiting, why.clone())),
            _ if crawl.waits_to_be_confirmed() => Some((Severity::Waiting, rehearsed(crawl))),
            _ => None,
        };
        found.extend(add.map(|(severity, text)| problem("crawl", Some(&crawl.name), severity, text)));
        if let Some(cycle) = crawl.last_cycle.as_ref().filter(|cycle| cycle.incomplete_prefixes > 0) {
            let (prefixes, number) = (cycle.incomplete_prefixes, cycle.cycle);
            let text = format!("cycle {number} could not list {prefixes} prefixes, so its numbers are too small");
            found.push(problem("crawl", Some(&crawl.name), Severity::Warning, text));
        }
    }
    for crawl in crawls {
        let missed = crawl.target.as_ref().filter(|target| target.met == Some(false));
        found.extend(missed.map(|target| problem("crawl", Some(&crawl.name), Severity::Warning, target.text.clone())));
    }
    for cleaning in cleanings {
        let refused = cleaning.last_run.as_ref().and_then(|run| run.refused.clone());
        let add = match (cleaning.state, &cleaning.error, &cleaning.waiting_for) {
            (CleaningState::Failed, Some(error), _) => Some((Severity::Failed, error.clone())),
            (CleaningState::Waiting, _, Some(why)) => Some((Severity::Waiting, why.clone())),
            _ => refused.map(|why| (Severity::Warning, format!("nothing was cleaned: {why}"))),
        };
        found.extend(add.map(|(severity, text)| problem("cleaning", Some(&cleaning.name), severity, text)));
    }
    if view.priority.grip != Grip::Yes {
        let text = format!("priority: {}", view.priority.text);
        found.push(problem("daemon", None, Severity::Warning, text));
    }
    found.sort_by_key(|problem| problem.severity);
    found
}

fn rehearsed(crawl: &Crawl) -> String {
    let Some(Rehearsal { shares, leases, bytes, .. }) = crawl.rehearsal else {
        return "a rehearsal waits to be confirmed; what it has shown is being read".to_owned();
    };
    let size = sizes::for_people(bytes as f64);
    let (shares, leases) = (sizes::plural(shares, "share"), sizes::plural(leases, "lease"));
    format!("a rehearsal waits to be confirmed: {shares} and {leases} ({size}) would be deleted")
}
