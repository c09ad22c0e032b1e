//! Activation functions with their derivatives, in place, and the gate of gated layers.
//!
//! A derivative is computed from the layer's output, so the pre-activation need not be kept; only GELU, which is not
//! invertible, asks for it ([`Activation::needs_input`]). At a kink it is PyTorch's.

use crate::map::{common_length, for_each_vector, kernel, load, store};
use crate::mat::MatMut;
use crate::math;
use crate::simd::{Element, Simd};
use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// An activation function, applied to each element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// x
    Identity,
    /// max(0, x); derivative 0 at 0.
    Relu,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// log(1 + eˣ)
    Softplus,
    /// x Φ(x) with the normal distribution function itself, not the tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
    /// x above 0, else slope·x; derivative slope at 0. The slope may not be negative.
    LeakyRelu(f64),
    /// x above 0, else α (eˣ − 1), for α > 0; derivative α at 0 (Clevert et al. 2016).
    Elu(f64),
}

impl Activation {
    /// Whether [`backward`] wants the pre-activation rather than the output.
    pub fn needs_input(self) -> bool {
        self == Activation::Gelu
    }

    /// Where the derivative jumps, if anywhere: what a gradient check must keep away from.
    pub fn kink(self) -> Option<f64> {
        match self {
            Activation::Relu => Some(0.0),
            Activation::LeakyRelu(slope) if slope != 1.0 => Some(0.0),
            Activation::Elu(alpha) if alpha != 1.0 => Some(0.0),
            _ => None,
        }
    }
}

/// The activation of one vector.
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, act: Activation, x: S::V) -> S::V {
    let zero = s.splat(S::E::ZERO);
    match act {
        Activation::Identity => x,
        Activation::Relu => s.max(zero, x),
        Activation::Tanh => math::tanh(s, x),
        Activation::Sigmoid => math::sigmoid(s, x),
        Activation::Softplus => math::softplus(s, x),
        Activation::Gelu => s.mul(x, math::normal_cdf(s, x).0),
        Activation::LeakyRelu(slope) => s.select(s.lt(zero, x), x, s.mul(s.constant(slope), x)),
        Activation::Elu(alpha) => s.select(s.lt(zero, x), x, s.mul(s.constant(alpha), math::expm1(s, x))),
    }
}

/// The derivative's product with `dy`, for one vector of outputs, or of pre-activations where those are needed.
#[inline(always)]
pub(crate) fn times_derivative<S: Simd>(s: S, act: Activation, y: S::V, dy: S::V) -> S::V {
    let zero = s.splat(S::E::ZERO);
    let one = s.splat(S::E::ONE);
    match act {
        Activation::Identity => dy,
        Activation::Relu => s.select(s.le(y, zero), zero, dy),
        Activation::Tanh => s.mul(dy, s.fnma(y, y, one)),
        Activation::Sigmoid => s.mul(dy, s.mul(y, s.sub(one, y))),
        // σ(x) = 1 − e⁻ʸ
        Activation::Softplus => s.mul(dy, math::neg(s, math::expm1_nonpositive(s, math::neg(s, y)))),
        Activation::Gelu => {
            // Φ(x) + x φ(x)
            let (cdf, exponential) = math::normal_cdf(s, y);
            let density = s.mul(s.constant(0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI), exponential);
            s.mul(dy, s.fma(y, density, cdf))
        }
        Activation::LeakyRelu(slope) => s.select(s.lt(zero, y), dy, s.mul(s.constant(slope), dy)),
        // α eˣ = y + α
        Activation::Elu(alpha) => s.select(s.lt(zero, y), dy, s.mul(s.add(y, s.constant(alpha)), dy)),
    }
}

kernel! {
    /// Replaces pre-activations by activations.
    ///
    /// ```
    /// use elbo_kernels::{Isa, activation::{Activation, backward, forward}};
    ///
    /// let mut y = [-1.0f32, 0.0, 2.0];
    /// forward(Isa::default(), Activation::Relu, &mut y);
    /// assert_eq!(y, [0.0, 0.0, 2.0]);
    /// let mut dy = [0.5; 3];
    /// backward(Isa::default(), Activation::Relu, &y, &mut dy);
    /// assert_eq!(dy, [0.0, 0.0, 0.5]);
    /// ```
    pub fn forward<E>(isa, s; act: Activation, y: &mut [E]) {
        for_each_vector!(y.len(), |i, count| {
            let x = load(s, y, i, count);
            store(s, value(s, act, x), y, i, count);
        });
    }
}

kernel! {
    /// [`forward`] on a block of rows: what a product has just left in cache.
    pub fn forward_rows<E>(isa, s; act: Activation, y: MatMut<'_, E>) {
        let mut y = y;
        for r in 0..y.rows() {
            let y = y.row(r);
            for_each_vector!(y.len(), |i, count| {
                let x = load(s, y, i, count);
                store(s, value(s, act, x), y, i, count);
            });
        }
    }
}

kernel! {
    /// Replaces dL/d(output) by dL/d(pre-activation), given the output, or the pre-activation where the activation
    /// [needs it](Activation::needs_input). The slices have equal lengths.
    pub fn backward<E>(isa, s; act: Activation, y: &[E], dy: &mut [E]) {
        for_each_vector!(common_length!(y, dy), |i, count| {
            let d = times_derivative(s, act, load(s, y, i, count), load(s, dy, i, count));
            store(s, d, dy, i, count);
        });
    }
}

kernel! {
    /// The gated linear unit y = a·σ(g) (Dauphin et al. 2017). All slices have the same length.
    pub fn glu_forward<E>(isa, s; a: &[E], g: &[E], y: &mut [E]) {
        for_each_vector!(common_length!(a, g, y), |i, count| {
            let gate = math::sigmoid(s, load(s, g, i, count));
            store(s, s.mul(load(s, a, i, count), gate), y, i, count);
        });
    }
}

kernel! {
    /// The derivatives of [`glu_forward`], replacing what `da` and `dg` held: da = dy·σ(g), dg = dy·a·σ(g)(1 − σ(g)).
    pub fn glu_backward<E>(isa, s; a: &[E], g: &[E], dy: &[E], da: &mut [E], dg: &mut [E]) {
        for_each_vector!(common_length!(a, g, dy, da, dg), |i, count| {
            let gate = math::sigmoid(s, load(s, g, i, count));
            let through = s.mul(load(s, dy, i, count), gate);
            store(s, through, da, i, count);
            let closed = s.sub(s.splat(E::ONE), gate);
            store(s, s.mul(s.mul(through, load(s, a, i, count)), closed), dg, i, count);
        });
    }
}
