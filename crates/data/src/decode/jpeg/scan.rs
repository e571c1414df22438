//! The scans of a JPEG: their compressed data, symbol by symbol.

use std::rc::Rc;

use super::{BROKEN, EARLY, Walk};
use crate::decode::avx2::Avx2;
use crate::decode::bits::{Bits, Fault};
use crate::decode::picture::Picture;
use crate::decode::transform::{Block, Steps};

/// One scan's part of a component: its place in the frame and its tables.
struct Part {
    component: usize,
    dc: usize,
    ac: usize,
}

/// Coefficients and bits that a scan brings.
struct Band {
    first: u8,
    last: u8,
    high: u8,
    low: u8,
}

impl<'b> Walk<'b> {
    /// Walks through the scan that this header announces.
    pub(super) fn scan(&mut self, header: &[u8]) -> Result<(), String> {
        let &[count, ref rest @ ..] = header else { return Err(BROKEN.to_owned()) };
        let count = usize::from(count);
        let (Some(chosen), Some(&[first, last, bits])) =
            (rest.get(..count * 2), rest.get(count * 2..count * 2 + 3).and_then(|r| r.first_chunk()))
        else {
            return Err(BROKEN.to_owned());
        };
        let part = |&[id, tables]: &[u8; 2]| {
            let component = self.frame.iter().position(|component| component.id == id)?;
            Some(Part { component, dc: usize::from(tables >> 4 & 3), ac: usize::from(tables & 3) })
        };
        let parts: Option<Vec<Part>> = chosen.as_chunks::<2>().0.iter().map(part).collect();
        let parts = parts.filter(|parts| !parts.is_empty()).ok_or(BROKEN)?;
        let band = if self.progressive {
            Band { first, last, high: bits >> 4, low: bits & 15 }
        } else {
            Band { first: 0, last: 63, high: 0, low: 0 }
        };
        if band.first > band.last || band.last > 63 || (band.first > 0 && parts.len() > 1) {
            return Err(BROKEN.to_owned());
        }
        if !self.progressive && self.seen.kept == 0 && parts.len() < self.frame.len() {
            // The decoder has to keep what the scans bring one after the other.
            self.seen.kept = (0..self.frame.len()).map(|at| self.padded(at)).map(|[w, h]| w * h * 128).sum();
        }
        for part in &parts {
            if self.quantizations >> (self.frame[part.component].quantization & 15) & 1 == 0 {
                self.seen.ordinary = false;
            }
            if self.progressive && self.frame[part.component].nonzero.is_empty() {
                let [width, height] = self.padded(part.component);
                let component = &mut self.frame[part.component];
                component.nonzero = vec![0; (width * height) as usize];
                component.stride = width as usize;
            }
        }
        let every = parts.len() == self.frame.len() && parts.iter().enumerate().all(|(at, part)| part.component == at);
        if !std::mem::replace(&mut self.scanned, true) {
            self.seen.frame = self.drawable().filter(|_| every);
        }
        // After the first scan there is nothing more to draw.
        let wanted = self.wanted.take();
        let mut picture = wanted.and_then(|(part, sight)| Some(Picture::new(self.seen.frame.as_ref()?, part, sight)));
        let mut bits = Bits::new(self.bytes, self.at);
        let walked = match Avx2::detect() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx2` is made only where the processor has all of them.
            Some(_) => unsafe { self.walk_avx2(&mut bits, &parts, &band, picture.as_mut()) },
            _ => self.walk(&mut bits, &parts, &band, picture.as_mut()),
        };
        self.drawn = picture.or(self.drawn.take());
        self.after(&bits, walked)?;
        for part in &parts {
            let low = &mut self.frame[part.component].low;
            low[usize::from(band.first)..=usize::from(band.last)].fill(Some(band.low));
        }
        Ok(())
    }

    /// [`walk`](Self::walk), compiled for another processor.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn walk_avx2(
        &mut self,
        bits: &mut Bits<'b>,
        parts: &[Part],
        band: &Band,
        picture: Option<&mut Picture>,
    ) -> Result<(), Fault> {
        self.walk(bits, parts, band, picture)
    }

    /// Walks through a scan, and draws the picture if there is one, which only a file with a single scan has.
    #[inline(always)]
    fn walk(
        &mut self,
        bits: &mut Bits<'b>,
        parts: &[Part],
        band: &Band,
        picture: Option<&mut Picture>,
    ) -> Result<(), Fault> {
        match picture {
            Some(picture) => self.draw_units(bits, parts, picture),
            None => self.check_units(bits, parts, band),
        }
    }

    #[inline(always)]
    fn check_units(&mut self, bits: &mut Bits<'b>, parts: &[Part], band: &Band) -> Result<(), Fault> {
        let alone = parts.len() == 1;
        let [width, height] = if alone { self.blocks(parts[0].component) } else { self.units() };
        let mut run = 0_u32;
        let mut until_restart = self.restart;
        let Self { dc, ac, frame, progressive, restart, .. } = self;
        for unit in 0..height * width {
            if *restart > 0 && until_restart == 0 {
                bits.restart()?;
                (until_restart, run) = (*restart, 0);
            }
            until_restart = until_restart.wrapping_sub(1);
            let (row, column) = (unit / width, unit % width);
            for part in parts {
                let component = &mut frame[part.component];
                let (dc, ac) = (dc[part.dc].as_deref(), ac[part.ac].as_deref());
                let [h, v] = if alone { [1, 1] } else { [component.horizontal, component.vertical] };
                for at in 0..h * v {
                    if !*progressive {
                        bits.constant([dc.ok_or(BROKEN)?, ac.ok_or(BROKEN)?], &mut 0)?;
                        continue;
                    }
                    let (row, column) = (row * v + at / h, column * h + at % h);
                    let nonzero = &mut component.nonzero[row as usize * component.stride + column as usize];
                    match band {
                        Band { first: 0, high: 0, .. } => bits.dc(dc.ok_or(BROKEN)?)?,
                        Band { first: 0, .. } => bits.skip(1)?,
                        Band { first, last, high: 0, .. } => {
                            bits.ac(ac.ok_or(BROKEN)?, *first..=*last, &mut run, nonzero)?;
                        }
                        Band { first, last, .. } => {
                            bits.corrections(ac.ok_or(BROKEN)?, *first..=*last, &mut run, nonzero)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn draw_units(&self, bits: &mut Bits<'b>, parts: &[Part], picture: &mut Picture) -> Result<(), Fault> {
        let [width, height] = self.units();
        let (mut until_restart, mut constants) = (self.restart, [0_i32; 4]);
        // One entry per block of a unit: its component, row and column in the unit, tables and steps.
        let mut blocks = Vec::new();
        for &Part { component: at, dc, ac } in parts {
            let component = &self.frame[at];
            let tables = [self.dc[dc].as_deref().ok_or(BROKEN)?, self.ac[ac].as_deref().ok_or(BROKEN)?];
            let steps = self.steps.get(usize::from(component.quantization)).and_then(Option::as_deref);
            let steps = Rc::new(Steps::new(steps.ok_or("a quantization table is missing")?));
            let [down, right] = [component.vertical as usize, component.horizontal as usize];
            let places = (0..down).flat_map(|y| (0..right).map(move |x| [y, x]));
            blocks.extend(places.map(|place| (at, [down, right], place, tables, steps.clone())));
        }
        // All blocks of a unit are read before the first is drawn, since a processor waits where it reads as one what was just written
        // piece by piece.
        let mut read: Vec<Block> = blocks.iter().map(|_| Block::EMPTY).collect();
        for row in 0..height as usize {
            for column in 0..width as usize {
                if self.restart > 0 && until_restart == 0 {
                    bits.restart()?;
                    (until_restart, constants) = (self.restart, [0; 4]);
                }
                until_restart = until_restart.wrapping_sub(1);
                let place = |[down, right]: [usize; 2], [y, x]: [usize; 2]| [row * down + y, column * right + x];
                for ((at, each, own, tables, _), block) in blocks.iter().zip(&mut read) {
                    if picture.is_seen(*at, place(*each, *own)) && picture.needs_all(*at) {
                        bits.block(*tables, &mut constants[*at], block)?;
                    } else {
                        bits.constant(*tables, &mut constants[*at])?;
                        block.constant = constants[*at];
                    }
                }
                for ((at, each, own, _, steps), block) in blocks.iter().zip(&mut read) {
                    let place = place(*each, *own);
                    if picture.is_seen(*at, place) {
                        picture.block(*at, place, block, steps);
                        block.clear();
                    }
                }
            }
            picture.draw(row + 1, row + 1 == height as usize);
        }
        Ok(())
    }

    /// Goes on after a scan.
    fn after(&mut self, bits: &Bits<'b>, walked: Result<(), Fault>) -> Result<(), String> {
        self.at = bits.at();
        self.rest = bits.is_filled_up().then_some(&self.bytes[self.at..]);
        walked.map_err(|fault| match fault {
            Fault::NoCode => BROKEN.to_owned(),
            // Another scan or a restart in the middle of the data is damage; the end of the file is its end.
            Fault::NoBits if matches!(self.marker(), None | Some(0xd9)) => EARLY.to_owned(),
            Fault::NoBits => "a part of its pixel data is missing".to_owned(),
            Fault::Told(reason) => reason.to_owned(),
        })
    }
}
