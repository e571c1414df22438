//! Huffman codes of a JPEG's scans, looked up so that a symbol and the bits that belong to it take one step.

use std::cell::{Cell, OnceCell};
use std::num::NonZeroU32;

/// Bits that are looked up at once. Nearly all codes are as short.
pub(super) const SHORT: u32 = 10;

/// Bits of which [`Table::skips`] says how many coefficients they are.
pub(super) const SKIPPED: u32 = 10;

/// Blocks that ask a table for its [`Skip`]s before they are made, which takes as long as they save for about as many.
const WORTH: u32 = 200;

/// The coefficients of a table: constant ones, or all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A code says how many bits of a difference come after it.
    Constant,
    /// A code says how many zeros come first, and how many bits of a coefficient come after it.
    Others,
}

/// A code as it was found, in the form in which it is used: number of bits with those that belong to it (bits 0 to 5), number of bits
/// without them (8 to 13), 64 less the number of those that belong to it (16 to 21), and the value (24 to 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(NonZeroU32);

impl Code {
    fn new(kind: Kind, value: u8, length: u32) -> Option<Self> {
        let own = match kind {
            Kind::Constant => u32::from(value.min(16)),
            Kind::Others => u32::from(value & 15),
        };
        let all = (length + own) | length << 8 | ((64 - own) & 63) << 16 | u32::from(value) << 24;
        NonZeroU32::new(all).map(Self)
    }

    /// Number of bits, with those that belong to the code: 1 to 32.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0.get() & 63
    }

    /// Number of bits without those that belong to it: 1 to 16.
    #[inline(always)]
    pub fn length(self) -> u32 {
        self.0.get() >> 8 & 63
    }

    /// The value itself.
    #[inline(always)]
    pub fn value(self) -> u8 {
        (self.0.get() >> 24) as u8
    }

    /// Of a coefficient, how many zeros come before it.
    #[inline(always)]
    pub fn zeros(self) -> usize {
        (self.0.get() >> 28) as usize
    }

    /// Whether it is the code of a coefficient.
    #[inline(always)]
    pub fn is_coefficient(self) -> bool {
        self.0.get() >> 24 & 15 != 0
    }

    /// The number that the bits which belong to the code stand for (ITU-T T.81, F.2.2.1); `ahead` begins with the code. Not for a code
    /// without such bits.
    #[inline(always)]
    pub fn number(self, ahead: u64) -> i32 {
        let own = ahead << (self.0.get() >> 8 & 63);
        // All ones for a number that begins with a zero, which is negative: less than it by one less than a power of two.
        let negative = !((own as i64) >> 63) as u64;
        let magnitude = (own ^ negative) >> (self.0.get() >> 16 & 63);
        (magnitude ^ negative).wrapping_sub(negative) as i32
    }
}

/// How many coefficients some bits are: number of bits (bits 0 to 5), coefficients (8 to 14), and whether the last code says that no
/// more come (15). 0 where they do not begin with a whole code and its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skip(u16);

impl Skip {
    const LAST: u16 = 1 << 15;

    /// Number of bits.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        u32::from(self.0) & 63
    }

    /// Number of coefficients.
    #[inline(always)]
    pub fn coefficients(self) -> usize {
        usize::from(self.0 >> 8 & 127)
    }

    /// Whether no more coefficients come.
    #[inline(always)]
    pub fn is_last(self) -> bool {
        self.0 & Self::LAST != 0
    }

    /// Whether something was found.
    #[inline(always)]
    pub fn is_found(self) -> bool {
        self.0 != 0
    }
}

/// A Huffman table.
#[derive(Debug)]
pub(super) struct Table {
    kind: Kind,
    /// The code of each beginning; none where it is longer.
    short: [Option<Code>; 1 << SHORT],
    /// For each length, one more than the greatest code, at the upper end of 16 bits.
    end: [u32; 17],
    /// For each length, what is added to a code to find its value.
    offset: [i32; 17],
    values: Vec<u8>,
    /// Made when they have been asked for so often that they are worth it.
    skips: OnceCell<Box<[Skip; 1 << SKIPPED]>>,
    asked: Cell<u32>,
}

impl Table {
    /// A table with so many codes of each length from 1 to 16.
    pub fn new(kind: Kind, lengths: &[u8; 16], values: &[u8]) -> Self {
        let mut short = [None; 1 << SHORT];
        let (mut end, mut offset) = ([0; 17], [0; 17]);
        let (mut code, mut at) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(lengths) {
            offset[length as usize] = at as i32 - code as i32;
            for &value in &values[at..at + usize::from(count)] {
                if length <= SHORT {
                    let from = (code << (SHORT - length)) as usize;
                    let to = (from + (1 << (SHORT - length))).min(1 << SHORT);
                    short[from.min(to)..to].fill(Code::new(kind, value, length));
                }
                code += 1;
            }
            at += usize::from(count);
            end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Self { kind, short, end, offset, values: values.to_vec(), skips: OnceCell::new(), asked: Cell::new(0) }
    }

    /// The code that these bits begin with, unless it is longer than most.
    #[inline(always)]
    pub fn short(&self, ahead: u64) -> Option<Code> {
        self.short[(ahead >> (64 - SHORT)) as usize]
    }

    /// The code that these bits begin with, where [`short`](Self::short) has none.
    #[cold]
    pub fn long(&self, ahead: u64) -> Option<Code> {
        let ahead = (ahead >> 48) as u32;
        let length = (SHORT + 1..=16).find(|&length| ahead < self.end[length as usize])?;
        let at = (ahead >> (16 - length)) as i32 + self.offset[length as usize];
        Code::new(self.kind, *self.values.get(usize::try_from(at).ok()?)?, length)
    }

    /// For each beginning of so many bits, how many coefficients it is. None for the first blocks that ask, which a picture may have few
    /// of.
    #[inline(always)]
    pub fn skips(&self) -> Option<&[Skip; 1 << SKIPPED]> {
        match self.skips.get() {
            Some(skips) => Some(skips),
            None => self.asked_for_skips(),
        }
    }

    #[cold]
    fn asked_for_skips(&self) -> Option<&[Skip; 1 << SKIPPED]> {
        self.asked.set(self.asked.get() + 1);
        (self.asked.get() > WORTH).then(|| &**self.skips.get_or_init(|| self.all_skips()))
    }

    #[cold]
    fn all_skips(&self) -> Box<[Skip; 1 << SKIPPED]> {
        // Those of fewer bits first, the last of which begin where the first end.
        let mut all = vec![Skip(0); 2 << SKIPPED];
        for bits in 1..=SKIPPED {
            for ahead in 0..1_usize << bits {
                let code = self.short[if bits < SHORT { ahead << (SHORT - bits) } else { ahead >> (bits - SHORT) }];
                let Some(code) = code.filter(|code| code.bits() <= bits) else { continue };
                let coefficients = match code.value() {
                    0xf0 => 16,
                    _ if code.is_coefficient() => code.zeros() as u16 + 1,
                    _ => {
                        all[(1 << bits) + ahead] = Skip(code.bits() as u16 | Skip::LAST);
                        continue;
                    }
                };
                let left = 1 << (bits - code.bits());
                let rest = all[left + (ahead & (left - 1))];
                // A block has no more than 64, so that more than that are never gone past at once.
                let rest = if rest.coefficients() + usize::from(coefficients) < 64 { rest } else { Skip(0) };
                all[(1 << bits) + ahead] = Skip((code.bits() as u16 | coefficients << 8) + rest.0);
            }
        }
        all.split_off(1 << SKIPPED).try_into().expect("the last are as many as their bits have values")
    }
}
