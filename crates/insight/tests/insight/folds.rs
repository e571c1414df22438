use std::collections::{HashMap, HashSet};

use injerto_insight::Watch;
use injerto_insight::folds::Folds;
use injerto_insight::probe::{CrossValidation, Strengths};

use crate::{noise, table, waves, with_images};

#[test]
fn every_class_is_dealt_equally_into_all_folds() {
    // The classes have 60, 25 and 13 images.
    let table = with_images(&waves(98, 3, 3), |row, image| image.label = u32::from(row >= 60) + u32::from(row >= 85));
    for seed in 0..5 {
        let dealt = Folds { count: 4, repeats: 3, seed }.deal(&table).unwrap();
        assert_eq!(dealt.len(), 3);
        for fold_of in &dealt {
            for (class, size) in [(0, 60_usize), (1, 25), (2, 13)] {
                for fold in 0..4 {
                    let inside = (0..98).filter(|&row| fold_of[row] == fold && table.images()[row].label == class);
                    assert!((size / 4..=size.div_ceil(4)).contains(&inside.count()), "class {class}, fold {fold}");
                }
            }
        }
        assert!(dealt[0] != dealt[1], "the divisions differ");
        assert_eq!(
            dealt,
            Folds { count: 4, repeats: 3, seed }.deal(&table).unwrap(),
            "the divisions follow from the seed"
        );
    }
}

#[test]
fn a_group_stands_in_one_fold_and_folds_stay_alike() {
    let table = with_images(&waves(200, 3, 2), |row, image| {
        image.label = u32::from(row % 5 < 2);
        image.group = (row < 150).then(|| format!("patient {}", row * 7 % 37 % 23));
    });
    let fold_of = &Folds::new(5, 3).deal(&table).unwrap()[0];
    let mut folds_of: HashMap<&str, HashSet<usize>> = HashMap::new();
    for (row, image) in table.images().iter().enumerate() {
        if let Some(group) = &image.group {
            folds_of.entry(group).or_default().insert(fold_of[row]);
        }
    }
    assert!(folds_of.values().all(|folds| folds.len() == 1), "{folds_of:?}");
    let share = |fold: usize| {
        let inside: Vec<usize> = (0..200).filter(|&row| fold_of[row] == fold).collect();
        let second = inside.iter().filter(|&&row| table.images()[row].label == 1).count();
        (inside.len(), second as f64 / inside.len() as f64)
    };
    for (size, share) in (0..5).map(share) {
        assert!((35..=45).contains(&size) && (share - 0.4).abs() < 0.06, "{size} images, {share} of the second class");
    }
}

#[test]
fn too_few_images_or_folds_are_refused() {
    let message = |count: usize| Folds::new(count, 1).deal(&waves(3, 2, 2)).unwrap_err().to_string();
    assert_eq!(message(5), "dealing images into folds needs at least 5 images or groups, and there are 3");
    assert_eq!(message(1), "the number of folds is 1, but it must be at least 2");
}

#[test]
fn bursts_do_not_make_an_accuracy_look_surer_than_it_is() {
    // Each photo occurs ten times. If images are divided one by one, copies in other folds reveal the label.
    let burst = |row: usize, column: usize| noise(row / 10, column);
    let single =
        with_images(&table(300, 20, 2, burst), |row, image| image.label = u32::from(noise(row / 10, 99) > 0.0));
    let grouped = with_images(&single, |row, image| image.group = Some((row / 10).to_string()));
    let accuracy = |table| {
        let strengths = Strengths::new(vec![1000.0]).unwrap();
        CrossValidation::run(table, Folds::new(5, 1), &strengths, Watch::none()).unwrap().accuracy
    };
    let (single, grouped) = (accuracy(&single), accuracy(&grouped));
    assert!(single.mean > grouped.mean + 0.1, "{single:?}, {grouped:?}");
    let width = |[low, high]: [f64; 2]| high - low;
    assert!(width(grouped.interval) > 2.0 * width(single.interval), "{single:?}, {grouped:?}");
}
