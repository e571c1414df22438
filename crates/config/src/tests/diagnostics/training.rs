//! What moves weights, and strategies.

use super::*;

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
