//! Tests of what only a state in a file can suffer.

mod candidates;
mod cost;
mod crash;
mod damage;
mod full;
mod intents;
mod missing;
mod objects;
mod opening;
mod readers;
mod rings;
mod script;
mod tidy;
