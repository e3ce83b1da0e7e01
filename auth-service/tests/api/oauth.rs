//! The OAuth endpoints, by their RFCs.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use shared_claims::Parties;
use std::time::Duration;
use test_support::tokens::forge;
use test_support::{Reply, SECRET, start_of_time};

use crate::stack::{
    ACCESS, CLIENT, CLIENT_SECRET, GRACE, SECOND, Stack, User, claims, client_credentials,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ISSUER: &str = "http://127.0.0.1:8001";

async fn post(stack: &Stack, path: &str, form: &[(&str, &str)]) -> Reply {
    Reply::to(
        stack
            .client
            .request(&Method::POST, path)
            .basic_auth(CLIENT, Some(CLIENT_SECRET))
            .form(form),
    )
    .await
}

async fn exchange(stack: &Stack, token: &str, more: &[(&str, &str)]) -> Reply {
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    post(stack, "/oauth/token", &[&form[..], more].concat()).await
}

async fn introspect(stack: &Stack, token: &str) -> Value {
    let reply = post(stack, "/oauth/introspect", &[("token", token)])
        .await
        .has_status(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    reply.json()
}

trait OAuthReply {
    fn refuses(self, status: u16, error: &str) -> Self;
}

impl OAuthReply for Reply {
    #[track_caller]
    fn refuses(self, status: u16, error: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.text_of("error").as_str()),
            (status, error),
            "{}",
            self.text
        );
        assert!(!self.text_of("error_description").is_empty());
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(
            self.header("www-authenticate").starts_with("Basic "),
            status == 401
        );
        self
    }
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_with_all_that_it_is_allowed_or_less() {
    let stack = Stack::start().await;
    let reply = client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[])
        .await
        .has_status(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let pair = reply.json();
    assert_eq!(
        (&pair["token_type"], &pair["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    assert_eq!(
        pair["scope"],
        "profile:read revocations:read token:exchange"
    );
    assert!(pair.get("refresh_token").is_none());
    let now = start_of_time().as_second();
    let mut said = claims(&reply.text_of("access_token"));
    said.as_object_mut().unwrap().remove("jti");
    assert_eq!(
        said,
        json!({
            "iss": ISSUER, "aud": "tokenpair", "sub": CLIENT, "client_id": CLIENT, "type": "access", "fresh": false,
            "scope": "profile:read revocations:read token:exchange", "iat": now, "exp": now + 900,
        })
    );
    let less = [("scope", "profile:read")];
    let reply = client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &less)
        .await
        .has_status(200);
    assert_eq!(reply.text_of("scope"), "profile:read");
    for scope in ["admin", "profile:read admin", "a\"b"] {
        client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[("scope", scope)])
            .await
            .refuses(400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_client_may_authenticate_by_basic_or_by_post_but_not_by_both() {
    let stack = Stack::start().await;
    let grant = [("grant_type", "client_credentials")];
    post(&stack, "/oauth/token", &grant).await.has_status(200);
    let form = [
        grant[0],
        ("client_id", CLIENT),
        ("client_secret", CLIENT_SECRET),
    ];
    Reply::to(
        stack
            .client
            .request(&Method::POST, "/oauth/token")
            .form(&form),
    )
    .await
    .has_status(200);
    post(&stack, "/oauth/token", &form)
        .await
        .refuses(400, "invalid_request");
    // Both halves are form-encoded in Basic: a client that encodes all it can is right too.
    let encoded = CLIENT.replace('o', "%6F");
    let request = stack
        .client
        .request(&Method::POST, "/oauth/token")
        .basic_auth(encoded, Some(CLIENT_SECRET));
    Reply::to(request.form(&grant)).await.has_status(200);
}

#[tokio::test]
async fn whoever_is_not_a_client_is_refused_alike() {
    let stack = Stack::start().await;
    for path in ["/oauth/token", "/oauth/introspect"] {
        let mut bodies = Vec::new();
        for (id, secret) in [
            (CLIENT, "wrong"),
            ("nobody", CLIENT_SECRET),
            ("", ""),
            (CLIENT, ""),
        ] {
            let form = [("grant_type", "client_credentials"), ("token", "x")];
            let request = stack
                .client
                .request(&Method::POST, path)
                .basic_auth(id, Some(secret))
                .form(&form);
            bodies.push(Reply::to(request).await.refuses(401, "invalid_client").text);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        for value in [
            "Basic",
            "Basic !!!",
            "Basic eA==",
            "Bearer x",
            "Basic \u{e9}",
        ] {
            let request = stack
                .client
                .request(&Method::POST, path)
                .header(AUTHORIZATION, value);
            Reply::to(request.form(&[("grant_type", "client_credentials")]))
                .await
                .refuses(401, "invalid_client");
        }
        let nobody = stack
            .client
            .request(&Method::POST, path)
            .form(&[("token", "x")]);
        Reply::to(nobody).await.refuses(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_request_that_is_not_the_form_asked_for_is_invalid() {
    let stack = Stack::start().await;
    let send = async |body: &str, content_type: &str| {
        let request = stack
            .client
            .request(&Method::POST, "/oauth/token")
            .basic_auth(CLIENT, Some(CLIENT_SECRET));
        Reply::to(
            request
                .header(CONTENT_TYPE, content_type)
                .body(body.to_owned()),
        )
        .await
    };
    let form = "application/x-www-form-urlencoded";
    send(
        "{\"grant_type\": \"client_credentials\"}",
        "application/json",
    )
    .await
    .refuses(400, "invalid_request");
    send("", form).await.refuses(400, "invalid_request");
    send("grant_type=", form)
        .await
        .refuses(400, "invalid_request");
    send(
        "grant_type=client_credentials&grant_type=client_credentials",
        form,
    )
    .await
    .refuses(400, "invalid_request");
    send("grant_type=password&username=a&password=b", form)
        .await
        .refuses(400, "unsupported_grant_type");
    send(
        &format!("grant_type=client_credentials&x={}", "y".repeat(70_000)),
        form,
    )
    .await
    .refuses(413, "invalid_request");
    send("grant_type=client_credentials&unknown=1&scope=", form)
        .await
        .has_status(200);
    let get = Reply::to(stack.client.request(&Method::GET, "/oauth/token"))
        .await
        .refuses(405, "invalid_request");
    assert_eq!(get.header("allow"), "POST");
    let nothing = stack.client.get("/oauth/authorize").await;
    nothing.refuses(404, "invalid_request");
    for scope in ["%20", "+++", "%22"] {
        let form_text = format!("grant_type=client_credentials&scope={scope}");
        send(&form_text, form).await.refuses(400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_refresh_token_is_refreshed_by_the_same_rules_as_ever() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let refresh = async |token: &str, more: &[(&str, &str)]| {
        post(
            &stack,
            "/oauth/token",
            &[
                &[("grant_type", "refresh_token"), ("refresh_token", token)][..],
                more,
            ]
            .concat(),
        )
        .await
    };
    refresh(&user.refresh, &[("scope", "profile:read admin")])
        .await
        .refuses(400, "invalid_scope");
    let reply = refresh(&user.refresh, &[("scope", "profile:read")])
        .await
        .has_status(200);
    assert_eq!(
        (
            reply.text_of("scope"),
            claims(&reply.text_of("access_token"))["scope"].clone()
        ),
        ("profile:read".to_owned(), json!("profile:read"))
    );
    assert_eq!(reply.json()["refresh_expires_in"], 3600);
    let next = User::from(&reply);
    assert_eq!(claims(&next.refresh)["gen"], 1);
    assert_eq!(
        User::from(&refresh(&user.refresh, &[]).await.has_status(200)).refresh,
        next.refresh
    );
    stack.clock.advance(GRACE);
    refresh(&user.refresh, &[])
        .await
        .refuses(400, "invalid_grant");
    refresh(&next.refresh, &[])
        .await
        .refuses(400, "invalid_grant");
    refresh(&user.access, &[])
        .await
        .refuses(400, "invalid_grant");
    refresh("nonsense", &[]).await.refuses(400, "invalid_grant");
    post(&stack, "/oauth/token", &[("grant_type", "refresh_token")])
        .await
        .refuses(400, "invalid_request");
}

#[tokio::test]
async fn a_services_token_on_behalf_of_a_user_says_who_acts_for_whom() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(SECOND * 100);
    let reply = exchange(
        &stack,
        &user.access,
        &[("scope", "profile:read"), ("audience", ISSUER)],
    )
    .await
    .has_status(200);
    assert_eq!(reply.text_of("issued_token_type"), ACCESS_TOKEN);
    assert_eq!(
        (reply.json()["expires_in"].clone(), reply.text_of("scope")),
        (json!(800), "profile:read".to_owned())
    );
    let (before, after) = (claims(&user.access), claims(&reply.text_of("access_token")));
    for same in [
        "iss",
        "sub",
        "sid",
        "exp",
        "preferred_username",
        "auth_time",
    ] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(
        (&after["aud"], &after["azp"], &after["act"]),
        (&json!(ISSUER), &json!(CLIENT), &json!({"sub": CLIENT}))
    );
    assert_eq!(
        (&after["fresh"], &after["scope"]),
        (&json!(false), &json!("profile:read"))
    );
    assert!(after.get("client_id").is_none());
    stack
        .me(&reply.text_of("access_token"))
        .await
        .has_status(200);
}

#[tokio::test]
async fn an_exchanged_token_can_be_exchanged_again_and_remembers_the_chain() {
    let stack = Stack::start().await;
    let mut token = stack.sign_up("cosmo").await.access;
    for _ in 0..4 {
        token = exchange(&stack, &token, &[])
            .await
            .has_status(200)
            .text_of("access_token");
    }
    assert_eq!(
        claims(&token)["act"]["act"]["act"]["act"],
        json!({"sub": CLIENT})
    );
    exchange(&stack, &token, &[])
        .await
        .refuses(400, "invalid_request");
}

#[tokio::test]
async fn an_exchanged_token_is_never_more_than_the_users_own() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    exchange(&stack, &user.access, &[("scope", "profile:read admin")])
        .await
        .refuses(400, "invalid_scope");
    exchange(&stack, &user.access, &[("audience", "somebody-else")])
        .await
        .refuses(400, "invalid_target");
    let narrow = exchange(&stack, &user.access, &[("scope", "profile:read")])
        .await
        .text_of("access_token");
    exchange(&stack, &narrow, &[("scope", "profile:write")])
        .await
        .refuses(400, "invalid_scope");
    stack.clock.advance(ACCESS);
    exchange(&stack, &user.access, &[])
        .await
        .refuses(400, "invalid_request");
    stack.me(&narrow).await.is(401, "token_expired");
}

#[tokio::test]
async fn an_exchanged_token_dies_with_the_users_session() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let token = exchange(&stack, &user.access, &[])
        .await
        .text_of("access_token");
    stack.log_out(&user.refresh).await.has_status(204);
    stack.me(&token).await.is(401, "token_revoked");
    exchange(&stack, &user.access, &[])
        .await
        .refuses(400, "invalid_request");
    exchange(&stack, &token, &[])
        .await
        .refuses(400, "invalid_request");
}

#[tokio::test]
async fn only_good_access_tokens_of_users_are_exchanged_and_only_by_clients_that_may() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let service = client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[])
        .await
        .text_of("access_token");
    for token in [&user.refresh, &service, &"nonsense".to_owned()] {
        exchange(&stack, token, &[])
            .await
            .refuses(400, "invalid_request");
    }
    exchange(&stack, &user.access, &[("actor_token", &service)])
        .await
        .refuses(400, "invalid_request");
    exchange(
        &stack,
        &user.access,
        &[(
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:saml2",
        )],
    )
    .await
    .refuses(400, "invalid_request");
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &user.access),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let other = stack
        .client
        .request(&Method::POST, "/oauth/token")
        .basic_auth("other", Some(CLIENT_SECRET));
    Reply::to(other.form(&form))
        .await
        .refuses(400, "unauthorized_client");
}

#[tokio::test]
async fn what_is_too_much_for_the_service_is_told_in_the_form_of_oauth_too() {
    let stack = Stack::start_with(|config| config.limits.in_flight = 1).await;
    loop {
        let many = (0..32).map(|_| client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[]));
        let replies = futures_util::future::join_all(many).await;
        let refused: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
        for refused in &refused {
            assert_eq!(refused.status, 503, "{}", refused.text);
            assert_eq!(refused.header("retry-after"), "1");
            assert_eq!(refused.header("cache-control"), "no-store");
            let body = refused.json();
            assert_eq!(body["error"], "temporarily_unavailable", "{body}");
            assert!(body["error_description"].is_string(), "{body}");
            assert!(body["code"].is_null(), "{body}");
        }
        if !refused.is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn a_services_token_opens_no_users_route() {
    let stack = Stack::start().await;
    let service = client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[])
        .await
        .text_of("access_token");
    let reply = stack
        .me(&service)
        .await
        .is(403, "wrong_caller")
        .says("Only users may do this");
    assert!(
        reply
            .header("www-authenticate")
            .contains("error=\"insufficient_scope\"")
    );
    stack.log_out(&service).await.is(403, "wrong_caller");
    stack.refresh(&service).await.is(401, "wrong_token_type");
}

#[tokio::test]
async fn a_good_token_is_introspected_with_what_it_says() {
    let stack = Stack::start().await;
    let id = stack.register("cosmo").await.text_of("id");
    let user = User::from(&stack.log_in("cosmo").await);
    let now = start_of_time().as_second();
    let (access, refresh) = (claims(&user.access), claims(&user.refresh));
    assert_eq!(
        introspect(&stack, &user.access).await,
        json!({
            "active": true, "scope": "profile:read profile:write", "username": "cosmo", "token_type": "Bearer", "exp": now + 900,
            "iat": now, "sub": id, "aud": "tokenpair", "iss": ISSUER, "jti": access["jti"], "sid": access["sid"],
        })
    );
    assert_eq!(
        introspect(&stack, &user.refresh).await,
        json!({
            "active": true, "username": "cosmo", "exp": now + 3600, "iat": now, "sub": id, "aud": ISSUER, "iss": ISSUER,
            "jti": refresh["jti"], "sid": refresh["sid"],
        })
    );
    let service = client_credentials(&stack.client, CLIENT, CLIENT_SECRET, &[])
        .await
        .text_of("access_token");
    let said = introspect(&stack, &service).await;
    assert_eq!(
        (&said["active"], &said["client_id"], &said["sub"]),
        (&json!(true), &json!(CLIENT), &json!(CLIENT))
    );
}

#[tokio::test]
async fn of_a_token_that_is_not_good_nothing_is_said_but_that() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let inactive = json!({"active": false});
    let next = User::from(&stack.refresh(&user.refresh).await);
    assert_eq!(
        introspect(&stack, &user.refresh).await["active"],
        true,
        "it would be answered within the grace"
    );
    stack.clock.advance(GRACE);
    assert_eq!(introspect(&stack, &user.refresh).await, inactive);
    assert_eq!(
        introspect(&stack, &next.refresh).await["active"],
        true,
        "asking does not end the session as using would"
    );
    let mut forged = claims(&next.refresh);
    forged["gen"] = json!(2);
    for token in [
        "nonsense",
        "a.b.c",
        &forge(&json!({"alg": "HS256"}), &forged, SECRET),
    ] {
        assert_eq!(introspect(&stack, token).await, inactive);
    }
    stack.log_out(&next.refresh).await.has_status(204);
    for token in [&user.access, &next.access, &next.refresh] {
        assert_eq!(introspect(&stack, token).await, inactive);
    }
    let other = stack.sign_up("laika").await;
    stack.clock.advance(Duration::from_hours(2));
    assert_eq!(introspect(&stack, &other.access).await, inactive);
    post(&stack, "/oauth/introspect", &[])
        .await
        .refuses(400, "invalid_request");
}

#[tokio::test]
async fn revoking_either_token_ends_the_session_and_what_is_not_good_is_revoked_already() {
    let stack = Stack::start().await;
    for kind in ["access_token", "refresh_token"] {
        let reply = if kind == "access_token" {
            stack.register("cosmo").await
        } else {
            stack.log_in("cosmo").await
        };
        assert!(reply.status.is_success());
        let user = User::from(&stack.log_in("cosmo").await);
        let token = if kind == "access_token" {
            &user.access
        } else {
            &user.refresh
        };
        let form = [("token", token.as_str()), ("token_type_hint", kind)];
        for _ in 0..2 {
            assert_eq!(
                post(&stack, "/oauth/revoke", &form)
                    .await
                    .has_status(200)
                    .text,
                ""
            );
        }
        stack.me(&user.access).await.is(401, "token_revoked");
        stack.refresh(&user.refresh).await.is(401, "token_revoked");
    }
    post(&stack, "/oauth/revoke", &[("token", "nonsense")])
        .await
        .has_status(200);
    post(&stack, "/oauth/revoke", &[])
        .await
        .refuses(400, "invalid_request");
}

#[tokio::test]
async fn a_public_client_revokes_with_the_token_itself_but_not_with_a_wrong_secret() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let form = [("token", user.refresh.as_str())];
    let wrong = stack
        .client
        .request(&Method::POST, "/oauth/revoke")
        .basic_auth(CLIENT, Some("wrong"));
    Reply::to(wrong.form(&form))
        .await
        .refuses(401, "invalid_client");
    stack.me(&user.access).await.has_status(200);
    let public = [form[0], ("client_id", "a-browser")];
    Reply::to(
        stack
            .client
            .request(&Method::POST, "/oauth/revoke")
            .form(&public),
    )
    .await
    .has_status(200);
    stack.me(&user.access).await.is(401, "token_revoked");
}

#[tokio::test]
async fn without_an_issuer_tokens_are_exchanged_for_the_usual_audience() {
    let stack =
        Stack::start_with(|config| config.tokens.parties = Parties::new("", "tokenpair")).await;
    let user = stack.sign_up("cosmo").await;
    let reply = exchange(&stack, &user.access, &[("audience", "tokenpair")])
        .await
        .has_status(200);
    assert_eq!(claims(&reply.text_of("access_token"))["aud"], "tokenpair");
    exchange(&stack, &user.access, &[("audience", ISSUER)])
        .await
        .refuses(400, "invalid_target");
}

#[tokio::test]
async fn an_answer_with_a_token_is_kept_by_no_cache_old_or_new() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let credentials = [("grant_type", "client_credentials")];
    for reply in [
        post(&stack, "/oauth/token", &credentials).await,
        exchange(&stack, &user.access, &[]).await,
    ] {
        let reply = reply.has_status(200);
        let headers = [reply.header("cache-control"), reply.header("pragma")];
        assert_eq!(headers, ["no-store", "no-cache"]);
    }
}

#[tokio::test]
async fn nobody_administers_by_a_token_that_was_exchanged() {
    let admin = |config: &mut auth_service::config::Config| {
        config.sessions.default_scope = "admin profile:read".parse().unwrap();
    };
    let stack = Stack::start_with(admin).await;
    let user = stack.sign_up("cosmo").await;
    stack
        .client
        .get_with("/admin/users", &user.access)
        .await
        .has_status(200);
    let reply = exchange(&stack, &user.access, &[("audience", ISSUER)]).await;
    assert_eq!(reply.text_of("scope"), "profile:read");
    let asked = [("audience", ISSUER), ("scope", "admin")];
    let reply = exchange(&stack, &user.access, &asked).await;
    reply.refuses(400, "invalid_scope");
}

#[tokio::test]
async fn a_service_that_acts_for_a_user_neither_revokes_nor_logs_them_out() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let reply = exchange(&stack, &user.access, &[("audience", ISSUER)]).await;
    let delegated = reply.has_status(200).text_of("access_token");
    stack.log_out(&delegated).await.is(403, "wrong_caller");
    let service = stack.token_of(CLIENT).await;
    for token in [&delegated, &service] {
        let reply = post(&stack, "/oauth/revoke", &[("token", token)]).await;
        reply.refuses(400, "unsupported_token_type");
        assert_eq!(introspect(&stack, token).await["active"], true);
    }
    stack.me(&user.access).await.has_status(200);
    stack.refresh(&user.refresh).await.has_status(200);
}

#[tokio::test]
async fn a_token_for_the_issuer_alone_does_not_become_one_for_everybody() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let reply = exchange(&stack, &user.access, &[("audience", ISSUER)]).await;
    let narrow = reply.has_status(200).text_of("access_token");
    let again = exchange(&stack, &narrow, &[]).await.has_status(200);
    assert_eq!(claims(&again.text_of("access_token"))["aud"], ISSUER);
    let widened = exchange(&stack, &narrow, &[("audience", "tokenpair")]).await;
    widened.refuses(400, "invalid_target");
}

#[tokio::test]
async fn every_audience_and_resource_that_is_asked_for_counts() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let both = [("audience", "tokenpair"), ("resource", ISSUER)];
    let reply = exchange(&stack, &user.access, &both).await.has_status(200);
    let audiences = claims(&reply.text_of("access_token"))["aud"].clone();
    assert_eq!(audiences, json!([ISSUER, "tokenpair"]));
    for more in [
        [
            ("audience", "tokenpair"),
            ("resource", "https://other.example/"),
        ],
        [("audience", "tokenpair"), ("audience", "another")],
        [("resource", ISSUER), ("resource", "tokenpair")],
        [
            ("audience", "tokenpair"),
            ("resource", "http://127.0.0.1:8001#part"),
        ],
    ] {
        let reply = exchange(&stack, &user.access, &more).await;
        reply.refuses(400, "invalid_target");
    }
}

#[tokio::test]
async fn a_token_is_no_better_than_the_accounts_of_the_services_that_it_speaks_of() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let reply = exchange(&stack, &user.access, &[]).await;
    let delegated = reply.has_status(200).text_of("access_token");
    let (own, admin) = (
        stack.token_of("other").await,
        stack.token_of("administration").await,
    );
    stack.me(&delegated).await.has_status(200);
    assert_eq!(introspect(&stack, &own).await["active"], true);
    let call = async |method: Method, path: &str, body: Value| {
        let request = stack.client.request(&method, path).bearer_auth(&admin);
        let reply = Reply::to(request.json(&body)).await;
        assert!(reply.status.is_success(), "{reply:?}");
    };
    // The name is given to another client: a token of the one before it is not this one's.
    call(Method::DELETE, "/admin/clients/other", json!({})).await;
    stack.clock.advance(SECOND);
    call(Method::POST, "/admin/clients", json!({"id": "other"})).await;
    assert_eq!(introspect(&stack, &own).await, json!({"active": false}));

    let disabled = json!({"disabled": true});
    call(Method::PATCH, &format!("/admin/clients/{CLIENT}"), disabled).await;
    stack.me(&delegated).await.is(401, "token_revoked");
    stack.me(&user.access).await.has_status(200);
}

#[tokio::test]
async fn a_token_that_is_exchanged_within_the_leeway_is_good_for_no_time_and_not_for_less() {
    let stack = Stack::start_with(|config| config.tokens.leeway = 30 * SECOND).await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(ACCESS + SECOND);
    let reply = exchange(&stack, &user.access, &[]).await.has_status(200);
    assert_eq!(reply.json()["expires_in"], 0);
}
