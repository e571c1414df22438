//! The plugin as a library, `libinjerto_plugin_convnext`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_convnext::PLUGIN);
