//! The API's description, its examples, and what the daemon really answers, held against each other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::process::{CRAWLS, Daemon, config, example};

fn description() -> Value {
    sexton::daemon::api_document()
}

/// What is wrong with a value, by a schema: the part of JSON Schema that the description uses.
fn faults(api: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return faults(api, &api["components"]["schemas"][name], value, at, found);
    }
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        found.push(format!("{at}: {value} is not {wanted}"));
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = |schema: &Value| {
            let mut found = Vec::new();
            faults(api, schema, value, at, &mut found);
            found.is_empty()
        };
        if !any.iter().any(fits) {
            found.push(format!("{at}: {value} is none of {any:?}"));
        }
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = types.iter().any(|kind| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("a type {other}"),
    });
    if !fits {
        return found.push(format!("{at}: {value} is no {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let (Some(items), Some(array)) = (schema.get("items"), value.as_array()) {
        for (i, one) in array.iter().enumerate() {
            faults(api, items, one, &format!("{at}[{i}]"), found);
        }
    }
    if let (Some(places), Some(array)) = (schema["prefixItems"].as_array(), value.as_array()) {
        if places.len() != array.len() {
            found.push(format!("{at}: {} items instead of {}", array.len(), places.len()));
        }
        for ((i, one), place) in array.iter().enumerate().zip(places) {
            faults(api, place, one, &format!("{at}[{i}]"), found);
        }
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, one) in object {
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => faults(api, schema, one, &format!("{at}.{name}"), found),
            (None, Value::Bool(true)) => {}
            (None, schema @ Value::Object(_)) => faults(api, schema, one, &format!("{at}.{name}"), found),
            (None, _) => found.push(format!("{at}: {name} is not described")),
        }
    }
}

pub fn assert_fits(shape: &str, value: &Value) {
    let api = description();
    let schema = &api["components"]["schemas"][shape];
    assert!(schema.is_object(), "no shape {shape}");
    let mut found = Vec::new();
    faults(&api, schema, value, shape, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// The shape of each event.
const EVENTS: [(&str, &str); 8] = [
    ("status", "Status"),
    ("prefixes", "PrefixesEvent"),
    ("finding", "Finding"),
    ("cycle", "CycleEvent"),
    ("cleaning", "CleaningEvent"),
    ("sample", "Sample"),
    ("missed", "MissedEvent"),
    ("bye", "ByeEvent"),
];

#[test]
fn every_example_is_as_described() {
    let index: BTreeMap<String, String> = serde_json::from_str(&example("index.json")).unwrap();
    assert!(index.len() > 10);
    for (file, shape) in index {
        assert_fits(&shape, &serde_json::from_str(&example(&file)).unwrap());
    }
    let mut seen = Vec::new();
    for event in example("events.txt").split("\n\n").filter(|event| event.starts_with("event: ")) {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let name = name.strip_prefix("event: ").unwrap();
        let (name, shape) = EVENTS.iter().find(|(known, _)| *known == name).unwrap();
        assert_fits(shape, &serde_json::from_str(data).unwrap());
        seen.push(*name);
    }
    assert!(EVENTS.iter().all(|(name, _)| seen.contains(name)), "{seen:?}");
}

#[test]
fn what_is_not_as_described_is_seen() {
    let api = description();
    let fits = |value: Value| {
        let mut found = Vec::new();
        faults(&api, &api["components"]["schemas"]["Range"], &value, "Range", &mut found);
        found.is_empty()
    };
    assert!(fits(json!({ "least": 1.0, "most": 2 })));
    for wrong in [
        json!({ "least": 1.0 }),
        json!({ "least": "1", "most": 2 }),
        json!([]),
        json!({ "least": 1, "most": 2, "x": 3 }),
    ] {
        assert!(!fits(wrong));
    }
}

#[test]
fn every_answer_of_a_daemon_is_as_described() {
    let daemon = Daemon::start(300, &config(r#"cpu_percentage: "100%", cpu_slice: "20ms""#, CRAWLS, ""));
    let mut events = daemon.events();
    assert_fits("Status", &events.next("status"));
    daemon.until_crawl("leases", "sleeping");
    for (path, shape) in [
        ("/api/status", "Status"),
        ("/api/crawls/leases", "CrawlDetail"),
        ("/api/crawls/count", "CrawlDetail"),
        ("/api/findings", "Findings"),
        ("/api/history", "History"),
        ("/api/budget", "BudgetReport"),
    ] {
        assert_fits(shape, &daemon.get(path));
    }
    let detail = daemon.get("/api/crawls/leases");
    assert_eq!(detail["ring"]["prefixes"].as_array().unwrap().len(), 1024);
    assert!(detail["ring"]["visited"].as_array().unwrap().iter().all(Value::is_number));
    assert_eq!(detail["crawl"]["buckets"], 300);
    assert!(!detail["lease_ages"].as_array().unwrap().is_empty());
    for (method, path, body, shape) in [
        ("POST", "/api/crawls/count/start", "", "Crawl"),
        ("POST", "/api/crawls/leases/pause", "", "Crawl"),
        ("POST", "/api/crawls/leases/resume", "", "Crawl"),
        ("PUT", "/api/budget", r#"{"cpu_percentage": 25}"#, "Budget"),
        ("PUT", "/api/budget", r#"{"cpu_percentage": "30%"}"#, "Budget"),
        ("DELETE", "/api/budget", "", "Budget"),
        ("POST", "/api/pause", "", "Paused"),
        ("POST", "/api/resume", "", "Paused"),
        ("POST", "/api/reload", "", "Reloaded"),
        ("POST", "/api/link", "", "Link"),
        ("POST", "/api/crawls/leases/stop", "", "Crawl"),
    ] {
        let answer = daemon.change(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        assert_fits(shape, &answer.json());
    }
    let prefixes = events.next("prefixes");
    assert_fits("PrefixesEvent", &prefixes);
    assert_fits("CycleEvent", &events.next("cycle"));
    for (method, path, body, status) in [
        ("GET", "/api/crawls/nobody", "", 404),
        ("GET", "/api/nothing", "", 404),
        ("GET", "/api/findings?limit=0", "", 400),
        ("GET", "/api/findings?after=x", "", 400),
        ("GET", "/api/history?bogus=1", "", 400),
        ("GET", "/login", "", 400),
        ("POST", "/api/crawls/leases/pause", &*"x".repeat(5000), 413),
        ("POST", "/api/pause", &*"x".repeat(5000), 413),
        ("GET", "/api/cleanings/nobody/plan", "", 404),
        ("POST", "/api/crawls/nobody/start", "", 404),
        ("POST", "/api/crawls/leases/dance", "", 404),
        ("POST", "/api/crawls/leases/confirm", r#"{"cycle": 0}"#, 409),
        ("POST", "/api/crawls/leases/confirm", "{}", 400),
        ("PUT", "/api/budget", r#"{"cpu_percentage": 0}"#, 400),
        ("PUT", "/api/budget", r#"{"cpu_percentage": "25"}"#, 400),
        ("PUT", "/api/budget", r#"{"percent": 25}"#, 400),
        ("PUT", "/api/budget", "not json", 400),
    ] {
        let answer = daemon.change(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_fits("Error", &answer.json());
        let path = path.split('?').next().unwrap().replace("/nobody", "/{name}").replace("/leases", "/{name}");
        if let Some(described) = description()["paths"][&path].as_object() {
            let described = &described[&method.to_lowercase()]["responses"][status.to_string()];
            assert!(described.is_object(), "{method} {path} is not said to answer {status}");
        }
    }
}

/// What is answered with something of its own to a look at the head alone.
const NO_HEAD: [&str; 2] = ["/api/events", "/login"];

#[test]
fn a_method_that_a_path_does_not_take_is_refused_with_those_it_takes() {
    let daemon = Daemon::start(20, &config(r#"cpu_percentage: "100%""#, CRAWLS, ""));
    for (path, methods) in description()["paths"].as_object().unwrap() {
        let mut taken: Vec<String> = methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        if taken.contains(&"GET".to_owned()) && !NO_HEAD.contains(&path.as_str()) {
            taken.push("HEAD".to_owned());
        }
        taken.sort();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            if taken.iter().any(|one| one == method) {
                continue;
            }
            let answer = daemon.change(method, &path.replace("{name}", "count"), "");
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.body);
            let allow =
                answer.headers.lines().find_map(|line| line.to_lowercase().strip_prefix("allow: ").map(str::to_owned));
            let mut allow: Vec<String> = allow.unwrap().split(", ").map(str::to_uppercase).collect();
            allow.sort();
            assert_eq!(allow, taken, "{method} {path}");
            if method != "HEAD" {
                assert_fits("Error", &answer.json());
            }
        }
    }
    // The guard comes first: who may not ask at all is not told what could be asked.
    assert_eq!(daemon.send("POST", "/api/status", &[], "").status, 401);
    assert_eq!(daemon.send("POST", "/api/status", &[("Host", "evil.example")], "").status, 403);
    assert_eq!(daemon.change("POST", "/api/nothing", "").status, 404);
}

#[test]
fn every_path_that_is_described_is_there() {
    let daemon = Daemon::start(20, &config(r#"cpu_percentage: "100%""#, CRAWLS, ""));
    for (path, methods) in description()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|_| path != "/api/events") {
            let path = path.replace("{name}", "count");
            let answer = daemon.change(&method.to_uppercase(), &path, "");
            // A cleaning of that name is not there, and says so; so does a missing body. What is not there at all says
            // something else.
            assert!(!answer.body.contains("there is nothing here"), "{method} {path}: {}", answer.body);
            assert_ne!(answer.status, 405, "{method} {path}: {}", answer.body);
        }
    }
}
