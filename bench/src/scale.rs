//! What a thousand, a hundred thousand and a million users with a session each cost: to start, to log in, to refresh, to list one
//! user's sessions, and to count them all.
//!
//! Each size has a service and a database of its own, and they take turns. The figures of a bare route taken in the same rounds
//! say what the machine had to give.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::auth::{AuthService, cores, get_request, login_request_of};
use crate::bare::BareRoute;
use crate::load::{Repeating, drive};
use crate::population::{self, username};
use crate::refresh::Rotating;
use crate::report::{self, Table};
use crate::rounds::Rounds;
use crate::server::resident_kib;

/// After this the hashing threads have given their memory back, which says nothing about the users.
const HASHING_GIVES_BACK: Duration = Duration::from_secs(4);
/// Callers of everything but logins.
const CALLERS: u32 = 8;

pub(crate) async fn run(rounds: &Rounds, sizes: &[u32]) -> anyhow::Result<()> {
    let bare = BareRoute::start()?;
    let mut services = Vec::with_capacity(sizes.len());
    for &size in sizes {
        services.push(Populated::start(size).await?);
    }
    let [mut logins, mut refreshes, mut lists, mut counts] =
        [(); 4].map(|()| Table::new("per second", ["p50 ms", "p99 ms"]));
    let all = [
        "POST /login",
        "POST /refresh",
        "GET /sessions",
        "GET /metrics",
    ];
    for _ in rounds.each() {
        let mut asked = bare.drive(CALLERS as usize, rounds.turn()).await?;
        for table in [&mut logins, &mut refreshes, &mut lists, &mut counts] {
            table.add(BareRoute::NAME, asked.figures());
        }
        for service in &mut services {
            let (name, address) = (service.name.clone(), service.auth.address());
            let (_, mut waits) = drive(address, service.logins(), rounds.turn()).await?;
            logins.add(&name, waits.figures());
            let rotating = std::mem::take(&mut service.rotating);
            let (rotated, mut waits) = drive(address, rotating, rounds.turn()).await?;
            service.rotating = rotated;
            refreshes.add(&name, waits.figures());
            let (_, mut waits) = drive(address, service.lists.clone(), rounds.turn()).await?;
            lists.add(&name, waits.figures());
            let scrape = Repeating::new("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            let (_, mut waits) = drive(address, vec![scrape], rounds.turn()).await?;
            counts.add(&name, waits.figures());
        }
    }
    let mut text = String::new();
    for (what, table) in all.iter().zip([&logins, &refreshes, &lists, &counts]) {
        let _ = writeln!(text, "\n{what}\n{}", table.text());
    }
    let _ = writeln!(text, "\nof each");
    for service in &services {
        let _ = writeln!(
            text,
            "{:>9}  {} KiB on the disk, first answer {} ms after the start, {} KiB more in memory",
            service.name,
            fs::metadata(service.auth.database())?.len() >> 10,
            service.first_answer.as_millis(),
            service.memory_kib,
        );
    }
    report::print(&text);
    for service in services {
        service.auth.stop().await?;
    }
    bare.stop().await
}

/// A service that knows so many users, each with a session.
struct Populated {
    name: String,
    size: u32,
    auth: AuthService,
    first_answer: Duration,
    memory_kib: u64,
    rotating: Vec<Rotating>,
    lists: Vec<Repeating>,
}

impl Populated {
    async fn start(size: u32) -> anyhow::Result<Self> {
        // The first start makes the tables and the user whose password all have.
        let new = AuthService::start(Duration::ZERO).await?;
        population::add(&new.database(), size).await?;
        let folder = new.stop().await?;
        let (before, started) = (resident_kib()?, Instant::now());
        let auth = AuthService::start_in(folder, Duration::ZERO).await?;
        let first_answer = started.elapsed();
        let (mut rotating, mut lists) = (Vec::new(), Vec::new());
        for number in 0..CALLERS {
            // From all over the table.
            let name = username(size / CALLERS * number);
            let pair = auth.log_in_pair(&name).await?;
            lists.push(Repeating::new(&get_request("/sessions", &pair)?));
            rotating.push(Rotating::new(&pair)?);
        }
        sleep(HASHING_GIVES_BACK).await;
        Ok(Self {
            name: size.to_string(),
            size,
            auth,
            first_answer,
            memory_kib: resident_kib()?.saturating_sub(before),
            rotating,
            lists,
        })
    }

    fn logins(&self) -> Vec<Repeating> {
        let callers = u32::try_from(2 * cores()).unwrap_or(u32::MAX);
        let names = (0..callers).map(|number| username(self.size / callers * number));
        names
            .map(|name| Repeating::new(&login_request_of(&name)))
            .collect()
    }
}
