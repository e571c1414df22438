//! Changes of bytes, and the random numbers that choose them.

/// Random numbers of SplitMix64, which depend only on a seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator for a seed and the number of an input in its series.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        random.bits();
        random
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `0..end`; 0 if the range is empty.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % (end.max(1) as u64)) as usize
    }

    /// A random item.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Counts, sizes and offsets that often reveal faults.
const NUMBERS: [u64; 17] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x0001_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0001_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Such numbers in decimals, and texts that are not numbers.
pub const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "1.5",
    "1e308",
    "-1e308",
    "1e-320",
    "1048576",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
];

/// Changes some bytes of a part of a file.
pub fn alter(bytes: &mut Vec<u8>, random: &mut Random) {
    let other = bytes.clone();
    change(bytes, &other, random);
}

/// Changes some bytes; pieces of `other` may replace some.
pub fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(12) {
        _ if bytes.is_empty() => bytes.extend(random.bits().to_le_bytes()),
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.bits() as u8,
        3 | 4 => {
            let (number, width) = (*random.of(&NUMBERS), *random.of(&[1, 2, 4, 8]));
            let little = number.to_le_bytes();
            let mut written = little[..width].to_vec();
            if random.below(2) == 0 {
                written.reverse();
            }
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&written[..end - at]);
        }
        5 | 6 => {
            // All digits of the number around this digit.
            let digit = |byte: &u8| byte.is_ascii_digit() || b".-+e".contains(byte);
            let Some(first) = bytes[at..].iter().position(u8::is_ascii_digit).map(|first| at + first) else { return };
            let begin = bytes[..first].iter().rposition(|byte| !digit(byte)).map_or(0, |last| last + 1);
            let end = bytes[first..].iter().position(|byte| !digit(byte)).map_or(bytes.len(), |length| first + length);
            bytes.splice(begin..end, random.of(&WORDS).bytes());
        }
        7 => {
            let length = random.below(32).min(bytes.len() - at);
            bytes.drain(at..at + length);
        }
        8 => {
            let length = random.below(64).min(bytes.len() - at);
            let piece = bytes[at..at + length].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        9 => {
            let from = random.below(other.len());
            let length = random.below(256).min(other.len() - from);
            let end = (at + length * random.below(2)).min(bytes.len());
            bytes.splice(at..end, other[from..from + length].iter().copied());
        }
        10 => bytes.truncate(at),
        _ => {
            let other = random.below(bytes.len());
            bytes.swap(at, other);
        }
    }
}
