#![doc = include_str!("../README.md")]

mod answer;
mod backoff;
mod client;
mod feed;
mod issuer;
mod keys;
mod source;

pub use answer::{AnswerError, json};
pub use client::{CallError, ServiceClient, Trail};
pub use feed::{FEED_SCOPE, FeedOptions, FeedStatus, Subscription};
pub use issuer::{Exchange, FetchError, Issuer};
pub use keys::{IssuerKeys, KeyOptions, KeyStatus};
pub use source::{FETCH_LIMIT, TokenSource};
