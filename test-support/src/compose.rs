//! The stack of `docker-compose.yml` as its user starts it, on a real engine, in a project of its own that is taken down when it is
//! dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use uuid::Uuid;

use crate::client::Client;
use crate::program::{Ended, free_address};

/// The one variable that says that there is an engine, and how it is driven: `docker-compose`, or `docker compose`. The images of
/// the two services must have been built.
const COMPOSE: &str = "TOKENPAIR_COMPOSE";
/// What the programs need of this process's environment, and nothing of the services' settings.
const KEPT: [&str; 7] = [
    "PATH",
    "HOME",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "AUTH_IMAGE",
    "RESOURCE_IMAGE",
];

/// The two services.
pub const AUTH: &str = "auth-service";
/// The two services.
pub const RESOURCE: &str = "resource-service";

/// A project.
#[derive(Debug)]
pub struct Compose {
    program: Vec<String>,
    project: String,
    environment: Vec<(String, String)>,
    /// auth-service, from outside.
    pub auth: Client,
    /// resource-service, from outside.
    pub resource: Client,
}

impl Compose {
    /// Whether tests that can are to run against containers.
    #[must_use]
    pub fn is_asked_for() -> bool {
        std::env::var_os(COMPOSE).is_some_and(|program| !program.is_empty())
    }

    /// Brings up both services from nothing, with the demo user and these settings, and waits until they are ready.
    pub async fn up(settings: &[(&str, &str)]) -> Self {
        let demo = [("AUTH_DEMO_USER", "on"), ("AUTH_REGISTRATION", "open")];
        Self::up_as_it_is(&[&demo, settings].concat()).await
    }

    /// Brings up both services from nothing, with these settings alone, and waits until they are ready.
    pub async fn up_as_it_is(settings: &[(&str, &str)]) -> Self {
        let program = std::env::var_os(COMPOSE).expect("it is asked for");
        let program = program.into_string().expect("the name of a program");
        let (auth, resource) = (free_address(), free_address());
        let port = |address: &str| address.rsplit(':').next().expect("a port").to_owned();
        let settings = settings
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let compose = Self {
            program: program.split_whitespace().map(str::to_owned).collect(),
            project: format!("tokenpair-test-{}", Uuid::now_v7().simple()),
            environment: settings
                .chain([
                    ("AUTH_PORT".to_owned(), port(&auth)),
                    ("RESOURCE_PORT".to_owned(), port(&resource)),
                ])
                .collect(),
            auth: Client::new(format!("http://{auth}")),
            resource: Client::new(format!("http://{resource}")),
        };
        compose.start().await;
        compose
    }

    /// `up -d`, and waits until both are ready.
    pub async fn start(&self) {
        self.compose(&["up", "-d", "--no-build"]).await.succeeds();
        self.is_ready().await;
    }

    /// Waits until both are ready.
    pub async fn is_ready(&self) {
        self.auth.becomes_ready().await;
        self.resource.becomes_ready().await;
    }

    /// Runs the compose program on this project.
    pub async fn compose(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command();
        command.args(arguments);
        run(command).await
    }

    /// The same, with files for its standard input and output.
    pub async fn pipe(&self, arguments: &[&str], from: Option<&Path>, to: Option<&Path>) -> Ended {
        let mut command = self.command();
        command.args(arguments);
        if let Some(from) = from {
            command.stdin(File::open(from).expect("a file that is there"));
        }
        if let Some(to) = to {
            command.stdout(File::create(to).expect("a file that can be made"));
        }
        run(command).await
    }

    /// A command of auth-service, beside the one that runs.
    pub async fn administer(&self, arguments: &[&str]) -> Ended {
        let exec = ["exec", "-T", AUTH, AUTH];
        self.compose(&[&exec, arguments].concat()).await
    }

    /// Runs the engine's own client.
    pub async fn docker(&self, arguments: &[&str]) -> Ended {
        let mut command = kept("docker");
        command.args(arguments);
        run(command).await
    }

    /// The container of a service.
    pub async fn container(&self, service: &str) -> String {
        // Compose's own `ps` leaves out what is stopped, or lists what `run` started, by its version.
        let label = |name: &str, value: &str| format!("label=com.docker.compose.{name}={value}");
        let filters = [
            label("project", &self.project),
            label("service", service),
            label("oneoff", "False"),
        ];
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let list: Vec<_> = ["ps", "-aq"].into_iter().chain(filters).collect();
        let listed = self.docker(&list).await.succeeds();
        let mut ids = listed.stdout.split_whitespace();
        let id = ids.next().expect("it has a container").to_owned();
        assert_eq!(ids.next(), None, "{listed:?}");
        id
    }

    /// What the engine knows of the container of a service.
    pub async fn inspect(&self, service: &str) -> Value {
        let id = self.container(service).await;
        let said = self.docker(&["inspect", &id]).await.succeeds();
        let mut said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        said[0].take()
    }

    /// The network of this project that has this name in `docker-compose.yml`.
    #[must_use]
    pub fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    /// What a service has logged.
    pub async fn log(&self, service: &str) -> String {
        let id = self.container(service).await;
        let log = self.docker(&["logs", &id]).await.succeeds();
        log.stdout + &log.stderr
    }

    /// A file as it is in the container of a service.
    pub async fn file(&self, service: &str, path: &str) -> String {
        let folder = std::env::temp_dir().join(format!("{}-file", self.project));
        let from = format!("{}:{path}", self.container(service).await);
        let to = folder.to_str().expect("UTF-8");
        self.docker(&["cp", &from, to]).await.succeeds();
        let text = std::fs::read_to_string(&folder).expect("a text file");
        std::fs::remove_file(&folder).expect("a file of ours");
        text
    }

    /// Kills services without a warning and starts them again on the same volumes.
    pub async fn crash(&self, services: &[&str]) {
        let mut containers = Vec::new();
        for service in services {
            containers.push(self.container(service).await);
        }
        for command in ["kill", "start"] {
            let command = std::iter::once(command).chain(containers.iter().map(String::as_str));
            let command: Vec<_> = command.collect();
            self.docker(&command).await.succeeds();
        }
        self.is_ready().await;
    }

    fn command(&self) -> Command {
        let mut command = kept(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(["-p", &self.project, "-f"])
            .arg(root().join("docker-compose.yml"))
            .envs(self.environment.clone());
        command
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let mut down = self.command();
        down.args(["down", "-v", "-t", "0", "--remove-orphans"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = down.status();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn kept(program: &str) -> Command {
    let mut command = Command::new(program);
    let kept = KEPT.map(|name| (name, std::env::var_os(name)));
    let kept = kept
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .env_clear()
        .envs(kept)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn run(mut command: Command) -> Ended {
    let output = tokio::task::spawn_blocking(move || {
        command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
    });
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.expect("a thread").expect("the program starts");
    Ended {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
