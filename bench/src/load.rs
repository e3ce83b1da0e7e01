//! A load of HTTP/1.1: callers on connections that are kept alive, each waiting for its answer before it asks again.
//!
//! Requests are bytes that are ready, and of an answer no more is read than it takes to find its end: what this thread
//! does, the server cannot do with the same core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::rounds::{Turn, Waits};

/// How long after its turn a load may take to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer that is longer is none of ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What one connection asks for.
pub(crate) trait Caller: Send + 'static {
    /// The next request.
    fn request(&self) -> &[u8];

    /// Is given the answer, which is one of 200.
    fn take(&mut self, body: &[u8]) -> anyhow::Result<()>;
}

/// Asks the same again and again.
#[derive(Clone, Debug)]
pub(crate) struct Repeating(Arc<[u8]>);

impl Repeating {
    pub(crate) fn new(request: &str) -> Self {
        Self(request.as_bytes().into())
    }
}

impl Caller for Repeating {
    fn request(&self) -> &[u8] {
        &self.0
    }

    fn take(&mut self, _: &[u8]) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Lets the callers ask, each on a connection of its own, until the turn ends, and returns them with how long they waited.
///
/// # Errors
/// The first answer that is not 200, or what broke.
pub(crate) async fn drive<C: Caller>(
    address: SocketAddr,
    callers: Vec<C>,
    turn: Turn,
) -> anyhow::Result<(Vec<C>, Waits)> {
    let mut tasks = JoinSet::new();
    for caller in callers {
        tasks.spawn(ask(address, caller, turn));
    }
    let mut callers = Vec::with_capacity(tasks.len());
    let mut waits = Waits::of(turn);
    while let Some(done) = timeout_at(turn.until + PATIENCE, tasks.join_next())
        .await
        .context("an answer never came")?
    {
        let (caller, waited) = done??;
        callers.push(caller);
        waits.extend(waited);
    }
    Ok((callers, waits))
}

async fn ask<C: Caller>(
    address: SocketAddr,
    mut caller: C,
    turn: Turn,
) -> anyhow::Result<(C, Waits)> {
    let mut connection = Connection::open(address).await?;
    let mut waits = Waits::of(turn);
    loop {
        let asked = Instant::now();
        if asked >= turn.until {
            return Ok((caller, waits));
        }
        let body = connection.exchange(caller.request()).await?;
        waits.add(asked);
        caller.take(body)?;
    }
}

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("the server does not listen")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and returns the body of its answer.
    ///
    /// # Errors
    /// An answer of any other status than 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        let (status, body) = self.ask(request).await?;
        ensure!(
            status == 200,
            "answered with {status}: {}",
            String::from_utf8_lossy(body)
        );
        Ok(body)
    }

    /// Sends a request and returns the status and the body of its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        let head = self.receive_answer(request).await?;
        Ok((head.status, &self.received[head.bytes..]))
    }

    /// Sends a request and returns the status of its answer, and when it says to come again.
    pub(crate) async fn ask_when(
        &mut self,
        request: &[u8],
    ) -> anyhow::Result<(u16, Option<Duration>)> {
        let head = self.receive_answer(request).await?;
        Ok((head.status, head.retry_after))
    }

    async fn receive_answer(&mut self, request: &[u8]) -> anyhow::Result<Head> {
        self.received.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            self.receive().await?;
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
        };
        while self.received.len() < head.bytes + head.body_bytes {
            self.receive().await?;
        }
        Ok(head)
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        let bytes = self.stream.read_buf(&mut self.received).await?;
        ensure!(bytes > 0, "the server closed the connection");
        ensure!(
            self.received.len() <= MAX_ANSWER_BYTES,
            "the answer does not end"
        );
        Ok(())
    }
}

/// What has to be known of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    retry_after: Option<Duration>,
}

impl Head {
    /// `None`: it has not arrived as a whole.
    fn parse(received: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = str::from_utf8(&received[..end])?;
        let (status_line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = status_line.split(' ').nth(1).unwrap_or_default();
        let status = status.parse::<u16>();
        let value = |wanted: &str| {
            fields.split("\r\n").find_map(|field| {
                let (name, value) = field.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let length = value("content-length");
        // An answer of 204 has no body, and need not say so.
        let length = length.or(status.eq(&Ok(204)).then_some("0"));
        let Some(length) = length else {
            bail!("an answer without Content-Length: {head}")
        };
        Ok(Some(Self {
            status: status.with_context(|| format!("not an answer: {status_line}"))?,
            bytes: end + 4,
            body_bytes: length.parse()?,
            retry_after: value("retry-after")
                .map(|seconds| seconds.parse().map(Duration::from_secs))
                .transpose()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let head = Head::parse(answer).unwrap().unwrap();
        assert_eq!((head.status, head.body_bytes), (200, 2));
        assert_eq!(&answer[head.bytes..], b"{}");
        assert_eq!(Head::parse(&answer[..head.bytes - 1]).unwrap(), None);
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error_rather_than_a_wait() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"220 mail.example\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
