//! Labels that lists and patterns give.

use std::fs;
use std::path::Path;

use injerto_data::folder::{ClassColumns, Column, Folder, Labels, ListFiles, Lists, Options, Reason, open};

/// A root with these images, all empty, and a list of this name.
fn root(images: &[&str], list: &str, text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (file, text) in images.iter().map(|&image| (image, "")).chain([(list, text)]) {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    root
}

fn listed(file: &str) -> Labels {
    ListFiles::One { file: file.into() }.into()
}

fn with(labels: Labels) -> Options {
    Options { labels: Some(labels), ..Options::default() }
}

/// Path and class of each image of each part.
fn told(root: &Path, folder: &Folder) -> Vec<String> {
    let parts =
        [("train", Some(&folder.train)), ("validation", folder.validation.as_ref()), ("test", folder.test.as_ref())];
    let mut all = Vec::new();
    for (part, dataset) in parts.into_iter().filter_map(|(part, dataset)| Some((part, dataset?))) {
        for sample in &dataset.samples {
            let path =
                sample.origin.path().and_then(|path| path.strip_prefix(root).ok()).expect("a file below the root");
            let group = sample.group.as_ref().map_or(String::new(), |group| format!(" of {group}"));
            all.push(format!("{part}: {} {}{group}", path.display(), sample.label.name(&dataset.classes)));
        }
    }
    all
}

const IMAGES: [&str; 4] = ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/my 4.png"];

fn check(list: &str, text: &str, labels: Labels, expected: &[&str]) {
    let root = root(&IMAGES, list, text);
    let found = open(root.path(), with(labels)).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(told(root.path(), &found), expected, "{text:?}");
}

fn refused(list: &str, text: &str, labels: Labels, expected: &str) {
    let root = root(&IMAGES, list, text);
    let error = open(root.path(), with(labels)).expect_err(text).to_string();
    let error = error.replace(&root.path().display().to_string(), "ROOT");
    assert!(error.contains(expected), "{text:?}: {error}");
}

#[test]
fn a_list_gives_the_classes_in_every_usual_form() {
    let expected = ["train: a/2.jpg cat", "train: b/my 4.png cat", "train: a/1.jpg dog", "train: b/3.jpg dog"];
    for (list, text) in [
        ("l.csv", "path,class\na/1.jpg,dog\na/2.jpg,cat\nb/3.jpg,dog\nb/my 4.png,cat\n"),
        ("l.csv", "breed;id\r\ndog;1\r\ncat;2\r\ndog;3\r\ncat;my 4\r\n"),
        ("l.csv", "a/1.jpg,dog\na/2.jpg,cat\nb/3.jpg,dog\nb/my 4.png,cat"),
        ("l.csv", "x,file_name,label\n0,1.jpg,dog\n1,2.jpg,cat\n2,b\\3.jpg,dog\n3,./b/my 4.png,cat\n"),
        ("l.csv", "path|class\na/1.jpg|dog\na/2.jpg|cat\nb/3.jpg|dog\nb/my 4.png|cat\n"),
        ("l.csv", "sep=;\r\nid;breed\r\n1;dog\r\n2;cat\r\n3;dog\r\nmy 4;cat\r\n"),
        ("l.csv", "sep=\t\r\nid\tbreed\r\n1\tdog\r\n2\tcat\r\n3\tdog\r\nmy 4\tcat\r\n"),
        ("l.csv", "path,class\ra/1.jpg,dog\ra/2.jpg,cat\rb/3.jpg,dog\rb/my 4.png,cat\r"),
        ("l.tsv", "path,class\na/1.jpg,dog\na/2.jpg,cat\nb/3.jpg,dog\nb/my 4.png,cat\n"),
        ("l.txt", "# comment\npath|class\na/1.jpg|dog\na/2.jpg|cat\nb/3.jpg|dog\nb/my 4.png|cat\n"),
        ("l.txt", "\"a/1.jpg\",dog\na/2.jpg,cat\nb/3.jpg,dog\nb/my 4.png,cat\n"),
        ("l.tsv", "image\tspecies\na/1\tdog\na/2\tcat\nb/3\tdog\nb/my 4\tcat\n"),
        ("l.txt", "# comment\na/1.jpg dog\na/2.jpg\tcat\nb/3.jpg dog\nb/my 4.png\tcat\n"),
        (
            "a/metadata.jsonl",
            "{\"file_name\":\"1.jpg\",\"label\":\"dog\"}\n{\"label\":\"cat\",\"file_name\":\"2.jpg\",\"x\":[1]}\n\
             {\"file_name\":\"3.jpg\",\"label\":\"dog\"}\n{\"file_name\":\"b/my 4.png\",\"label\":\"cat\"}\n",
        ),
    ] {
        check(list, text, listed(list), &expected);
    }
}

#[test]
fn a_list_of_paths_takes_the_classes_from_the_folders_and_equals_folders_of_classes() {
    let root = root(&IMAGES, "list.txt", "b/my 4.png\na/1.jpg\nb/3.jpg\na/2.jpg\n");
    let options = Options { validation_split: Some(0.5), seed: 7, ..Options::default() };
    let by_list = open(root.path(), Options { labels: Some(listed("list.txt")), ..options.clone() }).expect("listed");
    let by_folder = open(root.path(), options).expect("folders of classes");
    assert_eq!((by_list.train, by_list.validation), (by_folder.train, by_folder.validation));
}

#[test]
fn a_column_or_a_list_per_part_divides_the_images() {
    let text = "path,class,split\na/1.jpg,x,train\na/2.jpg,y,Training\nb/3.jpg,x,val\nb/my 4.png,y,test\n";
    let expected = ["train: a/1.jpg x", "train: a/2.jpg y", "validation: b/3.jpg x", "test: b/my 4.png y"];
    check("l.csv", text, listed("l.csv"), &expected);
    let marked = "path,class,is_valid\na/1.jpg,x,False\na/2.jpg,y,0\nb/3.jpg,x,True\n";
    check("l.csv", marked, listed("l.csv"), &expected[..3]);
    refused(
        "l.csv",
        "path,class,is_test\n1,x,train\n",
        listed("l.csv"),
        "line 2: 'train' is not a part of a split: expected true or",
    );
    let both = "path,class,is_valid,is_test\n1,x,0,0\n2,y,0,0\n3,x,1,0\n";
    refused("l.csv", both, listed("l.csv"), "several columns mark the images of a part; the columns are path, class");
    let root = root(&IMAGES, "train.txt", "1 x\n2 y\n");
    fs::write(root.path().join("test.txt"), "3 x\n").expect("written");
    let files = ListFiles::Parts { train: "train.txt".into(), validation: None, test: Some("test.txt".into()) };
    let found = open(root.path(), with(files.into())).expect("two lists");
    assert_eq!(told(root.path(), &found), ["train: a/1.jpg x", "train: a/2.jpg y", "test: b/3.jpg x"]);
    assert_eq!(found.inventory.left_out[&Reason::NotListed].count, 1, "what no list names is counted");
    let twice = Options { test_split: Some(0.5), ..with(listed("l.csv")) };
    fs::write(root.path().join("l.csv"), text).expect("written");
    let error = open(root.path(), twice).expect_err("it is divided").to_string();
    assert!(error.contains("data.test_split has no effect"), "{error}");
}

#[test]
fn columns_are_named_or_counted_and_one_may_hold_groups() {
    let text = "a/1.jpg 7 u x\na/2.jpg 8 u y\nb/3.jpg 9 v x\n";
    let place = |place| Some(Column::Place(place));
    let class = |at| place(at).map(ClassColumns::One);
    let files = ListFiles::One { file: "l.txt".into() };
    let lists = Lists { files, path: None, class: class(4), separator: None, split: None, group: place(3) };
    let expected = ["train: a/1.jpg x of u", "train: b/3.jpg x of v", "train: a/2.jpg y of u"];
    check("l.txt", text, Labels::Lists(lists.clone()), &expected);
    refused(
        "l.txt",
        text,
        listed("l.txt"),
        "ROOT/l.txt: it is unclear which column holds the classes; the list has no header",
    );
    let beyond = Lists { class: class(5), ..lists };
    refused("l.txt", text, Labels::Lists(beyond), "there is no column 5; the list has no header, and 4 columns");
    let named = Lists {
        class: Some(Column::Name("kind".to_owned()).into()),
        group: None,
        ..match listed("l.csv") {
            Labels::Lists(lists) => lists,
            Labels::Patterns { .. } => unreachable!("it is a list"),
        }
    };
    let text = "path,kind,class\na/1.jpg,10,q\na/2.jpg,9,q\n";
    check("l.csv", text, Labels::Lists(named.clone()), &["train: a/2.jpg 9", "train: a/1.jpg 10"]);
    refused("l.csv", "path,sort\n1,x\n", Labels::Lists(named), "there is no column 'kind'; the columns are path, sort");
}

#[test]
fn a_list_that_contradicts_itself_or_the_folder_is_refused_with_its_line() {
    let check = |text: &str, expected: &str| refused("l.csv", text, listed("l.csv"), expected);
    check(
        "path,class\na/1.jpg,x\na/2.jpg,y\n1.jpg,y\n",
        "ROOT/a/1.jpg is of class 'x' and of class 'y' (ROOT/l.csv, line 2 and",
    );
    check("path,class\na/1.jpg,x\na/9.jpg,y\n", "1 of 2 listed images are not there: 'a/9.jpg' (line 3)");
    check("path,class\nold/1.JPG,x\n", "capitals count, and 'old/1.JPG' may mean ROOT/a/1.jpg; correct them");
    check("path:class\na/1.jpg:x\n", "one column each; put a comma, a semicolon, a tab or | between path and class");
    check("path,class\na/1.jpg,x\n../../etc/passwd,y\n", "are not there: '../../etc/passwd' (line 3)");
    check("path,class\na/1.jpg,x\na/2.jpg\n", "line 3: expected at least 2 fields, found 1");
    check("path,class\na/1.jpg,x\na/2.jpg,\n", "line 3: there is no class");
    check("path,class\na/1.jpg,x\na/2.jpg,x\n", "all images are of class 'x'");
    check("path,class,split\na/1.jpg,x,train\na/2.jpg,y,banana\n", "line 3: 'banana' is not a part of a split");
    check("path,class,split\na/1.jpg,x,train\na/2.jpg,y,test\n", "no training images of y");
    check("path,class\n\"a/1.jpg,x\n", "line 2: a quotation mark is not closed");
    check("path,class\na/1.jpg,x\na/2.jpg,great, grey\n", "line 3: 3 fields, and the header has 2");
    check("a/1.jpg,x\na/2.jpg,great, grey\n", "line 2: 3 fields, and the first line has 2");
    check("path,label,Label\na/1.jpg,x,y\n", "2 columns are called 'label': rename all but one");
    refused("l.txt", "a/1.jpg dane\na/2.jpg great dane\n", listed("l.txt"), "line 2: 3 fields");
    check("", "this list names no images");
    refused("l.jsonl", "{}\n[1]\n", listed("l.jsonl"), "line 2: expected a JSON object");
    refused("l.json", "{}", listed("l.json"), "save it as .csv");
    refused("l.csv", "", listed("other.csv"), "other.csv: cannot be read");
    let ambiguous = root(&["a/1.jpg", "b/1.jpg"], "l.csv", "path,class\n1.jpg,x\n");
    let error = open(ambiguous.path(), with(listed("l.csv"))).expect_err("two").to_string();
    assert!(error.contains("line 2: '1.jpg' may be ") && error.contains("write more of the path"), "{error}");
    let phone = root(&["a/1.jpg", "a/2.heic"], "l.csv", "path,class\na/1.jpg,x\na/2.heic,y\n");
    let error = open(phone.path(), with(listed("l.csv"))).expect_err("not read").to_string();
    assert!(error.contains("files that end in .heic are not read: `heif-convert"), "{error}");
}

#[test]
fn patterns_of_names_give_the_classes() {
    let images = ["cat.0.jpg", "deep/cat.1.jpg", "dog.0.jpg", "hund/x/y.jpg", "other.jpg"];
    let root = root(&images, "notes.txt", "");
    let open = |patterns: &[(&str, &[&str])]| {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let patterns = patterns.iter().map(|(class, texts)| ((*class).to_owned(), owned(texts))).collect();
        open(root.path(), with(Labels::Patterns { patterns }))
    };
    let found = open(&[("dog", &["dog.*", "hund/**"]), ("cat", &["cat.*"])]).expect("each class has images");
    let expected =
        ["train: cat.0.jpg cat", "train: deep/cat.1.jpg cat", "train: dog.0.jpg dog", "train: hund/x/y.jpg dog"];
    assert_eq!(told(root.path(), &found), expected);
    assert_eq!(found.inventory.left_out[&Reason::NotListed].count, 1);
    let error = open(&[("cat", &["cat.*"]), ("dog", &["*.jpg"])]).expect_err("two classes").to_string();
    assert!(
        error.contains("is of class 'cat' and of class 'dog' (pattern \"cat.*\" and pattern \"*.jpg\")"),
        "{error}"
    );
    let error = open(&[("cat", &["cat.*"]), ("bird", &["bird*"])]).expect_err("none").to_string();
    assert!(error.contains("no image matches bird* of class 'bird'"), "{error}");
}

/// A list of images that have several classes, and what it says.
#[track_caller]
fn several(list: &str, text: &str, options: Options, classes: &[&str], expected: &[&str]) -> Folder {
    let root = root(&IMAGES, list, text);
    let found = open(root.path(), options).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(found.train.classes, classes, "{text:?}");
    assert_eq!(told(root.path(), &found), expected, "{text:?}");
    assert!(found.train.is_multi_label() && found.inventory.several.is_some(), "{text:?}");
    found
}

#[test]
fn a_list_gives_several_classes_per_image_in_every_usual_form() {
    let classes = ["animal", "cat", "rose"];
    let expected = ["train: a/1.jpg animal|cat", "train: a/2.jpg ", "train: b/3.jpg rose", "train: b/my 4.png animal"];
    for (list, text) in [
        ("l.csv", "path,labels\na/1.jpg,cat|animal\na/2.jpg,\nb/3.jpg,rose\nb/my 4.png,animal\n"),
        ("l.csv", "path,labels\na/1.jpg, cat ; animal\na/2.jpg,\nb/3.jpg,rose\nb/my 4.png,animal;\n"),
        ("l.csv", "path,animal,cat,rose\n1,1,1,0\n2,0,0,0\n3,0,0,1\nmy 4,1,0,0\n"),
        ("l.csv", "image,split,animal,cat,rose\n1,train,1.0,True,0\n2,train,0,,0\n3,train,0,0,1\nmy 4,train,1,0,0\n"),
        (
            "l.jsonl",
            "{\"image\":\"1\",\"labels\":[\"cat\",\"animal\"]}\n{\"image\":\"2\",\"labels\":[]}\n\
             {\"image\":\"3\",\"labels\":[\"rose\"]}\n{\"image\":\"my 4\",\"labels\":[\"animal\"]}\n",
        ),
        (
            "a/metadata.csv",
            "file_name,labels\n1.jpg,\"['animal', 'cat']\"\n2.jpg,[]\nb/3.jpg,\"[\"\"rose\"\"]\"\nb/my 4.png,['animal']\n",
        ),
    ] {
        several(list, text, with(listed(list)), &classes, &expected);
    }
}

#[test]
fn several_classes_can_be_asked_for_where_no_line_shows_them() {
    let asked = |labels: Labels| Options { multi_label: Some(true), ..with(labels) };
    // One line per image and class, as in Open Images.
    let text = "path,class\na/1.jpg,cat\na/1.jpg,animal\nb/3.jpg,rose\n";
    several(
        "l.csv",
        text,
        asked(listed("l.csv")),
        &["animal", "cat", "rose"],
        &["train: a/1.jpg animal|cat", "train: b/3.jpg rose"],
    );
    refused("l.csv", text, listed("l.csv"), "or set data.multi_label = true for images that have several classes");
    let Labels::Lists(lists) = listed("l.csv") else { unreachable!("it is a list") };
    let spaced = Labels::Lists(Lists { separator: Some(" ".to_owned()), ..lists.clone() });
    let text = "path,class\na/1.jpg,haze primary\na/2.jpg,clear\n";
    several(
        "l.csv",
        text,
        with(spaced),
        &["clear", "haze", "primary"],
        &["train: a/1.jpg haze|primary", "train: a/2.jpg clear"],
    );
    // Of the columns of a table, these are classes.
    let each = ["x", "y"].map(|name| Column::Name(name.to_owned())).to_vec();
    let columns = Labels::Lists(Lists { class: Some(ClassColumns::Each(each)), ..lists });
    let text = "path,x,age,y\na/1.jpg,1,30,1\na/2.jpg,0,41,1\n";
    several("l.csv", text, with(columns), &["x", "y"], &["train: a/1.jpg x|y", "train: a/2.jpg y"]);
    let patterns = [("all", "*.jpg"), ("one", "1.*")].map(|(class, text)| (class.to_owned(), vec![text.to_owned()]));
    let patterns = Labels::Patterns { patterns: patterns.into() };
    let expected = ["train: a/1.jpg all|one", "train: a/2.jpg all", "train: b/3.jpg all"];
    several("l.csv", "", asked(patterns), &["all", "one"], &expected);
}

#[test]
fn one_class_per_image_stays_one_class_per_image() {
    // Columns that hold exactly one 1 in each line, as ISIC's tables.
    check(
        "l.csv",
        "path,mel,nv\na/1.jpg,1,0\na/2.jpg,0,1\n",
        listed("l.csv"),
        &["train: a/1.jpg mel", "train: a/2.jpg nv"],
    );
    let root = root(&IMAGES, "l.csv", "path,class\na/1.jpg,x|y\na/2.jpg,z\n");
    let one = Options { multi_label: Some(false), ..with(listed("l.csv")) };
    let found = open(root.path(), one).expect("a name with a bar");
    assert_eq!(told(root.path(), &found), ["train: a/1.jpg x|y", "train: a/2.jpg z"]);
    assert!(!found.train.is_multi_label() && found.inventory.several.is_none());
    fs::write(root.path().join("l.csv"), "path,mel,nv\na/1.jpg,1,1\na/2.jpg,0,1\n").expect("written");
    let one = Options { multi_label: Some(false), ..with(listed("l.csv")) };
    let error = open(root.path(), one).expect_err("two").to_string();
    assert!(error.contains("line 2: 2 of the columns of classes hold 1 (mel, nv)"), "{error}");
    refused("l.csv", "path,class\na/1.jpg,x;\na/2.jpg,x\n", listed("l.csv"), "there is only one class, 'x'");
    refused("l.csv", "path,mel,nv\na/1.jpg,1,1\na/2.jpg,2,1\n", listed("l.csv"), "it is unclear which column");
}

#[test]
fn a_stratified_split_gives_each_part_its_share_of_each_class_that_images_have() {
    // 200 images: half of them animals, a tenth of the animals cats, and ten images of nothing; ten are rare and animals.
    let images: Vec<String> = (0..200).map(|at| format!("{at:03}.jpg")).collect();
    let names: Vec<&str> = images.iter().map(String::as_str).collect();
    let line = |at: usize| {
        let mut classes = Vec::new();
        classes.extend(at.is_multiple_of(2).then_some("animal"));
        classes.extend(at.is_multiple_of(20).then_some("cat"));
        classes.extend((at % 2 == 1 && at % 20 != 1).then_some("plant"));
        classes.extend((at % 20 == 2).then_some("rare"));
        format!("{at:03}.jpg,{}\n", classes.join("|"))
    };
    let root = root(&names, "l.csv", &format!("path,class\n{}", (0..200).map(line).collect::<String>()));
    for seed in 0..5 {
        let shares = Options {
            validation_split: Some(0.2),
            test_split: Some(0.1),
            stratify: true,
            seed,
            ..with(listed("l.csv"))
        };
        let found = open(root.path(), shares).expect("divided");
        let counts = |dataset: &injerto_data::Dataset| (dataset.counts(), dataset.samples.len());
        assert_eq!(found.train.classes, ["animal", "cat", "plant", "rare"]);
        assert_eq!(counts(&found.train), (vec![70, 7, 63, 7], 140), "seed {seed}");
        assert_eq!(counts(&found.validation.expect("a share")), (vec![20, 2, 18, 2], 40), "seed {seed}");
        assert_eq!(counts(&found.test.expect("a share")), (vec![10, 1, 9, 1], 20), "seed {seed}");
    }
}
