//! On processors without AVX2, no proof of it exists.

use super::transform::{Block, Steps};

/// Proof that the processor has AVX2.
#[derive(Debug, Clone, Copy)]
pub(super) enum Avx2 {}

impl Avx2 {
    pub fn detect() -> Option<Self> {
        None
    }

    pub fn samples(self, _block: &Block, _steps: &Steps, _out: &mut [u8], _stride: usize) -> bool {
        match self {}
    }

    pub fn colours(self, _y: &[u8; 16], _cb: &[u8; 16], _cr: &[u8; 16]) -> [u8; 48] {
        match self {}
    }
}
