//! A frozen prefix compiled for the CPU.
