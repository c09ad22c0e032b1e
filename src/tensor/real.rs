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
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    fn of(layer: &dyn AnyLayer) -> &dyn Layer<f32> {
        layer
    }
    fn likelihood(likelihood: &dyn AnyLikelihood) -> &dyn Likelihood<f32> {
        likelihood
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
}
