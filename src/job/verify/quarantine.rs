//! The quarantine folder: where corrupt shares are copied or moved, as `<prefix>/<storage index>/<share>`.
//!
//! Never over an existing file: a share of a name that is taken, or whose note could not stand beside it, gets `.1`, `.2`, ...
//! behind it. The note, `<share>.json`, has the findings. It is written first, so that a crash behind a move loses no finding:
//! the share is no longer in its bucket when that is verified again, but what was found of it is. Where a share does not come,
//! nothing that was made for it stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::note::{Note, draft, rename_new, write_new};
use super::visit::count;
use super::{VerifySettings, VerifyTally, folder};
use crate::job::{Finding, Fold};
use crate::shown;
use crate::store::{Stamp, TahoeBucket, lies_in};

/// Names that are tried for one share.
const NAMES_MOST: u32 = 1000;

/// What becomes of corrupt shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quarantine {
    /// They stay where they are. The default.
    #[default]
    None,
    /// A copy is kept in the quarantine folder.
    Copy,
    /// They are moved there. Only while the node is stopped: it may be serving or changing them.
    Move,
}

impl Quarantine {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Quarantine::None => "none",
            Quarantine::Copy => "copy",
            Quarantine::Move => "move",
        }
    }
}

impl FromStr for Quarantine {
    type Err = String;

    fn from_str(text: &str) -> Result<Quarantine, String> {
        let all = [Quarantine::None, Quarantine::Copy, Quarantine::Move];
        let found = all.into_iter().find(|q| q.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is unknown; none, copy or move would be right"))
    }
}

/// A corrupt share, as it was when it was read.
pub(super) struct Corrupt<'a> {
    pub name: &'a [u8],
    pub size: u64,
    /// How many bytes of it were read.
    pub read: u64,
    pub stamp: Stamp,
    pub findings: &'a [Finding],
}

/// Whether a share stays where it is whatever is wanted, since a link leads to it: what lies behind is not this store's, and
/// the link alone is no share.
pub(super) fn leaves(settings: &VerifySettings, bucket: &TahoeBucket<'_>, name: &[u8]) -> bool {
    let is_link = || bucket.shares().iter().any(|entry| bucket.share_name(entry) == name && bucket.is_link(entry));
    settings.quarantine != Quarantine::None && (is_link() || bucket.is_behind_link())
}

/// Copies or moves a share, if that is wanted. What goes wrong is noted, and the share stays where it is. Nothing is moved from
/// under the store's node: it may have been started since the cycle began.
pub(super) fn put_away(
    settings: &VerifySettings,
    bucket: &TahoeBucket<'_>,
    corrupt: &Corrupt<'_>,
    fold: &mut Fold<'_, VerifyTally>,
) {
    if settings.quarantine == Quarantine::None {
        return;
    }
    let asks = settings.quarantine == Quarantine::Move;
    let node = if asks { bucket.running_node() } else { None };
    if let Some(node) = node.filter(|node| node.forbids(settings.node_stopped)) {
        fold.notes.error(&bucket.path_of(corrupt.name), &format_args!("not moved to quarantine: {node}"));
        return;
    }
    let how = settings.quarantine.as_str();
    let Corrupt { size, read, .. } = *corrupt;
    let (began, read, findings) = (Some(fold.began), Some(read), corrupt.findings.to_vec());
    let note = Note { now: fold.now, began, how: how.to_owned(), size, read, findings };
    match try_put_away(settings, bucket, corrupt, &note) {
        Ok(()) => fold.tally.quarantined += 1,
        Err(e) => {
            fold.notes.error(&bucket.path_of(corrupt.name), &format_args!("cannot {how} share to quarantine: {e}"));
        }
    }
}

/// Adds what was found of shares that this cycle has moved away already, before a crash made it forget the bucket.
pub(super) fn take_up(settings: &VerifySettings, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) {
    if settings.quarantine != Quarantine::Move {
        return;
    }
    let folder = folder::of_bucket(settings, bucket);
    for shares in bucket_names(&folder) {
        // A move that was not finished: the share is met again in its bucket. A number may stand behind its name.
        let name = shares.split('.').next().unwrap_or_default();
        let here = bucket.shares().iter().any(|entry| bucket.share_name(entry) == name.as_bytes());
        let Some(note) = Note::of(&folder.join(&shares)).filter(|note| note.is_of_cycle(fold) && note.how == "move")
        else {
            continue;
        };
        if here || !folder.join(&shares).is_file() {
            continue;
        }
        count(note.read.unwrap_or(note.size), fold);
        fold.tally.corrupt += 1;
        fold.notes.counts.verified.corrupt += 1;
        fold.tally.quarantined += 1;
        note.findings.iter().for_each(|finding| fold.notes.finding(finding));
    }
}

/// The shares in a quarantine folder that have a note, by their names there.
fn bucket_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.take(NAMES_MOST as usize).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort_unstable();
    names
}

fn try_put_away(
    settings: &VerifySettings,
    bucket: &TahoeBucket<'_>,
    corrupt: &Corrupt<'_>,
    note: &Note,
) -> io::Result<()> {
    let folder = folder::of_bucket(settings, bucket);
    if lies_in(&folder, &bucket.beside_shares("shares")) {
        return Err(io::Error::other(format!("{} lies among the shares themselves", shown::path(&folder))));
    }
    let missing = folder::missing(&folder);
    let named = |e: io::Error| io::Error::new(e.kind(), format!("folder {}: {e}", shown::path(&folder)));
    let made = folder::make(&folder, &missing).map_err(named);
    made.and_then(|()| put_into(&folder, settings.quarantine, bucket, corrupt, note)).inspect_err(|_| {
        // Those that were made for it and have nothing in them, the innermost first.
        let _ = missing.iter().try_for_each(fs::remove_dir);
    })
}

fn put_into(
    folder: &Path,
    quarantine: Quarantine,
    bucket: &TahoeBucket<'_>,
    corrupt: &Corrupt<'_>,
    note: &Note,
) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("folder {}: {e}", shown::path(folder)));
    // It may be mounted there.
    if is_bucket_itself(folder, bucket)? {
        return Err(io::Error::other("the quarantine folder is the bucket itself"));
    }
    match (quarantine, place_for(folder, quarantine, bucket, corrupt, note)?) {
        (Quarantine::None, _) | (Quarantine::Copy, Place::Holds(_)) => return Ok(()),
        (Quarantine::Copy, Place::Free(target)) => {
            note.write(&target).map_err(named)?;
            return copy(bucket, corrupt.name, &target).inspect_err(|_| Note::take_back(&target));
        }
        (Quarantine::Move, Place::Free(target)) => {
            note.write(&target).map_err(named)?;
            move_away(bucket, corrupt, &target).inspect_err(|_| Note::take_back(&target))?;
        }
        (Quarantine::Move, Place::Holds(target)) => {
            note.replace(&target)?;
            // Whoever put it there may not have seen to that.
            File::open(&target)?.sync_all()?;
            unlink(bucket, corrupt, folder)?;
        }
    }
    // The share stands in its new folder for good before it may be gone from the old one.
    folder::sync(folder)?;
    Ok(rustix::fs::fsync(bucket.dir())?)
}

/// Where a share goes.
enum Place {
    /// Under a name that is not taken.
    Free(PathBuf),
    /// The very same bytes lie there already: after a cycle that copied the share, or a crash in the middle of a move.
    Holds(PathBuf),
}

fn place_for(
    folder: &Path,
    quarantine: Quarantine,
    bucket: &TahoeBucket<'_>,
    corrupt: &Corrupt<'_>,
    note: &Note,
) -> io::Result<Place> {
    for i in 0..NAMES_MOST {
        let mut name = OsStr::from_bytes(corrupt.name).to_owned();
        if i > 0 {
            name.push(format!(".{i}"));
        }
        let target = folder.join(name);
        match fs::symlink_metadata(&target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if note.may_stand_at(&target)? {
                    return Ok(Place::Free(target));
                }
            }
            Err(e) => return Err(e),
            Ok(there) if there.len() == corrupt.size && there.is_file() => {
                if same_bytes(File::open(&target)?, source(bucket, corrupt.name)?)?
                    && (quarantine == Quarantine::Copy || note.may_replace_at(&target)?)
                {
                    return Ok(Place::Holds(target));
                }
            }
            Ok(_) => {}
        }
    }
    Err(io::Error::other(format!("{NAMES_MOST} names are taken in {}", shown::path(folder))))
}

/// Whether what lies in the folder is what lies in the bucket: then a share there is no second one.
fn is_bucket_itself(folder: &Path, bucket: &TahoeBucket<'_>) -> io::Result<bool> {
    let (folder, bucket) = (rustix::fs::stat(folder)?, rustix::fs::fstat(bucket.dir())?);
    Ok((folder.st_dev, folder.st_ino) == (bucket.st_dev, bucket.st_ino))
}

fn same_bytes(one: File, other: File) -> io::Result<bool> {
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    let (mut a, mut b) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let len = one.read(&mut a)?;
        if len == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        match other.read_exact(&mut b[..len]) {
            Ok(()) if a[..len] == b[..len] => {}
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            _ => return Ok(false),
        }
    }
}

fn source(bucket: &TahoeBucket<'_>, name: &[u8]) -> io::Result<File> {
    // A share that is a link stays in place; one may have been put there meanwhile.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    Ok(openat(bucket.dir(), name, flags, Mode::empty())?.into())
}

fn copy(bucket: &TahoeBucket<'_>, name: &[u8], target: &Path) -> io::Result<()> {
    let draft = draft(target);
    write_new(&draft, |to| io::copy(&mut source(bucket, name)?, to).map(drop))?;
    // The first error counts.
    rename_new(CWD, &draft, target).inspect_err(|_| drop(fs::remove_file(&draft)))?;
    target.parent().map_or(Ok(()), folder::sync)
}

/// Moves the share, if it still is the one that was read: by renaming it, or where the folder is on another file system by
/// copying it, synced, before it is unlinked.
fn move_away(bucket: &TahoeBucket<'_>, corrupt: &Corrupt<'_>, target: &Path) -> io::Result<()> {
    check_unchanged(bucket, corrupt)?;
    match renameat_with(bucket.dir(), corrupt.name, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Another file system, or one that cannot rename without replacing.
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
            copy(bucket, corrupt.name, target)?;
            target.parent().map_or(Ok(()), |folder| unlink(bucket, corrupt, folder))
        }
        Err(e) => Err(e.into()),
    }
}

/// Unlinks the share, if it still is the one that was read, when all that was written to the folder is there for good.
fn unlink(bucket: &TahoeBucket<'_>, corrupt: &Corrupt<'_>, folder: &Path) -> io::Result<()> {
    folder::sync(folder)?;
    check_unchanged(bucket, corrupt)?;
    Ok(unlinkat(bucket.dir(), corrupt.name, rustix::fs::AtFlags::empty())?)
}

fn check_unchanged(bucket: &TahoeBucket<'_>, corrupt: &Corrupt<'_>) -> io::Result<()> {
    match bucket.stamp_of(corrupt.name)? {
        stamp if stamp == corrupt.stamp => Ok(()),
        _ => Err(io::Error::other("it has changed since it was read, or is a link")),
    }
}
