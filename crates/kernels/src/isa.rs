//! Which vector instructions this machine has, and functions that are compiled once for each.

use std::sync::OnceLock;

/// Instructions that a program is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// 16 lanes, 32 registers.
    Avx512,
    /// 8 lanes, 16 registers, fused multiply-add.
    Avx2,
    /// What every machine of the target has: arrays that its compiler turns into its vectors (NEON on 64-bit Arm).
    Portable,
}

/// What the processor says it has, each fact by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    avx2: bool,
    fma: bool,
    avx512f: bool,
    /// The rest of AVX-512 that x86-64-v4 has: bytes and words, doublewords and quadwords, and the same on shorter vectors.
    avx512_bw_dq_vl: bool,
}

impl Facts {
    /// Asks the processor, once.
    fn get() -> Self {
        static FACTS: OnceLock<Facts> = OnceLock::new();
        *FACTS.get_or_init(Self::ask)
    }

    #[cfg(target_arch = "x86_64")]
    fn ask() -> Self {
        Self {
            avx2: is_x86_feature_detected!("avx2"),
            fma: is_x86_feature_detected!("fma"),
            avx512f: is_x86_feature_detected!("avx512f"),
            avx512_bw_dq_vl: is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn ask() -> Self {
        Self::default()
    }
}

impl Isa {
    /// The best that this machine has.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All that this machine has, best first.
    pub fn available() -> Vec<Self> {
        let facts = Facts::get();
        let all = [
            (Self::Avx512, facts.avx512f),
            (Self::Avx2, facts.avx2 && facts.fma),
            // Nothing is needed.
            (Self::Portable, true),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(isa, _)| isa).collect()
    }

    /// `f32`s in a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 => 8,
            Self::Portable => 4,
        }
    }

    /// The same, or the next best where loops that the compiler turns into vectors need all of x86-64-v4.
    pub(crate) fn for_loops(self) -> Self {
        let facts = Facts::get();
        match self {
            Self::Avx512 if facts.avx512_bw_dq_vl && facts.avx2 && facts.fma => Self::Avx512,
            Self::Avx512 if facts.avx2 && facts.fma => Self::Avx2,
            Self::Avx512 => Self::Portable,
            other => other,
        }
    }
}

/// Evaluates one of three bodies, each in a function that is compiled for its instructions. Everything that a body calls should
/// be `#[inline(always)]`.
///
/// # Safety
/// The machine has the instructions of `$isa`, which [`Isa::available`] says, and all of `$features` where that is `Avx512`; and
/// what the bodies themselves want holds.
macro_rules! dispatch {
    ($isa:expr, ($($arg:ident: $ty:ty),*), $features:tt => $wide:expr, avx2 => $narrow:expr, portable => $plain:expr) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        #[allow(clippy::too_many_arguments)]
        unsafe fn avx512($($arg: $ty),*) {
            $wide
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        unsafe fn avx2($($arg: $ty),*) {
            $narrow
        }
        match $isa {
            // SAFETY: the machine has these instructions (the macro's caller says so), and the body has what it wants.
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
            _ => $plain,
        }
    }};
}
pub(crate) use dispatch;
