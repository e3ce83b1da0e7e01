//! `auth-service secret …`

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use service_shell::keys::KeySource;
use service_shell::settings::duration;
use service_shell::sqlite::DatabaseUrl;
use shared_claims::{Clock, KeyId, NumericDate, PairAlgorithm, PrivateKey, SharedSecret};

use super::{print, seconds};
use crate::audit::{Author, Happening, Note};
use crate::key_files::Kind;
use crate::rotation::{KeyState, Rotation};
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Print a new random secret for `JWT_SECRET_KEY`, or a new private key for `JWT_PRIVATE_KEY_FILE`
    Generate {
        #[command(flatten)]
        algorithm: Algorithm,
    },
    /// Print the public keys of the private ones, for `JWT_PUBLIC_KEY_FILE` of whoever verifies
    Public,
    #[command(flatten)]
    OfTheStore(KeyCommand),
}

/// What has to know of the verifiers, and of the tokens that there are.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Tell which key signs, which others verify, and who holds them
    Status,
    /// Change the key in its files: let everybody verify with a new one, wait until they do, sign with it
    Rotate {
        #[command(flatten)]
        algorithm: Algorithm,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take a rotation back: the new key before it signs, or, afterwards, sign with the old one again
    Rollback {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Drop retired keys whose last token has expired
    Prune,
}

/// What the new key is to sign with.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub(super) struct Algorithm {
    /// A key pair of Ed25519 (`EdDSA`): only auth-service can sign, and verifying takes its public key
    #[arg(long)]
    ed25519: bool,
    /// A key pair of P-256 (ES256), for verifiers that do not know Ed25519
    #[arg(long)]
    es256: bool,
    /// A common secret (HS256)
    #[arg(long)]
    hs256: bool,
}

impl Algorithm {
    /// `None`: not said.
    fn kind(self) -> Option<Kind> {
        match self {
            Self { ed25519: true, .. } => Some(Kind::Pair(PairAlgorithm::Ed25519)),
            Self { es256: true, .. } => Some(Kind::Pair(PairAlgorithm::Es256)),
            Self { hs256: true, .. } => Some(Kind::Secret),
            _ => None,
        }
    }
}

/// For whom to wait, and how long.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// How long to wait for everybody; a later run goes on from there
    #[arg(long, default_value = "5m", value_parser = duration)]
    wait: Duration,
    /// Do not wait for verifiers that have not been heard of for 45 seconds: they are dead for good
    #[arg(long)]
    without_gone: bool,
}

/// How often the table is looked at while somebody is waited for.
const LOOK: Duration = Duration::from_millis(200);

fn generate(algorithm: Algorithm) -> anyhow::Result<()> {
    let key = match algorithm.kind() {
        Some(Kind::Pair(algorithm)) => PrivateKey::generate(algorithm),
        Some(Kind::Secret) | None => SharedSecret::generate(),
    };
    print(key.trim_end())
}

fn public(source: &KeySource) -> anyhow::Result<()> {
    let mut keys: Vec<_> = source.private_key()?.into_iter().collect();
    keys.extend(source.previous_private_keys()?);
    if keys.is_empty() {
        bail!(
            "there is no private key: set JWT_PRIVATE_KEY_FILE to the file that auth-service signs with"
        );
    }
    for key in keys {
        print(key.public_key().to_pem().trim_end())?;
    }
    Ok(())
}

pub(super) async fn run(
    command: SecretCommand,
    database: &DatabaseUrl,
    source: KeySource,
) -> anyhow::Result<()> {
    let command = match command {
        SecretCommand::Generate { algorithm } => return generate(algorithm),
        SecretCommand::Public => return public(&source),
        SecretCommand::OfTheStore(command) => command,
    };
    let store = Store::open_existing(database).await?;
    let rotation = Rotation::new(store.clone(), Clock::system(), &source)?;
    let run = async {
        let happened = match command {
            KeyCommand::Status => return status(&rotation).await,
            KeyCommand::Rotate { algorithm, waiting } => {
                rotate(&rotation, &store, algorithm.kind(), waiting).await?
            }
            KeyCommand::Rollback { waiting } => roll_back(&rotation, waiting).await?,
            KeyCommand::Prune => prune(&rotation).await?,
        };
        match happened {
            Some(happened) => note(&store, happened).await,
            None => Ok(()),
        }
    };
    let done = run.await;
    store.close().await;
    done
}

async fn status(rotation: &Rotation) -> anyhow::Result<()> {
    let status = rotation.status().await?;
    let held = |key: &KeyId| {
        let lacking = status.lacking(key).len();
        let holders = status.holders.len();
        format!("held by {} of {holders}", holders - lacking)
    };
    print(&format!(
        "signs     {}  {}",
        status.signs,
        held(&status.signs)
    ))?;
    for (key, state, until) in &status.verify {
        let state = match (state, until) {
            (Some(KeyState::Next), _) => "next".to_owned(),
            (Some(KeyState::Recalled), _) => "recalled".to_owned(),
            (Some(KeyState::Retired | KeyState::Withdrawn), Some(until)) => {
                format!("retired, its last token expires at {}", when(*until))
            }
            (Some(KeyState::Retired | KeyState::Withdrawn), None) => {
                "retired, and may sign still".to_owned()
            }
            (None, _) => "put there by hand".to_owned(),
        };
        print(&format!("verifies  {key}  {}  {state}", held(key)))?;
    }
    for holder in &status.holders {
        let keys: Vec<_> = holder.keys.iter().map(KeyId::as_str).collect();
        let gone = if holder.is_here(status.now) {
            ""
        } else {
            "  gone"
        };
        print(&format!(
            "holder    {}  {}{gone}",
            holder.name,
            keys.join(" ")
        ))?;
    }
    Ok(())
}

async fn note(store: &Store, happened: Happening) -> anyhow::Result<()> {
    let note = Note::new(happened, &Author::command_line());
    Ok(store.note(note, Clock::system().now()).await?)
}

async fn rotate(
    rotation: &Rotation,
    store: &Store,
    kind: Option<Kind>,
    waiting: Waiting,
) -> anyhow::Result<Option<Happening>> {
    let next = rotation.stage(kind).await?;
    note(store, Happening::SecretStaged).await?;
    print(&format!(
        "{next} verifies from now on; waiting until everybody holds it"
    ))?;
    sign_with(rotation, &next, waiting, "secret rotate").await?;
    Ok(Some(Happening::SecretRotated))
}

async fn roll_back(rotation: &Rotation, waiting: Waiting) -> anyhow::Result<Option<Happening>> {
    if let Some(next) = rotation.unstage().await? {
        print(&format!("{next} is taken back; it has signed nothing"))?;
        return Ok(Some(Happening::SecretRolledBack));
    }
    let Some(last) = rotation.recall().await? else {
        bail!("there is nothing to be taken back");
    };
    print(&format!("{last} is to sign again"))?;
    sign_with(rotation, &last, waiting, "secret rollback").await?;
    Ok(Some(Happening::SecretRolledBack))
}

/// Waits until everybody holds the key, signs with it, and waits until that is seen.
async fn sign_with(
    rotation: &Rotation,
    next: &KeyId,
    Waiting { wait, without_gone }: Waiting,
    again: &str,
) -> anyhow::Result<()> {
    let (started, mut told) = (Instant::now(), String::new());
    loop {
        let status = rotation.status().await?;
        let (here, gone): (Vec<_>, Vec<_>) = status
            .lacking(next)
            .into_iter()
            .partition(|holder| holder.is_here(status.now));
        let mut names: Vec<_> = here.iter().map(|holder| holder.name.clone()).collect();
        if !without_gone {
            let gone = gone.iter().map(|holder| {
                let heard = seconds(holder.reported_at);
                format!("{} (not heard of since {heard})", holder.name)
            });
            names.extend(gone);
        }
        let somebody = status
            .holders
            .iter()
            .any(|holder| holder.is_here(status.now));
        if somebody && names.is_empty() {
            break;
        }
        let lacking = if somebody {
            format!("not held yet by {}", names.join(", "))
        } else {
            "nobody has been heard of: is auth-service running on this database?".to_owned()
        };
        if started.elapsed() >= wait {
            bail!("{lacking}; what signed before goes on signing, run '{again}' again to go on");
        }
        if told != lacking {
            print(&lacking)?;
            told = lacking;
        }
        tokio::time::sleep(LOOK).await;
    }
    rotation.promote(next).await?;
    while !rotation.status().await?.is_signed_with(next) {
        if started.elapsed() >= wait {
            bail!(
                "auth-service does not sign with {next} yet: does it read the same file? Run '{again}' again once it does"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    rotation.settle(next).await?;
    print(&format!(
        "{next} signs from now on; drop the old key with 'secret prune' when its last token has expired"
    ))
}

async fn prune(rotation: &Rotation) -> anyhow::Result<Option<Happening>> {
    let (dropped, kept) = rotation.prune().await?;
    for key in &dropped {
        print(&format!("{key} is dropped"))?;
    }
    for (key, until) in &kept {
        match until {
            Some(until) => print(&format!(
                "{key} must stay: its last token expires at {}",
                when(*until)
            ))?,
            None => print(&format!("{key} must stay: it may sign still"))?,
        }
    }
    if dropped.is_empty() && kept.is_empty() {
        print("no key is retired")?;
    }
    Ok((!dropped.is_empty()).then_some(Happening::SecretDropped))
}

fn when(at: NumericDate) -> String {
    Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), seconds)
}
