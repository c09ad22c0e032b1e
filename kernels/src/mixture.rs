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

/// [`whole`] for `N` vectors side by side, in one look at the length.
#[inline(always)]
fn side_by_side<S: Simd, const N: usize>(s: S, m: Mat<S::E>, r: usize, at: usize) -> [S::V; N] {
    let from = r * m.stride() + at;
    let mut out = [s.splat(S::E::ZERO); N];
    match m.data().get(from..from + N * LANES) {
        Some(x) => {
            for v in 0..N {
                out[v] = s.load(&x[v * LANES..]);
            }
        }
        None => {
            for v in 0..N {
                out[v] = whole(s, m, r, at + v * LANES);
            }
        }
    }
    out
}

/// Runs a block for all vectors of `n` elements, the last of which may be a part: with the first element and the number of vectors that
/// are taken side by side, the greatest of some widths first, the last of which is 1.
macro_rules! in_blocks {
    ($n:expr, [$($width:literal)+], |$at:ident, $count:ident| $body:block) => {{
        let (n, mut $at) = ($n, 0);
        $(while n - $at > ($width - 1) * LANES {
            const $count: usize = $width;
            $body
            $at += ($count * LANES).min(n - $at);
        })+
    }};
}

/// Elements of the vector at `at` of a row of `n`.
#[inline(always)]
fn count(n: usize, at: usize) -> usize {
    LANES.min(n - at)
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
        in_blocks!(count, [4 3 2 1], |at, N| {
            log_terms::<S, N>(s, at, z, mean, precision, offsets, shares);
        });
        shares_of(s, shares)
    }
}

/// The logarithms of `N` vectors of components: `N` sums over the latents, side by side, for one alone waits for each addition.
#[inline(always)]
fn log_terms<S: Simd, const N: usize>(
    s: S,
    at: usize,
    z: &[S::E],
    mean: Mat<S::E>,
    precision: Mat<S::E>,
    offsets: &[S::E],
    out: &mut [S::E],
) {
    let half = s.constant(0.5);
    let mut sums = [s.splat(S::E::ZERO); N];
    for (l, &z) in z.iter().enumerate() {
        let z = s.splat(z);
        let (mean, precision): ([S::V; N], [S::V; N]) =
            (side_by_side(s, mean, l, at), side_by_side(s, precision, l, at));
        for v in 0..N {
            let d = s.sub(z, mean[v]);
            sums[v] = s.fma(s.mul(d, d), precision[v], sums[v]);
        }
    }
    for v in 0..N {
        let i = at + v * LANES;
        let n = count(out.len(), i);
        store(s, s.fnma(half, sums[v], load(s, offsets, i, n)), out, i, n);
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
        in_blocks!(latents, [4 3 2 1], |at, N| {
            z_from::<S, N>(s, at, z, shares, weight, mean, precision, dz);
        });
    }
}

/// The derivatives by `N` vectors of latents.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one for each quantity of the formula")]
fn z_from<S: Simd, const N: usize>(
    s: S,
    at: usize,
    z: &[S::E],
    shares: &[S::E],
    weight: S::E,
    mean: Mat<S::E>,
    precision: Mat<S::E>,
    dz: &mut [S::E],
) {
    let [mut home, mut sums] = [[s.splat(S::E::ZERO); N]; 2];
    for v in 0..N {
        let i = at + v * LANES;
        home[v] = load(s, z, i, count(z.len(), i));
    }
    for (c, &share) in shares.iter().enumerate() {
        if share == S::E::ZERO {
            continue;
        }
        let share = s.splat(share);
        let (mean, precision): ([S::V; N], [S::V; N]) =
            (side_by_side(s, mean, c, at), side_by_side(s, precision, c, at));
        for v in 0..N {
            let d = s.sub(mean[v], home[v]);
            sums[v] = s.fma(s.mul(d, precision[v]), share, sums[v]);
        }
    }
    for v in 0..N {
        let i = at + v * LANES;
        let n = count(dz.len(), i);
        store(s, s.fma(s.splat(weight), sums[v], load(s, dz, i, n)), dz, i, n);
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
        // The column is walked down once, and not for every vector of latents.
        let mut column = [E::ZERO; ROWS];
        for first in (0..z.rows()).step_by(ROWS) {
            let column = &mut column[..ROWS.min(z.rows() - first)];
            for (r, weight) in column.iter_mut().enumerate() {
                *weight = weights[first + r] * shares.row(first + r)[c];
            }
            in_blocks!(latents, [2 1], |at, N| {
                component_from::<S, N>(s, at, z, first, column, mean, precision, dmean, dlog_var);
            });
        }
    }
}

/// What rows from `first` on, weighted by `column`, say of `N` vectors of a component's latents.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one for each quantity of the formula")]
fn component_from<S: Simd, const N: usize>(
    s: S,
    at: usize,
    z: Mat<S::E>,
    first: usize,
    column: &[S::E],
    mean: &[S::E],
    precision: &[S::E],
    dmean: &mut [S::E],
    dlog_var: &mut [S::E],
) {
    let (half, one) = (s.constant(0.5), s.splat(S::E::ONE));
    let [mut home, mut scale, mut of_mean, mut of_log_var] = [[s.splat(S::E::ZERO); N]; 4];
    for v in 0..N {
        let i = at + v * LANES;
        let n = count(mean.len(), i);
        (home[v], scale[v]) = (load(s, mean, i, n), load(s, precision, i, n));
        (of_mean[v], of_log_var[v]) = (load(s, dmean, i, n), load(s, dlog_var, i, n));
    }
    for (r, &weight) in column.iter().enumerate() {
        if weight == S::E::ZERO {
            continue;
        }
        let z: [S::V; N] = side_by_side(s, z, first + r, at);
        let weight = s.splat(weight);
        for v in 0..N {
            let d = s.sub(z[v], home[v]);
            let scaled = s.mul(d, scale[v]);
            of_mean[v] = s.fma(weight, scaled, of_mean[v]);
            of_log_var[v] = s.fma(s.mul(half, weight), s.sub(s.mul(d, scaled), one), of_log_var[v]);
        }
    }
    for v in 0..N {
        let i = at + v * LANES;
        let n = count(mean.len(), i);
        store(s, of_mean[v], dmean, i, n);
        store(s, of_log_var[v], dlog_var, i, n);
    }
}
