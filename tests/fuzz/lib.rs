//! The targets, as a library that each fuzzer links.
mod targets;
pub use targets::*;
