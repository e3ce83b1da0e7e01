//! Ids in a request's path.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::error::Error;

/// The one id in the path. What is no text is the id of nothing.
pub(super) struct Named<T>(pub(super) T);

impl<T: From<String>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id.into())),
            Err(_) => Err(Error::NotFound("There is nothing of this name")),
        }
    }
}
