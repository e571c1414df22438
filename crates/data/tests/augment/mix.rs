//! Mixed images and their targets.

use injerto_data::Label;
use injerto_data::augment::{Mix, MixOptions};

/// Three pictures of one colour each, mixed.
fn mixed(options: MixOptions, batch: u64, size: [usize; 2]) -> (Vec<f32>, Vec<Label>, Mix) {
    let length = size[0] * size[1] * 3;
    let mut pixels: Vec<f32> = [0.0, 100.0, 200.0].iter().flat_map(|&value| vec![value; length]).collect();
    let labels: Vec<Label> = [0, 2, 1].map(Label::Class).to_vec();
    let mix = options.mix(&mut pixels, &labels, size, (5, 1, batch)).expect("it is on");
    (pixels, labels, mix)
}

#[test]
fn mixup_mixes_pixels_and_labels_by_the_same_part() {
    let options = MixOptions { mixup: 0.4, cutmix: 0.0 };
    let mut parts = Vec::new();
    for batch in 0..2000 {
        let (pixels, labels, mix) = mixed(options, batch, [2, 2]);
        assert_eq!(mix.labels, [1, 2, 0], "the first with the last");
        let [p, _, q] = mix.parts[..] else { panic!("three") };
        assert!(pixels[..12].iter().all(|&x| (x - (1.0 - p) * 200.0).abs() < 1e-3));
        assert!(pixels[12..24].iter().all(|&x| x == 100.0), "the one in the middle is its own partner");
        assert!(pixels[24..].iter().all(|&x| (x - q * 200.0).abs() < 1e-3));
        let targets = mix.targets(&labels, 3);
        assert_eq!(targets[3..6], [0.0, 0.0, 1.0]);
        assert_eq!((targets[0], targets[1]), (p, 1.0 - p));
        assert!(targets.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        parts.extend([f64::from(p), f64::from(q)]);
    }
    assert_ne!(parts[0], parts[1]);
    // Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    check_beta(&parts, 0.4);
    assert_eq!(MixOptions::default().mix(&mut [], &[], [2, 2], (0, 0, 0)), None);
}

#[test]
fn of_images_with_several_classes_each_class_is_mixed_for_itself() {
    let labels = [Label::several([0, 2]), Label::several([]), Label::several([2])];
    let mix = Mix { labels: labels.iter().rev().cloned().collect(), parts: vec![0.75, 0.5, 0.25] };
    assert_eq!(mix.targets(&labels, 3), [0.75, 0.0, 1.0, 0.0, 0.0, 0.0, 0.75, 0.0, 1.0]);
}

#[track_caller]
fn check_beta(parts: &[f64], alpha: f64) {
    let count = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / count;
    let variance = parts.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
    assert!((mean - 0.5).abs() < 0.03, "alpha {alpha}: mean {mean}");
    assert!((variance / expected - 1.0).abs() < 0.08, "alpha {alpha}: variance {variance}, expected {expected}");
}

#[test]
fn parts_are_drawn_from_beta() {
    for alpha in [1e-3, 0.2, 1.0, 8.0] {
        let options = MixOptions { mixup: alpha, cutmix: 0.0 };
        let parts: Vec<f64> = (0..3000)
            .flat_map(|batch| {
                let parts = mixed(options, batch, [1, 1]).2.parts;
                [parts[0], parts[2]]
            })
            .map(f64::from)
            .collect();
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
        check_beta(&parts, alpha);
    }
}

#[test]
fn cutmix_puts_a_box_of_the_other_in_and_corrects_the_part() {
    let (size, mut parts) = ([16, 24], Vec::new());
    for batch in 0..500 {
        let (pixels, _, mix) = mixed(MixOptions { mixup: 0.0, cutmix: 1.0 }, batch, size);
        for (at, other, part) in [(0, 200.0, mix.parts[0]), (2, 0.0, mix.parts[2])] {
            let image = &pixels[at * 16 * 24 * 3..][..16 * 24 * 3];
            let inside: Vec<usize> = (0..16 * 24).filter(|pixel| image[pixel * 3] == other).collect();
            let left = 1.0 - inside.len() as f32 / (16.0 * 24.0);
            assert!((left - part).abs() < 1e-6, "{left} is left, {part} is said");
            // It is a box: its corners span as many pixels as there are.
            if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
                let columns = inside.iter().map(|pixel| pixel % 24);
                let width = columns.clone().max().expect("one") - columns.min().expect("one") + 1;
                assert_eq!((last / 24 - first / 24 + 1) * width, inside.len());
            }
            parts.push(part);
        }
        assert_eq!(mix.parts[1], 1.0);
    }
    assert!(parts.iter().any(|part| *part < 0.2) && parts.iter().any(|part| *part > 0.9));
}

#[test]
fn with_both_a_coin_decides_for_the_batch() {
    let options = MixOptions { mixup: 1.0, cutmix: 1.0 };
    let boxes = (0..400).filter(|&batch| {
        let (pixels, ..) = mixed(options, batch, [8, 8]);
        pixels.iter().all(|x| [0.0, 100.0, 200.0].contains(x))
    });
    assert!((150..250).contains(&boxes.count()));
}
