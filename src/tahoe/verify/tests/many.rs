//! Buckets with more shares than any file has: read in batches, with figures as if there were none.

use super::*;

#[test]
fn a_bucket_of_any_size_is_read_in_batches_and_all_of_it_is_counted() {
    let grid = Grid::new();
    let bucket = grid.bucket(IMMUTABLE);
    let (good, bad) = (bucket.join("0"), bucket.join("x"));
    fs::copy(&good, &bad).unwrap();
    grid.flip(&bad, 12 + 0x24 + 7);
    for number in 4..3000 {
        let from = if number % 2 == 0 { &good } else { &bad };
        fs::hard_link(from, bucket.join(format!("{number}"))).unwrap();
    }
    fs::remove_file(&bad).unwrap();
    fs::write(bucket.join("stray"), "").unwrap();
    let (walked, _) = grid.verify(settings(Quarantine::None, Advisories::None));
    // Each is read by its name, which its share hash chain may or may not have: those are other flaws.
    let ScrubTally { objects: shares, ok, corrupt, .. } = walked.tally;
    assert_eq!((shares, ok + corrupt, walked.counts.verified.corrupt), (3108, 3108, corrupt));
    assert!(corrupt >= 1498, "{corrupt}");
    let of_bucket = walked.findings.iter().filter(|finding| finding.bucket == IMMUTABLE).count();
    assert!(of_bucket <= 1000 && walked.counts.findings >= corrupt, "{of_bucket} of {}", walked.counts.findings);
    assert_eq!((walked.counts.no_object, walked.counts.objects), (1, 3108));
}

/// How it happens: a slice ends in the middle of the bucket, which is opened anew for the next one.
#[test]
fn a_bucket_is_listed_once_however_many_slices_it_takes() {
    let grid = Grid::new();
    let bucket_path = grid.bucket(IMMUTABLE);
    for number in 4..600 {
        fs::hard_link(bucket_path.join("0"), bucket_path.join(format!("{number}"))).unwrap();
    }
    let store = TahoeStore::open(grid.folder.path()).unwrap();
    let prefix = store.open_prefix(&IMMUTABLE[..2]).unwrap().unwrap();
    let job = job(VerifySettings::default());
    let (mut visit, mut buffer, mut steps) = (ScrubVisit::default(), vec![0; 4096], 0);
    let (mut tally, mut notes) = (ScrubTally::default(), crate::job::Notes::default());
    loop {
        let bucket = store.open_bucket(&prefix, IMMUTABLE.as_bytes()).unwrap();
        let mut left = Left::Nothing;
        with_fold(&mut tally, &mut notes, |fold| {
            left = job.work(&mut visit, &bucket, fold, &mut buffer).unwrap();
        });
        visit.set_aside(job.checker(), &bucket).unwrap();
        steps += 1;
        if left == Left::Nothing {
            with_fold(&mut tally, &mut notes, |fold| visit.put_down(job.checker(), &bucket, fold));
            break;
        }
        if steps == 100 {
            // Listed before: what comes later belongs to the next cycle.
            fs::hard_link(bucket_path.join("0"), bucket_path.join("9999")).unwrap();
        }
    }
    assert_eq!((tally.objects, notes.counts.objects), (600, 600));
}
