//! small_cnn
