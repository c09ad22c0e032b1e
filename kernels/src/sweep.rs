//! Sweeps over one row: what the densities, the divergence and the reparameterization do to their parameters.
//!
//! A row sum adds columns i, i + 16, i + 32 … into lane i and then the lanes by the fixed tree of
//! [`Simd::sum`](crate::Simd::sum), so its bits depend on nothing but the row. Slices of one call have equal lengths,
//! of any size. Values are in nats. A function whose name ends in `_grad` takes the weight `w` with which the row's value enters
//! the loss: derivatives are scaled by it.

use crate::map::{accumulate, common_length, for_each_vector, keep, kernel, load, store};
use crate::math;
use crate::simd::{Element, Simd};

/// log 2π
const LOG_TAU: f64 = 1.8378770664093453;

/// Vectors whose factors 1 + e⁻|ᵒ| share one logarithm: their product is at most 2⁶⁴, far from overflow.
const GROUP: usize = 64;

/// A Bernoulli row's log-likelihood so far: Σ x·o − max(o, 0) − log(1 + e^−|o|), the logarithms taken of products.
#[derive(Clone, Copy)]
struct Bernoulli<S: Simd> {
    s: S,
    total: S::V,
    product: S::V,
    pending: usize,
}

impl<S: Simd> Bernoulli<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Bernoulli { s, total: s.splat(S::E::ZERO), product: s.splat(S::E::ONE), pending: 0 }
    }

    /// Takes in `count` targets and logits; returns e^−|o| and 1 + e^−|o|.
    #[inline(always)]
    fn add(&mut self, x: S::V, o: S::V, count: usize) -> (S::V, S::V) {
        let s = self.s;
        let zero = s.splat(S::E::ZERO);
        let one = s.splat(S::E::ONE);
        let e = math::exp(s, math::neg_abs(s, o));
        let factor = s.add(one, e);
        // Padding has x = o = 0 and adds nothing here; its factor of 2 is left out.
        self.total = s.add(self.total, s.sub(s.mul(x, o), s.max(zero, o)));
        self.product = s.mul(self.product, keep(s, count, factor, one));
        self.pending += 1;
        if self.pending == GROUP {
            self.close();
        }
        (e, factor)
    }

    #[inline(always)]
    fn close(&mut self) {
        let s = self.s;
        self.total = s.sub(self.total, math::log(s, self.product));
        self.product = s.splat(S::E::ONE);
        self.pending = 0;
    }

    #[inline(always)]
    fn log_prob(mut self) -> S::E {
        self.close();
        self.s.sum(self.total)
    }
}

kernel! {
    /// log p(x) = Σ x·o − softplus(o) of a Bernoulli with logits o, for targets x in [0, 1].
    pub fn bernoulli_log_prob<E>(isa, s; x: &[E], logits: &[E]) -> E {
        let mut row = Bernoulli::new(s);
        for_each_vector!(common_length!(x, logits), |i, count| {
            row.add(load(s, x, i, count), load(s, logits, i, count), count);
        });
        row.log_prob()
    }
}

kernel! {
    /// [`bernoulli_log_prob`], replacing each logit by its derivative w·(x − σ(o)) in the same sweep.
    pub fn bernoulli_log_prob_grad<E>(isa, s; x: &[E], logits: &mut [E], w: E) -> E {
        let zero = s.splat(E::ZERO);
        let weight = s.splat(w);
        let mut row = Bernoulli::new(s);
        for_each_vector!(common_length!(x, logits), |i, count| {
            let (x, o) = (load(s, x, i, count), load(s, logits, i, count));
            let (e, factor) = row.add(x, o, count);
            let mean = s.div(s.select(s.lt(o, zero), e, s.splat(E::ONE)), factor);
            store(s, s.mul(weight, s.sub(x, mean)), logits, i, count);
        });
        row.log_prob()
    }
}

kernel! {
    /// Σ (x − μ)²
    pub fn squared_error<E>(isa, s; x: &[E], mu: &[E]) -> E {
        let mut total = s.splat(E::ZERO);
        for_each_vector!(common_length!(x, mu), |i, count| {
            let d = s.sub(load(s, x, i, count), load(s, mu, i, count));
            total = s.fma(d, d, total);
        });
        s.sum(total)
    }
}

kernel! {
    /// [`squared_error`], replacing μ by w·(x − μ)·inv_var: the derivative of a Gaussian log-likelihood with that
    /// inverse variance.
    pub fn squared_error_grad<E>(isa, s; x: &[E], mu: &mut [E], w: E, inv_var: E) -> E {
        let scale = s.splat(w * inv_var);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(common_length!(x, mu), |i, count| {
            let d = s.sub(load(s, x, i, count), load(s, mu, i, count));
            total = s.fma(d, d, total);
            store(s, s.mul(scale, d), mu, i, count);
        });
        s.sum(total)
    }
}

/// −½ (n log 2π + Σ)
#[inline(always)]
fn normal_log_prob<S: Simd>(s: S, n: usize, total: S::V) -> S::E {
    S::E::from_f64(-0.5) * (S::E::from_f64(n as f64 * LOG_TAU) + s.sum(total))
}

kernel! {
    /// log p(x) = −½ Σ (log 2π + v + (x − μ)² e⁻ᵛ) of a Gaussian with log-variances v.
    pub fn gaussian_log_prob<E>(isa, s; x: &[E], mean: &[E], log_var: &[E]) -> E {
        let n = common_length!(x, mean, log_var);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(n, |i, count| {
            let d = s.sub(load(s, x, i, count), load(s, mean, i, count));
            let v = load(s, log_var, i, count);
            // Padding has d = v = 0 and adds nothing.
            let precision = math::exp(s, math::neg(s, v));
            total = s.add(total, s.fma(s.mul(d, d), precision, v));
        });
        normal_log_prob(s, n, total)
    }
}

/// One vector of a Gaussian: v + d² e⁻ᵛ, d·e⁻ᵛ and ½ (d² e⁻ᵛ − 1), for d = x − μ.
#[inline(always)]
fn gaussian_terms<S: Simd>(s: S, d: S::V, v: S::V) -> [S::V; 3] {
    let scaled = s.mul(d, math::exp(s, math::neg(s, v)));
    let half = s.constant(0.5);
    let square = s.mul(d, scaled);
    [s.add(v, square), scaled, s.sub(s.mul(half, square), half)]
}
