//! Backbones: finds and loads plugins, fetches and checks weights, and runs graphs on Burn.

pub mod network;
pub mod plugin;
pub mod resolve;
pub mod weights;
