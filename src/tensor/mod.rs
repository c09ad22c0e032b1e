//! The tensor layer: matrices on ndarray, flat parameters, how to run, and noise.

mod buffer;
mod cores;
mod exec;
mod layout;
pub(crate) mod logistic;
mod mask;
mod noise;
mod params;
mod precision;
pub mod profile;
mod real;
mod tile;

pub use buffer::{Buffer, Input, PairBuffer};
pub use cores::{Cores, core_round_trip};
pub use elbo_kernels::par::Par;
pub use elbo_kernels::{Isa, Mat, MatMut};
pub use exec::Exec;
pub use layout::{Entry, Layout, Slab, Slot};
pub use mask::Mask;
pub use noise::{Noise, Stream};
pub use params::Params;
pub use precision::Precision;
pub use real::Real;
pub use tile::{Tile, Tiles};
