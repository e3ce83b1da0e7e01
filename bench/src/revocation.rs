//! How long after a logout every service refuses the session's access token, and what it costs a service to know of many
//! ended sessions.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use shared_claims::wire::TokenPair;
use shared_claims::{Clock, NumericDate, RevokedSessions, SessionId};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::Instant;

use crate::auth::{AuthService, DEFAULT_GRACE, USERNAME};
use crate::bare::BareRoute;
use crate::load::Connection;
use crate::report;
use crate::server::resident_kib;

/// A refusal that takes this long never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ended sessions whose tokens might still be good.
const MANY: u32 = 100_000;

/// Logs out so often, with so many services listening, and prints how the waits are distributed.
pub(crate) async fn run(logouts: u16, services: u16) -> anyhow::Result<()> {
    let mut auth = AuthService::start(DEFAULT_GRACE).await?;
    let mut tokens = Vec::new();
    for _ in 0..logouts {
        let pair: TokenPair = serde_json::from_slice(&auth.log_in_pair(USERNAME).await?)?;
        tokens.push(pair.access_token);
    }
    let mut addresses = Vec::new();
    for number in 0..services {
        addresses.push(auth.start_resource_service(number).await?);
    }
    let mut connections = Vec::new();
    for address in addresses {
        connections.push(Connection::open(address).await?);
    }
    let mut issuer = Connection::open(auth.address()).await?;
    let bare = BareRoute::start()?;
    let mut bare_route = Connection::open(bare.address).await?;
    let [mut bare_answer, mut floor, mut logout, mut until_refused] = [(); 4].map(|()| Vec::new());
    for token in tokens {
        let request = |method: &str, path: &str| {
            format!(
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
                token.expose()
            )
        };
        let asked = Instant::now();
        bare_route.exchange(BareRoute::REQUEST.as_bytes()).await?;
        bare_answer.push(asked.elapsed());
        let profile = request("GET", "/profile");
        for connection in &mut connections {
            let asked = Instant::now();
            let (status, _) = connection.ask(profile.as_bytes()).await?;
            ensure!(status == 200, "a good token is answered with {status}");
            floor.push(asked.elapsed());
        }
        let asked = Instant::now();
        let (status, _) = issuer.ask(request("POST", "/logout").as_bytes()).await?;
        ensure!(status == 204, "a logout is answered with {status}");
        logout.push(asked.elapsed());
        let answered = Instant::now();
        for connection in &mut connections {
            while connection.ask(profile.as_bytes()).await?.0 == 200 {
                ensure!(answered.elapsed() < PATIENCE, "a service never refused");
            }
        }
        until_refused.push(answered.elapsed());
    }
    report::print(&format!(
        "\n{logouts} logouts, one after the other, with {services} resource-services subscribed\n{}",
        report::distribution(&mut [
            (BareRoute::NAME, bare_answer),
            ("one GET /profile, the least that can be noticed", floor),
            ("POST /logout, to its 204", logout),
            ("from the 204 to the last service's refusal", until_refused),
        ])
    ));
    bare.stop().await?;
    know_many(&mut auth).await?;
    auth.stop().await.map(drop)
}

async fn know_many(auth: &mut AuthService) -> anyhow::Result<()> {
    let before = resident_kib()?;
    let set = RevokedSessions::new();
    let ids: Vec<_> = (0..MANY).map(|_| SessionId::generate()).collect();
    let ids_kib = resident_kib()? - before;
    for id in &ids {
        set.insert(id.clone(), NumericDate(i64::MAX));
    }
    let set_kib = resident_kib()? - before - ids_kib;
    let others: Vec<_> = (0..MANY).map(|_| SessionId::generate()).collect();
    // Each id once, so that what the last lookup left in the processor's caches is of no use to the next.
    let [ended, going_on] = [&ids, &others].map(|ids| {
        let started = Instant::now();
        let found = ids.iter().filter(|id| set.contains(id)).count();
        (found, started.elapsed() / MANY)
    });
    ensure!(
        (ended.0, going_on.0) == (ids.len(), 0),
        "the set is not what was put into it"
    );

    let url = SqliteConnectOptions::new().filename(auth.database());
    let mut connection = SqliteConnection::connect_with(&url).await?;
    fill(&mut connection, &ids).await?;
    let started = Instant::now();
    let address: SocketAddr = auth.start_resource_service(u16::MAX).await?;
    let caught_up = started.elapsed();
    let mut resource = Connection::open(address).await?;
    let (status, _) = resource
        .ask(b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await?;
    ensure!(status == 200, "the service is not ready");
    report::print(&format!(
        "\n{MANY} ended sessions: {set_kib} KiB in a service's memory; a lookup of a session that goes on takes {} ns, of one that \
         has ended {} ns; a new service has caught up after {} ms",
        going_on.1.as_nanos(),
        ended.1.as_nanos(),
        caught_up.as_millis()
    ));
    Ok(())
}

/// Rows as auth-service writes them, all in one transaction.
async fn fill(connection: &mut SqliteConnection, ids: &[SessionId]) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let first = now.as_microsecond() + 1_000_000;
    let mut transaction = connection.begin_with("begin immediate").await?;
    for (seq, id) in (first..).zip(ids) {
        sqlx::query(
            "insert into revocations (seq, session_id, reason, revoked_at, forget_after)
             values ($1, $2, 'logout', $3, $4)",
        )
        .bind(seq)
        .bind(id.as_str())
        .bind(now.as_millisecond())
        .bind(now.as_second() + 900)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}
