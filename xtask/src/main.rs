//! `cargo xtask` has the project's commands. It builds and runs programs; everything else is in the `injerto` binary.
//!
//! *Architecture invariant:* it has no dependencies, so that the first `cargo xtask` in a clean clone answers in seconds.

mod archive;
mod bars;
mod bench;
mod bill;
mod ci;
mod contest;
mod cover;
mod dependencies;
mod dist;
#[cfg(test)]
mod docs;
mod experiment;
mod features;
mod gpu;
mod json;
mod page;
mod peers;
mod pictures;
mod plugins;
mod profile;
mod prove;
mod scale;
mod test;
mod unsafe_blocks;
mod wheel;
mod workspace;

use std::process::ExitCode;

/// Result of a command: the exit code of the program that it ran, or the reason why it could not run one.
type Outcome = Result<ExitCode, String>;

const HELP: &str = "\
Injerto's commands.

  cargo xtask experiment FILE [--set KEY=VALUE]…   build what FILE needs and run it
  cargo xtask plugins [list | validate PATH]       build the backbones as libraries and list or check them
  cargo xtask test [ARGUMENTS OF CARGO TEST]       build the backbones and run all tests
  cargo xtask ci                                   format, lints, documentation and tests, as CI checks them
  cargo xtask bench [CRATE]                        run the benchmarks of all crates, or of one
  cargo xtask bench peers [DATA]                   compare with other frameworks on the same work
  cargo xtask gpu                                  check training on a graphics card, or on a driver in software
  cargo xtask dist                                 make the archive that a user unpacks
  cargo xtask pictures [course|benchmarks]         make the pictures of the documentation
  cargo xtask profile CRATE                        run the benchmarks of a crate under a profiler
  cargo xtask prove fuzz|cover|kills|soak|memory   try to break it: damaged input, killed runs, long use, unsafe code
  cargo xtask scale                                simulate a billion photos on a thousand cores
  cargo xtask unsafe                               check the list of all unsafe code
  cargo xtask wheel                                build the package for Python

Begin with:

  cargo xtask experiment configs/quickstart.toml

--help after a command explains it. A Rust toolchain is all that is needed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, arguments) = match arguments.split_first() {
        Some((command, arguments)) => (command.as_str(), arguments),
        None => ("help", &[][..]),
    };
    // A `--help` after `--` belongs to another command.
    let asks = arguments.iter().take_while(|argument| *argument != "--").any(|a| a == "--help" || a == "-h");
    let (help, run): (&str, fn(&[String]) -> Outcome) = match command {
        "experiment" => (experiment::HELP, experiment::run),
        "plugins" => (plugins::HELP, plugins::run),
        "test" => (test::HELP, test::run),
        "ci" => (ci::HELP, ci::run),
        "bench" if arguments.first().is_some_and(|first| first == "peers") => {
            (peers::HELP, |arguments| peers::run(&arguments[1..]))
        }
        "dist" => (dist::HELP, dist::run),
        "gpu" => (gpu::HELP, gpu::run),
        "pictures" => (pictures::HELP, pictures::run),
        "profile" => (profile::HELP, profile::run),
        "prove" => (prove::HELP, prove::run),
        "scale" => (scale::HELP, scale::run),
        "unsafe" => (unsafe_blocks::HELP, unsafe_blocks::run),
        "wheel" => (wheel::HELP, wheel::run),
        "bench" => (bench::HELP, bench::run),
        "help" | "--help" | "-h" => (HELP, |_| {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }),
        unknown => {
            eprintln!("error: there is no command '{unknown}'\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if asks {
        println!("{help}");
        return ExitCode::SUCCESS;
    }
    run(arguments).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}
