use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use test_support::tokens::forge;
use test_support::{Client, SECRET, start_of_time};

use crate::stack::{ACCESS, GRACE, REFRESH, SECOND, Stack, User, claims, header};

#[tokio::test]
async fn a_refresh_gives_the_pair_of_the_next_generation() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(ACCESS);
    stack
        .me(&user.access)
        .await
        .is(401, "token_expired")
        .says("Token has expired");

    let reply = stack.refresh(&user.refresh).await.has_status(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(
        (
            reply.json()["expires_in"].clone(),
            reply.json()["refresh_expires_in"].clone()
        ),
        (json!(900), json!(3600))
    );
    let next = User::from(&reply);
    stack.me(&next.access).await.has_status(200);

    let (before, after) = (claims(&user.refresh), claims(&next.refresh));
    assert_eq!(
        (after["gen"].clone(), after["sid"].clone()),
        (json!(1), before["sid"].clone())
    );
    assert_ne!(after["jti"], before["jti"]);
    let access = claims(&next.access);
    assert_eq!(
        (access["fresh"].clone(), access["auth_time"].clone()),
        (json!(false), json!(start_of_time().as_second()))
    );
}

#[tokio::test]
async fn fifty_parallel_refreshes_with_one_token_end_in_one_successor() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let replies = join_all((0..50).map(|_| stack.refresh(&user.refresh))).await;
    let mut successors = HashSet::new();
    let mut accesses = HashSet::new();
    for reply in replies {
        let pair = User::from(&reply.has_status(200));
        successors.insert(pair.refresh);
        accesses.insert(pair.access);
    }
    assert_eq!(successors.len(), 1);
    assert_eq!(
        accesses.len(),
        50,
        "each answer has an access token of its own"
    );
    assert_eq!(claims(successors.iter().next().unwrap())["gen"], 1);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_grace() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let first = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    stack.clock.advance(GRACE - Duration::from_millis(1));
    let again = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    assert_eq!(again.refresh, first.refresh);
    assert_ne!(again.access, first.access);
}

#[tokio::test]
async fn the_newest_token_comes_back_as_it_is_within_the_grace_of_its_issue() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let first = User::from(&stack.refresh(&user.refresh).await);
    stack.clock.advance(GRACE - SECOND);
    assert_eq!(
        User::from(&stack.refresh(&first.refresh).await.has_status(200)).refresh,
        first.refresh
    );
    // The grace is anchored at the rotation: having been answered within it does not lengthen it.
    stack.clock.advance(SECOND);
    let second = User::from(&stack.refresh(&first.refresh).await.has_status(200));
    assert_eq!(claims(&second.refresh)["gen"], 2);
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_the_session() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let next = User::from(&stack.refresh(&user.refresh).await);
    stack.clock.advance(GRACE);
    let reply = stack
        .refresh(&user.refresh)
        .await
        .is(401, "refresh_token_reused");
    assert!(
        reply
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    stack
        .refresh(&next.refresh)
        .await
        .is(401, "token_revoked")
        .says("Token has been revoked");
    stack.me(&next.access).await.is(401, "token_revoked");
    stack.me(&user.access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn a_session_killed_for_replay_stays_dead_inside_the_grace() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let first = User::from(&stack.refresh(&user.refresh).await);
    stack.clock.advance(GRACE);
    let second = User::from(&stack.refresh(&first.refresh).await.has_status(200));
    // Two generations old, a moment after the last rotation: a replay all the same.
    stack
        .refresh(&user.refresh)
        .await
        .is(401, "refresh_token_reused");
    for token in [&user.refresh, &first.refresh, &second.refresh] {
        stack.refresh(token).await.is(401, "token_revoked");
    }
}

#[tokio::test]
async fn a_replay_ends_no_other_session_of_the_user() {
    let stack = Stack::start().await;
    let phone = stack.sign_up("cosmo").await;
    let laptop = User::from(&stack.log_in("cosmo").await);
    stack.refresh(&phone.refresh).await.has_status(200);
    stack.clock.advance(GRACE);
    stack
        .refresh(&phone.refresh)
        .await
        .is(401, "refresh_token_reused");
    stack.refresh(&laptop.refresh).await.has_status(200);
}

#[tokio::test]
async fn with_no_grace_any_second_use_is_a_replay() {
    let stack = Stack::start_with(|config| config.sessions.refresh.grace = Duration::ZERO).await;
    let user = stack.sign_up("cosmo").await;
    let first = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    let second = User::from(&stack.refresh(&first.refresh).await.has_status(200));
    assert_eq!(claims(&second.refresh)["gen"], 2);
    stack
        .refresh(&first.refresh)
        .await
        .is(401, "refresh_token_reused");
    stack
        .refresh(&second.refresh)
        .await
        .is(401, "token_revoked");
}

#[tokio::test]
async fn with_no_grace_one_of_many_parallel_refreshes_wins_and_the_session_ends() {
    let stack = Stack::start_with(|config| config.sessions.refresh.grace = Duration::ZERO).await;
    let user = stack.sign_up("cosmo").await;
    let replies = join_all((0..20).map(|_| stack.refresh(&user.refresh))).await;
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 200).count(),
        1
    );
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.text.contains("refresh_token_reused"))
            .count(),
        1
    );
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.text.contains("token_revoked"))
            .count(),
        18
    );
}

#[tokio::test]
async fn an_expired_refresh_token_buys_nothing() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(REFRESH - SECOND);
    let next = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    stack.clock.advance(REFRESH);
    stack
        .refresh(&next.refresh)
        .await
        .is(401, "token_expired")
        .says("Token has expired");
}

#[tokio::test]
async fn refreshing_lengthens_a_session_up_to_its_greatest_age_and_no_further() {
    let stack = Stack::start_with(|config| {
        config.sessions.refresh.session_max_age = Duration::from_mins(90);
    })
    .await;
    let mut user = stack.sign_up("cosmo").await;
    stack.clock.advance(Duration::from_mins(50));
    let reply = stack.refresh(&user.refresh).await.has_status(200);
    assert_eq!(reply.json()["refresh_expires_in"], 40 * 60);
    user = User::from(&reply);
    stack.clock.advance(Duration::from_mins(40) - SECOND);
    user = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    stack.clock.advance(SECOND);
    stack.refresh(&user.refresh).await.is(401, "token_expired");
}

#[tokio::test]
async fn the_leeway_is_for_refresh_tokens_too() {
    let stack = Stack::start_with(|config| {
        config.tokens.leeway = SECOND * 5;
    })
    .await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(REFRESH + SECOND * 4);
    let next = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    stack.clock.advance(REFRESH + SECOND * 5);
    stack.refresh(&next.refresh).await.is(401, "token_expired");
}

#[tokio::test]
async fn an_access_token_is_no_refresh_token() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack
        .refresh(&user.access)
        .await
        .is(401, "wrong_token_type")
        .says("Only refresh tokens are allowed");
    stack
        .me(&user.refresh)
        .await
        .is(401, "wrong_token_type")
        .says("Only non-refresh tokens are allowed");
}

#[tokio::test]
async fn a_refresh_token_made_with_the_common_secret_alone_is_refused_and_ends_nothing() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let head = json!({"alg": "HS256", "kid": header(&user.refresh).kid});
    for (name, value) in [
        ("gen", json!(1)),
        ("jti", json!("AAAA")),
        ("sid", json!("0199aaaa-0000-7000-8000-000000000001")),
    ] {
        let mut forged = claims(&user.refresh);
        forged[name] = value;
        let code = if name == "sid" {
            "token_revoked"
        } else {
            "invalid_token"
        };
        stack
            .refresh(&forge(&head, &forged, SECRET))
            .await
            .is(401, code);
    }
    stack.refresh(&user.refresh).await.has_status(200);
}

#[tokio::test]
async fn a_database_set_back_to_a_backup_ends_the_sessions_that_are_ahead_of_it() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let backup = tempfile::tempdir().unwrap();
    let (file, kept) = (
        stack.database().replace("sqlite://", ""),
        backup.path().join("auth.db"),
    );
    let stack = stack.restart_with(|_| {
        std::fs::copy(&file, &kept).unwrap();
    });
    let stack = stack.await;
    let next = User::from(&stack.refresh(&user.refresh).await.has_status(200));
    let stack = stack
        .restart_with(|_| {
            std::fs::copy(&kept, &file).unwrap();
        })
        .await;
    stack.refresh(&next.refresh).await.is(401, "token_revoked");
    stack.refresh(&user.refresh).await.is(401, "token_revoked");
}

#[tokio::test]
async fn with_rotation_off_the_lessons_own_client_works_unchanged() {
    let stack = Stack::start_with(|config| config.sessions.refresh.rotation = false).await;
    let user = stack.sign_up("cosmo").await;
    let lesson = Lesson {
        client: stack.client.clone(),
        refresh_token: user.refresh,
    };
    for _ in 0..3 {
        stack.clock.advance(ACCESS);
        let access_token = lesson.refresh().await;
        stack.me(&access_token).await.has_status(200);
    }
    stack.clock.advance(ACCESS);
    stack
        .refresh(&lesson.refresh_token)
        .await
        .is(401, "token_expired");
}

#[tokio::test]
async fn with_rotation_off_an_answer_carries_an_access_token_alone() {
    let stack = Stack::start_with(|config| config.sessions.refresh.rotation = false).await;
    let user = stack.sign_up("cosmo").await;
    let reply = stack.refresh(&user.refresh).await.has_status(200);
    let fields: HashSet<_> = reply.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        fields,
        ["access_token", "token_type", "expires_in", "scope"]
            .map(str::to_owned)
            .into()
    );
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_session_survives_a_restart_and_so_does_its_end() {
    let stack = Stack::start().await;
    let (going, ended) = (stack.sign_up("cosmo").await, stack.sign_up("laika").await);
    let next = User::from(&stack.refresh(&going.refresh).await);
    stack.log_out(&ended.access).await.has_status(204);

    let stack = stack.restart().await;
    stack.me(&going.access).await.has_status(200);
    assert_eq!(
        User::from(&stack.refresh(&going.refresh).await.has_status(200)).refresh,
        next.refresh
    );
    stack.refresh(&ended.refresh).await.is(401, "token_revoked");
    stack.log_in("laika").await.has_status(200);
}

/// What the lesson's client does: it keeps the refresh token and reads `access_token` from the answer.
struct Lesson {
    client: Client,
    refresh_token: String,
}

impl Lesson {
    async fn refresh(&self) -> String {
        let response = self
            .client
            .post_with("/refresh", &self.refresh_token)
            .await
            .has_status(200);
        response.text_of("access_token")
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_not_the_services_own_is_refused_and_ends_nothing() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let head = json!({"alg": "HS256", "kid": header(&user.refresh).kid});
    let good = claims(&user.refresh);
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        forge(&head, &claims, SECRET)
    };
    let other_key = "another-secret-of-at-least-32-bytes-in-length";
    let (unsigned, _) = user.refresh.rsplit_once('.').unwrap();
    let mut expected = vec![
        (
            forge(&json!({"alg": "HS256"}), &good, other_key),
            "invalid_token",
        ),
        (
            forge(&json!({"alg": "none"}), &good, SECRET),
            "invalid_token",
        ),
        (format!("{unsigned}."), "invalid_token"),
        (with("aud", json!("tokenpair")), "invalid_token"),
        (with("iss", json!("http://auth.example")), "invalid_token"),
        (
            with("nbf", json!(start_of_time().as_second() + 5)),
            "invalid_token",
        ),
        (
            with("exp", json!(start_of_time().as_second())),
            "token_expired",
        ),
        (with("type", json!("access")), "wrong_token_type"),
    ];
    for name in ["sid", "gen", "jti", "iat"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        expected.push((forge(&head, &claims, SECRET), "invalid_token"));
    }
    for (token, code) in expected {
        stack.refresh(&token).await.is(401, code);
    }
    stack.refresh(&user.refresh).await.has_status(200);
}
