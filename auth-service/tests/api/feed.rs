//! `GET /revocations`: what subscribers hear, in which order, and when they hear no more.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use shared_claims::Clock;
use test_support::program::Program;
use test_support::{Reply, start_of_time};

use crate::stack::{ACCESS, CLIENT, GRACE, SECOND, Stack, User, claims};

/// How long something may take that should come at once, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_hours(1);

/// A part of the stream: a comment, or an event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    name: String,
    data: Value,
    id: Option<i64>,
}

impl Heard {
    fn sid(&self) -> &str {
        self.data["sid"].as_str().unwrap_or_default()
    }
}

struct Listener {
    answer: Response,
    text: String,
}

impl Listener {
    /// The next event or comment; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((part, rest)) = self.text.split_once("\n\n") {
                let mut heard = Heard::default();
                for line in part.lines() {
                    match line.split_once(':').expect("a field or a comment") {
                        ("", _) => "comment".clone_into(&mut heard.name),
                        ("event", name) => name.trim().clone_into(&mut heard.name),
                        ("data", data) => heard.data = serde_json::from_str(data).expect("JSON"),
                        ("id", id) => heard.id = Some(id.trim().parse().expect("a number")),
                        other => panic!("{other:?}"),
                    }
                }
                let read = self.text.len() - rest.len();
                self.text.drain(..read);
                return Some(heard);
            }
            let piece = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            let piece = piece.expect("something is heard in time").ok()??;
            self.text
                .push_str(std::str::from_utf8(&piece).expect("UTF-8"));
        }
    }

    /// What comes up to and with the event of this name.
    async fn up_to(&mut self, name: &str) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            let heard = self.next().await.expect("the stream goes on");
            let last = heard.name == name;
            all.push(heard);
            if last {
                return all;
            }
        }
    }

    /// Waits for the end of the stream.
    async fn ends(&mut self) {
        while let Some(heard) = self.next().await {
            assert_eq!(heard.name, "comment", "nothing is said before the end");
        }
    }
}

impl Stack {
    async fn listen(&self, last: Option<&str>) -> Listener {
        self.listen_with(&self.token_of(CLIENT).await, last).await
    }

    async fn listen_with(&self, token: &str, last: Option<&str>) -> Listener {
        let request = self
            .client
            .request(&Method::GET, "/revocations")
            .bearer_auth(token);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Listener {
            answer,
            text: String::new(),
        }
    }

    async fn signed_out(&self, name: &str) -> String {
        let user = self.sign_up(name).await;
        self.log_out(&user.access).await.has_status(204);
        session_of(&user)
    }
}

fn session_of(user: &User) -> String {
    claims(&user.access)["sid"]
        .as_str()
        .expect("a sid")
        .to_owned()
}

#[tokio::test]
async fn a_subscriber_hears_a_hello_then_the_backlog_then_that_it_has_caught_up_then_what_is_new() {
    let stack = Stack::start().await;
    let before = stack.signed_out("cosmo").await;
    let mut listener = stack.listen(None).await;
    let heard = listener.up_to("caught-up").await;
    let names: Vec<_> = heard.iter().map(|heard| heard.name.as_str()).collect();
    assert_eq!(names, ["hello", "session-revoked", "caught-up"]);
    let user = stack.sign_up("laika").await;
    let kid = crate::stack::header(&user.access).kid.unwrap();
    assert_eq!(
        heard[0].data,
        json!({"issuer": "http://127.0.0.1:8001", "audience": "tokenpair", "kids": [kid],
               "access_token_expires": 900, "leeway": 0})
    );
    let now = start_of_time().as_second();
    assert_eq!(
        heard[1].data,
        json!({"sid": before, "reason": "logout", "revoked_at": now, "forget_after": now + 900})
    );

    stack.log_out(&user.access).await.has_status(204);
    let new = listener.up_to("session-revoked").await.pop().unwrap();
    assert_eq!(new.sid(), session_of(&user));
    assert!(new.id > heard[1].id);
}

#[tokio::test]
async fn every_way_in_which_a_session_ends_is_heard_with_its_reason() {
    let stack = Stack::start_with(|config| config.sessions.most_per_user = 3).await;
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    let admin = stack.token_of("administration").await;
    let call = async |method: Method, path: &str, token: &str, body: Value| {
        let request = stack
            .client
            .request(&method, path)
            .bearer_auth(token)
            .json(&body);
        assert!(
            Reply::to(request).await.status.is_success(),
            "{method} {path}"
        );
    };
    let mut reasons = Vec::new();
    let mut hear = async |listener: &mut Listener, user: &User| {
        let heard = listener.up_to("session-revoked").await.pop().unwrap();
        assert_eq!(heard.sid(), session_of(user));
        reasons.push(heard.data["reason"].as_str().unwrap().to_owned());
    };

    let user = stack.sign_up("cosmo").await;
    stack.refresh(&user.refresh).await.has_status(200);
    stack.clock.advance(GRACE);
    stack
        .refresh(&user.refresh)
        .await
        .is(401, "refresh_token_reused");
    hear(&mut listener, &user).await;

    let (here, there) = (
        User::from(&stack.log_in("cosmo").await),
        User::from(&stack.log_in("cosmo").await),
    );
    let path = format!("/sessions/{}", session_of(&there));
    call(Method::DELETE, &path, &here.access, json!({})).await;
    hear(&mut listener, &there).await;

    let there = User::from(&stack.log_in("cosmo").await);
    let change =
        json!({"current_password": crate::stack::PASSWORD, "new_password": crate::stack::PASSWORD});
    call(Method::PUT, "/me/password", &here.access, change).await;
    hear(&mut listener, &there).await;

    for _ in 0..3 {
        stack.clock.advance(SECOND);
        stack.log_in("cosmo").await.has_status(200);
    }
    hear(&mut listener, &here).await;

    for (name, method, body) in [
        ("belka", Method::PATCH, json!({"disabled": true})),
        ("strelka", Method::DELETE, json!({})),
    ] {
        let user = stack.sign_up(name).await;
        let id = claims(&user.access)["sub"].as_str().unwrap().to_owned();
        call(method, &format!("/admin/users/{id}"), &admin, body).await;
        hear(&mut listener, &user).await;
    }
    let user = stack.sign_up("laika").await;
    let path = format!("/admin/sessions/{}", session_of(&user));
    call(Method::DELETE, &path, &admin, json!({})).await;
    hear(&mut listener, &user).await;
    assert_eq!(
        reasons,
        [
            "refresh_token_reused",
            "ended_by_user",
            "password_changed",
            "too_many_sessions",
            "user_disabled",
            "user_removed",
            "administrator"
        ]
    );
}

#[tokio::test]
async fn a_subscriber_that_comes_back_hears_what_it_missed_and_nothing_twice() {
    let stack = Stack::start().await;
    stack.signed_out("one").await;
    let mut listener = stack.listen(None).await;
    let read = listener
        .up_to("session-revoked")
        .await
        .pop()
        .unwrap()
        .id
        .unwrap();
    drop(listener);
    let missed = [
        stack.signed_out("two").await,
        stack.signed_out("three").await,
    ];

    let mut listener = stack.listen(Some(&read.to_string())).await;
    let heard = listener.up_to("caught-up").await;
    let sids: Vec<_> = heard[1..3].iter().map(Heard::sid).collect();
    assert_eq!(
        (sids, heard.len()),
        (missed.iter().map(String::as_str).collect(), 4)
    );

    // What is no id of this table, a backup's for instance, is like no id: everything is told.
    for last in [
        "",
        "x",
        "-1",
        "99999999999999999999999",
        &i64::MAX.to_string(),
    ] {
        let heard = stack.listen(Some(last)).await.up_to("caught-up").await;
        assert_eq!(heard.len(), 5, "{last:?}");
    }
}

#[tokio::test]
async fn what_cannot_matter_any_more_is_not_told_and_ids_go_up_over_restarts() {
    let stack = Stack::start().await;
    stack.signed_out("one").await;
    stack.clock.advance(ACCESS - SECOND);
    let heard = stack.listen(None).await.up_to("caught-up").await;
    let first = heard[1].id;
    stack.clock.advance(SECOND);
    assert_eq!(stack.listen(None).await.up_to("caught-up").await.len(), 2);

    let stack = stack.restart().await;
    let two = stack.signed_out("two").await;
    let stack = stack.restart().await;
    let heard = stack.listen(None).await.up_to("caught-up").await;
    assert_eq!((heard.len(), heard[1].sid()), (3, two.as_str()));
    assert!(heard[1].id > first);
}

#[tokio::test]
async fn a_revocation_outlives_tokens_from_when_their_lifetime_was_longer() {
    let stack = Stack::start_with(|config| {
        config.sessions.access_token_expires = Duration::from_hours(1);
    })
    .await;
    let user = stack.sign_up("cosmo").await;
    stack.clock.advance(SECOND);
    let stack = stack
        .restart_with(|config| config.sessions.access_token_expires = ACCESS)
        .await;
    stack.log_out(&user.access).await.has_status(204);
    let heard = stack.listen(None).await.up_to("caught-up").await;
    let forget_after = heard[1].data["forget_after"].as_i64();
    assert!(forget_after >= claims(&user.access)["exp"].as_i64());

    // Once the last of the old tokens has expired, the shorter lifetime is what counts.
    stack.clock.advance(Duration::from_hours(1));
    let stack = stack.restart().await;
    stack.signed_out("laika").await;
    let heard = stack.listen(None).await.up_to("caught-up").await;
    let now = stack.clock.now().as_second();
    assert_eq!(heard[1].data["forget_after"], now + 900);
}

#[tokio::test]
async fn a_heartbeat_comes_when_there_is_nothing_to_say() {
    let stack = Stack::start().await;
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    let started = Instant::now();
    listener.up_to("comment").await;
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn the_stream_ends_when_its_token_expires() {
    let stack = Stack::start().await;
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    stack.clock.advance(ACCESS);
    listener.ends().await;
}

#[tokio::test]
async fn the_stream_ends_when_its_account_is_disabled_or_removed() {
    let stack = Stack::start().await;
    let admin = stack.token_of("administration").await;
    let path = format!("/admin/clients/{CLIENT}");
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    let token = stack.token_of(CLIENT).await;
    for disabled in [true, false] {
        let change = stack
            .client
            .request(&Method::PATCH, &path)
            .bearer_auth(&admin);
        let change = change.json(&json!({"disabled": disabled}));
        Reply::to(change).await.has_status(204);
        if disabled {
            listener.ends().await;
            let again = stack.client.get_with("/revocations", &token);
            again.await.is(401, "token_revoked");
        }
    }
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    let remove = stack
        .client
        .request(&Method::DELETE, &path)
        .bearer_auth(&admin);
    Reply::to(remove).await.has_status(204);
    listener.ends().await;
}

#[tokio::test]
async fn open_streams_do_not_hold_up_an_orderly_stop() {
    let stack = Stack::start().await;
    let mut listeners = [stack.listen(None).await, stack.listen(None).await];
    for listener in &mut listeners {
        listener.up_to("caught-up").await;
    }
    let started = Instant::now();
    let stack = stack.restart().await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "the stop waits 5 s for what does not end"
    );
    for listener in &mut listeners {
        listener.ends().await;
    }
    stack.listen(None).await.up_to("caught-up").await;
}

#[tokio::test]
async fn only_whoever_has_the_scope_may_listen() {
    let stack = Stack::start_with(|config| {
        config.sessions.default_scope = "revocations:read".parse().unwrap();
    })
    .await;
    stack
        .client
        .get("/revocations")
        .await
        .is(401, "missing_token");
    let other = stack.token_of("other").await;
    let reply = stack.client.get_with("/revocations", &other);
    let reply = reply.await.is(403, "insufficient_scope");
    assert!(
        reply
            .header("www-authenticate")
            .contains("scope=\"revocations:read\"")
    );
    let user = stack.sign_up("cosmo").await;
    let reply = stack.client.get_with("/revocations", &user.refresh);
    reply.await.is(401, "wrong_token_type");
    // Of a user there is nothing to wait for when keys change.
    let subscriber = stack
        .client
        .request(&Method::PUT, "/revocations/subscribers/x");
    let report = json!({"name": "cosmo", "kids": []});
    let reply = Reply::to(subscriber.bearer_auth(&user.access).json(&report));
    reply.await.is(403, "wrong_caller");
}

#[tokio::test]
async fn a_user_who_may_listen_does_so_as_long_as_their_session_goes_on() {
    let stack = Stack::start_with(|config| {
        config.sessions.default_scope = "revocations:read".parse().unwrap();
    })
    .await;
    let (user, other) = (stack.sign_up("cosmo").await, stack.sign_up("laika").await);
    let mut listener = stack.listen_with(&user.access, None).await;
    listener.up_to("caught-up").await;
    stack.log_out(&other.access).await.has_status(204);
    listener.up_to("session-revoked").await;
    stack.log_out(&user.access).await.has_status(204);
    while listener.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_ends_is_heard_too() {
    let stack = Stack::start_with(|config| config.clock = shared_claims::Clock::system()).await;
    let user = stack.sign_up("cosmo").await;
    let mut listener = stack.listen(None).await;
    listener.up_to("caught-up").await;
    Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
        .with(&["session", "revoke", "--user", "cosmo"])
        .setting("AUTH_DATABASE_URL", stack.database())
        .run()
        .succeeds();
    let heard = listener.up_to("session-revoked").await.pop().unwrap();
    assert_eq!(heard.sid(), session_of(&user));
    let lifetime =
        heard.data["forget_after"].as_i64().unwrap() - heard.data["revoked_at"].as_i64().unwrap();
    assert_eq!(lifetime, 900, "a command knows the service's lifetimes");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_costs_nobody_anything_and_misses_nothing() {
    let stack = Stack::start().await;
    let mut slow = stack.listen(None).await;
    let mut expected = Vec::new();
    for number in 0..20 {
        expected.push(stack.signed_out(&format!("user-{number}")).await);
    }
    let mut quick = stack.listen(None).await;
    for listener in [&mut quick, &mut slow] {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let next = listener.next().await.expect("the stream goes on");
            if next.name == "session-revoked" {
                heard.push(next.sid().to_owned());
            }
        }
        assert_eq!(heard, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_tell_of_themselves_and_a_command_lists_them() {
    let stack = Stack::start_with(|config| config.clock = shared_claims::Clock::system()).await;
    let token = stack.token_of(CLIENT).await;
    let tell = async |id: &str, token: &str, report: Value| {
        let path = format!("/revocations/subscribers/{id}");
        stack.client.put_with(&path, token, &report).await
    };
    let report = json!({"name": "orders@one", "kids": ["key-1", "key-2"]});
    tell("first", &token, report.clone()).await.has_status(204);
    tell(
        "second",
        &token,
        json!({"name": "orders@two", "kids": [], "last_event_id": 1}),
    )
    .await
    .has_status(204);
    stack.signed_out("cosmo").await;
    let list = || {
        let listed = Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
            .with(&["session", "feed"])
            .setting("AUTH_DATABASE_URL", stack.database())
            .run();
        listed.succeeds().stdout
    };
    let listed = list();
    // Two, the heading, and auth-service itself.
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let first = listed
        .lines()
        .find(|line| line.starts_with("first "))
        .unwrap();
    for part in [CLIENT, "orders@one", "here", " 1  key-1 key-2"] {
        assert!(first.contains(part), "{part:?} in {listed}");
    }

    for (report, field) in [
        (json!({"kids": []}), "name"),
        (json!({"name": "a b", "kids": []}), "name"),
        (json!({"name": "a"}), "kids"),
        (json!({"name": "a", "kids": ["a b"]}), "kids"),
        (json!({"name": "a", "kids": vec!["x"; 65]}), "kids"),
    ] {
        let errors = tell("first", &token, report)
            .await
            .is(400, "invalid_request")
            .json();
        assert!(errors["errors"][field].is_array(), "{errors}");
    }
    let admin = stack.token_of("administration").await;
    tell("first", &admin, report)
        .await
        .is(403, "insufficient_scope");
    let goodbye = async || {
        let path = "/revocations/subscribers/first";
        Reply::to(
            stack
                .client
                .request(&Method::DELETE, path)
                .bearer_auth(&token),
        )
        .await
    };
    goodbye().await.has_status(204);
    goodbye().await.is(404, "not_found");
    assert_eq!(list().lines().count(), 3);
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_set_back_costs_no_revocation() {
    let stack = Stack::start().await;
    stack.client.becomes_ready().await;
    stack.clock.advance(Duration::from_hours(24));
    stack.signed_out("one").await;
    let ahead = stack.listen(None).await.up_to("session-revoked").await;
    let read = ahead.last().unwrap().id.unwrap();
    // Long enough for the row to be deleted at the next start, were it not the newest.
    stack.clock.advance(Duration::from_hours(3));
    let stack = stack.restart().await;
    let set_back = Clock::manual(start_of_time());
    let mut stack = stack
        .restart_with(|config| config.clock = set_back.clone())
        .await;
    stack.clock = set_back;
    let two = stack.signed_out("two").await;
    let mut listener = stack.listen(Some(&read.to_string())).await;
    let heard = listener.up_to("caught-up").await;
    assert_eq!((heard.len(), heard[1].sid()), (3, two.as_str()));
    assert!(heard[1].id.unwrap() > read);
}

#[tokio::test]
async fn a_greater_leeway_does_not_bring_ended_sessions_back() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.log_out(&user.access).await.has_status(204);
    stack.clock.advance(ACCESS + 10 * SECOND);
    assert_eq!(stack.listen(None).await.up_to("caught-up").await.len(), 2);
    let leeway = Duration::from_mins(30);
    let stack = stack
        .restart_with(|config| {
            config.tokens.leeway = leeway;
        })
        .await;
    let heard = stack.listen(None).await.up_to("caught-up").await;
    assert_eq!(
        (heard.len(), heard[1].sid()),
        (3, session_of(&user).as_str())
    );
    stack.me(&user.access).await.is(401, "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_on_a_database_whose_service_has_not_told_of_its_lifetimes_yet() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let file = stack.database().replace("sqlite://", "");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let emptied = sqlx::query("delete from token_lifetimes")
        .execute(&pool)
        .await;
    emptied.unwrap();
    pool.close().await;
    Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
        .with(&["user", "disable", "cosmo"])
        .setting("AUTH_DATABASE_URL", stack.database())
        .run()
        .succeeds();
    let heard = stack.listen(None).await.up_to("caught-up").await;
    assert_eq!(heard[1].sid(), session_of(&user));
    assert!(heard[1].data["forget_after"].as_i64() > claims(&user.access)["exp"].as_i64());
}

#[tokio::test]
async fn an_ended_session_is_told_of_until_its_tokens_expire_though_the_clock_was_set_back() {
    let stack = Stack::start().await;
    stack.register("cosmo").await.has_status(201);
    stack.clock.advance(HOUR);
    let user = User::from(&stack.log_in("cosmo").await);
    let set_back = Clock::manual(start_of_time());
    let stack = stack.restart_with(|config| config.clock = set_back).await;
    stack.log_out(&user.access).await.has_status(204);
    let expires_at = claims(&user.access)["exp"].as_i64().expect("a time");
    let told = stack.backlog().await;
    let forget_after = told[0]["forget_after"].as_i64().expect("a time");
    assert!(forget_after >= expires_at, "{forget_after} {expires_at}");
}

#[tokio::test]
async fn one_subscriber_too_many_is_told_so_and_a_place_becomes_free() {
    let stack = Stack::start_with(|config| {
        config.most_subscribers = 3;
        config.sessions.default_scope = "revocations:read".parse().unwrap();
    })
    .await;
    let mut listeners = [stack.listen(None).await, stack.listen(None).await];
    for listener in &mut listeners {
        listener.up_to("caught-up").await;
    }
    let token = stack.token_of(CLIENT).await;
    let reply = stack.client.get_with("/revocations", &token).await;
    let reply = reply.is(503, "overloaded");
    assert_eq!(reply.header("retry-after"), "5");
    // One of them does not take the place of all others.
    let user = stack.sign_up("cosmo").await;
    let mut other = stack.listen_with(&user.access, None).await;
    other.up_to("caught-up").await;
    drop(listeners);
    let started = Instant::now();
    loop {
        let request = stack.client.request(&Method::GET, "/revocations");
        let answer = request.bearer_auth(&token).send().await.expect("an answer");
        if answer.status() == 200 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "no place becomes free");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_tells_of_no_more_subscribers_than_may_listen_and_those_that_are_gone_make_room() {
    let stack = Stack::start_with(|config| config.most_subscribers = 2).await;
    let token = stack.token_of(CLIENT).await;
    let tell = async |id: &str| {
        let path = format!("/revocations/subscribers/{id}");
        let report = json!({"name": id, "kids": []});
        stack.client.put_with(&path, &token, &report).await
    };
    let listed = || {
        let listed = Program::new(env!("CARGO_BIN_EXE_auth-service"), std::env::temp_dir())
            .with(&["session", "feed"])
            .setting("AUTH_DATABASE_URL", stack.database())
            .run();
        let ids = ["one ", "two ", "three ", "four "];
        let listed = listed.succeeds().stdout;
        ids.map(|id| listed.lines().any(|line| line.starts_with(id)))
    };
    tell("one").await.has_status(204);
    stack.clock.advance(SECOND);
    tell("two").await.has_status(204);
    // Both are here: whoever changes a key must not miss them.
    tell("three").await.is(409, "too_many_subscribers");
    assert_eq!(listed(), [true, true, false, false]);
    tell("one").await.has_status(204);
    stack.clock.advance(45 * SECOND);
    tell("two").await.has_status(204);
    stack.clock.advance(SECOND);
    tell("three").await.has_status(204);
    assert_eq!(listed(), [false, true, true, false]);
    tell("four").await.is(409, "too_many_subscribers");
    // A goodbye makes room at once.
    let path = "/revocations/subscribers/two";
    let goodbye = stack.client.request(&Method::DELETE, path);
    Reply::to(goodbye.bearer_auth(&token)).await.has_status(204);
    tell("four").await.has_status(204);
    assert_eq!(listed(), [false, false, true, true]);
}
