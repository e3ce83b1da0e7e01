//! `auth-service secret …`

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;
use service_shell::keys::KeySource;
use service_shell::settings::duration;
use shared_claims::{Clock, KeyId, NumericDate, SharedSecret};

use super::{print, seconds};
use crate::rotation::{KeyState, Rotation};
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Print a new random secret for `JWT_SECRET_KEY`
    Generate,
    /// Tell which key signs, which others verify, and who holds them
    Status,
    /// Change the secret in its files: let everybody verify with a new one, wait until they do, sign with it
    Rotate {
        /// How long to wait for everybody; a later run goes on from there
        #[arg(long, default_value = "5m", value_parser = duration)]
        wait: Duration,
    },
    /// Take a rotation back: the new secret before it signs, or, afterwards, the old one as the next
    Rollback {
        /// How long to wait for everybody
        #[arg(long, default_value = "5m", value_parser = duration)]
        wait: Duration,
    },
    /// Drop retired secrets whose last token has expired
    Prune,
}

/// How often the table is looked at while somebody is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// What needs no store.
pub(super) fn generate() -> anyhow::Result<()> {
    print(&SharedSecret::generate())
}

pub(super) async fn run(
    command: SecretCommand,
    store: Store,
    source: KeySource,
) -> anyhow::Result<()> {
    let rotation = Rotation::new(store.clone(), Clock::system(), &source)?;
    let done = match command {
        SecretCommand::Generate => generate(),
        SecretCommand::Status => status(&rotation).await,
        SecretCommand::Rotate { wait } => rotate(&rotation, wait).await,
        SecretCommand::Rollback { wait } => roll_back(&rotation, wait).await,
        SecretCommand::Prune => prune(&rotation).await,
    };
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
            (Some(KeyState::Retired), Some(until)) => {
                format!("retired, its last token expires at {}", when(*until))
            }
            (Some(KeyState::Retired), None) => "retired".to_owned(),
            (None, _) => "put there by hand".to_owned(),
        };
        print(&format!("verifies  {key}  {}  {state}", held(key)))?;
    }
    for holder in &status.holders {
        let keys: Vec<_> = holder.keys.iter().map(KeyId::as_str).collect();
        print(&format!("holder    {}  {}", holder.name, keys.join(" ")))?;
    }
    Ok(())
}

async fn rotate(rotation: &Rotation, wait: Duration) -> anyhow::Result<()> {
    let next = rotation.stage().await?;
    print(&format!(
        "{next} verifies from now on; waiting until everybody holds it"
    ))?;
    sign_with(rotation, &next, wait).await
}

async fn roll_back(rotation: &Rotation, wait: Duration) -> anyhow::Result<()> {
    if let Some(next) = rotation.unstage().await? {
        return print(&format!("{next} is taken back; it has signed nothing"));
    }
    let Some(last) = rotation.recall().await? else {
        bail!("there is nothing to be taken back: no retired secret verifies any more");
    };
    print(&format!("{last} is to sign again"))?;
    sign_with(rotation, &last, wait).await
}

/// Waits until everybody who has been heard of holds the key, and signs with it.
async fn sign_with(rotation: &Rotation, next: &KeyId, wait: Duration) -> anyhow::Result<()> {
    let (started, mut told) = (Instant::now(), String::new());
    loop {
        let status = rotation.status().await?;
        let names: Vec<_> = status
            .lacking(next)
            .into_iter()
            .map(|holder| holder.name.clone())
            .collect();
        if !status.holders.is_empty() && names.is_empty() {
            break;
        }
        let lacking = if status.holders.is_empty() {
            "nobody has been heard of: is auth-service running on this database?".to_owned()
        } else {
            format!("not held yet by {}", names.join(", "))
        };
        if started.elapsed() >= wait {
            bail!(
                "{lacking}; the old secret signs as before, run this again to go on, or 'secret rollback'"
            );
        }
        if told != lacking {
            print(&lacking)?;
            told = lacking;
        }
        tokio::time::sleep(LOOK).await;
    }
    let retired = rotation.promote(next).await?;
    while !rotation.status().await?.is_signed_with(next) {
        if started.elapsed() >= wait {
            bail!("auth-service does not sign with {next} yet; does it read the same file?");
        }
        tokio::time::sleep(LOOK).await;
    }
    if let Some(retired) = retired {
        rotation.has_retired(&retired).await?;
    }
    print(&format!(
        "{next} signs from now on; drop the old secret with 'secret prune' when its last token has expired"
    ))
}

async fn prune(rotation: &Rotation) -> anyhow::Result<()> {
    let (dropped, kept) = rotation.prune().await?;
    for key in &dropped {
        print(&format!("{key} is dropped"))?;
    }
    for (key, until) in &kept {
        print(&format!(
            "{key} must stay: its last token expires at {}",
            when(*until)
        ))?;
    }
    if dropped.is_empty() && kept.is_empty() {
        print("no secret is retired")?;
    }
    Ok(())
}

fn when(at: NumericDate) -> String {
    Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), seconds)
}
