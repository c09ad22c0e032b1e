//! Files that survive a crash: [`atomic`] replaces or extends a file so that a reader finds the old content or the
//! new one and never a mixture, [`tensors`] is the safetensors format of models and checkpoints, and [`state_dict`] reads
//! and writes PyTorch's.

pub mod atomic;
#[doc = include_str!("format.md")]
pub mod format {}
pub mod state_dict;
pub mod tensors;
