//! The calls of the API that answer with JSON.

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::at::at;
use super::picture::Picture;
use super::plan::PlanBody;
use super::shapes::{BudgetSetting, Confirmation, Findings, Link, Paused, PercentSetting, Reloaded, ShownFinding};
use super::{Failed, cleanings};
use crate::daemon::access::{Caller, LINK_LIFE};
use crate::daemon::shared::{CleaningView, CrawlView, Shared, TaskKind, Wish};
use crate::engine::Command;
use crate::settings::BudgetSettings;
use crate::spelling::Percent;

type CallAnswer = Result<HttpResponse, Failed>;
type Daemon = web::Data<Shared>;

/// Findings in one answer unless told otherwise, and at most.
const FINDINGS_USUAL: usize = 1000;
const FINDINGS_MOST: usize = 10_000;

/// All routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(at("/api/status").reading(status))
        .service(at("/api/findings").reading(findings))
        .service(at("/api/history").reading(history))
        .service(at("/api/budget").reading(budget).on(Method::PUT, set_budget).on(Method::DELETE, reset_budget))
        .service(at("/api/pause").on(Method::POST, pause))
        .service(at("/api/resume").on(Method::POST, resume))
        .service(at("/api/reload").on(Method::POST, reload))
        .service(at("/api/link").on(Method::POST, link))
        .service(at("/api/crawls/{name}").reading(crawl))
        .service(at("/api/crawls/{name}/confirm").on(Method::POST, confirm))
        .service(at("/api/crawls/{name}/{command}").on(Method::POST, crawl_command))
        .service(at("/api/cleanings/{name}").reading(cleaning))
        .service(at("/api/cleanings/{name}/plan").reading(plan))
        .service(at("/api/cleanings/{name}/{command}").on(Method::POST, cleaning_command));
}

async fn status(daemon: Daemon, caller: web::ReqData<Caller>) -> HttpResponse {
    HttpResponse::Ok().json(Picture::take(&daemon).status(*caller != Caller::Anybody))
}

fn crawl_view<'a>(picture: &'a Picture<'_>, name: &str) -> Result<&'a CrawlView, Failed> {
    let found = picture.view.crawls.iter().find(|crawl| crawl.settings.name == name);
    found.ok_or_else(|| Failed::new(StatusCode::NOT_FOUND, format!("there is no crawl {name:?}")))
}

fn cleaning_view<'a>(picture: &'a Picture<'_>, name: &str) -> Result<&'a CleaningView, Failed> {
    let found = picture.view.cleanings.iter().find(|cleaning| cleaning.settings.task.name == name);
    found.ok_or_else(|| Failed::new(StatusCode::NOT_FOUND, format!("there is no cleaning {name:?}")))
}

async fn crawl(daemon: Daemon, name: web::Path<String>) -> CallAnswer {
    let picture = Picture::take(&daemon);
    Ok(HttpResponse::Ok().json(picture.crawl_detail(crawl_view(&picture, &name)?)))
}

async fn cleaning(daemon: Daemon, name: web::Path<String>) -> CallAnswer {
    let picture = Picture::take(&daemon);
    Ok(HttpResponse::Ok().json(cleanings::one(&picture, cleaning_view(&picture, &name)?)))
}

async fn plan(daemon: Daemon, name: web::Path<String>) -> CallAnswer {
    let picture = Picture::take(&daemon);
    let view = cleaning_view(&picture, &name)?;
    let Some((made, report)) = cleanings::made(&picture, view) else {
        return Err(Failed::new(StatusCode::NOT_FOUND, format!("{name} has made no plan since the daemon's start")));
    };
    let failed = |e| Failed::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the plan of {name}: {e}"));
    let body = PlanBody::new(&cleanings::plan(view, made, &report), report.clone()).map_err(failed)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    crawl: Option<String>,
}

async fn findings(daemon: Daemon, query: web::Query<FindingsQuery>) -> CallAnswer {
    let limit = query.limit.unwrap_or(FINDINGS_USUAL);
    if !(1..=FINDINGS_MOST).contains(&limit) {
        let text = format!("limit must be between 1 and {FINDINGS_MOST}, not {limit}");
        return Err(Failed::new(StatusCode::BAD_REQUEST, text));
    }
    if let Some(name) = &query.crawl {
        crawl_view(&Picture::take(&daemon), name)?;
    }
    let page = daemon.engine.findings(query.after, query.crawl.as_deref(), limit);
    let (boot, findings) = (daemon.boot.clone(), page.rows.into_iter().map(ShownFinding::from).collect());
    Ok(HttpResponse::Ok().json(Findings { boot, first: page.first, last: page.last, more: page.more, findings }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    crawl: Option<String>,
}

async fn history(daemon: Daemon, query: web::Query<HistoryQuery>) -> HttpResponse {
    HttpResponse::Ok().json(Picture::take(&daemon).history(query.crawl.as_deref()))
}

async fn budget(daemon: Daemon) -> HttpResponse {
    HttpResponse::Ok().json(Picture::take(&daemon).budget_report())
}

async fn set_budget(daemon: Daemon, setting: web::Json<BudgetSetting>) -> CallAnswer {
    let wrong = |text: String| Failed::new(StatusCode::BAD_REQUEST, format!("cpu_percentage: {text}"));
    let rate = match &setting.cpu_percentage {
        PercentSetting::Number(percent) => percent / 100.0,
        PercentSetting::Text(text) => text.parse::<Percent>().map_err(wrong)?.cores(),
    };
    let checked = BudgetSettings { rate, ..BudgetSettings::default() }.validate();
    checked.map_err(|e| wrong(e.to_string()))?;
    daemon.ask(Wish::Budget(Some(rate))).await?;
    Ok(HttpResponse::Ok().json(Picture::take(&daemon).budget()))
}

async fn reset_budget(daemon: Daemon) -> CallAnswer {
    daemon.ask(Wish::Budget(None)).await?;
    Ok(HttpResponse::Ok().json(Picture::take(&daemon).budget()))
}

async fn pause(daemon: Daemon) -> CallAnswer {
    daemon.ask(Wish::Pause(true)).await?;
    Ok(HttpResponse::Ok().json(Paused { paused: true }))
}

async fn resume(daemon: Daemon) -> CallAnswer {
    daemon.ask(Wish::Pause(false)).await?;
    Ok(HttpResponse::Ok().json(Paused { paused: false }))
}

async fn reload(daemon: Daemon) -> CallAnswer {
    let changes = daemon.ask(Wish::Reload).await?;
    Ok(HttpResponse::Ok().json(Reloaded { changes }))
}

async fn link(daemon: Daemon, caller: web::ReqData<Caller>) -> CallAnswer {
    if *caller != Caller::Operator {
        // A page must not be able to hand its right on.
        return Err(Failed::new(StatusCode::UNAUTHORIZED, "a link is made for the token itself only"));
    }
    let now = daemon.time.clock.now();
    let failed = |e: crate::Error| Failed::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string());
    let code = daemon.access.new_link(now).map_err(failed)?;
    let expires = daemon.time.clock.unix_secs() + LINK_LIFE.as_secs_f64();
    Ok(HttpResponse::Ok().json(Link { url: format!("{}/login?code={code}", daemon.url), expires }))
}

async fn confirm(daemon: Daemon, name: web::Path<String>, body: web::Json<Confirmation>) -> CallAnswer {
    let Confirmation { cycle, shares } = *body;
    command_crawl(&daemon, &name, Command::Confirm { cycle, objects: shares }).await
}

async fn crawl_command(daemon: Daemon, path: web::Path<(String, String)>) -> CallAnswer {
    command_crawl(&daemon, &path.0, command(&path.1)?).await
}

async fn command_crawl(daemon: &Daemon, name: &str, command: Command) -> CallAnswer {
    daemon.ask(Wish::Of(TaskKind::Crawl, name.to_owned(), command)).await?;
    let picture = Picture::take(daemon);
    Ok(HttpResponse::Ok().json(picture.crawl(crawl_view(&picture, name)?)))
}

async fn cleaning_command(daemon: Daemon, path: web::Path<(String, String)>) -> CallAnswer {
    let (name, command) = (&path.0, command(&path.1)?);
    daemon.ask(Wish::Of(TaskKind::Cleaning, name.clone(), command)).await?;
    let picture = Picture::take(&daemon);
    Ok(HttpResponse::Ok().json(cleanings::one(&picture, cleaning_view(&picture, name)?)))
}

fn command(word: &str) -> Result<Command, Failed> {
    let known = [Command::Start, Command::Pause, Command::Resume, Command::Stop];
    known.into_iter().find(|command| command.word() == word).ok_or_else(|| {
        let text = format!("the command must be start, pause, resume or stop, not {word:?}");
        Failed::new(StatusCode::NOT_FOUND, text)
    })
}
