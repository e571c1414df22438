//! The short forms of the proofs; `cargo xtask prove` runs the long ones.

use std::path::Path;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use injerto_backbones::plugin::answer_if_asked;
use injerto_proofs::fuzz::{self, Plan, TARGETS};

/// The child process of every question to a plugin. It is this program, which runs only this test.
#[test]
fn answers_a_plugin_question() {
    answer_if_asked();
}

#[test]
fn damaged_input_is_refused_and_does_no_harm() {
    let plan = Plan { inputs: 500, patience: Duration::from_secs(60), ..Plan::default() };
    let rows = fuzz::feed(Path::new(env!("CARGO_BIN_EXE_injerto-prove")), &plan, &mut |_| ()).expect("it is built");
    let harm: String = rows.iter().filter(|row| row.findings.harmful > 0).map(|row| format!("{row}\n")).collect();
    assert!(harm.is_empty(), "cargo xtask prove fuzz --inputs 500\n{}\n{harm}", fuzz::HEAD);
    // The first inputs are the seeds; there are fewer of them than are read here. Inputs that are refused at once prove little,
    // so each target must accept one of twenty. Of longer series it accepts a tenth.
    for row in &rows {
        assert_eq!(row.findings.inputs, 500, "{}", row.target);
        assert!(row.findings.accepted >= 25, "{} accepts {} of 500", row.target, row.findings.accepted);
    }
    assert_eq!(rows.len(), TARGETS.len());
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_is_killed_or_fails_at_a_file_operation_goes_on_to_the_same_end() {
    use injerto_proofs::kills::{Plan, Whole, prove};
    let count = Whole::new().expect("it is built").operations.len();
    // There is one failure of each kind, each at another operation.
    let plan = Plan { every: count.div_ceil(2), how: Vec::new(), random: 2, seed: 1 };
    let faults = prove(&plan, &mut |_| ()).expect("it is built");
    assert!(faults.is_empty(), "cargo xtask prove kills\n{}", faults.join("\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn many_runs_and_predictions_in_one_process_do_not_grow_its_memory() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_injerto-prove"))
        .args(["soak", "--runs", "12", "--predictions", "200"])
        .output()
        .expect("it is built");
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}

/// What this project's program says of a picture: the most memory that decoding took, and what came of it.
#[cfg(target_os = "linux")]
fn decoded(picture: &[u8], folder: &Path) -> (u64, String) {
    let path = folder.join("picture");
    std::fs::write(&path, picture).expect("a folder");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_injerto-prove"));
    // A decoder whose assertions are on notes where it is again and again.
    let out = command.arg("decode").arg(path).env("RUST_BACKTRACE", "0").output();
    let said = String::from_utf8(out.expect("it is built").stdout).expect("text");
    let (taken, rest) = said.split_once(" bytes\n").expect("it says what it took");
    (taken.parse().expect("a number"), rest.trim().to_owned())
}

/// A picture of one colour, which takes a few kilobytes in most formats.
#[cfg(target_os = "linux")]
fn plain(format: ImageFormat, side: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, image::Rgb([200, 30, 90]))
        .write_to(&mut bytes, format)
        .expect("it can be written");
    bytes.into_inner()
}

/// The same picture with sides that it does not have.
#[cfg(target_os = "linux")]
fn boasting(format: ImageFormat) -> Vec<u8> {
    let mut bytes = plain(format, 16);
    match format {
        ImageFormat::Png => {
            bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
            let sum = crc32fast::hash(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        }
        ImageFormat::Gif => bytes[6..10].fill(0xff),
        ImageFormat::Bmp => bytes[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]),
        // Fourteen bits for each side.
        ImageFormat::WebP => bytes[21..24].fill(0xff),
        _ => {
            let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame");
            bytes[frame + 5..frame + 9].fill(0xff);
        }
    }
    bytes
}

#[test]
#[cfg(target_os = "linux")]
fn a_picture_takes_memory_for_its_pixels_and_none_for_those_that_it_boasts_of() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Jpeg] {
        let (taken, said) = decoded(&boasting(format), folder.path());
        assert!(said.starts_with("refused: "), "{format:?}: {said}");
        assert!(taken < 16 << 20, "{format:?} takes {taken} bytes and is refused");
        let side = 3000;
        let (taken, said) = decoded(&plain(format, side), folder.path());
        assert_eq!(said, format!("{side}x{side}"), "{format:?}");
        let pixels = 3 * u64::from(side) * u64::from(side);
        assert!(taken < 4 * pixels, "{format:?} takes {taken} bytes for {pixels} of pixels");
    }
}

/// A frame of an AVIF may be hidden and kept for other frames to refer to, and one that declares a second layer never shows any.
#[test]
#[cfg(all(feature = "avif", target_os = "linux"))]
fn hidden_frames_of_an_avif_are_counted_before_they_take_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let many = include_bytes!("../../../golden/avif_hidden_12.avif");
    let (taken, said) = decoded(many, folder.path());
    assert_eq!(said, "refused: its picture has 12 frames, and a still image has 4 at most");
    assert!(taken < 16 << 20, "{taken} bytes");
    // Each frame has three bytes per pixel, and the finished image has as many, twice. What is asked for beforehand covers all of them.
    let few = include_bytes!("../../../golden/avif_hidden_4.avif");
    let (taken, said) = decoded(few, folder.path());
    assert_eq!(said, "512x512");
    let frame = 3 * 512 * 512;
    assert!((5 * frame..8 * frame + (4 << 20)).contains(&taken), "{taken} bytes for four frames of {frame}");
}
