//! One shard from its photos to its file.

use std::fs::{self, File};
#[cfg(target_os = "linux")]
use std::io::Write as _;

#[cfg(target_os = "linux")]
use injerto_files::{Partial, unfinished};
use injerto_shards::{About, Answer, Done, Gathered, Input, Kind, Network, Photos, Precision, Problem, Shard, work};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use crate::{COLOURS, Colours, all, compute, photo, photos, put, rows, written};

#[test]
fn eight_shards_have_the_rows_of_one() {
    let folder = photos(40);
    let inputs = [folder.path().join("photos")];
    let (one, eight) = (folder.path().join("one"), folder.path().join("eight"));
    written(&compute(&inputs, "0/1", &COLOURS, &one));
    for shard in all(8) {
        written(&compute(&inputs, &shard.to_string(), &COLOURS, &eight));
    }
    let (one, eight) = (rows(&one), rows(&eight));
    assert_eq!(one.len(), 80);
    assert_eq!(one, eight);
    let first = &one[0];
    assert_eq!((first.key.as_str(), first.label.as_deref()), ("cats/000.png", Some("cats")));
    assert_eq!(first.features, [0.0, 255.0, 7.0]);
    assert_eq!(first.sha256, Some(Sha256::digest(photo(0)).into()));
}

#[test]
fn a_photo_that_cannot_be_read_is_a_row_that_says_why() {
    let folder = photos(10);
    let root = folder.path().join("photos");
    put(root.join("cats/004.png"), b"this is no photo");
    put(root.join("dogs/zzz.png"), &photo(3)[..40]);
    let out = folder.path().join("out");
    let outcome = compute(&[root], "0/1", &COLOURS, &out);
    assert_eq!((outcome.done, outcome.photos, outcome.errors), (Done::Written, 21, 2));
    let rows = rows(&out);
    let bad: Vec<_> = rows.iter().filter(|row| row.error.is_some()).collect();
    assert_eq!(bad.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["cats/004.png", "dogs/zzz.png"]);
    assert!(bad.iter().all(|row| row.features.is_empty() && row.sha256.is_some()));
    // The others have their own values.
    assert_eq!(rows[5].key, "cats/005.png");
    assert_eq!(rows[5].features, [5.0, 250.0, 7.0]);
    assert_eq!(Gathered::open(&[out]).expect("gathered").errors(), 2);
}

#[test]
fn half_precision_is_stored_as_such() {
    let folder = photos(2);
    let out = folder.path().join("out");
    let network = Colours { precision: Precision::F16, ..COLOURS };
    written(&compute(&[folder.path().join("photos")], "0/1", &network, &out));
    let file = File::open(out.join("shard-00000-of-00001.parquet")).expect("opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a table");
    let features = reader.schema().field_with_name("features").expect("features").data_type().to_string();
    assert!(features.contains('3') && features.contains("Float16"), "{features}");
    assert_eq!(rows(&out)[1].features, [1.0, 254.0, 7.0]);
}

#[test]
fn a_shard_is_computed_once() {
    let folder = photos(5);
    let root = folder.path().join("photos");
    let (inputs, out) = ([root.clone()], folder.path().join("out"));
    let again = |network: &Colours| compute(&inputs, "0/2", network, &out).done;
    assert_eq!(again(&COLOURS), Done::Written);
    assert_eq!(again(&COLOURS), Done::Skipped);
    // Another network, or another photo in this shard, is other work.
    assert_eq!(again(&Colours { model: "fedcba9876543210", ..COLOURS }), Done::Written);
    assert_eq!(again(&COLOURS), Done::Written);
    let mine = Shard::new(0, 2).expect("below");
    let own = (0..).map(|n| format!("new{n}.png")).find(|name| mine.holds(&format!("cats/{name}"))).expect("one");
    put(root.join("cats").join(own), &photo(1));
    assert_eq!(again(&COLOURS), Done::Written);
    let other = (0..).map(|n| format!("new{n}.png")).find(|name| !mine.holds(&format!("cats/{name}"))).expect("one");
    put(root.join("cats").join(other), &photo(1));
    assert_eq!(again(&COLOURS), Done::Skipped, "a photo of another shard changes nothing here");
    // A file that is damaged is written anew.
    fs::write(out.join(mine.file()), b"PAR1").expect("written");
    assert_eq!(again(&COLOURS), Done::Written);
}

#[test]
fn a_shard_that_is_stopped_leaves_nothing() {
    let folder = photos(20);
    let out = folder.path().join("out");
    let share =
        Input::open(&[folder.path().join("photos")]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let outcome = work(share, &COLOURS, &out, &mut |done| done < 7).expect("stopped");
    assert_eq!((outcome.done, outcome.photos), (Done::Stopped, 7));
    assert_eq!(fs::read_dir(&out).expect("a folder").count(), 0);
}

/// Begins a file as the shard of another process does.
#[cfg(target_os = "linux")]
fn begun(out: &std::path::Path) -> Partial {
    fs::create_dir_all(out).expect("a folder");
    let mut file = Partial::beside(&out.join("shard-00001-of-00002.parquet")).expect("begun");
    file.write_all(b"PAR1 and half of the rows").and_then(|()| file.flush()).expect("written");
    file
}

#[cfg(target_os = "linux")]
#[test]
fn an_unfinished_file_is_no_shard_and_stays_as_long_as_its_process_runs() {
    let folder = photos(3);
    let out = folder.path().join("out");
    let file = begun(&out);
    let [written] = &unfinished(&out)[..] else { panic!("one file") };
    // What a process has left that was killed has the same name, and no lock.
    let name = written.path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let left = out.join(name.replace(&file.token(), "killed"));
    fs::copy(&written.path, &left).expect("copied");
    self::written(&compute(&[folder.path().join("photos")], "0/2", &COLOURS, &out));
    assert!(written.path.exists() && !left.exists());
    fs::copy(&written.path, &left).expect("copied");
    assert_eq!(compute(&[folder.path().join("photos")], "0/2", &COLOURS, &out).done, Done::Skipped);
    assert!(written.path.exists() && !left.exists(), "a shard that is done removes it too");
    file.persist(&out.join("other")).expect("nobody has taken it");
}

/// A network that fails after three photos.
struct Failing;

impl Network for Failing {
    fn about(&self) -> About {
        About {
            image_size: None,
            name: "failing".to_owned(),
            model: "0".to_owned(),
            kind: Kind::Predictions { classes: vec!["a".to_owned()] },
        }
    }

    fn answers(&self, photos: Photos) -> Box<dyn Iterator<Item = Result<Answer, Problem>> + '_> {
        let answer = |(at, _)| match at {
            0..3 => Ok(Answer { prediction: Some("a".to_owned()), probabilities: vec![1.0], ..Answer::default() }),
            _ => Err(Problem::End("out of memory".into())),
        };
        Box::new(photos.enumerate().map(answer))
    }
}

#[test]
fn a_network_that_fails_ends_the_work_and_leaves_no_file() {
    let folder = photos(5);
    let out = folder.path().join("out");
    let share =
        Input::open(&[folder.path().join("photos")]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let error = work(share, &Failing, &out, &mut |_| true).expect_err("it fails");
    assert_eq!(error.to_string(), "out of memory");
    assert_eq!(fs::read_dir(&out).expect("a folder").count(), 0);
}

#[test]
fn rows_are_written_in_groups_so_that_memory_is_bounded() {
    let folder = photos(1);
    let list = folder.path().join("many.txt");
    // Photos that are not there are rows too, and cost nothing.
    let lines: String = (0..9000).map(|number| format!("gone/{number}.png\n")).collect();
    put(list.clone(), lines.as_bytes());
    let out = folder.path().join("out");
    let outcome = compute(&[list], "0/1", &COLOURS, &out);
    assert_eq!((outcome.photos, outcome.errors), (9000, 9000));
    let file = File::open(outcome.place.local().expect("a file")).expect("opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a table");
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [4096, 4096, 808]);
}
