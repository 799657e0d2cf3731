//! One request and its answer: the faults it meets on its way, and how its answer is handed over and watched.

use std::future;
use std::sync::Arc;

use http::{HeaderValue, Method, Response, header};
use http_body::Body;

use super::answer::Answer;
use super::body::{self, Cut, SimBody, Watched};
use super::clock::UnixMs;
use super::fault::{Act, Step, Target};
use super::ledger::Delivery;
use super::line::{End, Line};
use super::state::Shared;

/// Where an exchange takes place.
#[derive(Clone)]
pub(super) struct Exchange {
    pub shared: Arc<Shared>,
    pub line: Arc<Line>,
}

/// The exchange's row in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    Call(u64),
    Request(u64),
}

/// What comes of an exchange.
pub(super) enum Reply {
    Answer(Response<SimBody>, Option<Row>),
    /// The connection has been told to end, or waits for the client to.
    Never,
}

/// What a fault leaves to its step.
pub(super) enum Met {
    /// No fault, or one that is over.
    Nothing,
    /// To be answered instead.
    Answer(Answer),
    /// To be shaped by the step itself.
    Act(Act),
    Gone,
}

// === impl Exchange ===

impl Exchange {
    pub fn now(&self) -> UnixMs {
        self.shared.clock.now()
    }

    /// Meets the fault that waits at this step, if one does, and notes it first.
    pub async fn meet(&self, on: Target, at: Step, path: &str, row: Option<Row>) -> Met {
        let Some(act) = self.shared.take_fault(on, at, path) else { return Met::Nothing };
        self.note_fault(row, act.to_string());
        match act {
            Act::Answer(answer) => Met::Answer(answer),
            Act::Close => self.end(End::Close),
            Act::Delay(by) => {
                tokio::time::sleep(by).await;
                Met::Nothing
            }
            Act::Hang => Met::Gone,
            Act::Raw(bytes) => self.end(End::Raw(bytes)),
            Act::Reset => self.end(End::Reset),
            act @ (Act::Cut { .. } | Act::Edit(_) | Act::Error(_) | Act::Refuse | Act::Truncate(_)) => Met::Act(act),
        }
    }

    /// Cuts an answer's body, if the act says so.
    pub fn cut(&self, response: Response<SimBody>, act: &Act) -> Response<SimBody> {
        match *act {
            Act::Cut { after, reset } => {
                let how = if reset { End::Reset } else { End::Close };
                response.map(|inner| body::boxed(Cut::new(inner, after, Arc::clone(&self.line), how)))
            }
            _ => response,
        }
    }

    /// Hands an answer to the protocol. Called where nothing is awaited in between: an answer without a body is delivered
    /// with the next flush.
    pub async fn deliver(&self, reply: Reply, method: &Method) -> Response<SimBody> {
        let (mut response, row) = match reply {
            Reply::Answer(response, row) => (response, row),
            Reply::Never => future::pending().await,
        };
        if method == Method::HEAD {
            // HTTP/2 sends a body that it is given, whatever the method.
            if let Some(length) = response.body().size_hint().exact() {
                response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
            }
            *response.body_mut() = body::full("");
        }
        let Some(row) = row else { return response };
        let status = response.status().as_u16();
        self.shared.change(|state| match row {
            Row::Call(seq) => state.ledger.call_mut(seq).map(|call| call.status = Some(status)),
            Row::Request(seq) => state.ledger.request_mut(seq).map(|request| request.status = Some(status)),
        });
        let shared = Arc::clone(&self.shared);
        let told = Box::new(move |delivery: Delivery| {
            shared.change(|state| match row {
                Row::Call(seq) => state.ledger.end_call(seq, delivery),
                Row::Request(seq) => state.ledger.end_request(seq, delivery),
            });
        });
        response.map(|inner| body::boxed(Watched::new(inner, Arc::clone(&self.line), told)))
    }

    fn end(&self, how: End) -> Met {
        self.line.end(how);
        Met::Gone
    }

    fn note_fault(&self, row: Option<Row>, fault: String) {
        let Some(row) = row else { return };
        self.shared.change(|state| match row {
            Row::Call(seq) => state.ledger.call_mut(seq).map(|call| call.fault = Some(fault)),
            Row::Request(seq) => state.ledger.request_mut(seq).map(|request| request.fault = Some(fault)),
        });
    }
}

// === impl Reply ===

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer.into_response(), None)
    }
}
