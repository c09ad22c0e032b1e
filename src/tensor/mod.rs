//! The tensor layer: matrices on ndarray, flat parameters, how to run, and noise.

mod noise;

pub use noise::{Noise, Stream};
