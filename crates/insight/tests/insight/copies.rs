use std::collections::BTreeSet;

use injerto_insight::leaks::{self, Across, Kind, Leak, Limits, moves};
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::picture::Picture;
use injerto_insight::{FeatureTable, Part, Watch};

use crate::{noise, table, with_images};

/// The brightness of a photo of blobs at a place in it, from 0 to 1 along each axis; `seed` says which photo.
fn scene(seed: usize, x: f64, y: f64) -> f64 {
    let blob = |at: usize| {
        let [left, top, size, light] = [0, 1, 2, 3].map(|number| noise(seed * 1000 + at, number));
        let radius = 0.12 + 0.08 * size;
        let distance = ((x - 0.5 - 0.5 * left).powi(2) + (y - 0.5 - 0.5 * top).powi(2)) / (radius * radius);
        90.0 * light * (-distance).exp()
    };
    (128.0 + (0..60).map(blob).sum::<f64>()).clamp(0.0, 255.0)
}

/// A photo of the part of a scene between two corners.
fn photo(seed: usize, width: usize, height: usize, from: [f64; 2], to: [f64; 2], mirrored: bool) -> Picture {
    let along =
        |at: usize, count: usize, axis: usize| from[axis] + (to[axis] - from[axis]) * (at as f64 + 0.5) / count as f64;
    let pixels = (0..height).flat_map(|row| (0..width).map(move |column| (row, column))).flat_map(|(row, column)| {
        let x = along(if mirrored { width - 1 - column } else { column }, width, 0);
        let value = scene(seed, x, along(row, height, 1));
        [value as u8, value as u8, (value * 0.9) as u8]
    });
    Picture::new(width, height, &pixels.collect::<Vec<u8>>()).unwrap()
}

fn whole(seed: usize) -> Picture {
    photo(seed, 200, 150, [0.0; 2], [1.0; 2], false)
}

#[test]
fn a_picture_is_known_again_after_it_was_rescaled_mirrored_or_cropped() {
    let check = |copy: Picture, mirrored: bool| {
        for agreement in [whole(1).agreement(&copy), copy.agreement(&whole(1))] {
            assert!(agreement.correlation > 0.9 && agreement.mirrored == mirrored, "{agreement:?}");
        }
        let other = whole(2).agreement(&copy);
        assert!(other.correlation < 0.7, "{other:?}");
    };
    check(whole(1), false);
    check(photo(1, 77, 133, [0.0; 2], [1.0; 2], false), false);
    check(photo(1, 200, 150, [0.0; 2], [1.0; 2], true), true);
    check(photo(1, 180, 135, [0.07, 0.02], [0.97, 0.92], false), false);
    check(photo(1, 180, 150, [0.1, 0.0], [1.0, 1.0], true), true);
    assert!(Picture::new(2, 2, &[0; 11]).is_err());
}

#[test]
fn pictures_of_one_colour_are_alike_only_if_the_colour_is() {
    let flat = |value: u8| Picture::new(3, 2, &[value; 18]).unwrap();
    assert_eq!(flat(10).agreement(&flat(10)).correlation, 1.0);
    assert_eq!(flat(10).agreement(&whole(1)).correlation, 0.0);
}

/// Sixty images that are far apart, except that images 50 to 59 resemble images 0 to 9.
fn with_copies() -> FeatureTable {
    let features = table(60, 16, 2, |row, column| {
        if row < 50 { noise(row, column) } else { noise(row - 50, column) + 0.03 * noise(row + 500, column) }
    });
    with_images(&features, |row, image| {
        image.label = u32::from(row == 51);
        image.part = if row >= 55 { Part::Validation } else { Part::Training };
    })
}

fn find(table: &FeatureTable, picture: impl Fn(usize) -> Option<Picture> + Sync) -> Vec<Leak> {
    let around = Neighbourhood::of(table, Watch::none()).unwrap();
    leaks::find(table, &around, Limits::default(), picture, Watch::none()).unwrap()
}

fn pairs(leaks: &[Leak]) -> Vec<(usize, usize)> {
    leaks.iter().map(|leak| (leak.a, leak.b)).collect()
}

#[test]
fn copies_are_found_and_those_across_the_split_come_first() {
    let table = with_copies();
    let found = find(&table, |_| None);
    let expected: BTreeSet<(usize, usize)> = (0..10).map(|row| (row, row + 50)).collect();
    assert_eq!(pairs(&found).into_iter().collect::<BTreeSet<_>>(), expected);
    let across: Vec<Across> = found.iter().map(Leak::across).collect();
    let expected = [vec![Across::Split; 5], vec![Across::Class], vec![Across::None; 4]].concat();
    assert_eq!(across, expected);
    assert_eq!((found[5].a, found[5].b), (1, 51), "one picture under two labels");
}

#[test]
fn features_that_are_near_are_no_copies_if_the_pixels_say_so() {
    // In two of the ten pairs, those of rows 53 and 57, the photos are different.
    let picture = |row: usize| Some(whole(if row == 53 || row == 57 { row } else { row % 50 }));
    let found = find(&with_copies(), picture);
    let expected: Vec<(usize, usize)> =
        (0..10).filter(|row| ![3, 7].contains(row)).map(|row| (row, row + 50)).collect();
    assert_eq!(pairs(&found).into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect());
    assert!(found.iter().all(|leak| leak.kind == Kind::Near && leak.correlation.unwrap() > 0.9));
}

#[test]
fn equal_content_is_an_exact_copy_whatever_the_features_say() {
    let table = with_images(&with_copies(), |row, image| {
        image.content = Some([if row == 59 { 20 } else { row as u8 }; 32]);
    });
    let found = find(&table, |_| None);
    let exact: Vec<&Leak> = found.iter().filter(|leak| leak.kind == Kind::Exact).collect();
    assert_eq!((exact.len(), exact[0].a, exact[0].b, exact[0].across()), (1, 20, 59, Across::Split));
    assert_eq!(found[0].kind, Kind::Exact, "exact copies come first");
    let alone = injerto_insight::leaks::exact(table.images());
    assert_eq!((alone.len(), (alone[0].a, alone[0].b), alone[0].similarity), (1, (20, 59), 1.0));
    // Copies of one photo are paired as a chain: fifty of them give 49 pairs, and not 1,225.
    let many = with_images(&with_copies(), |row, image| {
        (image.content, image.label, image.part) = ((row < 50).then_some([1; 32]), 0, Part::Training);
    });
    let found = find(&many, |_| None);
    assert_eq!(found.iter().filter(|leak| leak.kind == Kind::Exact).count(), 49);
}

#[test]
fn after_the_moves_no_picture_stands_on_two_sides() {
    let table = with_images(&with_copies(), |row, image| {
        image.part = [Part::Training, Part::Validation, Part::Test][row % 3];
    });
    let leaks = find(&table, |_| None);
    let moves = moves(table.images(), &leaks);
    let moved = with_images(&table, |row, image| {
        image.part = moves.iter().find(|it| it.0 == row).map_or(image.part, |it| it.1);
    });
    assert!(leaks.iter().any(|leak| leak.across_split));
    let left = find(&moved, |_| None);
    assert!(left.iter().all(|leak| !leak.across_split) && left.len() == leaks.len());
    assert!(moves.iter().all(|&(row, part)| part < table.images()[row].part), "nothing leaves training");
}

#[test]
fn a_dataset_in_which_all_photos_are_alike_is_not_a_dataset_of_copies() {
    let alike = table(80, 16, 2, |row, column| 5.0 + 0.2 * noise(row, column));
    let found = find(&alike, |_| None);
    assert!(found.is_empty(), "{found:?}");
}
