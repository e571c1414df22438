use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::Options;
use crate::engine::Engine;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::Slot;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub options: Options,
    pub slot: Arc<Slot>,
    pub engine: Engine,
    pub metrics: Arc<Metrics>,
    pub seen: watch::Receiver<Arc<Live>>,
    /// Room for the bodies of requests, in KiB.
    pub memory: Semaphore,
    /// Streams of events, which keep their connections.
    pub streams: Arc<Semaphore>,
}

impl Shared {
    /// The run of this moment.
    pub fn live(&self) -> Arc<Live> {
        self.seen.borrow().clone()
    }
}
