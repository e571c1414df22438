//! How an image is drawn. Every pixel is asked, at four points, what lies there: a figure, a leaf in front of it, or the
//! background. Colours, sizes, positions, light and backgrounds vary alike in all classes, so that only form tells the classes
//! apart.

use std::f32::consts::{PI, TAU};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::drawing::{Drawing, Task};
use crate::decode::Rgb;

type Color = [f32; 3];

impl Drawing {
    /// Draws it at `[height, width]`.
    pub fn draw(&self, [height, width]: [usize; 2]) -> Rgb {
        let mut seed = [0_u8; 32];
        let words = [self.seed, u64::from(self.series) << 32 | u64::from(self.class), u64::from(self.index)];
        let words = words.into_iter().chain([self.task as u64]);
        seed.chunks_exact_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        let mut dice = Dice(ChaCha8Rng::from_seed(seed));

        let backdrop = Backdrop::new(&mut dice);
        let figure = match self.task {
            Task::Flowers => flower(self.class, &mut dice),
            Task::Shapes => shape(self.class, &mut dice),
        };
        let scale = dice.between(0.55, 0.95);
        let (x, y) = (dice.between(-0.25, 0.25), dice.between(-0.25, 0.25));
        let upright = self.task == Task::Flowers && self.class == 4;
        let turn = if upright { dice.between(-0.5, 0.5) } else { dice.between(0.0, TAU) };
        let (sin, cos) = turn.sin_cos();
        let tilt = dice.between(0.7, 1.0);
        let leaves: Vec<Leaf> = (0..dice.below(3)).map(|_| Leaf::new(&mut dice)).collect();
        let light = (dice.between(-0.35, 0.35), dice.between(-0.35, 0.35), dice.between(0.75, 1.15));
        let noise = dice.between(0.0, 0.06);

        let mut pixels = Vec::with_capacity(height * width * 3);
        for row in 0..height {
            for column in 0..width {
                let mut sum = [0.0_f32; 3];
                for (dy, dx) in [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)] {
                    // The image spans -1 to 1 both ways.
                    let u = (column as f32 + dx) / width as f32 * 2.0 - 1.0;
                    let v = (row as f32 + dy) / height as f32 * 2.0 - 1.0;
                    let (a, b) = ((u - x) / scale, (v - y) / scale);
                    let (a, b) = (a * cos + b * sin, (b * cos - a * sin) / tilt);
                    let leaf = leaves.iter().find_map(|leaf| leaf.color(u, v));
                    let color = leaf.or_else(|| figure(a, b)).unwrap_or_else(|| backdrop.color(u, v));
                    let light = light.2 + light.0 * u + light.1 * v;
                    sum.iter_mut().zip(color).for_each(|(sum, c)| *sum += c * light / 4.0);
                }
                for value in sum {
                    let grain = noise * (dice.unit() - 0.5);
                    pixels.push(((value + grain).clamp(0.0, 1.0) * 255.0).round() as u8);
                }
            }
        }
        Rgb { height, width, pixels }
    }
}

/// Random numbers for drawing.
struct Dice(ChaCha8Rng);

impl Dice {
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(count)) >> 32) as u32
    }

    fn color(&mut self, palette: &[Color]) -> Color {
        let base = palette[self.below(palette.len() as u32) as usize];
        base.map(|c| (c + self.between(-0.12, 0.12)).clamp(0.0, 1.0))
    }
}

fn mix(a: Color, b: Color, part: f32) -> Color {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * part)
}

/// Petals come in all of these, whatever the kind.
const PETALS: [Color; 6] =
    [[0.95, 0.93, 0.9], [0.95, 0.8, 0.15], [0.9, 0.45, 0.6], [0.8, 0.15, 0.2], [0.95, 0.55, 0.15], [0.6, 0.35, 0.75]];
const CENTERS: [Color; 4] = [[0.9, 0.7, 0.1], [0.35, 0.2, 0.1], [0.5, 0.55, 0.15], [0.75, 0.45, 0.1]];
const GREENS: [Color; 3] = [[0.2, 0.45, 0.15], [0.35, 0.55, 0.2], [0.15, 0.35, 0.2]];
const GROUNDS: [Color; 8] = [
    [0.25, 0.5, 0.2],
    [0.55, 0.7, 0.9],
    [0.4, 0.28, 0.18],
    [0.5, 0.5, 0.5],
    [0.12, 0.18, 0.12],
    [0.75, 0.7, 0.55],
    [0.45, 0.6, 0.4],
    [0.8, 0.75, 0.75],
];

/// A figure in its own coordinates, about 1 in size: the color at a point, if it covers it.
type Figure = Box<dyn Fn(f32, f32) -> Option<Color>>;

/// One of the five flowers.
fn flower(class: u32, dice: &mut Dice) -> Figure {
    let (petal, center) = (dice.color(&PETALS), dice.color(&CENTERS));
    let dark = mix(petal, [0.1, 0.05, 0.05], dice.between(0.25, 0.45));
    let phase = dice.between(0.0, TAU);
    match class {
        // Daisy: slender petals with gaps around a small disc.
        0 => {
            let (count, disc) = ((12 + dice.below(9)) as f32, dice.between(0.2, 0.28));
            let width = dice.between(0.62, 0.85);
            Box::new(move |x, y| {
                let (r, angle) = (x.hypot(y), y.atan2(x) + phase);
                let across = ((angle * count / TAU).rem_euclid(1.0) - 0.5).abs() * 2.0;
                if r < disc {
                    Some(mix(center, [0.2, 0.1, 0.0], r / disc * 0.3))
                } else if r < 1.0 - 0.12 * across * across && across < width {
                    Some(mix(petal, dark, across * 0.5))
                } else {
                    None
                }
            })
        }
        // Dandelion: many thin rays of uneven length to the very centre.
        1 => {
            let (count, rings) = ((34 + dice.below(14)) as f32, dice.between(3.0, 4.5));
            Box::new(move |x, y| {
                let (r, angle) = (x.hypot(y), y.atan2(x) + phase);
                let ring = (r * rings).floor();
                let turn = (angle * count / TAU + 0.37 * ring).rem_euclid(1.0);
                let ray = (turn - 0.5).abs() * 2.0;
                let end = 0.82 + 0.16 * ((angle * count / TAU).floor() * 2.4 + phase).sin();
                (r < end).then(|| mix(petal, dark, 0.75 * ray * ray + 0.25 * (r * rings).fract()))
            })
        }
        // Rose: broad petals that wind around the centre.
        2 => {
            let (winds, lobes) = (dice.between(2.6, 3.6), (3 + dice.below(3)) as f32);
            Box::new(move |x, y| {
                let (r, angle) = (x.hypot(y), y.atan2(x) + phase);
                let edge = 0.85 + 0.08 * (angle * lobes).cos();
                let wind = (r.sqrt() * winds + angle / TAU + 0.08 * (angle * lobes + r * 9.0).sin()).rem_euclid(1.0);
                (r < edge).then(|| mix(dark, petal, wind.powf(0.6)))
            })
        }
        // Sunflower: pointed petals behind a large dotted disc.
        3 => {
            let (count, disc) = ((14 + dice.below(9)) as f32, dice.between(0.46, 0.58));
            let seeds = dice.between(11.0, 16.0);
            Box::new(move |x, y| {
                let (r, angle) = (x.hypot(y), y.atan2(x) + phase);
                let across = ((angle * count / TAU).rem_euclid(1.0) - 0.5).abs() * 2.0;
                if r < disc {
                    let dots = (x * seeds * 2.0).sin() * (y * seeds * 2.0).sin();
                    Some(mix(mix(center, [0.15, 0.08, 0.02], 0.55), center, 0.5 + 0.5 * dots))
                } else {
                    let end = disc + (1.0 - disc) * (1.0 - across);
                    (r < end.max(disc + 0.06)).then(|| mix(petal, dark, across * 0.6))
                }
            })
        }
        // Tulip: a cup seen from the side, on its stem.
        _ => {
            let (fullness, teeth) = (dice.between(0.5, 0.64), dice.between(0.22, 0.36));
            let stem = dice.color(&GREENS);
            Box::new(move |x, y| {
                let (across, up) = (x / fullness, (0.45 - y) / 1.25);
                if (0.0..=1.0).contains(&up) {
                    let side = (up * PI).sin().max(0.0).powf(0.45) * (1.0 - 0.22 * up);
                    let top = 1.0 - teeth * (across * 1.5 * PI).cos().abs().mul_add(-1.0, 1.0);
                    if across.abs() < side && up < top {
                        let fold = (across * 1.5 * PI).cos().abs();
                        return Some(mix(dark, petal, 0.35 + 0.65 * fold));
                    }
                }
                (x.abs() < 0.05 && y > 0.4 && y < 1.3).then_some(stem)
            })
        }
    }
}

/// One of the ten figures of the source task.
fn shape(class: u32, dice: &mut Dice) -> Figure {
    let all: Vec<Color> = PETALS.iter().chain(&CENTERS).chain(&GROUNDS).copied().collect();
    let (color, second) = (dice.color(&all), dice.color(&all));
    let phase = dice.between(0.0, TAU);
    let shade = dice.between(0.2, 0.8);
    let (few, many) = ((3 + dice.below(4)) as f32, (9 + dice.below(12)) as f32);
    let (thin, deep) = (dice.between(0.14, 0.3), dice.between(0.3, 0.6));
    let plain = move |r: f32| mix(color, second, shade * r);
    let polar = |x: f32, y: f32| (x.hypot(y), y.atan2(x));
    let wave = move |angle: f32, count: f32| ((angle + phase) * count / TAU).rem_euclid(1.0);
    match class {
        0 => Box::new(move |x, y| (x.abs() < 1.0 && y.abs() < thin).then(|| plain(x.abs()))),
        1 => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let edge = 0.7 + 0.12 * (2.0 * a + phase).sin() + 0.08 * (3.0 * a - phase).cos();
            (r < edge).then(|| plain(r))
        }),
        2 => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let beam = (wave(a, many) - 0.5).abs() * 2.0;
            (r < 0.95 && (beam < 0.5 || r < thin)).then(|| plain(r))
        }),
        3 => Box::new(move |x, y| {
            let bite = (x - deep).hypot(y) < 0.8;
            (x.hypot(y) < 0.9 && !bite).then(|| plain((x + 0.9).abs()))
        }),
        4 => Box::new(move |x, y| {
            let arm = x.abs().min(y.abs()) < thin && x.abs().max(y.abs()) < 0.9;
            arm.then(|| plain(x.hypot(y)))
        }),
        5 => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let edge = if wave(a, many) < 0.5 { 0.95 } else { 0.95 - 0.6 * thin };
            (r < edge).then_some(if r < deep { second } else { color })
        }),
        6 => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let half = PI / few;
            let edge = 0.95 * half.cos() / ((a + phase).rem_euclid(2.0 * half) - half).cos();
            (r < edge).then(|| plain(r))
        }),
        7 => Box::new(move |x, y| {
            let r = x.hypot(y);
            (r < 0.95 && r > 0.95 - 1.5 * thin).then(|| plain(r))
        }),
        8 => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let arm = (r * (1.5 + 2.0 * deep) - (a + phase) / TAU).rem_euclid(1.0);
            (r < 0.95 && arm < 0.5).then(|| plain(r))
        }),
        _ => Box::new(move |x, y| {
            let (r, a) = polar(x, y);
            let point = (wave(a, few + 1.0) - 0.5).abs() * 2.0;
            (r < 0.95 - (1.0 - deep) * 0.8 * point).then(|| plain(r))
        }),
    }
}

/// A leaf that may hide a part of the figure.
struct Leaf {
    x: f32,
    y: f32,
    sin: f32,
    cos: f32,
    length: f32,
    color: Color,
}

impl Leaf {
    fn new(dice: &mut Dice) -> Self {
        let (sin, cos) = dice.between(0.0, TAU).sin_cos();
        // Leaves grow in from the border and seldom reach the middle.
        let (side, from) = (dice.between(0.0, TAU), dice.between(0.75, 1.1));
        let length = dice.between(0.3, 0.6);
        Self { x: from * side.cos(), y: from * side.sin(), sin, cos, length, color: dice.color(&GREENS) }
    }

    fn color(&self, u: f32, v: f32) -> Option<Color> {
        let (u, v) = (u - self.x, v - self.y);
        let (along, across) =
            ((u * self.cos + v * self.sin) / self.length, (v * self.cos - u * self.sin) / self.length);
        let inside = along.abs() < 1.0 && across.abs() < 0.35 * (1.0 - along * along);
        inside.then(|| mix(self.color, [0.05, 0.1, 0.05], if across.abs() < 0.03 { 0.5 } else { 0.3 * along.abs() }))
    }
}

/// The background: two colours that run into each other, stripes like grass, blurred spots of light.
struct Backdrop {
    colors: [Color; 2],
    direction: (f32, f32),
    stripes: (f32, f32, f32, f32),
    spots: Vec<(f32, f32, f32, Color)>,
}

impl Backdrop {
    fn new(dice: &mut Dice) -> Self {
        let (sin, cos) = dice.between(0.0, TAU).sin_cos();
        let (a, b) = dice.between(0.0, TAU).sin_cos();
        let frequency = dice.between(4.0, 22.0);
        let colors = [dice.color(&GROUNDS), dice.color(&GROUNDS)];
        let strength = if dice.below(2) == 0 { 0.0 } else { dice.between(0.1, 0.4) };
        let count = dice.below(7);
        let mut spot = |_| {
            let at = (dice.between(-1.0, 1.0), dice.between(-1.0, 1.0));
            (at.0, at.1, dice.between(0.1, 0.5), dice.color(&GROUNDS))
        };
        let spots = (0..count).map(&mut spot).collect();
        Self { colors, direction: (cos, sin), stripes: (a * frequency, b * frequency, strength, frequency), spots }
    }

    fn color(&self, u: f32, v: f32) -> Color {
        let run = (u * self.direction.0 + v * self.direction.1) * 0.5 + 0.5;
        let mut color = mix(self.colors[0], self.colors[1], run.clamp(0.0, 1.0));
        let (a, b, strength, bend) = self.stripes;
        let stripe = (u * a + v * b + (v * 3.0 + u * bend * 0.2).sin()).sin() * 0.5 + 0.5;
        color = mix(color, [0.1, 0.15, 0.1], strength * stripe);
        for &(x, y, radius, spot) in &self.spots {
            let near = 1.0 - (u - x).hypot(v - y) / radius;
            color = mix(color, spot, (near * 2.0).clamp(0.0, 0.7));
        }
        color
    }
}
