//! What has been done so far, in Prometheus's text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper limits of the histogram of seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counters of a server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answers by route and status code.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Predictions by duration: those of each range alone, and the rest.
    seconds: [AtomicU64; SECONDS.len() + 1],
    microseconds: AtomicU64,
    /// Photos with an answer, and photos that were refused.
    pub answered: AtomicU64,
    pub refused: AtomicU64,
    /// Batches that ran through the network.
    pub batches: AtomicU64,
    /// Photos that wait for the network or are in it.
    pub waiting: AtomicUsize,
    pub connections: AtomicUsize,
}

impl Metrics {
    /// Counts an answer.
    pub fn count(&self, route: &'static str, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
    }

    /// Counts how long a prediction took, from the first byte of its photos to its answer.
    pub fn took(&self, time: Duration) {
        let at = SECONDS.iter().position(|limit| time.as_secs_f64() <= *limit).unwrap_or(SECONDS.len());
        self.seconds[at].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// All counters as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, lines: &[(String, String)]| {
            let _ = writeln!(text, "# HELP injerto_{name} {help}\n# TYPE injerto_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "injerto_{name}{labels} {value}");
            }
        };
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let requests: Vec<_> = requests
            .iter()
            .map(|((route, status), count)| (format!("{{path=\"{route}\",status=\"{status}\"}}"), count.to_string()))
            .collect();
        metric("http_requests_total", "counter", "Answers by path and status code.", &requests);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let photos = [("answered", &self.answered), ("refused", &self.refused)];
        let photos = photos.map(|(result, count)| (format!("{{result=\"{result}\"}}"), read(count).to_string()));
        metric("photos_total", "counter", "Photos that were answered or refused.", &photos);
        let alone = |value: String| [(String::new(), value)];
        metric(
            "batches_total",
            "counter",
            "Batches that ran through the network.",
            &alone(read(&self.batches).to_string()),
        );
        let gauge = |gauge: &AtomicUsize| alone(gauge.load(Ordering::Relaxed).to_string());
        metric("photos_waiting", "gauge", "Photos that wait for the network or are in it.", &gauge(&self.waiting));
        metric("connections", "gauge", "Connections.", &gauge(&self.connections));
        let (mut below, mut lines) = (0, Vec::new());
        let limits = SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (limit, count) in limits.zip(&self.seconds) {
            below += read(count);
            lines.push((format!("_bucket{{le=\"{limit}\"}}"), below.to_string()));
        }
        lines.push(("_sum".to_owned(), (read(&self.microseconds) as f64 / 1e6).to_string()));
        lines.push(("_count".to_owned(), below.to_string()));
        metric("predict_seconds", "histogram", "Time from the first byte of a request to its answer.", &lines);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_text_that_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.count("/predict", 200);
        metrics.count("/predict", 200);
        metrics.count("/predict", 413);
        metrics.answered.fetch_add(3, Ordering::Relaxed);
        [0.004, 0.02, 60.0].into_iter().for_each(|seconds| metrics.took(Duration::from_secs_f64(seconds)));
        let text = metrics.to_text();
        for line in [
            "injerto_http_requests_total{path=\"/predict\",status=\"200\"} 2",
            "injerto_http_requests_total{path=\"/predict\",status=\"413\"} 1",
            "injerto_photos_total{result=\"answered\"} 3",
            "# TYPE injerto_predict_seconds histogram",
            "injerto_predict_seconds_bucket{le=\"0.005\"} 1",
            "injerto_predict_seconds_bucket{le=\"0.025\"} 2",
            "injerto_predict_seconds_bucket{le=\"10\"} 2",
            "injerto_predict_seconds_bucket{le=\"+Inf\"} 3",
            "injerto_predict_seconds_sum 60.024",
            "injerto_predict_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
    }
}
