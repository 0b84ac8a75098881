//! The program `sexton`: see [`sexton::cli`].

use std::process::ExitCode;

/// Buffers of this size and above, in bytes, go back to the system as soon as they are free. By default the allocator keeps
/// more and more of them, in each thread apart: twice the memory where very long directories are listed in passes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_MOST: i32 = 256 << 10;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet. Should it fail, all stays as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_MOST);
    }
    // Fail points are compiled in for tests only; then FAILPOINTS says where to fail.
    let _scenario = fail::has_failpoints().then(fail::FailScenario::setup);
    sexton::cli::run()
}
