//! The plugin as a library, `libinjerto_plugin_small_cnn`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_small_cnn::PLUGIN);
