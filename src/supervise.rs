//! Restarts the tasks that the process needs when they die, and counts the restarts.
//!
//! The state of a task lives outside it, so that the next start continues from there. If a task dies again and again, the process
//! drains and exits with code 70.

use std::collections::VecDeque;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The values of the label `task` of `bearer_proxy_task_restarts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Accept,
    Admin,
    /// Samples the metrics for the admin page.
    History,
    Probes,
    /// Renews the token, or reads it from the file of the `static` grant.
    Refresher,
    Reload,
    /// One refresh. Its outcome lives outside it, and the next refresh is its next start.
    Rotation,
    /// One read or write of the store outside a refresh. The next one is its next start.
    StoreSync,
    Worker,
}

/// How often each task was restarted. Clones share the counts; the default counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Restarts(Option<IntCounterVec>);

/// A task failed and could not be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} failed and could not be restarted; the process ends. The error before this line says what happened", .0.name())]
pub struct Died(pub Task);

/// What follows when a task dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    StartAfter(Duration),
    GiveUp,
}

/// When a task died, within `WINDOW`. The oldest is the first.
#[derive(Debug, Default)]
struct Deaths(VecDeque<Instant>);

const WINDOW: Duration = Duration::from_secs(60);
/// This many deaths within the window may be chance.
const MOST: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two starts of a task that must not be given up.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Runs a task until it returns, and restarts it each time it dies. `holds`: the task holds something that the end of the process
/// would lose, so it is never given up.
///
/// # Errors
/// The task died too often.
pub async fn supervise<F, T>(
    task: Task,
    restarts: &Restarts,
    holds: impl Fn() -> bool,
    mut start: impl FnMut() -> F,
) -> Result<T, Died>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut deaths = Deaths::default();
    loop {
        if let Ok(ended) = tokio::spawn(start()).await {
            return Ok(ended);
        }
        start_again(task, restarts, &mut deaths, holds()).await?;
    }
}

/// [`supervise`] for a task that stays on its thread.
///
/// # Errors
/// The task died too often.
pub async fn supervise_local<F>(task: Task, restarts: &Restarts, mut start: impl FnMut() -> F) -> Result<(), Died>
where
    F: Future<Output = ()> + 'static,
{
    let mut deaths = Deaths::default();
    loop {
        if tokio::task::spawn_local(start()).await.is_ok() {
            return Ok(());
        }
        start_again(task, restarts, &mut deaths, false).await?;
    }
}

/// Returns the first task of a set that ended and should not have: it could not be restarted, or its supervisor is gone, in
/// which case `unknown` is reported.
pub async fn first_death<T: 'static>(tasks: &mut JoinSet<Result<T, Died>>, unknown: Task) -> Died {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(died))) => return died,
            Some(Err(_)) => return Died(unknown),
            None => std::future::pending().await,
        }
    }
}

async fn start_again(task: Task, restarts: &Restarts, deaths: &mut Deaths, holds: bool) -> Result<(), Died> {
    match deaths.another(Instant::now(), holds) {
        Next::StartAfter(pause) => {
            restarts.count(task);
            tracing::error!(task = task.name(), ?pause, "a task died: restarting it");
            tokio::time::sleep(pause).await;
            Ok(())
        }
        Next::GiveUp => Err(Died(task)),
    }
}

// === impl Restarts ===

impl Restarts {
    /// `counter` has one label: the name of the task.
    pub fn new(counter: IntCounterVec) -> Self {
        // Each series exists from the start: `rate()` misses the first increment of a series that appears with it.
        for task in Task::ALL {
            counter.with_label_values(&[task.name()]);
        }
        Self(Some(counter))
    }

    pub fn count(&self, task: Task) {
        if let Some(counter) = &self.0 {
            counter.with_label_values(&[task.name()]).inc();
        }
    }
}

// === impl Deaths ===

impl Deaths {
    /// Records a death, and decides what follows. The first restart is immediate.
    fn another(&mut self, now: Instant, holds: bool) -> Next {
        self.0.retain(|death| now.saturating_duration_since(*death) < WINDOW);
        let before = self.0.len();
        if before < MOST {
            self.0.push_back(now);
        }
        match before {
            0 => Next::StartAfter(Duration::ZERO),
            _ if before < MOST => Next::StartAfter(FIRST_PAUSE * (1 << before)),
            _ if holds => Next::StartAfter(LAST_PAUSE),
            _ => Next::GiveUp,
        }
    }
}

// === impl Task ===

impl Task {
    pub const ALL: [Self; 9] = [
        Self::Accept,
        Self::Admin,
        Self::History,
        Self::Probes,
        Self::Refresher,
        Self::Reload,
        Self::Rotation,
        Self::StoreSync,
        Self::Worker,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Admin => "admin",
            Self::History => "history",
            Self::Probes => "probes",
            Self::Refresher => "refresher",
            Self::Reload => "reload",
            Self::Rotation => "rotation",
            Self::StoreSync => "store_sync",
            Self::Worker => "worker",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prometheus::Opts;

    use super::*;

    #[test]
    fn a_task_that_dies_now_and_then_is_started_and_one_that_dies_always_is_given_up() {
        let start = Instant::now();
        let mut deaths = Deaths::default();
        let millis = |millis| Next::StartAfter(Duration::from_millis(millis));
        // (second of the death, whether the task holds something, what follows)
        let rows = [
            (0, false, millis(0)),
            (70, false, millis(0)),
            (71, false, millis(200)),
            (72, false, millis(400)),
            (73, false, millis(800)),
            (74, false, millis(1600)),
            (75, true, millis(5000)),
            (76, false, Next::GiveUp),
            (131, false, millis(800)),
            (300, false, millis(0)),
        ];
        for (second, holds, next) in rows {
            assert_eq!(deaths.another(start + Duration::from_secs(second), holds), next, "second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_goes_on_from_what_lives_outside_it() {
        let counter = IntCounterVec::new(Opts::new("restarts", "restarts"), &["task"]).unwrap();
        let (restarts, steps) = (Restarts::new(counter.clone()), Arc::new(AtomicUsize::new(0)));
        let task = || {
            let steps = Arc::clone(&steps);
            async move {
                while steps.fetch_add(1, Ordering::Relaxed) < 9 {
                    assert!(steps.load(Ordering::Relaxed) != 5, "the task dies");
                    tokio::task::yield_now().await;
                }
            }
        };
        assert_eq!(supervise(Task::Refresher, &restarts, || false, task).await, Ok(()));
        assert_eq!(steps.load(Ordering::Relaxed), 10);
        let always = || async { panic!("the task dies") };
        assert_eq!(supervise(Task::Admin, &restarts, || false, always).await, Err(Died(Task::Admin)));
        for (task, count) in [(Task::Refresher, 1), (Task::Admin, 5), (Task::Accept, 0)] {
            assert_eq!(counter.with_label_values(&[task.name()]).get(), count, "{task:?}");
        }
    }
}
