//! Named faults, as real servers and the edges in front of them show them.

use std::time::Duration;

use serde_json::json;

use super::{Act, Fault, Step};
use crate::answer::Answer;
use crate::laravel;

// === impl Fault ===

impl Fault {
    /// The server issues the tokens and spends the presented one. Then the connection ends without a response.
    pub fn answer_lost() -> Self {
        Self::token(Step::AfterCommit, Act::Close)
    }

    /// The connection ends after the server has read the call. The server did nothing.
    pub fn call_lost() -> Self {
        Self::token(Step::BeforeCommit, Act::Close)
    }

    /// The token endpoint commits, waits for this time, and responds.
    pub fn late_answer(by: Duration) -> Self {
        Self::token(Step::AfterCommit, Act::Delay(by))
    }

    /// The token endpoint waits for this time and commits.
    pub fn late_commit(by: Duration) -> Self {
        Self::token(Step::BeforeCommit, Act::Delay(by))
    }

    /// Half of the JSON, in a complete message.
    pub fn half_json() -> Self {
        Self::token(Step::AfterCommit, Act::Truncate(400))
    }

    /// Half of the JSON, then the connection ends.
    pub fn cut_json() -> Self {
        Self::token(Step::AfterCommit, Act::Cut { after: 400, reset: false })
    }

    pub fn empty_200() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(Answer::empty(200)))
    }

    pub fn html_200() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(Answer::html(200, "Welcome")))
    }

    /// The server commits, then responds with 500.
    pub fn error_after_commit() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(laravel::server_error(true)))
    }

    /// The server responds with 500 and commits nothing.
    pub fn error_before_commit() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(laravel::server_error(true)))
    }

    /// A page of the edge: the call did not reach the server.
    pub fn html_502() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(Answer::html(502, "Server Error")))
    }

    /// A 3xx on the token URL.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(Answer::redirect(status, location)))
    }

    /// 419, as from the URL for browser sessions instead of the token URL.
    pub fn page_expired() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(laravel::page_expired(true)))
    }

    /// 429 in JSON. The text is the value of `Retry-After`: seconds or a date.
    pub fn throttled(retry_after: Option<&str>) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(retry_later(laravel::too_many_attempts(true), retry_after)))
    }

    /// 429 as a page.
    pub fn throttled_html(retry_after: Option<&str>) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(retry_later(laravel::too_many_attempts(false), retry_after)))
    }

    /// An access token in the response that the server never issued. With control characters, it cannot be a field value.
    pub fn access_token(text: &str) -> Self {
        Self::token(Step::AfterCommit, Act::Edit(vec![("access_token".to_owned(), Some(json!(text).to_string()))]))
    }

    /// Any JSON text as `expires_in`.
    pub fn expires_in(json: &str) -> Self {
        Self::token(Step::AfterCommit, Act::Edit(vec![("expires_in".to_owned(), Some(json.to_owned()))]))
    }

    /// The API refuses any token after it has read the request.
    pub fn refusal() -> Self {
        Self::api(Step::BeforeCommit, Act::Refuse)
    }

    /// The API refuses any token before it reads the body.
    pub fn early_refusal() -> Self {
        Self::api(Step::BeforeBody, Act::Refuse)
    }

    /// The API executes the request. Then the connection ends without a response.
    pub fn api_answer_lost() -> Self {
        Self::api(Step::AfterCommit, Act::Close)
    }

    /// The connection is reset after this many bytes of the API's body.
    pub fn api_reset_after(bytes: usize) -> Self {
        Self::api(Step::AfterCommit, Act::Cut { after: bytes, reset: true })
    }

    /// A page of the edge: the request did not reach the API.
    pub fn api_html_502() -> Self {
        Self::api(Step::BeforeCommit, Act::Answer(Answer::html(502, "Server Error")))
    }
}

fn retry_later(answer: Answer, retry_after: Option<&str>) -> Answer {
    match retry_after {
        Some(text) => answer.header("Retry-After", text),
        None => answer,
    }
}
