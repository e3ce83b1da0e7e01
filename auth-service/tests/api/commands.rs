//! The commands, as an administrator types them beside a service that runs.
//!
//! The service has threads of its own: a command that is waited for must not hold up what it waits for.

use auth_service::config::HashingLimits;
use serde_json::json;
use tempfile::tempdir;
use test_support::program::{Program, free_address};

use crate::stack::{PASSWORD, SECOND, Stack, User, claims};
use shared_claims::{Clock, SharedSecret};

fn auth_service(stack: &Stack, command: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
        .with(command)
        .setting("AUTH_DATABASE_URL", stack.database())
}

/// The commands read the machine's clock, and so must a service whose sessions they look at.
async fn stack_in_our_time() -> Stack {
    Stack::start_with(|config| config.clock = Clock::system()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_added_can_log_in_and_has_the_scope_that_was_given() {
    let stack = Stack::start().await;
    let added = auth_service(
        &stack,
        &["user", "add", "Laika", "--scope", "profile:read admin"],
    );
    let added = added.run_with(&format!("{PASSWORD}\n")).succeeds();
    assert!(
        added.stdout.starts_with("added laika with the id "),
        "{added:?}"
    );
    let user = User::from(&stack.log_in("laika").await.has_status(200));
    assert_eq!(claims(&user.access)["scope"], "admin profile:read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_not_added_twice_nor_with_a_name_or_password_that_cannot_be_used() {
    let stack = Stack::start().await;
    stack.register("laika").await.has_status(201);
    let add = |name: &str, password: &str| {
        auth_service(&stack, &["user", "add", name]).run_with(password)
    };
    add("LAIKA", PASSWORD).refuses(&["That username is taken"]);
    add("a b", PASSWORD).refuses(&["'a b'", "without spaces"]);
    add("belka", "short").refuses(&["at least 8 characters"]);
    add("belka", "").refuses(&["at least 8 characters"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_with_their_state() {
    let stack = Stack::start().await;
    stack.sign_up("cosmo").await;
    stack.register("laika").await.has_status(201);
    auth_service(&stack, &["user", "disable", "laika"])
        .run()
        .succeeds();
    let list = auth_service(&stack, &["user", "list"])
        .run()
        .succeeds()
        .stdout;
    let line = |name: &str| {
        list.lines()
            .find(|line| line.ends_with(name))
            .unwrap_or_else(|| panic!("{list}"))
            .to_owned()
    };
    assert!(
        line("cosmo").contains("enabled") && line("cosmo").contains("2026-09-21T14:13:20Z"),
        "{list}"
    );
    assert!(
        line("laika").contains("disabled") && line("laika").contains("never"),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_is_kept_out_at_once_and_let_in_again_when_enabled() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    auth_service(&stack, &["user", "disable", "cosmo"])
        .run()
        .succeeds();
    stack.me(&user.access).await.is(401, "token_revoked");
    stack.refresh(&user.refresh).await.is(401, "token_revoked");
    stack
        .log_in("cosmo")
        .await
        .is(401, "bad_credentials")
        .says("Bad username or password");

    auth_service(&stack, &["user", "enable", "cosmo"])
        .run()
        .succeeds();
    stack.refresh(&user.refresh).await.is(401, "token_revoked");
    stack.log_in("cosmo").await.has_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_set_replaces_the_old_one_and_ends_every_session() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    auth_service(&stack, &["user", "set-password", "cosmo"])
        .run_with("another password\n")
        .succeeds();
    stack.me(&user.access).await.is(401, "token_revoked");
    stack.log_in("cosmo").await.is(401, "bad_credentials");
    stack
        .client
        .post(
            "/login",
            &json!({"username": "cosmo", "password": "another password"}),
        )
        .await
        .has_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_about_an_unknown_user_says_so() {
    let stack = Stack::start().await;
    for command in ["disable", "enable", "set-password"] {
        auth_service(&stack, &["user", command, "nobody"])
            .run_with(PASSWORD)
            .refuses(&["there is no user 'nobody'"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_revoked() {
    let stack = stack_in_our_time().await;
    let (cosmo, laika) = (stack.sign_up("cosmo").await, stack.sign_up("laika").await);
    let session = claims(&cosmo.access)["sid"].as_str().unwrap().to_owned();
    let list = |of: &[&str]| {
        auth_service(&stack, &[&["session", "list"], of].concat())
            .run()
            .succeeds()
            .stdout
    };
    assert!(
        list(&[]).contains(&session)
            && list(&[]).contains("laika")
            && list(&[]).contains("127.0.0.1")
    );
    assert!(!list(&["--user", "Cosmo"]).contains("laika"));

    auth_service(&stack, &["session", "revoke", &session])
        .run()
        .succeeds();
    stack.me(&cosmo.access).await.is(401, "token_revoked");
    stack.me(&laika.access).await.has_status(200);
    assert!(!list(&[]).contains(&session));
    auth_service(&stack, &["session", "revoke", &session])
        .run()
        .refuses(&["no session", "goes on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_command_and_of_a_busy_service_do_not_get_in_each_others_way() {
    let stack = Stack::start().await;
    let mut user = stack.sign_up("cosmo").await;
    let adding = auth_service(&stack, &["user", "add", "laika"]);
    let adding = tokio::task::spawn_blocking(move || adding.run_with(PASSWORD).succeeds());
    while !adding.is_finished() {
        stack.clock.advance(SECOND * 10);
        user = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    }
    adding.await.unwrap();
    stack.log_in("laika").await.has_status(200);
}

#[test]
fn a_generated_secret_is_one_line_that_can_be_used() {
    let generate = || {
        Program::new(env!("CARGO_BIN_EXE_auth-service"), "/")
            .with(&["secret", "generate"])
            .run()
            .succeeds()
    };
    let (one, other) = (generate().stdout, generate().stdout);
    assert_eq!(one.lines().count(), 1);
    assert!(SharedSecret::parse(one.trim_end()).is_ok());
    assert_ne!(one, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_tells_a_service_that_is_ready_from_one_that_is_not() {
    let stack = Stack::start().await;
    let check = |address: &str| {
        Program::new(env!("CARGO_BIN_EXE_auth-service"), "/")
            .with(&["healthcheck"])
            .setting("AUTH_LISTEN", address)
    };
    let address = stack.client.base().replace("http://", "");
    let ready = check(&address);
    tokio::task::spawn_blocking(move || ready.run().succeeds())
        .await
        .unwrap();
    let everywhere = check(&address.replace("127.0.0.1", "0.0.0.0"));
    tokio::task::spawn_blocking(move || everywhere.run().succeeds())
        .await
        .unwrap();
    check(&free_address()).run().refuses(&["does not answer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_serves_with_and_without_the_word() {
    for command in [&[][..], &["serve"]] {
        let folder = tempdir().unwrap();
        let address = free_address();
        let program = Program::new(env!("CARGO_BIN_EXE_auth-service"), folder.path())
            .with(command)
            .setting("JWT_SECRET_KEY", test_support::SECRET)
            .setting("AUTH_LISTEN", &address);
        let mut running = program.start();
        running
            .is_ready(&test_support::Client::new(format!("http://{address}")))
            .await;
        assert!(folder.path().join("data/auth.db").exists());
        assert!(running.stop("TERM").success(), "{}", running.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_waiting_when_its_user_was_disabled_starts_no_session() {
    let limits = HashingLimits {
        concurrency: 1,
        queue: 100,
        deadline: SECOND * 25,
    };
    let stack = Stack::start_with(|config| config.hashing = limits).await;
    stack.register("cosmo").await.has_status(201);
    let command = auth_service(&stack, &["user", "disable", "cosmo"]);
    let (logins, _) = tokio::join!(
        futures_util::future::join_all((0..40).map(|_| stack.log_in("cosmo"))),
        tokio::task::spawn_blocking(move || command.run().succeeds()),
    );
    assert!(
        logins.iter().any(|reply| reply.status == 401),
        "the user was disabled after all logins"
    );
    for reply in logins.iter().filter(|reply| reply.status == 200) {
        let user = User::from(reply);
        stack.me(&user.access).await.is(401, "token_revoked");
        stack.refresh(&user.refresh).await.is(401, "token_revoked");
    }
}
