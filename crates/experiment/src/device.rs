//! The device that an experiment names: its GPU, and the folder in which the kernels that are tuned and compiled for it are kept.

use burn_tensor::Device;

use crate::ExperimentError;

/// The device that an experiment names.
///
/// The kernels that Burn tunes and compiles for a GPU are kept in `devices` in the user's cache (`INJERTO_CACHE_DIR`), so that only the
/// first run on a GPU waits for them.
///
/// # Errors
/// [`ExperimentError::Device`] if this build does not support the device, or if the machine has none.
pub fn device(wanted: injerto_config::Device) -> Result<Device, ExperimentError> {
    match wanted {
        injerto_config::Device::Flex => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        injerto_config::Device::Wgpu => {
            let why_not = "no GPU was found; install its Vulkan driver (`vulkaninfo --summary` lists what is found), or take device = \
                           \"flex\"";
            configure();
            present("wgpu", burn_tensor::DeviceType::Wgpu, why_not)?;
            Ok(Device::wgpu(burn_tensor::DeviceKind::DefaultDevice))
        }
        #[cfg(feature = "cuda")]
        injerto_config::Device::Cuda => {
            let why_not = "no GPU was found; install NVIDIA's driver (`nvidia-smi` lists what is found) and CUDA's libraries, or take \
                           device = \"flex\"";
            configure();
            present("cuda", burn_tensor::DeviceType::Cuda, why_not)?;
            Ok(Device::cuda(0))
        }
        #[cfg(not(feature = "wgpu"))]
        injerto_config::Device::Wgpu => Err(not_built("wgpu")),
        #[cfg(not(feature = "cuda"))]
        injerto_config::Device::Cuda => Err(not_built("cuda")),
    }
}

/// Name of the GPU of a device, as its driver gives it; `None` for the CPU.
pub fn card(device: &Device) -> Option<String> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if *device != Device::flex() {
        return device.identity().map(|identity| identity.name);
    }
    let _ = device;
    None
}

/// Finds out whether the machine has such a device, because Burn ends the program if there is none.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn present(device: &'static str, kind: burn_tensor::DeviceType, why_not: &str) -> Result<(), ExperimentError> {
    if Device::enumerate(kind).into_vec().is_empty() {
        return Err(ExperimentError::Device { device, reason: why_not.to_owned() });
    }
    Ok(())
}

/// Tells Burn where to keep what it tunes and compiles, because its own choice depends on the folder in which a command is run, and has it
/// tune for fewer shapes: those that are alike, up to a factor of 2.5, share their fastest kernel. Burn's own factor is 2, which takes
/// nearly twice as long. Its settings (`CUBECL_AUTOTUNE_LEVEL`, a `cubecl.toml`) say otherwise.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn configure() {
    use cubecl::config::autotune::AutotuneLevel;
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig as _};

    let mut settings = CubeClRuntimeConfig::from_current_dir().override_from_env();
    if matches!(settings.autotune.level, AutotuneLevel::Balanced) && std::env::var_os("CUBECL_AUTOTUNE_LEVEL").is_none()
    {
        settings.autotune.level = AutotuneLevel::Minimal;
    }
    // The second device of a process finds them set. Setting them sets the folder that they name, so this comes first.
    CubeClRuntimeConfig::try_set(settings);
    if let Ok(cache) = injerto_backbones::weights::Cache::of_user() {
        cubecl::environment::set_root(cache.devices());
    }
}

#[cfg(not(all(feature = "wgpu", feature = "cuda")))]
fn not_built(device: &'static str) -> ExperimentError {
    let reason = format!(
        "this binary was built without it; `cargo xtask experiment` builds it in, or add `--features {device}`"
    );
    ExperimentError::Device { device, reason }
}
