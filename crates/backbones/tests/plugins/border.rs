//! Plugins that are good, bad, dropped in later, or written in C.
