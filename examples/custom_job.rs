//! A store and a job of one's own: sums up the files in the folders of a folder, and finds the empty ones.
//!
//! `cargo run --example custom_job [FOLDER]`; without a folder it walks `src`.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Map, Value};
use sexton::engine::{Cycles, Engine};
use sexton::job::{CycleView, Finding, Fold, Job, Tally, Unreadable};
use sexton::policy::ring::Ring;
use sexton::settings::{CrawlSettings, Settings};
use sexton::store::{More, Names, Nature, Store};

/// Each folder in it is a prefix, each file in that a bucket.
struct Folder(PathBuf, Ring);

impl Store for Folder {
    type Prefix = (PathBuf, fs::ReadDir);
    type Bucket<'a> = PathBuf;
    fn identity(&self) -> String {
        self.0.display().to_string()
    }
    fn ring(&self) -> &Ring {
        &self.1
    }
    fn open_prefix(&self, prefix: &str) -> io::Result<Option<Self::Prefix>> {
        match fs::read_dir(self.0.join(prefix)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            listing => Ok(Some((self.0.join(prefix), listing?))),
        }
    }
    fn read_names(&self, (_, listing): &mut Self::Prefix, names: &mut Names) -> io::Result<More> {
        // A chunk at a time, so that a slice can end in the middle of a large folder.
        for _ in 0..1000 {
            let Some(entry) = listing.next().transpose()? else { return Ok(More::No) };
            let nature = if entry.file_type()?.is_file() { Nature::Bucket } else { Nature::Stray };
            names.push(&entry.file_name().into_vec(), nature);
        }
        names.end_chunk();
        Ok(More::Maybe)
    }
    fn open_bucket<'a>(&self, (folder, _): &'a Self::Prefix, name: &'a [u8]) -> io::Result<PathBuf> {
        Ok(folder.join(OsStr::from_bytes(name)))
    }
    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf {
        bucket.iter().fold(self.0.join(prefix), |folder, name| folder.join(OsStr::from_bytes(name)))
    }
}

/// What files are folded into: their number and their size.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Sum(u64, u64);

impl Tally for Sum {
    fn merge(&mut self, Sum(files, bytes): Sum) {
        (self.0, self.1) = (self.0 + files, self.1 + bytes);
    }
}

struct SumUp;

impl Job<Folder> for SumUp {
    type Tally = Sum;
    type Part = ();
    fn name(&self) -> &str {
        "sum-up"
    }
    fn process_bucket(&self, path: &mut PathBuf, fold: &mut Fold<'_, Sum>) -> Result<(), Unreadable> {
        let metadata = path.symlink_metadata().map_err(|error| Unreadable { path: path.clone(), error })?;
        if metadata.is_file() {
            fold.tally.merge(Sum(1, metadata.len()));
        }
        if metadata.is_file() && metadata.len() == 0 {
            fold.notes.finding(&Finding::bad(path, "content", "it is empty"));
        }
        Ok(())
    }
    fn report(&self, cycle: &CycleView<'_, Sum>) -> Map<String, Value> {
        [("files".into(), cycle.tally.0.into()), ("bytes".into(), cycle.tally.1.into())].into_iter().collect()
    }
}

/// Crawls the folder once, under the default budget of 10 % of a core, and gives the report.
pub fn crawl(root: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    let names = fs::read_dir(root)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ring = Ring::new(names.filter(|name| root.join(name).is_dir()));
    let (crawl, store) = (CrawlSettings::new("sum-up"), Folder(root.to_owned(), ring));
    let engine = Engine::builder(Settings::default()).crawl(crawl, store, SumUp).cycles(Cycles::Once).spawn()?;
    engine.join()?;
    Ok(engine.last_report("sum-up").map(|report| report.to_json(&engine.status().budget)).unwrap_or_default())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:#}", crawl(std::env::args_os().nth(1).unwrap_or_else(|| "src".into()).as_ref())?);
    Ok(())
}
