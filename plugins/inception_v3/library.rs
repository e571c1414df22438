//! The plugin as a library, `libinjerto_plugin_inception_v3`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_inception_v3::PLUGIN);
