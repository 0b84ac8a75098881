//! The program `sexton`: see [`sexton::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fail points are compiled in for tests only; then FAILPOINTS says where to fail.
    let _scenario = fail::has_failpoints().then(fail::FailScenario::setup);
    sexton::cli::run()
}
