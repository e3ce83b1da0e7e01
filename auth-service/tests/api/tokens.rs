use test_support::start_of_time;
use test_support::tokens::hostile_access_tokens;

use crate::stack::Stack;

#[tokio::test]
async fn no_hostile_token_opens_anything() {
    let stack = Stack::start().await;
    for hostile in hostile_access_tokens(start_of_time().as_second()) {
        let reply = stack.me(&hostile.token).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text_of("code").as_str()),
            (401, hostile.code),
            "{}",
            hostile.name
        );
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer realm=\"tokenpair\", error=\"invalid_token\""),
            "{}: {challenge}",
            hostile.name
        );
        let refresh = stack.refresh(&hostile.token).await;
        assert_eq!(refresh.status, 401, "{}", hostile.name);
        assert_eq!(
            stack.log_out(&hostile.token).await.status,
            401,
            "{}",
            hostile.name
        );
    }
}
