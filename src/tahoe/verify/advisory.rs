//! Tahoe's corruption advisories: the files in which a storage server keeps what clients report to it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::note::{draft, write_new};
use crate::clock;
use crate::job::Finding;
use crate::tahoe::container::ShareType;
use crate::tahoe::store::TahoeBucket;

/// The folder where they are kept.
const FOLDER: &str = "corruption-advisories";

/// Its path, for messages.
pub(super) fn place(bucket: &TahoeBucket<'_>) -> PathBuf {
    bucket.site().path_of(FOLDER)
}

/// Writes one advisory for a share, synced, and never over an existing one: a bucket that is verified again after a
/// crash, at the same moment of the same cycle, keeps the one it has. It gets its name once it is whole, so that one which
/// was begun on a full disk, or before a crash, is not taken for it.
pub(super) fn write(
    bucket: &TahoeBucket<'_>,
    share: Option<i64>,
    share_type: Option<ShareType>,
    findings: &[Finding],
    now: f64,
) -> io::Result<()> {
    let (folder, _) = bucket.site().root()?.make_folder(FOLDER.as_bytes())?;
    let storage_index = bucket.storage_index();
    let share = share.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    // A container that is neither is taken for immutable.
    let kind = share_type.unwrap_or(ShareType::Immutable);
    let reasons: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.part, f.reason)).collect();
    let text = format!(
        "report: Share Corruption\ntype: {kind}\nstorage_index: {storage_index}\nshare_number: {share}\n\n{}\n\n",
        reasons.join("\n")
    );
    let name = format!("{}--{storage_index}-{share}", time_of(now)).into_bytes();
    if !folder.is_free(&name)? {
        return Ok(());
    }
    let draft = draft(&name);
    folder.remove_if_there(&draft)?;
    write_new(&folder, &draft, |file| file.write_all(text.as_bytes()))?;
    folder.rename(&draft, &name).inspect_err(|_| drop(folder.remove_if_there(&draft)))?;
    folder.sync()
}

/// The moment as Tahoe writes it in such names: ISO 8601, UTC, without colons.
fn time_of(now: f64) -> String {
    let text = clock::rfc3339(now).unwrap_or_else(|| now.to_string());
    text.trim_end_matches('Z').replace(':', "")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_moments_without_colons() {
        assert_eq!(super::time_of(1_700_000_000.9), "2023-11-14T221320");
    }
}
