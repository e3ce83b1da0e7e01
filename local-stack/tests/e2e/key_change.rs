//! The change from a common secret to a key pair, step by step as `docs/operations.md` has it, under a load that does not notice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use auth_service::config::{AuthSettings, Config as AuthConfig, PairSettings, StoreSettings};
use clap::Parser;
use jsonwebtoken::Algorithm;
use serde_json::json;
use service_shell::cors::CorsSettings;
use service_shell::limits::LimitSettings;
use service_shell::tokens::TokenSettings;
use tempfile::TempDir;
use test_support::program::free_address;
use test_support::{Client, Server};

use crate::in_process::Resource;
use crate::key_pairs::resource_config;
use crate::keys::{drop_the_old_key, is_unknown};
use crate::load::{KEPT, Load, SHORT, Services, USERS};
use crate::stack::administer;

const ACCOUNT: &str = "the-secret-of-resource-service-for-tests";
const BOOTSTRAP: &str = r#"
[[users]]
username = "cosmo"
password = "space-corgi"

[[clients]]
id = "resource-service"
secret_file = "account"
scope = "revocations:read token:exchange"
"#;

/// The settings of auth-service, as they are given to it.
#[derive(Parser)]
struct AuthArguments {
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    pairs: PairSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    cors: CorsSettings,
    #[command(flatten)]
    limits: LimitSettings,
}

/// auth-service and two resource-services on files, each of which is stopped and started again with other settings.
struct Deployment {
    folder: TempDir,
    address: String,
    auth: Option<Server>,
    resources: Vec<Resource>,
}

impl Deployment {
    /// With a common secret, and nothing that a key pair would need.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = test_support::SECRET;
        for (name, text) in [
            ("jwt-secret", secret),
            ("jwt-previous-secrets", ""),
            ("account", ACCOUNT),
            ("bootstrap", BOOTSTRAP),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut started = Self {
            folder,
            address: free_address(),
            auth: None,
            resources: Vec::new(),
        };
        let settings = started.secret_files();
        started.start_auth(&settings).await;
        for name in ["one", "two"] {
            let resource = started.resource(name, &settings).await;
            started.resources.push(resource);
        }
        started
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    fn file_setting(&self, setting: &str, name: &str) -> String {
        format!("--{setting}={}", self.file(name).display())
    }

    fn secret_files(&self) -> Vec<String> {
        vec![
            self.file_setting("jwt-secret-key-file", "jwt-secret"),
            self.file_setting("jwt-previous-secret-keys-file", "jwt-previous-secrets"),
        ]
    }

    fn auth_client(&self) -> Client {
        Client::new(format!("http://{}", self.address))
    }

    fn auth_config(&self, keys: &[String]) -> AuthConfig {
        let lifetimes = SHORT.map(|(name, value)| {
            let flag = name.to_lowercase().replace('_', "-");
            format!("--{flag}={value}")
        });
        let others = [
            self.file_setting("auth-bootstrap-file", "bootstrap"),
            format!(
                "--auth-database-url=sqlite://{}",
                self.file("auth.db").display()
            ),
            "--auth-refresh-grace=0s".to_owned(),
        ];
        let arguments = ["auth-service".to_owned()].into_iter();
        let arguments = arguments.chain(keys.to_owned()).chain(lifetimes);
        let AuthArguments {
            tokens,
            pairs,
            auth,
            store,
            cors,
            limits,
        } = AuthArguments::parse_from(arguments.chain(others));
        auth.resolve(store, tokens, pairs.files(), cors, &limits)
            .unwrap()
    }

    async fn start_auth(&mut self, keys: &[String]) {
        let config = self.auth_config(keys);
        let auth = Server::start_on(&self.address, |listener, stopped| {
            auth_service::serve(config, listener, async {
                let _ = stopped.await;
            })
        });
        self.auth = Some(auth.await);
        self.auth_client().becomes_ready().await;
    }

    async fn resource(&self, name: &str, keys: &[String]) -> Resource {
        let database = self.file(&format!("{name}.db"));
        let others = [
            format!("--resource-database-url=sqlite://{}", database.display()),
            format!("--auth-url=http://{}", self.address),
            "--resource-client-id=resource-service".to_owned(),
            self.file_setting("resource-client-secret-file", "account"),
        ];
        let resource = Resource::start(resource_config(keys.iter().chain(&others))).await;
        resource.client.becomes_ready().await;
        resource
    }

    async fn log_in(&self) -> (String, String) {
        let body = json!({"username": "cosmo", "password": "space-corgi"});
        let reply = self.auth_client().post("/login", &body).await;
        let reply = reply.has_status(200);
        (
            reply.text_of("access_token"),
            reply.text_of("refresh_token"),
        )
    }

    async fn signs(&self) -> Algorithm {
        let (token, _) = self.log_in().await;
        jsonwebtoken::decode_header(token).unwrap().alg
    }

    async fn load(&self) -> Load {
        let mut pairs = Vec::new();
        for _ in 0..USERS {
            pairs.push(self.log_in().await);
        }
        let resources = self.resources.iter().map(|resource| &resource.client);
        let services = Services {
            auth: self.auth_client(),
            resources: resources.cloned().collect(),
        };
        Load::start(services, pairs.try_into().unwrap(), KEPT).await
    }

    /// There is one auth-service alone: whoever comes meanwhile waits.
    async fn restart_auth(&mut self, load: &Load, keys: &[String]) {
        let restart = async |services: &mut Services| {
            self.auth.take().unwrap().stop().await;
            self.start_auth(keys).await;
            services.auth = self.auth_client();
        };
        load.between_rounds(restart).await;
        load.goes_on_for(3).await;
    }

    /// One after the other, while the load goes on at the other.
    async fn restart_resources(&mut self, load: &Load, keys: &[String]) {
        for name in ["one", "two"] {
            let away = async |services: &mut Services| drop(services.resources.remove(0));
            load.between_rounds(away).await;
            self.resources.remove(0).server.stop().await;
            load.goes_on_for(3).await;
            let again = self.resource(name, keys).await;
            let client = again.client.clone();
            self.resources.push(again);
            let back = async |services: &mut Services| services.resources.push(client);
            load.between_rounds(back).await;
            load.goes_on_for(3).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_secret_gives_way_to_a_key_pair_in_all_documented_steps_and_no_request_fails() {
    let mut deployment = Deployment::start().await;
    let (before, _) = deployment.log_in().await;
    let load = deployment.load().await;
    assert_eq!(deployment.signs().await, Algorithm::HS256);
    let secrets = deployment.secret_files();

    // 1. Room for private keys at auth-service; where the public ones are, at the resource-services.
    let mut keys = secrets.clone();
    for (setting, name) in [
        ("jwt-private-key-file", "jwt-private-key"),
        (
            "jwt-previous-private-keys-file",
            "jwt-previous-private-keys",
        ),
    ] {
        let file = deployment.file(name);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        keys.push(deployment.file_setting(setting, name));
    }
    deployment.restart_auth(&load, &keys).await;
    let published = format!(
        "--jwt-jwks-url={}/.well-known/jwks.json",
        deployment.auth_client().base()
    );
    let both = [secrets, vec![published.clone()]].concat();
    deployment.restart_resources(&load, &both).await;

    // 2. The key pair signs.
    let rotate = ["secret", "rotate", "--ed25519", "--wait=20s"];
    administer(deployment.data(), &rotate).await;
    assert_eq!(deployment.signs().await, Algorithm::EdDSA);

    // 3. The secret goes.
    drop_the_old_key(deployment.data(), "jwt-secret", &load).await;
    is_unknown(&before, "/me", &deployment.auth_client()).await;

    // 4. The resource-services need none.
    deployment.restart_resources(&load, &[published]).await;
    load.goes_on_for(7).await;
    for resource in &deployment.resources {
        is_unknown(&before, "/profile", &resource.client).await;
        resource.says_of("keys", "fetched").await;
    }
    load.end().await;
}
