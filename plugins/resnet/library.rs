//! The plugin as a library, `libinjerto_plugin_resnet`.

injerto_plugin_sdk::export_plugin!(injerto_plugin_resnet::PLUGIN);
