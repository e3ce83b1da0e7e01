//! The bounded pool in which passwords are hashed.
//!
//! A hash takes 19 MiB and all of a core for some tens of milliseconds. So there is one thread per core and no more, each
//! with its memory kept from hash to hash, a queue of bounded length before them, and a deadline on the wait. What cannot
//! be done in time is refused at once, and a storm of logins costs a known amount of memory.

mod argon2id;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use service_shell::metrics;
use tokio::sync::oneshot;

pub(crate) use self::argon2id::{Checked, PasswordHash};
use self::argon2id::{Workspace, random};
use crate::metrics::Outcomes;
use crate::password::Password;

/// On a scale to 19: with this a thread has a tenth of a core that others want.
const HASHING_NICENESS: i32 = 10;

/// Later nobody is asked to come again, however long the queue is, but for the spread.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// Those who are refused at the same moment come again spread over this time.
const RETRY_SPREAD: Duration = Duration::from_secs(2);

/// A thread that has had nothing to do for this long gives its memory back.
const IDLE: Duration = Duration::from_secs(2);
/// How much hashing there may be at a time.
#[derive(Clone, Copy, Debug)]
pub struct HashingLimits {
    /// Hashes at the same time: threads, each with 19 MiB while it works.
    pub concurrency: usize,
    /// Passwords that wait for a thread; one more is refused.
    pub queue: usize,
    /// How long a password waits and is hashed before it is refused.
    pub deadline: Duration,
}

/// Why no password was hashed or checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashingError {
    #[error("more passwords are waiting than can be hashed in time")]
    Overloaded {
        /// When it may be better.
        retry_after: Duration,
    },
    #[error("hashing a password failed")]
    Failed,
}

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    queue: Sender<Task>,
    limits: HashingLimits,
    pace: Pace,
    /// What the password of an absent user is checked against, so that it costs the same.
    decoy: PasswordHash,
    seen: Seen,
}

/// How long a thread takes for a password, as of late.
#[derive(Clone, Debug, Default)]
struct Pace(Arc<AtomicU64>);

impl Pace {
    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.0.load(Ordering::Relaxed);
        // Two threads that learn at once may forget one of their passwords: the next ones tell the same.
        let mean = if mean == 0 {
            took
        } else {
            mean - mean / 8 + took / 8
        };
        self.0.store(mean, Ordering::Relaxed);
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What is counted of passwords.
#[derive(Clone, Debug)]
struct Seen {
    outcomes: Outcomes,
    waited: Histogram,
    took: Histogram,
}

struct Task {
    work: Box<dyn FnOnce(&mut Workspace) + Send>,
    deadline: Instant,
}

impl Passwords {
    /// Starts the threads. They end when the last handle is dropped.
    pub(crate) fn start(limits: HashingLimits) -> anyhow::Result<Self> {
        let (queue, tasks) = crossbeam_channel::bounded(limits.queue);
        for number in 0..limits.concurrency {
            let tasks = tasks.clone();
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || serve(&tasks))?;
        }
        Ok(Self {
            queue,
            limits,
            pace: Pace::default(),
            decoy: argon2id::decoy(),
            seen: Seen {
                outcomes: Outcomes::of(&["hashed", "queue_full", "too_late", "failed"]),
                waited: metrics::seconds(),
                took: metrics::seconds(),
            },
        })
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let seen = &self.seen;
        let help = "Passwords that were hashed, or could not be in time";
        seen.outcomes.expose(registry, "tokenpair_hashing", help);
        registry.register(
            "tokenpair_hashing_wait_seconds",
            "How long passwords waited for a thread",
            seen.waited.clone(),
        );
        registry.register(
            "tokenpair_hashing_seconds",
            "How long a thread took for a password",
            seen.took.clone(),
        );
        let queue = self.queue.clone();
        metrics::gauge(
            registry,
            "tokenpair_hashing_queue",
            "Passwords that wait for a thread",
            move || metrics::count(queue.len()),
        );
        let limit = metrics::count(self.queue.capacity().unwrap_or(usize::MAX));
        metrics::gauge(
            registry,
            "tokenpair_hashing_queue_limit",
            "Passwords that may wait for a thread",
            move || limit,
        );
    }

    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, HashingError> {
        self.run(move |workspace| workspace.hash(&password)).await
    }

    /// Checks a password against a user's hash, or, where there is no such user, against one that nothing fits.
    pub(crate) async fn check(
        &self,
        hash: Option<PasswordHash>,
        password: Password,
    ) -> Result<Checked, HashingError> {
        let decoy = self.decoy.clone();
        let checked = self.run(move |workspace| {
            if let Some(hash) = hash {
                workspace.check(&hash, &password)
            } else {
                workspace.check(&decoy, &password);
                Checked::Wrong
            }
        });
        checked.await
    }

    /// Whether one more would be refused now, because as many wait as may: to be asked before anything is done for it.
    ///
    /// # Errors
    /// It would be.
    pub(crate) fn refuse_if_full(&self) -> Result<(), HashingError> {
        if self.queue.is_full() {
            return Err(self.overloaded("queue_full"));
        }
        Ok(())
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, HashingError> {
        let (answer, answered) = oneshot::channel();
        let (seen, pace, started) = (self.seen.clone(), self.pace.clone(), Instant::now());
        let work = move |workspace: &mut Workspace| {
            seen.waited.observe(started.elapsed().as_secs_f64());
            // Whoever asked may have gone away meanwhile: then there is nothing to be done.
            if !answer.is_closed() {
                let begun = Instant::now();
                let done = work(workspace);
                let took = begun.elapsed();
                pace.learn(took);
                seen.took.observe(took.as_secs_f64());
                let _ = answer.send(done);
            }
        };
        let deadline = self.limits.deadline;
        let task = Task {
            work: Box::new(work),
            deadline: started + deadline,
        };
        match self.queue.try_send(task) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Err(self.overloaded("queue_full"));
            }
        }
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(done)) => {
                self.seen.outcomes.count("hashed");
                Ok(done)
            }
            // The thread let go of the task unanswered: it came too late, or the work panicked.
            Ok(Err(_)) if started.elapsed() < deadline => {
                self.seen.outcomes.count("failed");
                Err(HashingError::Failed)
            }
            Ok(Err(_)) | Err(_) => Err(self.overloaded("too_late")),
        }
    }

    /// Counts one that cannot be done in time. It may come again when half of those that wait are done: until then there is less room
    /// than others ask for, and much later the threads would have nothing to do. They do not all come at the same moment.
    fn overloaded(&self, outcome: &'static str) -> HashingError {
        self.seen.outcomes.count(outcome);
        let half = u32::try_from(self.queue.len() / 2).unwrap_or(u32::MAX);
        let threads = u32::try_from(self.limits.concurrency.max(1)).unwrap_or(u32::MAX);
        let half_done = self.pace.mean().saturating_mul(half) / threads;
        let [random] = random();
        HashingError::Overloaded {
            retry_after: half_done.clamp(Duration::from_secs(1), LONGEST_RETRY)
                + RETRY_SPREAD.mul_f32(f32::from(random) / 256.0),
        }
    }
}

/// One thread: a task after the other, with the memory kept while there is work.
fn serve(tasks: &Receiver<Task>) {
    make_way();
    let mut workspace = Workspace::default();
    loop {
        let task = match tasks.recv_timeout(IDLE) {
            Ok(task) => task,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                workspace.give_back();
                match tasks.recv() {
                    Ok(task) => task,
                    Err(_) => return,
                }
            }
        };
        if Instant::now() < task.deadline {
            // Whoever asked hears of a panic by its answer never coming; the thread goes on to the next.
            let _ = catch_unwind(AssertUnwindSafe(|| (task.work)(&mut workspace)));
        }
    }
}

/// Lets everything else have the core first: a hash takes a thousand times what an answer takes, and whoever waits for one does not
/// notice. With nothing else to do it is as fast as ever.
fn make_way() {
    let made = setpriority_process(Some(gettid()), HASHING_NICENESS);
    if let Err(error) = made {
        tracing::warn!("passwords are hashed as urgently as requests are answered: {error}");
    }
}

/// The limits that fit this machine.
impl Default for HashingLimits {
    fn default() -> Self {
        let concurrency = thread::available_parallelism().map_or(1, usize::from);
        Self {
            concurrency,
            queue: 64 * concurrency,
            deadline: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use futures_util::FutureExt;

    use super::*;

    fn password(text: &str) -> Password {
        Password::presented(&text.into()).unwrap()
    }

    fn passwords(concurrency: usize, queue: usize) -> Passwords {
        Passwords::start(HashingLimits {
            concurrency,
            queue,
            deadline: Duration::from_secs(30),
        })
        .unwrap()
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other() {
        let passwords = passwords(1, 8);
        let hash = passwords.hash(password("space-corgi")).await.unwrap();
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        assert_eq!(
            passwords
                .check(Some(hash.clone()), password("space-corgi"))
                .await,
            Ok(Checked::Right)
        );
        assert_eq!(
            passwords.check(Some(hash), password("space-corgy")).await,
            Ok(Checked::Wrong)
        );
        assert_eq!(
            passwords.check(None, password("space-corgi")).await,
            Ok(Checked::Wrong)
        );
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_right_but_outdated() {
        // "password" with m=64, t=2, p=1 and the salt "somesalt", made by the reference implementation.
        let hash = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$Bo1ismRVk2qm6+YAYLCmWHDb+j3fjUH3";
        let passwords = passwords(1, 8);
        assert_eq!(
            passwords
                .check(Some(hash.to_owned().into()), password("password"))
                .await,
            Ok(Checked::RightButOutdated)
        );
        assert_eq!(
            passwords
                .check(Some(hash.to_owned().into()), password("passwort"))
                .await,
            Ok(Checked::Wrong)
        );
        assert_eq!(
            passwords
                .check(
                    Some("no hash at all".to_owned().into()),
                    password("password")
                )
                .await,
            Ok(Checked::Wrong)
        );
    }

    #[tokio::test]
    async fn what_the_queue_cannot_hold_is_refused_at_once_and_the_rest_is_done() {
        let passwords = passwords(1, 2);
        let hash = passwords.hash(password("space-corgi")).await.unwrap();
        let checks = (0..16).map(|_| passwords.check(Some(hash.clone()), password("space-corgi")));
        let done = futures_util::future::join_all(checks).await;
        let right = done
            .iter()
            .filter(|done| **done == Ok(Checked::Right))
            .count();
        let refused = done.iter().filter(|done| done.is_err()).count();
        assert!(
            right >= 2 && refused >= 12 && right + refused == 16,
            "{right} right, {refused} refused"
        );
    }

    #[tokio::test]
    async fn whoever_is_refused_may_come_again_when_half_of_the_queue_is_done() {
        let passwords = passwords(1, 400);
        passwords.pace.learn(Duration::from_millis(30));
        let (open, gate) = crossbeam_channel::bounded::<()>(0);
        let (busy, is_busy) = crossbeam_channel::bounded(0);
        let first = passwords.run(move |_| {
            busy.send(()).unwrap();
            let _ = gate.recv();
        });
        let mut first = Box::pin(first);
        assert_eq!(first.as_mut().now_or_never(), None);
        is_busy.recv().unwrap();
        assert_eq!(passwords.refuse_if_full(), Ok(()));
        for _ in 0..400 {
            let waiting = passwords.run(|_| ());
            assert_eq!(waiting.now_or_never(), None);
        }
        let half_done = Duration::from_secs(6);
        let mut seconds = HashSet::new();
        for _ in 0..100 {
            let Err(HashingError::Overloaded { retry_after }) = passwords.refuse_if_full() else {
                panic!("there is room")
            };
            assert!((half_done..half_done + RETRY_SPREAD).contains(&retry_after));
            seconds.insert(retry_after.as_secs());
        }
        assert_eq!(seconds, HashSet::from([6, 7]));
        assert!(passwords.run(|_| ()).await.is_err());
        drop(open);
        assert_eq!(first.await, Ok(()));
    }

    #[tokio::test]
    async fn what_waits_past_the_deadline_is_refused() {
        let passwords = Passwords::start(HashingLimits {
            concurrency: 1,
            queue: 8,
            deadline: Duration::from_nanos(1),
        })
        .unwrap();
        assert!(passwords.hash(password("space-corgi")).await.is_err());
    }
}
