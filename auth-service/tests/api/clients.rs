//! Service accounts: the commands that keep them, and the file that declares them.
//!
//! The service has threads of its own: a command that is waited for must not hold up what it waits for.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::tempdir;
use test_support::program::{Program, free_address};
use test_support::{Client, Reply, SECRET};

use crate::stack::{Stack, client_credentials};

fn auth_service(database: &str, command: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
        .with(command)
        .setting("AUTH_DATABASE_URL", database)
}

async fn token(client: &Client, id: &str, secret: &str) -> Reply {
    client_credentials(client, id, secret, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_added_gets_tokens_with_the_secret_that_was_shown() {
    let stack = Stack::start().await;
    let command = |command: &[&str]| auth_service(&stack.database(), command).run();
    let secret = command(&["client", "add", "stock", "--scope", "a b"])
        .succeeds()
        .stdout;
    assert_eq!(secret.trim_end().len(), 43, "one line with 256 random bits");
    assert_eq!(
        token(&stack.client, "stock", secret.trim_end())
            .await
            .has_status(200)
            .text_of("scope"),
        "a b"
    );
    command(&["client", "add", "stock"]).refuses(&["there is a client 'stock' already"]);
    command(&["client", "add", "a b"]).refuses(&["a client id has 1 to 64"]);
    let list = command(&["client", "list"]).succeeds().stdout;
    assert!(
        list.contains("stock  ") && list.contains("enabled") && list.contains("a b"),
        "{list}"
    );
    assert!(!list.contains(secret.trim_end()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_good_beside_the_new_one_until_the_overlap_ends() {
    let stack = Stack::start_with(|config| config.clock = shared_claims::Clock::system()).await;
    let command = |command: &[&str]| auth_service(&stack.database(), command).run();
    let one = command(&["client", "add", "stock"]).succeeds().stdout;
    let two = command(&["client", "rotate-secret", "stock"])
        .succeeds()
        .stdout;
    for secret in [&one, &two] {
        token(&stack.client, "stock", secret.trim_end())
            .await
            .has_status(200);
    }
    let three = command(&["client", "rotate-secret", "stock", "--overlap", "0s"])
        .succeeds()
        .stdout;
    for secret in [&one, &two] {
        assert_eq!(
            token(&stack.client, "stock", secret.trim_end())
                .await
                .has_status(401)
                .text_of("error"),
            "invalid_client"
        );
    }
    token(&stack.client, "stock", three.trim_end())
        .await
        .has_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_removed_client_gets_nothing() {
    let stack = Stack::start().await;
    let command = |command: &[&str]| auth_service(&stack.database(), command).run();
    let secret = command(&["client", "add", "stock"]).succeeds().stdout;
    let status = async || {
        token(&stack.client, "stock", secret.trim_end())
            .await
            .status
            .as_u16()
    };
    command(&["client", "disable", "stock"]).succeeds();
    assert_eq!(status().await, 401);
    command(&["client", "enable", "stock"]).succeeds();
    assert_eq!(status().await, 200);
    command(&["client", "remove", "stock"]).succeeds();
    assert_eq!(status().await, 401);
    for word in ["remove", "disable", "enable", "rotate-secret"] {
        command(&["client", word, "stock"]).refuses(&["there is no client 'stock'"]);
    }
}

fn start(folder: &Path, file: &str, address: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_auth-service"), folder)
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("AUTH_LISTEN", address)
        .setting("AUTH_BOOTSTRAP_FILE", file)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_declares_is_there_at_every_start() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    let file = folder.path().join("etc/bootstrap.toml");
    fs::write(
        folder.path().join("etc/orders-secret"),
        "orders-secret-of-at-least-32-characters\n",
    )
    .unwrap();
    let declare = |scope: &str, password: &str| {
        let text = format!(
            "[[users]]\nusername = \"Cosmo\"\npassword = \"{password}\"\n\n[[clients]]\nid = \"stock\"\n\
             secret_file = \"orders-secret\"\nscope = \"{scope}\"\n"
        );
        fs::write(&file, text).unwrap();
    };
    let address = free_address();
    let client = Client::new(format!("http://{address}"));
    let program = start(folder.path(), "etc/bootstrap.toml", &address);
    for (scope, password) in [
        ("a", "space-corgi"),
        ("a", "space-corgi"),
        ("b c", "another password"),
    ] {
        declare(scope, password);
        let mut running = program.start();
        running.is_ready(&client).await;
        let reply = token(&client, "stock", "orders-secret-of-at-least-32-characters")
            .await
            .has_status(200);
        assert_eq!(reply.text_of("scope"), scope);
        // A user's password is the user's own once they are there.
        client
            .post(
                "/login",
                &json!({"username": "cosmo", "password": "space-corgi"}),
            )
            .await
            .has_status(200);
        assert!(running.stop("TERM").success());
        assert!(
            !running.log().contains("orders-secret-of") && !running.log().contains("space-corgi")
        );
    }
}

#[test]
fn a_file_that_cannot_be_used_stops_the_start_and_shows_no_secret() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("bootstrap.toml");
    let refuses = |text: &str, saying: &[&str]| {
        fs::write(&file, text).unwrap();
        let ended = start(folder.path(), "bootstrap.toml", "127.0.0.1:0")
            .run()
            .refuses(saying);
        assert!(
            ended.stderr.contains("AUTH_BOOTSTRAP_FILE") && !ended.stderr.contains("hunter"),
            "{ended:?}"
        );
    };
    let client = "[[clients]]\nid = \"a\"\nsecret = \"hunter22hunter22hunter22hunter22\"\n";
    refuses(&client.repeat(2), &["the client 'a' twice"]);
    let user =
        |name| format!("[[users]]\nusername = \"{name}\"\npassword = \"hunter22hunter22\"\n");
    refuses(
        &(user("Cosmo") + &user("cosmo")),
        &["the user 'cosmo' twice"],
    );
    refuses("users = 5", &["line 1", "a sequence"]);
    for value in ["\"hunter2-hunter2\"", "hunter2", "\"a, expected hunter2\""] {
        refuses(&format!("users = {value}"), &["line 1"]);
    }
    refuses(
        "[[users]]\nusername = \"a\"\npassword = 20261127123456",
        &["line 3", "there should be a string"],
    );
    refuses(
        "[[users]]\nusername = \"a\"\npassword = \"hunter22hunter22",
        &["line 3"],
    );
    refuses(
        "[[users]]\nusername = \"a\"\npasword = \"hunter22\"",
        &["line 3", "`username`", "`password`"],
    );
    refuses(
        "[[users]]\nusername = \"a\"\npassword = \"hunter\"",
        &["'a'", "at least 8 characters"],
    );
    refuses(
        "[[users]]\nusername = \"a\"",
        &["'a'", "either password or password_file"],
    );
    refuses(
        "[[clients]]\nid = \"a\"\nsecret = \"hunter22\"",
        &["'a'", "at least 32 characters"],
    );
    refuses(
        "[[clients]]\nid = \"a b\"\nsecret = \"x\"",
        &["'a b'", "1 to 64"],
    );
    refuses(
        "[[clients]]\nid = \"a\"\nsecret_file = \"nothing\"",
        &["'a'", "nothing cannot be read"],
    );
    fs::remove_file(&file).unwrap();
    start(folder.path(), "bootstrap.toml", "127.0.0.1:0")
        .run()
        .refuses(&["AUTH_BOOTSTRAP_FILE", "cannot be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registered_under_a_name_before_a_file_declared_it_is_not_taken_for_the_one_it_means()
 {
    let folder = tempdir().unwrap();
    let file = folder.path().join("bootstrap.toml");
    let address = free_address();
    let client = Client::new(format!("http://{address}"));
    let program =
        start(folder.path(), "bootstrap.toml", &address).setting("AUTH_REGISTRATION", "open");
    fs::write(&file, "").unwrap();
    let mut running = program.start();
    running.is_ready(&client).await;
    let squatter = json!({"username": "root", "password": "the password of a stranger"});
    client.post("/register", &squatter).await.has_status(201);
    assert!(running.stop("TERM").success());
    let declared = |name| {
        format!(
            "[[users]]\nusername = \"{name}\"\npassword = \"of the operator\"\nscope = \"admin\"\n"
        )
    };
    fs::write(&file, declared("root") + &declared("laika")).unwrap();
    let mut running = program.start();
    running.is_ready(&client).await;
    let reply = client.post("/login", &squatter).await.has_status(200);
    assert_eq!(reply.text_of("scope"), "profile:read profile:write");
    let laika = json!({"username": "laika", "password": "of the operator"});
    let reply = client.post("/login", &laika).await.has_status(200);
    assert_eq!(reply.text_of("scope"), "admin");
    assert!(running.stop("TERM").success());
    let log = running.log();
    assert!(log.contains("somebody has registered"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_rotated_since_outlives_a_restart_until_the_file_says_another() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("bootstrap.toml");
    let declare = |secret: &str| {
        let text = format!("[[clients]]\nid = \"stock\"\nsecret = \"{secret}\"\n");
        fs::write(&file, text).unwrap();
    };
    let [first, second] =
        ["first", "second"].map(|name| format!("{name}-secret+of/at%least=32&characters"));
    let address = free_address();
    let client = Client::new(format!("http://{address}"));
    let program = start(folder.path(), "bootstrap.toml", &address);
    declare(&first);
    let mut running = program.start();
    running.is_ready(&client).await;
    // A secret with characters that Basic would have encoded, by a client that does not encode them.
    token(&client, "stock", &first).await.has_status(200);
    let database = format!("sqlite://{}", folder.path().join("data/auth.db").display());
    let rotated = auth_service(
        &database,
        &["client", "rotate-secret", "stock", "--overlap", "0s"],
    );
    let rotated = rotated.run().succeeds().stdout;
    for secret in [None, Some(&second)] {
        running.stop("TERM");
        if let Some(secret) = secret {
            declare(secret);
        }
        running = program.start();
        running.is_ready(&client).await;
        token(&client, "stock", &first).await.has_status(401);
        let kept = token(&client, "stock", rotated.trim_end()).await;
        assert_eq!(kept.status == 200, secret.is_none());
    }
    token(&client, "stock", &second).await.has_status(200);
}
