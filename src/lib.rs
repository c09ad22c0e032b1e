//! Train and use variational autoencoders on a CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod density;
mod error;
pub mod estimator;
#[cfg(feature = "files")]
pub mod files;
pub mod gradcheck;
pub mod layer;
pub mod model;
pub mod nearest;
pub mod optim;
#[cfg(feature = "files")]
pub mod report;
pub mod task;
pub mod tensor;
pub mod train;

pub use error::{Error, ErrorKind, Result};
