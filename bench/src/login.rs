//! Logins beside the bare hashing of their passwords, which is what a login is for the most part and is meant to be.

use std::thread;

use anyhow::anyhow;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::time::Instant;

use crate::auth::{AuthService, DEFAULT_GRACE, cores, login_request};
use crate::bare::BareRoute;
use crate::load::{Repeating, drive};
use crate::report::{self, Table};
use crate::rounds::{Rounds, Turn, Waits};

/// Where a hash has its 19 MiB from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory {
    Reused,
    Allocated,
}

/// What else may have the core first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Priority {
    Normal,
    /// As auth-service hashes: everything else does.
    Low,
}

pub(crate) async fn run(rounds: &Rounds) -> anyhow::Result<()> {
    let service = AuthService::start(DEFAULT_GRACE).await?;
    let callers = vec![Repeating::new(&login_request()); 2 * cores()];
    let bare = BareRoute::start()?;
    let mut table = Table::new("per second", ["p50 ms", "p99 ms"]);
    for _ in rounds.each() {
        for (name, memory) in [
            ("argon2id, memory reused", Memory::Reused),
            ("argon2id, memory allocated", Memory::Allocated),
        ] {
            // Nobody logs in meanwhile, so that the load generator's thread may wait for the hashing ones.
            let mut hashing = hash_on_all_cores(rounds.turn(), memory, Priority::Normal)?;
            table.add(name, hashing.figures());
        }
        let (_, mut waits) = drive(service.address(), callers.clone(), rounds.turn()).await?;
        table.add("POST /login", waits.figures());
        let mut waits = bare.drive(callers.len(), rounds.turn()).await?;
        table.add(BareRoute::NAME, waits.figures());
    }
    report::print(&format!(
        "\nargon2id with 19 MiB, 2 passes and 1 lane on {} threads; {} callers log in\n{}",
        cores(),
        callers.len(),
        table.text()
    ));
    bare.stop().await?;
    service.stop().await.map(drop)
}

pub(crate) fn hash_on_all_cores(
    turn: Turn,
    memory: Memory,
    priority: Priority,
) -> anyhow::Result<Waits> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores())
            .map(|_| scope.spawn(move || hash(turn, memory, priority)))
            .collect();
        let mut waits = Waits::of(turn);
        for thread in threads {
            waits.extend(
                thread
                    .join()
                    .map_err(|_| anyhow!("a hashing thread panicked"))??,
            );
        }
        Ok(waits)
    })
}

/// Gives this thread the priority that auth-service gives to hashing.
pub(crate) fn make_way() -> anyhow::Result<()> {
    Ok(setpriority_process(Some(gettid()), 10)?)
}

/// One hash after the other, with the parameters of auth-service.
fn hash(turn: Turn, memory: Memory, priority: Priority) -> anyhow::Result<Waits> {
    if let Priority::Low = priority {
        make_way()?;
    }
    let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(|error| anyhow!("{error}"))?;
    let mut kept = Vec::new();
    if let Memory::Reused = memory {
        // Allocations above 32 MiB are really given back when they are freed: what this process has in memory is to be told later.
        kept.reserve_exact(33 * 1024);
        kept.resize(params.block_count(), Block::default());
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (password, salt, mut output) = (b"space-corgi", b"sixteen bytes of", [0; 32]);
    let mut waits = Waits::of(turn);
    loop {
        let begun = Instant::now();
        if begun >= turn.until {
            return Ok(waits);
        }
        match memory {
            Memory::Reused => {
                argon2.hash_password_into_with_memory(password, salt, &mut output, &mut kept)
            }
            Memory::Allocated => argon2.hash_password_into(password, salt, &mut output),
        }
        .map_err(|error| anyhow!("{error}"))?;
        waits.add(begun);
    }
}
