//! Macros that compile one body for each instruction set and choose between the results.

/// Makes `unsafe fn NAME(isa: Present, job: &JOB)` out of a generic `unsafe fn KERNEL<S: Simd>(job: &JOB)`, or of one with a number
/// format as its second type (`KERNEL::<S, f32>`), which must be `#[inline(always)]`.
///
/// # Safety
/// The job has the memory that the kernel accesses.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis $name:ident = $kernel:ident$(::<S, $element:ty>)?($job:ty)) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::isa::Present, job: &$job) {
            use $crate::simd;
            $crate::isa::dispatch!(isa.isa(), (job: &$job),
                "avx512f" => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                    unsafe { $kernel::<simd::Avx512 $(, $element)?>(job) }
                },
                avx2 => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                    unsafe { $kernel::<simd::Avx2 $(, $element)?>(job) }
                },
                portable => {
                    // SAFETY: arrays need no instructions; the job has the memory.
                    unsafe { $kernel::<simd::Portable $(, $element)?>(job) }
                });
        }
    };
}
pub(crate) use per_isa;

/// Makes `unsafe fn NAME(isa: Present, job: &JOB)` as [`per_isa`] does, for jobs on values in bf16. It is compiled for vectors with the
/// processor's own rounding, and for arrays. A processor without AVX-512 BF16 has no unit for bf16 either, so there only emulated units use
/// the arrays.
///
/// # Safety
/// The job has the memory that the kernel accesses.
macro_rules! wide_or_portable {
    ($(#[$doc:meta])* $vis:vis $name:ident = $kernel:ident::<S, Bf16>($job:ty)) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::isa::Present, job: &$job) {
            use $crate::simd;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
            unsafe fn wide(job: &$job) {
                // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                unsafe { $kernel::<simd::Avx512Bf16, $crate::bf16::Bf16>(job) }
            }
            #[cfg(target_arch = "x86_64")]
            if isa.has_bf16() {
                // SAFETY: the machine has these instructions; the job has the memory.
                return unsafe { wide(job) };
            }
            let _ = isa;
            // SAFETY: arrays need no instructions; the job has the memory.
            unsafe { $kernel::<simd::Portable, $crate::bf16::Bf16>(job) }
        }
    };
}
pub(crate) use wide_or_portable;

/// Defines a function whose body is compiled for every instruction set and chosen by its first argument, a
/// [`ForLoops`](crate::isa::ForLoops). The body is an inlined function over slices. It is either safe, with a constant `FUSED` for
/// [`fma`](super::fma), or (`body::<S>`) it computes with vectors and is unsafe only because it needs their instructions. `body::<S, Bf16>` is
/// compiled for the processor's own rounding too.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident::<S, Bf16>) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            use $crate::simd;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn rounding($($arg: $ty),*) {
                // SAFETY: this function is compiled for the instructions of the vectors, and the body requires no more.
                unsafe { $body::<simd::Avx512Bf16>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            if isa.vectors().has_bf16() {
                // SAFETY: the machine has these instructions: `ForLoops` proves all of them except those for bf16, which `has_bf16` has found.
                return unsafe { rounding($($arg),*) };
            }
            $crate::simd::vectorised! { fn other($($arg: $ty),*) => $body::<S> }
            other(isa, $($arg),*);
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident::<S>) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            use $crate::simd;
            $crate::isa::dispatch!(isa.isa(), ($($arg: $ty),*),
                "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" => {
                    // SAFETY: this function is compiled for the instructions of the vectors, and the body requires no more.
                    unsafe { $body::<simd::Avx512>($($arg),*) }
                },
                avx2 => {
                    // SAFETY: this function is compiled for the instructions of the vectors, and the body requires no more.
                    unsafe { $body::<simd::Avx2>($($arg),*) }
                },
                portable => {
                    // SAFETY: arrays need no instructions, and the body requires no more.
                    unsafe { $body::<simd::Portable>($($arg),*) }
                });
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            $crate::isa::dispatch!(isa.isa(), ($($arg: $ty),*),
                "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" => $body::<true>($($arg),*),
                avx2 => $body::<true>($($arg),*),
                portable => $body::<{ $crate::simd::PLAIN_FUSED }>($($arg),*));
        }
    };
}
pub(crate) use vectorised;
