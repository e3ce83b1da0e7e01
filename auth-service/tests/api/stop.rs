//! How the program stops: what was asked is answered, and what was answered is on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::{TempDir, tempdir};
use test_support::program::{Program, free_address};
use test_support::{Client, SECRET};

use crate::stack::PASSWORD;

const DELAY: Duration = Duration::from_secs(1);

fn program(folder: &TempDir, address: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_auth-service"), folder.path())
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("AUTH_DATABASE_URL", "sqlite://auth.db")
        .setting("AUTH_REGISTRATION", "open")
        .setting("AUTH_LISTEN", address)
}

/// What a load balancer does: it asks whether the service is ready, and sends no request when it is not.
async fn watch(client: Client, ready: Arc<AtomicBool>) {
    while client.answers("/health/ready").await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ready.store(false, Ordering::SeqCst);
}

/// Asks and asks while the load balancer lets it, and counts what was answered.
async fn ask(client: Client, token: String, ready: Arc<AtomicBool>, answered: Arc<AtomicU32>) {
    while ready.load(Ordering::SeqCst) {
        client.get_with("/me", &token).await.has_status(200);
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_where_a_load_balancer_looks_whether_the_service_is_ready() {
    let (folder, address) = (tempdir().unwrap(), free_address());
    let client = Client::new(format!("http://{address}"));
    let mut service = program(&folder, &address)
        .setting("HTTP_STOP_DELAY", "1s")
        .start();
    service.is_ready(&client).await;
    let user = json!({"username": "cosmo", "password": PASSWORD});
    client.post("/register", &user).await.has_status(201);
    let pair = client.post("/login", &user).await.has_status(200);
    let token = pair.text_of("access_token");

    let (ready, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let watching = tokio::spawn(watch(client.clone(), Arc::clone(&ready)));
    let asking = (0..4).map(|_| {
        let client = Client::new(client.base());
        let (ready, answered) = (Arc::clone(&ready), Arc::clone(&answered));
        tokio::spawn(ask(client, token.clone(), ready, answered))
    });
    let asking: Vec<_> = asking.collect();
    while answered.load(Ordering::SeqCst) < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    service.signal("TERM");
    watching.await.unwrap();
    assert!(started.elapsed() < DELAY, "not ready at once");
    let reply = client.get("/health/ready").await.is(503, "stopping");
    assert_eq!(reply.header("retry-after"), "1");
    client.get("/health/live").await.has_status(200);
    let reply = client.get_with("/me", &token).await.has_status(200);
    assert_eq!(reply.header("connection"), "close");
    for asking in asking {
        asking.await.expect("every request was answered with 200");
    }
    assert!(service.stop("TERM").success());
    assert!(started.elapsed() >= DELAY);
    // What SQLite keeps beside the file while it is used has been brought into it.
    assert!(folder.path().join("auth.db").exists());
    for beside in ["auth.db-wal", "auth.db-shm"] {
        assert!(!folder.path().join(beside).exists(), "{beside} is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_database_that_another_program_holds_says_so() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("auth.db");
    let options = SqliteConnectOptions::new().filename(&file);
    let mut other = options.create_if_missing(true).connect().await.unwrap();
    sqlx::query("begin exclusive")
        .execute(&mut other)
        .await
        .unwrap();
    program(&folder, "127.0.0.1:0").run().refuses(&[
        "AUTH_DATABASE_URL: auth.db is held by another program",
        "stop that program",
    ]);
    other.close().await.unwrap();
}
