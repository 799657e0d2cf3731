//! Raw HTTP/1 requests: malformed or ambiguous ones never reach the upstream, odd but valid ones do.
//!
//! The table is `raw_http1/requests.txt`.

pub mod strict;
pub mod table;

use std::time::Duration;

use testkit::connection::connect;
use testkit::raw::Raw;
use testkit::stage::before;

use strict::Strict;
use table::Row;

/// Follows each row on its connection if that is still open. A proxy that lost count of messages answers it wrongly.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The result of a row.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    answers: Vec<u16>,
    seen: Vec<String>,
}

impl Outcome {
    fn expected(row: &Row) -> Self {
        Self { answers: row.answers.clone(), seen: row.seen.clone() }
    }
}

/// Sends a row and the last request, and reads all responses.
async fn run(raw: &mut Raw, row: &Row, upstream: &Strict) -> Outcome {
    raw.send(&row.sent).await;
    let mut answers = Vec::new();
    for _ in &row.answers {
        match raw.read_status().await {
            Some((status, _)) => answers.push(status),
            None => break,
        }
    }
    if !row.answers.is_empty() {
        raw.send(LAST).await;
    }
    let mut last = false;
    while let Some((status, target)) = raw.read_status().await {
        match target.as_str() {
            "/last" => last = true,
            _ => answers.push(status),
        }
    }
    if answers.contains(&400) {
        assert!(!last, "{}: the connection goes on after a message that was framed wrongly", row.name);
    }
    let seen = upstream.take().into_iter().filter(|seen| seen != "GET /last").collect();
    Outcome { answers, seen }
}

#[tokio::test]
async fn every_row_of_the_table() {
    let rows = table::read();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    let upstream = Strict::start().await;
    let proxy = before(&upstream.url())
        .await
        .set("GUARD__MAX_BODY_SIZE", "1MiB")
        .set("GUARD__HEADER_TIMEOUT", "500ms")
        .set("UPSTREAM__IDLE_TIMEOUT", "500ms")
        .set("LOG__REQUESTS", "none")
        .start()
        .await;
    proxy.ready().await;
    let only = std::env::var("ROW").ok();
    let mut wrong = Vec::new();
    for row in rows.iter().filter(|row| only.as_ref().is_none_or(|only| row.name.contains(only.as_str()))) {
        let mut raw = Raw::new(connect(proxy.address(), None).await);
        let outcome = tokio::time::timeout(Duration::from_secs(10), run(&mut raw, row, &upstream)).await;
        let expected = Outcome::expected(row);
        match outcome {
            Ok(outcome) if outcome == expected => {}
            Ok(outcome) => wrong.push(format!("{} ({}): {outcome:?}, not {expected:?}", row.name, row.rule)),
            Err(_) => wrong.push(format!("{} ({}): hangs; {:?}", row.name, row.rule, upstream.take())),
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(upstream.violations(), Vec::<String>::new(), "what reached the upstream was not well-formed");
    assert!(proxy.log().iter().all(|line| !line.contains("panicked")), "{:?}", proxy.log());
}
