//! What Prometheus's own tool says of the metrics of a daemon and of the alert rules. Needs promtool (.ci/run sees to it).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{CRAWLS, Daemon, config};

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
    promtool(&["check", "metrics"], &daemon.send("GET", "/metrics", &[], "").body);
}

#[test]
fn promtool_is_content_with_the_alert_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
}

#[test]
fn each_alert_rings_when_it_should_and_no_longer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("tests/data/alerts.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (rules, tests) = (text(&root.join("packaging/alerts.yml")), text(&tests));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let tested = tests.split("  - interval: ").filter(|test| test.contains(&format!("alertname: {alert}\n")));
        assert!(tested.clone().any(|test| test.contains("exp_alerts:")), "nothing tests that {alert} rings");
    }
}
