//! What Prometheus's own tool says of the metrics of a daemon and of the alert rules. Needs promtool (.ci/run sees to it).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::daemon::{CRAWLS, Daemon, config};

fn promtool(args: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    let mut child =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &*String::from_utf8_lossy(&output.stderr);
    // It says of what it only dislikes, too, and then exits with another code than 0.
    assert!(output.status.success(), "{args:?}: {said}");
}

#[test]
fn promtool_is_content_with_the_metrics() {
    let daemon = Daemon::start(300, &config(r#"cpu_percentage: "100%", cpu_slice: "20ms""#, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    let answer = daemon.send("GET", "/metrics", &[], "");
    assert!(answer.headers.contains("text/plain; version=0.0.4"), "{}", answer.headers);
    for line in ["sexton_buckets_total{crawl=\"leases\"} 300", "sexton_last_cycle_buckets{crawl=\"leases\"} 300"] {
        assert!(answer.body.contains(line), "{line} is not in {}", answer.body);
    }
    promtool(&["check", "metrics"], &answer.body);
}

#[test]
fn promtool_is_content_with_the_alert_rules_and_they_name_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = root.join("packaging/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    let known = std::fs::read_to_string(root.join("src/daemon/metrics.rs")).unwrap();
    for file in ["packaging/alerts.yml", "packaging/grafana.json"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit());
        let named: Vec<&str> = words.filter(|word| word.starts_with("sexton_")).collect();
        assert!(named.len() > 5, "{named:?}");
        for name in named {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(known.contains(&format!("\"{name}\"")), "{file} names {name}");
        }
    }
}
