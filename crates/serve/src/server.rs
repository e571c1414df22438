use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::engine::Engine;
use crate::http::{Reply, forget, refused, secured};
use crate::live::Watcher;
use crate::metrics::Metrics;
use crate::model::Slot;
use crate::shared::Shared;
use crate::{Options, Refusal, ServeError, guard, routes};

/// Most bytes and lines of a request's head, and the time for it to arrive. A connection that asks nothing for as long is closed.
const HEAD: usize = 64 << 10;
const LINES: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Most streams of events at a time.
const STREAMS: usize = 32;
/// How long the server waits after the system has refused a connection, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(50);

/// A server that listens, and answers once it [runs](Server::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    slot: Arc<Slot>,
    options: Options,
    stop: Arc<watch::Sender<bool>>,
}

/// Stops a server from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<bool>>);

impl Stopper {
    /// Lets the server end: it takes no new connection, answers the requests that it has, and closes.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Loads the network of `path`, which is a run's folder or a checkpoint, and listens. A run whose first epoch is under way has no
    /// network yet; it is loaded when it is there.
    ///
    /// # Errors
    /// [`ServeError`] if there is nothing to serve, if the checkpoint is damaged, or if the address is taken.
    pub fn open(path: &Path, options: Options) -> Result<Self, ServeError> {
        let slot = Arc::new(Slot::open(path, options.calibrated)?);
        let failed = |source| ServeError::Listen { address: options.address, source };
        let listener = TcpListener::bind(options.address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, address, slot, options, stop: Arc::new(watch::channel(false).0) })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether there is a network to ask.
    pub fn is_ready(&self) -> bool {
        self.slot.get().is_some()
    }

    /// What stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Answers until it is stopped; then it answers the requests that it has, for at most the time that the limits give.
    ///
    /// # Errors
    /// [`ServeError::Begin`].
    pub fn run(self) -> Result<(), ServeError> {
        let Self { listener, slot, options, stop, .. } = self;
        let metrics = Arc::new(Metrics::default());
        let engine = Engine::start(&slot, &metrics, &options.limits).map_err(ServeError::Begin)?;
        let watcher = Watcher::start(&slot, stop.subscribe()).map_err(ServeError::Begin)?;
        let memory = Semaphore::new(options.limits.memory >> 10);
        let seen = watcher.seen.clone();
        let streams = Arc::new(Semaphore::new(STREAMS));
        let shared = Arc::new(Shared { options, slot, engine, metrics, seen, memory, streams });
        // Computations have threads of their own, so one thread is enough for the connections.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Begin)?;
        let served = runtime.block_on(serve(listener, shared, stop.subscribe()));
        runtime.shutdown_timeout(Duration::from_secs(1));
        watcher.join();
        served
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Begin)?;
    let graceful = Arc::new(GracefulShutdown::new());
    let accepting = tokio::spawn(accept(listener, shared.clone(), graceful.clone()));
    // The sender lives as long as the server.
    let _ = stop.wait_for(|stop| *stop).await;
    accepting.abort();
    let _ = accepting.await;
    let drain = shared.options.limits.drain;
    if let Ok(graceful) = Arc::try_unwrap(graceful)
        && timeout(drain, graceful.shutdown()).await.is_err()
    {
        tracing::warn!("some connections were closed before their answer");
    }
    Ok(())
}

/// Takes connections, as many as the limits say at a time.
async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>, graceful: Arc<GracefulShutdown>) {
    let places = Arc::new(Semaphore::new(shared.options.limits.connections));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written at once, so that nothing is gained by waiting for more to send.
                let _ = stream.set_nodelay(true);
                connection(stream, shared.clone(), &graceful, place);
            }
            Err(error) => {
                tracing::warn!("a connection was not taken: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn connection(
    stream: tokio::net::TcpStream,
    shared: Arc<Shared>,
    graceful: &GracefulShutdown,
    place: OwnedSemaphorePermit,
) {
    shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let ended = Ended(shared.clone(), place);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .max_headers(LINES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        let _ended = ended;
        // A client that has gone away is no fault of the server.
        if let Err(error) = connection.await {
            tracing::debug!("a connection broke off: {error}");
        }
    });
}

/// Counts a connection as closed, and gives its place back, when it is dropped.
#[derive(Debug)]
struct Ended(Arc<Shared>, #[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to a request, whatever it is.
async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let (head, mut body) = request.into_parts();
    let route = guard::host(&head.uri, &head.headers, &shared.options.names)
        .and_then(|()| routes::find(&head.method, head.uri.path()));
    let path = route.as_ref().map_or("other", |route| route.path);
    let answered = async {
        let route = route?;
        if !matches!(head.method, Method::GET | Method::HEAD) {
            guard::origin(&head.headers)?;
        }
        crate::answer::answer(shared, route, &head, &mut body).await
    };
    let reply = match answered.await {
        Ok(reply) => reply,
        Err(refusal) => {
            if !matches!(refusal, Refusal::Slow { .. }) {
                forget(&head.headers, &mut body).await;
            }
            refused(&refusal)
        }
    };
    shared.metrics.count(path, reply.status().as_u16());
    secured(reply)
}
