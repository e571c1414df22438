//! The plugin as a library, `libinjerto_plugin_vit`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_vit::PLUGIN);
