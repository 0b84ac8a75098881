//! Names in the quarantine folder that are taken: by others, or by what a crash has left.

use super::*;

/// A grid with a damaged share 2, and where it goes.
fn damaged() -> (Grid, PathBuf, PathBuf) {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    let away = grid.path("quarantine/aa").join(IMMUTABLE);
    fs::create_dir_all(&away).unwrap();
    (grid, share, away)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_stands_where_share_note_or_draft_would_is_never_overwritten() {
    for (quarantine, how) in [(Quarantine::Copy, "copy"), (Quarantine::Move, "move")] {
        for (taken, target) in [("2", "2.1"), ("2.json", "2.1"), ("2.part", "2.1"), ("2.json.part", "2")] {
            for text in ["", "precious", "{}"] {
                let (grid, share, away) = damaged();
                let bytes = fs::read(&share).unwrap();
                fs::write(away.join(taken), text).unwrap();
                let (walked, _) = grid.verify(settings(quarantine, Advisories::None));
                assert_eq!((walked.tally.quarantined, walked.errors.len()), (1, 0), "{how} {taken}");
                assert_eq!(fs::read_to_string(away.join(taken)).unwrap(), text, "{how} {taken}");
                assert_eq!(fs::read(away.join(target)).unwrap(), bytes, "{how} {taken}");
                let note = note_of(&away.join(target));
                assert_eq!((&note["how"], &note["findings"]), (&json!(how), &in_tahoes_words(&walked)), "{taken}");
                assert_eq!(names(&away).len(), 3, "{:?}", names(&away));
                // Nor later, and what was moved is known by its note wherever it stands.
                let (again, _) = grid.verify(settings(quarantine, Advisories::None));
                assert_eq!((again.tally, again.findings), (walked.tally, walked.findings), "{how} {taken}");
                assert_eq!(names(&away).len(), 3, "{:?}", names(&away));
            }
        }
    }
}

#[test]
fn a_link_in_place_of_a_note_is_left_as_it_is() {
    for quarantine in [Quarantine::Copy, Quarantine::Move] {
        for leads_to in ["nowhere", "elsewhere"] {
            let (grid, _, away) = damaged();
            fs::write(grid.path("elsewhere"), "mine").unwrap();
            std::os::unix::fs::symlink(grid.path(leads_to), away.join("2.json")).unwrap();
            grid.verify(settings(quarantine, Advisories::None));
            assert!(away.join("2.json").is_symlink() && !grid.path("nowhere").exists());
            assert_eq!(fs::read_to_string(grid.path("elsewhere")).unwrap(), "mine");
            assert_eq!(names(&away), ["2.1", "2.1.json", "2.json"]);
        }
    }
}

/// How it happens: somebody has put the share there, with words of their own beside it.
#[test]
fn a_share_that_lies_there_already_with_a_note_of_others_is_moved_beside_it() {
    let (grid, share, away) = damaged();
    fs::copy(&share, away.join("2")).unwrap();
    fs::write(away.join("2.json"), "theirs").unwrap();
    // Nothing but a note of ours says that it is there.
    grid.verify(settings(Quarantine::Copy, Advisories::None));
    assert_eq!(names(&away), ["2", "2.1", "2.1.json", "2.json"]);
    grid.verify(settings(Quarantine::Move, Advisories::None));
    assert_eq!(names(&away), ["2", "2.1", "2.1.json", "2.json"]);
    assert_eq!(fs::read_to_string(away.join("2.json")).unwrap(), "theirs");
    assert!(!share.exists());
}

/// How it happens: the process dies between the note and the share, or in the middle of the copy.
#[test]
fn what_a_crash_has_left_of_a_share_is_taken_up_under_the_same_name() {
    for draft in [false, true] {
        let (grid, share, away) = damaged();
        grid.verify(settings(Quarantine::Copy, Advisories::None));
        let note = fs::read(away.join("2.json")).unwrap();
        fs::remove_file(away.join("2")).unwrap();
        if draft {
            fs::write(away.join("2.part"), "half of it").unwrap();
        }
        grid.verify(settings(Quarantine::Copy, Advisories::None));
        assert_eq!(names(&away), ["2", "2.json"]);
        assert_eq!(fs::read(away.join("2")).unwrap(), fs::read(&share).unwrap());
        assert_eq!(fs::read(away.join("2.json")).unwrap(), note);
    }
}
