//! The program as a user meets it, and the library as an embedder does.

mod cli;
mod embed;
mod threads;
#[cfg(feature = "external")]
mod threads_for_real;
