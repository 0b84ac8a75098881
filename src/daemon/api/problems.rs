//! What an operator should look at, worst first: damage, then what could not be read, then what cannot go on, then what waits.

use super::picture::{Picture, problem};
use super::shapes::{Cleaning, Crawl, Problem, ProblemSubject, RunResult};
use crate::lock::lock;
use crate::model::{RehearsalStatus, TaskState, Verdict, WouldDelete};
use crate::priority::Grip;
use crate::sizes::{self, plural};

/// All of them; none when all is well.
pub fn all(picture: &Picture<'_>, crawls: &[Crawl], cleanings: &[Cleaning]) -> Vec<Problem> {
    let view = &picture.view;
    let mut found = Vec::new();
    if let Some(why) = &view.refused {
        let text = format!("the configuration was refused, the old one is in force: {why}");
        found.push(problem(ProblemSubject::Config, None, Verdict::Failed, text));
    }
    if let Some(why) = &view.unsaved {
        found.push(problem(ProblemSubject::State, None, Verdict::Waiting, why.clone()));
    }
    if !lock(&picture.shared.past).is_whole {
        let text = "what was done before the daemon began is still being read, under its budget".to_owned();
        found.push(problem(ProblemSubject::Daemon, None, Verdict::Warning, text));
    }
    for crawl in crawls {
        found.extend(met(crawl));
        let add = match (crawl.status.state, &crawl.status.error, &crawl.status.waiting_for) {
            (TaskState::Failed, Some(error), _) => Some((Verdict::Failed, error.clone())),
            (TaskState::Waiting, _, Some(why)) => Some((Verdict::Waiting, why.clone())),
            _ if crawl.waits_to_be_confirmed() => Some((Verdict::Waiting, rehearsed(crawl))),
            _ => None,
        };
        found.extend(add.map(|(severity, text)| problem(ProblemSubject::Crawl, Some(&crawl.name), severity, text)));
        if let Some(cycle) = crawl.last_cycle.as_ref().filter(|cycle| cycle.summary.incomplete_prefixes > 0) {
            let (prefixes, number) = (cycle.summary.incomplete_prefixes, cycle.summary.cycle);
            let text = format!("cycle {number} could not list {prefixes} prefixes, so its numbers are too small");
            found.push(problem(ProblemSubject::Crawl, Some(&crawl.name), Verdict::Errors, text));
        }
    }
    for crawl in crawls {
        let missed = crawl.status.target.as_ref().filter(|target| target.met == Some(false));
        found
            .extend(missed.map(|target| {
                problem(ProblemSubject::Crawl, Some(&crawl.name), Verdict::Warning, target.text.clone())
            }));
    }
    for cleaning in cleanings {
        let ended = cleaning.last_run.as_ref().and_then(|run| Some((run.result, run.refused.clone()?)));
        let add = match (cleaning.status.state, &cleaning.status.error, &cleaning.status.waiting_for) {
            (TaskState::Failed, Some(error), _) => Some((Verdict::Failed, error.clone())),
            (TaskState::Waiting, _, Some(why)) => Some((Verdict::Waiting, why.clone())),
            _ => ended.map(|(result, why)| match result {
                RunResult::Failed => (Verdict::Failed, format!("the last run failed: {why}")),
                _ => (Verdict::Failed, format!("nothing was cleaned: {why}")),
            }),
        };
        found.extend(
            add.map(|(severity, text)| problem(ProblemSubject::Cleaning, Some(&cleaning.name), severity, text)),
        );
    }
    if view.priority.grip != Grip::Yes {
        let text = format!("priority: {}", view.priority.text);
        found.push(problem(ProblemSubject::Daemon, None, Verdict::Warning, text));
    }
    found.sort_by_key(|problem| problem.severity);
    found
}

/// What is damaged, and what could not be read.
fn met(crawl: &Crawl) -> Vec<Problem> {
    let (name, damaged, unread) = (&crawl.name, crawl.status.damaged, crawl.unread());
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
    some.map(|(_, severity, text)| problem(ProblemSubject::Crawl, Some(name), severity, text)).collect()
}

fn rehearsed(crawl: &Crawl) -> String {
    let Some(RehearsalStatus { would_delete, over_limit, .. }) = &crawl.status.rehearsal else {
        return "it waits to be confirmed before it deletes anything".to_owned();
    };
    let WouldDelete { shares, leases, bytes, .. } = *would_delete;
    let size = sizes::for_people(bytes as f64);
    let (shares, leases) = (plural(shares, "share"), plural(leases, "lease"));
    let limit = if *over_limit { ", more than its limit allows" } else { "" };
    format!("it waits to be confirmed before it deletes {shares} and {leases} ({size}){limit}")
}
