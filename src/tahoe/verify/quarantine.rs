//! The quarantine folder: where corrupt shares are copied or moved, as `<prefix>/<storage index>/<share>`.
//!
//! Never over an existing file: a share of a name that is taken, or whose note could not stand beside it, gets `.1`, `.2`, ...
//! behind it. The note, `<share>.json`, has the findings. It is written first, so that a crash behind a move loses no finding:
//! the share is no longer in its bucket when that is verified again, but what was found of it is. Where a share does not come,
//! nothing that was made for it stays.
//!
//! A share on the same file system is moved by renaming it. All else is copied, a buffer full at a time, so that a slice can end
//! between any two, and only as long as there is [`room`](super::room). A copy that is there already is known by the size and the
//! hash in its note, so a share is read once for its hash, and once more if it is copied. Bucket and folder are both reached without following a link.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::QuarantinePlace;
use super::note::{QuarantineNote, draft, sync_new};
use super::room::{CopyRoom, DiskReserve, Reserved};
use super::stretch::{BLOCK_LEN, HashProgress, Stretches};
use super::{Quarantine, VerifySettings, folder};
use crate::calls::fstat;
use crate::job::Finding;
use crate::job::scrub::CycleMoment;
use crate::shown;
use crate::store::held::rename_new;
use crate::store::{ErrorCause, HeldFolder, Stamp, explained};
use crate::tahoe::store::TahoeBucket;
use crate::tahoe::words::ShareFinding;

/// Names that are tried for one share.
const NAMES_MOST: u32 = 1000;

/// So many bytes of a copy wait for the disk at most, or the last of its steps would have to wait for all of them.
const UNSYNCED_MOST: u64 = 8 << 20;

/// A corrupt share, as it was when it was read.
pub(super) struct Corrupt<'a> {
    pub name: &'a [u8],
    pub size: u64,
    /// How many bytes of it were read.
    pub read: u64,
    pub stamp: Stamp,
    pub findings: &'a [Finding],
}

/// What has become of a share that was to be put away.
#[derive(Debug)]
pub(super) enum QuarantineOutcome {
    /// It lies there now, and of that so many bytes were copied in this cycle.
    There { copied_bytes: u64 },
    /// It stays where it is, since there is no room for a copy, for this reason.
    NoRoom(String),
    /// It stays where it is; this is the error.
    Failed(ErrorCause, String),
}

/// Whether there is more to do for a share.
pub(super) enum QuarantineStep {
    More(Box<PutAway>),
    End(QuarantineOutcome),
}

/// A share on its way to quarantine. Goes along from slice to slice; is never saved.
#[derive(Debug)]
pub(super) struct PutAway {
    quarantine: Quarantine,
    moment: CycleMoment,
    name: Vec<u8>,
    size: u64,
    stamp: Stamp,
    note: QuarantineNote,
    free_percent: u8,
    /// The bucket, held.
    bucket: HeldFolder,
    place: QuarantinePlace,
    stage: QuarantineStage,
}

#[derive(Debug)]
enum QuarantineStage {
    /// Its hash is wanted: for its note, or since copies of its size are there: their names with their notes.
    Hash { share: Stretches, copies: Vec<(Vec<u8>, QuarantineNote)> },
    /// It is to be moved, and this copy is to be read once more, before it stands for the share.
    Check { copy: Stretches, name: Vec<u8>, hash: String },
    /// It has to get a new name there.
    Bring,
    /// It is being copied.
    Copy(CopyInProgress),
}

#[derive(Debug)]
struct CopyInProgress {
    share: Stretches,
    target: Vec<u8>,
    to: File,
    reserved: Reserved,
    spared: DiskReserve,
    copied_bytes: u64,
    unsynced_bytes: u64,
}

/// Why a step went no further.
enum StepEnd {
    With(QuarantineOutcome),
    By(io::Error),
}

impl From<io::Error> for StepEnd {
    fn from(e: io::Error) -> StepEnd {
        StepEnd::By(e)
    }
}

/// Whether a share stays where it is whatever is wanted, since a link leads to it: what lies behind is not this store's, and
/// the link alone is no share.
pub(super) fn leaves(settings: &VerifySettings, bucket: &TahoeBucket<'_>, name: &[u8]) -> bool {
    settings.quarantine != Quarantine::None && (bucket.is_link_named(name) || bucket.is_behind_link())
}

/// Begins to copy or move a share. Nothing is moved from under the store's node: it may have been started since the cycle began.
pub(super) fn begin(
    settings: &VerifySettings,
    bucket: &TahoeBucket<'_>,
    corrupt: &Corrupt<'_>,
    moment: CycleMoment,
) -> QuarantineStep {
    let asks = settings.quarantine == Quarantine::Move;
    let node = if asks { bucket.running_node() } else { None };
    if let Some(node) = node.filter(|node| node.forbids(settings.node_stopped)) {
        return QuarantineStep::End(QuarantineOutcome::Failed(
            ErrorCause::Other,
            format!("not moved to quarantine: {node}"),
        ));
    }
    match PutAway::new(settings, bucket, corrupt, moment) {
        Ok(begun) => QuarantineStep::More(Box::new(begun)),
        Err(e) => QuarantineStep::End(failed(settings.quarantine, &e)),
    }
}

fn failed(quarantine: Quarantine, e: &io::Error) -> QuarantineOutcome {
    QuarantineOutcome::Failed(ErrorCause::of(e), format!("cannot {} share to quarantine: {e}", quarantine.as_str()))
}

/// What is known of shares that this cycle has moved away already, before a crash made it forget the bucket.
pub(super) fn moved_before(
    settings: &VerifySettings,
    bucket: &TahoeBucket<'_>,
    moment: CycleMoment,
) -> Vec<QuarantineNote> {
    // What cannot be opened holds nothing that was moved there.
    let Ok(folder) = folder::open(settings, bucket) else { return Vec::new() };
    let names = folder.names(NAMES_MOST as usize).unwrap_or_default();
    let mut names: Vec<&[u8]> = names.iter().filter_map(|name| name.strip_suffix(b".json")).collect();
    names.sort_unstable();
    let known = names.into_iter().filter_map(|share| {
        // A move that was not finished: the share is met again in its bucket. A number may stand behind its name.
        let name = share.split(|byte| *byte == b'.').next().unwrap_or_default();
        let is_here = || bucket.has(name);
        let note = QuarantineNote::of(&folder, share).filter(|note| note.is_of_cycle(moment) && note.how == "move")?;
        (folder.file_len(share).ok()?.is_some() && !is_here()).then_some(note)
    });
    known.collect()
}

impl PutAway {
    fn new(
        settings: &VerifySettings,
        bucket: &TahoeBucket<'_>,
        corrupt: &Corrupt<'_>,
        moment: CycleMoment,
    ) -> io::Result<PutAway> {
        let Corrupt { size, stamp, .. } = *corrupt;
        let (how, findings) =
            (settings.quarantine.as_str().to_owned(), corrupt.findings.iter().map(ShareFinding::from).collect());
        let (began, read) = (Some(moment.began), Some(corrupt.read));
        let note = QuarantineNote { now: moment.now, began, how, size, read, hash: None, findings };
        let (quarantine, name, held) = (settings.quarantine, corrupt.name.to_vec(), bucket.for_change()?);
        let (place, free_percent) = (QuarantinePlace::make(settings, bucket)?, settings.free_percent);
        let mut begun = PutAway {
            quarantine,
            moment,
            name,
            size,
            stamp,
            note,
            free_percent,
            bucket: held,
            place,
            stage: QuarantineStage::Bring,
        };
        let stage = begun.first_stage();
        match stage {
            Ok(stage) => {
                begun.stage = stage;
                Ok(begun)
            }
            Err(e) => {
                begun.place.undo();
                Err(e)
            }
        }
    }

    fn first_stage(&self) -> io::Result<QuarantineStage> {
        let copies = self.copies()?;
        let share = self.source()?;
        Ok(if copies.is_empty() { QuarantineStage::Bring } else { QuarantineStage::Hash { share, copies } })
    }

    /// Does the next part of the work: a buffer full at most.
    pub fn step(
        mut self: Box<Self>,
        room: &Arc<CopyRoom>,
        bucket: &TahoeBucket<'_>,
        buffer: &mut [u8],
    ) -> QuarantineStep {
        let stage = std::mem::replace(&mut self.stage, QuarantineStage::Bring);
        let next = match stage {
            QuarantineStage::Hash { share, copies } => self.hash(share, copies, room, buffer),
            QuarantineStage::Check { copy, name, hash } => self.check(copy, name, hash, buffer),
            QuarantineStage::Bring => self.bring(room, bucket),
            QuarantineStage::Copy(copying) => self.copy(copying, buffer),
        };
        let ended = match next {
            Ok(stage) => {
                self.stage = stage;
                return QuarantineStep::More(self);
            }
            Err(ended) => ended,
        };
        let outcome = match ended {
            StepEnd::With(outcome) => outcome,
            StepEnd::By(e) => failed(self.quarantine, &e),
        };
        if !matches!(outcome, QuarantineOutcome::There { .. }) {
            let PutAway { place, .. } = *self;
            place.undo();
        }
        QuarantineStep::End(outcome)
    }

    /// The share, opened, if it still is the one that was read.
    fn source(&self) -> io::Result<Stretches> {
        let share = self.bucket.open_file(&self.name)?.ok_or(io::ErrorKind::NotFound)?;
        self.check_is_it(Stamp::of(&fstat(&share)?))?;
        Ok(Stretches::of(share, self.size))
    }

    /// Fails unless the share still is the one that was read.
    fn check_unchanged(&self) -> io::Result<()> {
        let found = self.bucket.stat(&self.name)?.ok_or(io::ErrorKind::NotFound)?;
        self.check_is_it(Stamp::of(&found))
    }

    fn check_is_it(&self, found: Stamp) -> io::Result<()> {
        let is_it = found == self.stamp;
        if is_it { Ok(()) } else { Err(changed()) }
    }

    fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        let name =
            |i: u32| if i == 0 { self.name.clone() } else { [&self.name[..], format!(".{i}").as_bytes()].concat() };
        (0..NAMES_MOST).map(name)
    }

    /// The copies of this size that have a note of ours with a hash.
    fn copies(&self) -> io::Result<Vec<(Vec<u8>, QuarantineNote)>> {
        let folder = &self.place.folder;
        let mut copies = Vec::new();
        for name in self.names() {
            match folder.file_len(&name)? {
                Some(len) if len == self.size => {
                    let note = QuarantineNote::of(folder, &name).filter(|note| note.size == len && note.hash.is_some());
                    copies.extend(note.map(|note| (name, note)));
                }
                None if self.note.may_stand_at(folder, &name)? && folder.is_free(&name)? => break,
                _ => {}
            }
        }
        Ok(copies)
    }

    /// The first name that it may get.
    fn free_name(&self) -> io::Result<Vec<u8>> {
        let folder = &self.place.folder;
        for name in self.names() {
            if folder.is_free(&name)? && self.note.may_stand_at(folder, &name)? {
                return Ok(name);
            }
        }
        Err(io::Error::other(format!("{NAMES_MOST} names are taken in {}", shown::path(folder.path()))))
    }

    fn hash(
        &mut self,
        mut share: Stretches,
        mut copies: Vec<(Vec<u8>, QuarantineNote)>,
        room: &Arc<CopyRoom>,
        buffer: &mut [u8],
    ) -> Result<QuarantineStage, StepEnd> {
        let HashProgress::End(hash) = share.step(buffer, |_, _| Ok(()))? else {
            return Ok(QuarantineStage::Hash { share, copies });
        };
        let (folder, moves) = (&self.place.folder, self.quarantine == Quarantine::Move);
        self.note.hash = Some(hash.clone());
        copies.retain(|(_, note)| note.hash.as_ref() == Some(&hash));
        for (name, note) in copies {
            let Some(copy) = folder.open_file(&name)? else { continue };
            if !moves {
                // One of this cycle was made before a crash, and not counted.
                let copied_bytes = if note.is_of_cycle(self.moment) { allotted(&copy)? } else { 0 };
                room.count(copied_bytes);
                return Err(StepEnd::With(QuarantineOutcome::There { copied_bytes }));
            }
            if self.note.may_replace_at(folder, &name)? {
                return Ok(QuarantineStage::Check { copy: Stretches::of(copy, self.size), name, hash });
            }
        }
        Ok(QuarantineStage::Bring)
    }

    /// Lets a copy stand for the share, if it still is what its note says.
    fn check(
        &mut self,
        mut copy: Stretches,
        name: Vec<u8>,
        hash: String,
        buffer: &mut [u8],
    ) -> Result<QuarantineStage, StepEnd> {
        let HashProgress::End(found) = copy.step(buffer, |_, _| Ok(()))? else {
            return Ok(QuarantineStage::Check { copy, name, hash });
        };
        if found != hash {
            return Ok(QuarantineStage::Bring);
        }
        self.note.replace(&self.place.folder, &name)?;
        // Whoever put it there may not have seen to that.
        copy.file().sync_all()?;
        self.unlink()?;
        Err(StepEnd::With(QuarantineOutcome::There { copied_bytes: 0 }))
    }

    /// Renames the share, or begins to copy it.
    fn bring(&mut self, room: &Arc<CopyRoom>, bucket: &TahoeBucket<'_>) -> Result<QuarantineStage, StepEnd> {
        let target = self.free_name()?;
        let folder = &self.place.folder;
        let named = |e: io::Error| {
            explained(e.kind(), ErrorCause::of(&e), format!("folder {}: {e}", shown::path(folder.path())))
        };
        if self.quarantine == Quarantine::Move {
            self.note.write(folder, &target).map_err(named)?;
            match self.rename(&target) {
                Ok(()) => return Err(StepEnd::With(QuarantineOutcome::There { copied_bytes: 0 })),
                Err(e) => {
                    QuarantineNote::take_back(folder, &target);
                    // Another file system.
                    if e.raw_os_error() != Some(Errno::XDEV.raw_os_error()) {
                        return Err(e.into());
                    }
                }
            }
        }
        let share = self.source()?;
        let no_room = |why| StepEnd::With(QuarantineOutcome::NoRoom(why));
        let takes_bytes = allotted(share.file())?;
        let reserved = room.reserve(takes_bytes).map_err(no_room)?;
        let spared = DiskReserve::on(folder, self.free_percent, bucket.site())?;
        spared.allows(takes_bytes, folder)?.map_err(no_room)?;
        if self.note.hash.is_none() {
            return Ok(QuarantineStage::Hash { share, copies: Vec::new() });
        }
        self.note.write(folder, &target).map_err(named)?;
        let to = folder.create(&draft(&target)).inspect_err(|_| QuarantineNote::take_back(folder, &target))?;
        Ok(QuarantineStage::Copy(CopyInProgress {
            share,
            target,
            to,
            reserved,
            spared,
            copied_bytes: 0,
            unsynced_bytes: 0,
        }))
    }

    fn rename(&self, target: &[u8]) -> io::Result<()> {
        self.check_unchanged()?;
        rename_new((self.bucket.as_fd(), &self.name), (self.place.folder.as_fd(), target))?;
        // The share stands in its new folder for good before it may be gone from the old one.
        self.place.folder.sync()?;
        self.bucket.sync()
    }

    fn copy(&mut self, mut copying: CopyInProgress, buffer: &mut [u8]) -> Result<QuarantineStage, StepEnd> {
        let folder = &self.place.folder;
        let hash = match self.copy_on(&mut copying, buffer) {
            Ok(None) => return Ok(QuarantineStage::Copy(copying)),
            Ok(Some(hash)) => hash,
            Err(e) => {
                QuarantineNote::take_back(folder, &copying.target);
                return Err(e);
            }
        };
        let CopyInProgress { share, target, to, reserved, copied_bytes, .. } = copying;
        let is_it = || if self.note.hash.as_ref() == Some(&hash) { self.check_unchanged() } else { Err(changed()) };
        let come = like(share.file(), &to, self.size).and_then(|()| is_it()).and_then(|()| {
            folder.rename(&draft(&target), &target)?;
            folder.sync()
        });
        come.inspect_err(|_| QuarantineNote::take_back(folder, &target))?;
        reserved.keep(copied_bytes);
        if self.quarantine == Quarantine::Move {
            self.unlink()?;
        }
        Err(StepEnd::With(QuarantineOutcome::There { copied_bytes }))
    }

    /// Copies a buffer full; gives the hash when all is copied.
    fn copy_on(&self, copying: &mut CopyInProgress, buffer: &mut [u8]) -> Result<Option<String>, StepEnd> {
        let CopyInProgress { share, to, reserved, spared, copied_bytes, unsynced_bytes, .. } = copying;
        // Others write to the disk as well.
        let no_room = |why| StepEnd::With(QuarantineOutcome::NoRoom(why));
        let at_once = (buffer.len() as u64).min(self.size);
        spared.allows(at_once, &self.place.folder)?.map_err(no_room)?;
        let mut beyond = None;
        let step = share.step(buffer, |bytes, at| {
            let bytes_len = (bytes.len() as u64).next_multiple_of(BLOCK_LEN);
            // A file system may have packed the share.
            beyond = reserved.grow_to(*copied_bytes + bytes_len).err();
            if beyond.is_some() {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            to.write_all_at(bytes, at)?;
            *copied_bytes += bytes_len;
            *unsynced_bytes += bytes_len;
            Ok(())
        });
        if let Some(why) = beyond {
            return Err(no_room(why));
        }
        if *unsynced_bytes >= UNSYNCED_MOST {
            to.sync_data()?;
            *unsynced_bytes = 0;
        }
        match step? {
            HashProgress::More => Ok(None),
            HashProgress::End(hash) => Ok(Some(hash)),
        }
    }

    /// Unlinks the share, if it still is the one that was read, when all that was written to the folder is there for good.
    fn unlink(&self) -> io::Result<()> {
        self.place.folder.sync()?;
        self.check_unchanged()?;
        self.bucket.remove(&self.name)?;
        self.bucket.sync()
    }
}

fn changed() -> io::Error {
    io::Error::other("it has changed since it was read, or is a link")
}

/// Bytes that a file takes on its disk.
fn allotted(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.blocks().saturating_mul(512))
}

/// Gives a copy the size, the owner and the mode of what was copied, down to the disk. Where its owner cannot be given, nobody else
/// may read it.
fn like(share: &File, copy: &File, size: u64) -> io::Result<()> {
    copy.set_len(size)?;
    let (theirs, own) = (share.metadata()?, copy.metadata()?);
    let is_theirs = (own.uid(), own.gid()) == (theirs.uid(), theirs.gid())
        || fchown(copy, Some(theirs.uid()), Some(theirs.gid())).is_ok();
    if is_theirs {
        copy.set_permissions(Permissions::from_mode(theirs.mode() & 0o777))?;
    }
    let mut copy = copy;
    copy.flush()?;
    sync_new(copy)
}
