//! The tensor layer: matrices on ndarray, flat parameters, how to run, and noise.

mod buffer;
mod exec;
mod noise;
mod params;
mod real;

pub use buffer::Buffer;
pub use elbo_kernels::par::Par;
pub use elbo_kernels::{Isa, Mat, MatMut};
pub use exec::Exec;
pub use noise::{Noise, Stream};
pub use params::{Entry, Layout, Params, Slab, Slot};
pub use real::Real;
