//! Optimizer updates on slices of parameters, and their per-vector bodies, which a fused path may put between the
//! tiles of a matrix product. Moments stop decaying before they are subnormal, on which arithmetic is slow.

use crate::map::{common_length, for_each_vector, kernel, load, store};
use crate::simd::{Element, Simd};

/// One step of Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019), in PyTorch's arithmetic.
///
/// With p the parameter and g its gradient plus `weight_decay`·p:
/// m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g²,
/// p ← p − `learning_rate`·`decoupled_weight_decay`·p − `learning_rate`/c₁ · m / (√v/√c₂ + ε).
///
/// Kept in double precision and rounded once, so that 1 − β₂ in `f32` is as good as PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamStep {
    /// The step size.
    pub learning_rate: f64,
    /// Decay of the mean of gradients, β₁.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, β₂.
    pub beta2: f64,
    /// Added to the root mean square, ε.
    pub epsilon: f64,
    /// c₁ = 1 − β₁ᵗ
    pub correction1: f64,
    /// c₂ = 1 − β₂ᵗ
    pub correction2: f64,
    /// L2 penalty, added to the gradient: `weight_decay` of PyTorch's `Adam`.
    pub weight_decay: f64,
    /// Shrinks the parameter itself: `weight_decay` of PyTorch's `AdamW`.
    pub decoupled_weight_decay: f64,
}

impl AdamStep {
    /// Step `t`, counted from 1, without weight decay.
    pub fn new(learning_rate: f64, beta1: f64, beta2: f64, epsilon: f64, t: u64) -> Self {
        assert!(t > 0, "steps are counted from 1");
        AdamStep {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            correction1: 1.0 - beta1.powf(t as f64),
            correction2: 1.0 - beta2.powf(t as f64),
            weight_decay: 0.0,
            decoupled_weight_decay: 0.0,
        }
    }

    /// The constants of [`adam_vector`].
    #[inline(always)]
    pub fn vectors<S: Simd>(&self, s: S) -> AdamVectors<S> {
        let root = self.correction2.sqrt();
        AdamVectors {
            rest1: s.constant(1.0 - self.beta1),
            rest2: s.constant(1.0 - self.beta2),
            epsilon: s.constant(self.epsilon * root),
            step: s.constant(self.learning_rate * root / self.correction1),
            decays: self.weight_decay != 0.0 || self.decoupled_weight_decay != 0.0,
            weight_decay: s.constant(self.weight_decay),
            shrink: s.constant(self.learning_rate * self.decoupled_weight_decay),
        }
    }
}

/// An [`AdamStep`], ready for vectors.
#[derive(Clone, Copy)]
pub struct AdamVectors<S: Simd> {
    rest1: S::V,
    rest2: S::V,
    epsilon: S::V,
    step: S::V,
    decays: bool,
    weight_decay: S::V,
    shrink: S::V,
}

/// `x` rounded to a multiple of twice the smallest normal number, 2^-125 in `f32` and 2^-1021 in `f64`: nothing subnormal is
/// left of it, and nothing that matters changes. Two sums, because a product's neighbours leave those units idle.
#[inline(always)]
fn flush<S: Simd>(s: S, x: S::V) -> S::V {
    let large = s.bits(u64::from(S::E::MANTISSA_BITS + 2) << S::E::MANTISSA_BITS);
    s.sub(s.add(x, large), large)
}

/// Adam for one vector of parameters p, moments m and v, and gradients g: the new p, m and v.
///
/// Both corrections are moved into the step and into ε, means are x + (1 − β)(y − x): of what the formula allows, the form
/// with the fewest products.
#[inline(always)]
pub fn adam_vector<S: Simd>(s: S, p: S::V, m: S::V, v: S::V, g: S::V, c: &AdamVectors<S>) -> (S::V, S::V, S::V) {
    let (g, p) = if c.decays { (s.fma(c.weight_decay, p, g), s.fnma(c.shrink, p, p)) } else { (g, p) };
    let m = flush(s, s.fma(c.rest1, s.sub(g, m), m));
    let v = flush(s, s.fma(c.rest2, s.sub(s.mul(g, g), v), v));
    let direction = s.div(m, s.add(s.sqrt(v), c.epsilon));
    (s.fnma(c.step, direction, p), m, v)
}

kernel! {
    /// One [`AdamStep`] of parameters `p` with moments `m` and `v`, zero before the first step, and gradients `g`. The
    /// slices have equal lengths.
    ///
    /// ```
    /// use elbo_kernels::{Isa, update::{AdamStep, adam}};
    ///
    /// let (mut p, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
    /// adam(Isa::default(), &AdamStep::new(0.25, 0.9, 0.999, 0.0, 1), &mut p, &mut m, &mut v, &[-7.0]);
    /// assert!((p[0] - 1.25).abs() < 1e-15, "the first step is the learning rate, whatever the gradient");
    /// ```
    pub fn adam<E>(isa, s; step: &AdamStep, p: &mut [E], m: &mut [E], v: &mut [E], g: &[E]) {
        let constants = step.vectors(s);
        for_each_vector!(common_length!(p, m, v, g), |i, count| {
            let old = [load(s, p, i, count), load(s, m, i, count), load(s, v, i, count)];
            let (p1, m1, v1) = adam_vector(s, old[0], old[1], old[2], load(s, g, i, count), &constants);
            store(s, p1, p, i, count);
            store(s, m1, m, i, count);
            store(s, v1, v, i, count);
        });
    }
}

/// One step of stochastic gradient descent, in PyTorch's arithmetic (no dampening).
///
/// With g the gradient plus `weight_decay`·p: b ← `momentum`·b + g and p ← p − `learning_rate`·b, or with `nesterov`
/// p ← p − `learning_rate`·(g + `momentum`·b). A buffer b of zeros makes the first step b = g.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SgdStep {
    /// The step size.
    pub learning_rate: f64,
    /// Decay of the buffer; 0 for none.
    pub momentum: f64,
    /// Whether to look ahead (Sutskever et al. 2013).
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

impl SgdStep {
    /// The constants of [`sgd_vector`].
    #[inline(always)]
    pub fn vectors<S: Simd>(&self, s: S) -> SgdVectors<S> {
        SgdVectors {
            step: s.constant(self.learning_rate),
            momentum: s.constant(self.momentum),
            weight_decay: s.constant(self.weight_decay),
            nesterov: self.nesterov,
        }
    }
}

/// An [`SgdStep`], ready for vectors.
#[derive(Clone, Copy)]
pub struct SgdVectors<S: Simd> {
    step: S::V,
    momentum: S::V,
    weight_decay: S::V,
    nesterov: bool,
}

/// Gradient descent for one vector of parameters p, buffers b and gradients g: the new p and b.
#[inline(always)]
pub fn sgd_vector<S: Simd>(s: S, p: S::V, b: S::V, g: S::V, c: &SgdVectors<S>) -> (S::V, S::V) {
    let g = s.fma(c.weight_decay, p, g);
    let b = flush(s, s.fma(c.momentum, b, g));
    let direction = if c.nesterov { s.fma(c.momentum, b, g) } else { b };
    (s.fnma(c.step, direction, p), b)
}

kernel! {
    /// One [`SgdStep`] of parameters `p` with buffers `b`, zero before the first step, and gradients `g`. The slices
    /// have equal lengths; without momentum `b` may be empty.
    pub fn sgd<E>(isa, s; step: &SgdStep, p: &mut [E], b: &mut [E], g: &[E]) {
        let constants = step.vectors(s);
        if step.momentum == 0.0 && b.is_empty() {
            for_each_vector!(common_length!(p, g), |i, count| {
                let old = load(s, p, i, count);
                let (p1, _) = sgd_vector(s, old, s.splat(E::ZERO), load(s, g, i, count), &constants);
                store(s, p1, p, i, count);
            });
            return;
        }
        for_each_vector!(common_length!(p, b, g), |i, count| {
            let old = [load(s, p, i, count), load(s, b, i, count)];
            let (p1, b1) = sgd_vector(s, old[0], old[1], load(s, g, i, count), &constants);
            store(s, p1, p, i, count);
            store(s, b1, b, i, count);
        });
    }
}
