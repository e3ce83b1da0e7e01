//! The body of a request as its client sends it: no longer than it may be, and in no more time.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::in_flight::{InFlight, Paused};
use crate::limits::Limits;
use crate::problem::Problem;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is longer than this many bytes.
    #[error("The request body must not be longer than {0} bytes")]
    TooLong(usize),
    /// It took longer than this.
    #[error("The request body must be sent within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The connection broke, or what came is no HTTP.
    #[error("The request body could not be read to its end")]
    Broken,
}

impl Unread {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        let code = match unread {
            Unread::TooLong(_) => "payload_too_large",
            Unread::TooSlow(_) => "request_timeout",
            Unread::Broken => "invalid_request",
        };
        Self::new(unread.status(), code, unread.to_string())
    }
}

/// The whole body of a request.
///
/// # Errors
/// It is longer, or takes longer, than the service allows; or the connection broke.
pub async fn read(request: Request) -> Result<Bytes, Unread> {
    let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    bytes.map_err(|error| {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(unread) = error.downcast_ref() {
                return *unread;
            }
            cause = error.source();
        }
        Unread::Broken
    })
}

/// A body within its limits. While it waits for the client, its request is not one that is being worked on: a thousand slow
/// clients leave room for the others.
pub(crate) struct ClientBody {
    body: Body,
    left: usize,
    most: usize,
    time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    in_flight: InFlight,
    waiting: Option<Paused>,
}

impl ClientBody {
    /// Puts limits on the body of a request that has one.
    pub(crate) fn limit(request: Request, limits: &Limits, in_flight: &InFlight) -> Request {
        if request.body().is_end_stream() {
            return request;
        }
        request.map(|body| {
            Body::new(Self {
                body,
                left: limits.body_bytes,
                most: limits.body_bytes,
                time: limits.body,
                deadline: None,
                in_flight: in_flight.clone(),
                waiting: None,
            })
        })
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        let too_long = Unread::TooLong(this.most);
        // What says how long it is, and is too long, is not waited for.
        if this.body.size_hint().lower() > this.left as u64 {
            return Poll::Ready(Some(Err(too_long.into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let time = this.time;
            let deadline = this
                .deadline
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            if this.waiting.is_none() {
                this.waiting = Some(this.in_flight.pause());
            }
            ready!(deadline.as_mut().poll(context));
            this.waiting = None;
            return Poll::Ready(Some(Err(Unread::TooSlow(time).into())));
        };
        this.waiting = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(length) {
                    Some(left) => {
                        this.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(too_long.into())),
                }
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
