//! An error on its way out: the one JSON shape, and the cause that only the log reads.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use shared_claims::extract::Cause;
use shared_claims::wire::ErrorBody;

use crate::sqlite::StorageError;

/// An answer that is an error. Display is what the client reads, the source is for the log.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<Duration>,
    cause: Option<Cause>,
}

impl Problem {
    /// An error with this status, stable slug and sentence.
    pub fn new(status: StatusCode, code: &'static str, msg: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody::new(code, msg),
            retry_after: None,
            cause: None,
        }
    }

    /// The body is not what the route asks for.
    pub fn invalid_request(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", msg)
    }

    /// Single fields of the body are not what the route asks for.
    #[must_use]
    pub fn invalid_fields<F: Into<Cow<'static, str>>>(
        faults: impl IntoIterator<Item = (F, Vec<String>)>,
    ) -> Self {
        let mut problem = Self::invalid_request("The request body has fields that cannot be used");
        problem.body.errors = faults
            .into_iter()
            .map(|(field, faults)| (field.into(), faults))
            .collect();
        problem
    }

    /// There is more work waiting than can be done in time: come back after this long.
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "The service is overloaded, try again shortly",
        );
        Self {
            retry_after: Some(retry_after),
            ..problem
        }
    }

    /// Somebody has tried too often: the next attempt may be made after this long.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        let problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "Too many attempts, try again later",
        );
        Self {
            retry_after: Some(retry_after),
            ..problem
        }
    }

    /// The service is about to stop: another one, or its successor, is to be asked.
    #[must_use]
    pub fn stopping() -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The service is stopping",
        );
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..problem
        }
    }

    /// Something that nobody foresaw. The cause is for the log alone.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
        );
        problem.because(Arc::from(cause.into()))
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// When to come again, where that is said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The error behind it, for the log.
    #[must_use]
    pub fn because(self, cause: Arc<dyn Error + Send + Sync>) -> Self {
        Self {
            cause: Some(Cause(cause)),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.msg)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause
            .as_ref()
            .map(|Cause(cause)| &**cause as &(dyn Error + 'static))
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Busy(_) => {
                Self::overloaded(Duration::from_secs(1)).because(Arc::new(error))
            }
            error => Self::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, retry_after(after));
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// The `Retry-After` of this long (RFC 9110 section 10.2.3): whole seconds, and none too early.
#[must_use]
pub fn retry_after(after: Duration) -> HeaderValue {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// The answer where no route is: the fallback of every router.
pub async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this address",
    )
}

/// The answer where the route knows other methods; axum adds the `Allow` header.
pub async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not know that method",
    )
}
