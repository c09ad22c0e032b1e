//! Train and use variational autoencoders on a CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod data;
pub mod density;
mod error;
pub mod estimator;
pub mod layer;
pub mod nearest;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
