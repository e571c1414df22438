//! `injerto serve`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_files::{printable, shown};
use injerto_serve::{Limits, Options, Server};

use crate::output::{self, aside, note, out};
use crate::predict::{newest, share};

/// What `injerto serve` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto serve runs/cats-20260101-120000
  curl -H 'content-type: image/jpeg' --data-binary @photo.jpg http://127.0.0.1:8080/predict
  curl -F photo=@a.jpg -F photo=@b.jpg 'http://127.0.0.1:8080/predict?neighbours=5'
  injerto serve model.safetensors --port 0 --quiet

The page follows a run that is under way, and stops it if asked. Photos that are dropped on it are
answered at once. A photo whose answer is wrong can be kept in corrections/ of the run's folder
for the next training.

The server listens on this machine alone, unless --host says otherwise. With --host, everybody who
reaches that address may ask, and sees small pictures of the training photos, but may not stop the
training or collect corrections unless --allow-changes is given. There is no password and no
encryption.

After Ctrl-C, waiting requests are answered and the server ends. docs/serve.md describes routes,
limits and status codes.")]
pub struct Arguments {
    /// A run's folder, finished or under way, or a checkpoint; by default the newest run in runs/
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// The port; 0 takes a free one, which is printed
    #[arg(long, value_name = "NUMBER", default_value_t = 8080)]
    port: u16,
    /// The address to listen at, such as 0.0.0.0 for all of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// A host name that requests may use, besides localhost and addresses (may be given several times)
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    allow_host: Vec<String>,
    /// Let those who reach --host stop the training and collect corrections
    #[arg(long)]
    allow_changes: bool,
    /// Nobody may stop the training or collect corrections, not even from this machine
    #[arg(long, conflicts_with = "allow_changes")]
    read_only: bool,
    /// Call an answer unsure if it is less probable than this share, such as 0.9
    #[arg(long, value_name = "SHARE", value_parser = share)]
    threshold: Option<f32>,
    /// Show the network's own probabilities, even if the run has found a temperature that calibrates them
    #[arg(long)]
    uncalibrated: bool,
    /// Largest size of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=255))]
    max_mib: u16,
    /// Largest size of a photo, in million pixels
    #[arg(long, value_name = "MILLIONS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=178))]
    max_megapixels: u16,
    /// Seconds within which a request has to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let address = address(&arguments)?;
    let run = match &arguments.run {
        Some(run) => run.clone(),
        None => newest(Path::new("runs")).context("no run in runs/; name one, or a checkpoint")?,
    };
    let mut options = Options::new(address);
    options.changes = !arguments.read_only && (options.changes || arguments.allow_changes);
    options.names = arguments.allow_host;
    // The name that was asked for is a name of this server.
    options.names.extend(arguments.host.parse::<IpAddr>().is_err().then_some(arguments.host));
    (options.threshold, options.calibrated) = (arguments.threshold, !arguments.uncalibrated);
    let (body, pixels) = (usize::from(arguments.max_mib) << 20, u64::from(arguments.max_megapixels) * 1_000_000);
    let receive = Duration::from_secs(arguments.timeout.into());
    options.limits = Limits { body, pixels, receive, ..Limits::default() };
    let server = Server::open(&run, options)?;
    let (stopper, asked) = (server.stopper(), AtomicBool::new(false));
    ctrlc::set_handler(move || {
        // A second Ctrl-C does not wait for the answers.
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note!("\nanswering the waiting requests (Ctrl-C again stops at once)");
        stopper.stop();
    })?;
    let here = server.address();
    if !here.ip().is_loopback() {
        output::warning(&format!("everybody who reaches {here} may ask this server, without a password or encryption"));
    }
    if !server.is_ready() {
        note!("no epoch of {} is finished yet; photos are answered after the first one", shown(&run));
    }
    out!("http://{here}/")?;
    aside!("{} is served; Ctrl-C ends it", shown(&run));
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

/// The address to listen at.
fn address(arguments: &Arguments) -> Result<SocketAddr> {
    let host = printable(&arguments.host);
    let mut found = (arguments.host.trim_matches(['[', ']']), arguments.port).to_socket_addrs().with_context(|| {
        format!("--host {host}: no such address; give one of this machine, such as 127.0.0.1 or 0.0.0.0")
    })?;
    found.next().with_context(|| format!("--host {host}: this name has no address"))
}
