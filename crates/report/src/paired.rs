//! Two runs on the same photos: whether their accuracies can be told apart.

use std::collections::HashMap;
use std::path::Path;

use injerto_experiment::RunFolder;
use injerto_files::csv;
use injerto_insight::stats::{Bootstrap, Estimate, Paired};

use crate::words::grouped;

/// Probability with which the photos that are needed would tell two runs apart.
const POWER: f64 = 0.8;

/// The prediction of a run's best epoch for a photo.
type Answer = (String, String);

/// The predictions of a run's best epoch for the validation photos.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Label and predicted class by the photo's path below the root.
    photos: HashMap<String, Answer>,
    /// The beginning of each file's SHA-256, as far as it is known.
    contents: HashMap<String, String>,
}

impl Answers {
    /// Reads `predictions.csv` and `split.csv` in the folder of a run; `None` if there are no predictions, as in a run of an earlier
    /// version or without validation photos.
    pub fn load(folder: &Path) -> Option<Self> {
        let rows = |name: &str| -> Option<Vec<Vec<String>>> {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            Some(csv::lines(&text).ok()?.into_iter().skip(1).map(|(_, row)| row).collect())
        };
        let three =
            |row: Vec<String>| -> Option<[String; 3]> { row.into_iter().take(3).collect::<Vec<_>>().try_into().ok() };
        let photos =
            rows(RunFolder::PREDICTIONS)?.into_iter().map(|row| three(row).map(|[path, is, said]| (path, (is, said))));
        let contents = rows(RunFolder::SPLIT).unwrap_or_default().into_iter();
        let contents = contents.filter_map(|row| Some((row.first()?.clone(), row.get(3)?.clone())));
        Some(Self { photos: photos.collect::<Option<_>>()?, contents: contents.collect() })
    }

    /// Whether each of two runs was right, on the photos that both judged; `None` if there are none.
    pub(crate) fn beside(&self, other: &Self) -> Option<Paired> {
        let same = |path: &str| match (self.contents.get(path), other.contents.get(path)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        let both = self.photos.iter().filter_map(|(path, (is, said))| {
            let (theirs, other) = other.photos.get(path)?;
            (is == theirs && same(path)).then_some((said == is, other == is))
        });
        let (ours, theirs): (Vec<bool>, Vec<bool>) = both.unzip();
        Paired::new(&ours, &theirs).ok().filter(|paired| paired.n() > 0)
    }
}

/// Two runs on the photos that both judged.
#[derive(Debug, Clone)]
pub struct Duel {
    /// How often both, either or neither was right.
    pub paired: Paired,
    /// How much more accurate the first is, with the interval of the paired bootstrap.
    pub difference: Estimate,
}

impl Duel {
    /// The first run beside the second; `None` if they judged no photo in common.
    pub fn new(first: &Answers, second: &Answers) -> Option<Self> {
        let paired = first.beside(second)?;
        Some(Self { paired, difference: paired.difference(Bootstrap::new(0)) })
    }

    /// The judgement in a sentence: whether `first` and `second` can be told apart, and how many photos it would take.
    pub fn in_words(&self, first: &str, second: &str) -> String {
        let Self { paired, difference: Estimate { value, interval: [low, high], n } } = self;
        let figures = format!(
            "difference {value:+.4} ({low:+.4} to {high:+.4}), p = {:.3}, n = {}: only {first} is right on {}, only {second} on {}",
            paired.p_value(),
            grouped(*n),
            grouped(paired.only_first),
            grouped(paired.only_second)
        );
        let verdict = match paired.distinguishable() {
            true if *value > 0.0 => format!("{first} is better than {second}"),
            true => format!("{second} is better than {first}"),
            false => {
                let needed = match paired.photos_needed(POWER) {
                    Some(needed) => format!("; it would take about {}", grouped(rounded(needed))),
                    None => ", because they are right equally often".to_owned(),
                };
                format!("{first} and {second} cannot be told apart on {} photos{needed}", grouped(*n))
            }
        };
        format!("{verdict} ({figures})")
    }
}

/// A number to two digits, because it is an estimate.
fn rounded(number: usize) -> usize {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(right: impl Fn(usize) -> bool) -> Answers {
        let photo = |at: usize| {
            let said = if right(at) { "cats" } else { "dogs" };
            (format!("cats/{at}.jpg"), ("cats".to_owned(), said.to_owned()))
        };
        Answers { photos: (0..1000).map(photo).collect(), contents: HashMap::new() }
    }

    #[test]
    fn two_runs_that_differ_on_a_few_photos_cannot_be_told_apart() {
        // 26 and 30 of 1,000 are wrong, and 20 of these are the same.
        let (first, second) = (answers(|at| at >= 26), answers(|at| !(6..36).contains(&at)));
        let duel = Duel::new(&first, &second).expect("the same photos");
        assert_eq!((duel.paired.only_first, duel.paired.only_second, duel.paired.n()), (10, 6, 1000));
        let words = duel.in_words("wide", "narrow");
        assert!(
            words.starts_with("wide and narrow cannot be told apart on 1,000 photos; it would take about 7,"),
            "{words}"
        );
        assert!(words.contains("difference +0.0040 (") && words.contains("p = 0.454, n = 1,000"), "{words}");
        let even = Duel::new(&first, &first).expect("the same photos").in_words("a", "b");
        assert!(
            even.starts_with("a and b cannot be told apart on 1,000 photos, because they are right equally often"),
            "{even}"
        );
    }

    #[test]
    fn a_run_that_is_right_on_many_more_photos_is_better() {
        let (first, second) = (answers(|at| at >= 100), answers(|at| at >= 20));
        let words = Duel::new(&first, &second).expect("the same photos").in_words("a", "b");
        assert!(words.starts_with("b is better than a (difference -0.0800 ("), "{words}");
    }

    #[test]
    fn only_photos_that_both_have_judged_count_and_other_files_of_the_same_name_do_not() {
        let (mut first, mut second) = (answers(|_| true), answers(|_| false));
        first.photos.retain(|path, _| !path.ends_with("9.jpg"));
        second.photos.insert("dogs/1.jpg".to_owned(), ("dogs".to_owned(), "dogs".to_owned()));
        assert_eq!(Duel::new(&first, &second).expect("common photos").paired.n(), 900);
        first.contents.insert("cats/1.jpg".to_owned(), "01".to_owned());
        second.contents.insert("cats/1.jpg".to_owned(), "02".to_owned());
        assert_eq!(Duel::new(&first, &second).expect("common photos").paired.n(), 899);
        assert!(Duel::new(&first, &Answers::default()).is_none());
    }
}
