//! What a storm of logins does to everything else: refreshes, reads of profiles and a bare route, at a pace of their own, before it
//! and during it; what it does to the logins themselves, beside the bare hashing of their passwords; and the memory that it takes.
//!
//! Each who logs in is a user of their own, and whoever is told 503 comes again when `Retry-After` says. They have a thread of their
//! own, at a low priority, so that nobody else waits for them but where the services do not keep them apart. The load and both services are one
//! process and share its cores: of the memory it is the growth that counts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::auth::{AuthService, USERNAME, login_request_of, profile_request, refresh_request};
use crate::bare::BareRoute;
use crate::load::Connection;
use crate::login::{Memory, Priority, hash_on_all_cores, make_way};
use crate::population::{self, username};
use crate::report::{self, Table};
use crate::rounds::{Rounds, Turn, Waits};
use crate::server::resident_kib;

/// Callers beside the storm, each of which refreshes, reads a profile and asks a bare route in turn, and the time from one to the
/// next.
const CALLERS: u32 = 8;
const PACE: Duration = Duration::from_millis(40);

pub(crate) async fn run(rounds: &Rounds, storms: &[u16]) -> anyhow::Result<()> {
    // No grace: every refresh rotates, which is the most that it can cost.
    let mut auth = AuthService::start(Duration::ZERO).await?;
    let most = storms.iter().max().copied().unwrap_or_default();
    population::add(&auth.database(), most.into()).await?;
    let resource = auth.start_resource_service(0).await?;
    let bare = BareRoute::start()?;
    let mut sessions = Vec::new();
    for _ in 0..CALLERS {
        sessions.push(Session {
            pair: auth.log_in_pair(USERNAME).await?,
            auth: auth.address(),
            resource,
            bare: bare.address,
        });
    }
    let mut turns = vec![
        ("nobody logs in".to_owned(), Beside::Nothing),
        ("nobody, bare hashing".to_owned(), Beside::BareHashing),
    ];
    for &size in storms {
        turns.push((format!("{size} log in"), Beside::Storm(size)));
    }
    // Of all rounds together: a turn alone has too few of them for its p99 to say much.
    let rows = || turns.iter().map(|(name, _)| (name.as_str(), Vec::new()));
    let mut callers = ASKED.map(|what| (what, rows().collect::<Vec<_>>()));
    let mut logins = Table::new("per second", ["p50 ms", "p99 ms"]);
    let mut memory = vec![0; turns.len()];
    for _ in rounds.each() {
        for (number, ((name, beside), memory)) in turns.iter().zip(&mut memory).enumerate() {
            let turn = rounds.turn();
            let beside = beside.begin(auth.address(), turn);
            let waits = paced(&mut sessions, turn).await?;
            for ((_, rows), waits) in callers.iter_mut().zip(waits) {
                rows[number].1.extend(waits.into_each());
            }
            if let Some(beside) = beside {
                let done = beside
                    .join()
                    .map_err(|_| anyhow!("what went on beside panicked"))?;
                logins.add(name, done?.figures());
            }
            *memory = resident_kib()?.max(*memory);
        }
        // Nobody asks meanwhile, so that the load's thread may wait for the hashing ones.
        let mut hashed = hash_on_all_cores(rounds.turn(), Memory::Reused, Priority::Low)?;
        logins.add("bare hashing and nobody else", hashed.figures());
    }
    let mut text = format!(
        "\n{CALLERS} callers refresh, read a profile and ask a bare axum route in turn, something each {PACE:?}, while so many log in \
         again and again\n"
    );
    for (what, rows) in &mut callers {
        let _ = writeln!(text, "\n{what}\n{}", report::distribution(rows));
    }
    let _ = writeln!(
        text,
        "\nlogins that were served; the others come again when they are told to\n{}\n\nresident memory, load included",
        logins.text()
    );
    for ((name, _), kib) in turns.iter().zip(memory) {
        let _ = writeln!(text, "{name:>20}  {} MiB at the most", kib / 1024);
    }
    report::print(&text);
    bare.stop().await?;
    auth.stop().await.map(drop)
}

/// What a caller asks for, one after the other.
const ASKED: [&str; 3] = [
    "POST /refresh, each rotating",
    "GET /profile",
    BareRoute::NAME,
];

/// A user who is logged in, with the newest answer to a refresh.
struct Session {
    pair: Vec<u8>,
    auth: SocketAddr,
    resource: SocketAddr,
    bare: SocketAddr,
}

/// Has the callers do what they do, each at its own moments, until the turn ends.
async fn paced(sessions: &mut Vec<Session>, turn: Turn) -> anyhow::Result<[Waits; ASKED.len()]> {
    let mut callers = JoinSet::new();
    for (number, session) in (0..).zip(sessions.drain(..)) {
        callers.spawn(live(
            session,
            Instant::now() + PACE * number / CALLERS,
            turn,
        ));
    }
    let mut all = ASKED.map(|_| Waits::of(turn));
    while let Some(ended) = callers.join_next().await {
        let (session, waited) = ended??;
        sessions.push(session);
        for (all, waited) in all.iter_mut().zip(waited) {
            all.extend(waited);
        }
    }
    Ok(all)
}

async fn live(
    mut session: Session,
    mut next: Instant,
    turn: Turn,
) -> anyhow::Result<(Session, [Waits; ASKED.len()])> {
    let mut auth = Connection::open(session.auth).await?;
    let mut resource = Connection::open(session.resource).await?;
    let mut bare = Connection::open(session.bare).await?;
    let mut waits = ASKED.map(|_| Waits::of(turn));
    for kind in (0..waits.len()).cycle() {
        if next >= turn.until {
            break;
        }
        sleep_until(next).await;
        // A wait begins when the request was due: what holds it up holds up its user.
        match kind {
            0 => {
                let request = refresh_request(&session.pair)?;
                session.pair = auth.exchange(request.as_bytes()).await?.to_vec();
            }
            1 => {
                let request = profile_request(&session.pair)?;
                resource.exchange(request.as_bytes()).await?;
            }
            _ => {
                bare.exchange(BareRoute::REQUEST.as_bytes()).await?;
            }
        }
        waits[kind].add_due(next);
        next += PACE;
    }
    Ok((session, waits))
}

/// What goes on beside the callers.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    /// What the logins are for the most part, without them: whatever it does to the callers, the machine does.
    BareHashing,
    /// So many who log in at once, again and again.
    Storm(u16),
}

impl Beside {
    /// Begins it on threads of its own.
    fn begin(self, address: SocketAddr, turn: Turn) -> Option<JoinHandle<anyhow::Result<Waits>>> {
        match self {
            Self::Nothing => None,
            Self::BareHashing => Some(thread::spawn(move || {
                hash_on_all_cores(turn, Memory::Reused, Priority::Low)
            })),
            Self::Storm(size) => Some(thread::spawn(move || storm(size, address, turn))),
        }
    }
}

/// Clients elsewhere would take none of the services' cores: these give way to all but the hashing.
fn storm(size: u16, address: SocketAddr, turn: Turn) -> anyhow::Result<Waits> {
    make_way()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for number in 0..size {
            callers.spawn(log_in(number, address, turn));
        }
        let mut all = Waits::of(turn);
        while let Some(ended) = callers.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    })
}

async fn log_in(number: u16, address: SocketAddr, turn: Turn) -> anyhow::Result<Waits> {
    let request = login_request_of(&username(number.into()));
    let mut waits = Waits::of(turn);
    let mut connection = Connection::open(address).await?;
    while Instant::now() < turn.until {
        let asked = Instant::now();
        match connection.ask_when(request.as_bytes()).await? {
            (200, _) => waits.add(asked),
            (503, Some(retry_after)) => sleep_until(turn.until.min(asked + retry_after)).await,
            (status, _) => bail!("a login is answered with {status}"),
        }
    }
    Ok(waits)
}
