//! The arithmetic ground floor of elbo: slices and strides in, slices out.
//!
//! All unsafe code of elbo lives in this crate. Kernels are written once against [`Simd`] and compiled for each
//! instruction set by [`Isa::run`]; memory is the caller's; how to run (alone or on a pool) is an argument.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]
#![allow(clippy::needless_range_loop, reason = "tiles read best with the indices of their formulas")]

pub mod activation;
mod aligned;
pub mod block;
mod filled;
pub mod gemm;
pub mod half;
mod isa;
mod map;
mod mat;
pub mod math;
mod micro;
pub mod mixture;
mod once;
pub mod panels;
pub mod par;
pub mod peak;
pub mod prefetch;
pub mod reduce;
pub mod reference;
pub mod row;
mod simd;
pub mod stream;
pub mod sweep;
pub mod transpose;
pub mod update;
mod wide;

pub use aligned::Aligned;
pub use filled::Filled;
pub use isa::{Isa, Op};
pub use mat::{Mat, MatMut};
pub use simd::{Element, LANES, Simd};
pub use wide::{Register, Wide};
