//! What only containers have: their walls, the network between them, and an engine that stops, kills and starts them.
//!
//! `.ci/compose` builds the images and runs these, and the rest of the suite against containers too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::Client;
use test_support::compose::{AUTH, Compose, RESOURCE};
use test_support::program::free_address;

/// A feed that is cut off counts as lost after 45 seconds.
const PATIENCE: Duration = Duration::from_secs(90);

async fn pair(stack: &Compose) -> (String, String) {
    let user = json!({"username": "cosmo", "password": "space-corgi"});
    let pair = stack.auth.post("/login", &user).await.has_status(200);
    (pair.text_of("access_token"), pair.text_of("refresh_token"))
}

/// Waits until a service answers a token so.
async fn answers(service: &Client, token: &str, status: u16) {
    let started = Instant::now();
    loop {
        let reply = service.get_with("/profile", token).await;
        if reply.status == status {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{} {}",
            reply.status,
            reply.text
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until readiness says this of the feed; all the while the token must be taken.
async fn says(service: &Client, state: &str, taken: &str) -> Value {
    let started = Instant::now();
    loop {
        service.get_with("/profile", taken).await.has_status(200);
        let ready = service.get("/health/ready").await;
        if ready.json()["revocations"]["state"] == state {
            return ready.has_status(200).json();
        }
        assert!(
            started.elapsed() < PATIENCE,
            "never {state}: {}",
            ready.text
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the engine has found a service healthy, and tells all that it knows of its container. The engine asks every five
/// seconds: a service that answers already may not have been asked yet.
async fn healthy(stack: &Compose, service: &str) -> Value {
    let started = Instant::now();
    loop {
        let container = stack.inspect(service).await;
        let health = &container["State"]["Health"];
        if health["Status"] == "healthy" {
            return container;
        }
        assert!(started.elapsed() < PATIENCE, "{service}: {health}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn a_stack_comes_up_closed_with_secrets_that_are_its_own_and_in_no_environment() {
    let (one, other) = (Compose::up_as_it_is(&[]).await, Compose::up(&[]).await);
    let user = json!({"username": "cosmo", "password": "space-corgi"});
    one.auth
        .post("/login", &user)
        .await
        .is(401, "bad_credentials");
    one.auth
        .post("/register", &user)
        .await
        .is(403, "registration_closed");
    let (access, _) = pair(&other).await;
    one.resource
        .get_with("/profile", &access)
        .await
        .is(401, "invalid_token");
    for name in ["jwt-secret", "resource-client-secret"] {
        let file = format!("/secrets/{name}");
        let (secret, others) = (
            one.file(RESOURCE, &file).await,
            other.file(RESOURCE, &file).await,
        );
        assert!(secret.trim().len() >= 32 && secret != others);
        for service in [AUTH, RESOURCE] {
            let known = one.inspect(service).await.to_string();
            assert!(!known.contains(secret.trim()), "{service} shows its secret");
        }
    }
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn the_containers_are_not_root_have_no_capability_and_write_nothing_but_their_volumes() {
    let stack = Compose::up(&[]).await;
    for (service, port) in [(AUTH, "8001/tcp"), (RESOURCE, "8002/tcp")] {
        let container = healthy(&stack, service).await;
        let host = &container["HostConfig"];
        assert_eq!(container["Config"]["User"], "65532:65532");
        assert_eq!(host["ReadonlyRootfs"], true);
        assert_eq!(host["Privileged"], false);
        assert_eq!(host["CapDrop"], json!(["ALL"]));
        assert_eq!(host["CapAdd"], json!(null));
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]));
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
        for limit in ["Memory", "NanoCpus", "PidsLimit"] {
            assert!(
                host[limit].as_i64().is_some_and(|limit| limit > 0),
                "{limit}"
            );
        }
        let published = container["NetworkSettings"]["Ports"].as_object().unwrap();
        assert_eq!(published.len(), 1, "{published:?}");
        for binding in published[port].as_array().unwrap() {
            assert_eq!(binding["HostIp"], "127.0.0.1");
        }

        // What the kernel says.
        let status = format!("/proc/{}/status", container["State"]["Pid"]);
        let status = fs::read_to_string(status).expect("the engine is on this machine");
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(line("Uid:"), ["65532"; 4]);
        assert_eq!(line("Gid:"), ["65532"; 4]);
        assert_eq!(line("NoNewPrivs:"), ["1"]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(set), ["0000000000000000"], "{set}");
        }

        // What happens when it is tried.
        let exec = async |command: &[&str]| {
            let command = [&["exec", "-T", service], command].concat();
            stack.compose(&command).await
        };
        for program in ["sh", "bash", "busybox", "apt-get", "dpkg", "ls"] {
            assert_ne!(exec(&[program]).await.code, Some(0), "{program}");
        }
        let mut forbidden = vec!["/", "/tmp", "/usr/local/bin", "/home/nonroot"];
        if service == RESOURCE {
            forbidden.push("/secrets");
        }
        for folder in forbidden {
            let copy = format!("{folder}/copy");
            let tried = exec(&[service, "database", "backup", &copy]).await;
            assert!(
                tried.code != Some(0) && tried.stderr.contains("cannot be written"),
                "{tried:?}"
            );
        }
        exec(&[service, "database", "backup", "/data/copy"])
            .await
            .succeeds();
    }

    // resource-service sees the secrets, and nothing else of auth-service's.
    let container = stack.inspect(RESOURCE).await;
    let mounts = container["Mounts"].as_array().unwrap().iter();
    let mut mounts: Vec<_> = mounts
        .map(|mount| {
            (
                mount["Destination"].as_str().unwrap(),
                mount["RW"].as_bool().unwrap(),
            )
        })
        .collect();
    mounts.sort_unstable();
    assert_eq!(mounts, [("/data", true), ("/secrets", false)]);
    // Nobody but their owner can read them, and these containers can.
    let folder = tempfile::tempdir().unwrap();
    let from = format!("{}:/secrets", stack.container(RESOURCE).await);
    let to = folder.path().join("secrets");
    stack
        .docker(&["cp", "-a", &from, to.to_str().unwrap()])
        .await
        .succeeds();
    let mut names = Vec::new();
    for file in fs::read_dir(&to).unwrap() {
        let (name, about) = file
            .map(|file| (file.file_name(), file.metadata().unwrap()))
            .unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name:?}");
        names.push(name);
    }
    names.sort();
    assert_eq!(
        names,
        [
            "jwt-previous-secrets",
            "jwt-secret",
            "resource-client-secret"
        ]
    );
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn with_auth_service_stopped_resource_service_goes_on_verifying_and_says_degraded() {
    let stack = Compose::up(&[]).await;
    let ((stays, _), (gone, _)) = (pair(&stack).await, pair(&stack).await);
    stack.auth.post_with("/logout", &gone).await.has_status(204);
    answers(&stack.resource, &gone, 401).await;
    stack.compose(&["stop", AUTH]).await.succeeds();
    let degraded = says(&stack.resource, "degraded", &stays).await;
    assert_eq!(degraded["status"], "degraded");
    let refused = stack.resource.get_with("/profile", &gone).await;
    refused.is(401, "token_revoked");
    let dashboard = stack
        .resource
        .get_with("/dashboard", &stays)
        .await
        .has_status(200);
    assert_eq!(dashboard.json()["account"], json!(null));
    // The engine still holds it for healthy: it does its work.
    let healthcheck = stack.compose(&["exec", "-T", RESOURCE, RESOURCE, "healthcheck"]);
    healthcheck.await.succeeds();

    stack.compose(&["start", AUTH]).await.succeeds();
    says(&stack.resource, "caught-up", &stays).await;
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn whichever_is_killed_is_started_again_and_nothing_that_was_answered_is_lost() {
    let stack = Compose::up(&[]).await;
    let (stays, refresh) = pair(&stack).await;
    let profile = json!({"display_name": "Cosmo", "bio": null});
    let written = stack.resource.put_with("/profile", &stays, &profile).await;
    written.has_status(200);
    for services in [&[AUTH][..], &[RESOURCE], &[AUTH, RESOURCE]] {
        let (gone, _) = pair(&stack).await;
        stack.auth.post_with("/logout", &gone).await.has_status(204);
        stack.crash(services).await;
        answers(&stack.resource, &gone, 401).await;
        let kept = stack
            .resource
            .get_with("/profile", &stays)
            .await
            .has_status(200);
        assert_eq!(kept.text_of("display_name"), "Cosmo");
    }
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);

    // One that dies by itself is started by the engine.
    for service in [AUTH, RESOURCE] {
        let before = stack.inspect(service).await;
        let pid = before["State"]["Pid"].to_string();
        let killed = std::process::Command::new("kill")
            .args(["-s", "KILL", &pid])
            .status();
        assert!(killed.unwrap().success());
        let started = Instant::now();
        loop {
            let now = stack.inspect(service).await;
            if now["RestartCount"] == 1 && now["State"]["Running"] == true {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{}", now["State"]);
        }
        stack.is_ready().await;
        answers(&stack.resource, &stays, 200).await;
    }
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn what_ends_while_the_network_is_cut_is_refused_once_it_is_healed() {
    let stack = Compose::up(&[]).await;
    let ((stays, _), (gone, _)) = (pair(&stack).await, pair(&stack).await);
    let (network, resource) = (stack.network("between"), stack.container(RESOURCE).await);
    stack
        .docker(&["network", "disconnect", &network, &resource])
        .await
        .succeeds();
    stack.auth.post_with("/logout", &gone).await.has_status(204);
    let cut = says(&stack.resource, "degraded", &stays).await;
    assert!(cut["revocations"]["reason"].is_string(), "{cut}");
    // It cannot know: this is what RESOURCE_REVOCATION=strict is for.
    stack
        .resource
        .get_with("/profile", &gone)
        .await
        .has_status(200);
    let dashboard = stack
        .resource
        .get_with("/dashboard", &stays)
        .await
        .has_status(200);
    assert_eq!(dashboard.json()["account"], json!(null));

    stack
        .docker(&["network", "connect", &network, &resource])
        .await
        .succeeds();
    answers(&stack.resource, &gone, 401).await;
    says(&stack.resource, "caught-up", &stays).await;
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn another_resource_service_on_the_same_secret_takes_the_same_tokens_and_hears_every_logout()
{
    let stack = Compose::up(&[]).await;
    let address = free_address();
    let publish = format!("{address}:8002");
    let run = ["run", "-d", "--no-deps", "-p", &publish, RESOURCE];
    stack.compose(&run).await.succeeds();
    let another = Client::new(format!("http://{address}"));
    another.becomes_ready().await;
    let ((stays, _), (gone, _)) = (pair(&stack).await, pair(&stack).await);
    let profile = json!({"display_name": "Cosmo", "bio": null});
    another
        .put_with("/profile", &stays, &profile)
        .await
        .has_status(200);
    for service in [&stack.resource, &another] {
        let read = service.get_with("/profile", &stays).await.has_status(200);
        assert_eq!(read.text_of("display_name"), "Cosmo");
        service.get_with("/profile", &gone).await.has_status(200);
    }
    stack.auth.post_with("/logout", &gone).await.has_status(204);
    for service in [&stack.resource, &another] {
        answers(service, &gone, 401).await;
        answers(service, &stays, 200).await;
    }
    // Whoever changes the secret is told which of them is which.
    let started = Instant::now();
    loop {
        let feed = stack.administer(&["session", "feed"]).await.succeeds();
        let words = feed.stdout.split_whitespace();
        let names: BTreeSet<_> = words.filter(|word| word.contains('@')).collect();
        if names.len() == 2 {
            let id = stack.container(RESOURCE).await;
            let name = format!("resource-service@{id}:8002");
            assert!(names.contains(name.as_str()), "{names:?}");
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{}", feed.stdout);
    }
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn two_auth_services_on_one_file_know_the_same_sessions_and_the_feed_of_each_tells_of_both() {
    let stack = Compose::up(&[]).await;
    let address = free_address();
    let publish = format!("{address}:8001");
    let run = ["run", "-d", "--no-deps", "-p", &publish, AUTH];
    stack.compose(&run).await.succeeds();
    let second = Client::new(format!("http://{address}"));
    second.becomes_ready().await;
    let ((stays, refresh), (gone, _)) = (pair(&stack).await, pair(&stack).await);
    second.post_with("/refresh", &refresh).await.has_status(200);
    // resource-service listens to the first.
    answers(&stack.resource, &gone, 200).await;
    second.post_with("/logout", &gone).await.has_status(204);
    for service in [&stack.auth, &second] {
        let refused = service.get_with("/me", &gone).await;
        refused.is(401, "token_revoked");
    }
    answers(&stack.resource, &gone, 401).await;
    answers(&stack.resource, &stays, 200).await;
}

/// A request whose handler has begun and waits for the body.
struct InFlight {
    connection: TcpStream,
    body: String,
}

impl InFlight {
    /// # Errors
    /// The connection was refused, or closed before the handler had begun: the engine's proxy takes a connection first, and then
    /// finds that nobody listens behind it.
    fn begin(service: &Client, request: &str, token: &str, body: &Value) -> io::Result<Self> {
        let body = body.to_string();
        let address = service.base().trim_start_matches("http://");
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        let mut answer = [0; 25];
        connection.read_exact(&mut answer)?;
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        Ok(Self { connection, body })
    }

    /// From here on there must be an answer, whatever becomes of the service.
    fn end(mut self) {
        self.connection.write_all(self.body.as_bytes()).unwrap();
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn a_stop_under_load_answers_every_request_in_flight() {
    // However slow the machine: what is cut off after HTTP_STOP_LIMIT is not what this is about.
    let stack = Compose::up(&[("HTTP_STOP_LIMIT", "60s"), ("AUTH_HASHING_DEADLINE", "9s")]).await;
    let (access, _) = pair(&stack).await;
    // A user of its own for the load, whose many logins end the oldest sessions.
    let laika = json!({"username": "laika", "password": "bark at the moon"});
    stack.auth.post("/register", &laika).await.has_status(201);
    let user = json!({"username": "cosmo", "password": "space-corgi"});
    let profile = json!({"display_name": "Cosmo", "bio": null});
    let is_stopped = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for (service, request, body) in [
        (&stack.auth, "POST /login", &laika),
        (&stack.resource, "PUT /profile", &profile),
    ]
    .repeat(4)
    {
        let (service, token, body) = (service.clone(), access.clone(), body.clone());
        let is_stopped = Arc::clone(&is_stopped);
        load.push(tokio::task::spawn_blocking(move || {
            let mut answered = 0;
            loop {
                match InFlight::begin(&service, request, &token, &body) {
                    Ok(request) => request.end(),
                    Err(_) if is_stopped.load(Ordering::SeqCst) => return answered,
                    Err(error) => panic!("nobody has stopped it yet: {error}"),
                }
                answered += 1;
            }
        }));
    }
    let mut in_flight = Vec::new();
    for _ in 0..20 {
        for (service, request, body) in [
            (&stack.auth, "POST /login", &user),
            (&stack.resource, "PUT /profile", &profile),
        ] {
            in_flight.push(InFlight::begin(service, request, &access, body).unwrap());
        }
    }
    let containers = [stack.container(AUTH).await, stack.container(RESOURCE).await];
    is_stopped.store(true, Ordering::SeqCst);
    let stopped = async {
        let stop = ["stop", "-t", "90", &containers[0], &containers[1]];
        stack.docker(&stop).await.succeeds();
    };
    let answered = async {
        for service in [AUTH, RESOURCE] {
            let started = Instant::now();
            while !stack.log(service).await.contains("\"stopping\"") {
                assert!(started.elapsed() < PATIENCE);
            }
        }
        // The signal has been heard; only now comes the rest of what was asked.
        tokio::task::spawn_blocking(|| in_flight.into_iter().for_each(InFlight::end))
            .await
            .unwrap();
    };
    tokio::join!(stopped, answered);
    for service in [AUTH, RESOURCE] {
        let stopped = stack.inspect(service).await;
        assert_eq!(stopped["State"]["ExitCode"], 0, "{}", stopped["State"]);
    }
    for life in load {
        assert_ne!(life.await.unwrap(), 0, "there was no load");
    }
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn down_and_up_keep_users_sessions_logouts_profiles_and_the_secret() {
    let stack = Compose::up(&[]).await;
    let laika = json!({"username": "laika", "password": "bark at the moon"});
    stack.auth.post("/register", &laika).await.has_status(201);
    let ((access, refresh), (gone, _)) = (pair(&stack).await, pair(&stack).await);
    let profile = json!({"display_name": "Cosmo", "bio": null});
    let written = stack.resource.put_with("/profile", &access, &profile).await;
    written.has_status(200);
    stack.auth.post_with("/logout", &gone).await.has_status(204);
    let secret = stack.file(AUTH, "/secrets/jwt-secret").await;

    stack.compose(&["down"]).await.succeeds();
    assert!(!stack.auth.answers("/health/live").await);
    stack.start().await;
    assert!(stack.file(AUTH, "/secrets/jwt-secret").await == secret);
    let kept = stack
        .resource
        .get_with("/profile", &access)
        .await
        .has_status(200);
    assert_eq!(kept.text_of("display_name"), "Cosmo");
    stack
        .resource
        .get_with("/profile", &gone)
        .await
        .is(401, "token_revoked");
    stack
        .auth
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    stack.auth.post("/login", &laika).await.has_status(200);
}

#[tokio::test]
#[ignore = "needs an engine and the images: .ci/compose"]
async fn a_backup_comes_out_of_a_running_stack_and_goes_back_into_a_stopped_service() {
    let stack = Compose::up(&[]).await;
    let laika = json!({"username": "laika", "password": "bark at the moon"});
    let belka = json!({"username": "belka", "password": "bark at the moon"});
    stack.auth.post("/register", &laika).await.has_status(201);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.backup");
    let backup = ["exec", "-T", AUTH, AUTH, "database", "backup", "-"];
    stack.pipe(&backup, None, Some(&file)).await.succeeds();
    stack.auth.post("/register", &belka).await.has_status(201);
    let (_, refresh) = pair(&stack).await;

    let restore = [
        "run",
        "--rm",
        "--no-deps",
        "-T",
        AUTH,
        "database",
        "restore",
        "-",
    ];
    let refused = stack.pipe(&restore, Some(&file), None).await;
    assert!(
        refused.code != Some(0) && refused.stderr.contains("is in use"),
        "{refused:?}"
    );
    stack.compose(&["stop", AUTH]).await.succeeds();
    let restored = stack.pipe(&restore, Some(&file), None).await.succeeds();
    assert!(
        restored
            .stdout
            .contains("what was there is kept as /data/auth.db.replaced-"),
        "{restored:?}"
    );
    stack.start().await;
    stack.auth.post("/login", &laika).await.has_status(200);
    stack
        .auth
        .post("/login", &belka)
        .await
        .is(401, "bad_credentials");
    let refused = stack.auth.post_with("/refresh", &refresh).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
}
