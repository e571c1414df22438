//! `cargo xtask scale` draws what becomes of a very large set of photos on many machines: failures, slow machines, and what the size of a
//! shard changes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::ExitCode;

use crate::Outcome;

/// Text of `--help`.
pub const HELP: &str = "\
Simulates features of many photos, computed in shards on many cores, and prints when the last shard ends.

Usage: cargo xtask scale [--KEY VALUE]…

  --photos 1e9        photos in all
  --cores 1000        cores, of which --per-node share a machine
  --per-node 32       cores of one machine; they fail together
  --ms 5              milliseconds of one core per photo: reading, decoding, the network
  --start 2           seconds before the first photo of each shard: the program, the weights, the list
  --spread 0.1        standard deviation of the logarithm of a core's speed
  --slow 0.01         share of machines that are three times slower than the others
  --mtbf 1000         hours between two failures of one machine, on average; what it was computing is lost
  --repair 300        seconds until a failed machine takes shards again
  --bytes 100000      bytes of one photo, for the rate of reading
  --values 1280       values of one feature vector, kept as f16
  --shards 1000,10000 photos in a shard, each tried
  --draws 5           how often each is drawn

A shard that was lost begins again elsewhere. Shards are taken in turn, and no shard is given to two cores.";

/// What is simulated.
struct World {
    photos: f64,
    cores: usize,
    per_node: usize,
    seconds_per_photo: f64,
    start: f64,
    spread: f64,
    slow: f64,
    mtbf: f64,
    repair: f64,
}

/// What came out of one draw.
struct Drawn {
    /// Seconds until the last shard ended.
    end: f64,
    /// Seconds of cores whose work was lost.
    lost: f64,
    /// Failures of machines.
    failures: usize,
}

/// Runs the command.
///
/// # Errors
/// An option is unknown or not a number.
pub fn run(arguments: &[String]) -> Outcome {
    let value = |key: &str, default: f64| -> Result<f64, String> {
        match text(arguments, key) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(value) if value >= 0.0 && f64::is_finite(value) => Ok(value),
                _ => Err(format!("--{key} takes a number that is not negative, not {text}")),
            },
        }
    };
    known(arguments)?;
    let world = World {
        photos: value("photos", 1e9)?,
        cores: value("cores", 1000.0)?.max(1.0) as usize,
        per_node: value("per-node", 32.0)?.max(1.0) as usize,
        seconds_per_photo: value("ms", 5.0)? / 1e3,
        start: value("start", 2.0)?,
        spread: value("spread", 0.1)?,
        slow: value("slow", 0.01)?,
        mtbf: value("mtbf", 1000.0)? * 3600.0,
        repair: value("repair", 300.0)?,
    };
    let draws = value("draws", 5.0)?.max(1.0) as u64;
    let ideal = world.photos * world.seconds_per_photo / world.cores as f64;
    let rate = world.photos / ideal;
    println!("{} photos on {} cores: {} if nothing fails and all are equal", world.photos, world.cores, time(ideal));
    println!("reading    {:.1} GB/s at {:.0} photos per second", rate * value("bytes", 1e5)? / 1e9, rate);
    println!("features   {:.1} TB as f16\n", world.photos * value("values", 1280.0)? * 2.0 / 1e12);
    println!(
        "{:>8} {:>12} {:>14} {:>14} {:>8} {:>10} {:>9}",
        "shard", "shards", "end, median", "end, worst", "over", "work lost", "failures"
    );
    for size in text(arguments, "shards").unwrap_or("1000,10000").split(',') {
        let size: f64 =
            size.parse().ok().filter(|size| *size >= 1.0).ok_or_else(|| format!("--shards: {size} is no size"))?;
        let mut drawn: Vec<Drawn> = (0..draws).map(|seed| world.draw(size, seed)).collect();
        drawn.sort_by(|a, b| a.end.total_cmp(&b.end));
        let (median, worst) = (&drawn[drawn.len() / 2], &drawn[drawn.len() - 1]);
        println!(
            "{size:>8} {:>12} {:>14} {:>14} {:>7.1}% {:>9.2}% {:>9}",
            (world.photos / size).ceil(),
            time(median.end),
            time(worst.end),
            100.0 * (median.end / ideal - 1.0),
            100.0 * median.lost / (median.end * world.cores as f64),
            median.failures
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl World {
    /// Draws the machines and their failures, and gives out shards of `size` photos until all are done.
    fn draw(&self, size: f64, seed: u64) -> Drawn {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ size as u64);
        let nodes = self.cores.div_ceil(self.per_node);
        // A machine's cores have its speed, and a little of their own.
        let node_speed: Vec<f64> =
            (0..nodes).map(|_| if random.uniform() < self.slow { 1.0 / 3.0 } else { 1.0 }).collect();
        let speed: Vec<f64> = (0..self.cores)
            .map(|core| node_speed[core / self.per_node] * (self.spread * random.normal()).exp())
            .collect();
        let mut next_failure: Vec<f64> = (0..nodes).map(|_| random.waiting(self.mtbf)).collect();
        let mut drawn = Drawn { end: 0.0, lost: 0.0, failures: 0 };
        let mut left = (self.photos / size).ceil();
        // When each core is free next, in microseconds, so that the order is total.
        let micro = |seconds: f64| Reverse((seconds * 1e6).ceil() as u64);
        let mut free: BinaryHeap<(Reverse<u64>, usize)> = (0..self.cores).map(|core| (micro(0.0), core)).collect();
        while left > 0.0 {
            let Some((Reverse(now), core)) = free.pop() else { break };
            let (now, node) = (now as f64 / 1e6, core / self.per_node);
            // The machine failed while this core had nothing to do, which harms nothing.
            while next_failure[node] + self.repair <= now + 1e-6 {
                next_failure[node] += self.repair + random.waiting(self.mtbf);
                drawn.failures += 1;
            }
            let failure = next_failure[node];
            if failure <= now {
                free.push((micro(failure + self.repair), core));
                continue;
            }
            let end = now + self.start + size * self.seconds_per_photo / speed[core];
            if failure < end {
                drawn.lost += failure - now;
                free.push((micro(failure + self.repair), core));
            } else {
                left -= 1.0;
                drawn.end = drawn.end.max(end);
                free.push((micro(end), core));
            }
        }
        drawn
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The standard normal distribution (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Seconds until the next event, if events come `mean` seconds apart on average. Without a mean they never come.
    fn waiting(&mut self, mean: f64) -> f64 {
        if mean == 0.0 { f64::INFINITY } else { -mean * (1.0 - self.uniform()).ln() }
    }
}

/// The value after `--key`.
fn text<'a>(arguments: &'a [String], key: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument.strip_prefix("--") == Some(key))?;
    arguments.get(at + 1).map(String::as_str)
}

/// Refuses what is no option.
fn known(arguments: &[String]) -> Result<(), String> {
    for pair in arguments.chunks(2) {
        let named =
            pair[0].strip_prefix("--").is_some_and(|key| !key.is_empty() && HELP.contains(&format!("\n  --{key} ")));
        match (named, pair.len()) {
            (true, 2) => {}
            (true, _) => return Err(format!("{} needs a value", pair[0])),
            (false, _) => return Err(format!("`cargo xtask scale` does not know {}", pair[0])),
        }
    }
    Ok(())
}

/// A duration in words.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: World = World {
        photos: 1e5,
        cores: 10,
        per_node: 2,
        seconds_per_photo: 0.01,
        start: 0.0,
        spread: 0.0,
        slow: 0.0,
        mtbf: 0.0,
        repair: 10.0,
    };

    #[test]
    fn equal_cores_that_never_fail_end_together() {
        let drawn = CALM.draw(1000.0, 1);
        assert!((drawn.end - 100.0).abs() < 1e-3 && drawn.failures == 0 && drawn.lost == 0.0, "{}", drawn.end);
    }

    #[test]
    fn failures_cost_what_was_being_computed_and_large_shards_cost_more() {
        let world = World { mtbf: 100.0, ..CALM };
        let [small, large] = [100.0, 5000.0].map(|size| world.draw(size, 1));
        assert!(small.failures > 0 && small.end > 100.0 && small.end < large.end && small.lost < large.lost);
    }

    #[test]
    fn all_options_of_the_help_are_taken_and_no_others() {
        let arguments = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        assert!(known(&arguments("--photos 1e6 --mtbf 10 --shards 10,20")).is_ok());
        assert!(known(&arguments("--pictures 3")).unwrap_err().contains("--pictures"));
        assert!(known(&arguments("--photos")).unwrap_err().contains("needs a value"));
    }
}
