//! What a stack starts with, made by `auth-service provision`.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use tempfile::{TempDir, tempdir};
use test_support::Client;
use test_support::program::{Program, free_address};

use crate::stack::client_credentials;

const MADE: [&str; 6] = [
    "bootstrap.toml",
    "client",
    "current",
    "previous",
    "previous-private",
    "private",
];

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempdir().unwrap())
    }

    fn program(&self) -> Program {
        Program::new(env!("CARGO_BIN_EXE_auth-service"), self.0.path())
            .setting("JWT_SECRET_KEY_FILE", "secrets/current")
            .setting("JWT_PREVIOUS_SECRET_KEYS_FILE", "secrets/previous")
            .setting("JWT_PRIVATE_KEY_FILE", "secrets/private")
            .setting("JWT_PREVIOUS_PRIVATE_KEYS_FILE", "secrets/previous-private")
            .setting("RESOURCE_CLIENT_SECRET_FILE", "secrets/client")
            .setting("AUTH_BOOTSTRAP_FILE", "secrets/bootstrap.toml")
    }

    fn provision(&self) -> Program {
        self.program().with(&["provision"])
    }

    fn secrets(&self) -> std::path::PathBuf {
        self.0.path().join("secrets")
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.secrets().join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(self.secrets()).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_a_stack_starts_with_is_made_once_and_a_service_starts_with_it() {
    let folder = Folder::new();
    let made = folder.provision().run().succeeds();
    assert_eq!(made.stdout.lines().count(), MADE.len(), "{made:?}");
    assert_eq!(folder.names(), MADE);
    assert_eq!(mode(&folder.secrets()), 0o700);
    let before = MADE.map(|name| folder.text(name));
    for (name, text) in MADE.iter().zip(&before) {
        assert_eq!(mode(&folder.secrets().join(name)), 0o600, "{name}");
        assert!(
            !made.stdout.contains(text.trim()) || text.is_empty(),
            "{made:?}"
        );
    }
    assert_ne!(folder.text("client"), folder.text("current"));

    let again = folder.provision().run().succeeds();
    assert_eq!(again.stdout, "");
    assert_eq!(MADE.map(|name| folder.text(name)), before);

    let address = free_address();
    let client = Client::new(format!("http://{address}"));
    let mut running = folder.program().setting("AUTH_LISTEN", &address).start();
    running.is_ready(&client).await;
    let secret = folder.text("client");
    let token = client_credentials(&client, "resource-service", secret.trim(), &[]).await;
    let scope = token.has_status(200).text_of("scope");
    assert_eq!(scope, "revocations:read token:exchange");
    let login = serde_json::json!({"username": "cosmo", "password": "space-corgi"});
    client
        .post("/login", &login)
        .await
        .is(401, "bad_credentials");
}

#[test]
fn what_is_missing_is_made_and_what_is_there_stays() {
    let folder = Folder::new();
    folder.provision().run().succeeds();
    for missing in MADE {
        let before = MADE.map(|name| folder.text(name));
        fs::remove_file(folder.secrets().join(missing)).unwrap();
        let made = folder.provision().run().succeeds();
        assert_eq!(made.stdout.trim(), format!("made secrets/{missing}"));
        for (name, before) in MADE.iter().zip(before) {
            let random = ["client", "current"].contains(name) && *name == missing;
            assert_eq!(
                folder.text(name) == before,
                !random,
                "{name} without {missing}"
            );
        }
    }
}

#[test]
fn of_many_that_start_at_once_all_end_well_and_with_the_same_secrets() {
    let folder = Folder::new();
    let seen: HashSet<_> = thread::scope(|scope| {
        let runs = (0..8).map(|_| {
            scope.spawn(|| {
                folder.provision().run().succeeds();
                (folder.text("current"), folder.text("client"))
            })
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(seen.len(), 1);
    assert_eq!(folder.names(), MADE);
}

#[test]
fn the_demo_user_is_declared_when_asked_for_and_not_otherwise() {
    let folder = Folder::new();
    let declared = |demo: &str| {
        let program = folder.provision().setting("AUTH_DEMO_USER", demo);
        program.run().succeeds();
        folder.text("bootstrap.toml").contains("cosmo")
    };
    assert!(!declared("off") && declared("on") && declared("on") && !declared("off"));
}

#[test]
fn a_bootstrap_file_of_ones_own_is_left_alone() {
    let folder = Folder::new();
    folder.provision().run().succeeds();
    let own = "[[users]]\nusername = \"laika\"\npassword = \"bark at the moon\"\n";
    fs::write(folder.secrets().join("bootstrap.toml"), own).unwrap();
    folder
        .provision()
        .setting("AUTH_DEMO_USER", "on")
        .run()
        .succeeds();
    assert_eq!(folder.text("bootstrap.toml"), own);
}

#[test]
fn what_cannot_be_provided_is_one_line() {
    let folder = Folder::new();
    let plain = Program::new(env!("CARGO_BIN_EXE_auth-service"), folder.0.path());
    let plain = plain.with(&["provision", "--client-secret-file", "client"]);
    plain
        .run()
        .refuses(&["JWT_SECRET_KEY_FILE", "must name a file"]);
    folder
        .provision()
        .setting("AUTH_BOOTSTRAP_FILE", "")
        .run()
        .refuses(&["AUTH_BOOTSTRAP_FILE", "is not set"]);
    let user = folder.provision().with(&["--client", "no id"]);
    user.run().refuses(&["RESOURCE_CLIENT_ID"]);

    fs::create_dir_all(folder.secrets()).unwrap();
    fs::write(folder.secrets().join("current"), "too short").unwrap();
    let refused = folder.provision().run();
    let refused = refused.refuses(&["JWT_SECRET_KEY", "at least 32"]);
    assert!(!refused.stderr.contains("too short"));
    assert_eq!(folder.text("current"), "too short");
    fs::write(folder.0.path().join("file"), "").unwrap();
    folder
        .provision()
        .setting("JWT_SECRET_KEY_FILE", "file/current")
        .run()
        .refuses(&["file/current cannot be written"]);
}
