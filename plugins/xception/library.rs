//! The plugin as a library, `libinjerto_plugin_xception`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_xception::PLUGIN);
