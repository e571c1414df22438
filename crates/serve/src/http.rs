//! Answers, and the bytes of requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{Limits, Refusal};

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// Events, as they come.
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// An answer of any kind.
pub(crate) type Reply = Response<Content>;

/// An answer with this content.
pub(crate) fn reply(kind: &'static str, content: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Content::Whole(content.into()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// An answer in JSON, on one line.
pub(crate) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = reply("application/json", value.to_string() + "\n");
    *reply.status_mut() = status;
    reply
}

/// The answer to a request that is refused.
pub(crate) fn refused(refusal: &Refusal) -> Reply {
    let (status, _) = refusal.code();
    let mut reply = json(status, &refusal.json());
    let headers = reply.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    match refusal {
        Refusal::Method(allowed) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
        // The rest of such a request is not waited for.
        Refusal::Slow { .. } | Refusal::Body { .. } => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    reply
}

/// The headers of every answer: the browser loads and runs nothing but what this server sends, no page of another site may show or read an
/// answer, and answers are not cached.
const SECURITY: [(HeaderName, &str); 6] = [
    (
        HeaderName::from_static("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds the headers of every answer.
pub(crate) fn secured(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply
}

/// The content type of a request without its parameters, in lower case; empty if it names none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Bytes that a request says it has, and the most that it may have where it does not say it.
///
/// # Errors
/// [`Refusal::Body`], before any of them is read.
pub(crate) fn announced(headers: &HeaderMap, limits: &Limits) -> Result<usize, Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limits.body as u64 => Err(too_large(limits)),
        Some(length) => Ok(length as usize),
        None => Ok(limits.body),
    }
}

/// All bytes of a body.
///
/// # Errors
/// [`Refusal`]: too many of them, or a connection that broke off.
pub(crate) async fn collected(body: &mut Incoming, limits: &Limits) -> Result<Bytes, Refusal> {
    let collected = Limited::new(body, limits.body).collect().await;
    Ok(collected.map_err(|error| unread(&*error, limits))?.to_bytes())
}

/// Why a body was not read to its end.
pub(crate) fn unread(error: &(dyn std::error::Error + 'static), limits: &Limits) -> Refusal {
    match error.is::<LengthLimitError>() {
        true => too_large(limits),
        false => Refusal::Malformed("the request broke off".to_owned()),
    }
}

fn too_large(limits: &Limits) -> Refusal {
    Refusal::Body { limit: limits.body >> 20 }
}

/// How long, and up to how many bytes, the rest of a refused request is read and forgotten: a client that sends everything before it
/// reads the answer would otherwise see nothing but a broken connection.
const PATIENCE: Duration = Duration::from_secs(2);
const FORGOTTEN: usize = 256 << 20;

/// Reads and forgets what a refused request still sends. A client that waits to be asked for its body ([`EXPECT`]) reads the answer first.
pub(crate) async fn forget(headers: &HeaderMap, body: &mut Incoming) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let rest = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > FORGOTTEN {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}
