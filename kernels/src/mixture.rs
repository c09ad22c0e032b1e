//! Mixtures of diagonal Gaussians: one row's log-density and shares, and the two ways back, in sweeps over components or latents.
//!
//! ```text
//! out = log Σ_c exp(a_c − ½ Σ_l (z_l − μ_lc)² p_lc)        s_c = each term's share of the sum
//! dz += w Σ_c s_c (μ_c − z) p_c        dμ_c += Σ_r w_r s_rc (z_r − μ_c) p_c        dv_c += ½ Σ_r w_r s_rc ((z_r − μ_c)² p_c − 1)
//! ```
//!
//! `a_c` is the log-weight and the constant of each component, `p = e^{−v}` its precisions.

use crate::map::{common_length, for_each_vector, kernel, load, store};
use crate::mat::Mat;
use crate::math;
use crate::simd::{Element, LANES, Simd};
use crate::sweep::{greatest, shifted_exp};

/// Vectors of components, or of latents, that are summed side by side: chains enough to hide an addition's latency.
const PANEL: usize = 4;

/// Rows whose shares of a component are gathered at once.
const ROWS: usize = 64;

/// A smaller share of a component is none: the rounding of the others is larger.
pub const LEAST_SHARE: f64 = 1e-30;

/// A vector of row `r` from column `at` on. Where the slice below goes on behind the row, whatever is there comes along, in lanes
/// that are never stored; else zeros.
#[inline(always)]
fn whole<S: Simd>(s: S, m: Mat<S::E>, r: usize, at: usize) -> S::V {
    let from = r * m.stride() + at;
    match m.data().get(from..from + LANES) {
        Some(x) => s.load(x),
        None => s.load_partial(&m.row(r)[at..]),
    }
}

/// Vectors whose exponentials are summed in the kernel's own precision, before they go to a sum in double precision.
const GROUP: usize = 64;

/// Turns logarithms into shares of their exponentials' sum; its logarithm.
#[inline(always)]
fn shares_of<S: Simd>(s: S, logs: &mut [S::E]) -> f64 {
    let top = greatest(s, logs);
    let shift = s.splat(top);
    let mut total = 0.0;
    for logs in logs.chunks_mut(GROUP * LANES) {
        let mut sum = s.splat(S::E::ZERO);
        for_each_vector!(logs.len(), |i, n| {
            let e = shifted_exp(s, logs, shift, i, n);
            sum = s.add(sum, e);
            store(s, e, logs, i, n);
        });
        total += s.sum(sum).to_f64();
    }
    let (scale, least) = (s.constant(total.recip()), s.constant(LEAST_SHARE));
    for_each_vector!(logs.len(), |i, n| {
        let share = s.mul(scale, load(s, logs, i, n));
        store(s, s.select(s.lt(share, least), s.splat(S::E::ZERO), share), logs, i, n);
    });
    top.to_f64() + total.ln()
}

kernel! {
    /// e^{−v} of each log-variance: the precisions of a component. +∞ and 0 where it leaves the range, NaN where a number is.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn mixture_precisions<E>(isa, s; log_var: &[E], out: &mut [E]) {
        for_each_vector!(common_length!(log_var, out), |i, n| {
            store(s, math::exp(s, math::neg(s, load(s, log_var, i, n))), out, i, n);
        });
    }
}

kernel! {
    /// Turns logarithms into shares of their exponentials' sum, 0 below [`LEAST_SHARE`]; the sum's logarithm. NaN where a number is,
    /// and where there is none but −∞.
    pub fn to_shares<E>(isa, s; logs: &mut [E]) -> f64 {
        shares_of(s, logs)
    }
}

kernel! {
    /// log Σ_c exp(`offsets[c]` − ½ Σ_l (z_l − μ_lc)² p_lc) of one row, and the share of each component, 0 below
    /// [`LEAST_SHARE`], into `shares`. `mean` and `precision` are (L, C): a column for each component. NaN where a number is.
    ///
    /// # Panics
    /// If shapes do not agree, or there is no component.
    pub fn mixture_log_prob<E>(isa, s; z: &[E], mean: Mat<'_, E>, precision: Mat<'_, E>, offsets: &[E], shares: &mut [E]) -> f64 {
        let (latents, count) = (z.len(), shares.len());
        assert!(
            count > 0
                && offsets.len() == count
                && (mean.rows(), mean.cols()) == (latents, count)
                && (precision.rows(), precision.cols()) == (latents, count),
            "{latents} latents of {count} components: means {}×{}, precisions {}×{}, {} offsets",
            mean.rows(),
            mean.cols(),
            precision.rows(),
            precision.cols(),
            offsets.len()
        );
        let half = s.constant(0.5);
        let panels = count - count % (PANEL * LANES);
        for c in (0..panels).step_by(PANEL * LANES) {
            let mut sums = [s.splat(E::ZERO); PANEL];
            for (l, &z) in z.iter().enumerate() {
                let z = s.splat(z);
                let (mean, precision) = (&mean.row(l)[c..][..PANEL * LANES], &precision.row(l)[c..][..PANEL * LANES]);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let d = s.sub(z, s.load(&mean[p * LANES..]));
                    *sum = s.fma(s.mul(d, d), s.load(&precision[p * LANES..]), *sum);
                }
            }
            for (p, &sum) in sums.iter().enumerate() {
                let at = c + p * LANES;
                s.store(s.fnma(half, sum, s.load(&offsets[at..])), &mut shares[at..]);
            }
        }
        for_each_vector!(count - panels, |i, n| {
            let at = panels + i;
            let mut sum = s.splat(E::ZERO);
            for (l, &z) in z.iter().enumerate() {
                let d = s.sub(s.splat(z), whole(s, mean, l, at));
                sum = s.fma(s.mul(d, d), whole(s, precision, l, at), sum);
            }
            store(s, s.fnma(half, sum, load(s, offsets, at, n)), shares, at, n);
        });
        shares_of(s, shares)
    }
}

kernel! {
    /// Adds w Σ_c s_c (μ_c − z) p_c to `dz`; `mean` and `precision` are (C, L), a row for each component. Components without a
    /// share are left out.
    ///
    /// # Panics
    /// If shapes do not agree.
    pub fn mixture_grad_z<E>(isa, s; z: &[E], shares: &[E], weight: E, mean: Mat<'_, E>, precision: Mat<'_, E>, dz: &mut [E]) {
        let (latents, count) = (z.len(), shares.len());
        assert!(
            dz.len() == latents
                && (mean.rows(), mean.cols()) == (count, latents)
                && (precision.rows(), precision.cols()) == (count, latents),
            "{latents} latents of {count} components: means {}×{}, precisions {}×{}, dz {}",
            mean.rows(),
            mean.cols(),
            precision.rows(),
            precision.cols(),
            dz.len()
        );
        let panels = latents - latents % (PANEL * LANES);
        for l in (0..panels).step_by(PANEL * LANES) {
            let z = &z[l..][..PANEL * LANES];
            let mut sums = [s.splat(E::ZERO); PANEL];
            for (c, &share) in shares.iter().enumerate().filter(|(_, share)| **share != E::ZERO) {
                let share = s.splat(share);
                let (mean, precision) = (&mean.row(c)[l..][..PANEL * LANES], &precision.row(c)[l..][..PANEL * LANES]);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let d = s.sub(s.load(&mean[p * LANES..]), s.load(&z[p * LANES..]));
                    *sum = s.fma(s.mul(d, s.load(&precision[p * LANES..])), share, *sum);
                }
            }
            for (p, &sum) in sums.iter().enumerate() {
                let dz = &mut dz[l + p * LANES..];
                s.store(s.fma(s.splat(weight), sum, s.load(dz)), dz);
            }
        }
        for_each_vector!(latents - panels, |i, n| {
            let at = panels + i;
            let (z, mut sum) = (load(s, z, at, n), s.splat(E::ZERO));
            for (c, &share) in shares.iter().enumerate().filter(|(_, share)| **share != E::ZERO) {
                let d = s.sub(whole(s, mean, c, at), z);
                sum = s.fma(s.mul(d, whole(s, precision, c, at)), s.splat(share), sum);
            }
            store(s, s.fma(s.splat(weight), sum, load(s, dz, at, n)), dz, at, n);
        });
    }
}

kernel! {
    /// Adds to `dmean` and `dlog_var` what some rows say of one component: Σ_r w_r s_r (z_r − μ) p and
    /// ½ Σ_r w_r s_r ((z_r − μ)² p − 1), row after row: block after block of rows gives the bits of one call. z is (rows, L), and
    /// the rows' shares of the component are the column `c` of `shares`. Rows without a share are left out.
    ///
    /// # Panics
    /// If shapes do not agree.
    pub fn mixture_grad_component<E>(
        isa, s; z: Mat<'_, E>, shares: Mat<'_, E>, c: usize, weights: &[E], mean: &[E], precision: &[E], dmean: &mut [E], dlog_var: &mut [E],
    ) {
        let latents = mean.len();
        assert!(
            z.cols() == latents && precision.len() == latents && dmean.len() == latents && dlog_var.len() == latents,
            "{latents} latents: z {}, precision {}, dmean {}, dlog_var {}",
            z.cols(),
            precision.len(),
            dmean.len(),
            dlog_var.len()
        );
        assert!(
            shares.rows() == z.rows() && c < shares.cols() && weights.len() >= z.rows(),
            "component {c} of {}, {} rows of shares, {} weights for {} rows",
            shares.cols(),
            shares.rows(),
            weights.len(),
            z.rows()
        );
        let (half, one) = (s.constant(0.5), s.splat(E::ONE));
        // The column is walked down once, and not for every vector of latents.
        let mut column = [E::ZERO; ROWS];
        for first in (0..z.rows()).step_by(ROWS) {
            let column = &mut column[..ROWS.min(z.rows() - first)];
            for (r, weight) in column.iter_mut().enumerate() {
                *weight = weights[first + r] * shares.row(first + r)[c];
            }
            for_each_vector!(latents, |i, n| {
                let (mean, precision) = (load(s, mean, i, n), load(s, precision, i, n));
                let (mut of_mean, mut of_log_var) = (load(s, dmean, i, n), load(s, dlog_var, i, n));
                for (r, &weight) in column.iter().enumerate().filter(|(_, weight)| **weight != E::ZERO) {
                    let (weight, d) = (s.splat(weight), s.sub(whole(s, z, first + r, i), mean));
                    let scaled = s.mul(d, precision);
                    of_mean = s.fma(weight, scaled, of_mean);
                    of_log_var = s.fma(s.mul(half, weight), s.sub(s.mul(d, scaled), one), of_log_var);
                }
                store(s, of_mean, dmean, i, n);
                store(s, of_log_var, dlog_var, i, n);
            });
        }
    }
}
