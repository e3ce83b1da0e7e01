//! A local stack in a process of its own, with a folder that outlives it.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::{TempDir, tempdir};
use test_support::program::{Program, Running, free_address};
use test_support::{Client, Reply};

pub(crate) struct Stack {
    pub(crate) auth: Client,
    pub(crate) resource: Client,
    pub(crate) folder: TempDir,
    program: Program,
    running: Running,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
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
            folder,
            program,
            running,
        }
    }

    /// Kills both services without a warning and starts them again on the same files.
    pub(crate) async fn crash(self) -> Self {
        let Self {
            auth,
            resource,
            folder,
            program,
            running,
        } = self;
        running.kill();
        let running = run(&program, &auth, &resource).await;
        Self {
            auth,
            resource,
            folder,
            program,
            running,
        }
    }

    /// What the stack says of itself, once it is up.
    pub(crate) async fn introduction(&mut self) -> String {
        let started = Instant::now();
        loop {
            let output = self.running.output();
            if output.trim_end().ends_with("; echo") {
                return output;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{output}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn running(&mut self) -> &mut Running {
        &mut self.running
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

async fn run(program: &Program, auth: &Client, resource: &Client) -> Running {
    let mut running = program.start();
    running.is_ready(auth).await;
    running.is_ready(resource).await;
    running
}
