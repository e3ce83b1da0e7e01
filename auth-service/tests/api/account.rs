use serde_json::json;

use crate::stack::{SECOND, Stack, User};

#[tokio::test]
async fn a_user_sees_their_account() {
    let stack = Stack::start().await;
    let id = stack.register("cosmo").await.text_of("id");
    stack.clock.advance(SECOND);
    let user = User::from(&stack.log_in("Cosmo").await);
    stack.log_in("cosmo").await.has_status(200);
    assert_eq!(
        stack.me(&user.access).await.has_status(200).json(),
        json!({
            "id": id, "username": "cosmo", "created_at": "2026-09-21T14:13:20Z", "last_login_at": "2026-09-21T14:13:21Z",
            "live_sessions": 2,
        })
    );
}

#[tokio::test]
async fn nobody_without_a_token_sees_an_account() {
    let stack = Stack::start().await;
    let reply = stack.client.get("/me").await.is(401, "missing_token");
    assert_eq!(
        reply.header("www-authenticate"),
        "Bearer realm=\"tokenpair\""
    );
}
