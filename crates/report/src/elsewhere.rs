//! How a run is reproduced, and how its network is used.

use injerto_files::shell_word;
use maud::{Markup, html};

use crate::page::facts;
use crate::run::Run;

/// The commands, and what decides the result of the first.
pub fn elsewhere(run: &Run) -> Markup {
    let Some(summary) = &run.summary else { return html! {} };
    let folder = shell_word(&run.folder);
    let experiment = shell_word(&run.folder.join("experiment.toml"));
    let commands = [
        ("the same training again", format!("injerto train {experiment}")),
        ("name what is on a photo", format!("injerto predict --run {folder} photo.jpg")),
        ("measure it on other photos", format!("injerto evaluate --run {folder} photos/")),
        ("take the weights along", format!("injerto export {folder} model.safetensors")),
        ("ask whether more photos would help", "injerto inspect photos/".to_owned()),
    ];
    let mut decides = vec![("seed", summary.seed.to_string()), ("device", summary.device.clone())];
    decides.extend(summary.weights.clone().map(|weights| ("weights", weights)));
    decides.extend(run.environment["injerto"].as_str().map(|version| ("injerto", version.to_owned())));
    if !run.placed.is_empty() {
        decides.push(("images", "split.csv names each image, its side and the SHA-256 of its file".to_owned()));
    }
    html! {
        dl class="commands" { @for (what, command) in &commands { dt { (what) } dd { pre { code { (command) } } } } }
        p { "The exported file is read by every library of safetensors; its tensors are named LAYER/PARAMETER, in Keras's axes:" }
        pre { "from safetensors.numpy import load_file\nparameters = load_file(\"model.safetensors\")" }
        h3 { "What decides the result" }
        p class="muted" { "With the same of all of these, a training on the CPU ends with the same weights, bit for bit." }
        (facts(None, &decides))
    }
}
