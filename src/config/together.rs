//! Parts of one file that are in each other's way.

use super::{Config, CrawlConfig};
use crate::error::{Error, Result};
use crate::store::lies_in;

/// Checks all of it.
///
/// # Errors
/// [`Error::Config`] with what is wrong.
pub(super) fn check(config: &Config) -> Result<()> {
    state_lies_apart(config)?;
    each_deletes_its_own(&config.crawls)
}

/// Checks that the state file does not lie among the shares of a store, where a node would come upon it.
fn state_lies_apart(config: &Config) -> Result<()> {
    let Some(state) = &config.state else { return Ok(()) };
    let shares = config.crawls.iter().map(|crawl| crawl.store.join("shares"));
    match shares.into_iter().find(|shares| lies_in(state, shares)) {
        Some(shares) => Err(Error::Config(format!(
            "the state file {} lies in {}, where the node looks for shares: name one outside",
            state.display(),
            shares.display()
        ))),
        None => Ok(()),
    }
}

/// Checks that no two crawls delete expired leases of the same shares: each would count as its own what the other has taken,
/// and by two rules the shorter one would hold for all.
///
/// # Errors
/// [`Error::Config`] with the names of the crawls.
fn each_deletes_its_own(crawls: &[CrawlConfig]) -> Result<()> {
    // A store may be away for the moment, and have several names.
    let store = |crawl: &CrawlConfig| crawl.store.canonicalize().unwrap_or_else(|_| crawl.store.clone());
    for (n, crawl) in crawls.iter().enumerate() {
        for other in &crawls[..n] {
            let Some(what) = crawl.job.both_delete(&other.job) else { continue };
            if store(crawl) == store(other) {
                let (one, other) = (&other.settings.name, &crawl.settings.name);
                return Err(Error::Config(format!(
                    "crawls {one} and {other} both delete {what} in {}: leave one out, or give each other sharetypes",
                    store(crawl).display()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_does_not_lie_among_the_shares() {
        let folder = tempfile::tempdir().unwrap();
        let load = |state: &str| {
            let file = folder.path().join("c.ron");
            std::fs::write(&file, format!(r#"(state: "{state}", crawls: [(store: "store", job: count)])"#)).unwrap();
            Config::load(file)
        };
        let why = load("store/shares/aa/state.sqlite").unwrap_err().to_string();
        assert!(why.contains("state.sqlite lies in") && why.contains("store/shares, where the node looks"), "{why}");
        load("store/state.sqlite").unwrap();
    }

    #[test]
    fn shares_expire_by_one_crawl_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("store")).unwrap();
        std::os::unix::fs::symlink("store", path("link")).unwrap();
        let load = |[first, second]: [(&str, &str); 2]| {
            let crawl = |name, (store, more)| {
                format!(r#"(name: "{name}", store: "{store}", job: leases(expire: age("31d"), delete: offline{more}))"#)
            };
            std::fs::write(path("c.ron"), format!("(crawls: [{}, {}])", crawl("a", first), crawl("b", second)))
                .unwrap();
            Config::load(path("c.ron"))
        };
        let (mutable, immutable) = (", sharetypes: [mutable]", ", sharetypes: [immutable]");
        for twice in [[("store", ""), ("link", "")], [("store", mutable), ("store", "")], [("away", ""), ("away", "")]]
        {
            let why = load(twice).expect_err(twice[1].0).to_string();
            assert!(why.contains("crawls a and b both delete expired leases of mutable shares in"), "{why}");
        }
        for fine in [
            [("store", mutable), ("link", immutable)],
            [("store", ""), ("other", "")],
            [("store", ", dry_run: true"), ("store", "")],
        ] {
            load(fine).unwrap();
        }
    }
}
