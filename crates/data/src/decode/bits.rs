//! The bits of a JPEG's scans.

use std::ops::RangeInclusive;

use super::codes::{Code, SKIPPED, Table};
use super::transform::{Block, PLACES};

/// Why no more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A marker or the end of the file comes first.
    NoBits,
    /// Bits that are no code.
    NoCode,
    /// Anything else, in words.
    Told(&'static str),
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self::Told(reason)
    }
}

/// Bytes that a block takes at most, with eight for the next look ahead: a constant coefficient of 32 bits, and 63 others of 31 bits.
const BLOCK: usize = 264;

/// Bytes of a scan that are in memory without their stuffing.
const WINDOW: usize = 4096;

/// The window, and zeros after the last byte of a scan.
type Window = [u8; WINDOW + 2 * BLOCK];

/// The bits that come next.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    /// They begin at the upper end. After the first `count` come some that are read again.
    bits: u64,
    /// Less than 64.
    count: u32,
    /// Where the byte after them is in the window.
    next: usize,
}

impl Ahead {
    /// Has at least 56 bits afterwards.
    #[inline(always)]
    fn fill(&mut self, window: &Window) {
        if let Some(eight) = window.get(self.next..).and_then(|ahead| ahead.first_chunk()) {
            self.bits |= u64::from_be_bytes(*eight) >> self.count;
            self.next += (63 - self.count) as usize / 8;
            self.count |= 56;
        }
    }

    /// Goes past some bits, of which there have to be as many, and at most 32.
    #[inline(always)]
    fn pass(&mut self, bits: u32) {
        self.bits <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }
}

/// Reads the bits of a scan up to the next marker.
///
/// Bytes are taken into a window, without those that are stuffed between them. After the last come zeros: each function reads on
/// in them and sees at its end that it has gone too far, which is one question per block and not per symbol.
#[derive(Debug)]
pub(super) struct Bits<'b> {
    bytes: &'b [u8],
    /// Where the first byte is that is not in the window.
    at: usize,
    window: Box<Window>,
    /// Where the window's bytes end.
    end: usize,
    /// Whether there are no more bytes than the window has.
    is_last: bool,
    ahead: Ahead,
    /// Number of restart markers so far.
    restarts: u8,
}

impl<'b> Bits<'b> {
    pub fn new(bytes: &'b [u8], at: usize) -> Self {
        let window = Box::new([0; WINDOW + 2 * BLOCK]);
        Self { bytes, at, window, end: 0, is_last: false, ahead: Ahead::default(), restarts: 0 }
    }

    /// Number of bits up to the next marker that are in the window; negative for a reader that has gone too far.
    #[inline(always)]
    fn left(&self, ahead: Ahead) -> i64 {
        (self.end as i64 - ahead.next as i64) * 8 + i64::from(ahead.count)
    }

    /// Where the next byte is that was not used. Where bytes ahead are stuffed, it is some further.
    pub fn at(&self) -> usize {
        self.at - (self.left(self.ahead).max(0) / 8) as usize
    }

    /// Whether the last byte is filled up with ones, as the standard says.
    pub fn is_filled_up(&self) -> bool {
        let rest = self.left(self.ahead).max(0) as u32 % 8;
        self.ahead.bits.leading_ones() >= rest
    }

    /// What comes next, with all the bytes that a block may take, or zeros in their place.
    #[inline(always)]
    fn ready(&mut self) -> Ahead {
        if self.ahead.next + BLOCK > self.end && !self.is_last {
            self.move_window();
        }
        let mut ahead = self.ahead;
        ahead.fill(&self.window);
        ahead
    }

    /// Keeps what comes next, unless that is after the end.
    #[inline(always)]
    fn done(&mut self, ahead: Ahead) -> Result<(), Fault> {
        self.ahead = ahead;
        if self.left(ahead) < 0 { Err(Fault::NoBits) } else { Ok(()) }
    }

    /// Why no code was found.
    #[cold]
    fn fault(&self, ahead: Ahead) -> Fault {
        if self.left(ahead) >= 16 { Fault::NoCode } else { Fault::NoBits }
    }

    /// The code that comes next.
    #[inline(always)]
    fn code(&self, ahead: Ahead, table: &Table) -> Result<Code, Fault> {
        match table.short(ahead.bits) {
            Some(code) => Ok(code),
            None => self.long_code(ahead, table),
        }
    }

    #[cold]
    fn long_code(&self, ahead: Ahead, table: &Table) -> Result<Code, Fault> {
        table.long(ahead.bits).ok_or_else(|| self.fault(ahead))
    }

    /// Moves what is left to the beginning of the window, and takes more bytes after it.
    #[cold]
    fn move_window(&mut self) {
        let from = self.ahead.next.min(self.end);
        self.window.copy_within(from..self.end, 0);
        (self.end, self.ahead.next) = (self.end - from, self.ahead.next - from);
        let (bytes, window) = (self.bytes, &mut *self.window);
        let (mut at, mut end) = (self.at, self.end);
        while end < WINDOW {
            let before = match bytes.get(at..).and_then(|ahead| ahead.first_chunk::<8>()) {
                Some(eight) => {
                    window[end..end + 8].copy_from_slice(eight);
                    // The lowest set bit is in the first byte of 255 (the first zero of the inverse).
                    let word = u64::from_le_bytes(*eight);
                    let marks = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
                    if marks == 0 { 8 } else { marks.trailing_zeros() as usize / 8 }
                }
                None => 0,
            };
            (at, end) = (at + before, end + before);
            if before == 8 {
                continue;
            }
            // A byte of 255 comes with a zero, or it begins a marker.
            let (byte, step) = match bytes.get(at..) {
                Some([0xff, 0, ..]) => (0xff, 2),
                Some([0xff, ..] | []) | None => {
                    self.is_last = true;
                    break;
                }
                Some([byte, ..]) => (*byte, 1),
            };
            window[end] = byte;
            (at, end) = (at + step, end + 1);
        }
        (self.at, self.end) = (at, end);
        if self.is_last {
            self.window[self.end..].fill(0);
        }
    }

    fn take(&mut self, bits: u32) -> Result<u32, Fault> {
        let mut ahead = self.ready();
        let taken = (ahead.bits >> 32) as u32;
        ahead.pass(bits);
        self.done(ahead)?;
        Ok(taken.checked_shr(32 - bits).unwrap_or(0))
    }

    /// A code's value; the bits that belong to it come next.
    fn value(&mut self, table: &Table) -> Result<u8, Fault> {
        let mut ahead = self.ready();
        let code = self.code(ahead, table)?;
        ahead.pass(code.length());
        self.done(ahead)?;
        Ok(code.value())
    }

    /// A code's value; the bits that belong to it are gone past.
    fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
        let mut ahead = self.ready();
        let code = self.code(ahead, table)?;
        ahead.pass(code.bits());
        self.done(ahead)?;
        Ok(code.value())
    }

    /// Goes past so many bits, at most 16.
    pub fn skip(&mut self, bits: u32) -> Result<(), Fault> {
        self.take(bits).map(drop)
    }

    /// The first bits of a constant coefficient.
    pub fn dc(&mut self, table: &Table) -> Result<(), Fault> {
        self.symbol(table).map(drop)
    }

    /// Adds to `constant` by how much the constant coefficient of a block differs from that of the block before.
    #[inline(always)]
    fn difference(&self, mut ahead: Ahead, table: &Table, constant: &mut i32) -> Result<Ahead, Fault> {
        let code = self.code(ahead, table)?;
        if code.value() != 0 {
            *constant = constant.wrapping_add(code.number(ahead.bits));
        }
        ahead.pass(code.bits());
        Ok(ahead)
    }

    /// All coefficients of a block, which is empty before. `constant` is the constant coefficient of the block before, and then of this
    /// one.
    #[inline(always)]
    pub fn block(&mut self, [dc, ac]: [&Table; 2], constant: &mut i32, block: &mut Block) -> Result<(), Fault> {
        let ahead = self.ready();
        let mut ahead = self.difference(ahead, dc, constant)?;
        (block.constant, block.values[0]) = (*constant, *constant as i16);
        let (mut at, mut end) = (1, 1);
        while at < 64 {
            if ahead.count < 32 {
                ahead.fill(&self.window);
            }
            let code = self.code(ahead, ac)?;
            at += code.zeros();
            if code.is_coefficient() {
                // Places after the last one are not looked at.
                block.values[usize::from(PLACES[at & 127])] = code.number(ahead.bits) as i16;
                end = at + 1;
            } else if code.zeros() != 15 {
                ahead.pass(code.bits());
                break;
            }
            ahead.pass(code.bits());
            at += 1;
        }
        block.is_flat = match end {
            1 => true,
            ..=64 => false,
            _ => block.values[1..64].iter().all(|&value| value == 0),
        };
        self.done(ahead)
    }

    /// The same without the values, except for the constant coefficient.
    #[inline(always)]
    pub fn constant(&mut self, [dc, ac]: [&Table; 2], constant: &mut i32) -> Result<(), Fault> {
        let ahead = self.ready();
        let mut ahead = self.difference(ahead, dc, constant)?;
        let (mut at, skips) = (1, ac.skips());
        while at < 64 {
            if ahead.count < 32 {
                ahead.fill(&self.window);
            }
            let skip = skips.map(|skips| skips[(ahead.bits >> (64 - SKIPPED)) as usize]);
            // Where a block may end among these codes, they are read one after the other.
            if let Some(skip) = skip.filter(|skip| skip.is_found() && at + skip.coefficients() < 64) {
                ahead.pass(skip.bits());
                at += skip.coefficients();
                if skip.is_last() {
                    break;
                }
                continue;
            }
            let code = self.code(ahead, ac)?;
            ahead.pass(code.bits());
            if !code.is_coefficient() && code.zeros() != 15 {
                break;
            }
            at += code.zeros() + 1;
        }
        self.done(ahead)
    }

    /// The first bits of some coefficients. `run` blocks after this one have none.
    pub fn ac(
        &mut self,
        table: &Table,
        band: RangeInclusive<u8>,
        run: &mut u32,
        nonzero: &mut u64,
    ) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut at = *band.start();
        while at <= *band.end() {
            let symbol = self.symbol(table)?;
            let zeros = symbol >> 4;
            if symbol & 15 != 0 {
                at += zeros;
                *nonzero |= 1_u64.checked_shl(u32::from(at)).unwrap_or(0);
                at += 1;
            } else if zeros == 15 {
                at += 16;
            } else {
                *run = (1 << zeros) - 1 + self.take(u32::from(zeros))?;
                break;
            }
        }
        Ok(())
    }

    /// One more bit of some coefficients: one for each that is not zero yet, and codes for those that become so.
    pub fn corrections(
        &mut self,
        table: &Table,
        band: RangeInclusive<u8>,
        run: &mut u32,
        nonzero: &mut u64,
    ) -> Result<(), Fault> {
        let (mut at, end) = (*band.start(), *band.end());
        let is_nonzero = |nonzero: u64, at: u8| nonzero >> at & 1 == 1;
        while *run == 0 && at <= end {
            let symbol = self.value(table)?;
            let mut zeros = symbol >> 4;
            let new = symbol & 15 != 0;
            if new {
                self.skip(1)?;
            } else if zeros < 15 {
                *run = (1 << zeros) + self.take(u32::from(zeros))?;
                break;
            }
            while at <= end {
                if is_nonzero(*nonzero, at) {
                    self.skip(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if new && at <= end {
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            for _ in (at..=end).filter(|&at| is_nonzero(*nonzero, at)) {
                self.skip(1)?;
            }
            *run -= 1;
        }
        Ok(())
    }

    /// Goes past the restart marker that has to come next. Bytes before the marker mean nothing. Markers are counted from 0 to 7: where
    /// another one comes, data between them is lost, and all that follows would be drawn in the wrong place.
    pub fn restart(&mut self) -> Result<(), Fault> {
        (self.end, self.is_last, self.ahead) = (0, false, Ahead::default());
        loop {
            let ahead = self.bytes.get(self.at..).unwrap_or_default();
            self.at += ahead.iter().position(|&byte| byte == 0xff).ok_or(Fault::NoBits)?;
            match self.bytes.get(self.at + 1) {
                Some(0) => self.at += 2,
                Some(0xff) => self.at += 1,
                Some(&marker) if marker == 0xd0 + self.restarts % 8 => {
                    self.at += 2;
                    self.restarts = self.restarts.wrapping_add(1);
                    return Ok(());
                }
                _ => return Err(Fault::NoBits),
            }
        }
    }
}
