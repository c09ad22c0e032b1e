//! The linear VAE with a Gaussian likelihood in closed form, in f64 by plain linear algebra.
//!
//! ```text
//! z ~ N(0, I)    x|z ~ N(W z + b, Ψ)    so    x ~ N(b, W Wᵀ + Ψ)    z|x ~ N(P⁻¹ Wᵀ Ψ⁻¹ (x − b), P⁻¹),  P = I + Wᵀ Ψ⁻¹ W
//! q(z|x) = N(A x + a, diag e^{C x + c})
//! ```

use elbo::model::Vae;
use elbo::tensor::Params;
use ndarray::{Array1, Array2, ArrayView1, Axis};

const LOG_TAU: f64 = 1.8378770664093453;

/// L of A = L Lᵀ.
pub fn cholesky(a: &Array2<f64>) -> Array2<f64> {
    let n = a.nrows();
    let mut l = Array2::zeros((n, n));
    for i in 0..n {
        for j in 0..=i {
            let rest = a[[i, j]] - (0..j).map(|k| l[[i, k]] * l[[j, k]]).sum::<f64>();
            l[[i, j]] = if i == j { rest.sqrt() } else { rest / l[[j, j]] };
        }
    }
    assert!(l.diag().iter().all(|d: &f64| d.is_finite() && *d > 0.0), "not positive definite: {a}");
    l
}

/// L⁻¹ b.
pub fn solve_lower(l: &Array2<f64>, b: ArrayView1<f64>) -> Array1<f64> {
    let mut x = b.to_owned();
    for i in 0..b.len() {
        x[i] = (x[i] - (0..i).map(|k| l[[i, k]] * x[k]).sum::<f64>()) / l[[i, i]];
    }
    x
}

/// A⁻¹ of a positive definite A.
pub fn inverse(a: &Array2<f64>) -> Array2<f64> {
    let l = cholesky(a);
    let mut l_inverse = Array2::eye(a.nrows());
    for mut column in l_inverse.columns_mut() {
        let solved = solve_lower(&l, column.view());
        column.assign(&solved);
    }
    l_inverse.t().dot(&l_inverse)
}

/// The eigenvalues of a symmetric matrix, greatest first, by Jacobi's rotations.
pub fn eigenvalues(a: &Array2<f64>) -> Vec<f64> {
    let (mut a, n) = (a.clone(), a.nrows());
    for _sweep in 0..30 {
        for p in 0..n {
            for q in p + 1..n {
                let angle = 0.5 * (2.0 * a[[p, q]]).atan2(a[[q, q]] - a[[p, p]]);
                let (s, c) = angle.sin_cos();
                let mut rotation = Array2::eye(n);
                (rotation[[p, p]], rotation[[q, q]], rotation[[p, q]], rotation[[q, p]]) = (c, c, s, -s);
                a = rotation.t().dot(&a).dot(&rotation);
            }
        }
    }
    let off: f64 = a.indexed_iter().filter(|((i, j), _)| i != j).map(|(_, x)| x.abs()).sum();
    assert!(off < 1e-12 * a.diag().sum().abs(), "{a}");
    let mut values = a.diag().to_vec();
    values.sort_unstable_by(|x, y| y.total_cmp(x));
    values
}

/// The mean over rows and the maximum-likelihood covariance: divided by n.
pub fn moments(x: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let mean = x.mean_axis(Axis(0)).unwrap();
    let centred = x - &mean;
    (mean, centred.t().dot(&centred) / x.nrows() as f64)
}

/// Mean −log p of rows with this covariance about their own mean under N(that mean, `model`).
pub fn nll_of_covariance(sample: &Array2<f64>, model: &Array2<f64>) -> f64 {
    let l = cholesky(model);
    let log_det = 2.0 * l.diag().mapv(f64::ln).sum();
    0.5 * (sample.nrows() as f64 * LOG_TAU + log_det + (inverse(model) * sample.t()).sum())
}

/// A linear VAE's parameters.
pub struct Linear {
    w: Array2<f64>,
    b: Array1<f64>,
    /// The diagonal of Ψ.
    psi: Array1<f64>,
    /// A, a, C, c of the posterior.
    mean: (Array2<f64>, Array1<f64>),
    log_variance: (Array2<f64>, Array1<f64>),
}

impl Linear {
    /// Those of a network without hidden layers; `variance` is that of a likelihood which does not learn it.
    pub fn of(vae: &Vae, params: &Params<f32>, variance: f64) -> Self {
        let plain = |name: &str| {
            let entry = vae.layout().find(name).unwrap_or_else(|| panic!("no parameter {name}"));
            params.values().unpack(&entry.slot).mapv(f64::from)
        };
        let vector = |name: &str| Array1::from_iter(plain(name));
        let cols = vae.config().inputs;
        let psi = match vae.layout().find("likelihood.log_variance") {
            None => Array1::from_elem(cols, variance),
            Some(_) => vector("likelihood.log_variance").mapv(f64::exp).broadcast(cols).unwrap().to_owned(),
        };
        Linear {
            w: plain("decoder.0.weight"),
            b: vector("decoder.0.bias"),
            psi,
            mean: (plain("encoder.mean.weight"), vector("encoder.mean.bias")),
            log_variance: (plain("encoder.log_variance.weight"), vector("encoder.log_variance.bias")),
        }
    }
    fn covariance(&self) -> Array2<f64> {
        self.w.dot(&self.w.t()) + Array2::from_diag(&self.psi)
    }
    /// log p(x), exactly, of each row.
    pub fn log_px(&self, x: &Array2<f64>) -> Vec<f64> {
        let l = cholesky(&self.covariance());
        let constant = x.ncols() as f64 * LOG_TAU + 2.0 * l.diag().mapv(f64::ln).sum();
        let square = |row: ArrayView1<f64>| solve_lower(&l, (&row - &self.b).view()).mapv(|e| e * e).sum();
        x.rows().into_iter().map(|row| -0.5 * (constant + square(row))).collect()
    }
    /// Mean −log p(x).
    pub fn nll(&self, x: &Array2<f64>) -> f64 {
        -self.log_px(x).iter().sum::<f64>() / x.nrows() as f64
    }
    /// The mean and the log-variance of q(z|x).
    fn posterior(&self, x: ArrayView1<f64>) -> (Array1<f64>, Array1<f64>) {
        (self.mean.0.dot(&x) + &self.mean.1, self.log_variance.0.dot(&x) + &self.log_variance.1)
    }
    /// Mean −ELBO: E_q of the squared error has the closed form (x − W m − b)² + Σ_l W² e^v.
    pub fn neg_elbo(&self, x: &Array2<f64>) -> f64 {
        let row = |x: ArrayView1<f64>| {
            let (m, v) = self.posterior(x);
            let residual = &x - &self.w.dot(&m) - &self.b;
            let squares = residual.mapv(|d| d * d) + (&self.w * &self.w).dot(&v.mapv(f64::exp));
            let reconstruction = 0.5 * (self.psi.mapv(|s| LOG_TAU + s.ln()) + squares / &self.psi).sum();
            reconstruction + 0.5 * (m.mapv(|m| m * m) + v.mapv(|v| v.exp() - 1.0 - v)).sum()
        };
        x.rows().into_iter().map(row).sum::<f64>() / x.nrows() as f64
    }
    /// The exact posterior of a row: its mean, and a root of its covariance.
    pub fn exact_posterior(&self, x: ArrayView1<f64>) -> (Array1<f64>, Array2<f64>) {
        let scaled = &self.w.t() / &self.psi;
        let covariance = inverse(&(Array2::eye(self.w.ncols()) + scaled.dot(&self.w)));
        (covariance.dot(&scaled.dot(&(&x - &self.b))), cholesky(&covariance))
    }
    /// log p(x, z) − log q(z|x).
    pub fn log_weight(&self, x: ArrayView1<f64>, z: ArrayView1<f64>) -> f64 {
        let normal = |d: f64, v: f64| -0.5 * (LOG_TAU + v + d * d * (-v).exp());
        let residual = &x - &self.w.dot(&z) - &self.b;
        let (m, v) = self.posterior(x);
        let log_px: f64 = residual.iter().zip(&self.psi).map(|(d, s)| normal(*d, s.ln())).sum();
        let ratio = |l: usize| normal(z[l], 0.0) - normal(z[l] - m[l], v[l]);
        log_px + (0..z.len()).map(ratio).sum::<f64>()
    }
}
