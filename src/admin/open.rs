//! The open connections of a listener. If there are too many, the one that was quiet for longest is closed for the next.
//!
//! Anyone who reaches the listener can hold connections: idle ones, incomplete heads, unread responses. None of them may delay a probe, so
//! a new connection never waits for an old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// A connection is not closed for another one within this time after it was opened or answered, because a client sends its request a moment
/// after it connects. The time is short, so that a full accept queue (4,096) is accepted within a second.
const GRACE: Duration = Duration::from_millis(25);

/// The connections of an accept loop.
pub(super) struct Open {
    most: usize,
    /// In the order in which they were opened.
    connections: Vec<(Activity, AbortHandle)>,
    tasks: JoinSet<()>,
}

/// One connection reports here when it was last active, and whether it answers a request. The accept loop tells it here to end.
#[derive(Clone)]
pub(super) struct Activity {
    opened: Instant,
    /// In nanoseconds after `opened`; [`ANSWERING`] while it answers a request.
    last: Arc<AtomicU64>,
    evicted: Arc<Notify>,
}

/// The connection answers a request until this is dropped. The response may still be unread then.
pub(super) struct Answering(Activity);

const ANSWERING: u64 = u64::MAX;

// === impl Open ===

impl Open {
    pub(super) fn new(most: usize) -> Self {
        Self { most, connections: Vec::new(), tasks: JoinSet::new() }
    }

    /// Returns when there is room for one more connection. Closes another one if necessary.
    pub(super) async fn room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.connections.retain(|(_, task)| !task.is_finished());
            if self.connections.len() < self.most {
                return;
            }
            // If every connection answers a request, the first one is closed.
            let quiet = |index: &usize| self.connections[*index].0.quiet_since().map_or((1, None), |at| (0, Some(at)));
            let Some(index) = (0..self.connections.len()).min_by_key(quiet) else { return };
            let quiet_for = self.connections[index].0.quiet_since().map(|since| since.elapsed());
            if let Some(left) =
                quiet_for.and_then(|quiet_for| GRACE.checked_sub(quiet_for)).filter(|left| !left.is_zero())
            {
                sleep(left).await;
                continue;
            }
            let (activity, _) = self.connections.remove(index);
            activity.evicted.notify_one();
        }
    }

    /// Serves a connection. [`Open::room`] must have returned before.
    pub(super) fn serve<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Activity) -> F) {
        let activity = Activity { opened: Instant::now(), last: Arc::default(), evicted: Arc::default() };
        let task = self.tasks.spawn(serve(activity.clone()));
        self.connections.push((activity, task));
    }

    /// Returns when all connections have ended.
    pub(super) async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

// === impl Activity ===

impl Activity {
    /// The head of a request has arrived.
    pub(super) fn answering(&self) -> Answering {
        self.last.store(ANSWERING, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Returns when the connection must end for another one.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// `None`: the connection answers a request.
    fn quiet_since(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Relaxed);
        (last != ANSWERING).then(|| self.opened + Duration::from_nanos(last))
    }
}

// === impl Answering ===

impl Drop for Answering {
    fn drop(&mut self) {
        let quiet_since = u64::try_from(self.0.opened.elapsed().as_nanos()).unwrap_or(ANSWERING);
        self.0.last.store(quiet_since, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;

    use super::*;

    async fn connect(open: &mut Open) -> Activity {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        open.room().await;
        open.serve(move |activity| {
            sender.send(activity).unwrap();
            pending()
        });
        receiver.recv().await.unwrap()
    }

    /// Of three connections of at most three, and then one more, those that were closed. `first` is what the first one does.
    async fn evicted(first: fn(&Activity) -> Option<Answering>) -> Vec<bool> {
        let mut open = Open::new(3);
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(connect(&mut open).await);
            sleep(Duration::from_secs(1)).await;
        }
        let _answering = first(&all[0]);
        all.push(connect(&mut open).await);
        all.iter().map(|activity| activity.evicted().now_or_never().is_some()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_quiet_for_longest_goes_first() {
        assert_eq!(evicted(|_| None).await, [true, false, false, false]);
        assert_eq!(evicted(|first| Some(first.answering())).await, [false, true, false, false]);
        let answered = |first: &Activity| {
            drop(first.answering());
            None
        };
        assert_eq!(evicted(answered).await, [false, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_a_moment_to_send_its_request() {
        let mut open = Open::new(1);
        let began = Instant::now();
        let _first = connect(&mut open).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let second = connect(&mut open).await;
        assert!(began.elapsed() >= GRACE);
        let _answering = second.answering();
        let _third = connect(&mut open).await;
        assert!(second.evicted().now_or_never().is_some(), "requests that are being answered keep nobody out either");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_ended_leave_their_place() {
        let mut open = Open::new(1);
        open.serve(|_| std::future::ready(()));
        open.all_ended().await;
        let began = Instant::now();
        let _second = connect(&mut open).await;
        assert_eq!((open.connections.len(), began.elapsed()), (1, Duration::ZERO));
    }
}
