//! Runs on photos: what went wrong, what answers rest on, and the page in a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use injerto_backbones::weights::{Precision, Weights};
use injerto_config::Device;
use injerto_experiment::device;
use injerto_graph::layers::{Conv2D, Dense, GlobalAveragePooling2D};
use injerto_graph::{Builder, Preprocessing};
use injerto_recipe::Loss;
use injerto_report::{Run, report};
use injerto_trainer::{Model, ModelCard};
use serde_json::json;

use crate::{put, stands_alone, summary, well_formed};

/// A run of two classes on photos that lie in `folder/photos`: four validation images, of which two are wrong. `dogs/gone.jpg` is missing.
fn run_on_photos(folder: &Path) -> PathBuf {
    let photos = folder.join("photos");
    for (name, colour) in [("cats/a.png", 40), ("cats/b.png", 90), ("dogs/<i>c.png", 140), ("dogs/t.png", 200)] {
        let at = photos.join(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, picture(colour)).unwrap();
    }
    let run = folder.join("run");
    let mut whole = summary("cats", 0.97);
    let mean = json!({ "precision": 0.5, "recall": 0.5, "f1": 0.5 });
    let class = |name: &str| json!({ "class": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2 });
    whole["metrics"] = json!({ "images": 4, "accuracy": 0.5, "macro_f1": 0.5, "ece": 0.1, "macro": mean, "weighted": mean,
        "confusion": [[1, 1], [1, 1]], "per_class": [class("cats"), class("dogs")] });
    whole["images"] = json!({ "train": [0, 1], "validation": [2, 2] });
    whole["leaks"] = json!({ "across_split": 1, "across_class": 0, "none": 0, "moved": 0 });
    put(&run, "summary.json", &whole);
    let write = |name: &str, text: &str| std::fs::write(run.join(name), text).unwrap();
    let root = serde_json::to_string(&photos).unwrap();
    write(
        "experiment.toml",
        &format!(
            "name = \"cats\"\n[data]\nroot = {root}\n[backbone]\nplugin = \"small_cnn\"\nweights = \"none\"\n[[phases]]\nepochs = 1\n"
        ),
    );
    write(
        "predictions.csv",
        "path,label,predicted,cats,dogs\ncats/a.png,cats,cats,0.9,0.1\ncats/b.png,cats,dogs,0.02,0.98\n\
        dogs/<i>c.png,dogs,cats,0.6,0.4\ndogs/gone.jpg,dogs,dogs,0.3,0.7\n",
    );
    write("split.csv", "path,class,side,sha256\ndogs/t.png,dogs,train,00\ncats/a.png,cats,validation,01\n");
    write(
        "leaks.csv",
        "a,b,kind,similarity,across,a_side,b_side,a_class,b_class\n\
        dogs/t.png,dogs/gone.jpg,near,0.9876,split,train,validation,dogs,dogs\n",
    );
    run
}

/// A PNG of one colour.
fn picture(level: u8) -> Vec<u8> {
    let mut pixels = tiny_skia::Pixmap::new(8, 6).unwrap();
    pixels.fill(tiny_skia::Color::from_rgba8(level, 60, 60, 255));
    pixels.encode_png().unwrap()
}

#[test]
fn the_photos_that_went_wrong_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let html = report(&Run::load(&run_on_photos(folder.path())).unwrap());
    well_formed(&html);
    stands_alone(&html);
    assert!(html.len() < 3_000_000);
    assert!(html.contains("2 of 4 validation images are wrong."));
    // The most confident error is the first of its list, and names are not markup.
    let errors = html.split("Most confident errors").nth(1).unwrap().split("By confused pair").next().unwrap();
    let places = ["cats → dogs", "98.0 %", "cats/b.png", "dogs → cats", "60.0 %", "dogs/&lt;i&gt;c.png"];
    let places: Vec<usize> = places.iter().map(|part| errors.find(part).unwrap_or_else(|| panic!("{part}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    // Each photo is in the page once, and is shown from there; the one that is gone is said to be.
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 4);
    assert!(html.matches("href=\"#photo-0\"").count() > 2);
    assert!(html.contains("The photo is gone.") && html.contains("1 of 5 photos of this page could not be read"));
    // A cell of the matrix opens its photos, without a script.
    assert!(html.contains("<a href=\"#cell-0-1\">1</a>"), "{html}");
    let cell = html.split("id=\"cell-0-1\"").nth(1).unwrap().split("close").next().unwrap();
    assert!(cell.contains("cats/b.png") && !cell.contains("cats/a.png"), "{cell}");
    for part in [
        "Least sure",
        "one picture on two sides of the split",
        "(similarity 0.988)",
        "a training image of dogs",
        "ROC curves",
        "injerto predict --run",
        "0.5000 (0.095 to 0.905, n = 2)",
    ] {
        assert!(html.contains(part), "{part}");
    }
}

/// Puts a network into a run's folder, which sees photos in 8 x 8 pixels.
fn with_a_network(run: &Path) {
    let mut net = Builder::new("tiny");
    net.image([8, 8]);
    net.then("map", Conv2D::new(6, 3).same());
    net.then("pool", GlobalAveragePooling2D::new());
    net.then("predictions", Dense::new(2));
    let graph = net.finish().unwrap();
    let weights = Weights::initialise(&graph, 3).unwrap();
    let card = ModelCard {
        backbone: None,
        backbone_layers: 2,
        thresholds: None,
        graph,
        preprocessing: Preprocessing::zero_to_one(),
        crop_to_aspect_ratio: true,
        interpolation: Default::default(),
        exif_orientation: Default::default(),
        scaled_decoding: false,
        classes: vec!["cats".to_owned(), "dogs".to_owned()],
        loss: Loss::SparseCategoricalCrossentropy { from_logits: true },
    };
    let model = Model::new(card, &weights, &device(Device::Flex).unwrap()).unwrap();
    model.save(&run.join("best.safetensors"), Precision::F32).unwrap();
}

#[test]
fn what_answers_rest_on_lies_over_the_photos() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_on_photos(folder.path());
    with_a_network(&run);
    let html = report(&Run::load(&run).unwrap());
    well_formed(&html);
    stands_alone(&html);
    assert!(html.contains("Grad-CAM of the layer map"), "{html}");
    // Each map is in the page once. The network saw the middle of the photos, which are 8 pixels wide and 6 high.
    assert!(html.matches("data:image/png;base64,").count() >= 1);
    assert!(
        html.contains("<image x=\"12\" y=\"12\" width=\"72\" height=\"72\" preserveAspectRatio=\"none\""),
        "{html}"
    );
    // They can be seen when they are asked for, and the focus shows one.
    let script = "
        const of = at => getComputedStyle(at.querySelector('.map')).opacity;
        const wait = () => new Promise(done => setTimeout(done, 600));
        (async () => {
            const photos = [...document.querySelectorAll('.look .photo')].filter(at => at.querySelector('.map'));
            const seen = [], see = async () => { await wait(); seen.push(photos.slice(0, 2).map(of).join(' ')); };
            await see();
            photos[0].focus();
            await see();
            document.getElementById('all-maps').click();
            await see();
            document.body.dataset.found = seen.join('; ');
        })();";
    let Some((found, console)) = in_a_browser(&html, script) else { return eprintln!("skipped: no browser") };
    assert_eq!(found, "0 0; 1 0; 1 1");
    assert_eq!(console, "", "the console stays empty");
}

#[test]
fn training_photos_are_shown_as_the_network_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_on_photos(folder.path());
    with_a_network(&run);
    let at = run.join("experiment.toml");
    let experiment = std::fs::read_to_string(&at).unwrap();
    let page = || report(&Run::load(&run).unwrap());
    assert!(!page().contains("As the network sees them"), "nothing was changed at random");
    let flipped = experiment.replace("[backbone]", "augment = [{ name = \"random_flip\" }]\n[backbone]");
    std::fs::write(&at, flipped).unwrap();
    let html = page();
    well_formed(&html);
    stands_alone(&html);
    let batch = html.split("As the network sees them").nth(1).expect("it was changed");
    let batch = batch.split("</section>").next().unwrap();
    assert_eq!(batch.matches("data:image/jpeg;base64,").count(), 1, "one training photo: {batch}");
}

#[test]
fn what_more_photos_would_bring_is_drawn_and_the_energy_is_called_an_estimate() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "summary.json", &summary("cats", 0.97));
    let share = |value: f64| json!({ "value": value, "interval": [value - 0.02, value + 0.02], "n": 2000 });
    let point = |images: f64, value: f64| json!({ "images": images, "accuracy": share(value) });
    let more = json!({ "points": [point(160.0, 0.9), point(500.0, 0.94), point(1600.0, 0.96)],
        "law": { "floor": 0.02, "scale": 0.8, "exponent": 0.45 }, "images": 1600.0, "doubled": share(0.967), "gain": 0.007 });
    put(folder.path(), "more_photos.json", &more);
    put(folder.path(), "environment.json", &json!({ "threads": 2 }));
    let html = report(&Run::load(folder.path()).unwrap());
    well_formed(&html);
    for part in [
        "Would more photos help?",
        "With 1,600 training photos a probe reaches 0.9600 (n = 2,000)",
        ">3,000<",
        ">expected<",
        // 12 seconds at 40 W.
        "an estimate and not a measurement: 0.1 Wh, if the machine takes 40 W",
        "10 W for each of 2 threads",
    ] {
        assert!(html.contains(part), "{part}");
    }
    put(folder.path(), "more_photos.json", &json!({ "version": 9 }));
    assert!(!report(&Run::load(folder.path()).unwrap()).contains("Would more photos help?"));
}

#[test]
fn a_run_on_drawn_images_or_with_damaged_predictions_has_no_wall() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_on_photos(folder.path());
    let page = || report(&Run::load(&run).unwrap());
    let experiment = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    std::fs::remove_file(run.join("experiment.toml")).unwrap();
    let html = page();
    assert!(!html.contains("Most confident errors") && !html.contains("<script") && html.contains("ROC curves"));
    stands_alone(&html);
    std::fs::write(run.join("experiment.toml"), experiment).unwrap();
    for damaged in [
        "path,label,predicted,cats,dogs\ncats/a.png,cats,cats,0.9\n",
        "path,label,predicted,cats,dogs\ncats/a.png,cats,cats,NaN,0.1\n",
        "path,label,predicted,cats,dogs\ncats/a.png,cats,foxes,0.9,0.1\n",
        "path,label,predicted,cats,foxes\ncats/a.png,cats,cats,0.9,0.1\n",
        "path\n",
        "",
    ] {
        std::fs::write(run.join("predictions.csv"), damaged).unwrap();
        let html = page();
        well_formed(&html);
        assert!(!html.contains("Most confident errors") && !html.contains("ROC curves"), "{damaged}");
    }
}

/// What the page shows in a headless browser after `script` has run in it: the text that the script puts into `found`, and what the browser
/// wrote into its console. `None` without a browser.
fn in_a_browser(html: &str, script: &str) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let script = format!("<script>addEventListener('load', () => {{ {script} }});</script></body>");
    std::fs::write(&page, html.replace("</body>", &script)).unwrap();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let ran = names.iter().find_map(|name| {
        let options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ];
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        Command::new(name).args(options).arg(profile).arg(format!("file://{}", page.display())).output().ok()
    })?;
    let [dom, console] = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let console = console.lines().filter(|line| line.contains("CONSOLE")).collect();
    let found = dom.split("data-found=\"").nth(1).unwrap_or_else(|| panic!("the script has not run: {dom}"));
    Some((found.split('"').next().unwrap().to_owned(), console))
}

#[test]
fn a_browser_opens_tabs_and_cells_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let html = report(&Run::load(&run_on_photos(folder.path())).unwrap());
    // What can be seen at first, after a click on a tab and on a cell, after a key on the tab, and after Escape.
    let script = "
        const ids = ['worst', 'pairs', 'unsure', 'cell-0-1', 'cell-1-0'];
        const seen = [], see = () => seen.push(ids.filter(id => document.getElementById(id).checkVisibility()).join(' '));
        const wait = () => new Promise(done => setTimeout(done, 100));
        const press = (at, key) => at.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        (async () => {
            see();
            const tab = document.getElementById('unsure-tab');
            tab.click();
            document.querySelector('a[href=\"#cell-0-1\"]').click();
            await wait();
            see();
            press(tab, 'ArrowLeft');
            see();
            press(document, 'Escape');
            await wait();
            see();
            document.body.dataset.found = seen.join('; ') + '; ' + document.activeElement.textContent;
        })();";
    let Some((found, console)) = in_a_browser(&html, script) else { return eprintln!("skipped: no browser") };
    assert_eq!(found, "worst; unsure cell-0-1; pairs cell-0-1; pairs; 1");
    assert_eq!(console, "", "the console stays empty");
}
