//! What the local stack keeps, and for whom.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tempfile::tempdir;
use test_support::program::{Program, free_address};
use test_support::{Client, Reply};

use crate::stack::Stack;

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn local_stack(folder: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_local-stack"), folder)
        .setting("AUTH_LISTEN", free_address())
        .setting("RESOURCE_LISTEN", free_address())
}

#[tokio::test]
async fn the_folder_and_all_in_it_are_for_their_user_alone() {
    let mut stack = Stack::start_local_with(&[]).await;
    let data = stack.local().folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    let mut files: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let names: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name()?.to_str())
        .collect();
    for name in ["auth.db", "jwt-secret", "resource.db"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn two_stacks_have_different_secrets() {
    let (one, other) = (Stack::start().await, Stack::start().await);
    let (access, _) = one.pair().await;
    other
        .resource
        .get_with("/profile", &access)
        .await
        .is(401, "invalid_token");
}

#[tokio::test]
async fn another_data_dir_and_settings_of_ones_own_are_taken() {
    let folder = tempdir().unwrap();
    let auth = free_address();
    let program = local_stack(folder.path())
        .with(&[
            "--data-dir",
            "elsewhere/deep",
            "--auth-registration",
            "closed",
        ])
        .setting("AUTH_LISTEN", &auth)
        .setting(
            "AUTH_DATABASE_URL",
            format!("sqlite://{}/own.db", folder.path().display()),
        );
    let client = Client::new(format!("http://{auth}"));
    let mut running = program.start();
    running.is_ready(&client).await;
    assert!(folder.path().join("elsewhere/deep/jwt-secret").exists());
    assert!(
        folder.path().join("own.db").exists()
            && !folder.path().join("elsewhere/deep/auth.db").exists()
    );
    client
        .post("/register", &serde_json::json!({}))
        .await
        .is(403, "registration_closed");
}

#[tokio::test]
async fn an_account_of_ones_own_and_what_a_file_declares_are_taken_as_they_are() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("bootstrap.toml");
    let declared = "[[users]]\nusername = \"cosmo\"\npassword = \"another corgi\"\nscope = \"profile:read admin\"\n";
    fs::write(&file, declared).unwrap();
    let [auth, resource] = [free_address(), free_address()];
    let program = Program::new(env!("CARGO_BIN_EXE_local-stack"), folder.path())
        .setting("AUTH_LISTEN", &auth)
        .setting("RESOURCE_LISTEN", &resource)
        .setting("AUTH_BOOTSTRAP_FILE", "bootstrap.toml")
        .setting("RESOURCE_CLIENT_ID", "stock")
        .setting(
            "RESOURCE_CLIENT_SECRET",
            "the-secret-of-stock-of-32-characters",
        )
        .setting("CORS_ALLOWED_ORIGINS", "https://app.example.com");
    // Any number of times.
    for _ in 0..2 {
        let mut running = program.start();
        running
            .is_ready(&Client::new(format!("http://{resource}")))
            .await;
        let auth = Client::new(format!("http://{auth}"));
        let cosmo = json!({"username": "cosmo", "password": "another corgi", "delivery": "cookie"});
        let origin = ("origin", "https://app.example.com");
        let login = auth
            .request(&Method::POST, "/login")
            .header(origin.0, origin.1);
        let reply = Reply::to(login.json(&cosmo)).await.has_status(200);
        assert_eq!(reply.text_of("scope"), "admin profile:read");
        let cookie = reply.header("set-cookie");
        assert!(cookie.contains("; Secure"), "{cookie}");
        assert!(running.stop("TERM").success());
        let log = running.log();
        assert!(!log.contains("invalid_client"), "{log}");
    }
}

#[tokio::test]
async fn an_ephemeral_stack_leaves_nothing() {
    let (folder, temporary) = (tempdir().unwrap(), tempdir().unwrap());
    let auth = free_address();
    let program = local_stack(folder.path())
        .with(&["--ephemeral"])
        .setting("AUTH_LISTEN", &auth)
        .setting("TMPDIR", temporary.path().display().to_string());
    let mut running = program.start();
    running
        .is_ready(&Client::new(format!("http://{auth}")))
        .await;
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    assert!(running.stop("TERM").success());
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn what_cannot_start_says_why_and_nothing_else() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/auth.db"), "no database").unwrap();
    let program = local_stack(folder.path()).setting("RUST_LOG", "off");
    let ended = program.run();
    assert_eq!(ended.stdout, "");
    ended.refuses(&["AUTH_DATABASE_URL", "is no SQLite database"]);
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let folder = tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = local_stack(folder.path())
        .setting("LOG_FORMAT", "json")
        .setting("RESOURCE_LISTEN", &address)
        .run();
    ended.refuses(&["RESOURCE_LISTEN", &address, "already in use"]);
}

#[test]
fn settings_that_cannot_be_used_stop_the_stack_with_one_line() {
    let folder = tempdir().unwrap();
    local_stack(folder.path())
        .setting("JWT_SECRET_KEY", "super-secret")
        .run()
        .refuses(&["JWT_SECRET_KEY", "at least 32"]);
    local_stack(folder.path())
        .setting(
            "RESOURCE_CLIENT_SECRET",
            "a-secret-without-an-id-of-32-characters",
        )
        .run()
        .refuses(&["RESOURCE_CLIENT_ID", "is not set"]);
    local_stack(folder.path())
        .with(&["--ephemeral", "--data-dir", "x"])
        .run()
        .refuses(&["--ephemeral", "--data-dir"]);
    fs::write(folder.path().join("file"), "").unwrap();
    local_stack(folder.path())
        .with(&["--data-dir", "file"])
        .run()
        .refuses(&["--data-dir", "file"]);
}
