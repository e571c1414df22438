//! Where photos come from, and how they are divided.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use injerto_data::folder::Reason;
use injerto_shards::{Input, Photo, Shard, ShardsError};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, ZstdLevel};
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;

use crate::{all, keys, photo, photos, put};

/// Writes a tar archive of these files.
fn tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut archive = tar::Builder::new(File::create(path).expect("created"));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes.as_slice()).expect("appended");
    }
    archive.finish().expect("finished");
}

/// Writes a Parquet table of these columns.
fn table(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    compressed(path, columns, Compression::UNCOMPRESSED);
}

/// The same with a compression.
fn compressed(path: &Path, columns: Vec<(&str, ArrayRef)>, compression: Compression) {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let how = WriterProperties::builder().set_compression(compression).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("created"), batch.schema(), Some(how)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// Says at the end of a table that one of its columns is compressed with Brotli, which no code here can write.
fn say_brotli(path: &Path, column: usize) {
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse(&File::open(path).expect("opened")).expect("a table");
    let mut metadata = reader.finish().expect("metadata").into_builder();
    let groups = metadata.take_row_groups().into_iter().map(|group| {
        let mut columns = group.columns().to_vec();
        let said = columns[column].clone().into_builder().set_compression(Compression::BROTLI(BrotliLevel::default()));
        columns[column] = said.build().expect("a column");
        group.into_builder().set_column_metadata(columns).build().expect("a group of rows")
    });
    let groups = groups.collect();
    let file = File::options().append(true).open(path).expect("opened");
    ParquetMetaDataWriter::new(file, &metadata.set_row_groups(groups).build()).finish().expect("written");
}

fn whole(path: PathBuf) -> Vec<Photo> {
    let share = Input::open(&[path]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    share.photos().collect::<Result<_, _>>().expect("photos")
}

/// Key, label and content of a photo.
type Told = (String, Option<String>, Result<Vec<u8>, String>);

fn told(photos: Vec<Photo>) -> Vec<Told> {
    photos.into_iter().map(|photo| (photo.key, photo.label, photo.content.map_err(String::from))).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn photos_of_a_folder_have_its_classes_and_are_known_by_their_path_below_it() {
    let folder = photos(2);
    let found: Vec<_> = whole(folder.path().join("photos")).into_iter().map(|photo| (photo.key, photo.label)).collect();
    let expected =
        [("cats/000.png", "cats"), ("cats/001.png", "cats"), ("dogs/000.png", "dogs"), ("dogs/001.png", "dogs")];
    assert_eq!(found, expected.map(|(key, label)| (key.to_owned(), text(label))));
    // Below a class there are no classes.
    let found = whole(folder.path().join("photos/cats"));
    assert_eq!(
        found.iter().map(|photo| (photo.key.as_str(), &photo.label)).collect::<Vec<_>>(),
        [("000.png", &None), ("001.png", &None)]
    );
}

#[test]
fn a_list_names_photos_that_may_be_missing() {
    let folder = photos(1);
    let list = folder.path().join("photos/list.csv");
    put(list.clone(), b"path,label\ncats/000.png,cat\ndogs/gone.png,dog\n");
    let found = told(whole(list));
    assert_eq!(found[0], ("cats/000.png".to_owned(), text("cat"), Ok(photo(0))));
    assert_eq!(found[1], ("dogs/gone.png".to_owned(), text("dog"), Err("there is no such file".to_owned())));
    let list = folder.path().join("list.jsonl");
    put(list.clone(), b"{\"file_name\": \"photos/dogs/000.png\", \"label\": \"dog\"}\n");
    assert_eq!(told(whole(list)), [("photos/dogs/000.png".to_owned(), text("dog"), Ok(photo(100)))]);
}

#[test]
fn files_of_one_photo_in_an_archive_have_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("train-000.tar");
    tar(
        &path,
        &[
            ("a/001.jpg", photo(1)),
            ("a/001.cls", b"3\n".to_vec()),
            ("a/002.json", br#"{"label": "dog", "width": 4}"#.to_vec()),
            ("a/002.png", photo(2)),
            ("a/003.txt", b"a caption alone is no photo".to_vec()),
            ("004.left.png", photo(4)),
            ("005.mask.png", photo(0)),
            ("005.jpg", photo(5)),
            ("005.depth.png", photo(0)),
        ],
    );
    let expected = [("a/001", text("3"), 1), ("a/002", text("dog"), 2), ("004", None, 4), ("005", None, 5)];
    assert_eq!(told(whole(path)), expected.map(|(key, label, colour)| (key.to_owned(), label, Ok(photo(colour)))));
}

#[test]
fn two_photos_of_one_name_in_an_archive_are_an_error_with_the_fix() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pairs.tar");
    tar(&path, &[("1.left.png", photo(1)), ("1.right.png", photo(2))]);
    let share = Input::open(&[path]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let error = share.photos().find_map(Result::err).expect("an error").to_string();
    assert!(error.contains("1.left.png and 1.right.png are two images with one key; call only the photo"), "{error}");
}

#[test]
fn what_is_named_must_be_there_and_be_an_input() {
    let folder = photos(1);
    let check = |name: &str, expected: &str| {
        let error = Input::open(&[folder.path().join(name)]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    };
    check("fotos", "No such file");
    check("photos/dogs/gone.png", "No such file");
    check("gone.tar", "No such file");
    put(folder.path().join("photos.tar.gz"), b"packed");
    check("photos.tar.gz", "expected images, .tar or .parquet files");
    let alone = [folder.path().join("photos/dogs/000.png")];
    assert_eq!(keys(&alone, Shard::WHOLE).len(), 1);
}

#[test]
fn archives_and_tables_in_a_folder_are_not_left_out() {
    let folder = photos(1);
    tar(&folder.path().join("photos/more.tar"), &[("1.png", photo(1))]);
    put(folder.path().join("photos/notes.pdf"), b"");
    let input = Input::open(&[folder.path().join("photos")]).expect("photos");
    let left_out: Vec<_> = input.left_out.iter().flat_map(|left_out| left_out.keys().cloned()).collect();
    assert_eq!(left_out, [Reason::Ending(".pdf".to_owned())]);
}

#[test]
fn an_archive_that_is_cut_short_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.tar");
    tar(&path, &[("1.png", photo(1)), ("2.png", photo(2))]);
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..512 + 40]).expect("written");
    let share = Input::open(&[path]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let mut found = share.photos();
    let error = found.next().expect("an error").expect_err("cut").to_string();
    assert!(error.contains("cut.tar") && error.contains("cut short"), "{error}");
    assert!(found.next().is_none(), "after an error there is nothing more");
}

#[test]
fn a_table_holds_photos_as_bytes_or_names_them() {
    let folder = photos(2);
    let (bytes, paths) = (folder.path().join("bytes.parquet"), folder.path().join("paths.parquet"));
    let images = [photo(1), photo(2)];
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(images.iter()));
    table(&bytes, vec![("image", images), ("label", Arc::new(Int64Array::from(vec![Some(5), None])))]);
    let expected = [("bytes.parquet#0", text("5"), Ok(photo(1))), ("bytes.parquet#1", None, Ok(photo(2)))];
    assert_eq!(told(whole(bytes)), expected.map(|(key, label, content)| (key.to_owned(), label, content)));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["photos/cats/001.png", "photos/none.png"]));
    table(&paths, vec![("__key__", Arc::new(StringArray::from(vec!["one", "two"]))), ("path", names)]);
    let expected = [("one", Ok(photo(1))), ("two", Err("there is no such file".to_owned()))];
    assert_eq!(told(whole(paths)), expected.map(|(key, content)| (key.to_owned(), None, content)));
}

#[test]
fn a_table_is_read_with_the_compressions_that_writers_choose() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("photos.parquet");
    // pyarrow and Spark choose Snappy, Polars Zstandard.
    for compression in [Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default()), Compression::LZ4_RAW] {
        let image: ArrayRef = Arc::new(BinaryArray::from_iter_values([photo(1), photo(2)]));
        compressed(&path, vec![("image", image)], compression);
        let found: Vec<_> = whole(path.clone()).into_iter().map(|photo| photo.content).collect();
        assert_eq!(found, [Ok(photo(1)), Ok(photo(2))], "{compression}");
    }
}

#[test]
fn columns_that_say_nothing_of_photos_are_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("photos.parquet");
    let names = || Arc::new(StringArray::from(vec!["one"])) as ArrayRef;
    let images = |colour| Arc::new(BinaryArray::from_iter_values([photo(colour)])) as ArrayRef;
    table(&path, vec![("caption", names()), ("label", names()), ("mask", images(2)), ("image", images(1))]);
    // Whoever reads one of these columns fails.
    say_brotli(&path, 0);
    say_brotli(&path, 2);
    assert_eq!(told(whole(path.clone())), [("photos.parquet#0".to_owned(), text("one"), Ok(photo(1)))]);
    say_brotli(&path, 3);
    let share = Input::open(&[path]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let error = share.photos().next().expect("an error").expect_err("not read").to_string();
    assert!(error.contains("photos.parquet") && error.contains("Brotli, which is not read: write it with"), "{error}");
}

#[test]
fn a_table_without_photos_says_which_columns_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prices.parquet");
    table(&path, vec![("price", Arc::new(Int64Array::from(vec![3])))]);
    let share = Input::open(&[path]).and_then(|input| input.share(Shard::WHOLE)).expect("a share");
    let error = share.photos().next().expect("an error").expect_err("no photos").to_string();
    assert!(error.contains("prices.parquet") && error.contains("the columns are price"), "{error}");
}

#[test]
fn each_photo_is_in_one_shard_whatever_their_number() {
    let folder = photos(30);
    let inputs = [folder.path().join("photos")];
    let mut expected = keys(&inputs, Shard::WHOLE);
    expected.sort();
    for of in [1, 2, 3, 8, 100] {
        let mut found: Vec<String> = all(of).flat_map(|shard| keys(&inputs, shard)).collect();
        found.sort();
        assert_eq!(found, expected, "{of} shards");
    }
    // A photo that comes later moves no other.
    let before = keys(&inputs, Shard::new(1, 3).expect("below"));
    put(folder.path().join("photos/cats/zzz.png"), &photo(9));
    let after = keys(&inputs, Shard::new(1, 3).expect("below"));
    assert_eq!(after.into_iter().filter(|key| key != "cats/zzz.png").collect::<Vec<_>>(), before);
}

#[test]
fn archives_are_dealt_whole_unless_there_are_fewer_than_shards() {
    let folder = tempfile::tempdir().expect("a folder");
    for archive in 0..4 {
        let files: Vec<_> = (0..5).map(|number| (format!("{archive}-{number}.png"), photo(number))).collect();
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        tar(&folder.path().join(format!("{archive}.tar")), &files);
    }
    let inputs = [folder.path().to_owned()];
    let of = |index: u32, of: u32| keys(&inputs, Shard::new(index, of).expect("below"));
    let archives =
        |keys: Vec<String>| keys.iter().map(|key| key[..1].to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(archives(of(0, 2)).into_iter().collect::<Vec<_>>(), ["0", "2"]);
    assert_eq!(archives(of(1, 2)).into_iter().collect::<Vec<_>>(), ["1", "3"]);
    // Eight processes share four archives: each reads all of them, and the keys decide.
    let mut found: Vec<String> = (0..8).flat_map(|index| of(index, 8)).collect();
    found.sort();
    assert_eq!(found, of(0, 1));
    assert!((0..8).filter(|&index| !of(index, 8).is_empty()).count() > 4);
}

#[test]
fn two_photos_of_one_key_are_an_error_that_names_both() {
    let folder = photos(1);
    let inputs = ["photos/cats", "photos/dogs"].map(|name| folder.path().join(name));
    let error = Input::open(&inputs).and_then(|input| input.share(Shard::WHOLE)).expect_err("the same key");
    assert!(matches!(&error, ShardsError::SameKey { key, .. } if key == "000.png"), "{error}");
    assert!(error.to_string().contains("dogs/000.png"), "{error}");
}

#[test]
fn a_folder_without_photos_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Input::open(&[folder.path().to_owned()]).expect_err("empty").to_string();
    assert!(error.contains("no photos"), "{error}");
}
