//! Work that several do, who does it, and how one run of it is measured.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A piece of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// Title of its section on the page.
    pub(crate) title: &'static str,
    /// Whether the work is measured in images per second; otherwise it is measured in seconds of a whole command.
    pub(crate) rates: bool,
}

/// All work, in the order of the page.
pub(crate) const WORK: [Work; 7] = [
    Work { name: "mobilenet_v2", title: "Forward pass, MobileNetV2 without top, 160×160, batch 32", rates: true },
    Work { name: "inception_v3", title: "Forward pass, InceptionV3 without top, 224×224, batch 8", rates: true },
    Work { name: "vit_small", title: "Forward pass, ViT-S/16 without top, 224×224, batch 8", rates: true },
    Work { name: "convnext_tiny", title: "Forward pass, ConvNeXt-tiny without top, 224×224, batch 8", rates: true },
    Work { name: "small_cnn", title: "Training step, small CNN, 160×160, batch 8", rates: true },
    Work {
        name: "feature_extraction",
        title: "Feature extraction: 10 epochs, whole command from JPEGs to checkpoint",
        rates: false,
    },
    Work {
        name: "fine_tuning",
        title: "Fine-tuning: 5 epochs from layer 100, whole command from JPEGs to checkpoint",
        rates: false,
    },
];

/// A program that does the work, and its measurements.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    command: Box<dyn Fn() -> Result<Command, String>>,
    /// Seconds of whole commands, or images per second.
    pub(crate) values: Vec<f64>,
    /// All of its runs together.
    pub(crate) seconds: f64,
    pub(crate) peak_kib: Option<u64>,
    /// Shares of the machine that other programs took meanwhile.
    pub(crate) others: Vec<f64>,
    pub(crate) failed: Option<String>,
    /// What its output has to contain: a program that does not know an option may compute something else.
    says: Option<&'static str>,
}

impl Contender {
    pub(crate) fn new(name: &str, command: impl Fn() -> Result<Command, String> + 'static) -> Self {
        let (version, values) = (String::new(), Vec::new());
        let (seconds, peak_kib, others, failed) = (0.0, None, Vec::new(), None);
        Self {
            name: name.to_owned(),
            version,
            command: Box::new(command),
            values,
            seconds,
            peak_kib,
            others,
            failed,
            says: None,
        }
    }

    /// The same, whose output has to contain this word.
    pub(crate) fn that_says(self, word: &'static str) -> Self {
        Self { says: Some(word), ..self }
    }
}

/// Runs a contender once and notes time, memory and the load of others; `folder` is for what is noted on the way. Returns
/// the images per second that it prints where `rate` is asked for, and the seconds of the whole command otherwise.
pub(crate) fn measure(one: &mut Contender, folder: &Path, rate: bool) -> Result<f64, String> {
    let inner = (one.command)()?;
    let note = folder.join("time.txt");
    let timer = Path::new("/usr/bin/time");
    let mut command = if cfg!(target_os = "linux") && timer.is_file() {
        let mut outer = Command::new(timer);
        outer.arg("-v").arg("-o").arg(&note).arg(inner.get_program()).args(inner.get_args());
        outer.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        outer
    } else {
        inner
    };
    let (start, busy) = (Instant::now(), busy_seconds());
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot be started: {error}"))?;
    let seconds = start.elapsed().as_secs_f64();
    one.seconds += seconds;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("{} ({})", last.trim(), output.status));
    }
    let busy = busy.zip(busy_seconds()).map(|(start, end)| end - start);
    let noted = std::fs::read_to_string(&note).unwrap_or_default();
    one.peak_kib = one.peak_kib.max(noted_value(&noted, "Maximum resident set size (kbytes): ").map(|kib| kib as u64));
    let own = noted_value(&noted, "User time (seconds): ").zip(noted_value(&noted, "System time (seconds): "));
    if let Some((busy, (user, system))) = busy.zip(own) {
        one.others.push(((busy - user - system) / seconds / cores() as f64).max(0.0));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(word) = one.says.filter(|word| !said.contains(word)) {
        return Err(format!("it does not say that it computes in {word}"));
    }
    let last = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    if let Some(version) = field(last, "version") {
        version.clone_into(&mut one.version);
    }
    let value = match rate {
        false => seconds,
        true => (field(last, "images_per_second").and_then(|text| text.parse().ok()))
            .or_else(|| median_rate(&said))
            .ok_or("it does not print the images per second")?,
    };
    one.values.push(value);
    Ok(value)
}

/// A string or number of a flat JSON object, which is enough for the output of the scripts.
fn field<'t>(json: &'t str, key: &str) -> Option<&'t str> {
    let value = json.split_once(&format!("\"{key}\":"))?.1.trim_start();
    match value.strip_prefix('"') {
        Some(text) => text.split_once('"').map(|(text, _)| text),
        None => value.split([',', '}']).next().map(str::trim),
    }
}

/// The rate in the output of the example `throughput`.
fn median_rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" images/s"))?;
    line.split_once("median ")?.1.split_whitespace().next()?.parse().ok()
}

/// A number in the output of `/usr/bin/time -v`.
fn noted_value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)?.parse().ok())
}

/// Seconds for which the processors of the machine were busy with any program. Linux counts them in hundredths.
fn busy_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let times = text.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<f64> = times.split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // The columns are user, nice and system; then idle and waiting; then interrupts, and the time that the hypervisor gave to
    // others.
    Some((times.get(..3)?.iter().sum::<f64>() + times.get(5..8)?.iter().sum::<f64>()) / 100.0)
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The middle one of the values; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[values.len() / 2 - 1], upper) } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print() {
        let line = r#"{"peer": "keras", "version": "Keras 3, TensorFlow 2", "images_per_second": 12.5}"#;
        assert_eq!(field(line, "version"), Some("Keras 3, TensorFlow 2"));
        assert_eq!(field(line, "images_per_second"), Some("12.5"));
        assert_eq!(field(line, "seconds"), None);
        assert_eq!(median_rate("mobilenet_v2: best 9.0, median 8.5 images/s (3 KiB an image)\n"), Some(8.5));
        assert_eq!(noted_value("\tExit status: 0\n\tUser time (seconds): 2.5\n", "User time (seconds): "), Some(2.5));
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0]), median(&[])), (Some(2.0), Some(1.5), None));
    }
}
