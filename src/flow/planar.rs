//! Planar flows, their parameters from the encoder (Rezende and Mohamed 2015, arXiv:1505.05770, eq. 10–13 and appendix A.1).
//!
//! ```text
//! η = [u₁ w₁ b₁ | … | u_K w_K b_K]  (B, K (2L + 1))
//! z' = z + û t      t = tanh a      a = wᵀz + b      h = 1 − t²      log det = log (1 + h wᵀû)
//! û = u + c w       c = (s − q) / ‖w‖²     q = wᵀu     s = log (1 + e^q) − 1 = wᵀû > −1, so the determinant is positive
//! ```
//!
//! Backward, with g the gradient of z' and o the derivative by the log-determinant, D = 1 + h s:
//!
//! ```text
//! da = h gᵀû − 2 o s t h / D      dc = t gᵀw      dq = (o h / D) σ(q) + dc (σ(q) − 1) / ‖w‖²
//! dz = g + da w      db = da      du = t g + dq w      dw = da z + t c g + dq u − 2 (dc c / ‖w‖²) w
//! ```
//!
//! The force, with J = I + û (h w)ᵀ inverted by Sherman and Morrison's formula, and z of z' by a search for y = wᵀz alone:
//!
//! ```text
//! v' = J⁻ᵀ (v + (2 s t h / D) w) = v + (h / D) (2 s t / D − ûᵀv) w        wᵀz' = y + s tanh (y + b)      z = z' − û t
//! ```
//!
//! The constraint has a pole at w = 0, where an encoder that knows nothing starts. So the encoder's w is what is added to a unit
//! vector, step k's along latent k mod L: the same family, as a bias of the encoder's head would begin it. All but z and η is in f64.

use super::PosteriorFlow;
use crate::layer::{Cache, Gradient};
use crate::tensor::logistic::{sigmoid, softplus};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Mat, MatMut, Params, Real, Slot};

/// Halves of an interval of f64 until nothing is left of it.
const MOST_HALVES: usize = 100;

/// K planar flows over L latents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planar {
    latent: usize,
    steps: usize,
}

/// One step for one row of η.
struct Step<'e, F> {
    u: &'e [F],
    w: &'e [F],
    b: f64,
    /// The latent whose unit vector w is added to.
    axis: usize,
    /// 1 + wᵀû, and its derivative by q.
    rise: f64,
    share: f64,
    /// 1 / ‖w‖²
    inverse: f64,
    c: f64,
}

impl<'e, F: Real> Step<'e, F> {
    fn new(eta: &'e [F], latent: usize, step: usize) -> Self {
        let own = &eta[step * (2 * latent + 1)..][..2 * latent + 1];
        let (u, rest) = own.split_at(latent);
        let (w, b) = rest.split_at(latent);
        // At the pole itself û = u: z' = z + u tanh b, which needs no constraint.
        let mut s = Step { u, w, b: b[0].to_f64(), axis: step % latent, rise: 1.0, share: 1.0, inverse: 0.0, c: 0.0 };
        let square: f64 = (0..latent).map(|i| s.w(i) * s.w(i)).sum();
        if square > 0.0 {
            let q: f64 = (0..latent).map(|i| s.w(i) * s.u(i)).sum();
            (s.rise, s.share, s.inverse) = (softplus(q), sigmoid(q), 1.0 / square);
            s.c = (s.rise - 1.0 - q) * s.inverse;
        }
        s
    }
    fn u(&self, i: usize) -> f64 {
        self.u[i].to_f64()
    }
    fn w(&self, i: usize) -> f64 {
        self.w[i].to_f64() + if i == self.axis { 1.0 } else { 0.0 }
    }
    /// wᵀx
    fn along(&self, x: &[F]) -> f64 {
        x.iter().enumerate().map(|(i, x)| self.w(i) * x.to_f64()).sum()
    }
    /// t, h and the determinant at z: 1 + h s = t² + h (1 + s), of which nothing cancels.
    fn at(&self, z: &[F]) -> [f64; 3] {
        let t = (self.along(z) + self.b).tanh();
        let h = 1.0 - t * t;
        [t, h, t * t + h * self.rise]
    }
    /// Turns ∂ log q/∂z into ∂ log q/∂z'.
    fn force(&self, z: &[F], force: &mut [F]) {
        let [t, h, det] = self.at(z);
        let along: f64 = force.iter().enumerate().map(|(i, v)| v.to_f64() * (self.u(i) + self.c * self.w(i))).sum();
        let by_w = h / det * (2.0 * (self.rise - 1.0) * t / det - along);
        for (i, v) in force.iter_mut().enumerate() {
            *v = F::from_f64(v.to_f64() + by_w * self.w(i));
        }
    }
    /// Turns z' into z, and gives the determinant. What is searched for rises: Newton's steps, and halves where they leave the
    /// interval that it is in.
    fn invert(&self, z: &mut [F]) -> f64 {
        let (to, s) = (self.along(z), self.rise - 1.0);
        let [mut low, mut high] = [to - s.abs(), to + s.abs()];
        let (mut y, mut t, mut det) = (to, 0.0, 1.0);
        for _ in 0..MOST_HALVES {
            t = (y + self.b).tanh();
            det = t * t + (1.0 - t * t) * self.rise;
            let over = y + s * t - to;
            (low, high) = if over > 0.0 { (low, y) } else { (y, high) };
            let step = y - over / det;
            let next = if low <= step && step <= high { step } else { 0.5 * (low + high) };
            if next == y {
                break;
            }
            y = next;
        }
        for (i, z) in z.iter_mut().enumerate() {
            *z = F::from_f64(z.to_f64() - (self.u(i) + self.c * self.w(i)) * t);
        }
        det
    }
    /// Turns `dz` from the gradient of z' into that of z, and adds to `deta`, the step's own columns.
    fn backward(&self, z: &[F], dz: &mut [F], of_log_det: f64, deta: &mut [F]) {
        let latent = z.len();
        let ([t, h, det], share) = (self.at(z), self.share);
        let g_u: f64 = dz.iter().enumerate().map(|(i, g)| g.to_f64() * self.u(i)).sum();
        let g_w = self.along(dz);
        let s = self.rise - 1.0;
        let da = h * (g_u + self.c * g_w) - 2.0 * of_log_det * s * t * h / det;
        let dc = t * g_w;
        let dq = of_log_det * h / det * share + dc * (share - 1.0) * self.inverse;
        let shrink = 2.0 * dc * self.c * self.inverse;
        let (du, rest) = deta.split_at_mut(latent);
        let (dw, db) = rest.split_at_mut(latent);
        db[0] += F::from_f64(da);
        for i in 0..latent {
            let (g, u, w) = (dz[i].to_f64(), self.u(i), self.w(i));
            du[i] += F::from_f64(t * g + dq * w);
            dw[i] += F::from_f64(da * z[i].to_f64() + t * self.c * g + dq * u - shrink * w);
            dz[i] = F::from_f64(g + da * w);
        }
    }
}

impl Planar {
    /// `steps` flows over `latent` latents. Panics when there are none of either.
    pub fn new(latent: usize, steps: usize) -> Self {
        assert!(latent > 0 && steps > 0, "{steps} planar flows over {latent} latents");
        Planar { latent, steps }
    }
}

impl<F: Real> PosteriorFlow<F> for Planar {
    fn latent(&self) -> usize {
        self.latent
    }
    fn eta_cols(&self) -> usize {
        self.steps * (2 * self.latent + 1)
    }
    /// What goes into each step.
    fn cache(&self, rows: usize) -> Cache<F> {
        Cache { buffers: (0..self.steps).map(|_| Buffer::new(rows, self.latent)).collect(), children: vec![] }
    }
    fn forward(&self, _: Isa, _: &Params<F>, eta: Mat<F>, mut z: MatMut<F>, log_det: &mut [f64], cache: &mut Cache<F>) {
        let (many, samples) = (z.rows(), z.rows() / eta.rows().max(1));
        for (step, before) in cache.buffers.iter_mut().enumerate() {
            let mut before = before.rows_mut(many);
            for r in 0..eta.rows() {
                let s = Step::new(eta.row(r), self.latent, step);
                let own = r * samples..(r + 1) * samples;
                for (i, log_det) in own.clone().zip(&mut log_det[own]) {
                    let (z, before) = (z.row(i), before.row(i));
                    before.copy_from_slice(z);
                    let [t, _, det] = s.at(before);
                    *log_det += det.ln();
                    for (j, z) in z.iter_mut().enumerate() {
                        *z = F::from_f64(z.to_f64() + (s.u(j) + s.c * s.w(j)) * t);
                    }
                }
            }
        }
        lap(Stage::Latent, None);
    }
    fn inverse(&self, _: Isa, _: &Params<F>, eta: Mat<F>, mut z: MatMut<F>, log_det: &mut [f64], _: &mut Cache<F>) {
        let samples = z.rows() / eta.rows().max(1);
        for step in (0..self.steps).rev() {
            for r in 0..eta.rows() {
                let s = Step::new(eta.row(r), self.latent, step);
                let own = r * samples..(r + 1) * samples;
                for (i, log_det) in own.clone().zip(&mut log_det[own]) {
                    *log_det += s.invert(z.row(i)).ln();
                }
            }
        }
    }
    fn force(&self, _: &Params<F>, eta: Mat<F>, mut force: MatMut<F>, cache: &mut Cache<F>) {
        let (many, samples) = (force.rows(), force.rows() / eta.rows().max(1));
        for (step, before) in cache.buffers.iter().enumerate() {
            for r in 0..eta.rows() {
                let s = Step::new(eta.row(r), self.latent, step);
                (r * samples..(r + 1) * samples).for_each(|i| s.force(before.rows(many).row(i), force.row(i)));
            }
        }
        lap(Stage::Latent, None);
    }
    fn backward_rows(
        &self,
        _: Isa,
        _: &Params<F>,
        eta: Mat<F>,
        mut dz: MatMut<F>,
        weights: &[F],
        mut deta: MatMut<F>,
        cache: &mut Cache<F>,
    ) {
        let (many, samples) = (dz.rows(), dz.rows() / eta.rows().max(1));
        let columns = 2 * self.latent + 1;
        for (step, before) in cache.buffers.iter().enumerate().rev() {
            for r in 0..eta.rows() {
                let s = Step::new(eta.row(r), self.latent, step);
                let own = r * samples..(r + 1) * samples;
                for (i, weight) in own.clone().zip(&weights[own]) {
                    let deta = &mut deta.row(r)[step * columns..][..columns];
                    s.backward(before.rows(many).row(i), dz.row(i), -weight.to_f64(), deta);
                }
            }
        }
        lap(Stage::Latent, None);
    }
    fn gradient<'a>(&self, _: Slot, _: usize, _: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        None
    }
}
