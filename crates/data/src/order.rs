//! In which order the images of an epoch come, and how often.

use std::collections::{BTreeMap, HashMap};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Label, Sample};

/// An image's place in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub image: usize,
    /// How often the image has come in the epoch before.
    pub repeat: u64,
}

/// The places of these images.
pub(crate) fn places(order: &[usize]) -> Vec<Place> {
    let mut seen = HashMap::new();
    let place = |&image: &usize| {
        let times = seen.entry(image).or_insert(0);
        *times += 1;
        Place { image, repeat: *times - 1 }
    };
    order.iter().map(place).collect()
}

/// The generator of an epoch's order.
pub(crate) fn generator(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch);
    random
}

pub(crate) fn shuffle<T>(items: &mut [T], random: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        // The upper half of a product is uniform enough below 2^64, and needs no rejection.
        let pick = ((u128::from(random.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        items.swap(last, pick);
    }
}

/// As many places as there are samples, of which each class has the same share. Where an image may have several, each set of classes is
/// taken as a class of its own.
pub(crate) fn balanced(samples: &[Sample], random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut of_class = BTreeMap::<&Label, Vec<usize>>::new();
    samples.iter().enumerate().for_each(|(at, sample)| of_class.entry(&sample.label).or_default().push(at));
    let mut classes: Vec<Vec<usize>> = of_class.into_values().collect();
    // The first classes have one place more if the places cannot be divided evenly; which ones these are changes.
    shuffle(&mut classes, random);
    let (each, rest) = (samples.len() / classes.len().max(1), samples.len() % classes.len().max(1));
    let mut order = Vec::with_capacity(samples.len());
    for (at, images) in classes.iter_mut().enumerate() {
        let mut left = each + usize::from(at < rest);
        while left > 0 {
            shuffle(images, random);
            let taken = left.min(images.len());
            order.extend_from_slice(&images[..taken]);
            left -= taken;
        }
    }
    shuffle(&mut order, random);
    order
}
