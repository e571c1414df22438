//! `injerto explain`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_config::Device;
use injerto_data::Origin;
use injerto_data::decode::{Rgb, decode_scaled};
use injerto_data::folder::composed;
use injerto_experiment::Predictor;
use injerto_experiment::explain::{Explainer, Explanation, Method};
use injerto_files::{listed, printable, shown, to_text};
use injerto_report::heat::{Look, picture};
use serde_json::{Value, json};

use crate::output::{self, note, out};
use crate::photos::{Photo, photos};
use crate::predict::checkpoint;

/// Longer side at which a photo is decoded for its picture, in pixels.
const SIDE: usize = 640;

/// What `injerto explain` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto explain runs/cats-20260101-120000 photo.jpg
  injerto explain runs/cats-20260101-120000 photos/dogs --class cats --out why
  injerto explain runs/cats-20260101-120000 photo.jpg --json | jq .map

For each photo a picture is written: the photo, and beside it the same photo with what the answer rests on in light colours.
If a photo lies in a folder that has the name of a class, this is taken as its true class.

Methods: grad-cam weights the channels of the network's last feature map, or of --layer, by the gradient of the class's
logit; rollout follows the attention of a transformer back, and is the same for every class; occlusion covers parts of the
photo, suits every network, and takes about 50 times as long as a prediction. auto takes the first of these that suits the
network.

A map says what the network uses, not what is right; maps of two classes, or by two methods, tell more than one. The exit
code is 1 if a photo could not be read.")]
pub struct Arguments {
    /// The run's folder (its best checkpoint is taken) or a checkpoint
    run: PathBuf,
    /// Photos, folders (searched at every depth) and patterns; `-` is standard input: one image, or paths
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,
    /// Show what speaks for this class [default: the predicted class]
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    class: Option<String>,
    /// Take the feature map of this layer (`injerto summary` lists layers) [default: the last one before the head's pooling]
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    layer: Option<String>,
    /// How the map is made: auto, grad-cam, occlusion or rollout
    #[arg(long, value_name = "METHOD", default_value = "auto", value_parser = method)]
    method: Choice,
    /// The folder for the pictures [default: explained; with --json, none are written]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print one line of JSON per photo, with its map
    #[arg(long)]
    json: bool,
}

/// A method, or the one that suits the network.
#[derive(Debug, Clone, Copy)]
struct Choice(Option<Method>);

fn method(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice(None)),
        text => Ok(Choice(Some(text.parse().map_err(|error| format!("{error}, auto"))?))),
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { run, class, layer, method: Choice(method), json, .. } = arguments;
    let predictor = Predictor::load(&checkpoint(Some(run))?, Device::Flex)?;
    let of = class.as_deref().map(|name| position(predictor.classes(), name)).transpose()?;
    let explainer = Explainer::new(&predictor, *method, layer.as_deref())?;
    let folder = match (&arguments.out, json) {
        (None, true) => None,
        (out, _) => Some(out.clone().unwrap_or_else(|| "explained".into())),
    };
    let photos = photos(&arguments.photos, folder.as_deref())?;
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).with_context(|| shown(folder).to_string())?;
    }
    let mut pictures = folder.map(|folder| Pictures { folder, taken: HashSet::new() });
    let (mut failed, origins) = (0_usize, photos.iter().map(|photo| photo.origin.clone()).collect::<Vec<_>>());
    for (photo, found) in photos.iter().zip(explainer.explain(origins, of)) {
        let said = found.map_err(anyhow::Error::from).and_then(|found| {
            let shown = decoded(photo, &explainer)?;
            let truth = truth(photo, &explainer);
            let answer = Answer { photo, shown, explainer: &explainer, found: &found, truth };
            let file = pictures.as_mut().map(|pictures| pictures.write(&answer)).transpose()?;
            Ok(if *json { answer.as_json(file.as_deref()).to_string() } else { answer.in_words(file.as_deref()) })
        });
        match said {
            Ok(line) => out!("{line}")?,
            Err(error) => {
                failed += 1;
                output::error(&error);
            }
        }
    }
    if explainer.method() == Method::Rollout && class.is_some() {
        note!("the attention of a transformer is the same for every class; --method occlusion tells classes apart");
    }
    Ok(if failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn position(classes: &[String], name: &str) -> Result<usize> {
    let at = classes.iter().position(|class| composed(class) == composed(name));
    let Some(at) = at else {
        let known = listed(classes.iter().map(String::as_str));
        bail!("--class: the network does not know the class '{}'; it was trained for {known}", printable(name));
    };
    Ok(at)
}

/// The photo, turned as the network's images are, and perhaps reduced.
fn decoded(photo: &Photo, explainer: &Explainer) -> Result<Rgb> {
    let named = || shown(&photo.name).to_string();
    let decoded = |bytes: &[u8]| decode_scaled(bytes, explainer.options().orientation, [SIDE, SIDE]);
    let image = match &photo.origin {
        Origin::File(path) => injerto_data::read(path).map_err(String::from).and_then(|content| decoded(&content)),
        Origin::Bytes(bytes) => decoded(bytes),
        Origin::Pixels(image) => Ok(Rgb::clone(image)),
        Origin::Drawn(_) => Err("a drawing is no photo".to_owned()),
        Origin::Kept(_) => Err("only its features are kept".to_owned()),
    };
    image.map_err(anyhow::Error::msg).with_context(named)
}

/// The class whose folder a photo lies in.
fn truth(photo: &Photo, explainer: &Explainer) -> Option<usize> {
    let folder = photo.origin.path()?.parent()?.file_name()?;
    let folder = to_text(folder);
    explainer.classes().iter().position(|class| composed(class) == composed(&folder))
}

/// One photo with its explanation.
struct Answer<'a> {
    photo: &'a Photo,
    /// The photo, perhaps smaller than it is.
    shown: Rgb,
    explainer: &'a Explainer,
    found: &'a Explanation,
    truth: Option<usize>,
}

impl Answer<'_> {
    fn name(&self, class: usize) -> String {
        printable(&self.explainer.classes()[class]).to_string()
    }

    /// `cats 98.2 %`.
    fn with_probability(&self, class: usize) -> String {
        format!("{} {:.1} %", self.name(class), self.found.probabilities[class] * 100.0)
    }

    /// What was predicted, and whether it is wrong.
    fn predicted(&self) -> String {
        let wrong =
            if self.truth.is_some_and(|truth| truth != self.found.predicted()) { ", which is wrong" } else { "" };
        format!("{}{wrong}", self.with_probability(self.found.predicted()))
    }

    /// What the map is, in words.
    fn method(&self) -> String {
        let class = match self.found.class {
            class if class == self.found.predicted() => self.name(class),
            class => self.with_probability(class),
        };
        if self.found.map.is_empty() {
            return format!("nothing speaks for {class}");
        }
        match (self.explainer.method(), self.explainer.layer()) {
            (Method::GradCam, Some(layer)) => format!("what speaks for {class}: Grad-CAM of {}", printable(layer)),
            (Method::GradCam, None) => format!("what speaks for {class}: Grad-CAM"),
            (Method::Occlusion, _) => format!("what {class} is less probable without: occlusion"),
            (Method::Rollout, _) => "what the network attends to: rollout".to_owned(),
        }
    }

    fn in_words(&self, file: Option<&Path>) -> String {
        let truth = self.truth.map_or(String::new(), |truth| format!(" (truth {})", self.name(truth)));
        let file = file.map_or(String::new(), |file| format!("\n  {}", shown(file)));
        let what = self.method();
        format!("{}: {}{truth}; {what}{}{file}", shown(&self.photo.name), self.predicted(), self.place())
    }

    /// The smallest share of the seen part that holds half of the map's sum.
    fn place(&self) -> String {
        let mut values = self.found.map.values().to_vec();
        values.sort_by(|a, b| b.total_cmp(a));
        let all: f32 = values.iter().sum();
        if all <= 0.0 {
            return String::new();
        }
        let mut sum = 0.0;
        let count = values.iter().take_while(|value| {
            let goes_on = sum < all / 2.0;
            sum += **value;
            goes_on
        });
        format!(", half of it on {:.0} % of the photo", 100.0 * count.count() as f64 / values.len() as f64)
    }

    fn as_json(&self, file: Option<&Path>) -> Value {
        let (found, explainer) = (self.found, self.explainer);
        let class = |class: usize| explainer.classes()[class].clone();
        let Rgb { height, width, .. } = self.shown;
        let [top, left, rows, columns] = explainer.seen(height, width).map(|length| length as f64);
        let [height, width] = [height, width].map(|length| length as f64);
        let mut line = json!({
            "image": to_text(self.photo.name.as_os_str()),
            "predicted": class(found.predicted()),
            "probability": found.probabilities[found.predicted()],
            "class": class(found.class),
            "method": explainer.method(),
            "seen": [top / height, left / width, rows / height, columns / width],
            "map": { "rows": found.map.rows(), "columns": found.map.columns(), "values": found.map.values() },
        });
        line["truth"] = json!(self.truth.map(class));
        line["layer"] = json!(explainer.layer());
        if let Some(file) = file {
            line["picture"] = json!(to_text(file.as_os_str()));
        }
        line
    }
}

/// The pictures that are written.
struct Pictures {
    folder: PathBuf,
    taken: HashSet<PathBuf>,
}

impl Pictures {
    /// Writes the picture of an answer under the photo's name, with a number if the name is taken by another photo of this call.
    fn write(&mut self, answer: &Answer<'_>) -> Result<PathBuf> {
        let photo = &answer.shown;
        let heading = shown(&answer.photo.name).to_string();
        let look = Look {
            photo,
            seen: answer.explainer.seen(photo.height, photo.width),
            map: &answer.found.map,
            heading: &heading,
            truth: &answer.truth.map_or(String::new(), |truth| format!("truth: {}", answer.name(truth))),
            answer: &format!("predicted: {}", answer.predicted()),
            method: &answer.method(),
        };
        let png = picture(&look)?;
        let path = self.free(&answer.photo.name);
        injerto_files::write(&path, &png).with_context(|| shown(&path).to_string())?;
        Ok(path)
    }

    fn free(&mut self, photo: &Path) -> PathBuf {
        // Photos of one name lie in the folders of their classes.
        let stem = photo.file_stem().filter(|stem| *stem != "-").unwrap_or("image".as_ref());
        let folder = photo.parent().and_then(Path::file_name);
        let mut name = folder.map(|folder| folder.to_owned()).unwrap_or_default();
        if !name.is_empty() {
            name.push("-");
        }
        name.push(stem);
        let numbered = |number: usize| {
            let mut name = name.clone();
            if number > 1 {
                name.push(format!("-{number}"));
            }
            name.push(".png");
            self.folder.join(name)
        };
        let path = (1..).map(numbered).find(|path| !self.taken.contains(path)).expect("some number is free");
        self.taken.insert(path.clone());
        path
    }
}
