//! Sweeps over a block of rows in one call: a row of a few latents, or of a table's few columns, is done in less time than
//! a call takes, and rows that are independent overlap in the processor. Each has the bits of the sweep over one row that it
//! is named after.

use crate::map::{for_each_vector, kernel, load, store};
use crate::mat::{Mat, MatMut};
use crate::math;
use crate::simd::Element;
use crate::sweep::deviation;

/// Panics, with every shape, when the matrices are not all of the same one; else returns it.
macro_rules! common_shape {
    ($first:ident $(, $rest:ident $(/ $parts:literal)?)+) => {{
        let (rows, cols) = ($first.rows(), $first.cols());
        if $($rest.rows() != rows || $rest.cols() != cols $(* $parts)?)||+ {
            shapes_differ(&[
                (stringify!($first), (rows, cols)),
                $((stringify!($rest), ($rest.rows(), $rest.cols()))),+
            ]);
        }
        (rows, cols)
    }};
}

#[cold]
#[inline(never)]
#[track_caller]
fn shapes_differ(shapes: &[(&str, (usize, usize))]) -> ! {
    panic!("matrices of shapes that do not go together: {shapes:?}")
}

kernel! {
    /// [`reparameterize`](crate::sweep::reparameterize) and [`kl_standard_normal`](crate::sweep::kl_standard_normal) of each row:
    /// `eta` is [μ | v], (B, 2L); `eps`, `z` and `kl` are (B, L).
    ///
    /// # Panics
    /// If shapes do not agree.
    pub fn sample_and_kl<E>(isa, s; eta: Mat<'_, E>, eps: Mat<'_, E>, z: MatMut<'_, E>, kl: MatMut<'_, E>) {
        let (mut z, mut kl) = (z, kl);
        let (rows, latent) = common_shape!(eps, eta / 2, z, kl);
        let half = s.constant(0.5);
        for r in 0..rows {
            let ((mean, log_var), eps, z, kl) = (eta.row(r).split_at(latent), eps.row(r), z.row(r), kl.row(r));
            for_each_vector!(latent, |i, count| {
                let (mean, v) = (load(s, mean, i, count), load(s, log_var, i, count));
                store(s, s.fma(deviation(s, v), load(s, eps, i, count), mean), z, i, count);
                let variance = math::exp_minus_1_minus_x(s, v);
                store(s, s.mul(half, s.fma(mean, mean, variance)), kl, i, count);
            });
        }
    }
}

kernel! {
    /// [`reparameterize_grad`](crate::sweep::reparameterize_grad) of `dz` and
    /// [`kl_standard_normal_grad`](crate::sweep::kl_standard_normal_grad) by the weights `w`, in place of what is in `deta`: the
    /// bits of both added to zeros. `eta` and `deta` are (B, 2L), the others (B, L).
    ///
    /// # Panics
    /// If shapes do not agree.
    pub fn sample_and_kl_grad<E>(
        isa, s; eta: Mat<'_, E>, eps: Mat<'_, E>, dz: Mat<'_, E>, w: Mat<'_, E>, deta: MatMut<'_, E>,
    ) {
        let mut deta = deta;
        let (rows, latent) = common_shape!(eps, eta / 2, dz, w, deta / 2);
        let half = s.constant(0.5);
        for r in 0..rows {
            let ((mean, log_var), (dmean, dv)) = (eta.row(r).split_at(latent), deta.row(r).split_at_mut(latent));
            let (eps, dz, w) = (eps.row(r), dz.row(r), w.row(r));
            for_each_vector!(latent, |i, count| {
                let (v, dz, w) = (load(s, log_var, i, count), load(s, dz, i, count), load(s, w, i, count));
                store(s, s.add(dz, s.mul(w, load(s, mean, i, count))), dmean, i, count);
                let noise = s.mul(deviation(s, v), load(s, eps, i, count));
                let of_kl = s.mul(w, s.mul(half, math::expm1(s, v)));
                store(s, s.add(s.mul(s.mul(half, dz), noise), of_kl), dv, i, count);
            });
        }
    }
}

kernel! {
    /// [`squared_error`](crate::sweep::squared_error) of each row into `out`, replacing μ by w·(x − μ)·inv_var, the derivative of a
    /// Gaussian log-likelihood with that inverse variance. `mu` is (B, D), with `w` and `out` of B elements; row r of
    /// `mu` goes with row r / k of `x`, (B / k, D).
    ///
    /// # Panics
    /// If shapes do not agree.
    pub fn squared_error_grad<E>(isa, s; x: Mat<'_, E>, mu: MatMut<'_, E>, w: &[E], inv_var: E, out: &mut [E]) {
        let mut mu = mu;
        let (rows, cols) = (mu.rows(), mu.cols());
        let samples = if x.rows() == 0 { 1 } else { rows / x.rows() };
        if x.rows() * samples != rows || x.cols() != cols || w.len() != rows || out.len() != rows {
            shapes_differ(&[("x", (x.rows(), x.cols())), ("mu", (rows, cols)), ("w", (w.len(), 1)), ("out", (out.len(), 1))]);
        }
        for r in 0..rows {
            let (x, mu, scale) = (x.row(r / samples), mu.row(r), s.splat(w[r] * inv_var));
            let mut total = s.splat(E::ZERO);
            for_each_vector!(cols, |i, count| {
                let d = s.sub(load(s, x, i, count), load(s, mu, i, count));
                total = s.fma(d, d, total);
                store(s, s.mul(scale, d), mu, i, count);
            });
            out[r] = s.sum(total);
        }
    }
}
