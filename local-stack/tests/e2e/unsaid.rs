//! What is done with secrets and with what is personal, beyond logging in and out; of which the log, the figures and the spans must
//! say nothing.

use reqwest::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE, USER_AGENT};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use test_support::Reply;

use crate::stack::Stack;

/// The setting without which no page is given a cookie.
pub(crate) const ALLOWED: (&str, &str) = ("CORS_ALLOWED_ORIGINS", PAGE);
const PAGE: &str = "http://127.0.0.1:1957";
const STRANGER: &str = "http://elsewhere.example";
const CLIENT: &str = "resource-service";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const USER: &str = "strelka";
const PASSWORD: &str = "the moon is a harsh mistress";
const NEW_PASSWORD: &str = "all these worlds are yours";
const GUESS: &str = "open the pod bay doors";
const SHORT: &str = "s3cret";
const BROWSER: &str = "a browser of its very own";
const NAME: &str = "Strelka of Baikonur";
const BIO: &str = "Went up with forty mice.";
const UNUSABLE: &str = "a name that no field takes";

/// What was used in a run, piece by piece; of a token, its signature.
#[derive(Default)]
pub(crate) struct Unsaid(pub(crate) Vec<String>);

impl Unsaid {
    pub(crate) fn token(&mut self, token: &str) {
        let signature = token.rsplit('.').next().expect("a token has three parts");
        self.texts(&[signature]);
    }

    pub(crate) fn texts(&mut self, texts: &[&str]) {
        self.0.extend(texts.iter().map(|&text| text.to_owned()));
    }
}

/// Does all of it. The stack has [`ALLOWED`] among its settings, and each refresh rotates.
pub(crate) async fn use_all(stack: &Stack) -> Unsaid {
    let mut unsaid = Unsaid::default();
    unsaid.texts(&[USER, PASSWORD, NEW_PASSWORD, GUESS, SHORT]);
    unsaid.texts(&[BROWSER, NAME, BIO, UNUSABLE, PAGE, STRANGER]);
    let user = json!({"username": USER, "password": PASSWORD});
    stack.auth.post("/register", &user).await.has_status(201);
    use_cookies(stack, &mut unsaid).await;
    let pair = stack.log_in(USER, PASSWORD).await.has_status(200);
    let access = pair.text_of("access_token");
    unsaid.token(&access);
    unsaid.token(&pair.text_of("refresh_token"));
    write_profile(stack, &access).await;
    use_oauth(stack, &access, &mut unsaid).await;
    change_password(stack, &access).await;
    unsaid
}

/// A browser's way: the refresh token comes and goes in a cookie.
async fn use_cookies(stack: &Stack, unsaid: &mut Unsaid) {
    let from = |origin, path, cookie: &str| -> RequestBuilder {
        let request = stack.auth.request(&Method::POST, path);
        let request = request.header(ORIGIN, origin).header(USER_AGENT, BROWSER);
        request.header(COOKIE, format!("theme=midnight-oil; {cookie}"))
    };
    let body = json!({"username": USER, "password": PASSWORD, "delivery": "cookie"});
    let mut take = |reply: &Reply| -> String {
        let cookie = reply.header(SET_COOKIE.as_str()).split(';').next();
        let cookie = cookie.expect("a cookie").to_owned();
        unsaid.token(&cookie);
        unsaid.token(&reply.text_of("access_token"));
        cookie
    };
    let login = from(PAGE, "/login", "lang=en").json(&body);
    let first = take(&Reply::to(login).await.has_status(200));
    let stolen = Reply::to(from(STRANGER, "/refresh", &first)).await;
    stolen.has_status(403);
    let refreshed = Reply::to(from(PAGE, "/refresh", &first)).await;
    let second = take(&refreshed.has_status(200));
    let in_both = from(PAGE, "/logout", &second).header(AUTHORIZATION, "Bearer of-bad-news");
    assert!(Reply::to(in_both).await.status.is_client_error());
    let over = Reply::to(from(PAGE, "/logout", &second)).await;
    over.has_status(204);
    let late = Reply::to(from(PAGE, "/refresh", &second)).await;
    late.is(401, "token_revoked");
    unsaid.texts(&["midnight-oil", "of-bad-news"]);
}

async fn write_profile(stack: &Stack, access: &str) {
    for (profile, status) in [
        (json!({"display_name": NAME, "bio": BIO}), 200),
        (
            json!({"display_name": UNUSABLE.repeat(40), "bio": BIO}),
            400,
        ),
        (json!({"display_name": [UNUSABLE], "bio": BIO}), 400),
    ] {
        let written = stack.resource.put_with("/profile", access, &profile).await;
        written.has_status(status);
    }
    // The account of it comes from auth-service.
    let dashboard = stack.resource.get_with("/dashboard", access).await;
    assert_eq!(dashboard.has_status(200).json()["missing"], json!([]));
}

/// Everything that a client can ask for, with a secret that is its own and with one that is not.
async fn use_oauth(stack: &Stack, access: &str, unsaid: &mut Unsaid) {
    let secret = stack.client_secret().await;
    let ask = async |path, secret: &str, form: &[(&str, &str)]| {
        let request = stack.auth.request(&Method::POST, path);
        Reply::to(request.basic_auth(CLIENT, Some(secret)).form(form)).await
    };
    let own = [("grant_type", "client_credentials")];
    ask("/oauth/token", GUESS, &own).await.has_status(401);
    let in_form = [("client_id", CLIENT), ("client_secret", &*secret), own[0]];
    let request = stack.auth.request(&Method::POST, "/oauth/token");
    let granted = Reply::to(request.form(&in_form)).await.has_status(200);
    unsaid.token(&granted.text_of("access_token"));
    let exchange = [
        ("grant_type", EXCHANGE),
        ("subject_token", access),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let exchanged = ask("/oauth/token", &secret, &exchange).await;
    let exchanged = exchanged.has_status(200).text_of("access_token");
    unsaid.token(&exchanged);
    let pair = stack.log_in(USER, PASSWORD).await.has_status(200);
    let refresh = pair.text_of("refresh_token");
    unsaid.token(&pair.text_of("access_token"));
    let renew = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
    let renewed = ask("/oauth/token", &secret, &renew).await;
    let renewed = renewed.has_status(200).text_of("refresh_token");
    unsaid.token(&refresh);
    unsaid.token(&renewed);
    for token in [
        access,
        exchanged.as_str(),
        refresh.as_str(),
        "no-token-at-all",
    ] {
        for secret in [secret.as_str(), GUESS] {
            let status = if secret == GUESS { 401 } else { 200 };
            let told = ask("/oauth/introspect", secret, &[("token", token)]).await;
            told.has_status(status);
        }
    }
    let revoked = ask("/oauth/revoke", &secret, &[("token", &refresh)]).await;
    revoked.has_status(200);
    unsaid.texts(&[&secret, "no-token-at-all"]);
}

async fn change_password(stack: &Stack, access: &str) {
    for (current, new, status) in [
        (GUESS, NEW_PASSWORD, 401),
        (PASSWORD, SHORT, 400),
        (PASSWORD, NEW_PASSWORD, 204),
    ] {
        let body = json!({"current_password": current, "new_password": new});
        let changed = stack.auth.put_with("/me/password", access, &body).await;
        changed.has_status(status);
    }
    stack.log_in(USER, PASSWORD).await.has_status(401);
}
