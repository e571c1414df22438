//! A check before training: are the pixels of the first images scaled as in the training of the weights?

use injerto_backbones::network::distance_from_training;
use injerto_backbones::resolve::Resolved;
use injerto_config::InputScale;
use injerto_graph::{Graph, Preprocessing};

use crate::Prepared;

/// Number of images in the check.
const IMAGES: usize = 16;

/// Distance (see [`distance_from_training`]) beyond which images are probably scaled differently than in training.
const FAR: f64 = 0.6;

/// Another scaling is suggested only if it reduces the distance to less than this share.
const CLOSER: f64 = 0.5;

/// A warning if another scaling of the pixels fits the statistics in the weights far better; it names the key that sets that
/// scaling. There is no warning for weights that state their scaling, for networks without batch normalisation, and for
/// images that cannot be read (training reports those).
pub(crate) fn warning(prepared: &Prepared, resolved: &Resolved) -> Option<String> {
    if resolved.is_certain {
        return None;
    }
    let (loader, _) = prepared.loaders(prepared.config.seed);
    let sample: Vec<usize> = loader.order(0).into_iter().take(IMAGES).collect();
    let mut pixels = Vec::new();
    for batch in loader.batches(&sample) {
        pixels.extend(batch.ok()?.pixels);
    }
    let [height, width] = prepared.card.image_size();
    let images = pixels.len() / (height * width * 3);
    let distance = |graph: &Graph, scaling: &Preprocessing| {
        distance_from_training(graph, &prepared.weights, scaling, &pixels, images)
    };
    let own = &prepared.card.preprocessing;
    let now = distance(&prepared.backbone, own)?;
    tracing::debug!("distance of the images from the first batch normalisation: {now:.3}");
    if now < FAR {
        return None;
    }
    // At equal distance a variant of the backbone, which may differ in more than the scaling, comes before a scaling.
    let variants = resolved.others.iter().map(|other| {
        let (graph, scaling) = (&other.description.graph, &other.description.preprocessing);
        let each: Vec<String> = other.parameters.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        (format!("backbone.parameters = {{ {} }}", each.join(", ")), distance(graph, scaling))
    });
    let scalings = InputScale::ALL.into_iter().map(|scale| {
        let key = format!("backbone.preprocessing = \"{}\"", scale.name());
        (key, distance(&prepared.backbone, &scale.preprocessing()))
    });
    let mut ways: Vec<(String, f64)> =
        variants.chain(scalings).filter_map(|(key, distance)| Some((key, distance?))).collect();
    ways.iter().for_each(|(key, distance)| tracing::debug!("distance with {key}: {distance:.3}"));
    ways.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (key, best) = ways.first().filter(|(_, best)| *best < CLOSER * now)?;
    Some(format!(
        "the weights were probably trained on pixels that were scaled differently: the statistics of their first batch \
         normalisation are at a distance of {now:.2} from the first {images} training images as these are scaled now, and of \
         {best:.2} with {key}"
    ))
}
