//! Files that are Sexton's own: the state, and whatever lies beside it.

mod files;
pub mod full_disk;
mod own_files;
