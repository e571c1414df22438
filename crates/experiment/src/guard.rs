//! A look at the first images before anything is trained: do the weights see pixels scaled as they were in their training?

use injerto_backbones::network::distance_from_training;
use injerto_backbones::resolve::Resolved;
use injerto_config::InputScale;
use injerto_graph::{Graph, Preprocessing};

use crate::Prepared;

/// Images that are looked at.
const IMAGES: usize = 16;

/// A distance beyond which images are probably scaled otherwise than in training.
const FAR: f64 = 0.6;

/// What another scaling must come to, as a share of the distance, to be the one that was meant.
const CLOSER: f64 = 0.5;

/// A warning where another scaling of the pixels fits the statistics in the weights far better, with the key that changes it.
/// Nothing is said of weights that tell their scaling themselves, of networks without batch normalisation, and where the images
/// cannot be read, which training will say.
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
    tracing::debug!("the first batch normalisation is {now:.3} from the images");
    if now < FAR {
        return None;
    }
    // A variant of the backbone comes before a scaling alone: it is more than that.
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
    ways.iter().for_each(|(key, distance)| tracing::debug!("with {key}, {distance:.3}"));
    ways.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (key, best) = ways.first().filter(|(_, best)| *best < CLOSER * now)?;
    Some(format!(
        "the weights were probably trained on pixels that were scaled otherwise: what their first batch normalisation holds is \
         {now:.2} from the first {images} training images as they are scaled now, and {best:.2} with {key}"
    ))
}
