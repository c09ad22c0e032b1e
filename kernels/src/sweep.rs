//! Sweeps over one row: what the densities, the divergence and the reparameterization do to their parameters. Those that
//! rows of any length take are here; [`block`](crate::block) has what short rows take all at once.
//!
//! A row sum adds columns i, i + 16, i + 32 … into lane i and then the lanes by the fixed tree of [`Simd::sum`], so its
//! bits depend on nothing but the row. Slices of one call have equal lengths, of any size. Values are in nats. A
//! function whose name ends in `_grad` takes the weight `w` with which the row's value enters the loss: derivatives are
//! scaled by it.

use crate::isa::Isa;
use crate::map::{accumulate, common_length, for_each_vector, keep, kernel, load, store};
use crate::math;
use crate::simd::{Element, Simd};

/// log 2π
const LOG_TAU: f64 = 1.8378770664093453;

/// Vectors whose factors 1 + e^−|o| share one logarithm: their product is at most 2⁶⁴, far from overflow.
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
        let e = math::exp_nonpositive(s, math::neg_abs(s, o));
        let factor = s.add(one, e);
        // Padding has x = o = 0 and adds nothing here; its factor of 2 is left out.
        self.total = s.sub(self.total, s.fnma(x, o, s.max(zero, o)));
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
    /// log p(x) = Σ x·o − softplus(o) of a Bernoulli with finite logits o, for targets x in [0, 1].
    ///
    /// The logarithms of 1 + e^−|o| are taken of products of 64: right within a rounding or two of 1 for each column.
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
    ///
    /// ```
    /// use elbo_kernels::{Isa, sweep::bernoulli_log_prob_grad};
    ///
    /// let (x, mut logits) = ([1.0, 0.0], [0.0f64, 0.0]);
    /// let log_prob = bernoulli_log_prob_grad(Isa::default(), &x, &mut logits, 1.0);
    /// assert!((log_prob - 0.25f64.ln()).abs() < 1e-15);
    /// assert_eq!(logits, [0.5, -0.5]);
    /// ```
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

/// −½ (n log 2π + Σ)
#[inline(always)]
fn normal_log_prob<S: Simd>(s: S, n: usize, total: S::V) -> S::E {
    S::E::from_f64(-0.5) * (S::E::from_f64(n as f64 * LOG_TAU) + s.sum(total))
}

/// One vector of a Gaussian: v + d² e⁻ᵛ, d·e⁻ᵛ and ½ (d² e⁻ᵛ − 1), for d = x − μ. Padding has d = v = 0, of which
/// the first is 0.
#[inline(always)]
fn gaussian_terms<S: Simd>(s: S, x: S::V, mean: S::V, v: S::V) -> [S::V; 3] {
    let d = s.sub(x, mean);
    let half = s.constant(0.5);
    let scaled = s.mul(d, math::exp(s, math::neg(s, v)));
    let square = s.mul(d, scaled);
    [s.add(v, square), scaled, s.sub(s.mul(half, square), half)]
}

kernel! {
    /// log p(x) = −½ Σ (log 2π + v + (x − μ)² e⁻ᵛ) of a Gaussian with log-variances v.
    pub fn gaussian_log_prob<E>(isa, s; x: &[E], mean: &[E], log_var: &[E]) -> E {
        let n = common_length!(x, mean, log_var);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(n, |i, count| {
            let v = load(s, log_var, i, count);
            let [term, ..] = gaussian_terms(s, load(s, x, i, count), load(s, mean, i, count), v);
            total = s.add(total, term);
        });
        normal_log_prob(s, n, total)
    }
}

kernel! {
    fn gaussian_sweep<E>(isa, s; x: &[E], mean: &mut [E], log_var: &mut [E], w: E, dx: Option<&mut [E]>) -> E {
        let n = common_length!(x, mean, log_var);
        let mut dx = dx;
        let weight = s.splat(w);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(n, |i, count| {
            let v = load(s, log_var, i, count);
            let [term, scaled, by_v] = gaussian_terms(s, load(s, x, i, count), load(s, mean, i, count), v);
            total = s.add(total, term);
            let d = s.mul(weight, scaled);
            store(s, d, mean, i, count);
            store(s, s.mul(weight, by_v), log_var, i, count);
            if let Some(dx) = &mut dx {
                accumulate(s, math::neg(s, d), dx, i, count);
            }
        });
        normal_log_prob(s, n, total)
    }
}

/// [`gaussian_log_prob`], replacing means and log-variances by their derivatives w·(x − μ)e⁻ᵛ and
/// w·½((x − μ)² e⁻ᵛ − 1) in the same sweep.
pub fn gaussian_log_prob_grad<E: Element>(isa: Isa, x: &[E], mean: &mut [E], log_var: &mut [E], w: E) -> E {
    gaussian_sweep(isa, x, mean, log_var, w, None)
}

/// [`gaussian_log_prob_grad`], also adding the derivative by x, −w·(x − μ)e⁻ᵛ, to `dx`.
pub fn gaussian_log_prob_grad_x<E: Element>(
    isa: Isa,
    x: &[E],
    mean: &mut [E],
    log_var: &mut [E],
    w: E,
    dx: &mut [E],
) -> E {
    common_length!(x, dx);
    gaussian_sweep(isa, x, mean, log_var, w, Some(dx))
}

kernel! {
    /// log p(z) = −½ Σ (log 2π + z²)
    pub fn standard_normal_log_prob<E>(isa, s; z: &[E]) -> E {
        let mut total = s.splat(E::ZERO);
        for_each_vector!(z.len(), |i, count| {
            let z = load(s, z, i, count);
            total = s.fma(z, z, total);
        });
        normal_log_prob(s, z.len(), total)
    }
}

kernel! {
    /// Adds the derivative of [`standard_normal_log_prob`], −w·z, to `dz`.
    pub fn standard_normal_log_prob_grad<E>(isa, s; z: &[E], w: E, dz: &mut [E]) {
        let weight = s.splat(w);
        for_each_vector!(common_length!(z, dz), |i, count| {
            let old = load(s, dz, i, count);
            store(s, s.fnma(weight, load(s, z, i, count), old), dz, i, count);
        });
    }
}

kernel! {
    /// KL(N(μ, eᵛ) ‖ N(0, 1)) = ½ (μ² + eᵛ − 1 − v) of each column into `kl`, their sum returned (Kingma and
    /// Welling 2014, appendix B).
    ///
    /// eᵛ − 1 − v is computed without cancellation, so a divergence is never negative and keeps its relative accuracy
    /// however close the posterior is to the prior.
    pub fn kl_standard_normal<E>(isa, s; mean: &[E], log_var: &[E], kl: &mut [E]) -> E {
        let half = s.constant(0.5);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(common_length!(mean, log_var, kl), |i, count| {
            let mean = load(s, mean, i, count);
            let variance = math::exp_minus_1_minus_x(s, load(s, log_var, i, count));
            let column = s.mul(half, s.fma(mean, mean, variance));
            // Padding has μ = v = 0 and adds nothing.
            total = s.add(total, column);
            store(s, column, kl, i, count);
        });
        s.sum(total)
    }
}

kernel! {
    /// Adds the derivatives of [`kl_standard_normal`], weighted by column: w·μ to `dmean` and w·½(eᵛ − 1) to
    /// `dlog_var`, relatively accurate near v = 0.
    pub fn kl_standard_normal_grad<E>(
        isa, s; mean: &[E], log_var: &[E], w: &[E], dmean: &mut [E], dlog_var: &mut [E],
    ) {
        let half = s.constant(0.5);
        for_each_vector!(common_length!(mean, log_var, w, dmean, dlog_var), |i, count| {
            let w = load(s, w, i, count);
            accumulate(s, s.mul(w, load(s, mean, i, count)), dmean, i, count);
            let variance = math::expm1(s, load(s, log_var, i, count));
            accumulate(s, s.mul(w, s.mul(half, variance)), dlog_var, i, count);
        });
    }
}

/// e^(v/2)
#[inline(always)]
pub(crate) fn deviation<S: Simd>(s: S, v: S::V) -> S::V {
    math::exp(s, s.mul(s.constant(0.5), v))
}

kernel! {
    /// z = μ + e^(v/2) ε (Kingma and Welling 2014).
    pub fn reparameterize<E>(isa, s; mean: &[E], log_var: &[E], eps: &[E], z: &mut [E]) {
        for_each_vector!(common_length!(mean, log_var, eps, z), |i, count| {
            let deviation = deviation(s, load(s, log_var, i, count));
            let v = s.fma(deviation, load(s, eps, i, count), load(s, mean, i, count));
            store(s, v, z, i, count);
        });
    }
}

kernel! {
    /// Adds what [`reparameterize`] passes back: dz to `dmean` and ½ dz ε e^(v/2) to `dlog_var`.
    pub fn reparameterize_grad<E>(
        isa, s; log_var: &[E], eps: &[E], dz: &[E], dmean: &mut [E], dlog_var: &mut [E],
    ) {
        let half = s.constant(0.5);
        for_each_vector!(common_length!(log_var, eps, dz, dmean, dlog_var), |i, count| {
            let dz = load(s, dz, i, count);
            accumulate(s, dz, dmean, i, count);
            let noise = s.mul(deviation(s, load(s, log_var, i, count)), load(s, eps, i, count));
            accumulate(s, s.mul(s.mul(half, dz), noise), dlog_var, i, count);
        });
    }
}

/// The greatest of some numbers, −∞ for none; a NaN may be passed over.
#[inline(always)]
pub(crate) fn greatest<S: Simd>(s: S, x: &[S::E]) -> S::E {
    let lowest = s.constant(f64::NEG_INFINITY);
    let mut top = lowest;
    for_each_vector!(x.len(), |i, count| {
        top = s.max(top, keep(s, count, load(s, x, i, count), lowest));
    });
    let mut greatest = S::E::from_f64(f64::NEG_INFINITY);
    for lane in s.to_array(top) {
        if lane > greatest {
            greatest = lane;
        }
    }
    greatest
}

/// e^(o − top) for one vector, 0 in its padding.
#[inline(always)]
pub(crate) fn shifted_exp<S: Simd>(s: S, logits: &[S::E], top: S::V, i: usize, count: usize) -> S::V {
    let e = math::exp(s, s.sub(load(s, logits, i, count), top));
    keep(s, count, e, s.splat(S::E::ZERO))
}

/// log of one number, by the vector's logarithm so that every instruction set gives the same bits.
#[inline(always)]
fn scalar_log<S: Simd>(s: S, x: S::E) -> S::E {
    s.to_array(math::log(s, s.splat(x)))[0]
}

kernel! {
    /// log p(index) of a categorical with these logits: `o[index]` − log Σ eᵒ, shifted by the greatest logit.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn softmax_log_prob<E>(isa, s; index: usize, logits: &[E]) -> E {
        let top = greatest(s, logits);
        let shift = s.splat(top);
        let mut total = s.splat(E::ZERO);
        for_each_vector!(logits.len(), |i, count| {
            total = s.add(total, shifted_exp(s, logits, shift, i, count));
        });
        (logits[index] - top) - scalar_log(s, s.sum(total))
    }
}

kernel! {
    /// [`softmax_log_prob`], replacing the logits by their derivatives w·(onehot(index) − softmax(o)).
    ///
    /// # Panics
    /// If there is no such class.
    pub fn softmax_log_prob_grad<E>(isa, s; index: usize, logits: &mut [E], w: E) -> E {
        let top = greatest(s, logits);
        let shift = s.splat(top);
        let chosen = logits[index] - top;
        let mut total = s.splat(E::ZERO);
        for_each_vector!(logits.len(), |i, count| {
            let e = shifted_exp(s, logits, shift, i, count);
            total = s.add(total, e);
            store(s, e, logits, i, count);
        });
        let total = s.sum(total);
        let others = (total - logits[index]) / total;
        let scale = s.splat(-(w / total));
        for_each_vector!(logits.len(), |i, count| {
            store(s, s.mul(scale, load(s, logits, i, count)), logits, i, count);
        });
        logits[index] = w * others;
        chosen - scalar_log(s, total)
    }
}

kernel! {
    /// y = x·scale, exactly as `x as E * scale`: pixels to numbers.
    pub fn scale_u8<E>(isa, _s; x: &[u8], scale: E, y: &mut [E]) {
        common_length!(x, y);
        // A plain loop: compiled for the instruction set, the conversion is vectorized.
        for (y, &x) in y.iter_mut().zip(x) {
            *y = E::from_f64(x as f64) * scale;
        }
    }
}
