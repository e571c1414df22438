//! What was probably meant: misspelt keys, keys in the wrong table, and what other frameworks call things.

/// `did you mean …?`, where the name is at home, or all that is allowed.
pub(crate) fn suggestion(wrong: &str, allowed: &[&str], what: &str) -> Option<String> {
    if let Some(near) = nearest(wrong, allowed) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
    let (last, others) = names.split_last()?;
    Some(if others.is_empty() { format!("{what} {last}") } else { format!("{what} {} and {last}", others.join(", ")) })
}

/// Where a key that does not belong in one table belongs.
pub(crate) fn home(key: &str) -> Option<String> {
    let key = ours(&key.to_lowercase());
    let (_, home) = HOMES.iter().find(|(name, _)| *name == key)?;
    Some(format!("`{key}` belongs {home}"))
}

/// The allowed name that a typing error or another framework's habit has most likely turned into `wrong`.
pub(crate) fn nearest<'n>(wrong: &str, allowed: &[&'n str]) -> Option<&'n str> {
    let wrong = wrong.to_lowercase().replace(['-', ' '], "_");
    if let Some(known) = allowed.iter().find(|name| **name == ours(&wrong)) {
        return Some(known);
    }
    injerto_files::nearest(&wrong, allowed.iter().copied())
}

/// What `name` is called here.
fn ours(name: &str) -> String {
    HABITS.iter().find(|(habit, _)| *habit == name).map_or(name, |(_, ours)| *ours).to_owned()
}

/// Keys that are often looked for in the wrong table.
const HOMES: &[(&str, &str)] = &[
    ("seed", "at the top of the file, before the first [table]"),
    ("device", "at the top of the file, before the first [table]"),
    ("root", "in [data]"),
    ("image_size", "in [data]"),
    ("batch_size", "in [data]"),
    ("validation_split", "in [data]"),
    ("test_split", "in [data]"),
    ("stratify", "in [data]"),
    ("on_leak", "in [data]"),
    ("augment", "in [data]"),
    ("sampling", "in [data]"),
    ("gamma", "in [loss]"),
    (
        "gradient_accumulation_steps",
        "in a phase's `optimizer`: optimizer = { name = \"adam\", gradient_accumulation_steps = 4 }",
    ),
    ("probe", "in [insight]"),
    ("initial", "in [head]"),
    ("plugin", "in [backbone]"),
    ("weights", "in [backbone]"),
    ("parameters", "in [backbone]"),
    ("pooling", "in [head]"),
    ("dense", "in [head]"),
    ("dropout", "in [head]"),
    ("units", "in [head]"),
    ("activation", "in [head]"),
    ("from_logits", "in [loss]"),
    ("label_smoothing", "in [loss]"),
    ("class_weights", "in [loss]"),
    ("teacher", "in [distill]"),
    ("temperature", "in [distill]"),
    ("early_stopping", "in [callbacks]"),
    ("reduce_lr_on_plateau", "in [callbacks]"),
    ("patience", "in a callback: early_stopping = { patience = 3 } in [callbacks]"),
    ("epochs", "in [[phases]]"),
    ("schedule", "in [[phases]]"),
    ("gradual", "in [[phases]]"),
    ("swa", "in [[phases]]"),
    ("learning_rates", "in [[phases]]"),
    ("clipnorm", "in a phase's `optimizer`: optimizer = { name = \"adam\", clipnorm = 1.0 }"),
    ("weight_decay", "in a phase's `optimizer`: optimizer = { name = \"adamw\", weight_decay = 0.01 }"),
    ("unfreeze", "in [[phases]]"),
    ("optimizer", "in [[phases]]"),
    ("learning_rate", "in a phase's `optimizer`: optimizer = { name = \"adam\", learning_rate = 1e-3 }"),
    ("monitor", "in [checkpoint]"),
    ("save_best_only", "in [checkpoint]"),
    ("seeds", "in [transfer_gain]"),
    ("grid", "in [sweep]"),
    ("random", "in [sweep]"),
    ("halving", "in [sweep]"),
];

/// What other frameworks and tutorials call things.
const HABITS: &[(&str, &str)] = &[
    ("lr", "learning_rate"),
    ("base_learning_rate", "learning_rate"),
    ("num_epochs", "epochs"),
    ("class_weight", "class_weights"),
    ("val_split", "validation_split"),
    ("stratified", "stratify"),
    ("groups", "group"),
    ("reduce_lr", "reduce_lr_on_plateau"),
    ("plateau", "reduce_lr_on_plateau"),
    ("scheduler", "schedule"),
    ("lr_schedule", "schedule"),
    ("use_ema", "ema_momentum"),
    ("swa_start", "start_epoch"),
    ("clip_grad", "global_clipnorm"),
    ("max_norm", "global_clipnorm"),
    ("gradient_clip", "global_clipnorm"),
    ("onecycle", "one_cycle"),
    ("one_cycle_lr", "one_cycle"),
    ("cosine_decay", "cosine"),
    ("epoch", "epochs"),
    ("freeze", "unfreeze"),
    ("trainable", "unfreeze"),
    ("model", "plugin"),
    ("architecture", "plugin"),
    ("params", "parameters"),
    ("input_shape", "image_size"),
    ("target_size", "image_size"),
    ("path", "root"),
    ("directory", "root"),
    ("folder", "root"),
    ("hidden", "dense"),
    ("pool", "pooling"),
    ("bce", "binary_crossentropy"),
    ("focal", "categorical_focal_crossentropy"),
    ("focal_loss", "categorical_focal_crossentropy"),
    ("accumulate", "gradient_accumulation_steps"),
    ("accumulate_grad_batches", "gradient_accumulation_steps"),
    ("grad_accum_steps", "gradient_accumulation_steps"),
    ("colorjitter", "color_jitter"),
    ("randaugment", "rand_augment"),
    ("trivialaugment", "trivial_augment_wide"),
    ("trivial_augment", "trivial_augment_wide"),
    ("sampler", "sampling"),
    ("distillation", "distill"),
    ("cross_entropy", "categorical_crossentropy"),
    ("vulkan", "wgpu"),
    ("metal", "wgpu"),
    ("average", "avg"),
    ("mean", "avg"),
    ("gap", "avg"),
    ("cubic", "bicubic"),
];
