//! mobilenet_v2
