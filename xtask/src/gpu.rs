//! `cargo xtask gpu` checks that everything runs on a graphics card, or on a driver that computes on the processor.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::workspace::{Profile, build, cargo, code, hand_over, root, succeeds};

/// Text of `--help`.
pub const HELP: &str = "\
Builds the backbones and the binary with the feature `wgpu`, and runs the quickstart and a forward pass of MobileNetV2 on the card that
Vulkan (or Metal, or DirectX) finds. benches/gpu.sh does the work, and compares a card with PyTorch when it is called by itself.

Usage: cargo xtask gpu [--release | --profile NAME]

On a machine without a card, a driver in software serves as one: `apt-get install mesa-vulkan-drivers`. `cargo xtask ci` does not run
this command, because Burn's part for cards is 230 more crates, which take longer to build than everything that CI builds.";

/// The device that Burn takes if the only Vulkan driver is one in software.
const SOFTWARE: (&str, &str) = ("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");

/// Runs the command.
///
/// # Errors
/// There is no Vulkan driver, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let profile = Profile::take(&mut arguments)?;
    if let Some(more) = arguments.first() {
        return Err(format!("`cargo xtask gpu` takes no {more}"));
    }
    let Some(binary) = build(&profile, &["wgpu"])? else { return Ok(code(false)) };
    let mut example = cargo("build");
    example.args([
        "--profile",
        profile.name(),
        "--package",
        "injerto-cli",
        "--features",
        "wgpu",
        "--example",
        "device",
    ]);
    if !succeeds(&mut example)? {
        return Ok(code(false));
    }
    let folder = binary.parent().ok_or("the binary is in no folder")?;
    let mut script = Command::new("bash");
    script.arg(root().join("benches/gpu.sh")).env("BIN", folder).env("SMALL", "1");
    if !has_card() {
        script.env(SOFTWARE.0, std::env::var_os(SOFTWARE.0).unwrap_or_else(|| SOFTWARE.1.into()));
    }
    hand_over(&mut script)
}

/// Whether the system's list of Vulkan's devices has one that is no driver in software. Without `vulkaninfo` there may be one.
fn has_card() -> bool {
    let list = Command::new("vulkaninfo").arg("--summary").stderr(Stdio::null()).output();
    list.map_or(true, |list| is_card(&String::from_utf8_lossy(&list.stdout)))
}

/// Whether the output of `vulkaninfo --summary` lists a device that is no processor.
fn is_card(summary: &str) -> bool {
    let mut kinds = summary.lines().filter(|line| line.trim_start().starts_with("deviceType"));
    kinds.any(|line| !line.ends_with("_CPU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_in_software_is_no_card() {
        let summary =
            |kind: &str| format!("Devices:\n\tdeviceType         = PHYSICAL_DEVICE_TYPE_{kind}\n\tdeviceName = x\n");
        assert!(!is_card(&summary("CPU")));
        assert!(is_card(&summary("DISCRETE_GPU")) && is_card(&(summary("CPU") + &summary("INTEGRATED_GPU"))));
    }
}
