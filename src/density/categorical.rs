//! The categorical likelihood, from logits.
//!
//! ```text
//! log p(x|o) = Σ_d o[d, x_d] − log Σ_c e^{o[d, c]}      (B, D), (B, D·K) → (B)      ∂/∂o = onehot(x) − softmax(o)
//! ```

use super::{Domain, Likelihood, samples_per_row};
use crate::layer::Cache;
use crate::tensor::{Isa, Mat, MatMut, Params, Real};
use elbo_kernels::{Element, sweep};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d ~ Categorical(softmax(η_d))`: each of D columns is one of the integers 0 .. K, and η has K logits a column, a
/// column's logits together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Categorical {
    cols: usize,
    classes: usize,
}

impl Categorical {
    /// For rows of `cols` columns of `classes` classes. Panics when there are no classes.
    pub fn new(cols: usize, classes: usize) -> Self {
        assert!(classes > 0, "a categorical likelihood of no classes");
        Categorical { cols, classes }
    }
    /// The class that an element of x stands for. Panics on what is none: data are checked before they get here.
    fn class<F: Real>(&self, x: F) -> usize {
        let (value, class) = (Element::to_f64(x), Element::to_f64(x) as usize);
        assert!(class as f64 == value && class < self.classes, "{value} is no class below {}", self.classes);
        class
    }
}

/// e^{o − max o} of each class and their sum, for one column.
fn exponentials<F: Real>(logits: &[F]) -> (impl Iterator<Item = f64> + '_, f64) {
    let top = logits.iter().map(|&o| Element::to_f64(o)).fold(f64::NEG_INFINITY, f64::max);
    let all = move || logits.iter().map(move |&o| (Element::to_f64(o) - top).exp());
    (all(), all().sum())
}

impl<F: Real> Likelihood<F> for Categorical {
    fn cols(&self) -> usize {
        self.cols
    }
    fn eta_cols(&self) -> usize {
        self.cols * self.classes
    }
    fn domain(&self) -> Domain {
        Domain::Classes(self.classes)
    }
    fn cache(&self, _rows: usize) -> Cache<F> {
        Cache { buffers: vec![], children: vec![] }
    }
    fn log_prob(&self, isa: Isa, _: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            *out = F::ZERO;
            for (&x, logits) in x.row(r / k).iter().zip(eta.row(r).chunks_exact(self.classes)) {
                *out += sweep::softmax_log_prob(isa, self.class(x), logits);
            }
        }
    }
    fn log_prob_grad(
        &self,
        isa: Isa,
        _: &Params<F>,
        x: Mat<F>,
        mut eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        _: &mut Cache<F>,
    ) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            *out = F::ZERO;
            for (&x, logits) in x.row(r / k).iter().zip(eta.row(r).chunks_exact_mut(self.classes)) {
                *out += sweep::softmax_log_prob_grad(isa, self.class(x), logits, weights[r]);
            }
        }
    }
    /// `Σ_c c · softmax(o)_c`: the classes are the integers themselves.
    fn mean(&self, _: Isa, _: &Params<F>, eta: Mat<F>, mut out: MatMut<F>) {
        for r in 0..eta.rows() {
            for (mean, logits) in out.row(r).iter_mut().zip(eta.row(r).chunks_exact(self.classes)) {
                let (each, total) = exponentials(logits);
                let weighted: f64 = each.enumerate().map(|(class, e)| class as f64 * e).sum();
                *mean = F::from_f64(weighted / total);
            }
        }
    }
    fn sample(&self, _: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]) {
        for (x, logits) in out.iter_mut().zip(eta.chunks_exact(self.classes)) {
            let (mut each, total) = exponentials(logits);
            // The first class whose cumulated probability is above u.
            let (mut rest, last) = (rng.random::<f64>() * total, self.classes - 1);
            let class = each.position(|e| {
                rest -= e;
                rest < 0.0
            });
            *x = F::from_f64(class.unwrap_or(last) as f64);
        }
    }
}
