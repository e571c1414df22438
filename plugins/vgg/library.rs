//! The plugin as a library, `libinjerto_plugin_vgg`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_vgg::PLUGIN);
