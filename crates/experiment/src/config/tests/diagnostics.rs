//! What is wrong, and how it is said.

use super::*;

/// What is said about `text` under `sets`.
#[track_caller]
fn check(text: &str, sets: &[&str], expected: &str) {
    let error = parse(text, sets).expect_err("nothing was wrong").to_string();
    assert_eq!(error, expected.trim_matches('\n'));
}

#[test]
fn of_a_long_line_the_place_that_is_meant_is_shown() {
    let before = "1, ".repeat(80);
    let error = parse(&with(&format!("[head]\ndense = [{before}\"x\", {before}]\n")), &[])
        .expect_err("nothing was wrong")
        .to_string();
    let lines: Vec<&str> = error.lines().collect();
    let (line, caret) = (lines[2], lines[3]);
    assert!(line.chars().count() < 180 && line.contains("| …") && line.ends_with('…'), "{error}");
    let at = caret.find('^').expect("a caret");
    let meant: String = line.chars().skip(caret[..at].chars().count()).take(3).collect();
    assert_eq!(meant, "\"x\"", "{error}");
}

#[test]
fn a_misspelt_key() {
    check(
        &with("optimizer = { name = \"adam\", learning_rat = 1e-3 }"),
        &[],
        r#"
cats.toml:7:30: unknown key `learning_rat` in `phases.0.optimizer`
  |
7 | optimizer = { name = "adam", learning_rat = 1e-3 }
  |                              ^^^^^^^^^^^^
  = help: did you mean `learning_rate`?
"#,
    );
    check(
        "sed = 1\n[data]\nrot = \"a\"\n[backbone]\nmodel = \"x\"\n[[phases]]\nepoch = 3\nlr = 1\n",
        &[],
        r#"
cats.toml:1:1: unknown key `sed`
  |
1 | sed = 1
  | ^^^
  = help: did you mean `seed`?

cats.toml:3:1: unknown key `rot` in `data`
  |
3 | rot = "a"
  | ^^^
  = help: did you mean `root`?

cats.toml:5:1: unknown key `model` in `backbone`
  |
5 | model = "x"
  | ^^^^^
  = help: did you mean `plugin`?

cats.toml:7:1: unknown key `epoch` in `phases.0`
  |
7 | epoch = 3
  | ^^^^^
  = help: did you mean `epochs`?

cats.toml:8:1: unknown key `lr` in `phases.0`
  |
8 | lr = 1
  | ^^
  = help: `learning_rate` belongs in a phase's `optimizer`: optimizer = { name = "adam", learning_rate = 1e-3 }
"#,
    );
    check(
        &with("seed = 1\n[augmentation]\n"),
        &[],
        r"
cats.toml:7:1: unknown key `seed` in `phases.0`
  |
7 | seed = 1
  | ^^^^
  = help: `seed` belongs at the top of the file, before the first [table]

cats.toml:8:2: unknown key `augmentation`
  |
8 | [augmentation]
  |  ^^^^^^^^^^^^
  = help: the keys here are `name`, `seed`, `device`, `kernels`, `strategy`, `data`, `backbone`, `head`, `loss`, `phases`, `callbacks`, `checkpoint`, `cache` and `transfer_gain`
",
    );
}

#[test]
fn a_wrong_type() {
    check(
        &with("optimizer = { learning_rate = \"1e-3\" }"),
        &[],
        r#"
cats.toml:7:31: `phases.0.optimizer.learning_rate` must be a number above 0, but is the string "1e-3"
  |
7 | optimizer = { learning_rate = "1e-3" }
  |                               ^^^^^^
  = help: write it without quotes
"#,
    );
    check(
        &with("[head]\ndense = [128, \"64\", { units = 3.0 }]\ndropout = true\n"),
        &[],
        r#"
cats.toml:8:15: `head.dense.1` must be an integer from 1 to 1000000, but is the string "64"
  |
8 | dense = [128, "64", { units = 3.0 }]
  |               ^^^^
  = help: write it without quotes

cats.toml:8:31: `head.dense.2.units` must be an integer from 1 to 1000000, but is 3.0
  |
8 | dense = [128, "64", { units = 3.0 }]
  |                               ^^^
  = help: write 3

cats.toml:9:11: `head.dropout` must be a number from 0 to below 1, but is true
  |
9 | dropout = true
  |           ^^^^
"#,
    );
    check(
        &with("[transfer_gain]\nseeds = [1, 2, 1]\n"),
        &[],
        r"
cats.toml:8:9: `transfer_gain.seeds` names 1 twice
  |
8 | seeds = [1, 2, 1]
  |         ^^^^^^^^^
",
    );
    check(
        &SHORTEST.replace("[[phases]]", "[phases]"),
        &[],
        r"
cats.toml:5:1: `phases` must be a list of phases, but is a table
  |
5 | [phases]
  | ^^^^^^^^
  = help: write `[[phases]]`, in two pairs of brackets
",
    );
}

#[test]
fn a_value_out_of_range() {
    let text = "seed = -1\ndevice = \"gpu\"\n[data]\nroot = []\nbatch_size = 0\nvalidation_split = 1\nimage_size = 160\n\
        [backbone]\nplugin = \"\"\n[head]\ndropout = 1.0\nactivation = \"relu\"\n[loss]\nname = \"mse\"\nlabel_smoothing = 1\n\
        [[phases]]\nepochs = 0\nunfreeze = 100\noptimizer = { name = \"adam\", learning_rate = 0 }\n";
    check(
        text,
        &[],
        r#"
cats.toml:1:8: `seed` must be an integer from 0 to 4294967295, but is -1
  |
1 | seed = -1
  |        ^^

cats.toml:2:10: `device` cannot be "gpu"
  |
2 | device = "gpu"
  |          ^^^^^
  = help: did you mean `wgpu`?

cats.toml:4:8: `data.root` must be one value or a list of them, but is an empty list
  |
4 | root = []
  |        ^^

cats.toml:5:14: `data.batch_size` must be an integer from 1 to 65536, but is 0
  |
5 | batch_size = 0
  |              ^

cats.toml:6:20: `data.validation_split` must be a number between 0 and 1, but is 1
  |
6 | validation_split = 1
  |                    ^

cats.toml:7:14: `data.image_size` must be [height, width], such as [160, 160], but is 160
  |
7 | image_size = 160
  |              ^^^

cats.toml:9:10: `backbone.plugin` must be some text, but is the string ""
  |
9 | plugin = ""
  |          ^^

cats.toml:11:11: `head.dropout` must be a number from 0 to below 1, but is 1.0
   |
11 | dropout = 1.0
   |           ^^^

cats.toml:12:14: `head.activation` cannot be "relu"
   |
12 | activation = "relu"
   |              ^^^^^^
   = help: the choices are `sigmoid`, `softmax` and `linear`

cats.toml:14:8: `loss.name` cannot be "mse"
   |
14 | name = "mse"
   |        ^^^^^
   = help: the choices are `binary_crossentropy`, `categorical_crossentropy` and `sparse_categorical_crossentropy`

cats.toml:15:19: `loss.label_smoothing` must be a number from 0 to below 1, but is 1
   |
15 | label_smoothing = 1
   |                   ^

cats.toml:17:10: `phases.0.epochs` must be an integer from 1 to 1000000, but is 0
   |
17 | epochs = 0
   |          ^

cats.toml:18:12: `phases.0.unfreeze` does not say what 100 means
   |
18 | unfreeze = 100
   |            ^^^
   = help: write { from_layer = 100 } or { last = 100 }

cats.toml:19:46: `phases.0.optimizer.learning_rate` must be a number above 0, but is 0
   |
19 | optimizer = { name = "adam", learning_rate = 0 }
   |                                              ^
"#,
    );
}

#[test]
fn what_moves_weights_and_does_not_fit() {
    check(
        &with(
            "optimizer = { name = \"sgd\", clipnorm = 1, clipvalue = 2, exclude_from_weight_decay = [\"bias\"] }\n\
             schedule = { name = \"cosinus\" }\ngradual = { stages = 3 }\nlearning_rates = 0.1\n",
        ),
        &[],
        r#"
cats.toml:7:55: `phases.0.optimizer.clipvalue` and `clipnorm` exclude each other
  |
7 | optimizer = { name = "sgd", clipnorm = 1, clipvalue = 2, exclude_from_weight_decay = ["bias"] }
  |                                                       ^
  = help: keep one of the two

cats.toml:7:86: `phases.0.optimizer.exclude_from_weight_decay` does nothing without `weight_decay`
  |
7 | optimizer = { name = "sgd", clipnorm = 1, clipvalue = 2, exclude_from_weight_decay = ["bias"] }
  |                                                                                      ^^^^^^^^
  = help: set `weight_decay`, or take "adamw"

cats.toml:8:21: `phases.0.schedule.name` cannot be "cosinus"
  |
8 | schedule = { name = "cosinus" }
  |                     ^^^^^^^^^
  = help: did you mean `cosine`?

cats.toml:9:11: `phases.0.gradual` does nothing to a backbone that is frozen
  |
9 | gradual = { stages = 3 }
  |           ^^^^^^^^^^^^^^
  = help: set `unfreeze` to what is trained in the end

cats.toml:10:18: `phases.0.learning_rates` must be a table of layers and what their learning rate is multiplied by, but is 0.1
   |
10 | learning_rates = 0.1
   |                  ^^^
   = help: write { "block_16_*" = 0.1, head = 1.0 }
"#,
    );
    check(
        &with(
            "unfreeze = \"all\"\nschedule = { name = \"one_cycle\", warmup = 3 }\ngradual = { stages = 3 }\n\
             early_stopping = { patience = 3 }\n[callbacks]\nreduce_lr_on_plateau = { factor = 2 }\n",
        ),
        &["loss.class_weights=equal"],
        r#"
cats.toml:8:43: `phases.0.schedule.warmup` does nothing: one_cycle warms up by itself
  |
8 | schedule = { name = "one_cycle", warmup = 3 }
  |                                           ^
  = help: set `pct_start` and `div_factor`, or leave it out

cats.toml:9:11: 3 stages of 1 epoch(s) leave nothing for the last
  |
9 | gradual = { stages = 3 }
  |           ^^^^^^^^^^^^^^
  = help: set `epochs` to 3 or more, or take fewer stages

cats.toml:10:1: unknown key `early_stopping` in `phases.0`
   |
10 | early_stopping = { patience = 3 }
   | ^^^^^^^^^^^^^^
   = help: `early_stopping` belongs in [callbacks]

cats.toml:12:35: `callbacks.reduce_lr_on_plateau.factor` must be a number between 0 and 1, but is 2
   |
12 | reduce_lr_on_plateau = { factor = 2 }
   |                                   ^

--set: `loss.class_weights` cannot be "equal"
 |
 | loss.class_weights=equal
 |                    ^^^^^
 = help: the choices are `balanced`
"#,
    );
    check(
        &with(
            "schedule = { name = \"piecewise\", boundaries = [3], values = [] }\n[callbacks]\n\
             early_stoping = { patience = 3 }\n[[phases]]\nepochs = 2\nschedule = { warmup_start = 1e-5 }\n",
        ),
        &[],
        r#"
cats.toml:7:12: `phases.0.schedule` has 1 boundaries and 0 values
  |
7 | schedule = { name = "piecewise", boundaries = [3], values = [] }
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: give one value for each boundary; up to the first, the optimiser's own learning rate holds

cats.toml:9:1: unknown key `early_stoping` in `callbacks`
  |
9 | early_stoping = { patience = 3 }
  | ^^^^^^^^^^^^^
  = help: did you mean `early_stopping`?

cats.toml:12:29: `phases.1.schedule.warmup_start` does nothing without `warmup`
   |
12 | schedule = { warmup_start = 1e-5 }
   |                             ^^^^
   = help: set `warmup`, such as `warmup = { epochs = 1 }`
"#,
    );
    check(
        &with("schedule = \"cosine\"\n[callbacks]\nreduce_lr_on_plateau = {}\n"),
        &[],
        r#"
cats.toml:9:24: `callbacks.reduce_lr_on_plateau` and `phases.0.schedule` exclude each other
  |
9 | reduce_lr_on_plateau = {}
  |                        ^^
  = help: both say what the learning rate is: keep one of the two
"#,
    );
}

#[test]
fn keys_that_exclude_each_other() {
    check(
        &SHORTEST.replace("[backbone]", "generated = \"flowers\"\n[backbone]"),
        &[],
        r#"
cats.toml:2:8: `data.root` and `data.generated` exclude each other
  |
2 | root = "photos"
  |        ^^^^^^^^
  = help: images are either read or drawn: keep one of the two
"#,
    );
    check(
        &SHORTEST.replace("[backbone]", "train_per_class = 3\n[backbone]"),
        &[],
        r"
cats.toml:3:19: `data.train_per_class` does nothing without `data.generated`
  |
3 | train_per_class = 3
  |                   ^
  = help: images in folders are as many as there are; leave it out
",
    );
    check(
        &with("unfreeze = { last = 3, fraction = 0.5 }\n"),
        &[],
        r#"
cats.toml:7:12: `phases.0.unfreeze` must have exactly one key
  |
7 | unfreeze = { last = 3, fraction = 0.5 }
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write "none", "all", { from_layer = 100 }, { from_layer = "block_13_expand" }, { patterns = ["block_16_*"] }, { last = 20 } or { fraction = 0.3 }
"#,
    );
    check(
        &with("batch_norm = \"update\"\n[loss]\nname = \"sparse_categorical_crossentropy\"\nlabel_smoothing = 0.1\n"),
        &[],
        r#"
cats.toml:7:14: `phases.0.batch_norm` = "update" does nothing to a backbone that is frozen
  |
7 | batch_norm = "update"
  |              ^^^^^^^^
  = help: set `unfreeze`, or leave it out

cats.toml:10:19: sparse_categorical_crossentropy has no label smoothing
   |
10 | label_smoothing = 0.1
   |                   ^^^
   = help: set `loss.name` to "categorical_crossentropy"
"#,
    );
    check(
        &with("name = \"a\"\n[[phases]]\nname = \"a\"\nepochs = 1\n"),
        &[],
        r#"
cats.toml:8:1: phases 0 and 1 are both called "a"
  |
8 | [[phases]]
  | ^^^^^^^^^^
  = help: give each phase a name of its own
"#,
    );
    check(
        &with("[transfer_gain]\n"),
        &["backbone.weights=none"],
        r"
cats.toml:7:1: `backbone.weights` is none, so there is no transfer to measure
  |
7 | [transfer_gain]
  | ^^^^^^^^^^^^^^^
  = help: name a weight set in `backbone.weights`, or leave `[transfer_gain]` out
",
    );
    check(
        &with(""),
        &["backbone.parameters.input_shape=[96, 96]"],
        r"
--set: the backbone's input shape is the size of the images
 |
 | backbone.parameters.input_shape=[96, 96]
 |                     ^^^^^^^^^^^
 = help: set `data.image_size`
",
    );
}

#[test]
fn what_is_missing() {
    check(
        "",
        &[],
        r#"
cats.toml: `data.root` is missing
 = help: add `root = "path/to/images"`, a folder with one sub-folder a class

cats.toml: `backbone.plugin` is missing
 = help: add `plugin = "mobilenet_v2"`; `injerto plugins list` shows what there is

cats.toml: `phases` is missing
 = help: add `[[phases]]` with `epochs = 10`
"#,
    );
}

#[test]
fn no_toml() {
    check(
        "[data\nroot = 3\n",
        &[],
        r"
cats.toml:1:6: this is not TOML: unclosed table, expected `]`
  |
1 | [data
  |      ^
",
    );
    check(
        &with("name = \"ñandú\" optimizer = 3\n"),
        &[],
        r#"
cats.toml:7:16: this is not TOML: unexpected key or value, expected newline, `#`
  |
7 | name = "ñandú" optimizer = 3
  |                ^
"#,
    );
}

#[test]
fn a_wrong_override() {
    check(
        SHORTEST,
        &["data.batchsize=16", "phases.0.epochs=0", "optimizer.learning_rate=3"],
        r"
--set: unknown key `batchsize` in `data`
 |
 | data.batchsize=16
 |      ^^^^^^^^^
 = help: did you mean `batch_size`?

--set: `phases.0.epochs` must be an integer from 1 to 1000000, but is 0
 |
 | phases.0.epochs=0
 |                 ^

--set: unknown key `optimizer`
 |
 | optimizer.learning_rate=3
 | ^^^^^^^^^
 = help: `optimizer` belongs in [[phases]]
",
    );
    check(
        SHORTEST,
        &["phases.1.epochs=3"],
        r"
--set: `phases` has no entry `1`
 |
 | phases.1.epochs=3
 |        ^
 = help: its only entry is 0
",
    );
    check(
        &format!("name = \"x\"\n{SHORTEST}"),
        &["name.first=x"],
        r"
--set: `name` is no table, so it has no `first`
 |
 | name.first=x
 |      ^^^^^
",
    );
    check(
        SHORTEST,
        &["data.image_size=[160"],
        r"
--set: `[160` is not TOML: unclosed array, expected `]`
 |
 | data.image_size=[160
 |                 ^^^^
",
    );
    check(
        SHORTEST,
        &["seed", "..=3"],
        r"
--set: `--set seed` has no `=`
 |
 | seed
 | ^^^^
 = help: write it as KEY.PATH=VALUE, such as `--set phases.0.epochs=3`

--set: `..` is no path to a key
 |
 | ..=3
 | ^^
 = help: keys are separated by dots, such as `data.batch_size`
",
    );
}

#[test]
fn a_file_that_contradicts_its_strategy() {
    check(
        "strategy = \"early-layers\"\n[data]\nroot = \"a\"\n[backbone]\nplugin = \"x\"\n",
        &[],
        r#"
cats.toml:1:12: `strategy = "early-layers"` needs the last layer that is kept
  |
1 | strategy = "early-layers"
  |            ^^^^^^^^^^^^^^
  = help: add `last_layer = "…"` to [backbone]; `injerto summary` lists the layers, `injerto advise` recommends one
"#,
    );
    check(
        &format!("strategy = \"feature-extractor\"\n{}", with("unfreeze = \"all\"")),
        &[],
        r#"
cats.toml:1:12: `strategy = "feature-extractor"` keeps the backbone frozen, but phase "phase-0" unfreezes layers
  |
1 | strategy = "feature-extractor"
  |            ^^^^^^^^^^^^^^^^^^^
  = help: leave `unfreeze` out, or leave `strategy` out
"#,
    );
}

#[test]
fn what_cannot_be_augmented() {
    let set = "data.augment=[{ name = 'random_flop' }, { name = 'random_rotation', factor = 30 }, 'random_zoom', { factor = 1 }]";
    check(
        SHORTEST,
        &[set],
        r#"
--set: `data.augment.0.name` cannot be "random_flop"
 |
 | data.augment=[{ name = 'random_flop' }, { name = 'random_rotation', factor = 30 }, 'random_zoom', { factor = 1 }]
 |                        ^^^^^^^^^^^^^
 = help: did you mean `random_flip`?

--set: `data.augment.1.factor` must be a number from -1 to 1, or a pair of them, but is 30
 |
 | data.augment=[{ name = 'random_flop' }, { name = 'random_rotation', factor = 30 }, 'random_zoom', { factor = 1 }]
 |                                                                              ^^

--set: `data.augment.2` needs its options
 |
 | data.augment=[{ name = 'random_flop' }, { name = 'random_rotation', factor = 30 }, 'random_zoom', { factor = 1 }]
 |                                                                                    ^^^^^^^^^^^^^
 = help: write { name = "random_zoom", height_factor = 0.2 }, with the options of the Keras layer

--set: `data.augment.3` has no `name`
 |
 | data.augment=[{ name = 'random_flop' }, { name = 'random_rotation', factor = 30 }, 'random_zoom', { factor = 1 }]
 |                                                                                                   ^^^^^^^^^^^^^^
 = help: add name = "random_flip"
"#,
    );
    check(
        SHORTEST,
        &[
            "data.augment=[{ name = 'random_contrast', factor = [0.1, 2], mode = 'x' }, { name = 'random_translation', height_factor = 0 }]",
        ],
        r#"
--set: `data.augment.0.factor.1` must be a number from 0 to 1, or a pair of them, but is 2
 |
 | data.augment=[{ name = 'random_contrast', factor = [0.1, 2], mode = 'x' }, { name = 'random_translation', height_factor = 0 }]
 |                                                          ^

--set: unknown key `mode` in `data.augment.0`
 |
 | data.augment=[{ name = 'random_contrast', factor = [0.1, 2], mode = 'x' }, { name = 'random_translation', height_factor = 0 }]
 |                                                              ^^^^
 = help: the keys here are `name` and `factor`

--set: `data.augment.1.width_factor` is missing
 |
 | data.augment=[{ name = 'random_contrast', factor = [0.1, 2], mode = 'x' }, { name = 'random_translation', height_factor = 0 }]
 |                                                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
 = help: add `width_factor = 0.1`
"#,
    );
    check(
        SHORTEST,
        &["data.cached_views=4"],
        r"
--set: `data.cached_views` does nothing without `data.augment`
 |
 | data.cached_views=4
 |                   ^
 = help: all views of an image would be the same: leave it out
",
    );
    check(
        SHORTEST,
        &["data.augment=['random_flip']", "data.mixup=0.2", "data.cached_views=4"],
        r"
--set: `data.cached_views` keeps features, but `mixup` and `cutmix` mix pixels
 |
 | data.cached_views=4
 |                   ^
 = help: leave one of them out
",
    );
}
