//! The plugin as a library, `libinjerto_plugin_mobilenet_v3`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_mobilenet_v3::PLUGIN);
