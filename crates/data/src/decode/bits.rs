//! The bits of a JPEG's scans, and their Huffman codes.

use std::ops::RangeInclusive;

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

/// Where each coefficient of a file stands in a block whose rows follow each other (ITU-T T.81, figure A.6).
const IN_ROWS: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// The number that `size` bits stand for (ITU-T T.81, F.2.2.1).
#[inline]
fn signed(bits: u32, size: u32) -> i32 {
    let negative = size > 0 && bits >> (size - 1) == 0;
    bits as i32 - if negative { (1 << size) - 1 } else { 0 }
}

/// Bits that are looked up at once. Nearly all codes are as short.
const SHORT: u32 = 10;

/// A Huffman table.
#[derive(Debug)]
pub(super) struct Table {
    /// For each beginning, the code's length in the upper byte and its value in the lower; 0 for a longer code.
    short: [u16; 1 << SHORT],
    /// For each length, one more than the greatest code, at the upper end of 16 bits.
    end: [u32; 17],
    /// For each length, what is added to a code to find its value.
    offset: [i32; 17],
    values: Vec<u8>,
}

impl Table {
    /// A table with so many codes of each length from 1 to 16.
    pub fn new(lengths: &[u8; 16], values: &[u8]) -> Self {
        let mut table = Self { short: [0; 1 << SHORT], end: [0; 17], offset: [0; 17], values: values.to_vec() };
        let (mut code, mut at) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(lengths) {
            table.offset[length as usize] = at as i32 - code as i32;
            for &value in &values[at..at + usize::from(count)] {
                if length <= SHORT {
                    let from = (code << (SHORT - length)) as usize;
                    let to = (from + (1 << (SHORT - length))).min(1 << SHORT);
                    table.short[from.min(to)..to].fill((length as u16) << 8 | u16::from(value));
                }
                code += 1;
            }
            at += usize::from(count);
            table.end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        table
    }

    /// Value and length of the code that 16 bits begin with.
    #[inline(always)]
    fn find(&self, ahead: u32) -> Option<(u8, u32)> {
        let short = self.short[(ahead >> (16 - SHORT)) as usize];
        if short != 0 {
            return Some((short as u8, u32::from(short >> 8)));
        }
        self.find_long(ahead)
    }

    #[cold]
    fn find_long(&self, ahead: u32) -> Option<(u8, u32)> {
        let length = (SHORT + 1..=16).find(|&length| ahead < self.end[length as usize])?;
        let at = (ahead >> (16 - length)) as i32 + self.offset[length as usize];
        Some((*self.values.get(usize::try_from(at).ok()?)?, length))
    }
}

/// Reads the bits of a scan up to the next marker.
#[derive(Debug)]
pub(super) struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Bits that were read, at the lower end.
    read: u64,
    count: u32,
}

impl<'b> Bits<'b> {
    pub fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at, read: 0, count: 0 }
    }

    /// Where the next byte is that was not used. Where bytes ahead are stuffed, it is some further.
    pub fn at(&self) -> usize {
        self.at - (self.count / 8) as usize
    }

    /// Whether the last byte is filled up with ones, as the standard says.
    pub fn is_filled_up(&self) -> bool {
        let rest = (1 << (self.count % 8)) - 1;
        self.read & rest == rest
    }

    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&four) = self.bytes.get(self.at..).and_then(|ahead| ahead.first_chunk::<4>())
            && !four.contains(&0xff)
        {
            self.read = self.read << 32 | u64::from(u32::from_be_bytes(four));
            self.count += 32;
            self.at += 4;
            return;
        }
        while self.count <= 48 {
            let step = match self.bytes.get(self.at..) {
                Some([0xff, 0, ..]) => 2,
                Some([0xff, ..] | []) | None => return,
                Some(_) => 1,
            };
            self.read = self.read << 8 | u64::from(self.bytes[self.at]);
            self.count += 8;
            self.at += step;
        }
    }

    /// A code's value, and the bits after it that belong to it: so many as `extra` says.
    #[inline(always)]
    fn symbol(&mut self, table: &Table, extra: impl Fn(u8) -> u32) -> Result<(u8, u32), Fault> {
        self.fill();
        // After the last bit come zeros, which no code may need.
        let ahead = if self.count >= 16 { self.read >> (self.count - 16) } else { self.read << (16 - self.count) };
        let found = table.find((ahead & 0xffff) as u32);
        let (value, length) = found.ok_or(if self.count >= 16 { Fault::NoCode } else { Fault::NoBits })?;
        let extra = extra(value);
        self.count = self.count.checked_sub(length + extra).ok_or(Fault::NoBits)?;
        Ok((value, (self.read >> self.count) as u32 & ((1 << extra) - 1)))
    }

    fn take(&mut self, bits: u32) -> Result<u32, Fault> {
        self.fill();
        self.count = self.count.checked_sub(bits).ok_or(Fault::NoBits)?;
        Ok((self.read >> self.count) as u32 & ((1 << bits) - 1))
    }

    /// Goes past so many bits, at most 16.
    pub fn skip(&mut self, bits: u32) -> Result<(), Fault> {
        self.take(bits).map(drop)
    }

    /// The first bits of a constant coefficient.
    pub fn dc(&mut self, table: &Table) -> Result<(), Fault> {
        self.symbol(table, |size| u32::from(size.min(16))).map(drop)
    }

    /// By how much the constant coefficient of a block differs from that of the block before.
    pub fn difference(&mut self, table: &Table) -> Result<i32, Fault> {
        let (size, bits) = self.symbol(table, |size| u32::from(size.min(16)))?;
        Ok(signed(bits, u32::from(size.min(16))))
    }

    /// All coefficients of a block, each multiplied by its step. `block` is zero before, and in rows after; `steps` are in the
    /// order of the file. `constant` is the constant coefficient of the block before, and then of this one. Returns the place
    /// of the last coefficient in the order of the file.
    #[inline]
    pub fn block(
        &mut self,
        [dc, ac]: [&Table; 2],
        steps: &[u16; 64],
        constant: &mut i32,
        block: &mut [i32; 64],
    ) -> Result<usize, Fault> {
        *constant = constant.wrapping_add(self.difference(dc)?);
        block[0] = constant.wrapping_mul(i32::from(steps[0]));
        let (mut at, mut last) = (1, 0);
        while at < 64 {
            let (symbol, bits) = self.symbol(ac, |symbol| u32::from(symbol & 15))?;
            let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            at += zeros;
            if size != 0 {
                let Some((step, &place)) = steps.get(at).zip(IN_ROWS.get(at)) else { break };
                block[usize::from(place & 63)] = signed(bits, size).wrapping_mul(i32::from(*step));
                last = at;
            } else if zeros != 15 {
                break;
            }
            at += 1;
        }
        Ok(last)
    }

    /// The same without the values, except for the constant coefficient.
    pub fn constant(&mut self, [dc, ac]: [&Table; 2], constant: &mut i32) -> Result<(), Fault> {
        *constant = constant.wrapping_add(self.difference(dc)?);
        self.others(ac)
    }

    /// All coefficients of a block.
    pub fn sequential(&mut self, dc: &Table, ac: &Table) -> Result<(), Fault> {
        self.dc(dc)?;
        self.others(ac)
    }

    /// All coefficients of a block but the constant one.
    #[inline]
    fn others(&mut self, ac: &Table) -> Result<(), Fault> {
        let mut at = 1;
        while at < 64 {
            let (symbol, _) = self.symbol(ac, |symbol| u32::from(symbol & 15))?;
            at += match symbol {
                0xf0 => 16,
                _ if symbol & 15 == 0 => break,
                _ => usize::from(symbol >> 4) + 1,
            };
        }
        Ok(())
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
            let (symbol, _) = self.symbol(table, |symbol| u32::from(symbol & 15))?;
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
            let (symbol, _) = self.symbol(table, |symbol| u32::from(symbol & 15 != 0))?;
            let mut zeros = symbol >> 4;
            let new = symbol & 15 != 0;
            if !new && zeros < 15 {
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

    /// Goes past the restart marker that has to come next. Bytes before the marker mean nothing.
    pub fn restart(&mut self) -> Option<()> {
        (self.read, self.count) = (0, 0);
        loop {
            let ahead = self.bytes.get(self.at..)?;
            self.at += ahead.iter().position(|&byte| byte == 0xff)?;
            match self.bytes.get(self.at + 1)? {
                0 => self.at += 2,
                0xff => self.at += 1,
                0xd0..=0xd7 => {
                    self.at += 2;
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}
