use std::time::SystemTime;

use injerto_files::to_text;
use serde_json::{Value, json};

/// Content of `environment.json`: version, machine, device and command of a run, so that the run can be reproduced.
pub(crate) fn environment(device: &str) -> Value {
    json!({
        "injerto": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cpu": cpu(),
        "threads": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "device": device,
        "command": std::env::args_os().map(|argument| to_text(&argument).into_owned()).collect::<Vec<_>>(),
        "started": humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
    })
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
