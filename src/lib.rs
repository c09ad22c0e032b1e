//! Train and use variational autoencoders on a CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
