#![doc = include_str!("../README.md")]

mod client;
mod issuer;
mod source;

pub use client::{CallError, ServiceClient, Trail};
pub use issuer::{Exchange, FetchError, Issuer};
pub use source::{FETCH_LIMIT, TokenSource};
