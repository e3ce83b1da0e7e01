//! The lesson, step by step, through both services.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::stack::Stack;

#[tokio::test]
async fn a_new_user_goes_through_the_whole_lesson() {
    let stack = Stack::start_with(&[("JWT_ACCESS_TOKEN_EXPIRES", "1s")]).await;
    let laika = json!({"username": "laika", "password": "bark at the moon"});
    let id = stack
        .auth
        .post("/register", &laika)
        .await
        .has_status(201)
        .text_of("id");
    let pair = stack.auth.post("/login", &laika).await.has_status(200);
    let (access, refresh) = (pair.text_of("access_token"), pair.text_of("refresh_token"));
    stack
        .resource
        .get("/profile")
        .await
        .is(401, "missing_token");
    stack
        .resource
        .get_with("/profile", &refresh)
        .await
        .is(401, "wrong_token_type");

    // This stack runs by the machine's clock: the token expires within a second of it.
    let mut profile = stack.resource.get_with("/profile", &access).await;
    while profile.status == 200 {
        assert_eq!(profile.text_of("id"), id);
        tokio::time::sleep(Duration::from_millis(20)).await;
        profile = stack.resource.get_with("/profile", &access).await;
    }
    profile.is(401, "token_expired").says("Token has expired");

    let pair = stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    let access = pair.text_of("access_token");
    let written = json!({"display_name": "Laika", "bio": null});
    let profile = stack.resource.put_with("/profile", &access, &written).await;
    assert!(
        profile.status == 200 || profile.text_of("code") == "token_expired",
        "{}",
        profile.text
    );
    let newest = pair.text_of("refresh_token");
    stack
        .auth
        .post_with("/logout", &newest)
        .await
        .has_status(204);
    stack
        .auth
        .post_with("/refresh", &newest)
        .await
        .is(401, "token_revoked");
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .is(401, "token_revoked");
}

#[tokio::test]
async fn the_walk_through_works_as_it_is_pasted() {
    // Long enough that the feed, whose own token is as short, does not begin anew in the moment of the logout.
    let stack = Stack::start_with(&[("JWT_ACCESS_TOKEN_EXPIRES", "4s")]).await;
    let run = Command::new("bash")
        .arg("-c")
        .arg(stack.walk_through().await)
        .output()
        .expect("bash is there");
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let steps = [
        r#""username":"laika"}"#,
        r#""expires_in":4"#,
        r#""username":"cosmo","display_name":null"#,
        r#""fresh":true"#,
        r#""live_sessions":1"#,
        r#"{"code":"missing_token","msg":"Missing Authorization Header"}"#,
        r#"{"code":"token_expired","msg":"Token has expired"}"#,
        r#""refresh_token""#,
        r#""display_name":"Cosmo","bio":"A corgi in space.""#,
        "\n204\n",
        r#"{"code":"token_revoked","msg":"Token has been revoked"}"#,
        r#"{"code":"token_revoked","msg":"Token has been revoked"}"#,
    ];
    let mut rest = said.as_str();
    for step in steps {
        let found = rest
            .find(step)
            .unwrap_or_else(|| panic!("no {step} in what is left of\n{said}"));
        rest = &rest[found + step.len()..];
    }
}

#[test]
fn the_readme_has_the_walk_through_as_it_is_printed() {
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(local_stack::WALK_THROUGH),
        "README.md must hold walk-through.sh word for word"
    );
}

#[tokio::test]
async fn with_rotation_off_the_refresh_token_stays_good() {
    let stack = Stack::start_with(&[("AUTH_REFRESH_ROTATION", "off")]).await;
    let (_, refresh) = stack.pair().await;
    for _ in 0..2 {
        let reply = stack
            .auth
            .post_with("/refresh", &refresh)
            .await
            .has_status(200);
        assert!(
            reply.json().get("refresh_token").is_none(),
            "{}",
            reply.text
        );
        stack
            .resource
            .get_with("/dashboard", &reply.text_of("access_token"))
            .await
            .has_status(200);
    }
}

#[tokio::test]
async fn with_issuer_and_audience_empty_tokens_carry_neither_and_are_taken() {
    let stack = Stack::start_with(&[("JWT_ISSUER", ""), ("JWT_AUDIENCE", "")]).await;
    let (access, refresh) = stack.pair().await;
    stack
        .resource
        .get_with("/profile", &access)
        .await
        .has_status(200);
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    for token in [access, refresh] {
        let claims: serde_json::Value =
            jsonwebtoken::dangerous::insecure_decode_claims(&token).unwrap();
        assert!(
            claims.get("iss").is_none() && claims.get("aud").is_none(),
            "{claims}"
        );
    }
}
