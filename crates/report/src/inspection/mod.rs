//! The page of an inspection: what was found about images before any training.

pub mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use injerto_data::thumbnails;
use injerto_experiment::inspect::{Inspection, LeakFound, Stranger, SuspectFound};
use injerto_files::shown;
use maud::{Markup, html};

use crate::page::{cell, page, section, table, tile};
use crate::words::grouped;

/// Longer side of a small picture, in pixels.
const SIDE: usize = 160;
/// Findings of each kind that are shown with their photos; the others are counted.
const MOST: usize = 60;
/// Photos of each conspicuous kind that are shown.
const MOST_OF_KIND: usize = 12;

/// The page of an inspection, as HTML: one file with its small pictures inside, which needs neither scripts nor a network.
pub fn inspection(name: &str, found: &Inspection) -> String {
    let photos = Photos::of(found);
    let body = html! {
        h1 { (name) }
        p class="muted" { (words::images(found)) }
        @if let Some(backbone) = words::backbone(found) { p class="muted" { (backbone) } }
        div class="tiles" { (tiles(found)) }
        (section("In short", &list(&words::short(found))))
        @if let Some(drift) = &found.drift {
            (section("Like those of training?", &html! {
                p { (words::drift(drift)) }
                (photos.grid(drift.strangers.iter().take(MOST), |it: &Stranger| (&it.path, format!("distance {:.3}", it.distance))))
            }))
        }
        (section("The same picture twice", &leaks(&found.leaks, &photos)))
        (section("Labels that look wrong", &labels(&found.labels, &photos)))
        @if let Some(more) = &found.more_photos {
            (section("Would more photos help?", &html! {
                (crate::more::more(more))
                (table(&["#training photos", "#accuracy", "#95 % interval", "#n"], &more.points.iter().map(|point| vec![
                    cell(grouped(point.images.round() as usize)),
                    cell(format!("{:.4}", point.accuracy.value)),
                    cell(words::interval(point.accuracy.interval)),
                    cell(grouped(point.accuracy.n)),
                ]).collect::<Vec<_>>()))
            }))
        }
        (section("Files", &health(found, &photos)))
        (section("Not answered", &list(&words::unanswered(found))))
    };
    page(&format!("{name} – inspection"), &body)
}

fn tiles(found: &Inspection) -> Markup {
    html! {
        (tile(&grouped(found.images), "images"))
        @if let Some(probe) = &found.probe {
            (tile(&format!("{:.4}", probe.accuracy), &format!("accuracy of a probe, {} (n = {})", words::interval(probe.interval), grouped(probe.n))))
        }
        (tile(&grouped(found.leaks.len()), "pairs are one picture"))
        @if found.probe.is_some() { (tile(&grouped(found.labels.len()), "labels look wrong")) }
        @if let Some(drift) = &found.drift {
            (tile(&format!("{:.1} %", drift.drift.unknown.value * 100.0), "unlike those of training"))
        }
    }
}

fn list(lines: &[String]) -> Markup {
    html! { @if !lines.is_empty() { ul { @for line in lines { li { (line) } } } } }
}

fn leaks(leaks: &[LeakFound], photos: &Photos) -> Markup {
    html! {
        @if leaks.is_empty() { p { "No picture was found twice." } }
        div class="pairs" {
            @for leak in leaks.iter().take(MOST) {
                figure {
                    div class="pair" { (photos.picture(&leak.a)) (photos.picture(&leak.b)) }
                    figcaption { b { (words::leak(leak)) } br; (shown(&leak.a)) br; (shown(&leak.b)) }
                }
            }
        }
        (others(leaks.len()))
    }
}

fn labels(suspects: &[SuspectFound], photos: &Photos) -> Markup {
    html! {
        @if suspects.is_empty() { p { "No label looks wrong." } }
        (photos.grid(suspects.iter().take(MOST), |it: &SuspectFound| (&it.path, words::suspect(it))))
        (others(suspects.len()))
    }
}

fn others(all: usize) -> Markup {
    html! { @if all > MOST { p class="muted" { "… and " (grouped(all - MOST)) " more, which --json lists." } } }
}

fn health(found: &Inspection, photos: &Photos) -> Markup {
    let health = &found.health;
    let kinds = [
        ("dark", &health.dark),
        ("bright", &health.bright),
        ("blurred", &health.blurred),
        ("grey", &health.grey),
        ("turned", &health.turned),
    ];
    let classes: Vec<Vec<Markup>> =
        found.classes.iter().map(|class| vec![cell(&class.name), cell(grouped(class.images))]).collect();
    html! {
        (list(&words::health(health)))
        @if classes.len() > 1 {
            details { summary { (grouped(classes.len())) " classes" } (table(&["class", "#images"], &classes)) }
        }
        @for (kind, paths) in kinds {
            @if !paths.is_empty() {
                h3 { (kind) ", " (grouped(paths.len())) }
                (photos.grid(paths.iter().take(MOST_OF_KIND), |path: &PathBuf| (path, String::new())))
            }
        }
        @for unreadable in health.unreadable.iter().take(MOST) {
            p { (shown(&unreadable.path)) ": " (unreadable.reason) }
        }
    }
}

/// Small pictures of the photos that the page shows, as addresses that hold their content.
struct Photos {
    addresses: HashMap<PathBuf, String>,
}

impl Photos {
    fn of(found: &Inspection) -> Self {
        let health = &found.health;
        let kinds = [&health.dark, &health.bright, &health.blurred, &health.grey, &health.turned];
        let mut paths: Vec<&Path> = Vec::new();
        paths.extend(found.leaks.iter().take(MOST).flat_map(|leak| [leak.a.as_path(), leak.b.as_path()]));
        paths.extend(found.labels.iter().take(MOST).map(|suspect| suspect.path.as_path()));
        let strangers = found.drift.iter().flat_map(|drift| drift.strangers.iter().take(MOST));
        paths.extend(strangers.map(|stranger| stranger.path.as_path()));
        paths.extend(kinds.iter().flat_map(|paths| paths.iter().take(MOST_OF_KIND)).map(PathBuf::as_path));
        paths.sort_unstable();
        paths.dedup();
        let small = thumbnails(&paths, SIDE);
        let address = |(path, jpeg): (&Path, Option<Vec<u8>>)| {
            Some((path.to_owned(), format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg?))))
        };
        Self { addresses: paths.into_iter().zip(small).filter_map(address).collect() }
    }

    fn picture(&self, path: &Path) -> Markup {
        html! {
            @match self.addresses.get(path) {
                Some(address) => img src=(address) alt=(shown(path)) loading="lazy";,
                None => div class="muted" { "no picture" },
            }
        }
    }

    /// Pictures with a line of text below each.
    fn grid<'f, T: 'f>(&self, items: impl Iterator<Item = &'f T>, of: impl Fn(&T) -> (&PathBuf, String)) -> Markup {
        html! {
            div class="photos" {
                @for item in items {
                    @let (path, line) = of(item);
                    figure {
                        (self.picture(path))
                        figcaption { @if !line.is_empty() { b { (line) } br; } (shown(path)) }
                    }
                }
            }
        }
    }
}
