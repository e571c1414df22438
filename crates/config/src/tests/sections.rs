//! What the keys of each section are read as, and their defaults.

use super::*;

#[test]
fn the_layout_of_a_folder_is_read_and_of_drawn_images_is_an_error() {
    assert_eq!(good(SHORTEST, &[]).data.layout, None);
    let config = good(SHORTEST, &["data.layout=classes"]);
    assert_eq!(config.data.layout, Some(Layout::Classes));
    assert_eq!(good(&config.to_toml(), &[]), config);
    let drawn = SHORTEST.replace("root = \"photos\"", "generated = \"flowers\"");
    let error = parse(&drawn, &["data.layout=classes"]).expect_err("it does nothing").to_string();
    assert!(error.contains("`data.layout` does nothing beside `data.generated`"), "{error}");
}

#[test]
fn images_are_fetched_from_an_address_with_or_without_a_folder() {
    let data = |lines: &str| SHORTEST.replace("root = \"photos\"", lines);
    let check = |lines: &str, folders: usize| {
        let config = good(&data(lines), &[]);
        assert_eq!(good(&config.to_toml(), &[]).data, config.data, "{lines}");
        let Images::Folder { root } = config.data.images else { panic!("a folder") };
        assert_eq!((root.len(), config.data.url.as_deref()), (folders, Some("https://a.org/b.zip")));
    };
    check("url = \"https://a.org/b.zip\"", 0);
    check(&format!("root = \"photos\"\nurl = \"https://a.org/b.zip\"\nsha256 = \"{}\"", "0f".repeat(32)), 1);
    let refuse = |lines: &str, part: &str| {
        let error = parse(&data(lines), &[]).expect_err(lines).to_string();
        assert!(error.contains(part), "{lines}: {error}");
    };
    refuse("url = \"b.zip\"", "`data.url` must be an address that begins with https://");
    refuse(
        "url = \"https://a.org/b.zip\"\nsha256 = \"00\"",
        "`data.sha256` must be a SHA-256 of 64 hexadecimal digits",
    );
    refuse("root = \"a\"\nsha256 = \"00\"", "`data.sha256` does nothing without `data.url`");
    refuse(
        "generated = \"flowers\"\nurl = \"https://a.org/b.zip\"",
        "`data.url` and `data.generated` exclude each other",
    );
}

#[test]
fn labels_come_from_lists_with_columns_or_from_patterns() {
    let data = |lines: &str| SHORTEST.replace("root = \"photos\"", &format!("root = \"photos\"\n{lines}"));
    let check = |lines: &str| {
        let config = good(&data(lines), &[]);
        assert_eq!(good(&config.to_toml(), &[]).data, config.data, "{lines}");
        config.data.labels.expect("it is there")
    };
    let one = ListFiles::One { file: "labels.csv".into() };
    assert_eq!(check("labels = \"labels.csv\""), one.clone().into());
    let (path, class) = (Some(Column::Name("image".to_owned())), Some(Column::Place(2).into()));
    let lists = Lists { files: one, path, class, separator: None, split: None, group: None };
    assert_eq!(check("labels = { file = \"labels.csv\", path = \"image\", class = 2 }"), Labels::Lists(lists));
    let parts = ListFiles::Parts { train: "a.txt".into(), validation: None, test: Some("b.txt".into()) };
    assert_eq!(check("labels = { train = \"a.txt\", test = \"b.txt\" }"), parts.into());
    let patterns = [("cats", vec!["cat.*"]), ("dogs", vec!["dog.*", "hund/**"])];
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let patterns = patterns.map(|(class, texts)| (class.to_owned(), owned(texts))).into();
    let lines = "labels = { patterns = { cats = \"cat.*\", dogs = [\"dog.*\", \"hund/**\"] } }";
    assert_eq!(check(lines), Labels::Patterns { patterns });
    let several =
        check("labels = { file = \"labels.csv\", class = [\"cat\", 3], separator = \" \" }\nmulti_label = true");
    let Labels::Lists(Lists { class: Some(ClassColumns::Each(columns)), separator, .. }) = several else {
        panic!("{several:?}")
    };
    assert_eq!((columns, separator.as_deref()), (vec![Column::Name("cat".to_owned()), Column::Place(3)], Some(" ")));
    let refuse = |lines: &str, part: &str| {
        let error = parse(&data(lines), &[]).expect_err(lines).to_string();
        assert!(error.contains(part), "{lines}: {error}");
    };
    refuse("multi_label = true", "`data.multi_label` does nothing without `data.labels`");
    refuse("labels = { file = \"a.csv\", separator = \"\" }", "`data.labels.separator` must be what stands between");
    refuse("labels = 3", "must be \"labels.csv\", {");
    refuse("labels = { path = \"image\" }", "must be \"labels.csv\", {");
    refuse("labels = { file = \"a.csv\", class = 0 }", "`data.labels.class` must be");
    refuse("labels = { file = \"a.csv\", clas = 1 }", "did you mean `class`?");
    refuse("labels = { patterns = { cats = \"a***\" } }", "`data.labels.patterns.cats` is not a pattern");
    refuse("labels = \"a.csv\"\nlayout = \"classes\"", "`data.layout` does nothing beside `data.labels`");
}

#[test]
fn a_split_by_shares_by_groups_or_by_a_list_is_read_and_written_out() {
    let data = |lines: &str| SHORTEST.replace("root = \"photos\"", &format!("root = \"photos\"\n{lines}"));
    let check = |lines: &str| {
        let config = good(&data(lines), &[]);
        assert_eq!(good(&config.to_toml(), &[]).data, config.data, "{lines}");
        config.data
    };
    let shares = check("validation_split = 0.2\ntest_split = 0.1\nstratify = true");
    assert_eq!((shares.validation_split, shares.test_split, shares.stratify), (Some(0.2), Some(0.1), true));
    assert_eq!(check("group = \"folder\"").group, Some(Grouping::Folder(FolderWord::Folder)));
    let pattern = r"^(patient\d+)".to_owned();
    assert_eq!(check("group = { pattern = '^(patient\\d+)' }").group, Some(Grouping::Pattern { pattern }));
    assert_eq!(check("group = { exif_seconds = 60 }").group, Some(Grouping::ExifSeconds { exif_seconds: 60.0 }));
    let csv =
        Grouping::Csv { csv: "p.csv".into(), column: "patient".to_owned(), file_column: Some("image".to_owned()) };
    assert_eq!(check("group = { csv = \"p.csv\", column = \"patient\", file_column = \"image\" }").group, Some(csv));
    assert_eq!(check("split = \"runs/a/split.csv\"").split, Some("runs/a/split.csv".into()));
    assert_eq!(check("on_leak = \"move\"").on_leak, OnLeak::Move);
    let refuse = |lines: &str, parts: &[&str]| {
        let error = parse(&data(lines), &[]).expect_err(lines).to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{lines}: {error}"));
    };
    refuse("split = \"a.csv\"\nvalidation_split = 0.2", &["`data.validation_split` does nothing beside `data.split`"]);
    refuse("validation_split = 0.5\ntest_split = 0.5", &["leave no images to train", "below 1"]);
    refuse("stratify = true", &["`data.stratify` does nothing without a split"]);
    refuse("group = { pattern = '(' }", &["`data.group.pattern` is not a regular expression"]);
    refuse("group = { csv = \"p.csv\" }", &["`data.group.column` is missing", "column = \"patient\""]);
    refuse("group = \"patient\"", &["`data.group` must be", "column = \"patient\""]);
    refuse("group = 60", &["`data.group` must be", "exif_seconds = 60"]);
    refuse("on_leak = \"ignore\"", &["`data.on_leak` cannot be \"ignore\""]);
}

#[test]
fn a_head_starts_from_the_probe_only_where_it_is_one_layer() {
    let config = good(&with("[head]\ninitial = \"probe\"\ndropout = 0.5\n"), &[]);
    assert_eq!(config.head.initial, Initial::Probe);
    for lines in ["dense = [8]", "batch_norm = true"] {
        let error = parse(&with(&format!("[head]\ninitial = \"probe\"\n{lines}\n")), &[]).expect_err(lines).to_string();
        assert!(error.contains("`head.initial` cannot be \"probe\"") && error.contains("head.dense"), "{error}");
    }
}

#[test]
fn mixing_and_views_are_read() {
    let config = good(SHORTEST, &["data.mixup=0.2", "data.cutmix=1"]);
    assert_eq!((config.data.mixup, config.data.cutmix, config.data.cached_views), (Some(0.2), Some(1.0), None));
    assert_eq!(good(&config.to_toml(), &[]).data, config.data);
    let config = good(SHORTEST, &["data.augment=['random_flip']", "data.cached_views=3", "data.mixup=0"]);
    assert_eq!((config.data.augment.len(), config.data.cached_views), (1, Some(3)), "a mixup of 0 is none");
}

#[test]
fn each_photo_is_scaled_by_itself_so_that_auto_is_the_same_as_true() {
    for (value, expected) in [("\"auto\"", true), ("auto", true), ("true", true), ("false", false)] {
        let config = good(SHORTEST, &[&format!("data.scaled_decoding={value}")]);
        assert_eq!(config.data.scaled_decoding, expected, "{value}");
        assert_eq!(good(&config.to_toml(), &[]).data, config.data);
    }
    let error = parse(SHORTEST, &["data.scaled_decoding=4"]).expect_err("it is no choice").to_string();
    assert!(error.contains("`data.scaled_decoding`") && error.contains("\"auto\", true or false"), "{error}");
}

#[test]
fn a_preset_stands_for_its_augmentations() {
    for preset in Preset::ALL {
        let config = good(SHORTEST, &[&format!("data.augment={}", preset.name())]);
        assert_eq!(config.data.augment, preset.augmentations());
        assert_eq!(good(&config.to_toml(), &[]).data, config.data, "{preset:?}");
    }
    let refuse = |set: &str, part: &str| {
        let error = parse(SHORTEST, &[set]).expect_err(set).to_string();
        assert!(error.contains(part), "{set}: {error}");
    };
    refuse("data.augment=strongest", "`data.augment` cannot be \"strongest\"");
    refuse("data.augment=3", "\"medium\"");
    refuse("data.augment=['color_jitter']", "needs its options");
    refuse("data.augment=[{name='color_jitter'}]", "color_jitter changes nothing without one of its factors");
    refuse("data.augment=[{name='random_erasing', scale=[0.5, 0.2]}]", "the smaller one first");
    refuse("data.augment=[{name='random_erasing', value='noise'}]", "`data.augment.0.value` cannot be \"noise\"");
    refuse("data.augment=[{name='rand_augment', magnitude=31}]", "an integer from 0 to 30");
    refuse("data.augment=['randaugment']", "rand_augment");
}

#[test]
fn a_focal_loss_says_all_of_its_options_and_other_losses_have_none() {
    let check = |lines: &str, gamma: Option<f64>, alpha: Option<f64>, balances: Option<bool>| {
        let config = good(&with(&format!("[loss]\n{lines}\n")), &[]);
        let loss = &config.loss;
        assert_eq!((loss.gamma, loss.alpha, loss.apply_class_balancing), (gamma, alpha, balances), "{lines}");
        assert_eq!(good(&config.to_toml(), &[]), config);
    };
    check("", None, None, None);
    check("name = \"binary_focal_crossentropy\"", Some(2.0), None, Some(false));
    check("name = \"binary_focal_crossentropy\"\napply_class_balancing = true", Some(2.0), Some(0.25), Some(true));
    check("name = \"categorical_focal_crossentropy\"\ngamma = 3", Some(3.0), Some(0.25), None);
    let refuse = |lines: &str, part: &str| {
        let error = parse(&with(&format!("[loss]\n{lines}\n")), &[]).expect_err(lines).to_string();
        assert!(error.contains(part), "{lines}: {error}");
    };
    refuse("gamma = 2", "`loss.gamma` does nothing with this loss");
    refuse("name = \"binary_focal_crossentropy\"\nalpha = 0.5", "does nothing without `apply_class_balancing`");
    refuse("name = \"categorical_focal_crossentropy\"\napply_class_balancing = true", "does nothing with this loss");
    let mut config = good(&with("[loss]\nname = \"binary_focal_crossentropy\"\ngamma = 1\n"), &[]);
    let completed = config.complete(2, [8, 8], Interpolation::Bilinear);
    assert_eq!(completed.loss.focus().map(|focus| focus.gamma), Some(1.0));
    assert_eq!((completed.head.units, completed.head.activation), (1, Activation::Sigmoid));
}

#[test]
fn weights_are_averaged_in_one_way_and_over_several_epochs() {
    let phase = |lines: &str| SHORTEST.replace("epochs = 1", lines);
    let config = good(&phase("epochs = 5\nswa = { start_epoch = 4 }"), &[]);
    assert_eq!(config.phases[0].swa, Some(Swa { start_epoch: 4 }));
    let refuse = |lines: &str, part: &str| {
        let error = parse(&phase(lines), &[]).expect_err(lines).to_string();
        assert!(error.contains(part), "{lines}: {error}");
    };
    refuse("epochs = 5\nswa = { start_epoch = 5 }", "leaves nothing to average in 5 epochs");
    refuse("epochs = 5\nswa = {}", "`phases.0.swa.start_epoch` is missing");
    let both = "epochs = 5\nswa = { start_epoch = 2 }\noptimizer = { name = \"sgd\", ema_momentum = 0.9 }";
    refuse(both, "are both averages of the weights");
}

#[test]
fn a_run_that_teaches_has_the_temperature_and_the_weight_of_kerass_example() {
    let config = good(SHORTEST, &["distill.teacher=runs/large"]);
    let expected = DistillConfig { teacher: PathBuf::from("runs/large"), distillation: Distillation::default() };
    assert_eq!(config.distill, Some(expected));
    assert!(config.to_toml().contains("[distill]\nteacher = \"runs/large\"\ntemperature = 3.0\nalpha = 0.1\n"));
    let refuse = |sets: &[&str], message: &str| {
        let error = parse(SHORTEST, sets).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    };
    refuse(&["distill.alpha=0.5"], "`distill.teacher` is missing");
    refuse(&["distill={teacher='a', temperature=0}"], "`distill.temperature` must be a number above 0");
    refuse(&["distill={teacher='a', alpha=1.5}"], "`distill.alpha` must be a number from 0 to 1");
}

#[test]
fn classes_are_balanced_by_sampling_or_by_weights() {
    let config = good(SHORTEST, &["data.sampling=balanced"]);
    assert_eq!(config.data.sampling, ClassSampling::Balanced);
    assert_eq!(good(&config.to_toml(), &[]), config);
    let refuse = |sets: &[&str], part: &str| {
        let error = parse(SHORTEST, sets).expect_err("refused").to_string();
        assert!(error.contains(part), "{sets:?}: {error}");
    };
    refuse(&["data.sampling=balanced", "data.shuffle=false"], "`data.shuffle` = false keeps their order");
    refuse(&["data.sampling=balanced", "loss.class_weights=balanced"], "rare classes would count twice");
    good(SHORTEST, &["data.sampling=balanced", "loss.class_weights={cats=2}"]);
}

#[test]
fn schedules_and_callbacks_are_kerass_with_their_defaults() {
    let text = with(
        "schedule = \"cosine\"\noptimizer = { name = \"rmsprop\", centered = true, clipvalue = 0.5 }\n\
         [callbacks.early_stopping]\n[loss]\nclass_weights = \"balanced\"\n",
    );
    let written = good(&text, &[]).to_toml();
    for line in [
        "class_weights = \"balanced\"\n",
        "optimizer = { name = \"rmsprop\", learning_rate = 0.001, rho = 0.9, momentum = 0.0, epsilon = 0.0000001, \
         centered = true, clipvalue = 0.5 }\n",
        "schedule = { name = \"cosine\", alpha = 0.0 }\n",
        "\n[callbacks]\nearly_stopping = { monitor = \"val_loss\", mode = \"auto\", patience = 0, min_delta = 0.0, \
         restore_best_weights = false, start_from_epoch = 0 }\n",
    ] {
        assert!(written.contains(line), "{line} is not in\n{written}");
    }
    let config = good(&with("[callbacks]\nreduce_lr_on_plateau = {}\n"), &["phases.0.schedule={ warmup = 10 }"]);
    let written = config.to_toml();
    assert!(
        written.contains("factor = 0.1, patience = 10, min_delta = 0.0001, cooldown = 0, min_lr = 0.0"),
        "{written}"
    );
    assert_eq!(good(&written, &["name=cats"]), config);
}

#[test]
fn classes_and_head_say_what_the_output_is() {
    let check = |sets: &[&str], classes, loss, units, activation| {
        let mut config = good(SHORTEST, sets);
        let Completed { head, loss: completed } = config.complete(classes, [160, 160], Interpolation::Bilinear);
        assert_eq!(config.data.image_size, Some([160, 160]));
        assert_eq!((completed.kind(), head.units, head.activation), (loss, units, activation), "{sets:?}");
        let written = (config.loss.name, config.head.units, config.head.activation);
        assert_eq!(written, (Some(loss), Some(units), Some(activation)), "{sets:?}");
        let task = match config.data.multi_label {
            Some(true) => Task::MultiLabel,
            _ => Task::MultiClass,
        };
        assert_eq!(completed.check(task, head.activation, head.units, classes), Ok(()), "defaults belong together");
    };
    let (binary, categorical) = (LossName::BinaryCrossentropy, LossName::CategoricalCrossentropy);
    let sparse = LossName::SparseCategoricalCrossentropy;
    check(&[], 2, binary, 1, Activation::Sigmoid);
    check(&["loss.from_logits=true"], 2, binary, 1, Activation::Linear);
    check(&["head.units=2"], 2, sparse, 2, Activation::Softmax);
    check(&["head.activation=softmax"], 2, sparse, 2, Activation::Softmax);
    check(&[], 5, sparse, 5, Activation::Softmax);
    check(&["loss.label_smoothing=0.1"], 5, categorical, 5, Activation::Softmax);
    check(&["loss.name=categorical_crossentropy", "loss.from_logits=true"], 5, categorical, 5, Activation::Linear);
    let several = ["data.labels=labels.csv", "data.multi_label=true"];
    check(&several, 5, binary, 5, Activation::Sigmoid);
    check(&several, 2, binary, 2, Activation::Sigmoid);
    check(&[&several[..], &["loss.from_logits=true"]].concat(), 5, binary, 5, Activation::Linear);
}

#[test]
fn scratch_learns_as_fast_as_the_first_phase_unless_it_says_so() {
    let text = with("optimizer = { learning_rate = 0.5 }\n[transfer_gain]\n");
    let gain = good(&text, &[]).transfer_gain.expect("asked for");
    assert_eq!((gain.seeds, gain.scratch.learning_rate), (vec![1, 2, 3], 0.5));
    let gain = good(&text, &["transfer_gain.scratch.learning_rate=2"]).transfer_gain.expect("asked for");
    assert_eq!(gain.scratch.learning_rate, 2.0);
}
