//! Where a path leads, by whatever links: what is to be kept apart from the objects is not to lie among them.

use std::path::{Component, Path, PathBuf};

/// Whether what is at a path, there or not yet, is another folder or lies in it.
pub(crate) fn lies_in(path: &Path, other: &Path) -> bool {
    resolved(path).starts_with(resolved(other))
}

/// The path without links, as far as it exists; what does not exist yet is no link.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    let Some((mut real, rest)) = there else { return path };
    for part in rest.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
    }
    real
}
