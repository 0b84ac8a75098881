//! How a crawl stands to its target: whether every prefix is visited again within the time that was set.

use super::picture::Picture;
use super::shapes::{Range, Target};
use crate::daemon::shared::CrawlView;
use crate::model::{CrawlStatus, CycleReport};
use crate::policy::target::{Outlook, between_visits, outlook};

/// At the pace of the running cycle; until that can be told, at the pace of the last complete one.
pub fn target(
    picture: &Picture<'_>,
    view: &CrawlView,
    found: &CrawlStatus,
    last: Option<&CycleReport>,
) -> Option<Target> {
    let within = view.settings.target?.as_secs_f64();
    let told = found.target.and_then(|target| target.between_visits_secs);
    let expected = told.or_else(|| {
        let CycleReport { started, finished, .. } = last.filter(|report| report.complete)?;
        let cycle = (finished - started).max(0.0);
        Some(between_visits((cycle, cycle), view.settings.minimum_cycle_time.as_secs_f64()))
    });
    let oldest = picture.shared.engine.ring(&view.settings.name).and_then(|ring| {
        let visits: Option<Vec<f64>> = ring.marks.iter().map(|mark| mark.visited).collect();
        visits?.into_iter().reduce(f64::min)
    });
    let outlook = expected.map(|expected| outlook(within, expected));
    Some(Target {
        text: text(within, expected, outlook, view.settings.minimum_cycle_time.as_secs_f64()),
        within_secs: within,
        oldest_secs: oldest.map(|at| (picture.now - at).max(0.0)),
        expected_secs: expected.map(|(least, most)| Range { least, most }),
        met: match outlook {
            Some(Outlook::Kept) => Some(true),
            Some(Outlook::Missed) => Some(false),
            Some(Outlook::Close) | None => None,
        },
    })
}

/// One sentence for people.
fn text(within: f64, expected: Option<(f64, f64)>, outlook: Option<Outlook>, between_cycles: f64) -> String {
    let set = format!("every share is to have its turn within {}", shown(within));
    let Some((least, most)) = expected else { return format!("{set}: too little was done to tell whether it will") };
    let pace = match (shown(least), shown(most)) {
        (least, most) if least == most => format!("it takes {most}"),
        (least, most) => format!("it takes {least} to {most}"),
    };
    match outlook {
        Some(Outlook::Kept) => format!("{set}: at this pace {pace}, so the target will be met"),
        Some(Outlook::Missed) => {
            // No budget helps where a cycle is not to begin in time.
            let needed = if between_cycles >= within {
                "a shorter minimum_cycle_time is needed"
            } else {
                "more budget is needed"
            };
            format!("{set}: at this pace {pace}, so the target will be MISSED: {needed}")
        }
        _ => format!("{set}: at this pace {pace}, so the target may be met or missed"),
    }
}

/// A time in its two largest units: `21 days 4 h`.
fn shown(secs: f64) -> String {
    const UNITS: [(u64, &str, &str); 4] =
        [(86_400, "day", "days"), (3600, "h", "h"), (60, "min", "min"), (1, "s", "s")];
    // What does not fit is the longest time there is.
    let mut left = secs.max(0.0) as u64;
    let mut parts = Vec::new();
    for (size, one, many) in UNITS {
        let n = left / size;
        left %= size;
        if n > 0 || (size == 1 && parts.is_empty()) {
            parts.push(format!("{n} {}", if n == 1 { one } else { many }));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_will_become_of_the_target() {
        let day = 86_400.0;
        let said = |least: f64, most: f64| {
            let expected = (least * day, most * day + 3661.0);
            text(30.0 * day, Some(expected), Some(outlook(30.0 * day, expected)), 7.0 * day)
        };
        let set = "every share is to have its turn within 30 days";
        assert_eq!(
            said(10.0, 12.0),
            format!("{set}: at this pace it takes 10 days to 12 days 1 h, so the target will be met")
        );
        assert!(said(10.0, 30.0).ends_with("so the target may be met or missed"), "{}", said(10.0, 30.0));
        assert!(
            said(31.0, 40.0).ends_with("so the target will be MISSED: more budget is needed"),
            "{}",
            said(31.0, 40.0)
        );
        let too_rare = text(day, Some((2.0 * day, 3.0 * day)), Some(Outlook::Missed), day);
        assert!(too_rare.ends_with("will be MISSED: a shorter minimum_cycle_time is needed"), "{too_rare}");
        assert_eq!(text(30.0 * day, None, None, 0.0), format!("{set}: too little was done to tell whether it will"));
        let times = [0.0, 59.9, 3600.0, 86_520.0, 90_000.0].map(shown);
        assert_eq!(times, ["0 s", "59 s", "1 h", "1 day", "1 day 1 h"]);
        assert!(shown(f64::INFINITY).ends_with(" h"));
    }
}
