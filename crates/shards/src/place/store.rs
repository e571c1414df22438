//! Objects in stores with the S3 protocol, such as those of AWS, MinIO, Ceph and Cloudflare.
//!
//! The library `object_store` signs, retries, and reads answers; requests go over the connections of `injerto-fetch`, one after the other,
//! in the thread that asks.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use injerto_fetch::exchange::{Connections, NoAnswer, http};
use injerto_files::printable;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, GetRange, MultipartId, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig,
};

use super::Entry;
use crate::ShardsError;
use crate::input::LARGEST;

/// Bytes that are sent together. A file of at most so many is one request; a longer one is sent in parts.
const PART: usize = 8 << 20;
/// Bytes of a file that are read together.
const BLOCK: u64 = 4 << 20;
/// Blocks of a file that are kept: Parquet comes back to them, column by column.
const KEPT: usize = 8;
/// Upper limit of an answer.
const ANSWER: u64 = 1 << 30;

/// A request that fails for a reason that may pass is tried again so often, for so long.
const RETRY: RetryConfig = RetryConfig {
    max_retries: 5,
    retry_timeout: Duration::from_secs(120),
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(15),
        base: 2.0,
    },
};

/// An object, or the beginning of the names of several.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    bucket: Arc<str>,
    store: Arc<AmazonS3>,
    /// Without `/` at its ends.
    key: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl Object {
    /// What `bucket/key` means with the variables of the environment.
    pub fn parse(rest: &str) -> Result<Self, String> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err("there is no bucket; expected s3://BUCKET/PREFIX".to_owned());
        }
        let mut builder =
            AmazonS3Builder::new().with_bucket_name(bucket).with_retry(RETRY).with_http_connector(Connector);
        for (name, value) in std::env::vars_os() {
            // An empty variable says nothing.
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str().filter(|value| !value.is_empty()))
                && name.starts_with("AWS_")
                && let Ok(key) = name.to_ascii_lowercase().parse()
                && key != AmazonS3ConfigKey::Bucket
            {
                builder = builder.with_config(key, value);
            }
        }
        let has = |key: &AmazonS3ConfigKey| builder.get_config_value(key).is_some();
        use AmazonS3ConfigKey as Key;
        let endpoint = has(&Key::Endpoint) || has(&Key::S3Endpoint);
        let keys = [
            Key::AccessKeyId,
            Key::WebIdentityTokenFile,
            Key::ContainerCredentialsRelativeUri,
            Key::ContainerCredentialsFullUri,
            Key::MetadataEndpoint,
        ];
        let unsigned = builder.get_config_value(&Key::SkipSignature).is_some_and(|value| value == "true");
        // A role of the machine exists only at AWS.
        if endpoint && !unsigned && !keys.iter().any(has) {
            return Err(NO_KEYS.to_owned());
        }
        let store = builder.build().map_err(|error| reason(&error))?;
        let key = key.trim_matches('/').to_owned();
        if let Err(error) = Path::parse(&key) {
            return Err(format!("no object can be called so ({})", last(&error)));
        }
        Ok(Self { bucket: bucket.into(), store: Arc::new(store), key })
    }

    pub fn join(&self, name: &str) -> Self {
        let name = name.trim_start_matches("./").trim_matches('/');
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        Self { key, ..self.clone() }
    }

    pub fn parent(&self) -> Self {
        let key = self.key.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        Self { key, ..self.clone() }
    }

    fn path(&self) -> object_store::Result<Path> {
        Ok(Path::parse(&self.key)?)
    }

    fn error(&self, error: &object_store::Error) -> ShardsError {
        ShardsError::Store { place: self.to_string(), reason: reason(error) }
    }

    /// Waits for a request.
    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        // The only thing that is waited for asynchronously is the time before another attempt.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?.block_on(request)
    }

    fn head(&self) -> object_store::Result<Option<ObjectMeta>> {
        if self.key.is_empty() {
            return Ok(None);
        }
        match self.wait(async { self.store.head(&self.path()?).await }) {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            // An answer to this request has no text that says why; one to a list has.
            Err(error) => self.wait(self.store.list_with_delimiter(Some(&self.path()?))).and(Err(error)),
            Ok(meta) => Ok(Some(meta)),
        }
    }

    /// Size and version of the object; `None` if there is no object of exactly this name.
    pub fn stamp(&self) -> Result<Option<String>, ShardsError> {
        self.head().map(|meta| meta.map(|meta| stamp(&meta))).map_err(|error| self.error(&error))
    }

    /// The objects whose names begin with this one and a `/`, at every depth or without a further `/`.
    pub fn entries(&self, depth: bool) -> Result<Vec<Entry>, ShardsError> {
        let below = |meta: ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(self.key.as_str())?.trim_start_matches('/');
            // A name of no bytes that ends with `/` stands for a folder; its last `/` is gone here.
            let is_folder = meta.size == 0 && !name.contains('.');
            (!name.is_empty() && !is_folder).then(|| Entry { name: name.to_owned(), stamp: stamp(&meta) })
        };
        let list = async {
            let prefix = self.path()?;
            if !depth {
                let found = self.store.list_with_delimiter(Some(&prefix)).await?;
                return Ok(found.objects.into_iter().filter_map(below).collect());
            }
            let (mut pages, mut all) = (self.store.list(Some(&prefix)), Vec::new());
            while let Some(meta) = std::future::poll_fn(|context| pages.as_mut().poll_next(context)).await {
                all.extend(below(meta?));
            }
            Ok(all)
        };
        self.wait(list).map_err(|error| self.error(&error))
    }

    /// All of an object that should be a photo, or why it cannot be had.
    pub fn whole(&self) -> Result<Vec<u8>, String> {
        let request = async {
            let found = self.store.get_opts(&self.path()?, GetOptions::default()).await?;
            if found.meta.size > LARGEST {
                return Ok(None);
            }
            found.bytes().await.map(Some)
        };
        match self.wait(request) {
            Ok(Some(bytes)) => Ok(bytes.to_vec()),
            Ok(None) => Err(format!("it is too large: a photo may have {} MiB", LARGEST >> 20)),
            Err(error) => Err(reason(&error)),
        }
    }
}

fn stamp(meta: &ObjectMeta) -> String {
    // The time is that of writing, in seconds; the tag is another for other content.
    format!("{} {} {}", meta.size, meta.last_modified.timestamp(), meta.e_tag.as_deref().unwrap_or_default())
}

/// An object that is read in blocks, of which the last few are kept. All of them are of one version of it.
#[derive(Debug, Clone)]
pub(crate) struct Blocks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    object: Object,
    meta: ObjectMeta,
    kept: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Blocks {
    pub fn open(object: Object) -> Result<Self, ShardsError> {
        let found = object.head().map_err(|error| object.error(&error))?;
        let missing = || ShardsError::Absent { place: object.to_string() };
        let meta = found.ok_or_else(missing)?;
        Ok(Self(Arc::new(Inner { object, meta, kept: Mutex::default() })))
    }

    pub fn size(&self) -> u64 {
        self.0.meta.size
    }

    /// What stands from this place on.
    pub fn from(&self, start: u64) -> Reading {
        Reading { blocks: self.clone(), at: start }
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let Inner { object, meta, kept } = &*self.0;
        let find =
            |kept: &VecDeque<(u64, Bytes)>| kept.iter().find(|(own, _)| *own == number).map(|(_, bytes)| bytes.clone());
        if let Some(bytes) = find(&kept.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        let range: Range<u64> = number * BLOCK..((number + 1) * BLOCK).min(meta.size);
        let length = range.end - range.start;
        let options =
            GetOptions { range: Some(GetRange::Bounded(range)), if_match: meta.e_tag.clone(), ..GetOptions::default() };
        let bytes = object.wait(async { object.store.get_opts(&meta.location, options).await?.bytes().await });
        let bytes = bytes.map_err(|error| io::Error::other(reason(&error)))?;
        if bytes.len() as u64 != length {
            return Err(io::Error::other(format!("{} bytes came instead of {length}", bytes.len())));
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((number, bytes.clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(bytes)
    }
}

/// A reader of [`Blocks`].
pub(crate) struct Reading {
    blocks: Blocks,
    at: u64,
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.blocks.size() || into.is_empty() {
            return Ok(0);
        }
        let block = self.blocks.block(self.at / BLOCK)?;
        let rest = &block[(self.at % BLOCK) as usize..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

/// An object that is being written. It is there when [`finish`](Self::finish) has returned, and not before. What was sent of it is
/// removed if that does not happen, unless the process is killed: then the store keeps the parts, without showing them, until its rule
/// for unfinished uploads removes them.
pub(crate) struct Upload {
    object: Object,
    waiting: Vec<u8>,
    sent: Option<(MultipartId, Vec<PartId>)>,
}

impl Upload {
    pub fn of(object: Object) -> Self {
        Self { object, waiting: Vec::new(), sent: None }
    }

    /// Sends what waits as the next part.
    fn send(&mut self) -> object_store::Result<()> {
        let (object, payload) = (&self.object, std::mem::take(&mut self.waiting).into());
        let (path, begun) = (object.path()?, self.sent.take());
        let (id, parts) = self.sent.insert(match begun {
            Some(sent) => sent,
            None => (object.wait(object.store.create_multipart(&path))?, Vec::new()),
        });
        parts.push(object.wait(object.store.put_part(&path, id, parts.len(), payload))?);
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), ShardsError> {
        self.end().map_err(|error| self.object.error(&error))
    }

    fn end(&mut self) -> object_store::Result<()> {
        let path = self.object.path()?;
        if self.sent.is_none() {
            let payload = std::mem::take(&mut self.waiting).into();
            return self.object.wait(self.object.store.put(&path, payload)).map(|_| ());
        }
        if !self.waiting.is_empty() {
            self.send()?;
        }
        if let Some((id, parts)) = &self.sent {
            self.object.wait(self.object.store.complete_multipart(&path, id, parts.clone()))?;
        }
        self.sent = None;
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() >= PART {
            self.send().map_err(|error| io::Error::other(reason(&error)))?;
        }
        let length = bytes.len().min(PART - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some((id, _)), Ok(path)) = (&self.sent, self.object.path()) {
            // The caller that drops it has an error to report already.
            let _ = self.object.wait(self.object.store.abort_multipart(&path, id));
        }
    }
}

const NO_KEYS: &str = "there are no keys for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                       AWS_SKIP_SIGNATURE=true for a public bucket";

/// Where AWS tells a machine its role.
const ROLES: &str = "169.254.169.254";

/// Connections as the library wants them.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service { usual: Connections::default(), near: Connections::new(Duration::from_secs(2)) }))
    }
}

#[derive(Debug)]
struct Service {
    usual: Connections,
    /// For an address that answers at once, or is not there.
    near: Connections,
}

impl HttpService for Service {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            use http_body_util::BodyExt as _;
            let (mut parts, body) = request.into_parts();
            // The signature is that of `%20`, and not all stores know that `+` is the same.
            if parts.uri.query().is_some_and(|query| query.contains('+'))
                && let Some((before, query)) = parts.uri.to_string().split_once('?')
                && let Ok(uri) = format!("{before}?{}", query.replace('+', "%20")).parse()
            {
                parts.uri = uri;
            }
            let body = body.collect().await?.to_bytes().to_vec();
            let roles = parts.uri.host() == Some(ROLES);
            let connections = if roles { &self.near } else { &self.usual };
            let answer = connections.exchange(http::Request::from_parts(parts, body), ANSWER);
            let answer = answer.map_err(|error| match error {
                NoAnswer::Unreachable(_) | NoAnswer::Broken(_) if roles => {
                    HttpError::new(HttpErrorKind::Unknown, NoAnswer::Refused(NO_KEYS.to_owned()))
                }
                NoAnswer::Unreachable(_) => HttpError::new(HttpErrorKind::Connect, error),
                NoAnswer::Broken(_) => HttpError::new(HttpErrorKind::Interrupted, error),
                NoAnswer::Refused(_) => HttpError::new(HttpErrorKind::Unknown, error),
            })?;
            Ok(answer.map(Into::into))
        })
    }
}

/// What went wrong, in words. What a store answers may repeat keys and signatures, so that only its code and its message are said.
fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    let field = |name: &str| {
        let value = text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
        Some(printable(value).to_string()).filter(|value| !value.is_empty())
    };
    let said = match (field("Code"), field("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        // No answer that was understood: what the connection says, or the status.
        _ => status(&text).unwrap_or_else(|| last(error)),
    };
    use object_store::Error::{NotFound, PermissionDenied, Precondition, Unauthenticated};
    let refuses = field("Code").is_some_and(|code| REFUSALS.contains(&code.as_str()));
    match error {
        Precondition { .. } => "the object changed while it was read".to_owned(),
        NotFound { .. } => format!("there is no such object or bucket ({said})"),
        _ if refuses || matches!(error, PermissionDenied { .. } | Unauthenticated { .. }) => format!(
            "the store refuses ({said}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and what \
             this key may do"
        ),
        _ => said,
    }
}

/// Codes of answers to requests whose keys are wrong or may not do this.
const REFUSALS: [&str; 6] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// The status that an answer without a code had.
fn status(text: &str) -> Option<String> {
    let after = text.split_once("status code: ")?.1;
    let status: String = after.chars().take_while(|c| *c != ':' && !c.is_control()).take(60).collect();
    Some(format!("the store answered {}", printable(&status)))
}

/// The first cause of an error.
fn last(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string()).to_string()
}
