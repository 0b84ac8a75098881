//! A real grid: a client, a storage node and an introducer of Tahoe-LAFS 1.20.0 on the loopback interface. Half of what the
//! client has uploaded is expired by Sexton; the other half is still read.
//!
//! Needs what `external` needs. `tests/data/grid.py` starts the grid and ends it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn a_client_still_reads_what_has_not_expired() {
    let python = std::env::var("SEXTON_TAHOE_PYTHON").expect("SEXTON_TAHOE_PYTHON names a Python with tahoe-lafs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/grid.py");
    let output =
        Command::new(python).arg("-B").arg(script).arg(env!("CARGO_BIN_EXE_sexton")).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&told["old_read"], &told["new_read"]), (&json!(0), &told["files"]), "{told}");
    // Four shares of each file, with one lease each; half of them go.
    let shares = told["files"].as_u64().unwrap() * 4;
    assert_eq!((&told["deleted"]["shares"], &told["deleted"]["leases"]), (&json!(shares), &json!(shares)), "{told}");
    assert_eq!((&told["examined"], &told["findings"]), (&json!(2 * shares), &json!([])), "{told}");
}
