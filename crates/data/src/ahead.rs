use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::DataError;

/// Items that wait at most: so much work is done ahead of use.
const WAITING: usize = 2;

/// Items that a thread of its own makes ahead of use. The thread ends when this is dropped, after the item under way.
#[derive(Debug)]
pub(crate) struct Ahead<T> {
    receive: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl<T: Send + 'static> Ahead<T> {
    /// The items of `items`, which begin to be made now.
    pub(crate) fn new(items: impl Iterator<Item = T> + Send + 'static) -> Self {
        let (send, receive) = sync_channel(WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for item in items {
                if stopped.load(Ordering::Relaxed) || send.send(item).is_err() {
                    break;
                }
            }
        });
        Self { receive: Some(receive), thread: Some(thread), stop }
    }
}

impl<T> Ahead<T> {
    /// Ends the items.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A full queue lets go of its sender only when the receiver is gone.
        self.receive = None;
    }
}

/// One item after the other, and [`DataError::Stopped`] as the last if the thread died.
impl<T> Iterator for Ahead<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(item) = self.receive.as_ref()?.recv() {
            return Some(Ok(item));
        }
        self.receive = None;
        self.thread.take()?.join().err().map(|_| Err(DataError::Stopped))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
