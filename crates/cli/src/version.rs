//! What `injerto --version` says beside the number.

use std::sync::OnceLock;

use injerto_kernels::Isa;

/// The number of the version, the devices of this build, and the instruction set that its kernels use on this machine.
pub fn long() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let devices: Vec<&str> = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))]
            .into_iter()
            .filter_map(|(name, built)| built.then_some(name))
            .collect();
        let devices = ["flex (CPU)"].into_iter().chain(devices).collect::<Vec<_>>().join(", ");
        format!(
            "{}\ndevices          {devices}\ninstruction set  {}\nplatform         {}, {}",
            env!("CARGO_PKG_VERSION"),
            instruction_set(),
            std::env::consts::ARCH,
            std::env::consts::OS
        )
    })
}

fn instruction_set() -> &'static str {
    match Isa::detect() {
        Isa::Avx512 => "AVX-512",
        Isa::Avx2 => "AVX2",
        Isa::Portable => "that of every machine of this platform",
    }
}
