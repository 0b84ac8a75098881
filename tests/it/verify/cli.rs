//! `sexton crawl --job verify` as its users meet it: what is found, what is printed, what is done with the files; parts of a
//! store, and what is remembered of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sexton::state::{SqliteStore, StateStore};

use crate::state::full_disk;
use crate::support::harness::{Ended, Fixture, Running, crawl, lasting, run};

/// CHK of 4096 bytes.
const INDEX: &str = "aaobc5xutcalwfferpi7udizni";

/// The tester's disk may be nearly full, and copies leave 5 % of it free.
const ANY_ROOM: &str = "quarantine::any_room=return";

struct Grid {
    fixture: Fixture,
    folder: tempfile::TempDir,
}

impl Grid {
    fn new() -> Grid {
        Grid { fixture: Fixture::unpack("real-grid-small"), folder: tempfile::tempdir().unwrap() }
    }

    fn share(&self, index: &str, number: u32) -> PathBuf {
        self.fixture.root.join("shares").join(&index[..2]).join(index).join(number.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verify(&self, state: &str, args: &str) -> Ended {
        let mut command = crawl(&self.fixture.root, &self.path(state), &format!("--job verify {args}"));
        run(command.env("FAILPOINTS", ANY_ROOM))
    }
}

fn damage(share: &Path, byte: usize) {
    let mut bytes = fs::read(share).unwrap();
    bytes[byte] ^= 1;
    fs::write(share, bytes).unwrap();
}

#[test]
fn a_good_store_ends_with_0_and_a_corrupt_share_with_1() {
    let grid = Grid::new();
    let report = grid.verify("state", "--json").expect(0).report();
    let good = json!({"shares": 112, "bytes": report["verified"]["bytes"], "ok": 112, "corrupt": 0, "unreadable": 0});
    assert_eq!((&report["verified"], &report["findings"], &report["shares"]), (&good, &json!([]), &json!(112)));
    damage(&grid.share(INDEX, 2), 100);
    let report = grid.verify("state", "--json --advisories").expect(1).report();
    assert_eq!((&report["verified"]["ok"], &report["verified"]["corrupt"]), (&json!(111), &json!(1)));
    let [finding] = &report["findings"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&finding["storage_index"], &finding["share"]), (&json!(INDEX), &json!(2)));
    assert_eq!((&finding["region"], &finding["bytes"]), (&json!("data blocks"), &json!([48, 2096])));
    let people = grid.verify("state", "").expect(1).stdout;
    assert!(people.contains("111 shares ok, 1 corrupt, 0 unreadable"), "{people}");
    assert!(people.contains(&format!("{INDEX} share 2: data blocks: block 0")), "{people}");
    let advisories: Vec<_> = fs::read_dir(grid.fixture.root.join("corruption-advisories")).unwrap().collect();
    assert_eq!(advisories.len(), 1);
}

#[test]
fn shares_of_which_nobody_can_tell_the_right_one_are_neither_ok_nor_corrupt() {
    let grid = Grid::new();
    [2, 3].iter().for_each(|number| fs::remove_file(grid.share(INDEX, *number)).unwrap());
    let bytes = fs::read(grid.share(INDEX, 1)).unwrap();
    let key = b"crypttext_hash:32:";
    damage(&grid.share(INDEX, 1), bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len());
    let report = grid.verify("state", "--json").expect(1).report();
    let verified = &report["verified"];
    assert_eq!((&verified["ok"], &verified["corrupt"], &verified["in_doubt"]), (&json!(108), &json!(0), &json!(2)));
    let people = grid.verify("state", "--quarantine copy").expect(1).stdout;
    assert!(people.contains("108 shares ok, 0 corrupt, 0 unreadable, 2 in doubt\n"), "{people}");
    assert!(people.contains("(shares 0, 1), so none of them is copied or moved for that\n"), "{people}");
}

#[test]
fn an_empty_file_is_said_to_be_one() {
    let grid = Grid::new();
    fs::write(grid.share(INDEX, 1), "").unwrap();
    let ended = grid.verify("state", "").expect(1).stdout;
    assert!(ended.contains(&format!("{INDEX} share 1: container header: the file is empty\n")), "{ended}");
}

/// How it happens: whoever may write to the store names a folder so that its name acts on the terminal of the one who reads of it.
#[test]
fn names_from_the_disk_neither_act_on_a_terminal_nor_break_a_line() {
    use std::os::unix::ffi::OsStrExt;
    let grid = Grid::new();
    let odd = std::ffi::OsStr::from_bytes(b"aa\x1b]0;mine\x07\nerrors: 0\xff");
    let bucket = grid.fixture.root.join("shares/aa").join(odd);
    fs::create_dir(&bucket).unwrap();
    fs::copy(grid.share(INDEX, 1), bucket.join("1")).unwrap();
    damage(&bucket.join("1"), 200);
    fs::create_dir(bucket.join("2")).unwrap();
    let shown = r"aa\u{1b}]0;mine\u{7}\nerrors: 0\xff";
    let args = "--now 1700000000 --advisories --quarantine copy";
    let ended = grid.verify("state", &format!("{args} -vv --cpu 90%")).expect(1);
    ended.said(&format!("bucket={shown}"));
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains("\nerrors"), "{text}");
    }
    assert!(ended.stdout.contains(&format!("{shown} share 1: data blocks: block 0")), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("/shares/aa/{shown}/2: cannot read share")), "{}", ended.stdout);
    let advisory = format!("2023-11-14T221320--{shown}-1");
    let text = fs::read_to_string(grid.fixture.root.join("corruption-advisories").join(advisory)).unwrap();
    assert!(text.contains(&format!("storage_index: {shown}\n")), "{text}");
    // The share lies in quarantine under the name that it really has.
    assert!(grid.fixture.root.join("quarantine/aa").join(odd).join("1").is_file());
}

#[test]
fn the_result_is_the_same_whatever_the_slice_the_workers_and_the_checkpoint() {
    let grid = Grid::new();
    damage(&grid.share(INDEX, 1), 2000);
    damage(&grid.share("m43tiyng3b3b75nf75sn43fube", 0), 480);
    let (_, expected) = lasting(grid.verify("one", "--json --now 1700000000").expect(1).report());
    for args in ["--workers 3 --slice 1ms", "--cpu 60% --slice 2ms --checkpoint every_bucket", "--order ring"] {
        let (_, found) = lasting(grid.verify(args, &format!("--json --now 1700000000 {args}")).expect(1).report());
        assert_eq!(found, expected, "{args}");
    }
}

#[test]
fn corrupt_shares_are_moved_only_offline_and_stay_found() {
    let grid = Grid::new();
    let share = grid.share(INDEX, 3);
    damage(&share, 200);
    let bytes = fs::read(&share).unwrap();
    grid.verify("state", "--quarantine move").expect(2).said("only while the node is stopped");
    let quarantine = grid.path("away");
    let args = format!("--quarantine move --offline --quarantine-dir {}", quarantine.display());
    let report = grid.verify("state", &format!("{args} --json")).expect(1).report();
    assert_eq!(report["verified"]["quarantined"], 1);
    assert!(!share.exists());
    let away = quarantine.join("aa").join(INDEX).join("3");
    assert_eq!(fs::read(&away).unwrap(), bytes);
    let note: Value = serde_json::from_slice(&fs::read(away.with_extension("json")).unwrap()).unwrap();
    assert_eq!(note["findings"], report["findings"]);
    let after = grid.verify("state", &format!("{args} --json")).expect(0).report();
    assert_eq!((&after["verified"]["shares"], &after["findings"]), (&json!(111), &json!([])));
}

#[test]
fn another_cycle_at_the_same_moment_does_not_find_again_what_the_first_has_moved() {
    let grid = Grid::new();
    damage(&grid.share(INDEX, 3), 200);
    let args = "--quarantine move --offline --now 1700000000 --json";
    let first = grid.verify("state", args).expect(1).report();
    assert_eq!(first["verified"]["quarantined"], 1);
    // Another state file numbers its cycles anew.
    for state in ["state", "state", "another"] {
        let after = grid.verify(state, args).expect(0).report();
        assert_eq!((&after["verified"]["shares"], &after["findings"]), (&json!(111), &json!([])), "{state}");
    }
}

/// How it happens: the process is killed when a share was moved away, and is started again with another folder.
#[test]
fn a_cycle_is_not_resumed_with_another_quarantine_folder() {
    let grid = Grid::new();
    let [one, other] = ["one", "other"].map(|name| grid.path(name).display().to_string());
    let args = "--quarantine move --offline --now 1700000000 --quarantine-dir";
    let slow = format!("--job verify {args} {one} --cpu 30% --slice 1ms -vv");
    let mut running = Running::start(&mut crawl(&grid.fixture.root, &grid.path("state"), &slow));
    assert!((0..9).all(|_| running.says("visiting bucket").is_some()), "it ended before");
    running.kill();
    let refused = grid.verify("state", &format!("{args} {other}")).expect(2);
    refused.said(&format!("quarantine_dir: was \"{one}\", is \"{other}\""));
    grid.verify("state", &format!("{args} {one}")).expect(0);
}

#[test]
fn parts_are_named_leave_the_whole_alone_and_are_remembered_only_where_they_are_whole() {
    let grid = Grid::new();
    let named = grid.verify("state", &format!("--json --storage-index {INDEX}")).expect(0).report();
    assert_eq!((&named["verified"]["shares"], &named["buckets"]), (&json!(4), &json!(1)));
    assert_eq!(named["partial"], json!({"storage_indexes": [INDEX]}));
    assert_eq!(named["strays"]["not_in_ring"], 0, "the prefixes that are left out are no strays");
    let sample = grid.verify("state", "--json --sample 40% --now 1700000000").expect(0).report();
    let shares = sample["verified"]["shares"].as_u64().unwrap();
    assert!((4..90).contains(&shares), "{shares}");
    assert_eq!(sample["partial"], json!({"sample": "40%"}));
    // Nothing was visited as a whole yet, so everything is older than any moment.
    let first = grid.verify("state", "--json --since 1000").expect(0).report();
    assert_eq!((&first["verified"]["shares"], &first["partial"]), (&json!(112), &json!({"since": 1000.0})));
    let again = grid.verify("state", "--json --since 1000").expect(0).report();
    assert_eq!(again["verified"]["shares"], 0, "all prefixes were verified meanwhile");
    let next_year = "--since 1900000000 --now 1900000000";
    let later = grid.verify("state", &format!("--json {next_year}")).expect(0).report();
    assert_eq!(later["verified"]["shares"], 112);
    let one = grid.verify("state", &format!("--storage-index {INDEX}")).expect(0).stdout;
    assert!(one.contains("PARTIAL: only 1 storage index\n"), "{one}");
    let people = grid.verify("state", "--sample 40%").expect(0).stdout;
    assert!(people.contains("PARTIAL: only a sample of 40% of the buckets"), "{people}");
    assert_eq!(grid.verify("state", "--json").expect(0).report()["cycle"], 0, "the whole has cycles of its own");
}

#[test]
fn a_target_is_told_whether_it_will_be_kept() {
    let grid = Grid::new();
    grid.verify("state", "--target 30d").expect(0).said("target 30 d").said("it will be kept");
    grid.verify("state", "--target 1s --cpu 4% --slice 1ms").expect(0).said("MISSED");
    // None of 28 buckets is drawn; and what a few of them took says nothing of all.
    for part in ["--sample 0.0001%".to_owned(), "--since 1000".to_owned(), format!("--storage-index {INDEX}")] {
        let ended = grid.verify("part", &format!("--target 30d {part}")).expect(0);
        assert!(!ended.stderr.contains("has its turn"), "{}", ended.stderr);
        ended.said("target 30 d: this run looked at a part only");
    }
    fs::remove_dir_all(grid.fixture.root.join("shares")).unwrap();
    fs::create_dir(grid.fixture.root.join("shares")).unwrap();
    grid.verify("empty", "--target 30d").expect(0).said("target 30 d: no bucket was visited");
}

#[test]
fn wrong_arguments_are_refused_with_what_they_must_be() {
    let grid = Grid::new();
    let refused = |args: &str, advice: &str| {
        run(&mut crawl(&grid.fixture.root, &grid.path("state"), args)).expect(2).said(advice);
    };
    refused("--job verify --sample 5", "write it as \"5%\"");
    refused("--job verify --storage-index abc", "no storage index");
    refused("--job verify --quarantine away", "must be none, copy or move");
    refused("--job verify --quarantine copy --quarantine-dir /dev/full", "/dev/full is no folder");
    let among = grid.fixture.root.join("shares/quarantine");
    refused(
        &format!("--job verify --quarantine copy --quarantine-dir {}", among.display()),
        "where the node looks for shares",
    );
    refused("--job verify --since 99999999999", "is after now");
    refused("--job verify --order random", "must be ring or oldest_first");
    refused("--job verify --target 30", "no unit");
    refused("--job verify --expire age:5 --dry-run", "--expire goes with --job leases");
    refused("--job count --sample 5%", "--sample goes with --job verify");
    refused("--job leases --advisories", "--advisories goes with --job verify");
    let leases = "--expire none,--dry-run,--online,--sharetypes mutable,--max-delete 10%,--accept-clock,--prune-empty-buckets,--compat";
    let verify = format!(
        "--sample 5%,--storage-index {INDEX},--since 5,--order ring,--target 30d,--quarantine move,--quarantine-dir q,\
         --advisories,--keep-cache"
    );
    for (jobs, options, goes_with) in
        [(["verify", "count"], leases, "leases"), (["leases", "count"], &verify[..], "verify")]
    {
        for (job, option) in jobs.iter().flat_map(|job| options.split(',').map(move |option| (job, option))) {
            let name = option.split(' ').next().unwrap();
            refused(&format!("--job {job} {option}"), &format!("{name} goes with --job {goes_with}"));
        }
    }
    assert!(!grid.path("state").exists());
}

#[test]
fn a_bucket_that_is_not_in_the_store_is_an_error_when_the_others_were_verified() {
    let grid = Grid::new();
    let (one, other) = ("b".repeat(25) + "a", "a".repeat(26));
    let asked = format!("--storage-index {one} --storage-index {INDEX} --storage-index {other}");
    let ended = grid.verify("state", &format!("{asked} --json")).expect(2);
    ended.said(&format!("{one}, {other} are not in the store"));
    assert_eq!(ended.report()["verified"]["shares"], 4);
    grid.verify("state", &format!("--storage-index {one}")).expect(2).said(&format!("{one} is not in the store"));
}

#[test]
fn the_folder_of_a_state_file_that_was_named_is_not_made() {
    let grid = Grid::new();
    grid.verify("no/such/state.sqlite", "").expect(2).said("make").said("no/such");
    assert!(!grid.path("no").exists());
}

/// How it happens: a file of holes, or one that was cut and grown again; its header says nothing that can be followed.
#[test]
fn of_a_share_that_is_rejected_at_its_header_only_that_counts_as_verified() {
    let grid = Grid::new();
    let bytes = |report: &Value| report["verified"]["bytes"].as_u64().unwrap();
    let good = grid.verify("state", "--json").expect(0).report();
    let sizes = |number| fs::metadata(grid.share(INDEX, number)).unwrap().len();
    let one = grid.verify("state", &format!("--json --storage-index {INDEX}")).expect(0).report();
    assert_eq!(bytes(&one), (0..4).map(sizes).sum::<u64>(), "a sound share counts as a whole");
    let before = sizes(0);
    let share = fs::File::create(grid.share(INDEX, 0)).unwrap();
    share.set_len(100 << 30).unwrap();
    let report = grid.verify("state", "--json").expect(1).report();
    assert_eq!(report["verified"]["corrupt"], 1);
    assert_eq!(bytes(&report), bytes(&good) - before + 4096);
}

/// How it happens: the quarantine lies on a disk of its own, which is full when the note is written, or the share.
#[test]
fn a_quarantine_disk_that_is_full_keeps_nothing_of_a_share_that_did_not_come() {
    for failing in ["return", "1*off->return"] {
        let grid = Grid::new();
        damage(&grid.share(INDEX, 3), 200);
        let kept = grid.path("kept");
        fs::create_dir(&kept).unwrap();
        let args = format!("--job verify --json --quarantine copy --quarantine-dir {}", kept.join("q").display());
        let mut full = crawl(&grid.fixture.root, &grid.path("state"), &args);
        let report = run(full.env("FAILPOINTS", format!("{ANY_ROOM};quarantine::write={failing}"))).expect(1).report();
        assert_eq!(report["verified"].get("quarantined"), None);
        assert!(report["errors"][0]["error"].as_str().unwrap().contains("No space left on device"), "{report}");
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0, "{failing}");
        let mut again = crawl(&grid.fixture.root, &grid.path("state"), &args);
        let report = run(again.env("FAILPOINTS", ANY_ROOM)).expect(1).report();
        assert_eq!(report["verified"]["quarantined"], 1);
    }
}

/// Damages a share in each of four buckets.
fn damage_some(grid: &Grid) {
    for (index, number, byte) in [
        (INDEX, 1, 500),
        ("csj7tvgtunbdzk7ehmdyy4kxle", 0, 60),
        ("m43tiyng3b3b75nf75sn43fube", 3, 480),
        ("x7yld5j5aqeirpqja54p7hlzfa", 2, 20),
    ] {
        damage(&grid.share(index, number), byte);
    }
}

#[test]
fn after_a_kill_the_report_and_the_quarantine_are_those_of_an_undisturbed_run() {
    // How it happens: the process dies when a share was moved away, and its bucket is not saved yet.
    let args = "--json --quarantine move --offline --now 1700000000 --order ring";
    let grid = Grid::new();
    damage_some(&grid);
    let (_, expected) = lasting(grid.verify("state", args).expect(1).report());
    assert_eq!(expected["verified"]["quarantined"], 4);
    for visits in [1, 4, 16, 27] {
        let grid = Grid::new();
        damage_some(&grid);
        let slow = format!("--job verify {args} --cpu 30% --slice 1ms -vv");
        let mut running = Running::start(&mut crawl(&grid.fixture.root, &grid.path("state"), &slow));
        let began = (0..visits).all(|_| running.says("visiting bucket").is_some());
        assert!(began, "it ended before");
        running.kill();
        let (_, found) = lasting(grid.verify("state", args).expect(1).report());
        assert_eq!(found, expected, "killed in visit {visits}");
    }
}

/// Verifies a bucket of four shares with something amiss at one of the readings, counted from 0; gives the figures and the
/// errors.
fn verify_amiss(amiss: &str, reading: usize) -> (Value, Vec<String>) {
    let grid = Grid::new();
    let args = format!("--job verify --storage-index {INDEX} --json");
    let failing = format!("store::read={reading}*off->1*return({amiss})->off");
    let report = run(crawl(&grid.fixture.root, &grid.path("state"), &args).env("FAILPOINTS", &failing)).report();
    assert_eq!((&report["verified"]["shares"], &report["verified"]["corrupt"]), (&json!(4), &json!(0)), "{failing}");
    assert_eq!(report["findings"], json!([]), "{failing}");
    let errors = report["errors"].as_array().unwrap().iter().map(|e| e["error"].as_str().unwrap().to_owned()).collect();
    (report["verified"].clone(), errors)
}

/// How the failure happens: the disk gives an I/O error, at the first reading of a share or in the middle of one.
#[test]
fn a_share_that_cannot_be_read_to_its_end_is_unreadable_and_not_corrupt() {
    let mut readings = 0;
    while let (verified, errors) = verify_amiss("fails", readings)
        && verified["ok"] != 4
    {
        assert_eq!((&verified["ok"], &verified["unreadable"]), (&json!(3), &json!(1)));
        assert!(errors[0].starts_with("cannot read share: ") && errors[0].contains("os error 5"), "{errors:?}");
        readings += 1;
    }
    assert!(readings > 4, "{readings} readings of 4 shares: none in the middle of one");
}

/// How it happens: a share cannot be read just now. Its bucket is read again, and nothing of it is told twice.
#[test]
fn a_share_that_cannot_be_read_just_now_is_read_once_more() {
    let (well, _) = verify_amiss("fails", 1000);
    for reading in 0..6 {
        assert_eq!(verify_amiss("waits", reading), (well.clone(), Vec::new()), "reading {reading}");
    }
}

/// How the failure happens: the page cache has another bit than the disk, and past it the right one is read.
#[test]
fn what_is_read_wrong_once_is_misread_and_not_corrupt() {
    let mut misread = 0;
    for reading in 0..6 {
        let (verified, errors) = verify_amiss("flips", reading);
        assert_eq!(verified["ok"], 4);
        // Some bits have no meaning, and some are read twice.
        if verified["misread"] == 1 {
            assert!(errors[0].contains("read past it none: suspect memory"), "{errors:?}");
            misread += 1;
        }
    }
    assert!(misread > 0);
}

/// How it happens: there is no room for the advisory of a share that is to be moved. Only root can make such a disk.
#[test]
fn an_advisory_that_was_begun_on_a_full_disk_is_not_taken_for_one() {
    let grid = Grid::new();
    damage(&grid.share(INDEX, 3), 200);
    let folder = grid.fixture.root.join("corruption-advisories");
    fs::create_dir(&folder).unwrap();
    if let Err(refused) = full_disk::mount(&folder, "64k") {
        return println!("skipped: no small file system: {refused}");
    }
    full_disk::fill(&folder);
    // The same cycle comes to the share again, as after a crash.
    let args = "--json --quarantine move --offline --advisories --now 1700000000";
    let full = grid.verify("state", args);
    let left = fs::read_dir(&folder).unwrap().count();
    fs::remove_file(folder.join("filler")).unwrap();
    let again = grid.verify("state", args);
    let texts: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    full_disk::unmount(&folder);
    let report = full.expect(1).report();
    assert!(report["errors"][0]["error"].as_str().unwrap().contains("No space left on device"), "{report}");
    assert_eq!((left, report["verified"].get("quarantined")), (1, None), "but for what fills it, nothing");
    assert_eq!(again.expect(1).report()["verified"]["quarantined"], 1);
    let [text] = &texts[..] else { panic!("{texts:?}") };
    assert!(text.contains("data blocks: block 0") && text.ends_with("\n\n"), "{text:?}");
}

/// How it happens: a little is read every day, and everything once a month; what was mended is looked at by name.
#[test]
fn what_is_damaged_is_known_beyond_the_run_that_has_found_it() {
    let grid = Grid::new();
    let damaged = || {
        let state = SqliteStore::open(&grid.path("state")).unwrap();
        let store = grid.fixture.root.canonicalize().unwrap();
        state.reader().damage(store.to_str().unwrap(), "verify", 10).unwrap()
    };
    grid.verify("state", "").expect(0);
    damage(&grid.share(INDEX, 2), 100);
    grid.verify("state", "--sample 100%").expect(1);
    let found = damaged();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*one.prefix, &one.name.bucket[..], &one.name.object[..]), ("aa", INDEX.as_bytes(), &b"2"[..]));
    // A run over another part says nothing of it, and neither does one that ends before it gets there.
    let other = fs::read_dir(grid.fixture.root.join("shares")).unwrap().map(|entry| entry.unwrap().file_name());
    let prefix = other.into_iter().find(|name| name != "aa" && name.len() == 2).unwrap();
    let bucket = fs::read_dir(grid.fixture.root.join("shares").join(prefix)).unwrap().next().unwrap().unwrap();
    grid.verify("state", &format!("--storage-index {}", bucket.file_name().to_str().unwrap())).expect(0);
    assert_eq!(damaged(), found);
    damage(&grid.share(INDEX, 2), 100);
    grid.verify("state", &format!("--storage-index {INDEX}")).expect(0);
    assert_eq!(damaged(), []);
    // Gone is as good: the whole bucket, or what cannot be read is not.
    damage(&grid.share(INDEX, 1), 100);
    grid.verify("state", "").expect(1);
    assert_eq!(damaged().len(), 1);
    fs::remove_dir_all(grid.share(INDEX, 1).parent().unwrap()).unwrap();
    grid.verify("state", "--sample 100%").expect(0);
    assert_eq!(damaged(), []);
}
