use crate::stack::Stack;

#[tokio::test]
async fn a_service_that_can_read_its_store_lives_and_is_ready() {
    let stack = Stack::start().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(
            stack.client.get(path).await.has_status(200).text,
            r#"{"status":"ok"}"#
        );
    }
}
