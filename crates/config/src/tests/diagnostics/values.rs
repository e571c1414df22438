//! Values of the wrong type, out of range, and values that exclude each other.

use super::*;

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

cats.toml:6:20: `data.validation_split` must be a number above 0 and below 1, but is 1
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
   = help: the choices are `binary_crossentropy`, `categorical_crossentropy`, `sparse_categorical_crossentropy`, `binary_focal_crossentropy` and `categorical_focal_crossentropy`

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

#[test]
fn formats_that_a_device_does_not_compute_in() {
    let backbone = "[backbone]\nprecision = \"bf16\"";
    check(
        &SHORTEST.replace("[backbone]", backbone),
        &["kernels=false"],
        r#"
cats.toml:3:1: `backbone.precision` is "bf16", in which the CPU computes only with the project's kernels
  |
3 | [backbone]
  | ^^^^^^^^^^
  = help: leave it out, or take `kernels = true`
"#,
    );
    good(&SHORTEST.replace("[backbone]", backbone), &[]);
    good(&SHORTEST.replace("[backbone]", backbone), &["device='wgpu'"]);
    good(&SHORTEST.replace("[backbone]", "[backbone]\nprecision = \"auto\""), &["kernels=false"]);
    let backbone = "[backbone]\nprecision = \"f16\"";
    check(
        &SHORTEST.replace("[backbone]", backbone),
        &[],
        r#"
cats.toml:3:1: `backbone.precision` is "f16", in which only a GPU computes
  |
3 | [backbone]
  | ^^^^^^^^^^
  = help: leave it out, or take "bf16"
"#,
    );
    good(&SHORTEST.replace("[backbone]", backbone), &["device='wgpu'"]);
}
