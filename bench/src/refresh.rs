//! Refreshes that rotate, beside the one statement that each of them has to bring to the disk, and the storm of
//! refreshes with one token, which is answered by reading alone.
//!
//! The databases are in the system's temporary folder (`TMPDIR`): where that is not on a disk, a commit costs nothing and
//! the figures say little.

use std::time::Duration;

use anyhow::ensure;
use shared_claims::{Clock, SessionId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::auth::{AuthService, DEFAULT_GRACE, USERNAME, refresh_request};
use crate::bare::BareRoute;
use crate::load::{Caller, Repeating, drive};
use crate::report::{self, Table};
use crate::rounds::{Rounds, Turn, Waits};

/// Refreshes a session, each time with the token that it was given last.
#[derive(Debug)]
pub(crate) struct Rotating {
    request: String,
}

impl Rotating {
    /// The session that a pair of tokens is of.
    pub(crate) fn new(pair: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            request: refresh_request(pair)?,
        })
    }
}

impl Caller for Rotating {
    fn request(&self) -> &[u8] {
        self.request.as_bytes()
    }

    fn take(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let request = refresh_request(body)?;
        ensure!(request != self.request, "the refresh token did not rotate");
        self.request = request;
        Ok(())
    }
}

pub(crate) async fn run(rounds: &Rounds, callers: usize) -> anyhow::Result<()> {
    let mut rows = Rows::create(callers).await?;
    let strict = AuthService::start(Duration::ZERO).await?;
    let graceful = AuthService::start(DEFAULT_GRACE).await?;
    let mut rotating = Vec::with_capacity(callers);
    for _ in 0..callers {
        rotating.push(Rotating::new(&strict.log_in_pair(USERNAME).await?)?);
    }

    let bare = BareRoute::start()?;
    let mut table = Table::new("per second", ["p50 ms", "p99 ms"]);
    for _ in rounds.each() {
        table.add(
            "update, one per transaction",
            rows.rotate(rounds.turn()).await?.figures(),
        );

        let (rotated, mut waits) = drive(strict.address(), rotating, rounds.turn()).await?;
        table.add("POST /refresh, rotating", waits.figures());
        rotating = rotated;

        // The session is new: its first refresh rotates, in the time that does not count, and all the others are within
        // the grace of that one.
        let storm = vec![Repeating::new(&graceful.log_in().await?); callers];
        let (_, mut waits) = drive(graceful.address(), storm, rounds.turn()).await?;
        table.add("POST /refresh, the same token", waits.figures());

        let mut waits = bare.drive(callers, rounds.turn()).await?;
        table.add(BareRoute::NAME, waits.figures());
    }
    report::print(&format!(
        "\n{callers} callers; SQLite with synchronous=FULL and WAL\n{}",
        table.text()
    ));
    bare.stop().await?;
    rows.connection.close().await?;
    strict.stop().await?;
    graceful.stop().await.map(drop)
}

/// The rows of some sessions, and a connection to them that nobody else uses.
struct Rows {
    connection: SqliteConnection,
    sessions: Vec<SessionId>,
    generation: i64,
    _folder: TempDir,
}

impl Rows {
    async fn create(count: usize) -> anyhow::Result<Self> {
        // The service makes the tables and the user, and leaves.
        let service = AuthService::start(DEFAULT_GRACE).await?;
        let file = service.database();
        let folder = service.stop().await?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let sessions: Vec<SessionId> = (0..count).map(|_| SessionId::generate()).collect();
        for session in &sessions {
            sqlx::query(
                "insert into sessions (id, user_id, generation, secret, created_at, last_used_at, expires_at, user_agent, ip)
                 select $1, id, 0, hex(randomblob(32)), $2, $2, $2 + 3600000, null, '127.0.0.1' from users",
            )
            .bind(session.as_str())
            .bind(Clock::system().now().as_millisecond())
            .execute(&mut connection)
            .await?;
        }
        Ok(Self {
            connection,
            sessions,
            generation: 0,
            _folder: folder,
        })
    }

    /// Moves the sessions on, one after the other, until the turn ends.
    async fn rotate(&mut self, turn: Turn) -> anyhow::Result<Waits> {
        let mut waits = Waits::of(turn);
        while Instant::now() < turn.until {
            self.generation += 1;
            for session in &self.sessions {
                let begun = Instant::now();
                let mut transaction = self.connection.begin_with("begin immediate").await?;
                let updated = sqlx::query(
                    "update sessions set generation = $2, rotated_at = $3, last_used_at = $3, expires_at = $4
                      where id = $1 and generation = $2 - 1 and revoked_at is null",
                )
                .bind(session.as_str())
                .bind(self.generation)
                .bind(Clock::system().now().as_millisecond())
                .bind(Clock::system().now().as_millisecond() + 3_600_000)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                waits.add(begun);
                ensure!(
                    updated.rows_affected() == 1,
                    "the guarded update found no row"
                );
            }
        }
        Ok(waits)
    }
}
