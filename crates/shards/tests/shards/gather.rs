//! What `Gathered` says of the files of shards.

use std::fs;
use std::path::PathBuf;

use injerto_shards::{Fault, Gathered};

use crate::{COLOURS, Colours, compute, photos, put};

/// The faults of the shards in some folders, in words.
fn faults(folders: &[PathBuf]) -> Vec<String> {
    let gathered = Gathered::open(folders).expect("shards");
    let same = gathered.same_keys().expect("keys");
    gathered.faults().iter().chain(&same).map(ToString::to_string).collect()
}

#[track_caller]
fn check(faults: &[String], expected: &[&[&str]]) {
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    for (fault, words) in faults.iter().zip(expected) {
        words.iter().for_each(|word| assert!(fault.contains(word), "no {word:?} in {fault}"));
    }
}

#[test]
fn shards_that_are_missing_are_named() {
    let folder = photos(20);
    let (inputs, out) = ([folder.path().join("photos")], folder.path().join("out"));
    for shard in ["0/5", "1/5", "4/5"] {
        compute(&inputs, shard, &COLOURS, &out);
    }
    check(&faults(std::slice::from_ref(&out)), &[&["2/5, 3/5 are missing"]]);
    compute(&inputs, "2/5", &COLOURS, &out);
    check(&faults(std::slice::from_ref(&out)), &[&["the shard 3/5 is missing"]]);
    // The work may be spread over folders.
    let other = folder.path().join("other");
    compute(&inputs, "3/5", &COLOURS, &other);
    check(&faults(&[out, other]), &[]);
}

#[test]
fn two_sets_of_shards_are_gathered_together() {
    let folder = photos(3);
    let (cats, dogs) = (folder.path().join("cats"), folder.path().join("dogs"));
    let list = |class: &str| {
        let list = folder.path().join(format!("{class}.txt"));
        put(list.clone(), format!("photos/{class}/000.png\nphotos/{class}/001.png\n").as_bytes());
        [list]
    };
    compute(&list("cats"), "0/1", &COLOURS, &cats);
    for shard in ["0/2", "1/2"] {
        compute(&list("dogs"), shard, &COLOURS, &dogs);
    }
    let both = [cats, dogs];
    check(&faults(&both), &[]);
    assert_eq!(Gathered::open(&both).expect("shards").photos(), 4);
}

#[test]
fn the_same_photos_twice_are_found_by_their_keys() {
    let folder = photos(3);
    let inputs = [folder.path().join("photos")];
    let outs = ["one", "two"].map(|name| folder.path().join(name));
    outs.iter().for_each(|out| drop(compute(&inputs, "0/1", &COLOURS, out)));
    check(&faults(&outs), &[&["6 keys stand for several photos", "cats/000.png"]]);
}

#[test]
fn of_many_keys_that_stand_for_several_photos_the_first_are_named_and_all_are_counted() {
    let folder = photos(60);
    let inputs = [folder.path().join("photos")];
    let outs = ["one", "two"].map(|name| folder.path().join(name));
    outs.iter().for_each(|out| drop(compute(&inputs, "0/1", &COLOURS, out)));
    check(&faults(&outs), &[&["120 keys stand for several photos", "cats/000.png", "cats/007.png … and 112 more"]]);
}

#[test]
fn a_file_with_the_name_of_another_shard_is_named_with_its_own() {
    let folder = photos(10);
    let (inputs, out) = ([folder.path().join("photos")], folder.path().join("out"));
    for shard in ["0/2", "1/2"] {
        compute(&inputs, shard, &COLOURS, &out);
    }
    let name = |index: u32| out.join(format!("shard-0000{index}-of-00002.parquet"));
    fs::copy(name(0), name(1)).expect("copied");
    let renamed: &[&str] =
        &["shard-00001-of-00002.parquet: the shard in this file is 0/2", "name shard-00000-of-00002.parquet"];
    check(&faults(std::slice::from_ref(&out)), &[renamed, &["keys stand for several photos"]]);
}

#[test]
fn shards_of_two_networks_do_not_belong_together() {
    let folder = photos(10);
    let (inputs, out) = ([folder.path().join("photos")], folder.path().join("out"));
    for shard in ["0/3", "1/3"] {
        compute(&inputs, shard, &COLOURS, &out);
    }
    compute(&inputs, "2/3", &Colours { model: "fedcba9876543210", ..COLOURS }, &out);
    check(&faults(&[out]), &[&["shard-00002-of-00003.parquet", "fedcba987654", "another network"]]);
}

#[test]
fn shards_of_two_divisions_in_one_folder_are_told_apart() {
    let folder = photos(10);
    let (inputs, out) = ([folder.path().join("photos")], folder.path().join("out"));
    for shard in ["0/2", "1/2", "0/3", "1/3", "2/3"] {
        compute(&inputs, shard, &COLOURS, &out);
    }
    let gathered = Gathered::open(&[out]).expect("shards");
    assert!(gathered.faults().iter().any(|fault| matches!(fault, Fault::Mixed { of, .. } if *of == [2, 3])));
}

#[test]
fn a_damaged_shard_is_named() {
    let folder = photos(10);
    let (inputs, out) = ([folder.path().join("photos")], folder.path().join("out"));
    for shard in ["0/2", "1/2"] {
        compute(&inputs, shard, &COLOURS, &out);
    }
    let path = out.join("shard-00001-of-00002.parquet");
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    check(
        &faults(std::slice::from_ref(&out)),
        &[&["shard-00001-of-00002.parquet", "remove it and compute this shard again"]],
    );
    // The end of the file, which says what it holds, is whole.
    let mut inside = bytes;
    inside[4..100].fill(0xff);
    fs::write(&path, &inside).expect("written");
    check(
        &faults(std::slice::from_ref(&out)),
        &[&["shard-00001-of-00002.parquet: it is damaged", "remove it and compute this shard again"]],
    );
    fs::remove_file(&path).expect("removed");
    compute(&inputs, "1/2", &COLOURS, &out);
    check(&faults(&[out]), &[]);
}

#[test]
fn a_folder_without_shards_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Gathered::open(&[folder.path().to_owned()]).expect_err("empty").to_string();
    assert!(error.contains("no shards") && error.contains("injerto features"), "{error}");
}
