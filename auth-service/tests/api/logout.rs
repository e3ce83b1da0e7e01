use crate::stack::{ACCESS, GRACE, REFRESH, Stack, User, claims};
use test_support::SECRET;
use test_support::tokens::forge;

#[tokio::test]
async fn logging_out_with_the_access_token_ends_the_session_at_once() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let reply = stack.log_out(&user.access).await.has_status(204);
    assert_eq!(reply.text, "");
    stack.me(&user.access).await.is(401, "token_revoked");
    stack.refresh(&user.refresh).await.is(401, "token_revoked");
}

#[tokio::test]
async fn logging_out_with_the_refresh_token_does_the_same() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.log_out(&user.refresh).await.has_status(204);
    stack.me(&user.access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn a_refresh_token_logs_out_when_the_access_token_has_expired() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(ACCESS);
    stack.log_out(&user.access).await.is(401, "token_expired");
    stack.log_out(&user.refresh).await.has_status(204);
}

#[tokio::test]
async fn a_second_logout_finds_the_session_ended() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.log_out(&user.access).await.has_status(204);
    stack.log_out(&user.access).await.is(401, "token_revoked");
    stack.log_out(&user.refresh).await.is(401, "token_revoked");
}

#[tokio::test]
async fn of_many_logouts_at_once_one_ends_the_session() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let replies =
        futures_util::future::join_all((0..10).map(|_| stack.log_out(&user.access))).await;
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 204).count(),
        1
    );
    assert_eq!(
        replies.iter().filter(|reply| reply.status == 401).count(),
        9
    );
}

#[tokio::test]
async fn a_logout_ends_that_session_and_no_other() {
    let stack = Stack::start().await;
    let phone = stack.sign_up("cosmo").await;
    let laptop = User::from(&stack.log_in("cosmo").await);
    let laika = stack.sign_up("laika").await;
    stack.log_out(&phone.access).await.has_status(204);
    stack.me(&laptop.access).await.has_status(200);
    stack.me(&laika.access).await.has_status(200);
}

#[tokio::test]
async fn no_grace_brings_a_session_back_that_was_logged_out() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let next = User::from(&stack.refresh(&user.refresh).await);
    stack.log_out(&next.access).await.has_status(204);
    for token in [&user.refresh, &next.refresh] {
        stack.refresh(token).await.is(401, "token_revoked");
    }
    stack.clock.advance(GRACE);
    stack.refresh(&user.refresh).await.is(401, "token_revoked");
}

#[tokio::test]
async fn an_ended_session_is_answered_as_ended_until_its_tokens_expire() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.log_out(&user.access).await.has_status(204);
    stack.clock.advance(REFRESH);
    let stack = stack.restart().await;
    stack.refresh(&user.refresh).await.is(401, "token_expired");
}

#[tokio::test]
async fn a_logout_with_a_forged_refresh_token_ends_nothing() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let mut forged = claims(&user.refresh);
    forged["jti"] = "AAAA".into();
    let forged = forge(&serde_json::json!({"alg": "HS256"}), &forged, SECRET);
    stack.log_out(&forged).await.is(401, "invalid_token");
    stack.me(&user.access).await.has_status(200);
}

#[tokio::test]
async fn a_logout_without_a_token_is_refused() {
    let stack = Stack::start().await;
    stack
        .client
        .post("/logout", &())
        .await
        .is(401, "missing_token")
        .says("Missing Authorization Header");
}
