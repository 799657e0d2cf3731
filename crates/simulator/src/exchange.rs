//! One request and its response: the faults that it meets, and the delivery of its response.

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

/// The result of an exchange.
pub(super) enum Reply {
    Answer(Response<SimBody>, Option<Row>),
    /// The connection ends, or waits until the client ends it.
    Never,
}

/// How a step continues after a fault.
pub(super) enum Met {
    /// There is no fault, or it is over.
    Nothing,
    /// The step sends this response instead.
    Answer(Answer),
    /// The step itself carries out the fault.
    Act(Act),
    Gone,
}

// === impl Exchange ===

impl Exchange {
    pub fn now(&self) -> UnixMs {
        self.shared.clock.now()
    }

    /// Records and executes the fault at this step, if there is one.
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

    /// Truncates a response's body if the act says so.
    pub fn cut(&self, response: Response<SimBody>, act: &Act) -> Response<SimBody> {
        match *act {
            Act::Cut { after, reset } => {
                let how = if reset { End::Reset } else { End::Close };
                response.map(|inner| body::boxed(Cut::new(inner, after, Arc::clone(&self.line), how)))
            }
            _ => response,
        }
    }

    /// Passes a response to the protocol. The caller must not await anything in between: the next flush delivers a response without
    /// a body.
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
