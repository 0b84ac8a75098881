//! A store whose owner has prepared it for the one who runs Sexton as root, and stores on file systems that lack something.
//!
//! Only root can make links of other users and mount file systems; where that cannot be done, or a program is missing, a test says
//! that it was skipped, and why.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::state::full_disk;
use crate::support::harness::{Ended, Fixture, crawl, run, sexton};

/// CHK of 4096 bytes.
const INDEX: &str = "aaobc5xutcalwfferpi7udizni";

/// Nobody in particular.
const STRANGER: u32 = 65_534;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can do that");
    }
    is_root
}

fn shares_in(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { shares_in(&path) } else { 1 }).sum()
}

#[test]
fn nothing_is_changed_through_a_link_that_a_stranger_laid() {
    if !is_root() {
        return;
    }
    let (victim, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, shares) = (other.path().join("store"), victim.path().join("shares"));
    fs::create_dir_all(shares.join("aa").join(INDEX)).unwrap();
    // Immutable, of three bytes, with one lease that ended in 2017.
    let head: Vec<u8> = [1u32, 3, 1].iter().flat_map(|field| field.to_be_bytes()).collect();
    let share = [&head[..], b"abc", &[0; 4 + 32 + 32], &1_500_000_000u32.to_be_bytes()].concat();
    fs::write(shares.join("aa").join(INDEX).join("0"), share).unwrap();
    fs::create_dir(&store).unwrap();
    chown(&store, Some(STRANGER), Some(STRANGER)).unwrap();
    symlink(&shares, store.join("shares")).unwrap();
    lchown(store.join("shares"), Some(STRANGER), Some(STRANGER)).unwrap();
    let before = shares_in(&shares);
    let crawl = |store: &Path, args: &str| -> Ended { run(&mut crawl(store, &other.path().join("state"), args)) };
    let expire = "--job leases --expire age:2678400 --offline --node-stopped --accept-clock --max-delete 100% --fresh";
    for args in [
        expire,
        &format!("{expire} --dry-run"),
        "--job verify --quarantine copy",
        "--job verify --quarantine move --offline --node-stopped",
        "--job verify --advisories",
    ] {
        crawl(&store, args).expect(2).said("shares is a link of user 65534 and leads to a folder of user 0");
        assert_eq!(shares_in(&shares), before, "{args}");
    }
    let names: Vec<_> = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["shares"]);
    // To read is no change, and one's own links count.
    crawl(&store, "--job count --fresh").expect(0);
    symlink(&shares, other.path().join("mine")).unwrap();
    fs::remove_file(store.join("shares")).unwrap();
    fs::rename(other.path().join("mine"), store.join("shares")).unwrap();
    crawl(&store, expire).expect(0);
    assert_eq!(shares_in(&shares), 0);
}

#[test]
fn what_stands_in_a_store_is_not_exported_through_links() {
    let (store, outside) = (Fixture::unpack("real-grid-small"), tempfile::tempdir().unwrap());
    let state = outside.path().join("state");
    run(&mut crawl(&store.root, &state, "--job leases")).expect(0);
    let precious = outside.path().join("precious");
    fs::write(&precious, "{}").unwrap();
    let file = store.root.join("lease_checker.state.json");
    let _ = fs::remove_file(&file);
    symlink(&precious, &file).unwrap();
    let export = || {
        let mut program = sexton(["tahoe-state", "export", "--node-stopped", "--job", "leases"]);
        run(program.arg(&store.root).arg("--state").arg(&state))
    };
    let refused = export();
    assert!(!refused.status.success(), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "{}");
    let left = || fs::read_dir(&store.root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left().all(|name| !name.contains("sexton-new")), "{:?}", left().collect::<Vec<_>>());
    fs::remove_file(&file).unwrap();
    export().expect(0);
}

/// How it happens: a file of holes in a share's place, longer than the disk.
#[test]
fn a_share_of_holes_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("fs");
    fs::create_dir(&mount).unwrap();
    if let Err(refused) = full_disk::mount(&mount, "64m") {
        return println!("skipped: no small file system: {refused}");
    }
    let bucket = mount.join("store/shares/aa").join(INDEX);
    fs::create_dir_all(&bucket).unwrap();
    // A container of 100 bytes, and what its leases would have to be.
    let file = fs::File::create(bucket.join("0")).unwrap();
    file.write_all_at(&[&[0, 0, 0, 2, 0, 0, 0, 100, 0, 0, 0, 0][..], &[7; 100]].concat(), 0).unwrap();
    file.set_len(4 << 30).unwrap();
    let ended =
        run(&mut crawl(&mount.join("store"), &folder.path().join("state"), "--job verify --quarantine copy --json"));
    let copy =
        fs::metadata(mount.join("store/quarantine/aa").join(INDEX).join("0")).map(|copy| (copy.len(), copy.blocks()));
    full_disk::unmount(&mount);
    let report = ended.expect(1).report();
    assert_eq!(
        (&report["verified"]["corrupt"], &report["verified"]["quarantined"]),
        (&serde_json::json!(1), &serde_json::json!(1)),
        "{report}"
    );
    let (len, blocks) = copy.unwrap();
    assert!(len == 4 << 30 && blocks * 512 < 1 << 20, "{len} bytes in {blocks} blocks");
}

/// An exFAT file system in a file.
pub struct ExFat {
    device: String,
    pub mount: PathBuf,
}

impl ExFat {
    pub fn in_folder(folder: &Path) -> Result<ExFat, String> {
        let done = |command: &mut Command| -> Result<String, String> {
            let name = format!("{command:?}");
            let output = command.output().map_err(|e| format!("{name}: {e}"))?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let said = text(&output.stderr);
            if output.status.success() { Ok(text(&output.stdout)) } else { Err(format!("{name}: {said}")) }
        };
        let (image, mount) = (folder.join("image"), folder.join("mount"));
        fs::create_dir(&mount).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        done(Command::new("mkfs.exfat").arg(&image))?;
        let device = done(Command::new("losetup").args(["-f", "--show"]).arg(&image))?;
        let exfat = ExFat { device, mount };
        done(Command::new("mount.exfat-fuse").arg(&exfat.device).arg(&exfat.mount))?;
        Ok(exfat)
    }
}

impl Drop for ExFat {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).output();
        let _ = Command::new("losetup").arg("-d").arg(&self.device).output();
    }
}

/// How it happens: the store lies on a USB disk. There link() and renameat2() with RENAME_NOREPLACE are refused.
#[test]
fn a_file_system_without_hard_links_takes_exports_quarantine_and_advisories() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let exfat = match ExFat::in_folder(folder.path()) {
        Ok(exfat) => exfat,
        Err(why) => return println!("skipped: {why}"),
    };
    let store = exfat.mount.join("store");
    let bucket = store.join("shares/aa").join(INDEX);
    fs::create_dir_all(&bucket).unwrap();
    assert!(fs::hard_link(exfat.mount.join("store"), exfat.mount.join("other")).is_err());
    for share in ["0", "1"] {
        fs::write(bucket.join(share), b"\0\0\0\x09no share").unwrap();
    }
    let state = folder.path().join("state");
    for _ in 0..3 {
        run(&mut crawl(&store, &state, "--job leases --fresh"));
        let mut export = sexton(["tahoe-state", "export", "--node-stopped", "--job", "leases"]);
        run(export.arg(&store).arg("--state").arg(&state)).expect(0);
    }
    let names = |folder: &Path| -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let files = ["lease_checker.history.json", "lease_checker.state.json"];
    let kept = files.iter().flat_map(|name| ["", ".bak", ".bak.1"].map(|end| format!("{name}{end}")));
    assert_eq!(names(&store), kept.chain(["shares".to_owned()]).collect::<Vec<_>>());
    let copied =
        run(&mut crawl(&store, &folder.path().join("verify"), "--job verify --quarantine copy --advisories --json"));
    let report = copied.expect(1).report();
    assert_eq!(
        (&report["verified"]["quarantined"], &report["errors"]),
        (&serde_json::json!(2), &serde_json::json!([])),
        "{report}"
    );
    assert_eq!(names(&store.join("corruption-advisories")).len(), 2);
    let away = store.join("quarantine/aa").join(INDEX);
    assert_eq!(names(&away), ["0", "0.json", "1", "1.json"]);
    fs::remove_dir_all(&away).unwrap();
    let moving = "--job verify --quarantine move --offline --node-stopped --json";
    let report = run(&mut crawl(&store, &folder.path().join("verify"), moving)).expect(1).report();
    assert_eq!(
        (&report["verified"]["quarantined"], &report["errors"]),
        (&serde_json::json!(2), &serde_json::json!([])),
        "{report}"
    );
    assert_eq!(
        (names(&away), names(&bucket)),
        (vec!["0".into(), "0.json".into(), "1".into(), "1.json".into()], vec![])
    );
}
