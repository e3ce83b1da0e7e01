//! Key pairs: the private key signs, at the issuer alone, and the public key verifies, wherever it is known.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use pkcs8::der::pem::PemLabel;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{Document, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::{Jwk, JwkUnusable, SigningKey, VerifyingKey, thumbprint};
use crate::id::KeyId;

/// RFC 8410 section 3.
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480 section 2.1.1.
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The bytes of a coordinate of either curve.
const COORDINATE: usize = 32;
/// What an uncompressed point begins with (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// What a key pair signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairAlgorithm {
    /// `EdDSA` over Ed25519 (RFC 8037): the faster of the two, and it needs no randomness to sign.
    Ed25519,
    /// `ES256`: ECDSA over P-256 with SHA-256 (RFC 7518 section 3.4), which every library knows.
    Es256,
}

impl PairAlgorithm {
    pub(super) fn jws(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
        }
    }
}

/// Why a text is no key that can be used. Nothing of the text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyUnusable {
    /// Not PEM (RFC 7468), or of another kind than is asked for.
    #[error("it is no PEM block '{expected}'")]
    NotPem {
        /// The label that is asked for.
        expected: &'static str,
    },
    /// What is in the block cannot be read.
    #[error("the PEM block cannot be read as a key")]
    Unreadable,
    /// Neither Ed25519 nor P-256.
    #[error("the key is neither of Ed25519 nor of P-256")]
    Algorithm,
}

/// The private key of a pair. Whoever holds it can mint tokens.
pub struct PrivateKey {
    /// PKCS#8 (RFC 5958).
    der: SecretDocument,
    public: PublicKey,
}

impl PrivateKey {
    /// A new private key as PEM (PKCS#8), to be kept in a file.
    ///
    /// # Panics
    /// When the operating system has no random bytes to give.
    #[must_use]
    pub fn generate(algorithm: PairAlgorithm) -> Zeroizing<String> {
        // Version 1, which older readers know too.
        let der = match algorithm {
            PairAlgorithm::Ed25519 => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()),
            PairAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                pair.and_then(|pair| pair.to_pkcs8v1())
            }
        };
        let der = der.expect("the operating system has random bytes");
        let pem = SecretDocument::try_from(der.as_ref())
            .and_then(|der| der.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF));
        pem.expect("a new key is DER")
    }

    /// Reads one PEM block of PKCS#8.
    pub fn parse(pem: &str) -> Result<Self, KeyUnusable> {
        let expected = PrivateKeyInfoRef::PEM_LABEL;
        let (label, der) =
            SecretDocument::from_pem(pem).map_err(|_| KeyUnusable::NotPem { expected })?;
        if label != expected {
            return Err(KeyUnusable::NotPem { expected });
        }
        let info =
            PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| KeyUnusable::Unreadable)?;
        let unreadable = |_| KeyUnusable::Unreadable;
        let public = match info.algorithm.oid {
            ED25519_OID => {
                let pair = Ed25519KeyPair::from_pkcs8(der.as_bytes()).map_err(unreadable)?;
                PublicKey::new(PairAlgorithm::Ed25519, pair.public_key().as_ref())?
            }
            EC_OID if info.algorithm.parameters_oid() == Ok(P256_OID) => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes());
                let pair = pair.map_err(unreadable)?;
                PublicKey::new(PairAlgorithm::Es256, pair.public_key().as_ref())?
            }
            _ => return Err(KeyUnusable::Algorithm),
        };
        Ok(Self { der, public })
    }

    /// The key that signs with this one.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        let der = self.der.as_bytes();
        SigningKey {
            id: self.public.key_id(),
            algorithm: self.public.algorithm.jws(),
            key: match self.public.algorithm {
                PairAlgorithm::Ed25519 => EncodingKey::from_ed_der(der),
                PairAlgorithm::Es256 => EncodingKey::from_ec_der(der),
            },
        }
    }

    /// The other half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.key_id())
    }
}

/// The public key of a pair: verifies, and can be shown to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: PairAlgorithm,
    /// Of Ed25519 the 32 bytes of RFC 8032, of P-256 the uncompressed point.
    point: Box<[u8]>,
}

impl PublicKey {
    fn new(algorithm: PairAlgorithm, point: &[u8]) -> Result<Self, KeyUnusable> {
        let shaped = match algorithm {
            PairAlgorithm::Ed25519 => point.len() == COORDINATE,
            PairAlgorithm::Es256 => point.len() == 1 + 2 * COORDINATE && point[0] == UNCOMPRESSED,
        };
        // Whether it is a point of the curve at all.
        if shaped && ParsedPublicKey::new(algorithm.verification(), point).is_ok() {
            let point = point.into();
            Ok(Self { algorithm, point })
        } else {
            Err(KeyUnusable::Unreadable)
        }
    }

    /// Reads one PEM block of a `SubjectPublicKeyInfo` (RFC 7468 section 13).
    pub fn parse(pem: &str) -> Result<Self, KeyUnusable> {
        let expected = SubjectPublicKeyInfoRef::PEM_LABEL;
        let (label, der) = Document::from_pem(pem).map_err(|_| KeyUnusable::NotPem { expected })?;
        if label != expected {
            return Err(KeyUnusable::NotPem { expected });
        }
        let info = SubjectPublicKeyInfoRef::try_from(der.as_bytes())
            .map_err(|_| KeyUnusable::Unreadable)?;
        let algorithm = match info.algorithm.oid {
            ED25519_OID => PairAlgorithm::Ed25519,
            EC_OID if info.algorithm.parameters_oid() == Ok(P256_OID) => PairAlgorithm::Es256,
            _ => return Err(KeyUnusable::Algorithm),
        };
        let point = info.subject_public_key.as_bytes();
        Self::new(algorithm, point.ok_or(KeyUnusable::Unreadable)?)
    }

    /// The key as PEM.
    ///
    /// # Panics
    /// Never: a key that was checked when it was made can be written.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let parsed = ParsedPublicKey::new(self.algorithm.verification(), &self.point);
        let parsed = parsed.expect("the key was checked");
        let der = AsDer::<PublicKeyX509Der>::as_der(&parsed).expect("a key that was read is DER");
        let pem = Document::try_from(der.as_ref())
            .and_then(|der| der.to_pem(SubjectPublicKeyInfoRef::PEM_LABEL, LineEnding::LF));
        pem.expect("a key that was read is DER")
    }

    /// Reads a key that an issuer has published (RFC 7517).
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, JwkUnusable> {
        let algorithm = jwk.algorithm()?;
        let coordinate = |member: &'static str, text: &Option<String>| {
            let text = text.as_ref().ok_or(JwkUnusable::Member(member))?;
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let bytes = bytes.filter(|bytes| bytes.len() == COORDINATE);
            bytes.ok_or(JwkUnusable::Member(member))
        };
        let point = match algorithm {
            PairAlgorithm::Ed25519 => coordinate("x", &jwk.x)?,
            PairAlgorithm::Es256 => {
                let (x, y) = (coordinate("x", &jwk.x)?, coordinate("y", &jwk.y)?);
                [&[UNCOMPRESSED], &*x, &*y].concat()
            }
        };
        Self::new(algorithm, &point).map_err(|_| JwkUnusable::Member("x"))
    }

    /// The key as an issuer publishes it (RFC 7517, RFC 8037 section 2, RFC 7518 section 6.2).
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let (kty, crv, alg, x, y) = match self.algorithm {
            PairAlgorithm::Ed25519 => ("OKP", "Ed25519", "EdDSA", encode(&self.point), None),
            PairAlgorithm::Es256 => {
                let (x, y) = self.point[1..].split_at(COORDINATE);
                ("EC", "P-256", "ES256", encode(x), encode(y))
            }
        };
        Jwk {
            kty: kty.to_owned(),
            crv: Some(crv.to_owned()),
            x,
            y,
            kid: Some(self.key_id().to_string()),
            alg: Some(alg.to_owned()),
            usage: Some("sig".to_owned()),
            ..Jwk::default()
        }
    }

    /// What the pair signs with.
    #[must_use]
    pub fn algorithm(&self) -> PairAlgorithm {
        self.algorithm
    }

    /// The key that verifies with this one.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey {
            id: self.key_id(),
            algorithm: self.algorithm.jws(),
            key: match self.algorithm {
                PairAlgorithm::Ed25519 => DecodingKey::from_ed_der(&self.point),
                PairAlgorithm::Es256 => DecodingKey::from_ec_der(&self.point),
            },
            public: Some(self.clone()),
        }
    }

    /// The truncated JWK thumbprint (RFC 7638) of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = match self.algorithm {
            PairAlgorithm::Ed25519 => {
                format!(
                    r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
                    encode(&self.point)
                )
            }
            PairAlgorithm::Es256 => {
                let (x, y) = self.point[1..].split_at(COORDINATE);
                format!(
                    r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                    encode(x),
                    encode(y)
                )
            }
        };
        thumbprint(&jwk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // openssl genpkey -algorithm ED25519; openssl pkey -pubout
    const ED25519: [&str; 2] = [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPrZvgka/MTiSV7Vbu3PK1K+0q8uUXxIDZ8zyWENWmKy\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAY5KinJKyPfaUkWImhyGhKwc4GePZwWMktcIFxvhuD7Q=\n-----END PUBLIC KEY-----",
    ];
    // openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256; openssl pkey -pubout
    const P256: [&str; 2] = [
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglLjybKZ8N+NsHmM3\nTAv0nCIp/NibOnPk5L/y4hJMm/ehRANCAARxh/vdsbnJnqiWrjMfFSvu/ovWH27v\nMVSJvAeb8MyFk2OQh4KXKa7i1CWoWgfhxbwF9LKbS18sP1hajW0EExIl\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEcYf73bG5yZ6olq4zHxUr7v6L1h9u\n7zFUibwHm/DMhZNjkIeClymu4tQlqFoH4cW8BfSym0tfLD9YWo1tBBMSJQ==\n-----END PUBLIC KEY-----",
    ];

    #[test]
    fn the_keys_of_openssl_are_read_and_the_two_halves_have_one_id() {
        for [private, public] in [ED25519, P256] {
            let (private, public) = (
                PrivateKey::parse(private).unwrap(),
                PublicKey::parse(public).unwrap(),
            );
            assert_eq!(*private.public_key(), public);
            assert_eq!(*private.signing_key().id(), public.key_id());
            assert_eq!(public.verifying_key().id, public.key_id());
            assert_eq!(PublicKey::parse(&public.to_pem()), Ok(public));
        }
        assert_eq!(PublicKey::parse(P256[1]).unwrap().to_pem().trim(), P256[1]);
    }

    #[test]
    fn the_key_id_is_the_keys_jwk_thumbprint() {
        // RFC 8037, appendices A.2 and A.3.
        let jwk = Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x: Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned()),
            ..Jwk::default()
        };
        let key = PublicKey::from_jwk(&jwk).unwrap();
        assert_eq!(key.key_id().as_str(), "kPrK_qmxVWaYVA9w");
    }

    #[test]
    fn a_new_key_is_read_again_and_never_the_same() {
        for algorithm in [PairAlgorithm::Ed25519, PairAlgorithm::Es256] {
            let [one, other] = [
                PrivateKey::generate(algorithm),
                PrivateKey::generate(algorithm),
            ];
            assert!(
                one.starts_with("-----BEGIN PRIVATE KEY-----\n"),
                "{algorithm:?}"
            );
            assert_eq!(PrivateKey::parse(&one).unwrap().public.algorithm, algorithm);
            assert_ne!(*one, *other);
        }
    }

    #[test]
    fn what_is_no_such_key_is_refused_by_name() {
        let not_pem = |expected| Some(KeyUnusable::NotPem { expected });
        let p384 = "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAfBpEz/+KeYrsi8yoe\n7CYWDxkfneeAGcIFsrqhOqKesBMTFMon3xYeF3vVfGXAu0ChZANiAAQu+YpSaaZv\npAa1DhsUnLn6GRB70uXZbPyZYLpu7If21/ik008dF33u3bFQTgyA4U+xn2Dtt9Ly\nn54UoSgyhb10HzlIlCgPCGBlMEVjiCOGEEdJanTtmpxMgkgVrrD9wKk=\n-----END PRIVATE KEY-----";
        let x25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIMBvjVq8UbahvRu/Jlt5Hw3comNQ/4suZHhCdOEzNW5W\n-----END PRIVATE KEY-----";
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEICx98ZbBnZwvKpA8qKGY1ptdk00GeOpaT0R82une0ev9oAoGCCqGSM49\nAwEHoUQDQgAE6ud7rfPxFZA+hA2GX+RO/FUx6gh+4uan/kqz3mTteuyKNxVGwyht\nv6sPm6VoS8HJk01vBXHRDxhinRw86OUT4w==\n-----END EC PRIVATE KEY-----";
        let no_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----";
        let broken = ED25519[0].replace("MC4CAQ", "MC4CAg");
        for (pem, refusal) in [
            ("", not_pem("PRIVATE KEY")),
            (
                "a-secret-for-tests-of-at-least-32-bytes",
                not_pem("PRIVATE KEY"),
            ),
            (ED25519[1], not_pem("PRIVATE KEY")),
            (sec1, not_pem("PRIVATE KEY")),
            (no_key, Some(KeyUnusable::Unreadable)),
            (&*broken, Some(KeyUnusable::Unreadable)),
            (p384, Some(KeyUnusable::Algorithm)),
            (x25519, Some(KeyUnusable::Algorithm)),
        ] {
            assert_eq!(PrivateKey::parse(pem).err(), refusal, "{pem}");
        }
        for private in [ED25519[0], P256[0]] {
            assert_eq!(PublicKey::parse(private).err(), not_pem("PUBLIC KEY"));
        }
    }

    #[test]
    fn no_debug_output_shows_a_private_key() {
        let key = PrivateKey::parse(ED25519[0]).unwrap();
        let shown = format!("{key:?} {:?}", key.signing_key());
        assert_eq!(
            shown,
            format!("PrivateKey({0}) SigningKey({0})", key.public.key_id())
        );
    }
}
