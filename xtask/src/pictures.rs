//! `cargo xtask pictures` makes the pictures of the documentation: what the terminal shows, the report, and the curves of the course.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::workspace::{BINARY_PACKAGE, Profile, build, cargo, code, not_started, root, succeeds};

/// Text of `--help`.
pub const HELP: &str = "\
Makes the pictures of the documentation again, in docs/pictures. All images in them are drawn by the program.

Usage: cargo xtask pictures [course|benchmarks] [--set KEY=VALUE]…

Without an argument: what the terminal shows of a training on drawn flowers (SVG), its report as a browser shows it, and the page of
`injerto serve` with a flower that was dropped on it (PNG and WebP;
Chromium or Chrome is needed).

benchmarks   draws the table of docs/benchmarks.md, and runs nothing.

course   runs the experiments of docs/course.md on the course's photos and copies their curves. What has been run before (below
         target/pictures) is not run again. --set is given to all runs with InceptionV3, for example
         --set backbone.weights=inception_v3.safetensors";

/// The experiments of the course: name of the picture, file, and whether the network is InceptionV3.
const COURSE: [(&str, &str, bool); 5] = [
    ("baseline", "configs/cats_vs_dogs/baseline_small.toml", false),
    ("feature_extraction", "configs/cats_vs_dogs/feature_extraction.toml", false),
    ("fine_tuning", "configs/cats_vs_dogs/fine_tuning.toml", false),
    ("flowers", "configs/flowers/inception_v3.toml", true),
    ("early_layers", "configs/flowers/inception_v3_early_layers.toml", true),
];

/// The experiment that is shown: that of the quickstart, on images that are files, so that the report has photos.
const SHOWN: &str = "\
[data]
root = \"flowers\"
image_size = [64, 64]
batch_size = 16

[backbone]
plugin = \"small_cnn\"
weights = \"shapes\"
parameters = { filters = [16, 32, 64], momentum = 0.8 }

[[phases]]
name = \"feature-extraction\"
epochs = 8
optimizer = { name = \"adam\", learning_rate = 1e-2 }

[[phases]]
name = \"fine-tuning\"
epochs = 4
unfreeze = \"all\"
optimizer = { name = \"adam\", learning_rate = 3e-4 }
";

/// The most characters in a line of the terminal.
const COLUMNS: usize = 118;

/// What is photographed of the report: name of the picture, width and height in pixels, fragment of the address.
const VIEWS: [(&str, u32, u32, &str); 2] = [("report", 1100, 900, ""), ("report_mistakes", 1100, 760, "#mistakes")];

/// The photo that is dropped on the page, below the folder of the work.
const DROPPED: &str = "dropped/validation/roses/00007.png";

/// The browsers that are looked for.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Runs the command.
///
/// # Errors
/// A program cannot be started, or a file cannot be written.
pub fn run(arguments: &[String]) -> Outcome {
    if arguments.first().is_some_and(|first| first == "benchmarks") {
        return crate::bars::draw().map(|()| code(true));
    }
    let (course, settings) = match arguments.split_first() {
        Some((first, rest)) if first == "course" => (true, rest),
        _ => (false, arguments),
    };
    let Some(binary) = build(&Profile::default(), &[])? else { return Ok(code(false)) };
    let work = binary.parent().and_then(Path::parent).ok_or("the binary is in no target folder")?.join("pictures");
    let pictures = root().join("docs/pictures");
    for folder in [&work, &pictures] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    match course {
        true => curves(&binary, &work, &pictures, settings),
        false => first_screen(&binary, &work, &pictures),
    }
}

/// A training on drawn flowers: the terminal, and the report.
fn first_screen(binary: &Path, work: &Path, pictures: &Path) -> Outcome {
    let run = work.join("runs/flowers");
    for old in [&run, &work.join("flowers")] {
        if old.exists() {
            std::fs::remove_dir_all(old).map_err(|error| format!("{}: {error}", old.display()))?;
        }
    }
    write(&work.join("flowers.toml"), SHOWN)?;
    let mut images = Command::new(binary);
    images.args(["generate", "flowers", "flowers", "--train", "30", "--validation", "40", "--size", "64"]);
    if !succeeds(images.current_dir(work).stdout(Stdio::null()))? {
        return Ok(code(false));
    }
    let mut command = Command::new(binary);
    command.args(["train", "flowers.toml", "--run-dir", "runs/flowers"]).current_dir(work);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| not_started(&command, &error))?;
    if !output.status.success() {
        return Ok(code(false));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    write(&pictures.join("terminal.svg"), &terminal("injerto train flowers.toml", &text))?;
    let Some(browser) = BROWSERS.iter().find(|name| starts(name)) else {
        return Err(format!("the report cannot be photographed: none of {} is installed", BROWSERS.join(", ")));
    };
    let report = run.join("report.html");
    for (name, width, height, fragment) in VIEWS {
        let picture = pictures.join(format!("{name}.png"));
        let mut command = Command::new(browser);
        command
            .args(["--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("file://{}{fragment}", report.display()))
            .stderr(Stdio::null());
        if !succeeds(&mut command)? || !picture.is_file() {
            return Err(format!("{browser} made no picture of {}", report.display()));
        }
    }
    served(binary, work, &pictures.join("serve.webp"))
}

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended by itself needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The page on which the run is served, with an answer: a flower that is drawn larger than those of the training, so that one sees it.
fn served(binary: &Path, work: &Path, picture: &Path) -> Outcome {
    let drawn = work.join(DROPPED);
    if !drawn.is_file() {
        let mut images = Command::new(binary);
        images.args(["generate", "flowers", "dropped", "--train", "1", "--validation", "3", "--size", "256"]);
        if !succeeds(images.current_dir(work).stdout(Stdio::null()))? {
            return Ok(code(false));
        }
    }
    let mut command = Command::new(binary);
    command.args(["serve", "runs/flowers", "--port", "0"]).current_dir(work).stdout(Stdio::piped());
    let mut server = Server(command.spawn().map_err(|error| not_started(&command, &error))?);
    let mut line = String::new();
    let said = server.0.stdout.take().ok_or("the server's output is not piped")?;
    BufReader::new(said).read_line(&mut line).map_err(|error| format!("the server says nothing: {error}"))?;
    let address = line.trim().trim_start_matches("http://").trim_end_matches('/');
    // Both packages are named so that nothing is built again with the features of one alone; `cargo run` takes one.
    let mut example = cargo("build");
    example.args(["--package", BINARY_PACKAGE, "--package", "injerto-serve", "--example", "page"]);
    if !succeeds(&mut example)? {
        return Ok(code(false));
    }
    let page = binary.with_file_name("examples").join("page");
    Ok(code(succeeds(Command::new(page).args([address.as_ref(), picture.as_os_str(), drawn.as_os_str()]))?))
}

/// The curves of the course.
fn curves(binary: &Path, work: &Path, pictures: &Path, settings: &[String]) -> Outcome {
    for (name, file, inception) in COURSE {
        let run = work.join(name);
        if !run.join("summary.json").is_file() {
            println!("{file}");
            let mut command = Command::new(binary);
            command.args(["train", file, "--run-dir"]).arg(&run).current_dir(root());
            if inception {
                command.args(settings);
            }
            if !succeeds(&mut command)? {
                return Ok(code(false));
            }
        }
        let (from, to) = (run.join("plots/curves.svg"), pictures.join(format!("course_{name}.svg")));
        std::fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(code(true))
}

/// A terminal with a command and what it printed, as SVG.
fn terminal(command: &str, text: &str) -> String {
    // Width of a character and height of a line at 13 px, and the margins.
    let (advance, line_height, left, top) = (7.83, 18.0, 18.0, 58.0);
    let lines: Vec<String> = std::iter::once(format!("$ {command}")).chain(text.lines().flat_map(wrapped)).collect();
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = (longest as f32 * advance + 2.0 * left, lines.len() as f32 * line_height + top + 6.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\">\n\
         <title>What the terminal shows of: {}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#14191f\"/>\n\
         <g><circle cx=\"22\" cy=\"22\" r=\"6\" fill=\"#ff5f57\"/><circle cx=\"42\" cy=\"22\" r=\"6\" fill=\"#febc2e\"/>\
         <circle cx=\"62\" cy=\"22\" r=\"6\" fill=\"#28c840\"/></g>\n\
         <g font-family=\"'DejaVu Sans Mono', 'SF Mono', Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#d7dde3\">\n",
        escaped(command)
    );
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (y, count) = (top + at as f32 * line_height, line.chars().count() as f32);
        let fill = if at == 0 { " fill=\"#7ee0a1\"" } else { "" };
        // The width is fixed, so that columns and curves stay in line whatever font is at hand.
        svg += &format!(
            "<text x=\"{left}\" y=\"{y}\" textLength=\"{:.1}\" xml:space=\"preserve\"{fill}>{}</text>\n",
            count * advance,
            escaped(line)
        );
    }
    svg + "</g>\n</svg>\n"
}

/// A line in pieces that fit into the terminal.
fn wrapped(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = pieces.last_mut().expect("there is one");
        match last.chars().count() + word.trim_end().chars().count() > COLUMNS && !last.is_empty() {
            true => pieces.push(format!("    {word}")),
            false => last.push_str(word),
        }
    }
    pieces
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether a program of this name can be started.
fn starts(name: &str) -> bool {
    let quiet = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_keeps_columns_and_escapes_what_svg_would_read() {
        let svg = terminal("injerto train a&b", "one\n\n  <two>");
        assert!(svg.contains("$ injerto train a&amp;b</text>") && svg.contains(">  &lt;two&gt;</text>"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 3, "empty lines take room and no element");
        let long = "word ".repeat(40);
        assert!(wrapped(&long).iter().all(|piece| piece.chars().count() <= COLUMNS + 5));
        assert_eq!(wrapped("a  b"), ["a  b"]);
    }
}
