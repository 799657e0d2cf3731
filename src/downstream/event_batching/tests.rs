use std::io::Write;
use std::os::unix::net::UnixStream;

use super::*;

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

impl EventBatching {
    fn request(&self, time: Duration) {
        self.began();
        self.ended(time);
    }
}

/// A worker with a simulated clock.
struct Clock {
    event_batching: EventBatching,
    now: Instant,
}

impl Clock {
    /// After many requests of this duration, and with enough requests in flight.
    fn behind(requests: Duration) -> Self {
        let event_batching = EventBatching::default();
        let now = event_batching.origin;
        (0..1000).for_each(|_| event_batching.request(requests));
        (0..MANY).for_each(|_| event_batching.began());
        Self { event_batching, now }
    }

    /// The worker is idle for this time. Returns the delay.
    fn idle(&mut self, time: Duration) -> Option<Duration> {
        let wait = self.event_batching.park(|| self.now);
        self.now += time;
        self.event_batching.unpark(|| self.now);
        wait
    }
}

#[test]
fn a_wait_is_a_sixteenth_of_what_requests_take_up_to_100_us() {
    let table = [
        (0, None),
        (250, None),
        (256, Some(us(16))),
        (800, Some(us(50))),
        (1600, Some(us(100))),
        (60_000_000, Some(us(100))),
    ];
    for (usual, wait) in table {
        assert_eq!(allowed(MANY, us(usual)), wait, "{usual}");
    }
}

#[test]
fn there_is_none_before_it_is_known_that_something_comes() {
    let mut clock = Clock::behind(us(5000));
    assert_eq!(clock.idle(us(40)), None);
    assert_eq!(clock.idle(us(104)), Some(us(100)));
    assert_eq!(clock.idle(us(104)), Some(us(100)));
    // The delay brought nothing: the next event is not delayed.
    assert_eq!(clock.idle(us(900)), Some(us(100)));
    assert_eq!(clock.idle(us(900)), None);
    assert_eq!(clock.idle(us(20)), None);
    assert_eq!(clock.idle(us(20)), Some(us(100)));
}

#[test]
fn requests_that_take_no_time_are_kept_by_nothing_not_even_the_clock() {
    let Clock { event_batching, .. } = Clock::behind(us(120));
    for _ in 0..3 {
        assert_eq!(event_batching.park(|| unreachable!()), None);
        event_batching.unpark(|| unreachable!());
    }
}

#[test]
fn few_requests_wait_for_nothing() {
    let mut clock = Clock::behind(us(5000));
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, Some(us(100))));
    clock.event_batching.ended(us(5000));
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, None));
    clock.event_batching.began();
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, Some(us(100))));
}

#[test]
fn a_quarter_of_requests_that_take_no_time_is_enough() {
    let mut clock = Clock::behind(us(5000));
    (0..1000).for_each(|number| clock.event_batching.request(if number % 10 < 3 { us(100) } else { us(5000) }));
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, None));
    // A fifth is not enough.
    (0..1000).for_each(|number| clock.event_batching.request(if number % 10 < 2 { us(100) } else { us(5000) }));
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, Some(us(100))));
}

#[test]
fn a_hundred_requests_are_enough_to_notice_that_they_have_become_quick() {
    let mut clock = Clock::behind(us(1_000_000));
    (0..100).for_each(|_| clock.event_batching.request(us(100)));
    assert_eq!((clock.idle(us(10)), clock.idle(us(10))), (None, None));
}

/// A byte arrives every 20 µs. One good run is enough, because the machine may be busy.
#[test]
fn what_comes_meanwhile_is_found_at_once() {
    const BYTES: u16 = 1000;
    let pieces = || {
        let event_batching: Arc<EventBatching> = Arc::default();
        (0..1000).for_each(|_| event_batching.request(us(5000)));
        (0..MANY).for_each(|_| event_batching.began());
        let mut builder = Builder::new_current_thread();
        event_batching.install(&mut builder);
        let runtime = builder.enable_io().build().unwrap();
        let (mut from, to) = UnixStream::pair().unwrap();
        let sender = std::thread::spawn(move || {
            let start = Instant::now();
            for number in 0..u32::from(BYTES) {
                while start.elapsed() < us(20) * number {
                    std::hint::spin_loop();
                }
                from.write_all(b"x").unwrap();
            }
        });
        let pieces = runtime.block_on(async {
            to.set_nonblocking(true).unwrap();
            let to = tokio::net::UnixStream::from_std(to).unwrap();
            let (mut got, mut pieces) = (0, 0);
            while got < usize::from(BYTES) {
                to.readable().await.unwrap();
                if let Ok(read) = to.try_read(&mut [0; BYTES as usize]) {
                    (got, pieces) = (got + read, pieces + 1);
                }
            }
            pieces
        });
        sender.join().unwrap();
        pieces
    };
    let pieces: Vec<_> = (0..5).map(|_| pieces()).collect();
    assert!(pieces.iter().any(|pieces| *pieces < BYTES / 2), "{pieces:?}");
}
