//! Files that survive a crash: [`atomic`] replaces or extends a file so that a reader finds the old content or the
//! new one and never a mixture, and [`tensors`] is the safetensors format of models and checkpoints.

pub mod atomic;
#[doc = include_str!("format.md")]
pub mod format {}
pub mod tensors;
