use injerto_insight::Watch;
use injerto_insight::folds::Folds;
use injerto_insight::health::{Health, Photo, Pixels, Trait, shortcuts};

use crate::{classes, noise};

fn pixels(of: impl Fn(usize, usize) -> [u8; 3]) -> Pixels {
    let values = (0..40).flat_map(|row| (0..60).map(move |column| (row, column)));
    let values: Vec<u8> = values.flat_map(|(row, column)| of(row, column)).collect();
    Pixels::measure(60, 40, &values).unwrap()
}

fn photo(label: u32, pixels: Pixels) -> Photo {
    Photo { label, width: 60, height: 40, bytes: 900, format: "jpeg".into(), turned: false, pixels }
}

#[test]
fn pixels_say_how_light_sharp_and_coloured_a_photo_is() {
    let grey = pixels(|_, _| [100; 3]);
    assert!((grey.brightness - 100.0).abs() < 1e-9 && grey.contrast < 1e-5 && grey.sharpness < 1e-9 && grey.is_grey());
    let red = pixels(|_, _| [200, 0, 0]);
    assert!((red.brightness - 59.8).abs() < 1e-9 && red.colour == 200.0 && !red.is_grey());
    let sharp = pixels(|row, column| [if (row / 4 + column / 4) % 2 == 0 { 0 } else { 255 }; 3]);
    let soft = pixels(|row, column| [(127.0 + 127.0 * ((row + column) as f64 / 8.0).sin()) as u8; 3]);
    assert!(sharp.sharpness > 100.0 * soft.sharpness && sharp.contrast > 100.0, "{sharp:?}, {soft:?}");
    assert!(Pixels::measure(4, 4, &[0; 47]).is_err());
}

#[test]
fn conspicuous_photos_are_listed_the_worst_first() {
    let plain = |row: usize, column: usize| [(60 + (row * 7 + column * 13) % 120) as u8, 90, 40];
    let mut photos: Vec<Photo> = (0..12).map(|row| photo(u32::from(row > 8), pixels(plain))).collect();
    photos[3].pixels = pixels(|_, _| [20; 3]);
    photos[4].pixels = pixels(|_, _| [5, 5, 9]);
    photos[5].pixels = pixels(|_, _| [250; 3]);
    photos[6].turned = true;
    photos[7] = Photo { width: 90, format: "png".into(), ..photos[7].clone() };
    let health = Health::of(&photos, 2).unwrap();
    assert_eq!((health.n, &health.counts[..], health.imbalance), (12, &[9, 3][..], Some(3.0)));
    assert_eq!((health.dark, health.bright, health.turned), (vec![4, 3], vec![5], vec![6]));
    assert_eq!(health.grey, [3, 5], "one of the three flat photos has a tint");
    assert_eq!(health.blurred, [3, 4, 5]);
    assert_eq!((health.formats["jpeg"], health.formats["png"]), (11, 1));
    let width = health.width.unwrap();
    assert_eq!((width.least, width.median, width.most), (60.0, 60.0, 90.0));
    assert_eq!(health.baselines.majority, 0.75);
    assert_eq!(Health::of(&photos, 3).unwrap().imbalance, None);
    assert!(Health::of(&photos, 1).is_err());
}

#[test]
fn a_class_that_can_be_told_by_its_light_alone_is_a_warning() {
    let photos: Vec<Photo> = (0..120)
        .map(|row| {
            let brightness = 120.0 + 20.0 * noise(row, 0) + if row % 2 == 0 { 40.0 } else { 0.0 };
            let pixels = Pixels { brightness, contrast: 30.0, sharpness: 80.0 + 30.0 * noise(row, 1), colour: 60.0 };
            photo((row % 2) as u32, pixels)
        })
        .collect();
    let found = shortcuts(&photos, &classes(2), Folds::new(5, 1), Watch::none()).unwrap();
    assert_eq!(found.len(), 5);
    assert!(found[0].by == Trait::Light && found[0].gives_away && found[0].accuracy.mean > 0.9, "{found:?}");
    assert!(found[1..].iter().all(|it| !it.gives_away), "{found:?}");
}
