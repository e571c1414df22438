use injerto_plugin_sdk::{WeightSet, json, published};

/// The weights that this library carries. `configs/quickstart_source.toml` says how they are made.
pub(crate) const SHAPES: &[u8] = include_bytes!("../weights/shapes.safetensors");

pub(crate) fn sets() -> Vec<WeightSet> {
    let shapes = published::embedded("shapes")
        .summary("ten plain drawn figures, by configs/quickstart_source.toml")
        .licence("MIT OR Apache-2.0")
        .sha256(include_str!("../weights/shapes.sha256"))
        .requires("filters", json!([16, 32, 64]))
        .requires("include_top", false);
    vec![shapes]
}
