//! The standard backbones, for programs that have them inside.
//!
//! Each plugin of `plugins/` is a crate with a table, and this crate names all of them. A program hands them to the search path, after its
//! folders: a library in a folder takes the place of the plugin of its name, and nothing is compiled for that.
//!
//! ```
//! assert!(injerto_standard::PLUGINS.iter().any(|linked| linked.plugin().name() == "mobilenet_v2"));
//! ```

use injerto_plugin_abi::Linked;

/// The plugins, by name.
pub static PLUGINS: &[Linked] = &[
    injerto_plugin_convnext::PLUGIN,
    injerto_plugin_densenet::PLUGIN,
    injerto_plugin_efficientnet::PLUGIN,
    injerto_plugin_inception_v3::PLUGIN,
    injerto_plugin_mobilenet_v2::PLUGIN,
    injerto_plugin_mobilenet_v3::PLUGIN,
    injerto_plugin_resnet::PLUGIN,
    injerto_plugin_small_cnn::PLUGIN,
    injerto_plugin_vgg::PLUGIN,
    injerto_plugin_vit::PLUGIN,
    injerto_plugin_xception::PLUGIN,
];
