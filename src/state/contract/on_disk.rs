//! The contract's backend in a file.

use super::Backend;
use crate::state::{SqliteStore, StateStore};

pub(super) struct OnDisk {
    store: Option<SqliteStore>,
    folder: tempfile::TempDir,
}

impl Backend for OnDisk {
    fn fresh() -> Self {
        let mut backend = OnDisk { store: None, folder: tempfile::tempdir().unwrap() };
        backend.reopen();
        backend
    }

    fn store(&mut self) -> &mut dyn StateStore {
        self.store.as_mut().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(SqliteStore::open(&self.folder.path().join("deep/state")).unwrap());
    }
}
