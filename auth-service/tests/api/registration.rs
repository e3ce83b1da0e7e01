use serde_json::json;

use crate::stack::{PASSWORD, Stack};
use auth_service::config::Registration;

#[tokio::test]
async fn a_new_user_gets_an_id_and_the_name_in_its_one_spelling() {
    let stack = Stack::start().await;
    let reply = stack.register("Cosmo").await.has_status(201);
    assert_eq!(reply.text_of("username"), "cosmo");
    assert_eq!(reply.text_of("id").len(), 36, "{}", reply.text);
    assert_eq!(reply.json().as_object().unwrap().len(), 2, "{}", reply.text);
}

#[tokio::test]
async fn a_name_is_taken_in_every_spelling() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    for name in ["cosmo", "COSMO", "\u{ff23}osmo"] {
        stack.register(name).await.is(409, "username_taken");
    }
}

#[tokio::test]
async fn of_many_who_register_one_name_at_once_one_gets_it() {
    let stack = Stack::start().await;
    let replies = (0..8).map(|_| stack.register("cosmo"));
    let statuses: Vec<_> = futures_util::future::join_all(replies)
        .await
        .iter()
        .map(|reply| reply.status.as_u16())
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        7,
        "{statuses:?}"
    );
}

#[tokio::test]
async fn every_field_that_cannot_be_used_is_named_with_the_reason() {
    let stack = Stack::start().await;
    let reply = stack
        .client
        .post(
            "/register",
            &json!({"username": "a b", "password": "short"}),
        )
        .await
        .is(400, "invalid_request");
    let errors = &reply.json()["errors"];
    assert!(
        errors["username"][0]
            .as_str()
            .unwrap()
            .contains("without spaces"),
        "{errors}"
    );
    assert_eq!(errors["password"], json!(["Use at least 8 characters."]));

    let reply = stack
        .client
        .post("/register", &json!({}))
        .await
        .is(400, "invalid_request");
    for field in ["username", "password"] {
        assert_eq!(
            reply.json()["errors"][field],
            json!(["Missing data for required field."])
        );
    }
}

#[tokio::test]
async fn the_bounds_of_name_and_password_are_counted_in_characters() {
    let stack = Stack::start().await;
    let register = async |username: String, password: String| {
        stack
            .client
            .post(
                "/register",
                &json!({"username": username, "password": password}),
            )
            .await
            .status
            .as_u16()
    };
    assert_eq!(register("é".repeat(64), "é".repeat(8)).await, 201);
    assert_eq!(register("b".to_owned(), "é".repeat(256)).await, 201);
    assert_eq!(register("é".repeat(65), "é".repeat(8)).await, 400);
    assert_eq!(register("c".to_owned(), "é".repeat(257)).await, 400);
    assert_eq!(register("d".to_owned(), "1234567".to_owned()).await, 400);
    assert_eq!(register(String::new(), "12345678".to_owned()).await, 400);
}

#[tokio::test]
async fn closed_registration_lets_nobody_in() {
    let stack = Stack::start_with(|config| config.registration = Registration::Closed).await;
    stack.register("cosmo").await.is(403, "registration_closed");
    stack
        .client
        .post(
            "/login",
            &json!({"username": "cosmo", "password": PASSWORD}),
        )
        .await
        .is(401, "bad_credentials");
}
