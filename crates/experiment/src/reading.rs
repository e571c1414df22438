//! How images are read for a network.

use injerto_config::Config;
use injerto_data::LoaderOptions;
use injerto_trainer::ModelCard;

/// How the training images of an experiment are read for the network of `card`, and changed at random.
pub fn training_images(config: &Config, card: &ModelCard) -> LoaderOptions {
    let (data, seed) = (&config.data, u64::from(config.seed));
    LoaderOptions {
        shuffle: data.shuffle.then_some(seed),
        augment: data.augment.clone(),
        mix: data.mix(),
        seed,
        ..pixels(card, data.batch_size)
    }
}

/// Options for reading images for the network of `card`, `batch_size` images per batch. Training, evaluation and prediction
/// use the same options.
pub(crate) fn pixels(card: &ModelCard, batch_size: usize) -> LoaderOptions {
    LoaderOptions {
        interpolation: card.interpolation,
        crop_to_aspect_ratio: card.crop_to_aspect_ratio,
        orientation: card.exif_orientation,
        scaled_decoding: card.scaled_decoding,
        ..LoaderOptions::new(card.image_size(), batch_size)
    }
}
