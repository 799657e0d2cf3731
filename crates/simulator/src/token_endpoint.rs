//! `POST /oauth/token`: limiter, faults, decision and response, in the order of a real server.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::answer::Answer;
use super::clock::UnixMs;
use super::decision::{self, Plan};
use super::exchange::{Exchange, Met, Reply, Row};
use super::fault::{Act, Step, Target};
use super::laravel;
use super::ledger::{Outcome, Presented};
use super::options::{Flavour, Options, RateLimit};
use super::state::State;
use super::throttle::{self, Pass};
use super::token_error::TokenError;
use super::token_request::TokenRequest;
use super::tokens::Fresh;

/// An unread call. Dropping it aborts the call: hyper drops the exchange of a client that has left.
struct Unread<'a> {
    exchange: &'a Exchange,
    seq: u64,
}

/// No reasonable token call is larger.
const MAX_BODY: usize = 1024 * 1024;

pub(super) async fn serve(exchange: &Exchange, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    if request.method() != Method::POST {
        return laravel::method_not_allowed(laravel::expects_json(request.headers()), "POST").into();
    }
    let seq = exchange.shared.change(|state| state.ledger.open_call(exchange.line.id, exchange.now()));
    let flavour = exchange.shared.read(|state| state.options.flavour);
    let meet = exchange.meet(Target::Token, Step::BeforeBody, &path, Some(Row::Call(seq)));
    match Unread::until(meet, exchange, seq).await {
        Met::Answer(answer) => return reply(seq, answer),
        Met::Act(Act::Error(error)) => return reply(seq, error.answer(flavour, None)),
        Met::Gone => return Reply::Never,
        Met::Nothing | Met::Act(_) => {}
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Unread::until(Limited::new(body, MAX_BODY).collect(), exchange, seq).await else {
        exchange.shared.change(|state| state.ledger.decide_call(seq, Outcome::Aborted));
        return reply(seq, Answer::html(413, "Payload Too Large"));
    };
    let call = TokenRequest::read(flavour, &head.headers, &body.to_bytes());
    // A task of its own: a client that leaves does not stop a server that has read the call.
    let settled = tokio::spawn(settle(exchange.clone(), seq, path, call)).await;
    settled.unwrap_or(Reply::Never)
}

impl<'a> Unread<'a> {
    async fn until<T>(work: impl Future<Output = T>, exchange: &'a Exchange, seq: u64) -> T {
        let unread = Self { exchange, seq };
        let done = work.await;
        std::mem::forget(unread);
        done
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        let Self { exchange, seq } = *self;
        exchange.shared.change(|state| state.ledger.decide_call(seq, Outcome::Aborted));
    }
}

/// From the read call to its response.
async fn settle(exchange: Exchange, seq: u64, path: String, call: TokenRequest) -> Reply {
    let shared = &exchange.shared;
    let (options, pass) = shared.change(|state| {
        note(state, seq, &call);
        let pass = state.options.rate_limit.map(|limit| (limit, state.throttle.admit(limit, exchange.now())));
        (state.options.clone(), pass)
    });
    let remaining = match pass {
        Some((limit, Pass::Refused { until })) => {
            shared.change(|state| state.ledger.decide_call(seq, Outcome::Throttled));
            return reply(seq, throttle::refusal(options.flavour, limit, until, exchange.now(), call.expects_json));
        }
        Some((limit, Pass::Admitted { remaining })) => Some((limit, remaining)),
        None => None,
    };
    let refused = |error: &TokenError| {
        shared.change(|state| {
            state.ledger.decide_call(seq, Outcome::Refused(error.summary(options.flavour)));
        });
        let answer = error.answer(options.flavour, call.scheme.as_deref());
        reply(seq, with_limit(answer, options.flavour, remaining))
    };
    match exchange.meet(Target::Token, Step::BeforeCommit, &path, Some(Row::Call(seq))).await {
        Met::Answer(answer) => return reply(seq, answer),
        Met::Act(Act::Error(error)) => return refused(&error),
        Met::Gone => return Reply::Never,
        Met::Nothing | Met::Act(_) => {}
    }
    let fresh = match decide(&exchange, &options, seq, &call).await {
        Ok(fresh) => fresh,
        Err(error) => return refused(&error),
    };
    pause(options.latency.after_commit).await;
    let mut members = members(&options, &fresh, exchange.now());
    let met = exchange.meet(Target::Token, Step::AfterCommit, &path, Some(Row::Call(seq))).await;
    let act = match met {
        Met::Answer(answer) => return reply(seq, answer),
        Met::Act(Act::Error(error)) => return reply(seq, error.answer(options.flavour, call.scheme.as_deref())),
        Met::Gone => return Reply::Never,
        Met::Nothing => None,
        Met::Act(act) => Some(act),
    };
    if let Some(Act::Edit(edits)) = &act {
        edit(&mut members, edits);
    }
    let mut answer = with_limit(granted(&members), options.flavour, remaining);
    if let Some(Act::Truncate(length)) = act {
        answer.body.truncate(length);
    }
    let response = answer.into_response();
    Reply::Answer(act.iter().fold(response, |response, act| exchange.cut(response, act)), Some(Row::Call(seq)))
}

/// Checks and commits, after the server's latency. A racy server waits between the two.
async fn decide(exchange: &Exchange, options: &Options, seq: u64, call: &TokenRequest) -> Result<Fresh, TokenError> {
    let check = |state: &mut State| decision::check(&mut state.tokens, &state.options, call, exchange.now());
    let commit = |state: &mut State, plan: Plan| {
        let now = exchange.now();
        let parent = plan.parent();
        let fresh = decision::commit(&mut state.tokens, &state.options, plan, now);
        state.record_issued(&fresh, parent, Some(seq), now);
        state.ledger.commit_call(seq, fresh.access);
        fresh
    };
    let wait = pause(options.latency.before_commit);
    if options.racy {
        let plan = exchange.shared.change(check)?;
        wait.await;
        Ok(exchange.shared.change(|state| commit(state, plan)))
    } else {
        wait.await;
        exchange.shared.change(|state| check(state).map(|plan| commit(state, plan)))
    }
}

/// The ledger's record of a call, before the decision.
fn note(state: &mut State, seq: u64, call: &TokenRequest) {
    let presented = match call.text("refresh_token") {
        Ok(Some(text)) => match state.tokens.find_refresh(text) {
            Some((serial, _)) => Presented::Refresh { serial },
            None => Presented::Unknown,
        },
        _ => Presented::Nothing,
    };
    state.ledger.present(seq, presented);
    if let Some(row) = state.ledger.call_mut(seq) {
        row.grant_type = call.grant_type();
        row.client_id = call.client_id().ok().map(str::to_owned);
    }
}

/// The members of the response as JSON texts, in league's order.
fn members(options: &Options, fresh: &Fresh, now: UnixMs) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let mut add = |name: &str, value: Value| members.push((name.to_owned(), value.to_string()));
    if let Some(kind) = &options.token_type {
        add("token_type", kind.as_str().into());
    }
    if options.expires_in {
        // Whole seconds of both times, so that it can be one less than the lifetime.
        add("expires_in", (fresh.expires_at.div_euclid(1000) - now.div_euclid(1000)).into());
    }
    add("access_token", fresh.access_text.as_str().into());
    if let Some((_, text)) = &fresh.refresh {
        add("refresh_token", text.as_str().into());
    }
    members
}

fn edit(members: &mut Vec<(String, String)>, edits: &[(String, Option<String>)]) {
    for (name, json) in edits {
        let place = members.iter().position(|(known, _)| known == name);
        match (place, json) {
            (Some(index), None) => drop(members.remove(index)),
            (Some(index), Some(json)) => {
                if let Some((_, value)) = members.get_mut(index) {
                    value.clone_from(json);
                }
            }
            (None, Some(json)) => members.push((name.clone(), json.clone())),
            (None, None) => {}
        }
    }
}

fn granted(members: &[(String, String)]) -> Answer {
    let members: Vec<String> =
        members.iter().map(|(name, json)| format!("{}:{json}", Value::from(name.as_str()))).collect();
    Answer::text(200, "application/json; charset=UTF-8", format!("{{{}}}", members.join(",")))
        .header("Cache-Control", "no-store, private")
        .header("Pragma", "no-cache")
}

/// Laravel's limiter adds its fields to every response, including errors.
fn with_limit(answer: Answer, flavour: Flavour, remaining: Option<(RateLimit, u32)>) -> Answer {
    match remaining {
        Some((limit, remaining)) if flavour.is_league() => {
            answer.header("X-RateLimit-Limit", limit.calls).header("X-RateLimit-Remaining", remaining)
        }
        _ => answer,
    }
}

/// Does not wait for zero: a timer rounds up to a millisecond.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

fn reply(seq: u64, answer: Answer) -> Reply {
    Reply::Answer(answer.into_response(), Some(Row::Call(seq)))
}
