use std::io;
use std::task::Poll;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The observations of a simulated connection.
struct Observation {
    observed: Observed,
    start: Instant,
}

impl Observation {
    fn new(protocol: Protocol) -> Self {
        let start = Instant::now();
        let in_flight = InFlight::new(Arc::default(), protocol, None, Rc::default(), Arc::default());
        Self { observed: Observed { in_flight, connected: start, blocked: None, head: None, closing: None }, start }
    }

    fn request(&self) {
        drop(self.observed.in_flight.begin());
    }

    fn write(&self, result: Poll<io::Result<usize>>) {
        self.observed.in_flight.signals().saw_write(&result);
    }

    fn read(&self) {
        self.observed.in_flight.signals().saw_read();
    }

    fn state(&mut self) -> ConnectionState {
        self.observed.look();
        self.observed.state()
    }

    fn after(&self, seconds: u32) -> Instant {
        self.start + SECOND * seconds
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_client_counts_from_its_last_progress() {
    let mut it = Observation::new(Protocol::Http1);
    it.request();
    it.write(Poll::Pending);
    assert_eq!(it.state(), ConnectionState::Blocked(it.start));
    tokio::time::advance(SECOND).await;
    assert_eq!(it.state(), ConnectionState::Blocked(it.start));
    it.write(Poll::Ready(Ok(1)));
    it.write(Poll::Pending);
    assert_eq!(it.state(), ConnectionState::Blocked(it.after(1)));
    tokio::time::advance(SECOND).await;
    it.write(Poll::Ready(Ok(1)));
    assert_eq!(it.state(), ConnectionState::Idle(it.start));
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_head_counts_from_its_first_byte() {
    let mut it = Observation::new(Protocol::Http1);
    it.read();
    assert_eq!(it.state(), ConnectionState::Fresh(it.start));
    it.request();
    assert_eq!(it.state(), ConnectionState::Idle(it.start), "what was read is the request's");
    tokio::time::advance(SECOND).await;
    it.read();
    assert_eq!(it.state(), ConnectionState::Head(it.after(1)));
    tokio::time::advance(SECOND).await;
    it.read();
    assert_eq!(it.state(), ConnectionState::Head(it.after(1)));
    it.request();
    assert_eq!(it.state(), ConnectionState::Idle(it.after(2)));
}

#[tokio::test(start_paused = true)]
async fn what_comes_between_http2_requests_need_not_be_a_head() {
    let mut it = Observation::new(Protocol::Http2);
    it.request();
    tokio::time::advance(SECOND).await;
    it.read();
    assert_eq!(it.state(), ConnectionState::Idle(it.start));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_no_head() {
    let mut it = Observation::new(Protocol::Http1);
    let guard = it.observed.in_flight.begin();
    it.read();
    assert_eq!(it.state(), ConnectionState::Busy);
    it.read();
    drop(guard);
    assert_eq!(it.state(), ConnectionState::Idle(it.start));
}

#[tokio::test(start_paused = true)]
async fn closing_with_a_response_on_its_way_counts_from_the_last_progress() {
    let mut it = Observation::new(Protocol::Http2);
    let guard = it.observed.in_flight.begin();
    it.observed.close();
    assert_eq!(it.state(), ConnectionState::Busy);
    tokio::time::advance(SECOND).await;
    drop(guard);
    assert_eq!(it.state(), ConnectionState::Closing(it.after(1)));
    tokio::time::advance(SECOND).await;
    it.write(Poll::Ready(Ok(1)));
    assert_eq!(it.state(), ConnectionState::Closing(it.after(2)));
}

#[tokio::test(start_paused = true)]
async fn closing_an_idle_connection_is_not_extended_by_what_is_still_said() {
    let mut it = Observation::new(Protocol::Http2);
    it.request();
    it.observed.close();
    tokio::time::advance(SECOND).await;
    it.write(Poll::Ready(Ok(1)));
    assert_eq!(it.state(), ConnectionState::Closing(it.start));
}
