//! The service with a clock that a test moves, and users who do what their names say.

use std::time::Duration;

use auth_service::config::{Bootstrap, Config, HashingLimits, Registration};
use reqwest::Method;
use serde_json::{Value, json};
use service_shell::sqlite::DatabaseUrl;
use shared_claims::{Clock, Scope};
use tempfile::TempDir;
use test_support::{Client, Reply, Server, start_of_time, token_config};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ACCESS: Duration = Duration::from_mins(15);
pub(crate) const REFRESH: Duration = Duration::from_hours(1);
pub(crate) const GRACE: Duration = Duration::from_secs(10);
pub(crate) const CLIENT: &str = "orders";
pub(crate) const CLIENT_SECRET: &str = "the-secret-of-orders-of-32-characters";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Stack {
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    config: Config,
    folder: TempDir,
    server: Server,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A service with other settings than the usual ones.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::manual(start_of_time());
        let database = DatabaseUrl::file(folder.path().join("auth.db"));
        let mut config = Config::new(database, token_config());
        // Tests run side by side: none is to be refused because another one hashes.
        config.hashing = HashingLimits {
            concurrency: 2,
            queue: 1000,
            deadline: 25 * SECOND,
        };
        config.registration = Registration::Open;
        config.bootstrap = clients();
        config.clock = clock.clone();
        change(&mut config);
        let server = serve(&config).await;
        Self {
            clock,
            client: server.client(),
            config,
            folder,
            server,
        }
    }

    /// The same files, served anew, as after an orderly restart.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self {
            clock,
            mut config,
            folder,
            server,
            ..
        } = self;
        server.stop().await;
        change(&mut config);
        let server = serve(&config).await;
        Self {
            clock,
            client: server.client(),
            config,
            folder,
            server,
        }
    }

    /// The same files, served anew, after the server was done away with.
    pub(crate) async fn start_again(self) -> Self {
        let server = serve(&self.config).await;
        Self {
            client: server.client(),
            server,
            ..self
        }
    }

    pub(crate) fn database(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("auth.db").display())
    }

    pub(crate) async fn register(&self, username: &str) -> Reply {
        self.client
            .post(
                "/register",
                &json!({"username": username, "password": PASSWORD}),
            )
            .await
    }

    pub(crate) async fn log_in(&self, username: &str) -> Reply {
        self.client
            .post(
                "/login",
                &json!({"username": username, "password": PASSWORD}),
            )
            .await
    }

    /// A user who has registered and logged in.
    pub(crate) async fn sign_up(&self, username: &str) -> User {
        self.register(username).await.has_status(201);
        User::from(&self.log_in(username).await.has_status(200))
    }

    pub(crate) async fn refresh(&self, token: &str) -> Reply {
        self.client.post_with("/refresh", token).await
    }

    pub(crate) async fn log_out(&self, token: &str) -> Reply {
        self.client.post_with("/logout", token).await
    }

    /// A client's token for itself, with all that it is allowed.
    pub(crate) async fn token_of(&self, client: &str) -> String {
        let reply = client_credentials(&self.client, client, CLIENT_SECRET, &[]).await;
        reply.has_status(200).text_of("access_token")
    }

    /// What the feed tells a new subscriber before it has caught up.
    pub(crate) async fn backlog(&self) -> Vec<Value> {
        let token = self.token_of(CLIENT).await;
        let request = self.client.request(&Method::GET, "/revocations");
        let mut answer = request.bearer_auth(token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut text = String::new();
        while !text.contains("event: caught-up\n") {
            let piece = answer.chunk().await.expect("the stream goes on");
            text.push_str(std::str::from_utf8(&piece.expect("the stream goes on")).expect("UTF-8"));
        }
        let revoked = text
            .split("\n\n")
            .filter(|event| event.contains("event: session-revoked\n"));
        let data = revoked.map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
        data.map(|data| serde_json::from_str(data.expect("data")).expect("JSON"))
            .collect()
    }

    pub(crate) async fn me(&self, token: &str) -> Reply {
        self.client.get_with("/me", token).await
    }
}

/// A client that may do everything that a service can, one that may do nothing, and one that administers.
fn clients() -> Bootstrap {
    let secret = CLIENT_SECRET.into();
    let scope = "profile:read revocations:read token:exchange"
        .parse()
        .expect("a scope");
    let bootstrap = Bootstrap::default()
        .with_client(CLIENT, &secret, scope)
        .expect("a client");
    let bootstrap = bootstrap
        .with_client("other", &secret, Scope::empty())
        .expect("a client");
    bootstrap
        .with_client("administration", &secret, "admin".parse().expect("a scope"))
        .expect("a client")
}

/// What a client gets for itself.
pub(crate) async fn client_credentials(
    client: &Client,
    id: &str,
    secret: &str,
    more: &[(&str, &str)],
) -> Reply {
    let form = [&[("grant_type", "client_credentials")], more].concat();
    let request = client
        .request(&Method::POST, "/oauth/token")
        .basic_auth(id, Some(secret));
    Reply::to(request.form(&form)).await
}

async fn serve(config: &Config) -> Server {
    let config = config.clone();
    Server::start(|listener, stopped| {
        auth_service::serve(config, listener, async {
            let _ = stopped.await;
        })
    })
    .await
}

/// The tokens that a user holds.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl From<&Reply> for User {
    fn from(reply: &Reply) -> Self {
        Self {
            access: reply.text_of("access_token"),
            refresh: reply.text_of("refresh_token"),
        }
    }
}

/// The claims of a token, read without checking anything.
pub(crate) fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token).expect("a token has claims")
}

/// The header of a token.
pub(crate) fn header(token: &str) -> jsonwebtoken::Header {
    jsonwebtoken::decode_header(token).expect("a token has a header")
}
