//! One contract for every StateStore.
