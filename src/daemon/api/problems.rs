//! What an operator should look at, worst first: damage, then what could not be read, then what cannot go on, then what waits.

use super::picture::{Picture, problem};
use super::shapes::{Cleaning, CleaningState, Crawl, CrawlState, Problem, Rehearsal};
use crate::model::Verdict;
use crate::priority::Grip;
use crate::sizes::{self, plural};

/// All of them; none when all is well.
pub fn all(picture: &Picture<'_>, crawls: &[Crawl], cleanings: &[Cleaning]) -> Vec<Problem> {
    let view = &picture.view;
    let mut found = Vec::new();
    if let Some(why) = &view.refused {
        let text = format!("the configuration was refused, the old one is in force: {why}");
        found.push(problem("config", None, Verdict::Failed, text));
    }
    if let Some(why) = &view.unsaved {
        found.push(problem("state", None, Verdict::Waiting, why.clone()));
    }
    for crawl in crawls {
        found.extend(met(crawl));
        let add = match (crawl.state, &crawl.error, &crawl.waiting_for) {
            (CrawlState::Failed, Some(error), _) => Some((Verdict::Failed, error.clone())),
            (CrawlState::Waiting, _, Some(why)) => Some((Verdict::Waiting, why.clone())),
            _ if crawl.waits_to_be_confirmed() => Some((Verdict::Waiting, rehearsed(crawl))),
            _ => None,
        };
        found.extend(add.map(|(severity, text)| problem("crawl", Some(&crawl.name), severity, text)));
        if let Some(cycle) = crawl.last_cycle.as_ref().filter(|cycle| cycle.incomplete_prefixes > 0) {
            let (prefixes, number) = (cycle.incomplete_prefixes, cycle.cycle);
            let text = format!("cycle {number} could not list {prefixes} prefixes, so its numbers are too small");
            found.push(problem("crawl", Some(&crawl.name), Verdict::Errors, text));
        }
    }
    for crawl in crawls {
        let missed = crawl.target.as_ref().filter(|target| target.met == Some(false));
        found.extend(missed.map(|target| problem("crawl", Some(&crawl.name), Verdict::Warning, target.text.clone())));
    }
    for cleaning in cleanings {
        let refused = cleaning.last_run.as_ref().and_then(|run| run.refused.clone());
        let add = match (cleaning.state, &cleaning.error, &cleaning.waiting_for) {
            (CleaningState::Failed, Some(error), _) => Some((Verdict::Failed, error.clone())),
            (CleaningState::Waiting, _, Some(why)) => Some((Verdict::Waiting, why.clone())),
            _ => refused.map(|why| (Verdict::Failed, format!("nothing was cleaned: {why}"))),
        };
        found.extend(add.map(|(severity, text)| problem("cleaning", Some(&cleaning.name), severity, text)));
    }
    if view.priority.grip != Grip::Yes {
        let text = format!("priority: {}", view.priority.text);
        found.push(problem("daemon", None, Verdict::Warning, text));
    }
    found.sort_by_key(|problem| problem.severity);
    found
}

/// What is damaged, and what could not be read.
fn met(crawl: &Crawl) -> Vec<Problem> {
    let (name, damaged, unread) = (&crawl.name, crawl.damaged, crawl.unread());
    let is = if damaged == 1 { "is" } else { "are" };
    let lists = format!("`sexton findings --crawl {name}` lists what was found");
    let damage = format!("{} {is} damaged; {lists}", plural(damaged, "object"));
    let errors = format!("{unread} of what was looked at could not be read; {lists}");
    let mut all = vec![(damaged, Verdict::Damage, damage), (unread, Verdict::Errors, errors)];
    if crawl.last_cycle.as_ref().is_some_and(|cycle| cycle.no_prefix) {
        let text = format!(
            "there are names in {}/shares, and none of them is a prefix: is it a store of shares?",
            crawl.store
        );
        all.push((1, Verdict::Errors, text));
    }
    let some = all.into_iter().filter(|(count, ..)| *count > 0);
    some.map(|(_, severity, text)| problem("crawl", Some(name), severity, text)).collect()
}

fn rehearsed(crawl: &Crawl) -> String {
    let Some(Rehearsal { shares, leases, bytes, over_limit, .. }) = crawl.rehearsal else {
        return "it waits to be confirmed before it deletes anything".to_owned();
    };
    let size = sizes::for_people(bytes as f64);
    let (shares, leases) = (plural(shares, "share"), plural(leases, "lease"));
    let limit = if over_limit { ", more than its limit allows" } else { "" };
    format!("it waits to be confirmed before it deletes {shares} and {leases} ({size}){limit}")
}
