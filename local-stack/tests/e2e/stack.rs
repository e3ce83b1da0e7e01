//! A stack as its user starts it: the local stack in a process of its own, with a folder that outlives it, or, where containers are
//! asked for (`test_support::compose`), both services from `docker-compose.yml`. A test that goes by the wire and a few commands
//! runs against either.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use auth_service::Cli;
use clap::Parser;
use serde_json::json;
use tempfile::{TempDir, tempdir};
use test_support::compose::{AUTH, Compose, RESOURCE};
use test_support::program::{Program, Running, free_address};
use test_support::{Client, Reply};

pub(crate) struct Stack {
    pub(crate) auth: Client,
    pub(crate) resource: Client,
    kind: Kind,
}

enum Kind {
    Local(Local),
    Containers(Compose),
}

/// The local stack.
pub(crate) struct Local {
    pub(crate) folder: TempDir,
    program: Program,
    running: Running,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        if !Compose::is_asked_for() {
            return Self::start_local_with(settings).await;
        }
        let compose = Compose::up(settings).await;
        Self {
            auth: compose.auth.clone(),
            resource: compose.resource.clone(),
            kind: Kind::Containers(compose),
        }
    }

    /// The local stack, whatever is asked for: for what containers do not have.
    pub(crate) async fn start_local_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempdir().expect("a temporary folder");
        let (auth, resource) = (free_address(), free_address());
        let program = Program::new(env!("CARGO_BIN_EXE_local-stack"), folder.path())
            .setting("AUTH_LISTEN", &auth)
            .setting("RESOURCE_LISTEN", &resource);
        let program = settings.iter().fold(program, |program, (name, value)| {
            program.setting(name, *value)
        });
        let (auth, resource) = (
            Client::new(format!("http://{auth}")),
            Client::new(format!("http://{resource}")),
        );
        let running = run(&program, &auth, &resource).await;
        Self {
            auth,
            resource,
            kind: Kind::Local(Local {
                folder,
                program,
                running,
            }),
        }
    }

    /// Kills both services without a warning and starts them again on the same files.
    pub(crate) async fn crash(self) -> Self {
        let Self {
            auth,
            resource,
            kind,
        } = self;
        let kind = match kind {
            Kind::Local(Local {
                folder,
                program,
                running,
            }) => {
                running.kill();
                let running = run(&program, &auth, &resource).await;
                Kind::Local(Local {
                    folder,
                    program,
                    running,
                })
            }
            Kind::Containers(compose) => {
                compose.crash(&[AUTH, RESOURCE]).await;
                Kind::Containers(compose)
            }
        };
        Self {
            auth,
            resource,
            kind,
        }
    }

    /// Runs a command of auth-service beside it, which must do what it is asked.
    pub(crate) async fn administer(&self, command: &[&str]) {
        match &self.kind {
            Kind::Containers(compose) => {
                compose.administer(command).await.succeeds();
            }
            Kind::Local(local) => administer(&local.data(""), command).await,
        }
    }

    /// What the stack tells its user to try, with its own addresses.
    pub(crate) async fn walk_through(&self) -> String {
        let Kind::Local(local) = &self.kind else {
            let address = |client: &Client| client.base().trim_start_matches("http://").parse();
            let (auth, resource) = (address(&self.auth), address(&self.resource));
            return local_stack::walk_through(auth.unwrap(), resource.unwrap());
        };
        let started = Instant::now();
        loop {
            let output = local.running.output();
            if output.trim_end().ends_with("; echo") {
                let (_, walk_through) = output
                    .split_once("\n# 1.")
                    .expect("the walk-through begins with its first step");
                return format!("# 1.{walk_through}");
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{output}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops both services; all that they have logged.
    pub(crate) async fn log_to_the_end(&mut self) -> String {
        match &mut self.kind {
            Kind::Local(local) => {
                local.running.stop("TERM");
                local.running.log()
            }
            Kind::Containers(compose) => {
                compose.compose(&["stop"]).await.succeeds();
                compose.log(AUTH).await + &compose.log(RESOURCE).await
            }
        }
    }

    /// The secret that tokens are signed with.
    pub(crate) async fn secret(&self) -> String {
        let secret = match &self.kind {
            Kind::Local(local) => fs::read_to_string(local.data("jwt-secret")).unwrap(),
            Kind::Containers(compose) => compose.file(AUTH, "/secrets/jwt-secret").await,
        };
        secret.trim_end().to_owned()
    }

    /// What resource-service proves itself with to auth-service.
    pub(crate) async fn client_secret(&self) -> String {
        let name = "resource-client-secret";
        let secret = match &self.kind {
            Kind::Local(local) => fs::read_to_string(local.data(name)).unwrap(),
            Kind::Containers(compose) => compose.file(AUTH, &format!("/secrets/{name}")).await,
        };
        secret.trim_end().to_owned()
    }

    /// Of a stack that was started as a local one.
    pub(crate) fn local(&mut self) -> &mut Local {
        match &mut self.kind {
            Kind::Local(local) => local,
            Kind::Containers(_) => panic!("it is no local stack"),
        }
    }

    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Reply {
        self.auth
            .post(
                "/login",
                &json!({"username": username, "password": password}),
            )
            .await
    }

    /// The pair of the demo user.
    pub(crate) async fn pair(&self) -> (String, String) {
        let reply = self.log_in("cosmo", "space-corgi").await.has_status(200);
        (
            reply.text_of("access_token"),
            reply.text_of("refresh_token"),
        )
    }
}

impl Local {
    /// A file that it keeps.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    pub(crate) fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Runs a command of auth-service on the files in this folder, which must do what it is asked.
pub(crate) async fn administer(data: &Path, command: &[&str]) {
    let file = |name| data.join(name).display().to_string();
    let settings = [
        format!("--jwt-secret-key-file={}", file("jwt-secret")),
        format!(
            "--jwt-previous-secret-keys-file={}",
            file("jwt-previous-secrets")
        ),
        format!("--jwt-private-key-file={}", file("jwt-private-key")),
        format!(
            "--jwt-previous-private-keys-file={}",
            file("jwt-previous-private-keys")
        ),
        format!("--auth-database-url=sqlite://{}", file("auth.db")),
    ];
    let arguments = std::iter::once("auth-service").chain(command.iter().copied());
    let arguments = arguments.chain(settings.iter().map(String::as_str));
    let cli = Cli::try_parse_from(arguments).expect("a command of auth-service");
    auth_service::run(cli)
        .await
        .expect("it does what it is asked");
}

async fn run(program: &Program, auth: &Client, resource: &Client) -> Running {
    let mut running = program.start();
    running.is_ready(auth).await;
    running.is_ready(resource).await;
    running
}
