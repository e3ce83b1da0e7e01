//! What a small route costs: bare, protected, with all that surrounds a route of the services, and with both, which is
//! the way of a request to a protected route short of its database; and a route of resource-service, whose way it is as a whole.
//!
//! Client and server share the machine. By default one thread asks and one serves, so that on two cores each has one; the
//! column `busy` says whether the server's was the slower of the two. Where it is near 100 %, the ratios are those of the
//! servers. Where it is well below, be it that the asking thread could do no more, that there are more server threads than
//! cores left, or that another program wanted the machine, they are nearer to 1 than they should be. The second table
//! divides by the processor time of the servers' threads alone, their database's included, wherever the rest went. Both count the kernel's work for
//! the connection as part of the route, as no server can do without it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use service_shell::limits::Limits;
use service_shell::serve::Shell;
use shared_claims::{
    AccessClaims, Caller, Clock, NumericDate, PairAlgorithm, Parties, PrivateKey, RevokedSessions,
    SessionId, SharedSecret, Signer, SigningKey, Subject, TokenId, Verifier, VerifyingKey,
    VerifyingKeys,
};
use tokio::net::TcpListener;

use crate::auth::{AuthService, DEFAULT_GRACE, USERNAME, profile_request};
use crate::bare::{self, Item};
use crate::load::{Repeating, drive};
use crate::report::{self, Figures, Table};
use crate::rounds::Rounds;
use crate::server::{Servers, Stop};
use crate::usual;

pub(crate) const SECRET: &str = "a-secret-for-benchmarks-of-at-least-32-bytes";
pub(crate) const ISSUER: &str = "http://127.0.0.1:8001";
pub(crate) const AUDIENCE: &str = "tokenpair";

shared_claims::scopes! { ProfileRead = "profile:read" }

async fn protected(_: Caller<ProfileRead>) -> Json<Item> {
    Item::json()
}

pub(crate) async fn run(
    rounds: &Rounds,
    connections: usize,
    server_threads: usize,
) -> anyhow::Result<()> {
    let mut servers = Servers::on_threads(server_threads)?;
    let mut addresses: Vec<(&'static str, SocketAddr, String)> = Vec::new();
    for Variant {
        name,
        routes,
        by,
        request,
    } in variants()?
    {
        let address = servers.start(|listener, stop| serve(routes, by, listener, stop))?;
        addresses.push((name, address, request));
    }
    let mut auth = AuthService::start(DEFAULT_GRACE).await?;
    let resource = auth.start_resource_service(0).await?;
    let profile = profile_request(&auth.log_in_pair(USERNAME).await?)?;
    addresses.push(("GET /profile of resource-service", resource, profile));
    let mut by_time = Table::new("requests/s", ["p50 ms", "p99 ms", "busy %"]);
    let mut by_processor_time = Table::new("per CPU s", ["CPU µs"]);
    for _ in rounds.each() {
        for (name, address, request) in &addresses {
            let turn = rounds.turn();
            let callers = vec![Repeating::new(request); connections];
            let ((_, mut waits), processor_seconds) = tokio::try_join!(
                drive(*address, callers, turn),
                servers.processor_seconds(turn)
            )?;
            let Figures {
                per_second,
                further: [p50, p99],
            } = waits.figures();
            by_time.add(
                name,
                Figures {
                    per_second,
                    further: [p50, p99, 100.0 * processor_seconds / turn.seconds()],
                },
            );
            by_processor_time.add(
                name,
                Figures {
                    per_second: waits.count() / processor_seconds,
                    further: [1e6 * processor_seconds / waits.count()],
                },
            );
        }
    }
    report::print(&format!(
        "\nconnections: {connections}, server threads: {server_threads}\n{}\n\n\
         by the processor time of the server's threads\n{}",
        by_time.text(),
        by_processor_time.text(),
    ));
    auth.stop().await?;
    servers.stop().await
}

/// A route, and the request that it is asked with: one with a token, whether it looks at it or not.
struct Variant {
    name: &'static str,
    routes: Router,
    by: By,
    request: String,
}

/// What brings a variant's connections and its routes together.
#[derive(Clone, Copy, Debug)]
enum By {
    /// `axum::serve`.
    Axum,
    /// What serves the services, with all that surrounds their routes.
    Shell,
}

async fn serve(routes: Router, by: By, listener: TcpListener, stop: Stop) -> anyhow::Result<()> {
    match by {
        By::Axum => bare::serve(routes, listener, stop).await?,
        By::Shell => {
            let shell = Shell::new("bench", Limits::default());
            let routes = shell.around(routes, None);
            shell.serve((routes, listener), None, stop).await;
        }
    }
    Ok(())
}

fn variants() -> anyhow::Result<Vec<Variant>> {
    let open = bare::routes;
    let closed = || Router::new().route("/item", get(protected));
    let secret = SharedSecret::parse(SECRET)?;
    let secret = (secret.signing_key(), secret.verifying_key());
    let usual = request(secret.0.clone())?;
    let mut variants = vec![Variant {
        name: "bare route",
        routes: open(),
        by: By::Axum,
        request: usual.clone(),
    }];
    for (name, (signing, verifying)) in [
        ("protected, HS256", secret.clone()),
        ("protected, EdDSA", pair(PairAlgorithm::Ed25519)?),
        ("protected, ES256", pair(PairAlgorithm::Es256)?),
    ] {
        variants.push(Variant {
            name,
            routes: closed().with_state(verifier(verifying)),
            by: By::Axum,
            request: request(signing)?,
        });
    }
    let protected = closed().with_state(verifier(secret.1));
    for (name, routes, by) in [
        ("in the shell", open(), By::Shell),
        ("in the shell and protected", protected, By::Shell),
        ("the usual way", usual::routes(), By::Axum),
    ] {
        variants.push(Variant {
            name,
            routes,
            by,
            request: usual.clone(),
        });
    }
    Ok(variants)
}

fn pair(algorithm: PairAlgorithm) -> anyhow::Result<(SigningKey, VerifyingKey)> {
    let key = PrivateKey::parse(&PrivateKey::generate(algorithm))?;
    Ok((key.signing_key(), key.public_key().verifying_key()))
}

fn request(key: SigningKey) -> anyhow::Result<String> {
    let now = NumericDate::from(Clock::system().now());
    let claims = AccessClaims {
        subject: Subject::generate(),
        audience: Vec::new(),
        preferred_username: Some("cosmo".to_owned()),
        client_id: None,
        actor: None,
        fresh: true,
        auth_time: Some(now),
        session: Some(SessionId::generate()),
        scope: "profile:read profile:write".parse()?,
        id: Some(TokenId::generate()),
        issued_at: Some(now),
        expires_at: now.after(Duration::from_hours(24)),
    };
    let token = Signer::new(key, Parties::new(ISSUER, AUDIENCE)).access(&claims);
    Ok(format!(
        "GET /item HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nAuthorization: Bearer {}\r\n\r\n",
        token.expose()
    ))
}

/// As a resource server has it after a busy quarter of an hour: some sessions are revoked.
fn verifier(key: VerifyingKey) -> Verifier {
    let revoked = RevokedSessions::new();
    for _ in 0..1000 {
        revoked.insert(SessionId::generate(), NumericDate(i64::MAX));
    }
    let parties = Parties::new(ISSUER, AUDIENCE);
    Verifier::new(VerifyingKeys::new([key]), parties).with_revoked(revoked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Connection;

    #[tokio::test]
    async fn every_variant_answers_the_same_and_the_protected_ones_to_nobody_else() {
        let mut servers = Servers::on_threads(1).unwrap();
        for variant in variants().unwrap() {
            let name = variant.name;
            let forged = variant.request.replace("Bearer ", "Bearer e");
            let address = servers
                .start(|listener, stop| serve(variant.routes, variant.by, listener, stop))
                .unwrap();
            let mut connection = Connection::open(address).await.unwrap();
            let body = connection
                .exchange(variant.request.as_bytes())
                .await
                .unwrap();
            assert_eq!(body, br#"{"id":4711,"name":"cosmo"}"#, "{name}");
            let refused = connection.exchange(forged.as_bytes()).await.is_err();
            assert_eq!(refused, !["bare route", "in the shell"].contains(&name));
        }
        servers.stop().await.unwrap();
    }
}
