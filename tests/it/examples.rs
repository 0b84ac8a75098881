//! The examples that need no room, run as they stand.

use serde_json::json;

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
        report["findings"].as_array().unwrap().iter().map(|f| f["storage_index"].as_str().unwrap()).collect();
    let empty = ["a/none", "b/empty"].map(|file| root.path().join(file).display().to_string());
    assert_eq!(findings, empty);
    assert_eq!(report["budget"]["cpu_percentage"], 10.0);
}
