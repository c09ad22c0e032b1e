//! Train and use variational autoencoders on a CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "files")]
pub mod report;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
