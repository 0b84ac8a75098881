//! What was written is read back by the description of the formats alone, sharing no code with the writer.

use super::*;

/// Reads a store back by the description of the formats alone, sharing no code with the writer.
fn read_back(dir: &Path, now: u32) -> StoreSummary {
    let mut found = StoreSummary::default();
    for prefix in fs::read_dir(dir.join("shares")).unwrap().map(|e| e.unwrap().path()) {
        found.prefixes += 1;
        for bucket in fs::read_dir(&prefix).unwrap().map(|e| e.unwrap().path()) {
            let name = bucket.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(prefix.file_name().unwrap().to_str().unwrap()) && name.len() == 26, "{name}");
            assert!(name.ends_with(['a', 'e', 'i', 'm', 'q', 'u', 'y', '4']), "{name}");
            found.buckets += 1;
            for share in fs::read_dir(&bucket).unwrap().map(|e| e.unwrap().path()) {
                let number: u32 = share.file_name().unwrap().to_str().unwrap().parse().unwrap();
                assert!(number < 10);
                let bytes = fs::read(&share).unwrap();
                found.shares += 1;
                found.bytes += bytes.len() as u64;
                let expirations = if bytes.starts_with(b"Tahoe mutable container v") {
                    found.mutable_shares += 1;
                    mutable_expirations(&bytes)
                } else {
                    immutable_expirations(&bytes)
                };
                found.leases += expirations.len() as u64;
                found.leases_past += expirations.iter().filter(|e| **e <= now).count() as u64;
                let ages = expirations.iter().map(|e| i64::from(now) - (i64::from(*e) - 31 * 86_400));
                assert!(ages.into_iter().all(|age| (0..62 * 86_400).contains(&age)));
            }
        }
    }
    found
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn immutable_expirations(bytes: &[u8]) -> Vec<u32> {
    assert!(matches!(be32(bytes, 0), 1 | 2));
    let (data, leases) = (be32(bytes, 4) as usize, be32(bytes, 8) as usize);
    assert_eq!(bytes.len(), 12 + data + 72 * leases);
    assert!((100..=1000).contains(&data) && (1..=3).contains(&leases));
    (0..leases).map(|i| be32(bytes, 12 + data + 72 * i + 68)).collect()
}

fn mutable_expirations(bytes: &[u8]) -> Vec<u32> {
    let be64 = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    assert!(matches!((bytes[25], bytes[27]), (b'1', 0x75) | (b'2', 0xc3)));
    assert_eq!(be64(92), 468 + be64(84));
    assert_eq!((bytes.len(), be32(bytes, be64(92))), (be64(92) + 4, 0));
    (0..4).map(|slot| 100 + 92 * slot).filter(|at| be32(bytes, *at) != 0).map(|at| be32(bytes, at + 4)).collect()
}

#[test]
fn what_is_written_is_what_the_summary_says() {
    let dir = tempfile::tempdir().unwrap();
    let sample = SampleStore { buckets: 3000, seed: 7, ..SampleStore::default() };
    let mut told = Vec::new();
    let made = sample.write(dir.path(), |n| told.push(n)).unwrap();
    assert_eq!(read_back(dir.path(), sample.now), made);
    assert_eq!(made.buckets, 3000);
    assert_eq!((told.first(), told.last()), (Some(&256), Some(&3000)));

    // The proportions that were asked for: 1.25 shares a bucket, a fifth mutable, 2 leases each, half of them past.
    let part = |a: u64, b: u64| a as f64 / b as f64;
    assert!((1.20..1.30).contains(&part(made.shares, made.buckets)), "{made:?}");
    assert!((0.17..0.23).contains(&part(made.mutable_shares, made.shares)), "{made:?}");
    assert!((1.95..2.05).contains(&part(made.leases, made.shares)), "{made:?}");
    assert!((0.48..0.52).contains(&part(made.leases_past, made.leases)), "{made:?}");
    // 3,000 names spread at random leave about 55 of the 1,024 prefixes empty.
    assert!((940..=1000).contains(&made.prefixes), "{made:?}");
}

/// Every file below a folder with its bytes, in order of path.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_options_give_the_same_bytes_and_others_do_not() {
    let sample = SampleStore { buckets: 50, ..SampleStore::default() };
    let [a, b, c] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    assert_eq!(sample.write(a.path(), |_| ()).unwrap(), sample.write(b.path(), |_| ()).unwrap());
    SampleStore { seed: 2, ..sample }.write(c.path(), |_| ()).unwrap();
    let [a, b, c] = [a, b, c].map(|dir| contents(dir.path()));
    assert!(a.len() > 50 && a == b && a != c);
}

#[test]
fn a_complete_sample_is_reused_and_an_interrupted_one_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let sample = SampleStore { buckets: 300, ..SampleStore::default() };
    let made = sample.write(dir.path(), |_| ()).unwrap();
    let all = contents(dir.path());

    // Reused: what is missing stays missing.
    let (share, _) = all.iter().find(|(path, _)| path.starts_with("shares")).unwrap();
    fs::remove_file(dir.path().join(share)).unwrap();
    assert_eq!(sample.write(dir.path(), |_| ()).unwrap(), made);
    assert!(!dir.path().join(share).exists());

    // Interrupted: as a kill after some of the shares leaves it.
    sample.mark(dir.path(), None).unwrap();
    assert_eq!(sample.write(dir.path(), |_| ()).unwrap(), made);
    assert_eq!(contents(dir.path()), all);
}

#[test]
fn nothing_is_written_into_a_store_of_other_origin() {
    let dir = tempfile::tempdir().unwrap();
    let sample = SampleStore { buckets: 3, ..SampleStore::default() };
    let refused = |sample: &SampleStore| sample.write(dir.path(), |_| ()).unwrap_err().to_string();

    fs::create_dir(dir.path().join("shares")).unwrap();
    assert!(refused(&sample).contains("already holds a store that is no sample; name another folder"));
    assert_eq!(contents(dir.path()), []);
    fs::remove_dir(dir.path().join("shares")).unwrap();

    sample.write(dir.path(), |_| ()).unwrap();
    let before = contents(dir.path());
    let other = SampleStore { buckets: 4, ..sample.clone() };
    assert!(refused(&other).contains("already holds a sample store of 3 buckets with seed 1 at 1700000000;"));
    assert_eq!(contents(dir.path()), before);

    fs::write(dir.path().join("sample.json"), "mine").unwrap();
    assert!(refused(&sample).contains("its sample.json cannot be read"));
    let early = SampleStore { now: 5, ..sample };
    assert_eq!(refused(&early), "now must be between 5356800 and 4292288895 for a sample store, not 5");
}
