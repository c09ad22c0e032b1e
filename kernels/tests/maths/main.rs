//! The elementwise half of the kernels against plain oracles, on every instruction set of this processor.

mod activation;
mod block;
mod math;
mod mixture;
mod reduce;
mod reference;
mod support;
mod sweep;
mod update;
