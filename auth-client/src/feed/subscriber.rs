//! One subscriber: listens, keeps the set, notices silence, tells of itself.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::{HeaderName, StatusCode};
use reqwest::{Response, Url};
use shared_claims::wire::{FeedHello, SessionRevoked, SubscriberReport};
use shared_claims::{AccessToken, KeyId, LookupReason, NumericDate, Verifier};
use tokio::sync::watch;
use uuid::Uuid;

use super::events::{EventReader, ServerEvent};
use super::{FEED_SCOPE, FeedOptions, FeedStatus};
use crate::backoff::pause;
use crate::client::Trail;
use crate::issuer::{FetchError, Issuer, with_token};
use crate::source::TokenSource;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long an answer may take to begin.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A stream that ends in order is opened again at once, unless it was as short as this.
const SHORT: Duration = Duration::from_secs(1);
/// A session is kept in the set for this much longer than it need be: its last token may have been on its way while it
/// ended.
const KEPT_LONGER: Duration = Duration::from_mins(1);
const FORGET_INTERVAL: Duration = Duration::from_secs(10);
/// The subscriber tells of itself this often, and sooner, but not in quicker succession than the other, when it has news.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
const REPORT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Subscriber {
    feed: Url,
    report: Url,
    tokens: TokenSource,
    http: reqwest::Client,
    verifier: Verifier,
    options: FeedOptions,
    status: watch::Sender<FeedStatus>,
    /// The id of the newest event that is in the set.
    read: watch::Sender<Option<i64>>,
    /// When the last byte came.
    heard: Mutex<Instant>,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({})", self.options.name)
    }
}

/// Why a stream is at its end.
enum End {
    /// In order: the token has expired, or auth-service stops.
    InOrder,
    Lost(String),
    Mismatch(String),
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened,
    Greeted,
    CaughtUp,
}

impl Subscriber {
    pub(super) fn new(issuer: &Issuer, verifier: Verifier, options: FeedOptions) -> Self {
        Self {
            feed: issuer.endpoint("/revocations"),
            report: issuer.endpoint(&format!("/revocations/subscribers/{}", Uuid::new_v4())),
            tokens: issuer.client_credentials(Some(FEED_SCOPE)),
            http: issuer.http(),
            verifier,
            options,
            status: watch::Sender::new(FeedStatus::Starting { reason: None }),
            read: watch::Sender::new(None),
            heard: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<FeedStatus> {
        self.status.subscribe()
    }

    /// Does all that a subscriber does, for ever.
    pub(super) async fn run(&self) {
        tokio::join!(self.listen(), self.watch(), self.report());
    }

    /// Listens, for ever.
    async fn listen(&self) {
        let mut failures = 0;
        loop {
            let (opened, before) = (Instant::now(), *self.read.borrow());
            let end = self.follow(&mut failures).await;
            let progressed = *self.read.borrow() != before;
            match end {
                End::InOrder if opened.elapsed() > SHORT || progressed => continue,
                End::InOrder => self.lost("auth-service ends the feed".to_owned()),
                End::Lost(reason) => self.lost(reason),
                End::Mismatch(reason) => self.refuse(reason),
            }
            tokio::time::sleep(pause(failures, LONGEST_PAUSE)).await;
            failures += 1;
        }
    }

    /// One stream of events, to its end.
    async fn follow(&self, failures: &mut u32) -> End {
        let mut answer = match self.open().await {
            Ok(answer) => answer,
            Err(reason) => return End::Lost(reason),
        };
        let (mut reader, mut stage) = (EventReader::default(), Stage::Opened);
        loop {
            let piece = match tokio::time::timeout(self.options.silence, answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return End::InOrder,
                Ok(Err(_)) => return End::Lost("the feed broke off".to_owned()),
                Err(_) => {
                    return End::Lost(format!("nothing was heard for {:?}", self.options.silence));
                }
            };
            self.hear();
            let events = match reader.read(&piece) {
                Ok(events) => events,
                Err(unreadable) => {
                    return End::Lost(format!("the feed cannot be read: {unreadable}"));
                }
            };
            for event in events {
                if let Err(end) = self.take(&event, &mut stage).await {
                    return end;
                }
            }
            if stage == Stage::CaughtUp {
                *failures = 0;
                // Whoever watches the silence may have given up on this very stream a moment too early.
                self.verifier.revoked().resume();
            }
        }
    }

    async fn open(&self) -> Result<Response, String> {
        let token = self.tokens.token().await;
        let token = token.map_err(|error| match error.root() {
            FetchError::Refused(code) if code == "invalid_scope" => lacks_scope(),
            _ => error.to_string(),
        })?;
        let request = with_token(self.http.get(self.feed.clone()), &token);
        let request = request.header(ACCEPT, "text/event-stream");
        let request = match *self.read.borrow() {
            Some(last) => request.header(LAST_EVENT_ID, last),
            None => request,
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, request.send()).await;
        let Ok(Ok(answer)) = answer else {
            return Err("auth-service does not answer".to_owned());
        };
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                // The next attempt has another, if there is one.
                self.tokens.instead_of(&token, &Trail::default()).await;
                Err("auth-service does not take this service's token".to_owned())
            }
            StatusCode::FORBIDDEN => Err(lacks_scope()),
            status => Err(format!(
                "auth-service answers with status {}",
                status.as_u16()
            )),
        }
    }

    /// Acts upon an event. Events of other names are for other readers.
    async fn take(&self, event: &ServerEvent, stage: &mut Stage) -> Result<(), End> {
        let unreadable = |_| End::Lost(format!("the event '{}' cannot be read", event.name));
        match event.name.as_str() {
            "hello" => {
                let hello: FeedHello = serde_json::from_str(&event.data).map_err(unreadable)?;
                self.look_up(&hello).await;
                self.compare(&hello).map_err(End::Mismatch)?;
                // It is said again when the issuer's keys have changed.
                if *stage == Stage::Opened {
                    *stage = Stage::Greeted;
                }
            }
            _ if *stage == Stage::Opened => {
                return Err(End::Lost("the feed does not begin with a hello".to_owned()));
            }
            "session-revoked" => {
                let revoked: SessionRevoked =
                    serde_json::from_str(&event.data).map_err(unreadable)?;
                let keep_until = revoked.forget_after.after(KEPT_LONGER);
                self.verifier.revoked().insert(revoked.sid, keep_until);
                if let Some(id) = event.id.as_ref().and_then(|id| id.parse().ok()) {
                    self.read.send_replace(Some(id));
                }
            }
            "caught-up" => {
                *stage = Stage::CaughtUp;
                self.verifier.revoked().resume();
                self.set_status(FeedStatus::CaughtUp);
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the issuer's keys are fetched, a key that it tells of and that is not known is one that it has just published.
    async fn look_up(&self, hello: &FeedHello) {
        let Some(lookup) = self.verifier.lookup() else {
            return;
        };
        let ours = self.verifier.key_ids();
        let unknown = |told: &KeyId| !ours.contains(told);
        if hello.kids.first().is_some_and(unknown) {
            // Without the key that signs there is nothing to go on with.
            lookup.ask(LookupReason::Told, ANSWER_LIMIT).await;
        } else if hello.kids.iter().any(unknown) {
            // No ended session is to wait for the next key.
            lookup.want();
        }
    }

    /// What issuer and verifier must agree on: else tokens are refused that are good, or taken for too long.
    fn compare(&self, hello: &FeedHello) -> Result<(), String> {
        let parties = self.verifier.parties();
        for (setting, ours, theirs) in [
            ("JWT_ISSUER", parties.issuer(), &hello.issuer),
            ("JWT_AUDIENCE", parties.audience(), &hello.audience),
        ] {
            // A verifier that does not check the claim takes any.
            if ours.is_some() && ours != theirs.as_deref() {
                return Err(format!(
                    "{setting} is '{}' here and '{}' at auth-service",
                    ours.unwrap_or_default(),
                    theirs.as_deref().unwrap_or_default()
                ));
            }
        }
        let leeway = self.verifier.leeway().as_secs();
        if leeway != hello.leeway {
            return Err(format!(
                "JWT_LEEWAY is {leeway}s here and {}s at auth-service",
                hello.leeway
            ));
        }
        let ours = self.verifier.key_ids();
        match hello.kids.first() {
            Some(signing) if !ours.contains(signing) => Err(format!(
                "JWT_SECRET_KEY, or the key pair, differs: auth-service signs with the key {signing}, and here {}",
                match &*ours {
                    [] => "is none".to_owned(),
                    ours => format!("are {}", list(ours)),
                }
            )),
            _ => Ok(()),
        }
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    /// The feed is not heard: what is known stays as it is.
    pub(super) fn lost(&self, reason: String) {
        let status = match &*self.status.borrow() {
            FeedStatus::Starting { .. } => FeedStatus::Starting {
                reason: Some(reason),
            },
            // Nothing shows that the settings have become right.
            mismatch @ FeedStatus::Mismatch { .. } => mismatch.clone(),
            FeedStatus::CaughtUp | FeedStatus::Degraded { .. } => FeedStatus::Degraded { reason },
        };
        self.set_status(status);
    }

    fn refuse(&self, reason: String) {
        self.verifier.revoked().suspend();
        self.set_status(FeedStatus::Mismatch { reason });
    }

    fn set_status(&self, status: FeedStatus) {
        if *self.status.borrow() == status {
            return;
        }
        match &status {
            FeedStatus::CaughtUp => {
                let revoked = self.verifier.revoked().len();
                tracing::info!(revoked, "the revocation feed is caught up with");
            }
            FeedStatus::Mismatch { reason } => tracing::error!(
                "no token is taken, because settings differ from auth-service's: {reason}"
            ),
            lost => tracing::warn!("the revocation feed is not heard: {lost}"),
        }
        self.status.send_replace(status);
    }

    /// Forgets what has expired, and notices the silence.
    async fn watch(&self) {
        let step =
            (self.options.silence / 20).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut forgotten = Instant::now();
        loop {
            tokio::time::sleep(step).await;
            if self.options.strict
                && self.silent_for() > self.options.silence
                && !self.verifier.revoked().is_suspended()
            {
                self.verifier.revoked().suspend();
                tracing::error!(
                    "no token is taken, because the revocation feed has been silent for {:?}",
                    self.options.silence
                );
            }
            if forgotten.elapsed() > FORGET_INTERVAL {
                forgotten = Instant::now();
                let now = NumericDate::from(self.verifier.clock().now());
                self.verifier.revoked().forget_until(now);
            }
        }
    }

    /// Tells auth-service of itself: which keys it holds, and how far it has read.
    async fn report(&self) {
        let (mut status, mut read) = (self.status.subscribe(), self.read.subscribe());
        let mut keys = self.verifier.key_changes();
        loop {
            let caught_up = status.wait_for(|status| *status == FeedStatus::CaughtUp);
            if caught_up.await.is_err() {
                return;
            }
            let report = SubscriberReport {
                name: self.options.name.clone(),
                kids: {
                    keys.mark_unchanged();
                    self.verifier.key_ids()
                },
                last_event_id: *read.borrow_and_update(),
            };
            let told = self
                .send(|token| with_token(self.http.put(self.report.clone()), token).json(&report));
            if let Err(reason) = told.await {
                tracing::debug!(
                    "auth-service could not be told how far this verifier has read: {reason}"
                );
            }
            tokio::time::sleep(REPORT_PAUSE).await;
            tokio::select! {
                _ = read.changed() => {}
                _ = keys.changed() => {}
                () = tokio::time::sleep(REPORT_INTERVAL) => {}
            }
        }
    }

    pub(super) async fn say_goodbye(&self) {
        let told = self.send(|token| with_token(self.http.delete(self.report.clone()), token));
        if let Err(reason) = told.await {
            tracing::debug!("auth-service could not be told that this verifier stops: {reason}");
        }
    }

    async fn send(
        &self,
        request: impl FnOnce(&AccessToken) -> reqwest::RequestBuilder,
    ) -> Result<(), String> {
        let call = async {
            let token = self
                .tokens
                .token()
                .await
                .map_err(|error| error.to_string())?;
            let answer = request(&token).send().await;
            let answer = answer.map_err(|error| error.without_url().to_string())?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(format!("status {}", answer.status().as_u16()))
            }
        };
        let bounded: Result<Result<(), String>, _> = tokio::time::timeout(ANSWER_LIMIT, call).await;
        bounded.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

fn lacks_scope() -> String {
    format!(
        "auth-service does not let this service listen: its account needs the scope '{FEED_SCOPE}'"
    )
}

fn list(keys: &[KeyId]) -> String {
    let keys: Vec<_> = keys.iter().map(KeyId::as_str).collect();
    keys.join(", ")
}
