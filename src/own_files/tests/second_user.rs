//! What others than the user who runs Sexton have left. Only root can make such files, and leave off being root.

#![cfg(feature = "external")]

use std::os::unix::fs::{chown, lchown};

use rustix::process::Uid;

use super::*;

const ALICE: u32 = 61_001;
const MALLORY: u32 = 61_002;

/// A place, if this is root.
fn place() -> Option<Place> {
    if me() != 0 {
        eprintln!("skipped: needs root, to make files of other users");
        return None;
    }
    Some(Place::new())
}

/// Runs on a thread that has only the rights of this user.
fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        rustix::thread::set_thread_uid(Uid::from_raw(uid)).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
}

#[test]
fn a_file_is_believed_if_it_is_yours_or_roots_or_the_folders_owners() {
    let Some(place) = place() else { return };
    place.set_mode(0o755);
    give(place.folder.path(), ALICE);
    for (name, owner) in [("of-root", 0), ("of-alice", ALICE), ("of-mallory", MALLORY)] {
        fs::write(place.path(name), "text").unwrap();
        fs::set_permissions(place.path(name), Permissions::from_mode(0o644)).unwrap();
        give(&place.path(name), owner);
    }
    let read = |name: &str| place.file(name).read(10).map(drop).map_err(|e| e.to_string());
    for user in [0, ALICE] {
        let [root, alice, mallory] = as_user(user, || ["of-root", "of-alice", "of-mallory"].map(read));
        assert_eq!((root, alice), (Ok(()), Ok(())), "{user}");
        let refusal = mallory.unwrap_err();
        assert!(refusal.contains(&format!("it belongs to user {MALLORY}, who is neither you nor root")), "{refusal}");
    }
    as_user(MALLORY, || read("of-mallory")).unwrap();
    for refusal in refusals(&place.file("of-mallory")) {
        assert!(refusal.contains("it belongs to user"), "{refusal}");
    }
    assert_eq!(fs::read(place.path("of-mallory")).unwrap(), b"text");
}

#[test]
fn a_folder_of_another_user_that_only_its_owner_may_write_to_is_not_refused() {
    let Some(place) = place() else { return };
    give(place.folder.path(), ALICE);
    let file = place.file("state");
    file.create_new().unwrap();
    give(&place.path("state"), ALICE);
    file.replace(|_| Ok(()), |new| new.write_all(b"by root")).unwrap();
    let owner = fs::metadata(place.path("state")).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (ALICE, 0o600), "what is replaced keeps its owner");
}

#[test]
fn a_link_that_a_person_names_is_followed_only_if_its_owner_may_say_where() {
    let Some(place) = place() else { return };
    for (link_owner, target_owner, followed) in [
        (0, MALLORY, true),
        (ALICE, ALICE, true),
        (MALLORY, ALICE, false),
        (MALLORY, 0, false),
        (MALLORY, MALLORY, true),
    ] {
        let link = place.path("link");
        symlink(place.victim(), &link).unwrap();
        give(&link, link_owner);
        give(place.outside.path(), target_owner);
        let named = OwnFile::named(&link, MissingFolder::Refuse);
        assert_eq!(named.is_ok(), followed, "{link_owner} {target_owner}: {named:?}");
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_copy_has_owner_and_mode_of_its_original() {
    let Some(place) = place() else { return };
    fs::write(place.path("original"), "x").unwrap();
    fs::set_permissions(place.path("original"), Permissions::from_mode(0o640)).unwrap();
    chown(place.path("original"), Some(ALICE), Some(MALLORY)).unwrap();
    let original = rustix::fs::stat(place.path("original")).unwrap();
    give_like(&place.file("copy").create_new().unwrap(), &original).unwrap();
    let copy = fs::metadata(place.path("copy")).unwrap();
    assert_eq!((copy.uid(), copy.gid(), copy.mode() & 0o7777), (ALICE, MALLORY, 0o640));
    // Who may not give it away gives the group and others no rights either.
    place.set_mode(0o700);
    give(place.folder.path(), ALICE);
    as_user(ALICE, || give_like(&place.file("own").create_new().unwrap(), &original)).unwrap();
    let own = fs::metadata(place.path("own")).unwrap();
    assert_eq!((own.uid(), own.mode() & 0o7777), (ALICE, 0o600));
}

#[test]
fn a_file_that_is_only_locked_may_be_anybodys() {
    let Some(place) = place() else { return };
    place.set_mode(0o755);
    let (lock, database) = (place.path("db-guard"), place.path("db"));
    fs::write(&database, "x").unwrap();
    fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    give(&database, ALICE);
    give(place.folder.path(), ALICE);
    // By root: whoever works on the database must be able to lock it.
    open_to_lock(&lock, &database, Make::Yes).unwrap().unwrap();
    assert_eq!((fs::metadata(&lock).unwrap().uid(), fs::metadata(&lock).unwrap().mode() & 0o777), (ALICE, 0o600));
    for (owner, mode) in [(0, 0o644), (MALLORY, 0o444)] {
        give(&lock, owner);
        fs::set_permissions(&lock, Permissions::from_mode(mode)).unwrap();
        let locked = as_user(ALICE, || open_to_lock(&lock, &database, Make::Yes).unwrap().unwrap().try_lock());
        locked.unwrap();
        open_to_lock(&lock, &database, Make::Yes).unwrap().unwrap().try_lock().unwrap();
    }
    // Where it may not be made, and is not there, nobody holds it.
    fs::remove_file(&lock).unwrap();
    let by_mallory = |make| as_user(MALLORY, || open_to_lock(&lock, &database, make).map(|file| file.is_some()));
    assert!(!by_mallory(Make::IfAllowed).unwrap());
    assert_eq!(by_mallory(Make::Yes).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_file_of_one_user_is_read_only_if_it_is_that_users() {
    let Some(place) = place() else { return };
    give(place.folder.path(), ALICE);
    fs::write(place.path("token"), "secret").unwrap();
    give(&place.path("token"), ALICE);
    assert_eq!(place.file("token").read_of(ALICE, 10).unwrap().unwrap(), b"secret");
    give(&place.path("token"), 0);
    let refusal = place.file("token").read_of(ALICE, 10).unwrap_err().to_string();
    assert!(refusal.contains(&format!("it belongs to user 0 and not, as it must, to user {ALICE}")), "{refusal}");
}
