//! The command line as a user meets it: arguments, help, exit codes, what is printed where.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::harness::{Ended, Fixture, NOW, Running, Sample, crawl, run, sexton};
use crate::tahoe::state::{NAMES, Scene};

/// A share of an immutable file without leases.
const SHARE: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// A store with these shares, as paths below `shares/`.
fn store(shares: &[&[u8]]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shares")).unwrap();
    for share in shares {
        let path = folder.path().join("shares").join(OsStr::from_bytes(share));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, SHARE).unwrap();
    }
    folder
}

fn words(args: &str) -> Ended {
    run(&mut sexton(args.split_whitespace()))
}

#[test]
fn help_says_what_there_is() {
    let help = words("--help").expect(0).stdout;
    for word in ["demo", "crawl", "config", "Exit codes: 0 well", "4 waits for a person", "130 interrupted"] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    let help = words("crawl --help").expect(0).stdout;
    let options = "--job --expire none|age:SECONDS|cutoff:UNIXTIME --dry-run --offline --node-stopped --online --max-delete --accept-clock --compat --prune-empty-buckets --sharetypes --now --cpu PERCENT% --slice --basis \
         --workers --checkpoint every_bucket --state --fresh --json --verbose shares/ count leases Exit";
    for word in options.split(' ') {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    let version = words("--version").expect(0).stdout;
    assert_eq!(version, format!("sexton {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_are_refused_with_what_they_must_be() {
    let sample = Sample::new(0);
    let state = sample.path("state");
    let refused = |args: &str, advice: &str| {
        run(&mut crawl(&sample.store(), &state, args)).expect(2).said(advice);
    };
    refused("", "--job");
    refused("--job scrub", "possible values: count, leases, verify");
    refused("--job leases --expire age --dry-run", "needs a duration");
    refused("--job leases --expire age:x --dry-run", "age:SECONDS");
    refused("--job leases --expire cutoff --dry-run", "cutoff:UNIXTIME");
    refused("--job leases --expire 31d --dry-run", "is none of none, age:SECONDS, cutoff:UNIXTIME");
    refused("--job leases --expire age:2678400", "needs a word: offline");
    refused("--job leases --expire age:2678400 --online --offline", "cannot be used with");
    refused("--job leases --expire age --offline", "needs a duration");
    refused("--job leases --offline", "expire says that none expire");
    refused("--job leases --expire age:1 --online --prune-empty-buckets", "goes with offline");
    refused("--job leases --expire age:1 --online --compat", "goes with offline");
    refused("--job leases --expire age:1 --offline --max-delete 10", "write it like \"10%\"");
    refused("--job count --offline", "a job that changes the store");
    refused("--job leases --expire cutoff:1700000000", "--dry-run");
    refused("--job count --expire age:2678400 --dry-run", "--expire goes with --job leases");
    refused("--job leases --sharetypes x", "give mutable, immutable or both");
    refused("--job leases --sharetypes mutable,mutable", "twice");
    refused("--job count --cpu 10", "write \"10%\"");
    refused("--job count --cpu 0%", "out of range");
    refused("--job count --slice 0s", "must be between 1ms and 1h");
    refused("--job count --slice 1", "write \"1s\"");
    refused("--job count --workers 0", "0 is not in 1..=256");
    refused("--job count --basis disk", "must be wall or cpu");
    refused("--job count --checkpoint often", "must be every_bucket, every_slice or a duration such as 10s");
    refused("--job count --now yesterday", "seconds since 1970");
    refused("--job count --now -5", "give seconds since 1970, such as 1700000000");
    refused("--job verify --since -5", "give seconds since 1970");
    refused("--job verify --target 1ms", "must be between 1s and 100years");
    refused("--job count --frehs", "--fresh");
    refused("--job leases --expire age:2678400 --online --node-stopped", "cannot be used with");
    for option in ["--dry-run", "--compat", "--max-delete 5%", "--accept-clock"] {
        let name = option.split(' ').next().unwrap();
        refused(&format!("--job leases {option}"), &format!("{name} goes with --expire"));
    }
    for quarantine in ["", "--quarantine none"] {
        refused(&format!("--job verify --quarantine-dir q {quarantine}"), "goes with --quarantine copy or move");
    }
    assert!(!state.exists(), "nothing that was refused has made a state file");
    words("").expect(2).said("Usage: sexton");
    words("crawl --job count").expect(2).said("<STORE>");
}

#[test]
fn the_state_never_lies_among_the_shares() {
    let sample = Sample::new(1);
    let store = sample.store();
    symlink("store/shares", sample.path("link")).unwrap();
    for state in ["store/shares/x.sqlite", "link/x.sqlite"] {
        run(&mut sample.crawl(state, "--job count")).expect(2).said("where the node looks for shares");
        let args = ["tahoe-state".as_ref(), "export".as_ref(), store.as_os_str(), "--state".as_ref()];
        run(sexton(args).arg(sample.path(state))).expect(2).said("where the node looks for shares");
    }
}

#[test]
fn a_wrong_store_is_refused_with_what_to_give() {
    let sample = Sample::new(0);
    let state = sample.path("state");
    let refused = |store: &Path, advice: &str| {
        run(&mut crawl(store, &state, "--job count")).expect(2).said(advice);
    };
    refused(&sample.path("nothing"), "No such file");
    refused(&sample.shares(), &format!("give the folder that holds it: {}", sample.store().display()));
    fs::write(sample.path("file"), "").unwrap();
    refused(&sample.path("file"), "holds no folder shares");
    fs::create_dir_all(sample.path("node/storage/shares")).unwrap();
    refused(&sample.path("node"), "node/storage");
    assert!(!state.exists());
}

#[test]
fn a_node_that_runs_is_noticed_and_so_are_rules_that_take_valid_leases() {
    let sample = Sample::new(4);
    let running = sample.path("running.process");
    fs::write(&running, format!("{} 1.0\n", std::process::id())).unwrap();
    let crawl = |args: &str| run(&mut sample.crawl("state", args));
    let delete = "--job leases --expire age:2678400 --max-delete 100%";
    let seen = "the node of this store runs";
    crawl(&format!("{delete} --offline")).expect(3).said(seen).said("if no node of this store runs, remove that file");
    crawl("--job verify --quarantine move --offline").expect(3).said("the node of this store runs");
    crawl(&format!("{delete} --offline --dry-run")).expect(3).said("the node of this store runs");
    crawl(&format!("{delete} --dry-run")).expect(0);
    // What is seen cannot be vouched for.
    crawl(&format!("{delete} --offline --node-stopped --dry-run")).expect(3).said(seen);
    crawl(&format!("{delete} --offline --node-stopped")).expect(3).said(seen);
    crawl("--job verify --quarantine move --offline --node-stopped").expect(3).said(seen);
    fs::write(&running, "no number").unwrap();
    crawl(&format!("{delete} --offline")).expect(3).said("may be running").said("--node-stopped");
    crawl(&format!("{delete} --offline --node-stopped --dry-run")).expect(0);
    crawl(&format!("{delete} --offline --node-stopped")).expect(0);
    fs::remove_file(&running).unwrap();
    crawl(&format!("{delete} --offline")).expect(0);
    // A node whose pid file is somewhere else shows itself by what it saves.
    let saved = sample.store().join("bucket_counter.state.json");
    fs::write(&saved, r#"{"version": 1, "last-cycle-finished": 3, "current-cycle": null}"#).unwrap();
    let two_hours = "a node saves its state also when it stops, so this asks for two hours after each stop";
    for args in [delete, &format!("{delete} --dry-run"), "--job verify --quarantine move"] {
        let refused = crawl(&format!("{args} --offline")).expect(3);
        refused.said("bucket_counter.state.json was saved 0 min ago").said("--node-stopped").said(two_hours);
        crawl(&format!("{args} --offline --node-stopped")).expect(0);
    }
    fs::remove_file(&saved).unwrap();
    for dry_run in ["", " --dry-run"] {
        let refused = crawl(&format!("--job leases --expire age:31 --offline{dry_run}")).expect(2);
        refused.said("leases are granted for 31 days");
    }
    crawl("--job leases --expire cutoff:99999999999 --offline").expect(2).said("not milliseconds");
}

#[test]
fn people_are_told_what_is_deleted_and_what_would_be() {
    let sample = Sample::new(40);
    let now = crate::support::harness::NOW;
    let words = |more: &str| {
        let args = format!("--job leases --expire cutoff:{now} --now {now} --max-delete 100% {more}");
        run(&mut sample.crawl("state", &args)).expect(0).stdout
    };
    let would = words("--dry-run");
    let told =
        would.lines().find_map(|line| line.trim().strip_prefix("would be deleted: ")).expect("a line").to_owned();
    assert!(!told.starts_with("0 shares") && told.contains(" leases, "), "{would}");
    let done = words("--offline");
    assert!(done.contains(&format!("  deleted: {told}\n")), "{told} is not in\n{done}");
    assert!(words("--offline").contains("  deleted: 0 shares, 0 leases, 0 B by length of files\n"));
}

#[test]
fn a_whole_store_is_reported_for_people() {
    let sample = Sample::new(40);
    let ended = run(&mut sample.crawl("state", "--job leases")).expect(0);
    assert!(ended.stdout.starts_with("leases: cycle 0, "), "{}", ended.stdout);
    for words in ["40 buckets", "examined", "expired by their own dates", "budget 100.0 %"] {
        assert!(ended.stdout.contains(words), "{words} is not in\n{}", ended.stdout);
    }
    ended.said(&format!("state: {}", sample.path("state").display()));
    let ended = run(&mut sample.crawl("state", "--job leases")).expect(0);
    assert!(ended.stdout.starts_with("leases: cycle 1, "), "each run is a cycle: {}", ended.stdout);
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_has_the_keys_and_types_that_are_promised() {
    let fixture = Fixture::unpack("fixture-fatal");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let common = "job cycle resumed complete buckets shares strays stray_paths vanished findings errors errors_total \
                  incomplete_prefixes elapsed_secs budget";
    for (job, own) in [("count", "prefixes"), ("leases", "history expired empty")] {
        let args = format!("--job {job} --json --cpu 150% --workers 2 --now {NOW}");
        let ended = run(&mut crawl(&fixture.root, &state, &args));
        assert_eq!(ended.stdout.trim_end().lines().count(), 1, "one object and nothing else");
        let report = ended.report();
        assert_eq!(keys(&report), common.split_whitespace().chain(own.split(' ')).collect());
        assert_eq!((&report["job"], &report["cycle"]), (&json!(job), &json!(0)));
        assert_eq!((&report["resumed"], &report["complete"]), (&json!(false), &json!(true)));
        for key in ["buckets", "vanished", "errors_total"] {
            assert!(report[key].is_u64(), "{key}: {}", report[key]);
        }
        assert_eq!(keys(&report["strays"]), ["no_bucket", "no_share", "not_in_ring"].into());
        assert!(report["strays"].as_object().unwrap().values().all(Value::is_u64));
        assert!(report["elapsed_secs"].is_f64() && report["incomplete_prefixes"] == json!([]));
        let budget = &report["budget"];
        assert_eq!(keys(budget), ["cpu_percentage", "measured_percentage", "slices", "longest_slice_secs"].into());
        assert_eq!(budget["cpu_percentage"], 150.0);
        assert!(budget["slices"].as_u64().unwrap() >= 1);
        assert!(budget["measured_percentage"].is_f64() && budget["longest_slice_secs"].is_f64());
        if job == "count" {
            assert!(report["shares"].is_null(), "count looks for no share");
            let prefixes = report["prefixes"].as_object().unwrap();
            assert!(prefixes.values().all(|n| n.as_u64().is_some_and(|n| n > 0)));
            assert_eq!((ended.code(), &report["errors"], &report["findings"]), (0, &json!([]), &json!([])));
            continue;
        }
        assert_eq!(ended.code(), 1);
        assert!(report["shares"].is_u64());
        let (errors, findings) = (report["errors"].as_array().unwrap(), report["findings"].as_array().unwrap());
        assert_eq!(report["errors_total"], errors.len());
        assert!(errors.iter().all(|e| keys(e) == ["path", "error", "cause"].into() && e["path"].is_string()));
        assert!(findings.iter().all(|f| keys(f).is_superset(&["storage_index", "share", "region", "reason"].into())));
        assert!(errors.len() > 30 && findings.len() > 10);
    }
}

#[test]
fn strays_are_named_in_json_and_incoming_is_none() {
    let good = b"aa/aabababababababababababaaa/0";
    let folder =
        store(&[good, b"aa/not-a-bucket/0", b"aa/aabababababababababababaaa/notes.txt", b"incoming/aa/x/0", b"old/x"]);
    let state = folder.path().join("state");
    let shares = folder.path().canonicalize().unwrap().join("shares");
    let paths = |names: &[&str]| names.iter().map(|name| shares.join(name).display().to_string()).collect::<Value>();
    for (job, names) in [
        ("count", &["old", "aa/not-a-bucket"][..]),
        ("leases", &["old", "aa/aabababababababababababaaa/notes.txt", "aa/not-a-bucket"]),
        ("verify", &["old", "aa/aabababababababababababaaa/notes.txt", "aa/not-a-bucket"]),
    ] {
        let report = run(&mut crawl(folder.path(), &state, &format!("--job {job} --json"))).report();
        assert_eq!(report["stray_paths"], paths(names), "{job}");
        assert_eq!((&report["strays"]["not_in_ring"], &report["strays"]["no_bucket"]), (&json!(1), &json!(1)), "{job}");
    }
}

/// How it happens: the folder that is given holds another program's files, or the prefixes are one level deeper.
#[test]
fn a_store_in_which_nothing_is_a_prefix_is_no_store_that_is_well() {
    let folder = store(&[b"2024/aa/x", b"2025/aa/x", b"incoming/x"]);
    let state = folder.path().join("state");
    for job in ["count", "leases", "verify"] {
        let ended = run(&mut crawl(folder.path(), &state, &format!("--job {job} --json"))).expect(2);
        ended.said("holds 2 names and none of them is a prefix");
        assert_eq!(ended.report()["strays"]["not_in_ring"], 2);
    }
    for fresh in [&[][..], &[&b"incoming/x"[..]], &[b"incoming/x", b"2024/x", b"zz/zzbababababababababababaaa/0"]] {
        let folder = store(fresh);
        run(&mut crawl(folder.path(), &folder.path().join("state"), "--job leases")).expect(0);
    }
}

#[test]
fn a_prefix_that_cannot_be_listed_makes_the_totals_incomplete() {
    let folder = store(&[b"aa/aabababababababababababaaa/0", b"bb/bbbababababababababababaaa/0"]);
    // How it happens: a file stands where the folder belongs; a folder without rights would do, but not for root.
    fs::write(folder.path().join("shares/ab"), "no folder").unwrap();
    let state = folder.path().join("state");
    for job in ["count", "leases"] {
        let ended = run(&mut crawl(folder.path(), &state, &format!("--job {job} --json"))).expect(1);
        let report = ended.report();
        assert_eq!(report["complete"], false);
        assert_eq!(report["incomplete_prefixes"], json!(["ab"]));
        assert_eq!((&report["buckets"], &report["errors_total"]), (&json!(2), &json!(1)));
        assert!(report["errors"][0]["path"].as_str().unwrap().ends_with("/shares/ab"));
        let people = run(&mut crawl(folder.path(), &state, &format!("--job {job}"))).expect(1).stdout;
        assert!(
            people.contains("INCOMPLETE: 1 prefix could not be listed, so every number here is at least"),
            "{people}"
        );
        assert!(people.contains("prefixes that could not be listed: ab"), "{people}");
    }
}

#[test]
fn buckets_that_vanish_are_counted_and_no_error() {
    let (sample, names) = Sample::one_prefix(200);
    let mut running =
        Running::start(&mut sample.crawl("state", "--job leases --json --cpu 10% --basis cpu --slice 1ms -vv"));
    // All names were listed before the first was visited; the rest wait for their slices.
    running.must_say("visiting bucket");
    running.signal(Signal::STOP);
    for name in &names[190..] {
        fs::remove_dir_all(sample.shares().join("aa").join(name)).unwrap();
    }
    running.signal(Signal::CONT);
    let report = running.end().expect(0).report();
    assert_eq!((&report["vanished"], &report["errors_total"]), (&json!(10), &json!(0)));
    assert_eq!((&report["buckets"], &report["shares"]), (&json!(200), &json!(190)));
    assert_eq!(report["history"]["space-recovered"]["examined-buckets"], 190);
}

#[test]
fn names_of_any_bytes_are_walked() {
    let good = b"aa/aababababababababababababa/0";
    let names: [&[u8]; 4] = [good, b"aa/\xff\xfe/0", b"aa/aa\x80bababababababababababa/1", b"aa/aab/\xff"];
    let folder = store(&names);
    let root = folder.path().join(OsStr::from_bytes(b"st\xffre"));
    fs::create_dir(&root).unwrap();
    fs::rename(folder.path().join("shares"), root.join("shares")).unwrap();
    fs::write(root.join("shares/aa").join(OsStr::from_bytes(b"\xff\xff")), "").unwrap();
    let state = folder.path().join(OsStr::from_bytes(b"stat\xff"));
    let report = run(&mut crawl(&root, &state, "--job leases --json --checkpoint every_bucket")).expect(1).report();
    assert_eq!((&report["buckets"], &report["shares"]), (&json!(5), &json!(3)));
    assert_eq!((&report["strays"]["no_share"], &report["errors_total"]), (&json!(1), &json!(1)));
    assert!(report["errors"][0]["path"].as_str().unwrap().ends_with(r"/shares/aa/\xff\xff"));
    assert!(state.exists());
}

#[test]
fn the_state_lies_in_the_users_state_folder_and_is_named() {
    let sample = Sample::new(10);
    let home = sample.path("home");
    let mut command = sexton(["crawl".as_ref(), sample.store().as_os_str(), "--job".as_ref(), "count".as_ref()]);
    let ended = run(command.env("XDG_STATE_HOME", &home)).expect(0);
    let line = ended.stderr.lines().find(|line| line.starts_with("state: ")).unwrap();
    let path = Path::new(line.strip_prefix("state: ").unwrap());
    assert!(path.is_file() && path.starts_with(&home), "{line}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("store-") && name.ends_with("-count.sqlite"), "{name}");
}

#[test]
fn a_configuration_is_made_kept_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let config = |args: &str| run(sexton(["config"]).args(args.split(' ')).current_dir(folder.path()));
    config("check").expect(2).said("config.ron");
    config("init").expect(0);
    let made = fs::read_to_string(folder.path().join("config.ron")).unwrap();
    assert_eq!(made, fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.ron")).unwrap());
    let checked = config("check").expect(0).stdout;
    assert!(checked.contains("10% of one core") && checked.contains("crawl leases"), "{checked}");
    assert_eq!(config("init -").expect(0).stdout, made);
    assert!(!folder.path().join("-").exists());
    let rule = "(crawls: [(store: \"/srv\", job: leases(expire: cutoff(\"2999-01-01\"), delete: offline))])";
    fs::write(folder.path().join("late.ron"), rule).unwrap();
    config("check late.ron")
        .expect(0)
        .said("warning: crawl leases would stop with an error: the cutoff 32472144000 is after now");
    let rule = "leases(expire: age(\"31d\"), sharetypes: [mutable], dry_run: true, compat: true)";
    fs::write(folder.path().join("rule.ron"), format!("(crawls: [(store: \"/srv\", job: {rule})])")).unwrap();
    let told = "leases of mutable shares expire by age:2678400, exactly as Tahoe does (compat), and nothing is deleted (dry_run)";
    let checked = config("check rule.ron").expect(0).stdout;
    assert!(checked.contains(told), "{checked}");
    fs::create_dir_all(folder.path().join("store/shares")).unwrap();
    symlink("store/shares", folder.path().join("away")).unwrap();
    let among = "(crawls: [(store: \"store\", job: verify(quarantine: copy, quarantine_dir: \"away/q\"))])";
    fs::write(folder.path().join("among.ron"), among).unwrap();
    config("check among.ron")
        .expect(2)
        .said("crawl verify: the quarantine folder")
        .said("`quarantine_dir` in config.ron");
    fs::write(folder.path().join("config.ron"), "(budget: (cpu_percentage: \"10\"))").unwrap();
    config("init").expect(2);
    let kept = fs::read_to_string(folder.path().join("config.ron")).unwrap();
    assert!(kept.starts_with("(budget"), "an existing file is kept");
    config("check").expect(2).said("1:27").said("10%");
    fs::write(folder.path().join("other.ron"), "(\n  bugdet: (),\n)").unwrap();
    config("check other.ron").expect(2).said("other.ron:2:").said("bugdet").said("budget");
}

/// How it happens: the disk is full to which the output goes.
#[test]
fn what_cannot_be_printed_is_an_error_and_no_panic() {
    let scene = Scene::new("fixture-plain", "between");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    fs::write(folder.path().join("tahoe.cfg"), "[storage]\nenabled = true\n").unwrap();
    let store = scene.fixture.root.to_str().unwrap();
    let all = [
        format!("config init {}", path("config.ron")),
        "config init -".to_owned(),
        format!("config check {}", path("config.ron")),
        format!("import-tahoe-cfg {}", path("tahoe.cfg")),
        format!("demo --buckets 10 --dir {}", path("demo")),
        format!("crawl {store} --job count --state {}", path("count")),
        format!("tahoe-state import {store} --state {}", path("state")),
        format!("tahoe-state export {store} --node-stopped --state {}", path("state")),
    ];
    for args in all {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = sexton(args.split(' ')).stdout(full).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{args}: {said}");
        assert!(said.contains("stdout: No space left on device") && !said.contains("panicked"), "{args}: {said}");
    }
    // What was done is done: both crawlers are taken over and handed back.
    assert!(NAMES.iter().all(|name| scene.fixture.root.join(format!("{name}.bak")).exists() || *name == NAMES[2]));
}

#[test]
fn the_demo_shows_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = sexton(["demo", "--buckets", "1000", "--dir"]);
    let ended = run(demo.arg(folder.path().join("new/folder"))).expect(0);
    for words in [
        "buckets counted: 1000, as many as were written",
        "20 % asked for",
        "   cleaner ",
        "come free",
        "the database was locked",
        "Ctrl-C after",
        "kill -9 after",
        "its report is the same as the undisturbed one",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is not in\n{}", ended.stdout);
    }
    let again = run(&mut sexton([
        "crawl".as_ref(),
        folder.path().join("new/folder").as_os_str(),
        "--job".as_ref(),
        "count".as_ref(),
        "--state".as_ref(),
        folder.path().join("state").as_os_str(),
    ]));
    assert!(again.expect(0).stdout.contains("1000 buckets"));
}
