//! Two shares of a bucket that differ, and nothing tells which of them is right.

use super::aftermath::LEFT_IN_DOUBT;
use super::*;

impl Grid {
    /// Leaves two shares of a bucket, 0 and 1; gives their paths.
    fn leave_two(&self, begins: &str) -> [PathBuf; 2] {
        let bucket = self.bucket(begins);
        ["2", "3"].iter().for_each(|name| fs::remove_file(bucket.join(name)).unwrap());
        ["0", "1"].map(|name| bucket.join(name))
    }

    /// Flips a bit in the value of a field of a share's UEB.
    fn flip_in_ueb(&self, share: &Path, field: &str) {
        let (bytes, key) = (fs::read(share).unwrap(), format!("{field}:32:").into_bytes());
        self.flip(share, bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 3);
    }
}

/// All of the 110 shares that are left count once.
fn assert_doubted(walked: &Walked<ScrubTally>, region: &str) {
    let ScrubTally { objects: shares, ok, corrupt, unreadable, in_doubt, quarantined, .. } = walked.tally;
    assert_eq!((shares, ok, corrupt, unreadable, in_doubt, quarantined), (110, 108, 0, 0, 2, 0));
    assert_eq!((walked.counts.verified.ok, walked.counts.verified.in_doubt), (108, 2));
    let [finding] = &walked.findings[..] else { panic!("{:?}", walked.findings) };
    assert_eq!((&finding.object, &finding.part[..], finding.bytes), (&None, region, None));
    assert!(finding.reason.contains("which is right cannot be told (shares 0, 1)"), "{}", finding.reason);
}

#[test]
fn shares_of_which_one_is_wrong_are_in_doubt_and_not_ok() {
    for wrong in [0, 1] {
        let grid = Grid::new();
        let shares = grid.leave_two(IMMUTABLE);
        grid.flip_in_ueb(&shares[wrong], "crypttext_hash");
        let (walked, job) = grid.verify(VerifySettings::default());
        assert_doubted(&walked, "UEB crypttext_hash");
        assert!(!walked.findings[0].reason.contains(LEFT_IN_DOUBT), "{:?}", walked.findings);
        assert_eq!(walked.report(&job)["verified"]["in_doubt"], 2);
        // Nobody can tell what should be put away.
        for quarantine in [Quarantine::Copy, Quarantine::Move] {
            let (walked, _) = grid.verify(settings(quarantine, Advisories::Write));
            assert_doubted(&walked, "UEB crypttext_hash");
            assert!(walked.findings[0].reason.ends_with(LEFT_IN_DOUBT), "{:?}", walked.findings);
            assert!(shares.iter().all(|share| share.exists()) && !grid.path("quarantine").exists());
            assert!(!grid.path("corruption-advisories").exists());
        }
        let grid = Grid::new();
        let shares = grid.leave_two(MUTABLE);
        let end = u64::from_be_bytes(fs::read(&shares[wrong]).unwrap()[84..92].try_into().unwrap()) as usize;
        grid.flip(&shares[wrong], 468 + end - 10);
        assert_doubted(&grid.verify(VerifySettings::default()).0, "encrypted private key");
    }
}

#[test]
fn a_good_store_says_nothing_of_doubt() {
    let (walked, job) = Grid::new().verify(VerifySettings::default());
    assert!(walked.report(&job)["verified"].get("in_doubt").is_none());
    let saved = serde_json::to_string(&(walked.tally, walked.counts)).unwrap();
    assert!(!saved.contains("in_doubt"), "older programs read it: {saved}");
}

#[test]
fn a_share_that_its_own_check_condemns_casts_no_doubt_on_the_other() {
    for wrong in [0, 1] {
        let grid = Grid::new();
        let shares = grid.leave_two(IMMUTABLE);
        grid.flip_in_ueb(&shares[wrong], "share_root_hash");
        let (walked, _) = grid.verify(VerifySettings::default());
        assert_eq!((walked.tally.ok, walked.tally.corrupt, walked.tally.in_doubt), (109, 1, 0));
        let [finding] = &walked.findings[..] else { panic!("{:?}", walked.findings) };
        assert_eq!(finding.object, Some(wrong.to_string()));
    }
}
