//! Backbones: finding and loading plugins, fetching and checking weights, and turning a graph into something that runs.

pub mod network;
pub mod plugin;
pub mod resolve;
pub mod weights;
