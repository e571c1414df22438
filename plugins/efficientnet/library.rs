//! The plugin as a library, `libinjerto_plugin_efficientnet`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_efficientnet::PLUGIN);
