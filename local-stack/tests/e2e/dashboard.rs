//! The dashboard, part of which is asked of auth-service on behalf of the user, through a gate that can be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auth_client::FeedOptions;
use auth_service::config::{Bootstrap, Config as AuthConfig};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use resource_service::config::{AuthServiceConfig, Config as ResourceConfig};
use serde_json::{Value, json};
use service_shell::sqlite::DatabaseUrl;
use tempfile::TempDir;
use test_support::{Client, Server, token_config};

const SECRET: &str = "the-secret-of-resource-service-for-tests";
const SCOPE: &str = "revocations:read token:exchange";
/// The 2.5 seconds that are promised, and something for a busy machine.
const BOUND: Duration = Duration::from_secs(3);

struct Stack {
    auth: Client,
    resource: Client,
    gate: Gate,
    _servers: [Server; 3],
    _folder: TempDir,
}

impl Stack {
    async fn start() -> Self {
        Self::start_with(SCOPE).await
    }

    async fn start_with(scope: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = Bootstrap::default()
            .with_user("cosmo", &"space-corgi".into())
            .unwrap()
            .with_client("resource-service", &SECRET.into(), scope.parse().unwrap())
            .unwrap();
        let database = DatabaseUrl::file(folder.path().join("auth.db"));
        let mut auth = AuthConfig::new(database, token_config());
        auth.bootstrap = bootstrap;
        let auth = Server::start(|listener, stopped| {
            auth_service::serve(auth, listener, async {
                let _ = stopped.await;
            })
        })
        .await;
        let gate = Gate {
            to: auth.client(),
            mode: Arc::default(),
        };
        let routes = Router::new().fallback(Gate::pass).with_state(gate.clone());
        let gateway = Server::start(|listener, stopped| async {
            let stopped = async {
                let _ = stopped.await;
            };
            Ok(axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await?)
        })
        .await;
        let database = DatabaseUrl::file(folder.path().join("resource.db"));
        let resource = ResourceConfig {
            auth_service: Some(AuthServiceConfig {
                auth_url: format!("http://{}", gateway.address()).parse().unwrap(),
                client_id: "resource-service".to_owned(),
                client_secret: SECRET.into(),
                issuer: Some("http://127.0.0.1:8001".to_owned()),
                feed: FeedOptions::new("dashboard"),
            }),
            ..ResourceConfig::new(database, token_config())
        };
        let resource = Server::start(|listener, stopped| {
            resource_service::serve(resource, listener, async {
                let _ = stopped.await;
            })
        })
        .await;
        let clients = (auth.client(), resource.client());
        clients.1.becomes_ready().await;
        Self {
            auth: clients.0,
            resource: clients.1,
            gate,
            _servers: [auth, gateway, resource],
            _folder: folder,
        }
    }

    async fn log_in(&self) -> String {
        let reply = self
            .auth
            .post(
                "/login",
                &json!({"username": "cosmo", "password": "space-corgi"}),
            )
            .await;
        reply.has_status(200).text_of("access_token")
    }

    /// A dashboard, which is always 200 and never late.
    async fn dashboard(&self, token: &str) -> Value {
        let started = Instant::now();
        let reply = self
            .resource
            .get_with("/dashboard", token)
            .await
            .has_status(200);
        assert!(started.elapsed() < BOUND, "it took {:?}", started.elapsed());
        reply.json()
    }
}

impl Stack {
    /// Waits until the dashboard has its account again, which nobody has to do anything for.
    async fn recovers(&self, token: &str) {
        let started = Instant::now();
        while self.dashboard(token).await["account"].is_null() {
            assert!(
                started.elapsed() < Duration::from_secs(15),
                "it did not recover"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What stands between resource-service and auth-service.
#[derive(Clone)]
struct Gate {
    to: Client,
    mode: Arc<AtomicU8>,
}

const OPEN: u8 = 0;
const SLOW: u8 = 1;
const BROKEN: u8 = 2;

impl Gate {
    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    async fn pass(State(gate): State<Self>, request: Request) -> Response {
        match gate.mode.load(Ordering::SeqCst) {
            SLOW => tokio::time::sleep(Duration::from_secs(10)).await,
            BROKEN => return reqwest::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => {}
        }
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let request = gate
            .to
            .request(&parts.method, parts.uri.path())
            .headers(parts.headers)
            .body(body);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, Body::from_stream(answer.bytes_stream())).into_response()
    }
}

#[tokio::test]
async fn a_dashboard_shows_the_users_own_account() {
    let stack = Stack::start().await;
    stack.log_in().await;
    let token = stack.log_in().await;
    let me = stack
        .auth
        .get_with("/me", &token)
        .await
        .has_status(200)
        .json();
    let dashboard = stack.dashboard(&token).await;
    assert_eq!(dashboard["missing"], json!([]));
    assert_eq!(dashboard["account"]["live_sessions"], 2);
    for figure in ["created_at", "last_login_at"] {
        assert_eq!(dashboard["account"][figure], me[figure]);
    }
}

#[tokio::test]
async fn with_auth_service_slow_or_broken_the_dashboard_says_what_is_missing_and_recovers_by_itself()
 {
    let stack = Stack::start().await;
    for (mode, reason) in [
        (SLOW, "auth-service does not answer"),
        (BROKEN, "auth-service answers with an error"),
    ] {
        let token = stack.log_in().await;
        stack.gate.set(mode);
        for _ in 0..3 {
            let dashboard = stack.dashboard(&token).await;
            assert_eq!(dashboard["account"], json!(null));
            assert_eq!(dashboard["missing"][0]["part"], "account");
            let said = dashboard["missing"][0]["reason"].as_str().unwrap();
            assert!(said.starts_with("auth-service"), "{said}");
            assert!(
                said == reason || said.starts_with("auth-service does not answer"),
                "{said}"
            );
        }
        stack.gate.set(OPEN);
        stack.recovers(&token).await;
    }
}

#[tokio::test]
async fn a_run_of_dashboard_calls_goes_on_whatever_happens_to_auth_service() {
    let stack = Stack::start().await;
    let token = stack.log_in().await;
    let (made, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let calls = async {
        while !is_over.load(Ordering::SeqCst) {
            stack.dashboard(&token).await;
            made.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let trouble = async {
        for mode in [BROKEN, OPEN, SLOW, OPEN, BROKEN, OPEN] {
            stack.gate.set(mode);
            // The first may have begun in the mode before. One that is slow takes as long as a dashboard may.
            let whole = if mode == SLOW { 1 } else { 10 };
            let until = made.load(Ordering::SeqCst) + 1 + whole;
            while made.load(Ordering::SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(calls, trouble);
    stack.recovers(&token).await;
}

#[tokio::test]
async fn a_service_that_may_not_ask_is_told_apart_from_one_that_is_not_answered() {
    let stack = Stack::start_with("revocations:read").await;
    let token = stack.log_in().await;
    let dashboard = stack.dashboard(&token).await;
    assert_eq!(
        dashboard["missing"][0]["reason"],
        "auth-service does not let this service ask"
    );
}
