//! The whole service against a model of it that fits on two pages: whatever users do, in whichever order, with any token
//! seen so far, over restarts and kills, both say the same.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::stack::{ACCESS, GRACE, REFRESH, SECOND, Stack, User, claims};

#[derive(Clone, Debug)]
enum Step {
    LogIn {
        user: usize,
    },
    /// With any refresh token that was seen so far.
    Refresh {
        token: prop::sample::Index,
    },
    /// With any token of either kind that was seen so far.
    LogOut {
        token: prop::sample::Index,
    },
    /// A user ends a session, which may be another user's or over.
    End {
        by: prop::sample::Index,
        session: prop::sample::Index,
    },
    EndAll {
        by: prop::sample::Index,
    },
    /// Asks for the account with any access token that was seen so far.
    Look {
        token: prop::sample::Index,
    },
    Wait(Duration),
    Restart,
    /// The service is gone from one moment to the next, in the middle of a logout.
    Kill {
        token: prop::sample::Index,
        after: Duration,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let waits = [
        SECOND,
        GRACE - SECOND,
        GRACE,
        GRACE + SECOND,
        ACCESS - SECOND,
        ACCESS,
        REFRESH - SECOND,
        REFRESH,
    ];
    prop_oneof![
        2 => (0..2usize).prop_map(|user| Step::LogIn { user }),
        8 => index().prop_map(|token| Step::Refresh { token }),
        1 => index().prop_map(|token| Step::LogOut { token }),
        1 => (index(), index()).prop_map(|(by, session)| Step::End { by, session }),
        1 => index().prop_map(|by| Step::EndAll { by }),
        3 => index().prop_map(|token| Step::Look { token }),
        5 => prop::sample::select(waits.to_vec()).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => (index(), 0..3000u64).prop_map(|(token, micros)| Step::Kill { token, after: Duration::from_micros(micros) }),
    ]
}

/// What is known of a session.
struct Session {
    user: usize,
    id: String,
    generation: usize,
    rotated_at: Option<Timestamp>,
    ended: bool,
    /// The refresh token of each generation, and when it expires.
    refresh: Vec<(String, i64)>,
}

struct AccessToken {
    session: usize,
    token: String,
    expires_at: i64,
}

#[derive(Default)]
struct Model {
    sessions: Vec<Session>,
    access: Vec<AccessToken>,
}

const REVOKED: (u16, &str) = (401, "token_revoked");
const EXPIRED: (u16, &str) = (401, "token_expired");

impl Model {
    fn end(&mut self, session: usize) {
        self.sessions[session].ended = true;
    }

    /// What is to be said to an access token.
    fn judge(&self, token: &AccessToken, now: i64) -> Result<usize, (u16, &'static str)> {
        if token.expires_at <= now {
            Err(EXPIRED)
        } else if self.sessions[token.session].ended {
            Err(REVOKED)
        } else {
            Ok(token.session)
        }
    }

    /// Whether every token of a session has expired: its row may be there or not, which nobody can tell.
    fn is_forgotten(&self, session: usize, now: i64) -> bool {
        let session = &self.sessions[session];
        session.refresh[session.generation].1 + 900 <= now
    }

    /// The sessions of a user that are listed.
    fn live(&self, user: usize, now: i64) -> Vec<&str> {
        let live = self.sessions.iter().filter(|session| {
            session.user == user && !session.ended && session.refresh[session.generation].1 > now
        });
        live.map(|session| session.id.as_str()).collect()
    }
}

/// The service, on threads of its own that can be done away with.
struct Service {
    stack: Option<Stack>,
    runtime: Option<Runtime>,
}

fn threads() -> Runtime {
    let threads = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    threads.expect("threads")
}

impl Service {
    async fn start() -> Self {
        let runtime = threads();
        let stack = runtime.spawn(Stack::start()).await.expect("it starts");
        Self {
            stack: Some(stack),
            runtime: Some(runtime),
        }
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().expect("it runs")
    }

    async fn restart(&mut self) {
        let stack = self.stack.take().expect("it runs");
        let runtime = self.runtime.as_ref().expect("it runs");
        let stack = runtime.spawn(stack.restart()).await;
        self.stack = Some(stack.expect("it starts again"));
    }

    async fn kill(&mut self) {
        let stack = self.stack.take().expect("it runs");
        self.runtime.take().expect("it runs").shutdown_background();
        let runtime = threads();
        let stack = runtime.spawn(stack.start_again()).await;
        self.stack = Some(stack.expect("it starts again"));
        self.runtime = Some(runtime);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const USERS: [&str; 2] = ["cosmo", "laika"];

struct Run {
    service: Service,
    model: Model,
}

impl Run {
    async fn start() -> Self {
        let service = Service::start().await;
        for user in USERS {
            service.stack().register(user).await.has_status(201);
        }
        Self {
            service,
            model: Model::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.service.stack().clock.now()
    }

    /// Keeps the tokens of an answer.
    fn keep_access(&mut self, session: usize, user: &User) {
        let expires_at = claims(&user.access)["exp"].as_i64().expect("a number");
        assert_eq!(expires_at, self.now().as_second() + 900);
        self.model.access.push(AccessToken {
            session,
            token: user.access.clone(),
            expires_at,
        });
    }

    async fn log_in(&mut self, user: usize) {
        let reply = self
            .service
            .stack()
            .log_in(USERS[user])
            .await
            .has_status(200);
        let pair = User::from(&reply);
        let refresh = claims(&pair.refresh);
        assert_eq!(refresh["gen"], 0);
        self.model.sessions.push(Session {
            user,
            id: refresh["sid"].as_str().expect("a sid").to_owned(),
            generation: 0,
            rotated_at: None,
            ended: false,
            refresh: vec![(
                pair.refresh.clone(),
                refresh["exp"].as_i64().expect("a number"),
            )],
        });
        self.keep_access(self.model.sessions.len() - 1, &pair);
    }

    async fn refresh(&mut self, session: usize, presented: usize) {
        let now = self.now();
        let known = &self.model.sessions[session];
        let (token, expires_at) = known.refresh[presented].clone();
        let within_grace = known.rotated_at.is_some_and(|at| now < at + GRACE);
        let generation = known.generation;
        let reply = self.service.stack().refresh(&token).await;
        if expires_at <= now.as_second() {
            reply.is(EXPIRED.0, EXPIRED.1);
        } else if known.ended {
            reply.is(REVOKED.0, REVOKED.1);
        } else if presented == generation || (presented + 1 == generation && within_grace) {
            let pair = User::from(&reply.has_status(200));
            let known = &mut self.model.sessions[session];
            if within_grace {
                assert_eq!(
                    pair.refresh, known.refresh[generation].0,
                    "the newest as it stands"
                );
            } else {
                let claims = claims(&pair.refresh);
                assert_eq!(claims["gen"], generation + 1);
                assert_eq!(claims["exp"], now.as_second() + 3600);
                known.generation += 1;
                known.rotated_at = Some(now);
                known
                    .refresh
                    .push((pair.refresh.clone(), now.as_second() + 3600));
            }
            self.keep_access(session, &pair);
        } else {
            reply.is(401, "refresh_token_reused");
            self.model.end(session);
        }
    }

    /// Any token that was seen so far, whose session it is, and when it expires.
    fn any_token(&self, token: prop::sample::Index) -> Option<(usize, String, i64)> {
        let access = self.model.access.iter();
        let access = access.map(|token| (token.session, token.token.clone(), token.expires_at));
        let refresh = self
            .model
            .sessions
            .iter()
            .enumerate()
            .flat_map(|(index, session)| {
                let tokens = session.refresh.iter();
                tokens.map(move |(token, expires_at)| (index, token.clone(), *expires_at))
            });
        let all: Vec<_> = access.chain(refresh).collect();
        (!all.is_empty()).then(|| token.get(&all).clone())
    }

    async fn log_out(&mut self, (session, token, expires_at): (usize, String, i64)) {
        let now = self.now().as_second();
        let reply = self.service.stack().log_out(&token).await;
        if expires_at <= now {
            reply.is(EXPIRED.0, EXPIRED.1);
        } else if self.model.sessions[session].ended {
            reply.is(REVOKED.0, REVOKED.1);
        } else {
            reply.has_status(204);
            self.model.end(session);
        }
    }

    /// A call with an access token; the session that it comes from, when the call is to succeed.
    async fn call(
        &self,
        method: Method,
        path: &str,
        token: &AccessToken,
    ) -> Option<(usize, test_support::Reply)> {
        let request = self.service.stack().client.request(&method, path);
        let reply = test_support::Reply::to(request.bearer_auth(&token.token)).await;
        match self.model.judge(token, self.now().as_second()) {
            Ok(session) => Some((session, reply)),
            Err((status, code)) => {
                reply.is(status, code);
                None
            }
        }
    }

    async fn end(&mut self, by: prop::sample::Index, session: prop::sample::Index) {
        let (by, ended) = (
            by.get(&self.model.access),
            session.index(self.model.sessions.len()),
        );
        let path = format!("/sessions/{}", self.model.sessions[ended].id);
        let Some((session, reply)) = self.call(Method::DELETE, &path, by).await else {
            return;
        };
        let owner = self.model.sessions[session].user;
        let target = &self.model.sessions[ended];
        let now = self.now().as_second();
        if self.model.is_forgotten(ended, now) {
            assert!([204, 404].contains(&reply.status.as_u16()), "{reply:?}");
        } else if target.user == owner && !target.ended {
            reply.has_status(204);
            self.model.end(ended);
        } else {
            reply.is(404, "not_found");
        }
    }

    async fn end_all(&mut self, by: prop::sample::Index) {
        let by = by.get(&self.model.access);
        let Some((session, reply)) = self.call(Method::DELETE, "/sessions", by).await else {
            return;
        };
        reply.has_status(204);
        let owner = self.model.sessions[session].user;
        for index in 0..self.model.sessions.len() {
            let session = &self.model.sessions[index];
            if session.user == owner && !session.ended {
                self.model.end(index);
            }
        }
    }

    /// The account and the list of sessions, by an access token.
    async fn look(&self, token: &AccessToken) {
        let Some((session, reply)) = self.call(Method::GET, "/sessions", token).await else {
            return;
        };
        let session = &self.model.sessions[session];
        let listed = reply.has_status(200).json()["sessions"]
            .as_array()
            .unwrap()
            .clone();
        let id = |session: &Value| session["id"].as_str().unwrap().to_owned();
        let mut ids: Vec<_> = listed.iter().map(id).collect();
        ids.sort();
        let mut live = self.model.live(session.user, self.now().as_second());
        live.sort_unstable();
        assert_eq!(ids, live);
        for listed in &listed {
            assert_eq!(listed["current"], id(listed) == session.id);
        }
        let me = self
            .call(Method::GET, "/me", token)
            .await
            .unwrap()
            .1
            .has_status(200);
        assert_eq!(me.json()["live_sessions"], live.len());
    }

    /// What was answered before the service was gone is done; what was not may be done or not.
    async fn kill(&mut self, (session, token, expires_at): (usize, String, i64), after: Duration) {
        let now = self.now().as_second();
        let logout = self
            .service
            .stack()
            .client
            .request(&Method::POST, "/logout");
        let logout = tokio::spawn(logout.bearer_auth(&token).send());
        tokio::time::sleep(after).await;
        self.service.kill().await;
        let possible = expires_at > now && !self.model.sessions[session].ended;
        if !possible {
            return;
        }
        let answered = logout.await.expect("the request ends");
        let answered = answered.is_ok_and(|answer| answer.status() == 204);
        let now_ended = self.is_revoked(session).await;
        assert!(now_ended || !answered, "an answered logout was lost");
        if now_ended {
            self.model.end(session);
        }
    }

    async fn is_revoked(&self, session: usize) -> bool {
        let id = &self.model.sessions[session].id;
        self.heard().await.contains(id)
    }

    /// What the feed tells a new subscriber.
    async fn heard(&self) -> Vec<String> {
        let heard = self.service.stack().backlog().await;
        heard
            .into_iter()
            .map(|revocation| revocation["sid"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn take(&mut self, step: Step) {
        let anything = !self.model.access.is_empty();
        match step {
            Step::LogIn { user } => self.log_in(user).await,
            Step::Refresh { token } if anything => {
                let tokens = self.model.sessions.iter().enumerate();
                let tokens: Vec<_> = tokens
                    .flat_map(|(index, session)| {
                        (0..session.refresh.len()).map(move |p| (index, p))
                    })
                    .collect();
                let (session, presented) = *token.get(&tokens);
                self.refresh(session, presented).await;
            }
            Step::LogOut { token } if anything => {
                let token = self.any_token(token).expect("there is one");
                self.log_out(token).await;
            }
            Step::End { by, session } if anything => self.end(by, session).await,
            Step::EndAll { by } if anything => self.end_all(by).await,
            Step::Look { token } if anything => self.look(token.get(&self.model.access)).await,
            Step::Wait(duration) => self.service.stack().clock.advance(duration),
            Step::Restart => self.service.restart().await,
            Step::Kill { token, after } if anything => {
                let token = self.any_token(token).expect("there is one");
                self.kill(token, after).await;
            }
            _ => {}
        }
    }

    /// At the end: every session as the model has it, and the feed telling of each that matters.
    async fn compare(&self) {
        for token in &self.model.access {
            self.look(token).await;
        }
        let now = self.now().as_second();
        let heard = self.heard().await;
        for (index, session) in self.model.sessions.iter().enumerate() {
            let mut tokens = self.model.access.iter();
            let matters = tokens.any(|token| token.session == index && token.expires_at > now);
            if heard.contains(&session.id) {
                assert!(session.ended, "the feed tells of a session that goes on");
            } else {
                assert!(
                    !(session.ended && matters),
                    "the feed keeps the end of a session to itself"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_service_and_its_model_say_the_same(steps in proptest::collection::vec(step(), 1..50)) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::start().await;
            for step in steps {
                run.take(step).await;
            }
            run.compare().await;
        });
    }
}
