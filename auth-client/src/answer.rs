//! What another service answers, read within a bound: whoever has taken its place could send without an end.

use reqwest::Response;
use serde::de::DeserializeOwned;

/// No answer that is read into memory is longer, in bytes.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// Why an answer is of no use. Nothing of what it says is in it.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It broke off, or did not come in time.
    #[error("the answer broke off")]
    BrokeOff(#[source] reqwest::Error),
    /// It is longer than 64 KiB.
    #[error("the answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// It is not the JSON that was asked for.
    #[error("the answer is not what was asked for")]
    Unreadable,
}

/// The bytes of an answer.
///
/// # Errors
/// It breaks off, or is too long.
pub(crate) async fn bytes(mut answer: Response) -> Result<Vec<u8>, AnswerError> {
    let mut read = Vec::new();
    let broke_off = |error: reqwest::Error| AnswerError::BrokeOff(error.without_url());
    while let Some(piece) = answer.chunk().await.map_err(broke_off)? {
        if read.len() + piece.len() > MOST_BYTES {
            return Err(AnswerError::TooLong);
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

/// An answer in JSON of 64 KiB at the most.
///
/// # Errors
/// It breaks off, is longer, or is something else.
pub async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, AnswerError> {
    let bytes = bytes(answer).await?;
    // The parser's own error quotes what it read, which may be a token.
    serde_json::from_slice(&bytes).map_err(|_| AnswerError::Unreadable)
}
