//! Each rule of the module, on real files. What takes a second user is in `second_user`.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::fs::{CWD, mknodat};
use tempfile::TempDir;

use super::rename::take_name_and_rename;
use super::*;

mod second_user;

/// A folder for its owner alone, and a file outside of it that nothing may change.
struct Place {
    folder: TempDir,
    outside: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap(), outside: tempfile::tempdir().unwrap() };
        fs::write(place.victim(), "important").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> OwnFile {
        OwnFile::at(&self.path(name)).unwrap()
    }

    fn victim(&self) -> PathBuf {
        self.outside.path().join("victim")
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.folder.path(), Permissions::from_mode(mode)).unwrap();
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Whatever is done to a file, as its refusal in words; each must be refused.
fn refusals(file: &OwnFile) -> Vec<String> {
    let errors = [
        file.look().map(drop),
        file.open(FileAccess::Read).map(drop),
        file.open(FileAccess::Write).map(drop),
        file.open_or_create().map(drop),
        file.read(100).map(drop),
        file.replace(|_| Ok(()), |new| new.write_all(b"new")),
        file.remove(),
        OwnDatabase::look(file).map(drop),
    ];
    errors.into_iter().map(|done| done.unwrap_err().to_string()).collect()
}

#[test]
fn no_link_is_followed_whoever_has_made_it() {
    let place = Place::new();
    symlink(place.victim(), place.path("link")).unwrap();
    symlink(place.outside.path().join("nothing"), place.path("dangling")).unwrap();
    for name in ["link", "dangling"] {
        for refusal in refusals(&place.file(name)) {
            assert!(refusal.contains("it is a symbolic link, which is not followed: remove it"), "{refusal}");
        }
        assert_eq!(place.file(name).create_new().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(place.path(name).is_symlink());
    }
    assert_eq!(fs::read(place.victim()).unwrap(), b"important");
    assert_eq!(fs::read_dir(place.outside.path()).unwrap().count(), 1);
}

#[test]
fn a_pipe_or_a_folder_is_refused_and_not_waited_for() {
    let place = Place::new();
    fifo(&place.path("pipe"));
    fs::create_dir(place.path("sub")).unwrap();
    for name in ["pipe", "sub"] {
        for refusal in refusals(&place.file(name)) {
            assert!(refusal.contains("it is no file but a folder, a pipe or a device"), "{refusal}");
        }
        let refusal = open_to_lock(&place.path(name), &place.victim(), Make::Yes).unwrap_err().to_string();
        assert!(refusal.contains("it is no file"), "{refusal}");
    }
}

#[test]
fn a_file_of_several_names_is_refused() {
    let place = Place::new();
    fs::write(place.path("one"), "important").unwrap();
    fs::hard_link(place.path("one"), place.path("other")).unwrap();
    for refusal in refusals(&place.file("other")) {
        assert!(refusal.contains("it has several names"), "{refusal}");
    }
    assert_eq!(fs::read(place.path("one")).unwrap(), b"important");
}

#[test]
fn what_is_read_has_a_bound() {
    let place = Place::new();
    fs::write(place.path("file"), [7; 100]).unwrap();
    assert_eq!(place.file("file").read(100).unwrap().unwrap().len(), 100);
    let refusal = place.file("file").read(99).unwrap_err().to_string();
    assert!(refusal.contains("it is longer than 99 bytes"), "{refusal}");
    assert_eq!(place.file("none").read(99).unwrap(), None);
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    let place = Place::new();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().mode() & 0o7777;
    place.file("new").create_new().unwrap();
    place.file("opened").open_or_create().unwrap();
    place.file("replaced").replace(|_| Ok(()), |new| new.write_all(b"new")).unwrap();
    assert_eq!([mode("new"), mode("opened"), mode("replaced")], [0o600; 3]);
    OwnFile::named(&place.path("a/b/state"), MissingFolder::Make).unwrap();
    assert_eq!([mode("a"), mode("a/b")], [0o700; 2]);
    assert!(OwnFile::named(&place.path("c/state"), MissingFolder::Refuse).is_err() && !place.path("c").exists());
}

#[test]
fn a_folder_in_which_others_may_create_names_is_refused_with_the_remedy() {
    let place = Place::new();
    let errors = |name: &str| {
        let path = place.path(name);
        let named = OwnFile::named(&path, MissingFolder::Make).map(drop);
        let copies = OwnFile::in_folder_for_copies(&path).map(drop);
        [OwnFile::at(&path).map(drop), named, copies, OwnFolder::open_own(place.folder.path()).map(drop)]
    };
    for mode in [0o777, 0o1777, 0o770, 0o775, 0o2775, 0o702, 0o1702] {
        place.set_mode(mode);
        for error in errors("state").map(|done| done.unwrap_err().to_string()) {
            let folder = place.folder.path().display();
            assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
            assert!(error.contains(&format!("`mkdir -m 700 {folder}/sexton`")), "{error}");
            assert_eq!(error.contains(&format!("`chmod go-w {folder}`")), mode & 0o1000 == 0, "{error}");
        }
    }
    for mode in [0o700, 0o755, 0o711, 0o1755, 0o500] {
        place.set_mode(mode);
        for done in errors("state") {
            done.unwrap();
        }
    }
    place.set_mode(0o700);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn the_remedy_can_be_given_to_a_shell() {
    let place = Place::new();
    let odd = place.path("it's here; $(x)");
    fs::create_dir(&odd).unwrap();
    fs::set_permissions(&odd, Permissions::from_mode(0o777)).unwrap();
    let error = OwnFile::at(&odd.join("state")).unwrap_err().to_string();
    let command = error.split('`').nth(1).unwrap();
    assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    OwnFile::at(&odd.join("sexton/state")).unwrap();
}

#[test]
fn a_replacement_is_whole_and_takes_what_a_killed_process_has_left() {
    let place = Place::new();
    let file = place.file("file");
    fs::write(place.path("file.new"), "half").unwrap();
    file.replace(|_| Ok(()), |new| new.write_all(b"first")).unwrap();
    let failed = file.replace(|_| Ok(()), |new| new.write_all(b"sec").and(Err(io::Error::other("no more"))));
    assert_eq!(failed.unwrap_err().to_string(), "no more");
    assert_eq!(file.read(100).unwrap().unwrap(), b"first");
    assert!(!place.path("file.new").exists());
    symlink(place.victim(), place.path("file.new")).unwrap();
    let refusal = file.replace(|_| Ok(()), |new| new.write_all(b"third")).unwrap_err().to_string();
    assert!(refusal.contains("file.new: it is a symbolic link"), "{refusal}");
    assert_eq!(fs::read(place.victim()).unwrap(), b"important");
}

#[test]
fn a_file_that_was_exchanged_meanwhile_is_not_given_another_name() {
    let place = Place::new();
    let (one, other) = (place.file("one"), place.file("other"));
    let held = one.create_new().unwrap();
    fs::rename(place.path("one"), place.path("away")).unwrap();
    fs::write(place.path("one"), "another").unwrap();
    for done in [one.rename_to(&other, &held), one.rename_new(&other, &held)] {
        assert!(done.unwrap_err().to_string().contains("something else in its place"));
    }
    assert!(!place.path("other").exists());
}

#[test]
fn a_link_that_a_person_names_is_resolved_once() {
    let place = Place::new();
    symlink(place.victim(), place.path("one")).unwrap();
    symlink("one", place.path("two")).unwrap();
    let named = OwnFile::named(&place.path("two"), MissingFolder::Refuse).unwrap();
    assert_eq!(named.path(), place.victim().canonicalize().unwrap());
    assert_eq!(named.beside("-wal").path(), place.victim().canonicalize().unwrap().with_file_name("victim-wal"));
    symlink("nowhere", place.path("dangling")).unwrap();
    symlink("round", place.path("round")).unwrap();
    for name in ["dangling", "round"] {
        OwnFile::named(&place.path(name), MissingFolder::Make).unwrap_err();
    }
}

#[test]
fn companions_are_looked_at_like_the_database() {
    let place = Place::new();
    fs::write(place.path("state"), "x").unwrap();
    for suffix in COMPANIONS {
        let (file, companion) = (place.file("state"), place.path(&format!("state{suffix}")));
        let database = OwnDatabase::look(&file).unwrap().unwrap();
        symlink(place.victim(), &companion).unwrap();
        for done in [OwnDatabase::look(&file).map(drop), database.check_again()] {
            let refusal = done.unwrap_err().to_string();
            assert!(refusal.contains(&format!("state{suffix}: it is a symbolic link")), "{refusal}");
        }
        fs::remove_file(&companion).unwrap();
        fifo(&companion);
        assert!(database.check_again().unwrap_err().to_string().contains("it is no file"));
        fs::remove_file(&companion).unwrap();
        fs::write(&companion, "one's own").unwrap();
        database.check_again().unwrap();
        fs::remove_file(&companion).unwrap();
    }
}

#[test]
fn a_database_or_a_folder_that_was_exchanged_while_it_was_opened_is_noticed() {
    let place = Place::new();
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.join("state"), "x").unwrap();
    let database = OwnDatabase::look(&OwnFile::at(&folder.join("state")).unwrap()).unwrap().unwrap();
    database.check_again().unwrap();
    fs::rename(&folder, place.path("away")).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("state"), "x").unwrap();
    assert!(database.check_again().unwrap_err().to_string().contains("something else in its place"));
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(place.path("away"), &folder).unwrap();
    database.check_again().unwrap();
    fs::rename(folder.join("state"), folder.join("old")).unwrap();
    fs::write(folder.join("state"), "x").unwrap();
    assert!(database.check_again().unwrap_err().to_string().contains("something else in its place"));
}

type Rename = fn(&OwnFolder, &OsStr, &OsStr) -> io::Result<()>;

/// With and without `RENAME_NOREPLACE` and hard links: what the file systems cannot do is left out here.
#[test]
fn a_file_gets_a_new_name_and_never_that_of_another() {
    let place = Place::new();
    let folder = OwnFolder::open(place.folder.path()).unwrap();
    let ways: [Rename; 2] = [
        |folder, from, to| rename_new(folder, from, folder, to),
        |folder, from, to| take_name_and_rename(folder, from, folder, to),
    ];
    for rename in ways {
        fs::write(place.path("from"), "mine").unwrap();
        fs::write(place.path("to"), "somebody's").unwrap();
        let (from, to) = (OsStr::new("from"), OsStr::new("to"));
        assert_eq!(rename(&folder, from, to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(place.path("to")).unwrap(), b"somebody's");
        fs::remove_file(place.path("to")).unwrap();
        symlink(place.victim(), place.path("to")).unwrap();
        assert_eq!(rename(&folder, from, to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(place.path("to")).unwrap();
        rename(&folder, from, to).unwrap();
        assert_eq!(fs::read(place.path("to")).unwrap(), b"mine");
        assert!(!place.path("from").exists());
        fs::remove_file(place.path("to")).unwrap();
        assert_eq!(rename(&folder, from, to).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!place.path("to").exists(), "a name that was taken is given back");
    }
}

#[test]
fn a_file_that_is_only_locked_is_made_with_the_rights_of_its_database() {
    let place = Place::new();
    let (lock, database) = (place.path("db-guard"), place.path("db"));
    assert!(open_to_lock(&lock, &database, Make::No).unwrap().is_none() && !lock.exists());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    open_to_lock(&lock, &database, Make::Yes).unwrap().unwrap();
    assert_eq!(mode(&lock), 0o644, "the database is not there yet");
    fs::remove_file(&lock).unwrap();
    fs::write(&database, "x").unwrap();
    fs::set_permissions(&database, Permissions::from_mode(0o660)).unwrap();
    open_to_lock(&lock, &database, Make::IfAllowed).unwrap().unwrap();
    assert_eq!(mode(&lock), 0o660);
    fs::remove_file(&lock).unwrap();
    symlink(place.victim(), &lock).unwrap();
    let refusal = open_to_lock(&lock, &database, Make::Yes).unwrap_err().to_string();
    assert!(refusal.contains("it is a symbolic link"), "{refusal}");
}
