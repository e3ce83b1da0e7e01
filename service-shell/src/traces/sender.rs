//! Brings spans to a collector, by OTLP over HTTP.

use std::mem;
use std::pin::pin;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use opentelemetry_proto::tonic::resource::v1::Resource;
use reqwest::Url;
use reqwest::redirect::Policy;
use tokio::sync::{mpsc, oneshot};

use super::{Ended, SpanCounts, otlp};
use crate::request_log::chain;
use crate::settings::below;

/// Spans that are sent together.
const BATCH: usize = 512;
/// How long a span may wait for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long a collector may take for a batch.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long it is left alone after it has not taken one.
const PAUSE: Duration = Duration::from_secs(5);
/// More of a collector's answer is not read.
const MOST_BYTES: usize = 64 * 1024;

/// Sends spans to a collector, by OTLP/HTTP.
pub(super) struct Sender {
    http: reqwest::Client,
    url: Url,
    /// The address without what comes after the path, for the log.
    collector: String,
    resource: Resource,
    counts: SpanCounts,
    /// Whether it has not taken the last batch.
    away: bool,
}

impl Sender {
    /// Sends the spans of this service to the collector at this address.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    pub(super) fn new(service: &'static str, endpoint: &Url, counts: SpanCounts) -> Self {
        let url = below(endpoint, "/v1/traces");
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(SEND_LIMIT)
            .build();
        Self {
            http: http.expect("the system's TLS can be set up"),
            collector: url.origin().ascii_serialization() + url.path(),
            url,
            resource: otlp::resource(service),
            counts,
            away: false,
        }
    }

    pub(super) fn collector(&self) -> &str {
        &self.collector
    }

    /// Sends what ends, some at a time, and after `stop` what is left.
    pub(super) async fn run(
        mut self,
        mut ended: mpsc::Receiver<Ended>,
        stop: oneshot::Receiver<()>,
    ) {
        let mut stop = pin!(stop);
        let mut stopping = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = ended.recv_many(&mut batch, BATCH) => if received == 0 { return },
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    ended.close();
                    continue;
                }
            }
            let full = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if ended.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                _ = tokio::time::timeout(DELAY, full) => {}
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    ended.close();
                }
            }
            self.send(&mut batch).await;
            if self.away && !stopping {
                // What ends meanwhile waits in the queue, for which there is an end too.
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = &mut stop => {
                        stopping = true;
                        ended.close();
                    }
                }
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Ended>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let spans = mem::replace(batch, Vec::with_capacity(BATCH));
        let body = otlp::request(&self.resource, spans);
        let collector = &self.collector;
        match self.post(body).await {
            Ok(refused) => {
                let refused = refused.min(count);
                self.counts.exported.inc_by(count - refused);
                self.counts.dropped.inc_by(refused);
                if mem::take(&mut self.away) {
                    tracing::info!(collector, "spans are taken again");
                }
            }
            Err(reason) => {
                self.counts.dropped.inc_by(count);
                if !mem::replace(&mut self.away, true) {
                    tracing::warn!(
                        collector,
                        "spans are not taken, and dropped until they are: {reason}"
                    );
                }
            }
        }
    }

    /// How many spans of a batch that it has taken the collector did not like.
    async fn post(&self, body: Vec<u8>) -> Result<u64, String> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                "no answer in time".to_owned()
            } else {
                chain(&error.without_url())
            }
        };
        let request = self.http.post(self.url.clone());
        let request = request.header(CONTENT_TYPE, "application/x-protobuf");
        let mut answer = request.body(body).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let mut read = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if read.len() + piece.len() > MOST_BYTES {
                break;
            }
            read.extend_from_slice(&piece);
        }
        Ok(otlp::refused(&read))
    }
}
