//! The API's own document, in OpenAPI 3.1: the shapes as they are derived from the types that are served, and one line for each
//! call. What a call may answer follows from what it takes and who may make it.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::shapes::*;
use crate::cumulus::policy::SegmentEntry;
use crate::daemon::hub::MissedEvent;
use crate::daemon::series::BudgetSample;
use crate::engine::Command;

/// The document as it is served.
pub static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

const ABOUT: &str = "The daemon `sexton run`: what it does, and how to change it. Times are seconds, moments seconds since 1970 by \
    the daemon's clock, budgets percent of one core. Reading is free on loopback; changes need `Authorization: Bearer TOKEN` \
    (the token file has mode 0600) or the page's session cookie together with the page's own Origin. Requests with a foreign \
    Host or Origin are refused. A method that a path does not take is answered with 405 and the list of those it takes, in \
    Allow; GET may be asked as HEAD, but for /login and /api/events.";

const EVENTS: &str = "Server-sent events. At the start and then at most once a second `status` (Status); `prefixes` \
    (PrefixesEvent), `finding` (ShownFinding), `cycle` (CycleEvent), `cleaning` (CleaningEvent), `sample` (BudgetSample), `missed` \
    (MissedEvent), `bye` (ByeEvent). Each event has one line of JSON. A comment is sent every 15 s when nothing else is. After \
    a lost connection load everything again.";

/// Answers that several calls may give, by their status.
const ERRORS: [(u16, &str); 7] = [
    (400, "The body or a parameter is wrong; the text says what it must be."),
    (401, "No valid token or session."),
    (403, "Foreign Host or Origin."),
    (404, "No such crawl or cleaning."),
    (409, "Not possible now; the text says why."),
    (413, "The body is larger than 4 KiB."),
    (503, "The daemon is going down, or has as many readers of events as it takes."),
];

/// Who may make a call.
#[derive(Clone, Copy)]
enum Right {
    Anybody,
    Reading,
    Changing,
}

/// The document, call by call.
struct Calls {
    /// Of what is answered.
    answers: SchemaGenerator,
    /// Of what is taken.
    bodies: SchemaGenerator,
    paths: Map<String, Value>,
}

/// One call that was added, to which something may be added yet.
struct ApiCall<'a>(&'a mut Value);

/// The document.
///
/// # Panics
/// Never: a schema is always an object.
pub fn document() -> Value {
    let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let closed = RecursiveTransform(|schema: &mut Schema| {
        if schema.get("properties").is_some() {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    });
    let mut calls = Calls {
        answers: settings().with_transform(closed.clone()).for_serialize().into_generator(),
        bodies: settings().with_transform(closed).for_deserialize().into_generator(),
        paths: Map::new(),
    };
    calls.reading();
    calls.changing();
    calls.page();
    let Calls { mut answers, mut bodies, paths } = calls;
    let segment = answers.subschema_for::<SegmentEntry>();
    let mut schemas = answers.take_definitions(true);
    // They are written behind the rest of a plan, which may be long.
    schemas["Plan"]["properties"]["segments"] =
        json!({ "type": "array", "items": segment, "description": "Those that may be cleaned, worst first." });
    if let Some(required) = schemas["Plan"]["required"].as_array_mut() {
        required.push("segments".into());
    }
    schemas.extend(bodies.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Sexton", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "sexton_session_7377",
                    "description": "With the port that it listens on at the end of its name.",
                },
            },
            "schemas": schemas,
        },
    })
}

impl Calls {
    fn reading(&mut self) {
        self.get::<DaemonStatus>("/api/status", "The daemon at this moment.");
        self.get::<CrawlDetail>("/api/crawls/{name}", "One crawl, with its ring, cycles and last report.");
        self.get::<Findings>("/api/findings", "Findings and errors after a number, oldest first.")
            .query("after", "integer", "Only those with a greater number. Default 0.")
            .query("limit", "integer", "At most so many, 1 to 10,000. Default 1,000.")
            .query("crawl", "string", "Only of this crawl.")
            .fails(&[404]);
        self.get::<History>("/api/history", "The cycles that are kept, and the last runs of cleanings.").query(
            "crawl",
            "string",
            "Only of this crawl or cleaning.",
        );
        self.get::<BudgetReport>("/api/budget", "The budget, and how it was kept over the last hour.");
        self.get::<Cleaning>("/api/cleanings/{name}", "One cleaning.");
        self.get::<Plan<'_>>(
            "/api/cleanings/{name}/plan",
            "The newest plan of a cleaning. 404 also if none was made since the start.",
        );
        // What no call answers with, but events carry.
        self.json::<ShownFinding>();
        self.json::<PrefixesEvent>();
        self.json::<CycleEvent>();
        self.json::<CleaningEvent>();
        self.json::<BudgetSample>();
        self.json::<MissedEvent>();
        self.json::<ByeEvent<'_>>();
        let text = ok("text/event-stream", json!({ "type": "string" }));
        self.add("get", "/api/events", Right::Reading, EVENTS, text).fails(&[503]);
    }

    fn changing(&mut self) {
        let crawls = [
            (
                Command::Start,
                "Starts a cycle now: a crawl that sleeps, is paused, stopped or failed begins or goes on at once.",
            ),
            (Command::Pause, "Lets no further slice of this crawl begin; progress is saved."),
            (Command::Resume, "Ends its pause."),
            (Command::Stop, "Ends it after the running slice, with its progress saved, until it is started."),
        ];
        for (command, summary) in crawls {
            self.post::<Crawl>(&format!("/api/crawls/{{name}}/{}", command.word()), summary);
        }
        let cleanings = [
            (Command::Start, "Starts a run now."),
            (Command::Pause, "Lets no further step begin."),
            (Command::Resume, "Ends its pause."),
            (Command::Stop, "Ends the run after the step, until it is started; the next run goes on from there."),
        ];
        for (command, summary) in cleanings {
            self.post::<Cleaning>(&format!("/api/cleanings/{{name}}/{}", command.word()), summary);
        }
        let confirmation = self.bodies.subschema_for::<Confirmation>();
        let summary = "Confirms what a cycle has shown that waits for it: it is deleted now.";
        self.post::<Crawl>("/api/crawls/{name}/confirm", summary).takes(confirmation);
        let setting = self.bodies.subschema_for::<BudgetSetting>();
        let budget = self.json::<Budget>();
        let summary = "Changes the budget until that is taken back, also over restarts.";
        self.add("put", "/api/budget", Right::Changing, summary, budget.clone()).takes(setting);
        let summary = "Takes a change back: file and windows hold again.";
        self.add("delete", "/api/budget", Right::Changing, summary, budget);
        self.post::<Paused>("/api/pause", "Pauses everything.");
        self.post::<Paused>("/api/resume", "Ends the pause of everything.");
        let summary =
            "Reads the configuration file again, as SIGHUP does. 400 if it is refused; the old one stays in force.";
        self.post::<Reloaded>("/api/reload", summary).fails(&[400]);
        let summary =
            "Makes a link that opens the page once with the right to change things. Only with the token itself.";
        self.post::<Link>("/api/link", summary);
    }

    fn page(&mut self) {
        let text = |kind: &str| ok(kind, json!({ "type": "string" }));
        let document = ok("application/json", json!({ "type": "object" }));
        self.add("get", "/api/openapi.json", Right::Anybody, "This document.", document);
        let metrics = "Metrics in the Prometheus text format.";
        self.add("get", "/metrics", Right::Reading, metrics, text("text/plain"));
        let health = "Whether the daemon is well, in one line. Needs no token, and on loopback no Host. 503 if it waits at its \
                      start, goes down, hangs, or a crawl or cleaning has failed.";
        let health = self.add("get", "/healthz", Right::Anybody, health, text("text/plain")).fails(&[403]);
        health.0["responses"]["503"] = json!({ "description": "It is not.", "content": text("text/plain")["content"] });
        self.add("get", "/", Right::Anybody, "The status page.", text("text/html"));
        let login = "Where the one-time link leads: sets the session cookie and goes on to the page.";
        let login = self.add("get", "/login", Right::Anybody, login, Value::Null).fails(&[400]);
        login.0["parameters"] =
            json!([{ "name": "code", "in": "query", "required": true, "schema": { "type": "string" } }]);
        login.0["responses"]["303"] = json!({ "description": "To `/`, with the cookie (HttpOnly, SameSite=Strict)." });
        let unknown = "The code is unknown, used or too old: a page for people that says how to get another.";
        login.0["responses"]["403"] = json!({ "description": unknown });
    }

    fn get<T: JsonSchema>(&mut self, path: &str, summary: &str) -> ApiCall<'_> {
        let answer = self.json::<T>();
        self.add("get", path, Right::Reading, summary, answer)
    }

    fn post<T: JsonSchema>(&mut self, path: &str, summary: &str) -> ApiCall<'_> {
        let answer = self.json::<T>();
        self.add("post", path, Right::Changing, summary, answer)
    }

    fn json<T: JsonSchema>(&mut self) -> Value {
        ok("application/json", self.answers.subschema_for::<T>().to_value())
    }

    /// Adds a call. `answer` is what it answers with 200, if it does.
    fn add(&mut self, method: &str, path: &str, right: Right, summary: &str, answer: Value) -> ApiCall<'_> {
        // Registers the shape that each error has.
        self.answers.subschema_for::<ErrorBody>();
        let named = path.contains("{name}");
        let security = match right {
            Right::Anybody => json!([{}]),
            Right::Reading => json!([{}, { "token": [] }, { "session": [] }]),
            Right::Changing => json!([{ "token": [] }, { "session": [] }]),
        };
        let errors: &[u16] = match (right, named) {
            (Right::Anybody, _) => &[],
            (Right::Reading, false) => &[401, 403],
            (Right::Reading, true) => &[401, 403, 404],
            (Right::Changing, false) => &[401, 403, 413, 503],
            (Right::Changing, true) => &[401, 403, 404, 409, 413, 503],
        };
        let call = &mut self.paths.entry(path).or_insert_with(|| json!({}))[method];
        *call = json!({ "summary": summary, "security": security, "responses": {} });
        if !answer.is_null() {
            call["responses"]["200"] = answer;
        }
        if named {
            call["parameters"] =
                json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
        }
        ApiCall(call).fails(errors)
    }
}

impl ApiCall<'_> {
    /// It may also answer these.
    fn fails(self, errors: &[u16]) -> Self {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        for (status, description) in ERRORS.iter().filter(|(status, _)| errors.contains(status)) {
            self.0["responses"][status.to_string()] =
                json!({ "description": description, "content": { "application/json": { "schema": schema } } });
        }
        self
    }

    /// It may be told this.
    fn query(self, name: &str, kind: &str, description: &str) -> Self {
        let parameter = json!({ "name": name, "in": "query", "required": false, "schema": { "type": kind },
            "description": description });
        match self.0["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(parameter),
            None => self.0["parameters"] = json!([parameter]),
        }
        self.fails(&[400])
    }

    /// It takes this as its body.
    fn takes(self, body: Schema) -> Self {
        self.0["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        self.fails(&[400])
    }
}

fn ok(kind: &str, schema: Value) -> Value {
    json!({ "description": "The answer.", "content": { kind: { "schema": schema } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_is_referred_to_is_described() {
        let (document, text) = (document(), DOCUMENT.as_str());
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let named: Vec<&str> =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.len() > 100 && named.iter().all(|name| schemas.contains_key(*name)), "{named:?}");
    }
}
