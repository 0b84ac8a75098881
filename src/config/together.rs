//! Crawls of one file that would do the same twice.

use std::path::PathBuf;

use super::CrawlConfig;
use crate::error::{Error, Result};
use crate::settings::JobSettings;
use crate::tahoe::container::ShareType;

/// Checks that no two crawls delete expired leases of the same shares: each would count as its own what the other has taken,
/// and by two rules the shorter one would hold for all.
///
/// # Errors
/// [`Error::Config`] with the names of the crawls, and what would be right.
pub(super) fn check(crawls: &[CrawlConfig]) -> Result<()> {
    for (n, crawl) in crawls.iter().enumerate() {
        let Some((store, types)) = deletes(crawl) else { continue };
        let others = crawls[..n].iter().filter_map(|other| Some((other, deletes(other)?)));
        for (other, (other_store, other_types)) in others {
            let both = types.iter().find(|share_type| other_types.contains(share_type));
            if let Some(share_type) = both.filter(|_| store == other_store) {
                let (one, other) = (&other.settings.name, &crawl.settings.name);
                return Err(Error::Config(format!(
                    "crawls {one} and {other} both delete expired leases of {share_type} shares in {}: leave one out, or give each \
                     other sharetypes",
                    store.display()
                )));
            }
        }
    }
    Ok(())
}

/// The store in which a crawl deletes expired leases, by whatever links it is named, and of which shares.
fn deletes(crawl: &CrawlConfig) -> Option<(PathBuf, &[ShareType])> {
    let JobSettings::Leases(leases) = &crawl.job else { return None };
    // A store may be away for the moment.
    let store = || crawl.store.canonicalize().unwrap_or_else(|_| crawl.store.clone());
    crawl.job.changes_shares().then(|| (store(), &leases.sharetypes.0[..]))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

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
