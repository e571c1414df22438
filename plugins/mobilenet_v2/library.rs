//! The plugin as a library, `libinjerto_plugin_mobilenet_v2`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_mobilenet_v2::PLUGIN);
