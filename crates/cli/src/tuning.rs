//! Says that a device is being tuned, which makes the first steps of the first run on a GPU slow.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::output::note;

/// How often a line says how far the tuning is.
const EVERY: Duration = Duration::from_secs(5);

/// Where the module of CubeCL that tunes writes its log. It writes one line per operation and shape that it tunes, and has no other way
/// to be watched.
const TUNER: &str = "cubecl_runtime::tune::tuner";

/// Counts the operations that are tuned for a device.
#[derive(Default)]
struct Count {
    operations: usize,
    said: Option<Instant>,
}

impl Count {
    /// One more operation is tuned. Returns the line to say about it, if it is time for one.
    fn one_more(&mut self, now: Instant) -> Option<String> {
        self.operations += 1;
        if self.said.is_some_and(|said| now.duration_since(said) < EVERY) {
            return None;
        }
        let line = match self.said {
            None => {
                "tuning this device for the shapes of the network; the results are kept, and the next run starts faster"
                    .to_owned()
            }
            Some(_) => format!("{:>12} {} operations so far", "tuning", self.operations),
        };
        self.said = Some(now);
        Some(line)
    }
}

/// A layer of the log that gets the tuner's records and reports the tuning now and then.
#[derive(Default)]
pub struct Tuning {
    count: Mutex<Count>,
}

impl Tuning {
    /// The layer, with a filter that lets pass the tuner's records alone.
    pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
        Self::default().with_filter(OnlyTuner)
    }
}

/// Lets the tuner's records pass. The filter is asked with the module that logs a record; the event itself has the target `log`, as all
/// events that come from the crate `log`.
struct OnlyTuner;

impl<S> Filter<S> for OnlyTuner {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        ["log", TUNER].contains(&metadata.target()) && *metadata.level() <= tracing::Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

/// Whether an event comes from the tuner.
#[derive(Default)]
struct FromTuner(bool);

impl Visit for FromTuner {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 |= field.name() == "log.target" && value == TUNER;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl<S: Subscriber> Layer<S> for Tuning {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut visitor = FromTuner::default();
        event.record(&mut visitor);
        if !visitor.0 {
            return;
        }
        let line = self.count.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now());
        if let Some(line) = line {
            note!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_operation_is_said_at_once_and_the_others_now_and_then() {
        let (mut count, start) = (Count::default(), Instant::now());
        let mut said = |after: u64| count.one_more(start + Duration::from_secs(after));
        assert!(said(0).is_some_and(|line| line.starts_with("tuning this device")));
        assert_eq!((said(1), said(4)), (None, None));
        assert_eq!(said(6).as_deref(), Some("      tuning 4 operations so far"));
        assert_eq!(said(7), None);
    }
}
