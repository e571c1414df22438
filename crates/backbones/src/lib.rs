//! backbones
