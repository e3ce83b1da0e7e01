//! Guessing has an end, and does not keep out whom the password belongs to.

use std::cell::Cell;
use std::time::{Duration, Instant};

use auth_service::config::{Limit, Rate, Registration};
use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use test_support::Reply;

use crate::stack::{CLIENT, PASSWORD, Stack, client_credentials};

const HOUR: Duration = Duration::from_hours(1);

fn rate(count: u32, period: Duration) -> Limit {
    Limit(Rate::new(count, period))
}

/// A service behind a proxy on this machine, which lets a test come from wherever it likes.
async fn behind_a_proxy(per_user: Limit, per_address: Limit) -> Stack {
    Stack::start_with(|config| {
        config.attempts.per_user = per_user;
        config.attempts.per_address = per_address;
        config.trusted_proxies = "127.0.0.1".parse().unwrap();
    })
    .await
}

async fn log_in_from(stack: &Stack, from: &str, username: &str, password: &str) -> Reply {
    let request = stack.client.request(&Method::POST, "/login");
    let body = json!({"username": username, "password": password});
    Reply::to(request.header("x-forwarded-for", from).json(&body)).await
}

/// Rows that nothing can ask for any more are deleted at the start.
async fn until_no_session_is_left(stack: &Stack) {
    let options: SqliteConnectOptions = stack.database().parse().unwrap();
    let mut database = options.connect().await.unwrap();
    let count = "select count(*) from sessions";
    while 0 < sqlx::query_scalar::<_, i64>(count)
        .fetch_one(&mut database)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_too_many(reply: Reply) -> u64 {
    let reply = reply.is(429, "rate_limited");
    reply.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn after_so_many_wrong_passwords_there_is_a_wait_whether_there_is_such_a_user_or_not() {
    let stack = behind_a_proxy(rate(5, HOUR), Limit(None)).await;
    stack.register("cosmo").await.has_status(201);
    for name in ["cosmo", "nobody"] {
        for number in 0..5 {
            let from = format!("192.0.2.{number}");
            log_in_from(&stack, &from, name, "wrong-password")
                .await
                .is(401, "bad_credentials");
        }
        let refused = log_in_from(&stack, "192.0.2.9", name, "wrong-password").await;
        let wait = is_too_many(refused);
        assert!((700..=720).contains(&wait), "{wait}");
        // Be it that the next is right: nothing is learnt from it.
        is_too_many(log_in_from(&stack, "192.0.2.9", &name.to_uppercase(), PASSWORD).await);
    }
}

#[tokio::test]
async fn whoever_has_been_there_before_is_not_kept_out_by_the_guesses_of_strangers() {
    let stack = behind_a_proxy(rate(5, HOUR), Limit(None)).await;
    stack.register("cosmo").await.has_status(201);
    let home = "2001:db8::1";
    log_in_from(&stack, home, "cosmo", PASSWORD)
        .await
        .has_status(200);
    for _ in 0..20 {
        let guess = log_in_from(&stack, "198.51.100.1", "cosmo", "wrong-password").await;
        assert!([401, 429].contains(&guess.status.as_u16()));
    }
    is_too_many(log_in_from(&stack, "198.51.100.1", "cosmo", PASSWORD).await);
    // The same network, as an address of one's own is a new one every day.
    for _ in 0..10 {
        log_in_from(&stack, "2001:db8::2:1", "cosmo", PASSWORD)
            .await
            .has_status(200);
    }
    // Guesses from there have an end too.
    for _ in 0..5 {
        let guess = log_in_from(&stack, home, "cosmo", "wrong-password").await;
        guess.is(401, "bad_credentials");
    }
    is_too_many(log_in_from(&stack, home, "cosmo", PASSWORD).await);
}

#[tokio::test]
async fn whoever_was_there_yesterday_is_not_kept_out_by_the_guesses_of_strangers_either() {
    let stack = behind_a_proxy(rate(5, HOUR), Limit(None)).await;
    stack.register("cosmo").await.has_status(201);
    for home in ["192.0.2.10", "192.0.2.20", "2001:db8::1"] {
        log_in_from(&stack, home, "cosmo", PASSWORD)
            .await
            .has_status(200);
    }
    stack.clock.advance(24 * HOUR);
    let stack = stack.restart().await;
    until_no_session_is_left(&stack).await;
    for _ in 0..20 {
        let guess = log_in_from(&stack, "198.51.100.1", "cosmo", "wrong-password").await;
        assert!([401, 429].contains(&guess.status.as_u16()));
    }
    is_too_many(log_in_from(&stack, "198.51.100.1", "cosmo", PASSWORD).await);
    for home in ["192.0.2.10", "192.0.2.20", "2001:db8::2:1"] {
        log_in_from(&stack, home, "cosmo", PASSWORD)
            .await
            .has_status(200);
    }
}

#[tokio::test]
async fn whose_name_it_is_cannot_be_told_by_the_guesses_that_there_are_where_its_owner_has_been() {
    let stack = behind_a_proxy(rate(5, HOUR), Limit(None)).await;
    stack.register("cosmo").await.has_status(201);
    let here = "192.0.2.10";
    log_in_from(&stack, here, "cosmo", PASSWORD)
        .await
        .has_status(200);
    for name in ["cosmo", "nobody"] {
        for _ in 0..5 {
            log_in_from(&stack, here, name, "wrong-password")
                .await
                .is(401, "bad_credentials");
        }
        is_too_many(log_in_from(&stack, here, name, "wrong-password").await);
    }
}

#[tokio::test]
async fn an_administrator_adds_users_whatever_strangers_have_guessed_from_the_same_address() {
    let stack = behind_a_proxy(Limit(None), rate(3, HOUR)).await;
    for _ in 0..4 {
        log_in_from(&stack, "192.0.2.10", "cosmo", "wrong-password").await;
    }
    let token = stack.token_of("administration").await;
    let add = stack.client.request(&Method::POST, "/admin/users");
    let user = json!({"username": "laika", "password": PASSWORD});
    let add = add
        .header("x-forwarded-for", "192.0.2.10")
        .bearer_auth(token);
    Reply::to(add.json(&user)).await.has_status(201);
    is_too_many(log_in_from(&stack, "192.0.2.10", "laika", PASSWORD).await);
}

#[tokio::test]
async fn right_passwords_do_not_count_and_wrong_ones_are_forgotten_with_time() {
    let short = Duration::from_secs(2);
    let stack = behind_a_proxy(rate(2, short), rate(3, HOUR)).await;
    stack.register("cosmo").await.has_status(201);
    for _ in 0..10 {
        log_in_from(&stack, "192.0.2.1", "cosmo", PASSWORD)
            .await
            .has_status(200);
    }
    let started = Instant::now();
    for number in 2..4 {
        let from = format!("192.0.2.{number}");
        log_in_from(&stack, &from, "cosmo", "wrong-password").await;
    }
    // From another place each time: what is refused counts for the address.
    for number in 0.. {
        let from = format!("198.51.100.{number}");
        let reply = log_in_from(&stack, &from, "cosmo", PASSWORD).await;
        if reply.status != 429 {
            reply.has_status(200);
            break;
        }
        assert_eq!(is_too_many(reply), 1);
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_address_has_a_count_over_everything_that_is_tried_from_it() {
    let stack = Stack::start_with(|config| {
        config.attempts.per_user = Limit(None);
        config.attempts.per_address = rate(4, HOUR);
        config.registration = Registration::Open;
    })
    .await;
    let register = async |name: &str| {
        let body = json!({"username": name, "password": PASSWORD});
        stack.client.post("/register", &body).await
    };
    let log_in = async |name: &str, from: &str| {
        let request = stack.client.request(&Method::POST, "/login");
        let body = json!({"username": name, "password": "wrong-password"});
        // No proxy is trusted: what it says is nothing.
        Reply::to(request.header("x-forwarded-for", from).json(&body)).await
    };
    let token = async || client_credentials(&stack.client, CLIENT, "wrong", &[]).await;
    register("cosmo").await.has_status(201);
    register("cosmo").await.is(409, "username_taken");
    log_in("someone", "192.0.2.1")
        .await
        .is(401, "bad_credentials");
    let refused = token().await.has_status(401);
    assert_eq!(refused.json()["error"], "invalid_client");

    is_too_many(register("laika").await);
    is_too_many(log_in("someone", "192.0.2.2").await);
    let refused = token().await.has_status(429);
    assert_eq!(refused.json()["error"], "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 800);
    // What needs no guessing goes on.
    stack.client.get("/health/ready").await.has_status(200);
}

/// However many names are tried: each of them would have attempts of its own, and cost a hash.
#[tokio::test]
async fn an_address_that_tries_ten_thousand_names_is_turned_away_quickly_and_nobody_else_notices() {
    const NAMES: usize = 10_000;
    const AT_ONCE: usize = 8;
    let stack = behind_a_proxy(rate(100, HOUR), rate(4, HOUR)).await;
    let over = Cell::new(false);
    let guessing = async {
        let started = Instant::now();
        let guesses = (0..AT_ONCE).map(async |first| {
            let mut looked_at = 0;
            for number in (first..NAMES).step_by(AT_ONCE) {
                let name = format!("user-{number}");
                let guess = log_in_from(&stack, "198.51.100.1", &name, "wrong-password").await;
                if guess.status == 401 {
                    looked_at += 1;
                } else {
                    is_too_many(guess);
                }
            }
            looked_at
        });
        let looked_at: u32 = join_all(guesses).await.into_iter().sum();
        over.set(true);
        assert_eq!(looked_at, 4);
        // A hash for each would take many times as long.
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{:?}",
            started.elapsed()
        );
    };
    let living = async {
        let mut number = 0;
        while !over.get() {
            let (name, from) = (
                format!("cosmo-{number}"),
                format!("10.0.{}.{}", number / 250, number % 250),
            );
            let started = Instant::now();
            let register = stack.client.request(&Method::POST, "/register");
            let body = json!({"username": name, "password": PASSWORD});
            let register = register.header("x-forwarded-for", &from).json(&body);
            Reply::to(register).await.has_status(201);
            let pair = log_in_from(&stack, &from, &name, PASSWORD).await;
            let refresh = pair.has_status(200).text_of("refresh_token");
            stack.refresh(&refresh).await.has_status(200);
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{:?}",
                started.elapsed()
            );
            number += 1;
        }
        assert!(number > 1);
    };
    tokio::join!(guessing, living);
}

#[tokio::test]
async fn clients_that_know_their_secret_are_never_slowed_down() {
    let stack = Stack::start_with(|config| config.attempts.per_address = rate(2, HOUR)).await;
    for _ in 0..20 {
        stack.token_of(CLIENT).await;
    }
}

#[tokio::test]
async fn the_password_of_a_session_is_no_way_around() {
    let stack = Stack::start_with(|config| config.attempts.per_user = rate(3, HOUR)).await;
    stack.register("cosmo").await.has_status(201);
    let token = stack.log_in("cosmo").await.text_of("access_token");
    let change = async || {
        let body = json!({"current_password": "wrong-password", "new_password": "another-one"});
        stack.client.put_with("/me/password", &token, &body).await
    };
    for _ in 0..3 {
        change().await.is(401, "bad_credentials");
    }
    is_too_many(change().await);
}

#[tokio::test]
async fn without_limits_there_are_none() {
    let stack = Stack::start_with(|config| {
        config.attempts.per_user = Limit(None);
        config.attempts.per_address = Limit(None);
    })
    .await;
    for _ in 0..20 {
        let body = json!({"username": "nobody", "password": "wrong-password"});
        stack
            .client
            .post("/login", &body)
            .await
            .is(401, "bad_credentials");
    }
}
