use injerto_files::shown;
use serde_json::{Value, json};

/// What a run was made with and on, for whoever wants to make it again.
pub(crate) fn environment(device: &str) -> Value {
    json!({
        "injerto": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cpu": cpu(),
        "threads": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "device": device,
        "command": std::env::args_os().map(|word| shown(word.as_ref()).to_string()).collect::<Vec<_>>(),
        "started": jiff::Timestamp::now().to_string(),
    })
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The most memory that this process has held, in bytes; 0 where the system does not say.
pub(crate) fn peak_memory() -> u64 {
    let kilobytes = || -> Option<u64> {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    kilobytes().unwrap_or(0) * 1024
}
