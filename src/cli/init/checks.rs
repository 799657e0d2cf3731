//! The checks of `check`, with their ids. They end nothing: what follows fails by itself, with a reason of its own.

use std::io::{self, IsTerminal};

use crate::check::ids::{Area, Id};
use crate::check::{self, Request};
use crate::cli::serve::Stop;
use crate::cli::{COLUMNS, Failure, progress};
use crate::config::Sources;

/// Before there is a grant, so before a person is asked to log in. Makes no call to a server.
pub(super) async fn before_the_grant(sources: &Sources) -> Result<String, Failure> {
    let later = |id: &Id| matches!(id.area(), Area::Grant | Area::Limits | Area::TokenEndpoint | Area::Upstream);
    let skip = Id::ALL.iter().copied().filter(later).collect();
    found(sources, Request { skip, ..Request::default() }).await
}

/// Everything, at most one call to each server.
pub(super) async fn after_a_failure(sources: &Sources) -> Result<String, Failure> {
    found(sources, Request::default()).await
}

async fn found(sources: &Sources, request: Request) -> Result<String, Failure> {
    let mut stop = Stop::new().map_err(|error| Failure::new(format!("signals can't be received: {error}")))?;
    let report = tokio::select! {
        report = progress::shown("checking", check::run(sources, &request)) => report,
        signal = stop.received() => return Err(Failure::new(format!("ended by {signal}, during the checks"))),
    };
    let columns = io::stderr().is_terminal().then_some(COLUMNS);
    Ok(match report.problems(columns).trim_end() {
        "" => "checked: nothing found that stops the proxy from working".to_owned(),
        problems => format!("checked: this may stop the proxy from working\n{problems}"),
    })
}
