use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::ShardsError;

/// One of so many parts of the work, counted from 0: `3/8` is the fourth of eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard {
    of: u32,
    index: u32,
}

impl Shard {
    /// All of the work in one part.
    pub const WHOLE: Self = Self { of: 1, index: 0 };

    /// The variable of the environment that says how many shards there are, where the system that starts the processes does not.
    pub const COUNT: &str = "INJERTO_SHARDS";

    /// The part `index`, counted from 0, `of` so many.
    ///
    /// # Errors
    /// [`ShardsError::Shard`] unless `index` is below `of`.
    pub fn new(index: u32, of: u32) -> Result<Self, ShardsError> {
        match index < of {
            true => Ok(Self { of, index }),
            false => {
                let reason = if of == 0 {
                    "the number of shards is 0".to_owned()
                } else {
                    format!("shards are counted from 0, so that the last of {of} is {}", of - 1)
                };
                Err(ShardsError::Shard { given: format!("{index}/{of}"), reason })
            }
        }
    }

    /// The part that the environment says; `None` if it says nothing.
    ///
    /// | started by | which part | of how many |
    /// |---|---|---|
    /// | a SLURM array | `SLURM_ARRAY_TASK_ID`, counted from `SLURM_ARRAY_TASK_MIN` in steps of `SLURM_ARRAY_TASK_STEP` | `SLURM_ARRAY_TASK_COUNT` |
    /// | a Kubernetes Indexed Job | `JOB_COMPLETION_INDEX` | `INJERTO_SHARDS`, the job's `completions` |
    ///
    /// With `INJERTO_SHARDS`, the task's number in a SLURM array is the part itself, counted from 0: an array of the tasks that are
    /// missing, such as `--array=3,5`, then computes the parts 3 and 5.
    ///
    /// # Errors
    /// [`ShardsError::Environment`] if a variable is missing or is no number, and [`ShardsError::Shard`].
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ShardsError> {
        let number = |name: &'static str| -> Result<Option<u32>, ShardsError> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            let bad = |_| ShardsError::Environment {
                variable: name,
                reason: format!("expected a number from 0, found '{}'", injerto_files::printable(&text)),
            };
            text.parse().map(Some).map_err(bad)
        };
        let (completion, task, count) =
            (number("JOB_COMPLETION_INDEX")?, number("SLURM_ARRAY_TASK_ID")?, number(Self::COUNT)?);
        match (completion, task, count) {
            (Some(index), _, Some(of)) | (None, Some(index), Some(of)) => Self::new(index, of).map(Some),
            (Some(_), _, None) => Err(ShardsError::Environment {
                variable: "JOB_COMPLETION_INDEX",
                reason: format!(
                    "Kubernetes says which shard this is, and not how many there are; set {} to the job's completions, or \
                     give --shard I/N",
                    Self::COUNT
                ),
            }),
            (None, Some(task), None) => {
                let need = |name: &'static str| -> Result<u32, ShardsError> {
                    number(name)?.ok_or_else(|| ShardsError::Environment {
                        variable: name,
                        reason: format!(
                            "it is not set, although SLURM_ARRAY_TASK_ID is; give --shard I/N, or set {}",
                            Self::COUNT
                        ),
                    })
                };
                let (of, first) = (need("SLURM_ARRAY_TASK_COUNT")?, need("SLURM_ARRAY_TASK_MIN")?);
                let step = number("SLURM_ARRAY_TASK_STEP")?.filter(|step| *step > 0).unwrap_or(1);
                let last = number("SLURM_ARRAY_TASK_MAX")?;
                let gaps = last.is_some_and(|last| last.saturating_sub(first) / step + 1 != of);
                let beside = task < first || !(task - first).is_multiple_of(step);
                if gaps || beside {
                    return Err(ShardsError::Environment {
                        variable: "SLURM_ARRAY_TASK_ID",
                        reason: format!(
                            "the array has gaps, so that its tasks do not say how many shards there are; set {} to their \
                             number, and the numbers of the tasks are then the shards, counted from 0",
                            Self::COUNT
                        ),
                    });
                }
                Self::new((task - first) / step, of).map(Some)
            }
            (None, None, Some(_)) => Err(ShardsError::Environment {
                variable: Self::COUNT,
                reason: "it says how many shards there are, and nothing says which one this is; give --shard I/N"
                    .to_owned(),
            }),
            (None, None, None) => Ok(None),
        }
    }

    /// Number of this part, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Number of all parts.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether a photo with this key belongs to the part. The key alone decides: its SHA-256, of which the first eight bytes are a
    /// number (big-endian), modulo the number of parts. So a photo stays in its part whatever other photos come and go.
    pub fn holds(self, key: &str) -> bool {
        let hash = Sha256::digest(key);
        let number = u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"));
        number % u64::from(self.of) == u64::from(self.index)
    }

    /// Whether the archive or table in this place of the sorted list belongs to the part: they are dealt one by one, in turn.
    pub fn holds_place(self, place: usize) -> bool {
        place % self.of as usize == self.index as usize
    }

    /// Name of the part's file: `shard-00003-of-00008.parquet`.
    pub fn file(self) -> String {
        format!("shard-{:05}-of-{:05}.parquet", self.index, self.of)
    }

    /// The part whose file has this name.
    pub fn of_file(name: &str) -> Option<Self> {
        let (index, of) = name.strip_prefix("shard-")?.strip_suffix(".parquet")?.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, of.parse().ok()?).ok()?;
        (shard.file() == name).then_some(shard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardsError;

    fn from_str(text: &str) -> Result<Self, ShardsError> {
        let bad = |reason: &str| ShardsError::Shard { given: text.to_owned(), reason: reason.to_owned() };
        let (index, of) = text.split_once('/').ok_or_else(|| bad("there is no '/' in it"))?;
        let number = |text: &str| text.parse().map_err(|_| bad("these are not two numbers"));
        Self::new(number(index)?, number(of)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let of = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        Shard::from_environment(of).map(|shard| shard.map(|shard| shard.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn shards_are_counted_from_0() {
        assert_eq!(
            "3/8".parse::<Shard>().map(|shard| shard.file()).ok().as_deref(),
            Some("shard-00003-of-00008.parquet")
        );
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Shard>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("8/8", "the last of 8 is 7");
        check("0/0", "the number of shards is 0");
        check("3", "no '/'");
        check("-1/8", "not two numbers");
    }

    #[test]
    fn a_task_of_a_slurm_array_knows_its_shard() {
        let array =
            |id: &'static str, min: &'static str, max: &'static str, step: &'static str, count: &'static str| {
                environment(&[
                    ("SLURM_ARRAY_TASK_ID", id),
                    ("SLURM_ARRAY_TASK_MIN", min),
                    ("SLURM_ARRAY_TASK_MAX", max),
                    ("SLURM_ARRAY_TASK_STEP", step),
                    ("SLURM_ARRAY_TASK_COUNT", count),
                ])
            };
        assert_eq!(array("3", "0", "7", "1", "8"), Ok(Some("3/8".to_owned())), "--array=0-7");
        assert_eq!(array("8", "1", "8", "1", "8"), Ok(Some("7/8".to_owned())), "--array=1-8");
        assert_eq!(array("4", "0", "6", "2", "4"), Ok(Some("2/4".to_owned())), "--array=0-6:2");
        let gaps = array("3", "1", "7", "1", "3").expect_err("--array=1,3,7");
        assert!(gaps.contains("INJERTO_SHARDS"), "{gaps}");
    }

    #[test]
    fn a_task_that_is_started_again_alone_computes_its_own_shard() {
        let again = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "1"), ("INJERTO_SHARDS", "8")];
        assert_eq!(environment(&again), Ok(Some("3/8".to_owned())));
    }

    #[test]
    fn kubernetes_says_which_shard_and_injerto_shards_of_how_many() {
        assert_eq!(environment(&[("JOB_COMPLETION_INDEX", "5"), ("INJERTO_SHARDS", "8")]), Ok(Some("5/8".to_owned())));
        let error = environment(&[("JOB_COMPLETION_INDEX", "5")]).expect_err("of how many?");
        assert!(error.contains("INJERTO_SHARDS"), "{error}");
        assert_eq!(environment(&[]), Ok(None));
        let error = environment(&[("JOB_COMPLETION_INDEX", "five"), ("INJERTO_SHARDS", "8")]).expect_err("no number");
        assert!(error.contains("'five'"), "{error}");
    }

    #[test]
    fn each_photo_is_in_one_shard_and_its_key_alone_says_in_which() {
        let of = |key: &str| (0..8).filter(|&index| Shard { of: 8, index }.holds(key)).collect::<Vec<_>>();
        let mut counts = [0; 8];
        for photo in 0..8000 {
            let found = of(&format!("cats/{photo}.jpg"));
            assert_eq!(found.len(), 1);
            counts[found[0] as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        // A fixed example, so that the rule stays what it is.
        assert_eq!(of("cats/0001.jpg"), [number("cats/0001.jpg") as u32]);
    }

    /// The same rule by other means: the remainder of the first sixteen hexadecimal digits.
    fn number(key: &str) -> u64 {
        let digits = injerto_files::hex(Sha256::digest(key));
        u64::from_str_radix(&digits[..16], 16).expect("hexadecimal digits") % 8
    }
}
