//! Users who go on refreshing and reading while something is done to the services, and of whose requests none may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use test_support::Client;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

/// Users who refresh all the time.
const EAGER: usize = 2;
/// Users who refresh as late as they may, each at another time.
const LATE: u32 = 4;
/// How many users there are.
pub(crate) const USERS: usize = EAGER + LATE as usize;

/// Settings with which a test can wait until all tokens of a key have expired.
pub(crate) const SHORT: [(&str, &str); 2] = [
    ("JWT_ACCESS_TOKEN_EXPIRES", "10s"),
    ("JWT_REFRESH_TOKEN_EXPIRES", "10s"),
];
/// With these settings, what a user who refreshes late leaves to a busy machine of the life of the tokens is two seconds at the least.
pub(crate) const KEPT: Duration = Duration::from_secs(7);

/// Where the services are that the users go to.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) auth: Client,
    /// Each is asked each time.
    pub(crate) resources: Vec<Client>,
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    users: Vec<JoinHandle<()>>,
}

struct Shared {
    services: RwLock<Services>,
    stop: AtomicBool,
    /// What each user has done.
    rounds: [AtomicU32; USERS],
}

impl Load {
    /// Users with these pairs, of whom the late go on with a pair for as long as `kept`.
    pub(crate) async fn start(
        services: Services,
        pairs: [(String, String); USERS],
        kept: Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            services: RwLock::new(services),
            stop: AtomicBool::new(false),
            rounds: [const { AtomicU32::new(0) }; USERS],
        });
        let eager = [(Duration::ZERO, Duration::ZERO); EAGER];
        let late = (1..=LATE).map(|number| (kept / LATE * number, kept));
        let users = pairs.into_iter().zip(eager.into_iter().chain(late));
        let users = users.enumerate().map(|(number, (pair, kept))| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { shared.live(number, pair, kept).await })
        });
        let users = users.collect();
        let load = Self { shared, users };
        load.goes_on_for(3).await;
        load
    }

    /// Waits until each user has done so much more.
    pub(crate) async fn goes_on_for(&self, rounds: u32) {
        let started = Instant::now();
        let before = self.shared.rounds.each_ref();
        let before = before.map(|done| done.load(Ordering::SeqCst));
        for (done, before) in self.shared.rounds.iter().zip(before) {
            while done.load(Ordering::SeqCst) < before + rounds {
                let gone = self.users.iter().any(JoinHandle::is_finished);
                assert!(!gone, "a request has failed");
                assert!(
                    started.elapsed() < Duration::from_secs(30),
                    "the load has stopped"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Does this while no request is under way: the users wait, as they do behind a proxy that holds what comes for a service that
    /// is away.
    pub(crate) async fn between_rounds(&self, change: impl AsyncFnOnce(&mut Services)) {
        change(&mut *self.shared.services.write().await).await;
    }

    pub(crate) async fn end(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for user in self.users {
            // A request that failed has made it panic.
            user.await.unwrap();
        }
    }
}

impl Shared {
    /// One user, whose first pair and whose others are kept for so long.
    async fn live(&self, number: usize, pair: (String, String), kept: (Duration, Duration)) {
        let (mut access, mut refresh) = pair;
        let (mut since, mut kept, later) = (Instant::now(), kept.0, kept.1);
        while !self.stop.load(Ordering::SeqCst) {
            let services = self.services.read().await;
            let Services { auth, resources } = &*services;
            if since.elapsed() >= kept {
                (since, kept) = (Instant::now(), later);
                let reply = auth.post_with("/refresh", &refresh).await.has_status(200);
                access = reply.text_of("access_token");
                refresh = reply.text_of("refresh_token");
            }
            auth.get_with("/me", &access).await.has_status(200);
            for resource in resources {
                resource.get_with("/profile", &access).await.has_status(200);
            }
            drop(services);
            self.rounds[number].fetch_add(1, Ordering::SeqCst);
        }
    }
}
