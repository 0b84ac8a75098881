//! The examples that need no room, run as they stand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::dev::ServerHandle;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use blob_server::store::BlobStore;

#[path = "../../examples/blob_server/main.rs"]
#[allow(dead_code)]
mod blob_server;
#[path = "../../examples/custom_job.rs"]
#[allow(dead_code)]
mod custom_job;

#[test]
fn a_job_and_a_store_of_ones_own_report_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    for (folder, file, content) in
        [("b", "two", "22"), ("a", "none", ""), ("b", "three", "333"), ("a", "one", "1"), ("b", "empty", "")]
    {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
        std::fs::write(root.path().join(folder).join(file), content).unwrap();
    }
    std::fs::create_dir_all(root.path().join("b/folder")).unwrap();
    std::fs::create_dir_all(root.path().join("c")).unwrap();
    let report = custom_job::crawl(root.path()).unwrap();
    assert_eq!((&report["files"], &report["bytes"], &report["buckets"]), (&json!(5), &json!(6), &json!(6)));
    assert_eq!(
        (&report["complete"], &report["errors"], &report["strays"]["no_bucket"]),
        (&json!(true), &json!([]), &json!(1))
    );
    let findings: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|f| f["bucket"].as_str().unwrap()).collect();
    let empty = ["a/none", "b/empty"].map(|file| root.path().join(file).display().to_string());
    assert_eq!(findings, empty);
    assert_eq!(report["budget"]["cpu_percentage"], 10.0);
}

/// One request, as simple as HTTP allows; the answer's first line and its body.
fn ask(address: SocketAddr, what: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    write!(stream, "{what} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_server_of_blobs_takes_care_of_its_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let old = |path: &Path| {
        let long_ago = SystemTime::now() - Duration::from_secs(100 * 86_400);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    };
    // Forty blobs: one of them has rotted, two are old enough to go, and an upload was interrupted.
    let blobs = BlobStore::new(folder.path().join("blobs"));
    let names: Vec<String> = (0..40).map(|number| put(&blobs, format!("blob {number}").as_bytes())).collect();
    std::fs::write(blobs.place(&names[0]), "blob x").unwrap();
    names[1..3].iter().for_each(|name| old(&blobs.place(name)));
    std::fs::create_dir_all(folder.path().join("uploads")).unwrap();
    std::fs::write(folder.path().join("uploads/half"), "ha").unwrap();
    old(&folder.path().join("uploads/half"));

    let (started, running) = mpsc::channel::<(SocketAddr, ServerHandle)>();
    let served = folder.path().to_owned();
    let server = std::thread::spawn(move || {
        let started = move |address, handle| started.send((address, handle)).unwrap();
        actix_web::rt::System::new().block_on(blob_server::serve(&served, 0, started)).map_err(|e| e.to_string())
    });
    let (address, handle) = running.recv().unwrap();
    assert!(ask(address, "PUT /budget/100", "").0.contains("204"));
    assert!(ask(address, "PUT /budget/0", "").0.contains("400"));
    let begun = Instant::now();
    let shown = loop {
        let shown: Value = serde_json::from_str(&ask(address, "GET /status", "").1).unwrap();
        let reports = &shown["reports"];
        let all_done = reports["verify"].is_object() && reports["expire"].is_object() && shown["bytes_used"] != 0;
        if all_done && shown["uploads_removed"] == 1 && shown["damaged"] == 1 {
            break shown;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{shown:#}");
    };
    let (verified, expired) = (&shown["reports"]["verify"]["verified"], &shown["reports"]["expire"]);
    // Those that expire may be gone before they are verified.
    assert!(verified["corrupt"] == 1 && verified["ok"].as_u64().unwrap() >= 37, "{verified}");
    assert_eq!((&expired["blobs"], &expired["deleted"]), (&json!(40), &json!(2)));
    assert!(names[1..3].iter().all(|name| !blobs.place(name).exists()) && blobs.place(&names[3]).exists());
    // All of it under one budget.
    let clients = shown["engine"]["budget"]["clients"].as_array().unwrap();
    let slices = |name: &str| clients.iter().find(|client| client["name"] == name)?["slices"].as_u64();
    assert!(["verify", "expire", "tidy", "measure"].iter().all(|client| slices(client) > Some(0)));

    // Meanwhile it serves.
    let (said, name) = ask(address, "PUT /blobs", "new");
    assert!(said.contains("201") && name.len() == 64, "{said} {name}");
    assert_eq!(ask(address, &format!("GET /blobs/{name}"), "").1, "new");
    assert!(ask(address, "GET /blobs/x", "").0.contains("404"));
    assert!(ask(address, "POST /pause", "").0.contains("204") && ask(address, "POST /resume", "").0.contains("204"));
    futures_executor::block_on(handle.stop(true));
    server.join().unwrap().unwrap();
}

/// Puts a blob into its place; gives its name.
fn put(blobs: &BlobStore, content: &[u8]) -> String {
    let name: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let place = blobs.place(&name);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, content).unwrap();
    name
}
