//! HTTP/2 by the stream.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::ledger::{Deed, Entry};
use super::tap::{Control, Tap};
use super::{End, STALL, Upstream, answer, parse};

const WEIGHTS: &[(Deed, usize)] = &[
    (Deed::Answer, 150),
    (Deed::Refuse, 16),
    (Deed::GoAway, 4),
    (Deed::Abort, 8),
    (Deed::AbortBody, 8),
    (Deed::Stall, 5),
    (Deed::StallBody, 5),
    (Deed::Vanish, 3),
];

const MAX_STREAMS: u32 = 50;

/// Room for every body whole: those that are not read must not stop the others on their connection.
const STREAM_WINDOW: u32 = 512 * 1024;

type Arrived = (Request<RecvStream>, SendResponse<Bytes>);

/// One connection.
struct Conn {
    upstream: Upstream,
    control: Arc<Control>,
    reset: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last stream that is processed, as far as they have come.
    started: u32,
    /// A GOAWAY has said that streams above this one are not.
    gone: Option<u32>,
    closed: bool,
    entries: Vec<Entry>,
    /// Streams that are left as they are.
    left: Vec<Arrived>,
}

pub async fn serve(tcp: TcpStream, upstream: Upstream) {
    tcp.set_zero_linger().unwrap();
    let (tap, control) = Tap::new(tcp);
    let made = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .handshake(tap)
        .await;
    let Ok(mut connection) = made else { return };
    let conn = Arc::new(Conn { upstream, control, reset: Notify::new(), state: Mutex::default() });
    loop {
        let next = tokio::select! {
            biased;
            () = conn.reset.notified() => {
                drop(connection);
                return conn.upstream.ledger.lost();
            }
            next = connection.accept() => next,
        };
        match next {
            Some(Ok(arrived)) => conn.take(arrived),
            _ => return,
        }
    }
}

impl Conn {
    fn take(self: &Arc<Self>, arrived: Arrived) {
        let (id, size) = parse(arrived.0.uri().path_and_query().unwrap().as_str());
        let stream = arrived.1.stream_id().as_u32();
        let mut state = self.state.lock().unwrap();
        let deed = if state.gone.is_some_and(|last| stream > last) {
            Deed::GoAway
        } else if state.closed {
            Deed::Late
        } else {
            self.upstream.draw(WEIGHTS)
        };
        let entry = self.upstream.ledger.begin(id, deed, false);
        if matches!(deed, Deed::GoAway | Deed::Late) {
            state.left.push(arrived);
            if deed == Deed::GoAway && state.gone.is_none() {
                let last = state.started;
                self.go_away(&mut state, last);
            }
            return;
        }
        state.started = stream;
        state.entries.push(entry);
        // With the stream processed.
        if deed == Deed::Answer && state.gone.is_none() && self.upstream.below(50) == 0 {
            self.go_away(&mut state, stream);
        }
        drop(state);
        let conn = Arc::clone(self);
        tokio::spawn(async move { conn.run(deed, id, size, entry, arrived).await });
    }

    /// Goes once those that it still processes have had their time.
    fn go_away(self: &Arc<Self>, state: &mut State, last: u32) {
        state.gone = Some(last);
        self.upstream.ledger.lost();
        self.control.goaway(last);
        let conn = Arc::clone(self);
        tokio::spawn(async move {
            sleep(STALL).await;
            conn.end(End::Fin);
        });
    }

    fn end(&self, how: End) {
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        let ledger = &self.upstream.ledger;
        ledger.strike(&state.entries);
        ledger.lost();
        match how {
            End::Fin => self.control.fin(),
            End::Reset => self.reset.notify_one(),
        }
    }

    async fn run(&self, deed: Deed, id: u64, size: usize, entry: Entry, arrived: Arrived) {
        let (request, mut respond) = arrived;
        let unread = matches!(deed, Deed::Abort | Deed::Vanish) && self.upstream.coin();
        if deed == Deed::Refuse {
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.upstream.ledger.done(entry);
        }
        if !unread {
            let mut body = request.into_body();
            let mut read = 0;
            while let Some(data) = body.data().await {
                let Ok(data) = data else { return };
                read += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            if read != size {
                return;
            }
            if matches!(deed, Deed::Answer | Deed::AbortBody | Deed::StallBody) || self.upstream.coin() {
                self.upstream.ledger.apply(entry);
            }
        }
        let text = Bytes::from(answer(id));
        match deed {
            Deed::Abort => respond.send_reset(Reason::INTERNAL_ERROR),
            Deed::Vanish => self.end(self.upstream.end()),
            Deed::Stall => gone(&mut respond).await,
            _ => {
                let Ok(mut send) = respond.send_response(Response::new(()), false) else { return };
                if deed == Deed::Answer {
                    let _ = send.send_data(text, true);
                    return self.upstream.ledger.done(entry);
                }
                let _ = send.send_data(text.slice(..text.len() / 2), false);
                if deed == Deed::AbortBody {
                    sleep(std::time::Duration::from_millis(20)).await;
                    return send.send_reset(Reason::INTERNAL_ERROR);
                }
                let _ = timeout(STALL, poll_fn(|cx| send.poll_reset(cx))).await;
            }
        }
    }
}

/// Waits until the other side gives up.
async fn gone(respond: &mut SendResponse<Bytes>) {
    let _ = timeout(STALL, poll_fn(|cx| respond.poll_reset(cx))).await;
}
