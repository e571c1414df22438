use std::net::SocketAddr;
use std::time::Duration;

/// Where a server listens, and what it may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen at; port 0 takes a free one.
    pub address: SocketAddr,
    /// Host names besides `localhost` that requests may use. Addresses are always allowed. So no page of another site can reach the server
    /// by a name of its own (DNS rebinding).
    pub names: Vec<String>,
    /// Whether visitors may stop the training and collect corrections.
    pub changes: bool,
    /// An answer that is less probable than this share is unsure.
    pub threshold: Option<f32>,
    /// Whether probabilities are calibrated by the temperature of the run, if it has one.
    pub calibrated: bool,
    /// Limits of requests.
    pub limits: Limits,
}

/// Limits of requests. A request beyond a limit is refused with its own status code.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of a request's body; more are 413.
    pub body: usize,
    /// Pixels of a photo, as its header says before anything is decoded; more are 413.
    pub pixels: u64,
    /// Photos of a request; more are 413.
    pub photos: usize,
    /// Photos that wait for the network; while there are as many, requests are 503.
    pub waiting: usize,
    /// Connections; further ones wait until one is closed.
    pub connections: usize,
    /// Bytes of all bodies that are in memory together; a request that finds no room in time is 503.
    pub memory: usize,
    /// Time for a request to arrive; a slower one is 408.
    pub receive: Duration,
    /// Time for an answer; a later one is 503.
    pub answer: Duration,
    /// Time that a stopping server gives to the requests that it has.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            pixels: 50_000_000,
            photos: 64,
            waiting: 256,
            connections: 256,
            memory: 256 << 20,
            receive: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
    }
}

impl Options {
    /// Listens at `address`, where the defaults hold: corrections and the stop button are for this machine alone.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            names: Vec::new(),
            changes: address.ip().is_loopback(),
            threshold: None,
            calibrated: true,
            limits: Limits::default(),
        }
    }
}
