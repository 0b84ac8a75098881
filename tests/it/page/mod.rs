//! The status page in a real browser.

mod browser;
mod cleaning;
mod daemon;
mod figures;
mod shown;
mod stage;
