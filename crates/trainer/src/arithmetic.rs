//! The arithmetic of the two parts of a network while it trains, and its form in files.

use burn_tensor::FloatDType;
use injerto_kernels::inference::Arithmetic;
use serde::{Deserialize, Serialize};

/// The arithmetic with which a network is computed while it trains. Whole networks that are read from a checkpoint are computed in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetics {
    /// That of the project's kernels, on the CPU.
    Kernels {
        /// The frozen prefix, which runs once per image.
        prefix: Arithmetic,
        /// The tail, forward and back.
        tail: Arithmetic,
    },
    /// That of Burn's operators, on a GPU. The tail is computed in `f32`.
    Operators {
        /// The number format of parameters and values of the frozen prefix.
        prefix: FloatDType,
    },
}

impl Arithmetics {
    /// Metadata key of a checkpoint, if its experiment has chosen the arithmetic.
    pub const KEY: &str = "injerto.arithmetic";

    /// `f32` in both, by the project's kernels.
    pub fn f32() -> Self {
        Self::Kernels { prefix: Arithmetic::f32(), tail: Arithmetic::f32() }
    }

    /// The arithmetic of the project's kernels for prefix and tail.
    pub(crate) fn of_kernels(self) -> (Arithmetic, Arithmetic) {
        match self {
            Self::Kernels { prefix, tail } => (prefix, tail),
            Self::Operators { .. } => (Arithmetic::f32(), Arithmetic::f32()),
        }
    }

    /// The number format in which Burn's operators compute the prefix.
    pub(crate) fn of_operators(self) -> FloatDType {
        match self {
            Self::Kernels { .. } => FloatDType::F32,
            Self::Operators { prefix } => prefix,
        }
    }

    /// The same in words.
    pub fn said(self) -> Said {
        match self {
            Self::Kernels { prefix, tail } => Said { prefix: Part::of(prefix), tail: Part::of(tail) },
            Self::Operators { prefix } => {
                let part = |precision: Multiplied| Part { precision, by: Part::OPERATORS.to_owned() };
                let precision = match prefix {
                    FloatDType::F16 => Multiplied::F16,
                    FloatDType::BF16 => Multiplied::Bf16,
                    _ => Multiplied::F32,
                };
                Said { prefix: part(precision), tail: part(Multiplied::F32) }
            }
        }
    }
}

/// What `plan.json` and checkpoints say of an [`Arithmetics`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The frozen prefix.
    pub prefix: Part,
    /// The tail.
    pub tail: Part,
}

/// The arithmetic of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The number format of the factors.
    pub precision: Multiplied,
    /// The unit that multiplies, such as `AVX-512` or `AMX`, or [`Part::OPERATORS`].
    pub by: String,
}

/// The number format of the factors of matrix products. The project's kernels add up in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multiplied {
    /// Single precision.
    F32,
    /// Eleven significant bits.
    F16,
    /// Eight significant bits.
    Bf16,
}

impl Multiplied {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl Part {
    /// Who multiplies on a GPU.
    pub const OPERATORS: &str = "the GPU";

    /// The same in words.
    pub fn of(arithmetic: Arithmetic) -> Self {
        let (precision, by) = match arithmetic {
            Arithmetic::F32(isa) => (Multiplied::F32, isa.name()),
            Arithmetic::Bf16(unit) => (Multiplied::Bf16, unit.name()),
        };
        Self { precision, by: by.to_owned() }
    }

    /// The arithmetic of this format on a CPU whose unit for bf16 is `unit`; `None` if it has none and one is needed.
    pub fn again(&self, unit: Option<Arithmetic>) -> Option<Arithmetic> {
        match self.precision {
            Multiplied::F32 => Some(Arithmetic::f32()),
            Multiplied::F16 => None,
            Multiplied::Bf16 => unit,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.precision {
            Multiplied::F32 => f.write_str("f32"),
            half @ (Multiplied::F16 | Multiplied::Bf16) => write!(f, "{} by {}", half.name(), self.by),
        }
    }
}
