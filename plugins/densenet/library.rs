//! The plugin as a library, `libinjerto_plugin_densenet`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_densenet::PLUGIN);
