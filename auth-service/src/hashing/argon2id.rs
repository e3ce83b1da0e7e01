//! argon2id: what a hash is made and checked with, and how it is written down.

use std::fmt;

use argon2::password_hash::phc::{Output, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, rand};
use zeroize::Zeroize;

use crate::password::Password;

/// Blocks of 1 KiB: just above the greatest size that glibc's allocator may come to keep for itself.
const RESERVED: usize = 33 * 1024;
/// The length of a hash, in bytes.
const OUTPUT: usize = 32;

/// What the table holds of a password: a PHC string with algorithm, parameters, salt and hash.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(Box<str>);

impl PasswordHash {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for PasswordHash {
    fn from(phc: String) -> Self {
        Self(phc.into())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Wrong,
    Right,
    /// Right, and hashed with parameters that are no longer ours.
    RightButOutdated,
}

/// OWASP's recommendation for argon2id: 19 MiB, 2 passes, 1 lane.
fn parameters() -> Params {
    Params::new(19 * 1024, 2, 1, Some(OUTPUT)).expect("these are parameters that argon2 allows")
}

/// The memory of one thread, large enough for the hashes that it has met.
#[derive(Default)]
pub(super) struct Workspace {
    memory: Vec<Block>,
}

impl Workspace {
    /// Wipes the memory and gives it back.
    pub(super) fn give_back(&mut self) {
        self.memory.iter_mut().for_each(Zeroize::zeroize);
        self.memory = Vec::new();
    }

    pub(super) fn hash(&mut self, password: &Password) -> PasswordHash {
        let salt = random_salt();
        let output = self.compute(
            &parameters(),
            Algorithm::Argon2id,
            Version::V0x13,
            &salt,
            password,
        );
        write(
            salt,
            output.expect("our own parameters and salt can be hashed with"),
        )
    }

    /// A hash that cannot be read fits nothing, and costs what any other does.
    pub(super) fn check(&mut self, hash: &PasswordHash, password: &Password) -> Checked {
        let Some((stored, algorithm, version, params)) = read(hash) else {
            self.hash(password);
            return Checked::Wrong;
        };
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Checked::Wrong;
        };
        let Some(computed) = self.compute(&params, algorithm, version, &salt, password) else {
            return Checked::Wrong;
        };
        if constant_time::verify_slices_are_equal(computed.as_bytes(), expected.as_bytes()).is_err()
        {
            return Checked::Wrong;
        }
        let current = parameters();
        let same = (params.m_cost(), params.t_cost(), params.p_cost())
            == (current.m_cost(), current.t_cost(), current.p_cost());
        if same && algorithm == Algorithm::Argon2id {
            Checked::Right
        } else {
            Checked::RightButOutdated
        }
    }

    fn compute(
        &mut self,
        params: &Params,
        algorithm: Algorithm,
        version: Version,
        salt: &Salt,
        password: &Password,
    ) -> Option<Output> {
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            // Allocations above 32 MiB are mapped singly and so really given back when they are freed; smaller ones the
            // allocator would keep. What is reserved beyond the need is never touched, and costs no memory.
            self.memory
                .reserve_exact(blocks.max(RESERVED) - self.memory.len());
            self.memory.resize(blocks, Block::default());
        }
        let mut output = vec![0; params.output_len().unwrap_or(OUTPUT)];
        let argon2 = Argon2::new(algorithm, version, params.clone());
        argon2
            .hash_password_into_with_memory(
                &password.bytes(),
                salt.as_ref(),
                &mut output,
                &mut self.memory[..blocks],
            )
            .ok()?;
        Output::new(&output).ok()
    }
}

/// A hash that nothing fits, and that costs what any other does.
pub(super) fn decoy() -> PasswordHash {
    let output = Output::new(&random::<OUTPUT>()).expect("32 bytes are a hash");
    write(random_salt(), output)
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

fn random_salt() -> Salt {
    Salt::new(&random::<16>()).expect("16 bytes are a salt")
}

fn write(salt: Salt, output: Output) -> PasswordHash {
    let phc = Phc {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: parameters()
            .try_into()
            .expect("our own parameters can be written"),
        salt: Some(salt),
        hash: Some(output),
    };
    phc.to_string().into()
}

fn read(hash: &PasswordHash) -> Option<(Phc, Algorithm, Version, Params)> {
    let phc = Phc::new(hash.as_str()).ok()?;
    let algorithm = Algorithm::try_from(phc.algorithm.as_str()).ok()?;
    let version = phc
        .version
        .map_or(Ok(Version::default()), Version::try_from)
        .ok()?;
    let params = Params::try_from(&phc).ok()?;
    Some((phc, algorithm, version, params))
}
