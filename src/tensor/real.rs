//! The scalar: `f32` trains, `f64` checks.

use crate::density::{AnyLikelihood, Likelihood};
use crate::layer::{AnyLayer, Layer};
use elbo_kernels::Element;
use std::fmt::{Display, LowerExp};
use std::iter::Sum;

/// `f32` or `f64`. Every layer, density and estimator is written once for both.
pub trait Real: Element + Display + LowerExp + Sum {
    /// `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// The layer as one of this scalar.
    fn of(layer: &dyn AnyLayer) -> &dyn Layer<Self>;
    /// The likelihood as one of this scalar.
    fn likelihood(likelihood: &dyn AnyLikelihood) -> &dyn Likelihood<Self>;
    /// The same slice, where this scalar is f32, the only one whose products may be rounded. Panics where it is not.
    fn singles(x: &[Self]) -> &[f32];
    /// As [`singles`](Self::singles), to be written.
    fn singles_mut(x: &mut [Self]) -> &mut [f32];
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    fn of(layer: &dyn AnyLayer) -> &dyn Layer<f32> {
        layer
    }
    fn likelihood(likelihood: &dyn AnyLikelihood) -> &dyn Likelihood<f32> {
        likelihood
    }
    fn singles(x: &[f32]) -> &[f32] {
        x
    }
    fn singles_mut(x: &mut [f32]) -> &mut [f32] {
        x
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";
    fn of(layer: &dyn AnyLayer) -> &dyn Layer<f64> {
        layer
    }
    fn likelihood(likelihood: &dyn AnyLikelihood) -> &dyn Likelihood<f64> {
        likelihood
    }
    fn singles(_: &[f64]) -> &[f32] {
        panic!("products of f64 are not rounded")
    }
    fn singles_mut(_: &mut [f64]) -> &mut [f32] {
        panic!("products of f64 are not rounded")
    }
}
