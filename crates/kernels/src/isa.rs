//! Which vector instructions this machine has, and functions that are compiled once for each instruction set.

use std::sync::OnceLock;

/// Instructions that a program is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// 16 lanes, 32 registers.
    Avx512,
    /// 8 lanes, 16 registers, fused multiply-add.
    Avx2,
    /// Arrays of `f32`, which every machine can compute with; the compiler makes vectors of the target of them (NEON on 64-bit Arm).
    Portable,
}

/// An instruction set that this machine has. The value is the proof: only [`Isa::present`] makes one, after asking the processor, and
/// functions that are compiled for an instruction set can only be called with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present(Isa);

/// An instruction set that this machine has, for loops that the compiler turns into vectors. If it is AVX-512, the machine also has the
/// rest of x86-64-v4, for which these loops are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForLoops(Isa);

/// The extensions that the processor reports.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    avx2: bool,
    fma: bool,
    avx512f: bool,
    /// The other extensions of AVX-512 in x86-64-v4: bytes and words (BW), doublewords and quadwords (DQ), shorter vectors (VL).
    avx512_bw_dq_vl: bool,
    /// Products of pairs of bf16, and the rounding to it.
    avx512_bf16: bool,
}

impl Facts {
    /// Asks the processor, in the first call only.
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
            avx512_bf16: is_x86_feature_detected!("avx512bf16"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn ask() -> Self {
        Self::default()
    }
}

impl Isa {
    /// All instruction sets, best first.
    const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The best that this machine has.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All that this machine has, best first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.present().is_some()).collect()
    }

    /// Its name, such as `AVX-512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable vectors",
        }
    }

    /// Whether this machine has it, as a proof.
    pub(crate) fn present(self) -> Option<Present> {
        let facts = Facts::get();
        let has = match self {
            Self::Avx512 => facts.avx512f,
            Self::Avx2 => facts.avx2 && facts.fma,
            Self::Portable => true,
        };
        has.then_some(Present(self))
    }

    /// `f32`s in a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 => 8,
            Self::Portable => 4,
        }
    }
}

impl Present {
    /// Which it is.
    pub(crate) const fn isa(self) -> Isa {
        self.0
    }

    /// Whether this is AVX-512, and the machine also has its extensions BW, DQ, VL and BF16.
    pub(crate) fn has_bf16(self) -> bool {
        let facts = Facts::get();
        self.0 == Isa::Avx512 && facts.avx512_bw_dq_vl && facts.avx512_bf16
    }

    /// The same instruction set for loops, or the next best one where the machine lacks an extension of AVX-512 that loops need.
    pub(crate) fn for_loops(self) -> ForLoops {
        let facts = Facts::get();
        ForLoops(match self.0 {
            Isa::Avx512 if facts.avx512_bw_dq_vl && facts.avx2 && facts.fma => Isa::Avx512,
            Isa::Avx512 if facts.avx2 && facts.fma => Isa::Avx2,
            Isa::Avx512 => Isa::Portable,
            other => other,
        })
    }
}

impl ForLoops {
    /// Which it is.
    pub(crate) const fn isa(self) -> Isa {
        self.0
    }

    /// The same proof for kernels that are written with vectors, which need no more than loops do.
    pub(crate) const fn vectors(self) -> Present {
        Present(self.0)
    }
}

/// Evaluates one of three bodies, each in a function that is compiled for its instructions. Everything that a body calls should
/// be `#[inline(always)]`. Only [`per_isa`](crate::simd::per_isa) and [`vectorised`](crate::simd::vectorised) use it.
///
/// # Safety
/// `$isa` comes from a [`Present`] or, where `$features` are more than `avx512f`, from a [`ForLoops`]; and the safety conditions of the
/// bodies hold.
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
            // SAFETY: `$isa` is the proof that the machine has these instructions, and the conditions of the bodies hold.
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: `$isa` is the proof that the machine has these instructions, and the conditions of the bodies hold.
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
            _ => $plain,
        }
    }};
}
pub(crate) use dispatch;
