//! A connection on which a test says what no well-behaved client would.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, byte by byte.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer whose length its head says.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl RawAnswer {
    /// Whether it has this line among its headers.
    #[must_use]
    pub fn has(&self, header: &str) -> bool {
        self.head.lines().skip(1).any(|line| line == header)
    }

    /// Asserts an error: its status and its code, in the one shape.
    #[track_caller]
    pub fn is(self, status: u16, code: &str) -> Self {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        assert_eq!(
            (self.status, body["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        self
    }
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.expect("a connection"),
            unread: Vec::new(),
        }
    }

    /// Sends these bytes. The other side may have closed: then they are lost, and that is told with `false`.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next answer; `None`: the connection ended before there was one.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        loop {
            if let Some(answer) = next_answer(&mut self.unread) {
                return Some(answer);
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Sends this again and again, up to so many bytes, until there is an answer; `None`: the connection ended before.
    pub async fn flood(&mut self, piece: &[u8], most: usize) -> Option<RawAnswer> {
        let (mut reading, mut writing) = self.stream.split();
        let flooding = async {
            for _ in 0..most / piece.len() {
                // What is sent once the other side has closed is lost, but its answer is there to be read.
                if writing.write_all(piece).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let unread = &mut self.unread;
        let answer = async {
            loop {
                if let Some(answer) = next_answer(unread) {
                    return Some(answer);
                }
                if !receive(&mut reading, unread).await {
                    return None;
                }
            }
        };
        tokio::select! {
            answer = answer => answer,
            () = flooding => None,
        }
    }

    /// Waits until the other side has said all that it will say, and returns whether that was nothing.
    pub async fn ends_in_silence(&mut self) -> bool {
        while self.receive().await {}
        self.unread.is_empty()
    }

    async fn receive(&mut self) -> bool {
        receive(&mut self.stream, &mut self.unread).await
    }
}

async fn receive(reading: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> bool {
    let read = tokio::time::timeout(PATIENCE, reading.read_buf(unread)).await;
    read.expect("an answer or the end, in time")
        .is_ok_and(|read| read > 0)
}

fn next_answer(unread: &mut Vec<u8>) -> Option<RawAnswer> {
    let end = unread.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&unread[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    let body = unread.get(end..end + length)?;
    let answer = RawAnswer {
        status: head[9..12].parse().expect("a status"),
        body: String::from_utf8_lossy(body).into_owned(),
        head,
    };
    unread.drain(..end + length);
    Some(answer)
}
