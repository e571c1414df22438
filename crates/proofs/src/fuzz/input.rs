//! Inputs that are nearly valid: valid files with some changes.

use super::form::Form;
use super::mutate::{Random, change};

/// Size limit of an input in bytes.
const LONGEST: usize = 1 << 17;

/// What the inputs of a target are made from.
pub struct Seeds {
    /// Files as they should be.
    pub good: Vec<Vec<u8>>,
    /// Inputs that a search by coverage found, most of which are refused.
    pub found: Vec<Vec<u8>>,
    /// How a file is changed within its form.
    pub form: Form,
}

impl Seeds {
    /// An input by its number: first all seeds as they are, then changes of them.
    pub fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let known = usize::try_from(number).ok().and_then(|number| self.all().nth(number));
        known.cloned().unwrap_or_else(|| self.changed(&mut Random::new(seed, number)))
    }

    /// All seeds.
    pub fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.good.iter().chain(&self.found)
    }

    /// A seed with some changes (or, rarely, without any). Half of the inputs come from good files, as a file that is broken
    /// already is refused before the change is reached. Most changes keep to the form of the file, for the same reason.
    fn changed(&self, random: &mut Random) -> Vec<u8> {
        let seeds = if self.found.is_empty() || random.below(2) == 0 { &self.good } else { &self.found };
        let seed = random.of(seeds);
        if random.below(64) == 0 {
            return seed.clone();
        }
        let formed = if random.below(4) > 0 { (self.form)(seed, random) } else { None };
        let mut bytes = formed.unwrap_or_else(|| {
            let mut bytes = seed.clone();
            for _ in 0..1 + random.below(6).min(random.below(6)) {
                let other: &Vec<u8> = random.of(seeds);
                change(&mut bytes, other, random);
            }
            bytes
        });
        bytes.truncate(LONGEST.max(seed.len()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_depends_only_on_its_seed_and_number_and_most_inputs_are_changed() {
        let [good, found] = [vec![b"{\"layers\": [1, 2, 3]}".to_vec()], vec![vec![0; 40]]];
        let seeds = Seeds { good, found, form: crate::fuzz::form::json };
        let all = |seed| (0..200).map(|number| seeds.input(seed, number)).collect::<Vec<_>>();
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        let changed = all(1).iter().filter(|&input| seeds.all().all(|known| known != input)).count();
        assert!((150..200).contains(&changed), "{changed} of 200");
    }
}
