//! Images from Python for a thread that computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use injerto_data::Origin;
use pyo3::prelude::*;

use crate::error::Error;
use crate::images;

/// Images that wait at most. More are not asked of Python before some are taken, so that a generator of any length fits into memory.
const WAITING: usize = 32;

/// How long Python waits before it checks whether Ctrl-C was pressed.
const PAUSE: Duration = Duration::from_millis(50);

/// The images that Python hands over, one after the other.
pub struct Feed {
    receive: Receiver<Origin>,
    stop: Arc<AtomicBool>,
}

impl Feed {
    /// The flag that is set when no more answers are wanted.
    pub fn stop(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }
}

impl Iterator for Feed {
    type Item = Origin;

    fn next(&mut self) -> Option<Origin> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.receive.recv().ok()
    }
}

/// Runs `work` on a thread of its own with the images of `images`, and returns what it returns.
///
/// # Errors
/// Something in `images` is no image, its iterator raises, or Python was interrupted; the work then ends after the current batch.
pub fn with_images<T: Send>(images: &Bound<'_, PyAny>, work: impl FnOnce(Feed) -> T + Send) -> PyResult<T> {
    let (send, receive) = sync_channel(WAITING);
    let stop = Arc::new(AtomicBool::new(false));
    let feed = Feed { receive, stop: stop.clone() };
    interruptible(images.py(), &stop, || work(feed), || feeding(images, send))
}

/// Runs `work` on a thread of its own, and `meanwhile` on this one, and waits for both. An error of `meanwhile`, or Ctrl-C, sets `stop`.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    stop: &AtomicBool,
    work: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce() -> PyResult<()>,
) -> PyResult<T> {
    thread::scope(|scope| {
        let (done, mut over) = channel::<()>();
        let worker = scope.spawn(move || {
            // The channel ends with this thread, also when it panics.
            let _done = done;
            work()
        });
        let mut asked = meanwhile();
        if asked.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        while let Err(RecvTimeoutError::Timeout) = heard(py, &mut over) {
            if let (Ok(()), Err(interrupted)) = (&asked, py.check_signals()) {
                stop.store(true, Ordering::Relaxed);
                asked = Err(interrupted);
            }
        }
        let result = worker.join().map_err(|_| Error::new_err("this is a defect of injerto: a thread panicked"));
        asked.and(result)
    })
}

/// What comes next, if it comes soon.
pub fn heard<T: Send>(py: Python<'_>, receive: &mut Receiver<T>) -> Result<T, RecvTimeoutError> {
    py.detach(move || receive.recv_timeout(PAUSE))
}

/// Hands over all images. If the other side has ended, so does this one: its result says why.
fn feeding(images: &Bound<'_, PyAny>, send: SyncSender<Origin>) -> PyResult<()> {
    let py = images.py();
    let mut open = true;
    images::each(images, &mut |image| {
        match send.try_send(image) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => open = false,
            Err(TrySendError::Full(image)) => {
                open = py.detach(|| send.send(image).is_ok());
                py.check_signals()?;
            }
        }
        Ok(open)
    })
}
