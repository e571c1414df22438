//! `[sweep]`: which experiments `injerto sweep` tries.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Serialize, Serializer};

use crate::limits;
use crate::reader::{Field, Section, boolean, count, one_or_more, text};
use crate::tree::{Node, Value};

/// The most trials of a sweep.
pub const MOST_TRIALS: usize = 10_000;

/// `[sweep]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepConfig {
    /// Keys of which every value is tried with every value of the others.
    #[serde(serialize_with = "by_key", skip_serializing_if = "Vec::is_empty")]
    pub grid: Vec<Axis<Listed>>,
    /// Keys whose values are drawn at random, for each trial anew.
    #[serde(serialize_with = "by_key", skip_serializing_if = "Vec::is_empty")]
    pub random: Vec<Axis<Drawn>>,
    /// How often the keys of `random` are drawn. With a `grid`, each of its points is tried with each draw.
    pub trials: usize,
    /// Whether successive halving gives most epochs to the trials that are the best after few.
    pub halving: bool,
    /// Trials that run at the same time; `None`: as many as pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
}

impl SweepConfig {
    /// Number of draws where the experiment does not say it.
    pub const TRIALS: usize = 20;
}

/// A key of an experiment, and the values that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis<V> {
    /// The dotted key, as `--set` takes it.
    pub key: String,
    /// Its values.
    pub values: V,
}

/// Values, each as `--set` takes it. There is at least one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Listed(Vec<String>);

/// Where values are drawn from, uniformly.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawn {
    /// From a list.
    From(Listed),
    /// From all numbers between two limits, both included.
    Between {
        /// Lower limit.
        low: f64,
        /// Upper limit.
        high: f64,
        /// Whether the logarithm is what is uniform, so that each power of ten is as probable as the next.
        log: bool,
        /// Whether only whole numbers are drawn.
        whole: bool,
    },
}

/// How the values of a range are written.
const RANGE: &str = "LOW..HIGH or LOW..HIGH:log, such as 1e-5..1e-1:log";

impl Axis<Listed> {
    /// Reads `KEY=VALUE,VALUE`. Commas inside brackets, braces and quotes belong to a value.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn listed(argument: &str) -> Result<Self, String> {
        let (key, values) = keyed(argument, "KEY=VALUE,VALUE")?;
        Ok(Self { key, values: Listed::parse(values)? })
    }
}

impl Axis<Drawn> {
    /// Reads `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log` or `KEY=VALUE,VALUE`. Where both limits are whole numbers without a point, whole
    /// numbers are drawn.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn drawn(argument: &str) -> Result<Self, String> {
        let (key, values) = keyed(argument, "KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=VALUE,VALUE")?;
        Ok(Self { key, values: Drawn::parse(values)? })
    }
}

fn keyed<'a>(argument: &'a str, form: &str) -> Result<(String, &'a str), String> {
    let (key, values) = argument.split_once('=').ok_or_else(|| format!("'{argument}' has no '='; write {form}"))?;
    Ok((swept(key.trim())?, values.trim()))
}

/// A key that a sweep may change.
fn swept(key: &str) -> Result<String, String> {
    let table = key.split('.').next().unwrap_or_default();
    match table {
        "" => Err("a sweep needs a key, such as head.dropout".to_owned()),
        "name" | "sweep" | "extends" => Err(format!("`{key}` cannot be swept: it does not change what is trained")),
        "transfer_gain" => Err(format!("`{key}` cannot be swept: trials are not compared with training from scratch")),
        _ => Ok(key.to_owned()),
    }
}

impl Listed {
    /// Values that are separated by commas.
    fn parse(text: &str) -> Result<Self, String> {
        let (mut values, mut depth, mut quote) = (vec![String::new()], 0_usize, None);
        for c in text.chars() {
            match c {
                ',' if depth == 0 && quote.is_none() => {
                    values.push(String::new());
                    continue;
                }
                '"' | '\'' if quote.is_none() => quote = Some(c),
                c if quote == Some(c) => quote = None,
                '[' | '{' if quote.is_none() => depth += 1,
                ']' | '}' if quote.is_none() => depth = depth.saturating_sub(1),
                _ => {}
            }
            values.last_mut().expect("there is one").push(c);
        }
        Self::new(values.into_iter().map(|value| value.trim().to_owned()).collect())
    }

    fn new(values: Vec<String>) -> Result<Self, String> {
        if values.iter().any(String::is_empty) {
            return Err("a value is empty".to_owned());
        }
        match (1..values.len()).find(|&at| values[..at].contains(&values[at])) {
            Some(twice) => Err(format!("the value {} stands there twice", values[twice])),
            None => Ok(Self(values)),
        }
    }

    /// The values, as `--set` takes them.
    pub fn values(&self) -> &[String] {
        &self.0
    }
}

impl Drawn {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((low, rest)) = text.split_once("..") else { return Listed::parse(text).map(Self::From) };
        let (high, log) = match rest.split_once(':') {
            Some((high, "log")) => (high, true),
            Some((_, other)) => return Err(format!("a range has no '{other}'; write {RANGE}")),
            None => (rest, false),
        };
        let whole = [low, high].iter().all(|limit| limit.trim().parse::<i64>().is_ok());
        let limit = |text: &str| text.trim().parse().ok().filter(|limit: &f64| limit.is_finite());
        match (limit(low), limit(high)) {
            (Some(low), Some(high)) if low >= high => Err(format!("the range {text} is empty; write {RANGE}")),
            (Some(low), Some(_)) if log && low <= 0.0 => {
                Err(format!("the range {text} has no logarithm: its lower limit must be above 0"))
            }
            (Some(low), Some(high)) => Ok(Self::Between { low, high, log, whole }),
            _ => Err(format!("'{text}' is no range; write {RANGE}")),
        }
    }

    /// A value, as `--set` takes it. A number has four digits, so that it can be read and written down.
    fn draw(&self, random: &mut ChaCha8Rng) -> String {
        let uniform = f64::from(random.next_u32()) / f64::from(u32::MAX);
        match self {
            Self::From(listed) => {
                let values = listed.values();
                values[((uniform * values.len() as f64) as usize).min(values.len() - 1)].clone()
            }
            &Self::Between { low, high, log, whole } => {
                let (from, to) = if whole { (low - 0.5, high + 0.5) } else { (low, high) };
                let value = match log {
                    true => (from.max(low / 2.0).ln() + uniform * (to.ln() - from.max(low / 2.0).ln())).exp(),
                    false => from + uniform * (to - from),
                };
                match whole {
                    true => format!("{:.0}", value.round().clamp(low, high)),
                    false => {
                        let short: f64 = format!("{value:.3e}").parse().unwrap_or(value);
                        toml::Value::Float(short.clamp(low, high)).to_string()
                    }
                }
            }
        }
    }
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::From(listed) => f.write_str(&listed.0.join(",")),
            Self::Between { low, high, log, whole } => {
                let limit = |limit: f64| match whole {
                    true => format!("{limit:.0}"),
                    false => toml::Value::Float(limit).to_string(),
                };
                write!(f, "{}..{}{}", limit(*low), limit(*high), if *log { ":log" } else { "" })
            }
        }
    }
}

impl Serialize for Drawn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::From(listed) => listed.serialize(serializer),
            Self::Between { .. } => serializer.collect_str(self),
        }
    }
}

fn by_key<S: Serializer, V: Serialize>(axes: &[Axis<V>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(axes.iter().map(|axis| (&axis.key, &axis.values)))
}

impl SweepConfig {
    /// What each trial sets, as `--set` takes it: all points of the grid in the order in which they are written, the last key changing
    /// the fastest; each with every draw. With the same seed, more trials begin with the same draws.
    ///
    /// # Errors
    /// No keys, a key twice, or more than [`MOST_TRIALS`], in words.
    pub fn trials(&self, seed: u32) -> Result<Vec<Vec<String>>, String> {
        let keys: Vec<&str> =
            self.grid.iter().map(|axis| &*axis.key).chain(self.random.iter().map(|axis| &*axis.key)).collect();
        if keys.is_empty() {
            return Err(
                "a sweep needs keys: `--grid KEY=VALUE,VALUE`, `--random KEY=LOW..HIGH`, or a table `[sweep]` in \
                        the experiment"
                    .to_owned(),
            );
        }
        if let Some(twice) = (1..keys.len()).find(|&at| keys[..at].contains(&keys[at])) {
            return Err(format!("`{}` is swept twice", keys[twice]));
        }
        let below = |key: &str, table: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        let clash = keys.iter().flat_map(|table| keys.iter().map(move |key| (table, key)));
        if let Some((table, key)) = clash.into_iter().find(|(table, key)| below(key, table)) {
            return Err(format!(
                "`{table}` and `{key}` cannot both be swept: a value of the first takes the place of the second; sweep keys \
                 inside `{table}`, such as `{table}.name`"
            ));
        }
        let points = self.grid.iter().map(|axis| axis.values.values().len()).fold(1, usize::saturating_mul);
        let draws = if self.random.is_empty() { 1 } else { self.trials };
        if points.saturating_mul(draws) > MOST_TRIALS {
            return Err(format!(
                "the sweep has {} trials, and {MOST_TRIALS} are the most; `--random` draws some of them",
                points.saturating_mul(draws)
            ));
        }
        let set = |key: &str, value: &str| format!("{key}={value}");
        let mut grid: Vec<Vec<String>> = vec![Vec::new()];
        for axis in &self.grid {
            let longer = |sets: &Vec<String>| {
                let each = axis.values.values().iter();
                each.map(|value| [sets.as_slice(), &[set(&axis.key, value)]].concat()).collect::<Vec<_>>()
            };
            grid = grid.iter().flat_map(longer).collect();
        }
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(seed));
        let mut draw = || -> Vec<String> {
            self.random.iter().map(|axis| set(&axis.key, &axis.values.draw(&mut random))).collect()
        };
        let draws: Vec<Vec<String>> = (0..draws).map(|_| draw()).collect();
        Ok(draws.iter().flat_map(|drawn| grid.iter().map(|point| [point.as_slice(), drawn].concat())).collect())
    }
}

/// `[sweep]`.
pub(crate) fn sweep(field: &Field<'_>) -> Option<SweepConfig> {
    let mut s: Section<'_> = field.section()?;
    let grid = s.or("grid", Vec::new(), |field| {
        axes(field, |field| {
            let values = one_or_more(|field: &Field<'_>| Some(written(field.node)))(field)?;
            Listed::new(values).map_or_else(|reason| field.wrong(reason, None), Some)
        })
    });
    let random = s.or("random", Vec::new(), |field| {
        axes(field, |field| {
            let drawn = match &field.node.value {
                Value::Array(_) => {
                    let values = one_or_more(|field: &Field<'_>| Some(written(field.node)))(field)?;
                    Listed::new(values).map(Drawn::From)
                }
                _ => Drawn::parse(&text(field)?),
            };
            drawn.map_or_else(|reason| field.wrong(reason, None), Some)
        })
    });
    let trials = s.or("trials", SweepConfig::TRIALS, count(MOST_TRIALS as i64));
    let halving = s.or("halving", false, boolean);
    let jobs = s.optional("jobs", count(limits::JOBS));
    s.finish();
    Some(SweepConfig { grid: grid?, random: random?, trials: trials?, halving: halving?, jobs: jobs? })
}

/// A table of keys with what they are swept over. Keys in quotes and nested tables mean the same.
fn axes<'n, V>(field: &Field<'n>, values: impl Fn(&Field<'n>) -> Option<V>) -> Option<Vec<Axis<V>>> {
    let (mut found, mut whole) = (Vec::new(), true);
    let mut waiting = vec![(String::new(), field.clone())];
    while let Some((key, field)) = waiting.pop() {
        match field.node.table() {
            Some(entries) => {
                let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
                // In reverse, so that they are found in the order in which they are written.
                let entries = entries.iter().rev();
                waiting.extend(entries.map(|entry| (below(&entry.key), field.child(&entry.key, &entry.node))));
            }
            None if key.is_empty() => return field.must_be("a table of keys", None),
            None => {
                let key = swept(&key).map_or_else(|reason| field.wrong(reason, None), Some);
                match key.zip(values(&field)) {
                    Some((key, values)) => found.push(Axis { key, values }),
                    None => whole = false,
                }
            }
        }
    }
    whole.then_some(found)
}

/// A value as `--set` takes it.
fn written(node: &Node) -> String {
    match &node.value {
        // A shell's quotes are enough.
        Value::String(text) => text.clone(),
        _ => inline(node),
    }
}

/// A value as TOML in one line.
fn inline(node: &Node) -> String {
    match &node.value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => toml::Value::Float(*number).to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) => {
            let entry = |entry: &crate::tree::Entry| {
                format!("{} = {}", toml::Value::String(entry.key.clone()), inline(&entry.node))
            };
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grid: &[&str], random: &[&str], trials: usize) -> SweepConfig {
        SweepConfig {
            grid: grid.iter().map(|text| Axis::listed(text).expect("a list")).collect(),
            random: random.iter().map(|text| Axis::drawn(text).expect("a range")).collect(),
            trials,
            halving: false,
            jobs: None,
        }
    }

    #[test]
    fn a_grid_tries_every_value_with_every_other_and_a_value_may_be_a_list() {
        let sweep = of(&["head.dense=[],[128, 64]", "phases.0.optimizer={ name = 'adam' },sgd"], &[], 1);
        let trials = sweep.trials(1).expect("four");
        let first = ["head.dense=[]", "phases.0.optimizer={ name = 'adam' }"];
        assert_eq!((trials.len(), &trials[0][..]), (4, &first.map(str::to_owned)[..]));
        assert_eq!(trials[3], ["head.dense=[128, 64]", "phases.0.optimizer=sgd"]);
    }

    #[test]
    fn draws_stay_in_their_range_and_more_trials_begin_with_the_same() {
        let random = ["a.rate=1e-5..1e-1:log", "a.units=8..16", "a.drop=0.0..0.5", "a.word=x,y"];
        let some = of(&[], &random, 50).trials(7).expect("fifty");
        assert_eq!(some, of(&[], &random, 80).trials(7).expect("eighty")[..50]);
        assert_ne!(some, of(&[], &random, 50).trials(8).expect("others"));
        let values = |at: usize| some.iter().map(move |sets| sets[at].split_once('=').expect("a set").1);
        let numbers = |at: usize| values(at).map(|text| text.parse::<f64>().expect("a number"));
        assert!(numbers(0).all(|rate| (1e-5..=1e-1).contains(&rate)));
        // Half of the draws lie below the middle of the logarithms.
        let below = numbers(0).filter(|rate| *rate < 1e-3).count();
        assert!((10..40).contains(&below), "{below}");
        assert!(numbers(1).all(|units| (8.0..=16.0).contains(&units) && units.fract() == 0.0));
        assert!(numbers(2).all(|drop| (0.0..=0.5).contains(&drop)));
        assert!(values(3).any(|word| word == "x") && values(3).any(|word| word == "y"));
    }

    #[test]
    fn each_point_of_a_grid_is_tried_with_each_draw() {
        let trials = of(&["a=1,2"], &["b=0..9"], 3).trials(1).expect("six");
        assert_eq!(trials.len(), 6);
        assert_eq!(
            (&trials[0][1], &trials[0][0], &trials[1][0]),
            (&trials[1][1], &"a=1".to_owned(), &"a=2".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_swept_is_refused_with_the_form_that_can() {
        let check = |found: Result<(), String>, part: &str| {
            let error = found.expect_err(part);
            assert!(error.contains(part), "{error}");
        };
        check(Axis::listed("head.dropout").map(drop), "has no '='; write KEY=VALUE,VALUE");
        check(Axis::listed("head.dropout=0.1,,0.2").map(drop), "a value is empty");
        check(Axis::listed("head.dropout=0.1,0.1").map(drop), "stands there twice");
        check(Axis::listed("name=a,b").map(drop), "`name` cannot be swept");
        check(Axis::drawn("a=1..0").map(drop), "is empty");
        check(Axis::drawn("a=0..1:log").map(drop), "has no logarithm");
        check(Axis::drawn("a=1..2:linear").map(drop), "1e-5..1e-1:log");
        check(Axis::drawn("a=x..2").map(drop), "is no range");
        check(of(&[], &[], 1).trials(1).map(drop), "`--grid KEY=VALUE,VALUE`");
        check(of(&["a=1"], &["a=1..2"], 1).trials(1).map(drop), "`a` is swept twice");
        check(
            of(&["p.optimizer=adam,sgd"], &["p.optimizer.learning_rate=0.1..1.0"], 2).trials(1).map(drop),
            "`p.optimizer.name`",
        );
        check(of(&["a=1,2"], &["b=1..2"], 9_999).trials(1).map(drop), "19998 trials, and 10000 are the most");
    }
}
