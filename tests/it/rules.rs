//! The rules of dependency, held against the source text; and two of form: each file says what it is, and none is too
//! long to be read.
//!
//! The text is read as tokens, without comments, strings and what is compiled for tests only. Every path in it is made
//! absolute (`use` trees spread out, `super` resolved) and compared with what its module must not know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::rust_text::{code, paths, test_modules, without_tests};

/// What may not be known where.
struct Rule {
    /// Paths of modules, with all that is in them.
    module: &'static [&'static str],
    /// Modules in those for which it does not hold.
    but: &'static [&'static str],
    never: &'static [&'static str],
}

const RULES: [Rule; 12] = [
    // Pure: whatever happens there can be tested in a table, and time is an argument.
    Rule {
        module: &["crate::policy"],
        but: &[],
        never: &[
            "actix",
            "actix_rt",
            "tokio",
            "rusqlite",
            "r2d2",
            "r2d2_sqlite",
            "rustix",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "crate::clock",
            "crate::actors",
            "crate::engine",
        ],
    },
    // Of use without an engine.
    Rule {
        module: &[
            "crate::store",
            "crate::job",
            "crate::tahoe",
            "crate::cumulus",
            "crate::checkpoint",
            "crate::stand_in",
        ],
        but: &[],
        never: &["crate::actors", "crate::engine", "crate::config"],
    },
    // An actor knows the others by their messages, and backends by their traits.
    Rule {
        module: &["crate::actors"],
        but: &[],
        never: &[
            "rusqlite",
            "r2d2",
            "r2d2_sqlite",
            "crate::checkpoint::SqliteStore",
            "crate::checkpoint::sqlite",
            "crate::checkpoint::MemoryStore",
            "crate::checkpoint::memory",
            "crate::store::TahoeStore",
            "crate::store::tahoe",
            "crate::store::sample",
            "crate::job::Count",
            "crate::job::count",
            "crate::job::Leases",
            "crate::job::leases",
            "crate::job::Verify",
            "crate::job::verify",
            "crate::tahoe",
            "crate::config",
        ],
    },
    stranger(&["crate::actors::governor", "crate::actors::Governor"]),
    stranger(&["crate::actors::lister", "crate::actors::PrefixLister"]),
    stranger(&["crate::actors::processor", "crate::actors::BucketProcessor", "crate::actors::Crawl"]),
    stranger(&["crate::actors::checkpointer", "crate::actors::Checkpointer"]),
    stranger(&["crate::actors::cleaner", "crate::actors::Cleaner", "crate::actors::Cleaning"]),
    stranger(&["crate::actors::upkeep", "crate::actors::Upkeep", "crate::actors::Keeper"]),
    // It sells time and does not ask what for.
    Rule {
        module: &["crate::actors::governor"],
        but: &[],
        never: &[
            "crate::store",
            "crate::job",
            "crate::checkpoint",
            "crate::tahoe",
            "crate::cumulus",
            "crate::report",
            "crate::messages::Listing",
            "crate::messages::NextListing",
            "crate::messages::Commit",
        ],
    },
    // A signal may interrupt any of them, and a server may be busy: there they are tried again.
    Rule {
        module: &["crate"],
        but: &["crate::calls"],
        never: &[
            "rustix::fs::openat",
            "rustix::fs::openat2",
            "rustix::fs::open",
            "rustix::fs::stat",
            "rustix::fs::statat",
            "rustix::fs::statx",
            "rustix::fs::fstat",
            "rustix::fs::fstatfs",
            "rustix::fs::fstatvfs",
            "rustix::fs::seek",
            "rustix::fs::mkdirat",
            "rustix::fs::unlinkat",
            "rustix::fs::linkat",
            "rustix::fs::renameat",
            "rustix::fs::renameat_with",
            "rustix::fs::readlinkat",
            "rustix::fs::fchmod",
            "rustix::fs::fchown",
            "rustix::fs::ftruncate",
            "rustix::fs::fsync",
            "rustix::fs::fdatasync",
        ],
    },
    // The library serves hosts; the programs are hosts.
    Rule {
        module: &["crate"],
        but: &["crate::cli", "crate::daemon", "crate::main"],
        never: &[
            "crate::cli",
            "crate::daemon",
            "sexton::cli",
            "actix_web",
            "clap",
            "indicatif",
            "jiff",
            "prometheus",
            "sd_notify",
            "ureq",
            "tracing_subscriber",
            "signal_hook",
        ],
    },
];

/// An actor that no other actor may know. The module that holds them all only passes their names on.
const fn stranger(names: &'static [&'static str]) -> Rule {
    Rule { module: &["crate::actors"], but: names, never: names }
}

/// Whether a path is this one or below it, or a glob that may be.
fn is_in(path: &str, outer: &str) -> bool {
    let below =
        |path: &str, outer: &str| path == outer || path.strip_prefix(outer).is_some_and(|p| p.starts_with("::"));
    below(path, outer) || path.strip_suffix("::*").is_some_and(|all| below(outer, all))
}

/// What a module knows and must not.
fn broken(module: &str, text: &str) -> Vec<String> {
    let known = paths(module, &without_tests(code(text)));
    let mut found = Vec::new();
    for rule in &RULES {
        let applies = rule.module.iter().any(|m| is_in(module, m)) && !rule.but.iter().any(|m| is_in(module, m));
        // The list of actors itself names each of them, for the engine.
        let lists = module == "crate::actors" && rule.module == ["crate::actors"] && !rule.but.is_empty();
        for path in known.iter().filter(|_| applies && !lists) {
            found.extend(rule.never.iter().filter(|n| is_in(path, n)).map(|n| format!("{module} knows {path} ({n})")));
        }
    }
    found
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `src/actors/mod.rs` and `src/actors.rs` are `crate::actors`; `src/lib.rs` is `crate`.
fn module_of(file: &Path) -> String {
    let inner = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let names = inner.iter().map(|name| name.to_str().unwrap()).filter(|name| !["mod", "lib"].contains(name));
    std::iter::once("crate").chain(names).collect::<Vec<_>>().join("::")
}

#[test]
fn no_module_knows_what_it_must_not() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    assert!(files.len() > 50, "{files:?}");
    let texts: Vec<(String, String)> =
        files.iter().map(|file| (module_of(file), std::fs::read_to_string(file).unwrap())).collect();
    let tests: BTreeSet<String> = texts.iter().flat_map(|(module, text)| test_modules(module, &code(text))).collect();
    let compiled = texts.iter().filter(|(module, _)| !tests.iter().any(|t| is_in(module, t)));
    let found: Vec<String> = compiled.flat_map(|(module, text)| broken(module, text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_file_says_what_it_is_and_none_is_too_long() {
    let mut files = Vec::new();
    for dir in ["src", "tests", "examples", "benches"].map(|dir| root().join(dir)).iter().filter(|dir| dir.is_dir()) {
        rust_files(dir, &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let header = text.lines().next().and_then(|line| line.strip_prefix("//! "));
        assert!(header.is_some_and(|line| line.len() > 10), "{} has no header", file.display());
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
}

#[test]
fn a_broken_rule_shows() {
    for (module, text) in [
        ("crate::policy::budget", "use tokio::time::sleep;"),
        ("crate::policy::budget", "use std::{cmp::Ordering, fs::{self, File}};"),
        ("crate::policy", "fn now() -> u64 { std::time::SystemTime::now() }"),
        ("crate::policy::ring", "use std::time::*;"),
        ("crate::policy::ring", "use super::super::clock::Clock;"),
        ("crate::policy::ring", "#[actix::main] async fn f() {}"),
        ("crate::store::tahoe", "use crate::engine::Engine;"),
        ("crate::checkpoint::sqlite::calls", "use crate::{error::Error, config};"),
        ("crate::job", "/* not */ pub use crate /* this */ :: actors :: Governor;"),
        ("crate::actors::lister", "use super::governor::Governor;"),
        ("crate::actors::lister", "use super::{guard::Guard, Checkpointer as C};"),
        ("crate::actors::processor::worker", "use super::super::*;"),
        ("crate::actors::checkpointer", "fn f(s: crate::checkpoint::SqliteStore) {}"),
        ("crate::actors::governor", "use crate::job::Job;"),
        ("crate::engine::handle", "crate::cli::run();"),
        ("crate", "pub mod cli; pub use cli::run;"),
        ("crate::store::held", "use rustix::fs::{AtFlags, fstat};"),
        ("crate::report", "let x = '\"'; let y: &'static str = \"\"; clap::Parser::parse();"),
        ("crate::actors::governor", "#[cfg(test)] mod tests { use crate::store::X; } use crate::store::Store;"),
    ] {
        assert!(!broken(module, text).is_empty(), "not seen in {module}: {text}");
    }
}

#[test]
fn what_only_looks_broken_is_let_through() {
    for (module, text) in [
        ("crate::policy::budget", "//! See tokio::time. /* std::fs */\nuse std::time::Duration; // tokio::spawn"),
        ("crate::policy::budget", "/* /* nested */ use tokio::time; */ fn f() {}"),
        ("crate::policy::budget", r##"fn f() { g("std::fs::read", r#"a " tokio::spawn"#, 'x', b"\" tokio::x"); }"##),
        ("crate::policy::cycle", "#[cfg(test)]\nmod tests { fn f() { { std::fs::read(\"}\"); } } }\nfn g() {}"),
        ("crate::policy::cycle", "#[cfg(test)] #[allow(dead_code)] use std::{fs, net}; fn g() {}"),
        ("crate::policy::cycle", "use crate::checkpoint::Cycle; struct Tokio; mod tokio_like {}"),
        ("crate::store::names", "use crate::store::{self, Names}; use super::engine_room;"),
        ("crate::actors::lister", "use super::guard::Guard; use crate::store::{More, Store};"),
        ("crate::actors::processor::worker", "use super::crawl::Crawl; use super::super::guard::Guard;"),
        ("crate::actors", "mod governor; pub use governor::Governor; pub(crate) use processor::{Crawl, Ports};"),
        ("crate::engine", "use crate::actors::{Governor, Checkpointer}; use crate::config::Config;"),
        ("crate::cli::crawl", "use clap::Args; use crate::cli::output;"),
    ] {
        assert_eq!(broken(module, text), Vec::<String>::new(), "{text}");
    }
}
