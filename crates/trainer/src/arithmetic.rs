//! The arithmetic of the two parts of a network while it trains, and its form in files.

use injerto_kernels::inference::Arithmetic;
use serde::{Deserialize, Serialize};

/// The arithmetic with which the project's kernels compute a network while it trains. Whole networks that are read from a checkpoint are
/// computed in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetics {
    /// The frozen prefix, which runs once per image.
    pub prefix: Arithmetic,
    /// The tail, forward and back.
    pub tail: Arithmetic,
}

impl Arithmetics {
    /// Metadata key of a checkpoint, if its experiment has chosen the arithmetic.
    pub const KEY: &str = "injerto.arithmetic";

    /// `f32` in both.
    pub fn f32() -> Self {
        Self { prefix: Arithmetic::f32(), tail: Arithmetic::f32() }
    }

    /// The same in words.
    pub fn said(self) -> Said {
        Said { prefix: Part::of(self.prefix), tail: Part::of(self.tail) }
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
    /// The unit that multiplies, such as `AVX-512` or `AMX`.
    pub by: String,
}

/// The number format of the factors of matrix products. Sums are `f32` in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multiplied {
    /// Single precision.
    F32,
    /// Eight significant bits.
    Bf16,
}

impl Part {
    /// The same in words.
    pub fn of(arithmetic: Arithmetic) -> Self {
        let (precision, by) = match arithmetic {
            Arithmetic::F32(isa) => (Multiplied::F32, isa.name()),
            Arithmetic::Bf16(unit) => (Multiplied::Bf16, unit.name()),
        };
        Self { precision, by: by.to_owned() }
    }

    /// The arithmetic of this format on a machine whose unit for bf16 is `unit`; `None` if it has none and one is needed.
    pub fn again(&self, unit: Option<Arithmetic>) -> Option<Arithmetic> {
        match self.precision {
            Multiplied::F32 => Some(Arithmetic::f32()),
            Multiplied::Bf16 => unit,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.precision {
            Multiplied::F32 => f.write_str("f32"),
            Multiplied::Bf16 => write!(f, "bf16 by {}", self.by),
        }
    }
}
