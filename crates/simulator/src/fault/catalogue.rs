//! The faults that have a name: what has been seen of real servers and of the edges before them.

use std::time::Duration;

use serde_json::json;

use super::{Act, Fault, Step};
use crate::answer::Answer;
use crate::laravel;

// === impl Fault ===

impl Fault {
    /// The tokens are issued, the one presented is spent, and the connection ends without an answer.
    pub fn answer_lost() -> Self {
        Self::token(Step::AfterCommit, Act::Close)
    }

    /// The connection ends when the call was read; nothing was done.
    pub fn call_lost() -> Self {
        Self::token(Step::BeforeCommit, Act::Close)
    }

    /// The token endpoint answers after this, having committed before the wait.
    pub fn late_answer(by: Duration) -> Self {
        Self::token(Step::AfterCommit, Act::Delay(by))
    }

    /// The token endpoint commits after this.
    pub fn late_commit(by: Duration) -> Self {
        Self::token(Step::BeforeCommit, Act::Delay(by))
    }

    /// Half of the tokens' JSON, in a message that is whole.
    pub fn half_json() -> Self {
        Self::token(Step::AfterCommit, Act::Truncate(400))
    }

    /// Half of the tokens' JSON, then the connection ends.
    pub fn cut_json() -> Self {
        Self::token(Step::AfterCommit, Act::Cut { after: 400, reset: false })
    }

    pub fn empty_200() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(Answer::empty(200)))
    }

    pub fn html_200() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(Answer::html(200, "Welcome")))
    }

    /// Committed, then 500.
    pub fn error_after_commit() -> Self {
        Self::token(Step::AfterCommit, Act::Answer(laravel::server_error(true)))
    }

    /// Nothing done, then 500.
    pub fn error_before_commit() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(laravel::server_error(true)))
    }

    /// The edge's own page: the call did not reach the server.
    pub fn html_502() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(Answer::html(502, "Server Error")))
    }

    /// A 3xx on the token URL.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(Answer::redirect(status, location)))
    }

    /// 419: the URL of the browser's session refresh, not of the grant's.
    pub fn page_expired() -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(laravel::page_expired(true)))
    }

    /// 429 in JSON; the text is the value of `Retry-After`, seconds or a date.
    pub fn throttled(retry_after: Option<&str>) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(retry_later(laravel::too_many_attempts(true), retry_after)))
    }

    /// 429 as a page.
    pub fn throttled_html(retry_after: Option<&str>) -> Self {
        Self::token(Step::BeforeCommit, Act::Answer(retry_later(laravel::too_many_attempts(false), retry_after)))
    }

    /// The answer's access token, which the server never issued: with control characters it can't be a header.
    pub fn access_token(text: &str) -> Self {
        Self::token(Step::AfterCommit, Act::Edit(vec![("access_token".to_owned(), Some(json!(text).to_string()))]))
    }

    /// Any JSON text as `expires_in`.
    pub fn expires_in(json: &str) -> Self {
        Self::token(Step::AfterCommit, Act::Edit(vec![("expires_in".to_owned(), Some(json.to_owned()))]))
    }

    /// The API refuses the token, whatever it is, once the request was read.
    pub fn refusal() -> Self {
        Self::api(Step::BeforeCommit, Act::Refuse)
    }

    /// The API refuses the token before the request's body is read.
    pub fn early_refusal() -> Self {
        Self::api(Step::BeforeBody, Act::Refuse)
    }

    /// The API ran the request, and the connection ends without an answer.
    pub fn api_answer_lost() -> Self {
        Self::api(Step::AfterCommit, Act::Close)
    }

    /// The connection is reset after so many bytes of the API's body.
    pub fn api_reset_after(bytes: usize) -> Self {
        Self::api(Step::AfterCommit, Act::Cut { after: bytes, reset: true })
    }

    /// The edge's own page: the request did not reach the API.
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
