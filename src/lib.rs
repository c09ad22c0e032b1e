//! Train and use variational autoencoders on a CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod data;
pub mod density;
mod error;
pub mod estimator;
#[cfg(feature = "files")]
pub mod files;
pub mod layer;
pub mod model;
pub mod nearest;
#[cfg(feature = "files")]
pub mod report;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
