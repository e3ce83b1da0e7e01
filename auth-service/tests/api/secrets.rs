//! Changing the secret under a service that runs: by hand, and by `auth-service secret rotate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::{TempDir, tempdir};
use test_support::Client;
use test_support::program::{Ended, Program, Running, free_address};

use crate::stack::{PASSWORD, client_credentials, header};

const FIRST: &str = "the-first-secret-of-at-least-32-bytes";
const SECOND: &str = "the-second-secret-of-at-least-32-bytes";
const VERIFIER: &str = "the-secret-of-orders-of-32-characters";
const PATIENCE: Duration = Duration::from_secs(20);

/// The real program with its secrets in files.
struct Service {
    folder: TempDir,
    client: Client,
    program: Program,
    running: Running,
}

impl Service {
    async fn start() -> Self {
        let folder = tempdir().unwrap();
        let bootstrap = format!(
            "[[users]]\nusername = \"cosmo\"\npassword = \"{PASSWORD}\"\n\n\
             [[clients]]\nid = \"orders\"\nsecret = \"{VERIFIER}\"\nscope = \"revocations:read\"\n"
        );
        for (name, text) in [
            ("current", FIRST),
            ("previous", ""),
            ("private", ""),
            ("previous-private", ""),
            ("bootstrap", &bootstrap),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        for name in ["private", "previous-private"] {
            let private = fs::Permissions::from_mode(0o640);
            fs::set_permissions(folder.path().join(name), private).unwrap();
        }
        let address = free_address();
        let program = Program::new(env!("CARGO_BIN_EXE_auth-service"), folder.path())
            .setting("JWT_SECRET_KEY_FILE", "current")
            .setting("JWT_PREVIOUS_SECRET_KEYS_FILE", "previous")
            .setting("JWT_PRIVATE_KEY_FILE", "private")
            .setting("JWT_PREVIOUS_PRIVATE_KEYS_FILE", "previous-private")
            .setting("AUTH_BOOTSTRAP_FILE", "bootstrap")
            .setting("AUTH_LISTEN", &address);
        let client = Client::new(format!("http://{address}"));
        let mut running = program.start();
        running.is_ready(&client).await;
        Self {
            folder,
            client,
            program,
            running,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    async fn command(&self, command: &[&str]) -> Ended {
        let program = self.program.clone().with(command);
        tokio::task::spawn_blocking(move || program.run())
            .await
            .unwrap()
    }

    async fn log_in(&self) -> String {
        let body = json!({"username": "cosmo", "password": PASSWORD});
        let reply = self.client.post("/login", &body).await;
        reply.has_status(200).text_of("access_token")
    }

    async fn takes(&self, token: &str) -> bool {
        self.client.get_with("/me", token).await.status == 200
    }

    /// Waits until tokens are signed with another key than this one.
    async fn signs_with_another_than(&self, kid: &str) -> String {
        let started = Instant::now();
        loop {
            let token = self.log_in().await;
            if kid_of(&token) != kid {
                return token;
            }
            assert!(started.elapsed() < PATIENCE, "{}", self.running.log());
        }
    }

    async fn log_says(&self, text: &str) {
        let started = Instant::now();
        while !self.running.log().contains(text) {
            assert!(
                started.elapsed() < PATIENCE,
                "no {text:?} in {}",
                self.running.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What a verifier tells of the keys that it holds.
    async fn verifier_holds(&self, kids: &[&str]) {
        let token = client_credentials(&self.client, "orders", VERIFIER, &[]).await;
        let token = token.has_status(200).text_of("access_token");
        let report = json!({"name": "orders@one", "kids": kids});
        let path = "/revocations/subscribers/one";
        let told = self.client.put_with(path, &token, &report).await;
        told.has_status(204);
    }

    async fn database(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(self.file("data/auth.db"));
        SqlitePool::connect_with(options).await.unwrap()
    }

    /// Lets so much time go by since the keys on their way out have signed.
    async fn last_signed_ago(&self, time: Duration) {
        let pool = self.database().await;
        let millis = i64::try_from(time.as_millis()).unwrap();
        for change in [
            "update key_rotation set since = since - $1",
            "update token_lifetimes set earlier_until = earlier_until - $1 / 1000",
        ] {
            let query = sqlx::query(change).bind(millis);
            query.execute(&pool).await.unwrap();
        }
        pool.close().await;
    }

    async fn published(&self) -> Vec<serde_json::Value> {
        let reply = self.client.get("/.well-known/jwks.json").await;
        let reply = reply.has_status(200);
        assert_eq!(reply.header("cache-control"), "public, max-age=300");
        reply.json()["keys"].as_array().unwrap().clone()
    }

    /// The ids of the keys by what is being done with them, as `secret status` tells.
    async fn status(&self) -> Vec<(String, String)> {
        let status = self.command(&["secret", "status"]).await.succeeds().stdout;
        let keys = status.lines().filter(|line| !line.starts_with("holder"));
        let word = |line: &str| match line {
            line if line.starts_with("signs") => "signs",
            line if line.contains("  next") => "next",
            line if line.contains("  retired") => "retired",
            _ => "by hand",
        };
        let key = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
        keys.map(|line| (key(line), word(line).to_owned()))
            .collect()
    }
}

fn kid_of(token: &str) -> String {
    header(token).kid.unwrap()
}

#[tokio::test]
async fn secret_files_that_change_are_read_again_and_what_cannot_be_used_changes_nothing() {
    let service = Service::start().await;
    let before = service.log_in().await;
    fs::write(service.file("previous"), format!("{FIRST}\n")).unwrap();
    fs::write(service.file("current"), SECOND).unwrap();
    let after = service.signs_with_another_than(&kid_of(&before)).await;
    assert!(service.takes(&before).await && service.takes(&after).await);

    fs::write(service.file("current"), "super-secret").unwrap();
    service
        .log_says("the keys in use stay: JWT_SECRET_KEY")
        .await;
    assert_eq!(kid_of(&service.log_in().await), kid_of(&after));
    fs::remove_file(service.file("current")).unwrap();
    service.log_says("cannot be read").await;
    assert_eq!(kid_of(&service.log_in().await), kid_of(&after));
    let log = service.running.log();
    assert!(!log.contains(FIRST) && !log.contains(SECOND) && !log.contains("super-secret"));
}

#[tokio::test]
async fn a_hangup_reads_the_secrets_again_and_ends_nothing() {
    let service = Service::start().await;
    service.running.signal("HUP");
    service.log_says("the keys were read again").await;
    service.client.get("/health/ready").await.has_status(200);
}

#[tokio::test]
async fn a_secret_is_rotated_when_everybody_holds_it_and_not_before() {
    let service = Service::start().await;
    let before = service.log_in().await;
    let old = kid_of(&before);
    service.verifier_holds(&[&old]).await;
    fs::set_permissions(service.file("previous"), fs::Permissions::from_mode(0o640)).unwrap();

    let early = service.command(&["secret", "rotate", "--wait", "2s"]).await;
    early.refuses(&["not held yet by orders@one", "run 'secret rotate' again"]);
    assert_eq!(service.text("current"), FIRST);
    let status = service.status().await;
    assert_eq!(status[0], (old.clone(), "signs".to_owned()));
    let (next, word) = &status[1];
    assert_eq!((word.as_str(), status.len()), ("next", 2));
    assert_eq!(kid_of(&service.log_in().await), old);

    service.verifier_holds(&[&old, next]).await;
    let done = service
        .command(&["secret", "rotate", "--wait", "20s"])
        .await
        .succeeds();
    assert!(done.stdout.contains("signs from now on"), "{done:?}");
    let after = service.log_in().await;
    assert_eq!(kid_of(&after), *next);
    assert!(service.takes(&before).await && service.takes(&after).await);
    let rotated = [
        (next.clone(), "signs".to_owned()),
        (old.clone(), "retired".to_owned()),
    ];
    assert_eq!(service.status().await, rotated);
    let pruned = service
        .command(&["secret", "prune"])
        .await
        .succeeds()
        .stdout;
    assert!(pruned.contains(&format!("{old} must stay")), "{pruned}");
    assert_eq!(service.status().await, rotated);
    for (name, mode) in [("current", 0o644), ("previous", 0o640)] {
        let left = fs::metadata(service.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(left & 0o777, mode, "{name} keeps its mode");
    }
    let all = format!("{done:?}{}", service.running.log());
    assert!(!all.contains(FIRST) && !all.contains(service.text("current").trim_end()));
}

#[tokio::test]
async fn a_rotation_goes_on_wherever_it_was_interrupted() {
    let service = Service::start().await;
    let old = kid_of(&service.log_in().await);
    service.verifier_holds(&[&old]).await;
    let stage = async || {
        let ended = service.command(&["secret", "rotate", "--wait", "0s"]).await;
        ended.refuses(&["orders@one"]);
        service.status().await[1].0.clone()
    };
    // Between the table and the file: the secret is lost, and nothing is lost with it.
    let lost = stage().await;
    fs::write(service.file("previous"), "").unwrap();
    let next = stage().await;
    assert_ne!(lost, next);
    assert_eq!(service.text("previous").lines().count(), 1);

    // Between the two files: it signs already.
    let text = service.text("previous");
    fs::write(service.file("previous"), format!("{text}{FIRST}\n")).unwrap();
    fs::write(service.file("current"), &text).unwrap();
    service.verifier_holds(&[&old, &next]).await;
    service
        .command(&["secret", "rotate", "--wait", "20s"])
        .await
        .succeeds();
    assert_eq!(
        service.status().await[0],
        (next.clone(), "signs".to_owned())
    );
    assert_eq!(kid_of(&service.signs_with_another_than(&old).await), next);
}

#[tokio::test]
async fn a_rotation_is_taken_back_before_and_after_the_new_secret_signs() {
    let service = Service::start().await;
    let old = kid_of(&service.log_in().await);
    service.verifier_holds(&[&old]).await;
    let early = service.command(&["secret", "rotate", "--wait", "0s"]).await;
    early.refuses(&["orders@one"]);
    service.command(&["secret", "rollback"]).await.succeeds();
    assert_eq!(service.status().await, [(old.clone(), "signs".to_owned())]);
    assert_eq!(service.text("previous"), "");
    let nothing = service.command(&["secret", "rollback"]).await;
    nothing.refuses(&["nothing to be taken back"]);

    let early = service.command(&["secret", "rotate", "--wait", "0s"]).await;
    early.refuses(&["orders@one"]);
    let next = service.status().await[1].0.clone();
    service.verifier_holds(&[&old, &next]).await;
    service
        .command(&["secret", "rotate", "--wait", "20s"])
        .await
        .succeeds();
    let token = service.log_in().await;
    assert_eq!(kid_of(&token), next);
    service
        .command(&["secret", "rollback", "--wait", "20s"])
        .await
        .succeeds();
    assert_eq!(kid_of(&service.log_in().await), old);
    assert!(service.takes(&token).await);
    let back = [(old, "signs".to_owned()), (next, "retired".to_owned())];
    assert_eq!(service.status().await, back);
    // Once more changes nothing.
    let nothing = service.command(&["secret", "rollback"]).await;
    nothing.refuses(&["nothing to be taken back"]);
    assert_eq!(service.status().await, back);
}

#[tokio::test]
async fn a_rollback_that_was_interrupted_goes_on_and_loses_no_secret() {
    let mut service = Service::start().await;
    let before = service.log_in().await;
    let rotated = service
        .command(&["secret", "rotate", "--wait", "20s"])
        .await;
    rotated.succeeds();
    service.running.stop("TERM");
    for _ in 0..2 {
        let nobody = service
            .command(&["secret", "rollback", "--wait", "0s"])
            .await;
        nobody.refuses(&["nobody has been heard of", "'secret rollback' again"]);
    }
    service.running = service.program.start();
    service.running.is_ready(&service.client).await;
    assert!(service.takes(&before).await);
    let rotate = service.command(&["secret", "rotate"]).await;
    rotate.refuses(&["a rollback to", "under way"]);
    let back = service
        .command(&["secret", "rollback", "--wait", "20s"])
        .await;
    back.succeeds();
    assert_eq!(kid_of(&service.log_in().await), kid_of(&before));
    assert!(service.takes(&before).await);
}

#[tokio::test]
async fn a_secret_that_would_not_be_the_same_among_others_is_not_rotated() {
    let service = Service::start().await;
    for secret in [
        "one-half-of-at-least-32-bytes-is-this,the-other-half-of-32-bytes-is-that",
        "a-secret-with-blanks-at-its-end-of-32-bytes  ",
        "  a-secret-with-blanks-before-it-of-32-bytes\n",
    ] {
        fs::write(service.file("current"), secret).unwrap();
        let refused = service.command(&["secret", "rotate", "--wait", "0s"]).await;
        refused.refuses(&["has a comma in it, or a blank at one of its ends"]);
        assert_eq!(
            (
                service.text("current").as_str(),
                service.text("previous").as_str()
            ),
            (secret, "")
        );
    }
}

#[tokio::test]
async fn a_secret_that_is_seen_to_sign_is_not_dropped() {
    let service = Service::start().await;
    let token = service.log_in().await;
    service.running.signal("STOP");
    // It stands still and does not read its files, or reads others than the command.
    let early = service.command(&["secret", "rotate", "--wait", "1s"]).await;
    service.running.signal("CONT");
    early.refuses(&["not held yet by auth-service"]);
    let elsewhere = service.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in ["current", "previous"] {
        fs::copy(service.file(name), elsewhere.join(name)).unwrap();
    }
    let command = async |command: &[&str]| {
        let program = service.program.clone().with(command);
        let program = program
            .setting("JWT_SECRET_KEY_FILE", "elsewhere/current")
            .setting("JWT_PREVIOUS_SECRET_KEYS_FILE", "elsewhere/previous");
        tokio::task::spawn_blocking(move || program.run())
            .await
            .unwrap()
    };
    let unseen = command(&["secret", "rotate", "--wait", "3s"]).await;
    unseen.refuses(&["does not sign with", "same file"]);
    let pruned = command(&["secret", "prune"]).await.succeeds().stdout;
    assert!(pruned.contains("must stay: it may sign still"), "{pruned}");
    assert!(service.takes(&token).await);
}

#[tokio::test]
async fn a_verifier_that_fell_silent_is_waited_for_unless_it_is_said_to_be_dead() {
    let service = Service::start().await;
    let old = kid_of(&service.log_in().await);
    service.verifier_holds(&[&old]).await;
    let pool = service.database().await;
    sqlx::query("update key_holders set reported_at = reported_at - 60000 where id = 'one'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let silent = service.command(&["secret", "rotate", "--wait", "2s"]).await;
    silent.refuses(&["orders@one (not heard of since"]);
    let without = ["secret", "rotate", "--wait", "20s", "--without-gone"];
    service.command(&without).await.succeeds();
    assert_ne!(kid_of(&service.log_in().await), old);
}

#[tokio::test]
async fn a_secret_file_that_is_a_link_stays_one() {
    let service = Service::start().await;
    fs::rename(service.file("current"), service.file("target")).unwrap();
    std::os::unix::fs::symlink("target", service.file("current")).unwrap();
    service
        .command(&["secret", "rotate", "--wait", "20s"])
        .await
        .succeeds();
    assert!(
        fs::symlink_metadata(service.file("current"))
            .unwrap()
            .is_symlink()
    );
    assert_ne!(service.text("target"), FIRST);
}

#[tokio::test]
async fn a_rotation_needs_files_and_somebody_who_is_there() {
    let mut service = Service::start().await;
    let without = Program::new(env!("CARGO_BIN_EXE_auth-service"), service.folder.path())
        .setting("JWT_SECRET_KEY", FIRST)
        .with(&["secret", "rotate"]);
    let ended = tokio::task::spawn_blocking(move || without.run())
        .await
        .unwrap();
    ended.refuses(&[
        "JWT_SECRET_KEY_FILE",
        "JWT_PREVIOUS_SECRET_KEYS_FILE",
        "operations.md",
    ]);
    service.running.stop("TERM");
    let nobody = service.command(&["secret", "rotate", "--wait", "0s"]).await;
    nobody.refuses(&["nobody has been heard of", "goes on signing"]);
    assert_eq!(service.text("current"), FIRST);
}

#[tokio::test]
async fn the_secret_gives_way_to_a_key_pair_and_is_dropped_when_its_last_token_has_expired() {
    let service = Service::start().await;
    let before = service.log_in().await;
    let old = kid_of(&before);
    assert_eq!(service.published().await, [] as [serde_json::Value; 0]);
    let rotate = ["secret", "rotate", "--ed25519", "--wait", "20s"];
    service.command(&rotate).await.succeeds();
    let after = service.log_in().await;
    let new = kid_of(&after);
    assert_eq!(header(&after).alg, jsonwebtoken::Algorithm::EdDSA);
    assert!(service.takes(&before).await && service.takes(&after).await);
    // Only the public key is published, and said.
    let published = service.published().await;
    assert_eq!((published.len(), &published[0]["kid"]), (1, &json!(new)));
    let members: Vec<_> = published[0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    let public = service.command(&["secret", "public"]).await.succeeds();
    assert!(public.stdout.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(public.stdout.matches("-----BEGIN").count(), 1);
    let status = [
        (new.clone(), "signs".to_owned()),
        (old.clone(), "retired".to_owned()),
    ];
    assert_eq!(service.status().await, status);

    let early = service.command(&["secret", "prune"]).await.succeeds();
    assert!(early.stdout.contains(&format!("{old} must stay")));
    service.last_signed_ago(Duration::from_hours(2)).await;
    let pruned = service.command(&["secret", "prune"]).await.succeeds();
    assert!(pruned.stdout.contains(&format!("{old} is dropped")));
    assert_eq!(service.text("current"), "");
    let started = Instant::now();
    while service.takes(&before).await {
        assert!(started.elapsed() < PATIENCE, "the secret verifies still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(service.takes(&after).await);
    let private = service.text("private");
    assert!(
        !service
            .running
            .log()
            .contains(private.lines().nth(1).unwrap())
    );
    let mode = fs::metadata(service.file("private"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640, "a file that is there keeps its mode");

    // Everything starts again with no secret at all.
    let mut service = service;
    service.running.stop("TERM");
    service.running = service.program.start();
    service.running.is_ready(&service.client).await;
    assert!(service.takes(&after).await);
}

#[tokio::test]
async fn a_change_to_a_key_pair_goes_on_or_back_wherever_it_was_interrupted() {
    let service = Service::start().await;
    let old = kid_of(&service.log_in().await);
    service.verifier_holds(&[&old]).await;
    let rotate = async |kind: &str, wait: &str| {
        let command = ["secret", "rotate", kind, "--wait", wait];
        service.command(&command).await
    };
    rotate("--ed25519", "0s").await.refuses(&["orders@one"]);
    // Published before it signs.
    let next = service.status().await[1].0.clone();
    let started = Instant::now();
    while service.published().await.is_empty() {
        assert!(started.elapsed() < PATIENCE, "it is not published");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(service.published().await[0]["kid"], json!(next));
    rotate("--es256", "0s")
        .await
        .refuses(&["of another kind", "secret rollback"]);
    service.command(&["secret", "rollback"]).await.succeeds();
    assert_eq!(service.text("previous-private"), "");

    rotate("--es256", "0s").await.refuses(&["orders@one"]);
    let next = service.status().await[1].0.clone();
    // Killed when the key was written and had not left the others yet.
    let pool = service.database().await;
    let retired = sqlx::query("insert into key_rotation (key_id, state) values ($1, 'retired')");
    retired.bind(&old).execute(&pool).await.unwrap();
    pool.close().await;
    fs::write(service.file("private"), service.text("previous-private")).unwrap();
    service.verifier_holds(&[&old, &next]).await;
    rotate("--es256", "20s").await.succeeds();
    assert_eq!(kid_of(&service.signs_with_another_than(&old).await), next);
    assert_eq!(service.text("previous-private"), "");
    let back = ["secret", "rollback", "--wait", "20s"];
    service.command(&back).await.succeeds();
    assert_eq!(kid_of(&service.log_in().await), old);
    assert_eq!(service.text("private"), "");
    assert!(service.text("previous-private").contains("PRIVATE KEY"));
}

#[tokio::test]
async fn a_key_pair_needs_files_to_change_into() {
    let service = Service::start().await;
    let without = service
        .program
        .clone()
        .setting("JWT_PREVIOUS_PRIVATE_KEYS_FILE", "")
        .with(&["secret", "rotate", "--ed25519"]);
    let ended = tokio::task::spawn_blocking(move || without.run())
        .await
        .unwrap();
    ended.refuses(&["JWT_PREVIOUS_PRIVATE_KEYS_FILE: it is not set"]);
    let neither = service
        .program
        .clone()
        .setting("JWT_PRIVATE_KEY_FILE", "")
        .setting("JWT_PREVIOUS_PRIVATE_KEYS_FILE", "")
        .with(&["secret", "rotate", "--ed25519"]);
    let ended = tokio::task::spawn_blocking(move || neither.run())
        .await
        .unwrap();
    ended.refuses(&["JWT_PRIVATE_KEY_FILE", "JWT_PREVIOUS_PRIVATE_KEYS_FILE"]);
    service
        .command(&["secret", "public"])
        .await
        .refuses(&["JWT_PRIVATE_KEY_FILE"]);
    let two = ["secret", "generate", "--ed25519", "--es256"];
    service.command(&two).await.refuses(&["--ed25519"]);
}

#[tokio::test]
async fn the_key_pairs_that_are_generated_can_be_signed_with() {
    for (flag, alg) in [
        ("--ed25519", jsonwebtoken::Algorithm::EdDSA),
        ("--es256", jsonwebtoken::Algorithm::ES256),
    ] {
        let mut service = Service::start().await;
        service.running.stop("TERM");
        let generated = service.command(&["secret", "generate", flag]).await;
        fs::write(service.file("private"), generated.succeeds().stdout).unwrap();
        fs::write(service.file("current"), "").unwrap();
        service.running = service.program.start();
        service.running.is_ready(&service.client).await;
        let token = service.log_in().await;
        assert_eq!(header(&token).alg, alg);
        assert!(service.takes(&token).await);
    }
}

#[tokio::test]
async fn what_the_services_would_not_take_no_command_goes_on_from() {
    let service = Service::start().await;
    let rotate = ["secret", "rotate", "--ed25519", "--wait", "20s"];
    service.command(&rotate).await.succeeds();
    let good = service.text("private");
    let other = service.command(&["secret", "generate", "--ed25519"]).await;
    let two = format!("{}{good}", other.succeeds().stdout);
    fs::write(service.file("private"), &two).unwrap();
    for command in ["status", "rotate", "rollback", "prune"] {
        let refused = service.command(&["secret", command]).await;
        refused.refuses(&["JWT_PRIVATE_KEY_FILE", "there are 2 keys"]);
    }
    assert_eq!(service.text("private"), two);
    fs::write(service.file("private"), &good).unwrap();
    let half = service
        .program
        .clone()
        .setting("JWT_PREVIOUS_PRIVATE_KEYS_FILE", "");
    let half = half.with(&["secret", "status"]);
    let ended = tokio::task::spawn_blocking(move || half.run())
        .await
        .unwrap();
    ended.refuses(&["JWT_PREVIOUS_PRIVATE_KEYS_FILE: it is not set"]);
    // A promoted key of another kind than is asked for is not taken for it.
    let pool = service.database().await;
    let kid = service.status().await[0].0.clone();
    let next =
        sqlx::query("insert into key_rotation (key_id, state, since) values ($1, 'next', 1)");
    next.bind(&kid).execute(&pool).await.unwrap();
    pool.close().await;
    let other = service
        .command(&["secret", "rotate", "--es256", "--wait", "0s"])
        .await;
    other.refuses(&["of another kind"]);
}

#[tokio::test]
async fn a_private_key_does_not_come_into_a_file_that_everybody_reads() {
    let service = Service::start().await;
    let file = service.file("previous-private");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = service
        .command(&["secret", "rotate", "--ed25519", "--wait", "0s"])
        .await;
    refused.refuses(&["previous-private", "chmod 600"]);
    assert_eq!(service.text("previous-private"), "");
}

#[tokio::test]
async fn a_retired_key_that_signs_again_is_not_dropped_in_its_old_time() {
    let service = Service::start().await;
    let old = kid_of(&service.log_in().await);
    let rotate = ["secret", "rotate", "--ed25519", "--wait", "20s"];
    service.command(&rotate).await.succeeds();
    let private = service.text("private");
    // By hand, and against all advice.
    fs::write(service.file("private"), "").unwrap();
    let started = Instant::now();
    while kid_of(&service.log_in().await) != old {
        assert!(started.elapsed() < PATIENCE, "the secret does not sign");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = service.log_in().await;
    fs::write(service.file("private"), private).unwrap();
    service.signs_with_another_than(&old).await;
    let started = Instant::now();
    loop {
        let pruned = service.command(&["secret", "prune"]).await.succeeds();
        // auth-service tells a moment later with what it signs.
        if pruned.stdout.contains("its last token expires") {
            break;
        }
        let waits = format!("{old} must stay: it may sign still");
        assert!(pruned.stdout.contains(&waits), "{pruned:?}");
        assert!(started.elapsed() < PATIENCE, "{pruned:?}");
    }
    assert!(service.takes(&token).await);
}
