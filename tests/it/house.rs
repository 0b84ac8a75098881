//! The shape of the source tree: what stands directly below `src/` stands on floors and knows only what lies below it. Each file
//! says what it is, and none is too long to be read. A name stands for one type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the ground up. Those on one floor do not know each other either.
const FLOORS: [&str; 15] = [
    "policy errno lenient lock shown sizes",
    "error calls",
    "clock own_files settings sqlite_file threads",
    "priority slice spelling",
    "store",
    "job maintenance",
    "state",
    "model",
    "actors",
    "engine",
    "tahoe cumulus",
    "kinds advice",
    "config",
    "daemon",
    "cli",
];
/// What a signal may interrupt is called through `calls`, which tries it again.
const INTERRUPTED: &str = "openat openat2 open stat statat statfs statvfs statx fstat fstatfs fstatvfs seek mkdirat unlinkat linkat renameat \
    renameat_with readlinkat fchmod fchown ftruncate fsync fdatasync";

/// A file up to the tests that stand at its end.
fn without_tests(text: &str) -> &str {
    let is_here = |at: usize| text[at..].lines().nth(1).is_some_and(|line| line.ends_with('{'));
    let tests = text.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| is_here(*at));
    tests.map_or(text, |(at, _)| &text[..at])
}

/// The words that follow this path in a text, also in braces; without comments and without tests at its end.
fn named<'t>(text: &'t str, path: &str) -> BTreeSet<&'t str> {
    let text = without_tests(text);
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(path) {
        if text[..at].rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("//")) {
            continue;
        }
        let rest = &text[at + path.len()..];
        let group = rest.strip_prefix('{').map(|group| &group[..group.find(';').unwrap_or(group.len())]);
        let mut depth = 0;
        for part in group.unwrap_or(rest).split_inclusive(['{', '}', ',', ';', '(']) {
            if depth == 0 {
                names.insert(
                    part.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
                );
            }
            depth += part.matches('{').count() as i32 - part.matches('}').count() as i32;
            if group.is_none() {
                break;
            }
        }
    }
    names
}

fn files(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
        }
    }
}

fn all(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    folders.iter().for_each(|folder| files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found));
    found
}

#[test]
fn arrows_point_down_only() {
    let floor = |name: &str| FLOORS.iter().position(|names| names.split(' ').any(|n| n == name));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = 0;
    for (path, text) in all(&["src"]) {
        let words: Vec<&str> = path.strip_prefix(&source).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        let top = words[0].trim_end_matches(".rs");
        if words.iter().any(|word| ["lib.rs", "main.rs", "tests", "tests.rs", "contract", "testing.rs"].contains(word))
        {
            continue;
        }
        let here = floor(top).unwrap_or_else(|| panic!("{top} stands on no floor"));
        for name in named(&text, "crate::").into_iter().filter(|name| *name != top) {
            let Some(there) = floor(name) else { continue };
            assert!(there < here, "{} knows {name}, which is not below {top}", path.display());
            arrows += 1;
        }
        let interrupted = |name: &&str| INTERRUPTED.split(' ').any(|n| n == *name);
        let called = named(&text, "rustix::fs::").into_iter().find(|name| top != "calls" && interrupted(name));
        assert_eq!(called, None, "{} calls it itself", path.display());
    }
    assert!(arrows > 500, "only {arrows} arrows were seen");
}

#[test]
fn every_file_says_what_it_is_and_none_is_too_long() {
    for (path, text) in all(&["src", "tests", "examples", "benches"]) {
        assert!(text.starts_with("//! ") && text.lines().count() <= 500, "{}", path.display());
    }
}

#[test]
fn a_name_stands_for_one_type() {
    let mut known = BTreeMap::new();
    for (path, text) in all(&["src"]) {
        if path.iter().any(|part| ["tests", "tests.rs"].iter().any(|tests| part == *tests)) {
            continue;
        }
        for line in without_tests(&text).lines() {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let word = words.next().filter(|word| *word != "type" || !line.starts_with(' '));
            if let (Some("struct" | "enum" | "trait" | "type"), Some(name)) = (word, words.next())
                && name.starts_with(char::is_uppercase)
            {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
                if let Some(other) = known.insert(name.clone(), path.clone()) {
                    panic!("{name} stands in {} and in {}", other.display(), path.display());
                }
            }
        }
    }
    assert!(known.len() > 500, "only {} types were seen", known.len());
}
