//! A trainable tail compiled for the CPU, forward and backward.
