//! Likelihoods whose columns are independent: one pure function of a number and its parameters, and the loops around it.
//!
//! ```text
//! log p(x|η) = Σ_d f(x_d; t_d)        (B, D), (B, N·D) → (B)        ∂/∂η_nd = ∂f/∂t_n (x_d; t_d)
//! ```
//!
//! Everything is computed in f64 and rounded once, a value or a derivative. The loops are plain: no vector instructions.

use super::{Domain, Likelihood, samples_per_row};
use crate::layer::{Cache, Gradient, Init, Sides};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};
use elbo_kernels::Element;
use rand_chacha::ChaCha8Rng;
use std::fmt::Debug;

/// The numbers that a column's density depends on: the decoder's first, then the learned one; the rest are 0.
pub type Numbers = [f64; 3];

/// A number that is learned and not the decoder's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Learned {
    /// Its name in the layout.
    pub name: &'static str,
    /// Whether each column has its own, or all share one.
    pub per_column: bool,
    /// Its initial value.
    pub initial: f64,
}

/// The density of one column: a pure function, in f64 and in nats.
pub trait Column: Clone + Debug + Send + Sync + 'static {
    /// How many numbers the decoder gives for a column: 1 or 2. η is `[first | second]`, (B, N·D).
    fn numbers(&self) -> usize;
    /// The number that is learned, if there is one.
    fn learned(&self) -> Option<Learned> {
        None
    }
    /// The values of x that have a density.
    fn domain(&self) -> Domain;
    /// log p(x | t), and its derivative by each number.
    fn log_prob_grad(&self, x: f64, t: Numbers) -> (f64, Numbers);
    /// The mean of x.
    fn mean(&self, t: Numbers) -> f64;
    /// One draw of x.
    fn sample(&self, t: Numbers, rng: &mut ChaCha8Rng) -> f64;
    /// On which side of a kink x and the decoder's numbers are, where log p has one.
    fn side(&self, _x: f64, _t: Numbers) -> bool {
        true
    }
}

/// A likelihood of independent columns, each of the density `C`.
///
/// ```
/// use elbo::density::{Columns, Likelihood, Poisson};
/// use elbo::tensor::{Isa, Layout, Mat, Params};
/// let mut layout = Layout::new();
/// let poisson = Columns::new(&mut layout, 2, Poisson);
/// let (counts, log_means, mut out) = ([3.0, 0.0], [1.0, -2.0], [0.0f64]);
/// let (x, eta) = (Mat::new(&counts, 1, 2, 2), Mat::new(&log_means, 1, 2, 2));
/// poisson.log_prob(Isa::default(), &Params::zeros(&layout), x, eta, &mut out);
/// // e⁻ᵐ mˣ / x!, of means e and e⁻²
/// assert!((out[0] - (3.0 - 1f64.exp() - 6f64.ln() - (-2f64).exp())).abs() < 1e-14);
/// ```
#[derive(Clone, Debug)]
pub struct Columns<C> {
    cols: usize,
    column: C,
    learned: Option<Slot>,
}

impl<C: Column> Columns<C> {
    /// For rows of `cols` columns. A learned number adds a vector to the layout, of 1 or `cols` elements.
    pub fn new(layout: &mut Layout, cols: usize, column: C) -> Self {
        let learned = column.learned().map(|learned| {
            let len = if learned.per_column { cols } else { 1 };
            layout.vector(learned.name, len, Init::Constant(learned.initial))
        });
        Columns { cols, column, learned }
    }
    /// The slot of the learned number.
    pub fn learned(&self) -> Option<Slot> {
        self.learned
    }
    /// The numbers of column `d` in a row of η.
    fn numbers<F: Real>(&self, eta: &[F], learned: &[F], d: usize) -> Numbers {
        let (mut t, n) = ([0.0; 3], self.column.numbers());
        for (i, t) in t[..n].iter_mut().enumerate() {
            *t = Element::to_f64(eta[i * self.cols + d]);
        }
        if let Some(&last) = learned.get(d).or(learned.first()) {
            t[n] = Element::to_f64(last);
        }
        t
    }
    /// The learned number's values, one or one a column; none where nothing is learned.
    fn values<'a, F: Real>(&self, p: &'a Params<F>) -> &'a [F] {
        self.learned.map_or(&[], |slot| &p.slot(&slot)[..slot.cols()])
    }
    /// Value and derivatives of one row: `eta` is replaced, and `d_learned` is (1) or (D), or empty.
    fn row_grad<F: Real>(&self, x: &[F], eta: &mut [F], learned: &[F], w: f64, d_learned: &mut [F]) -> F {
        let (mut value, mut shared, n) = (0.0, 0.0, self.column.numbers());
        let per_column = d_learned.len() == self.cols;
        for (d, &x) in x.iter().enumerate() {
            let (log_p, grad) = self.column.log_prob_grad(Element::to_f64(x), self.numbers(eta, learned, d));
            value += log_p;
            for (i, g) in grad[..n].iter().enumerate() {
                eta[i * self.cols + d] = F::from_f64(w * g);
            }
            if per_column {
                d_learned[d] = F::from_f64(w * grad[n]);
            }
            shared += grad[n];
        }
        if !per_column && let [one] = d_learned {
            *one = F::from_f64(w * shared);
        }
        F::from_f64(value)
    }
}

impl<F: Real, C: Column> Likelihood<F> for Columns<C> {
    fn cols(&self) -> usize {
        self.cols
    }
    fn eta_cols(&self) -> usize {
        self.column.numbers() * self.cols
    }
    fn domain(&self) -> Domain {
        self.column.domain()
    }
    /// For a learned number, its gradient by row: (rows, 1) or (rows, D).
    fn cache(&self, rows: usize) -> Cache<F> {
        let buffers = self.learned.map(|slot| Buffer::new(rows, slot.cols()));
        Cache { buffers: buffers.into_iter().collect(), children: vec![] }
    }
    fn log_prob(&self, _: Isa, p: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let (k, learned) = (samples_per_row(x.rows(), eta.rows()), self.values(p));
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            let (x, eta) = (x.row(r / k), eta.row(r));
            let log_p =
                |(d, &x): (usize, &F)| self.column.log_prob_grad(Element::to_f64(x), self.numbers(eta, learned, d)).0;
            // From +0 in order, as beside the gradient: the same bits.
            *out = F::from_f64(x.iter().enumerate().map(log_p).fold(0.0, |sum, log_p| sum + log_p));
        }
    }
    fn log_prob_grad(
        &self,
        _: Isa,
        p: &Params<F>,
        x: Mat<F>,
        mut eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        cache: &mut Cache<F>,
    ) {
        let (rows, k, learned) = (eta.rows(), samples_per_row(x.rows(), eta.rows()), self.values(p));
        let mut d_learned = cache.buffers.first_mut().map(|b| b.rows_mut(rows));
        for (r, out) in out[..rows].iter_mut().enumerate() {
            let d_learned = d_learned.as_mut().map_or(&mut [][..], |d| d.row(r));
            *out = self.row_grad(x.row(r / k), eta.row(r), learned, Element::to_f64(weights[r]), d_learned);
        }
    }
    fn gradient<'a>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        (self.learned == Some(slot)).then(|| Gradient::Sum(cache.buffers[0].rows(rows)))
    }
    fn kinks(&self, x: Mat<F>, eta: Mat<F>, sides: &mut Sides) {
        let k = samples_per_row(x.rows(), eta.rows());
        for r in 0..eta.rows() {
            for (d, &x) in x.row(r / k).iter().enumerate() {
                sides.sign(self.column.side(Element::to_f64(x), self.numbers(eta.row(r), &[], d)));
            }
        }
    }
    fn mean(&self, _: Isa, p: &Params<F>, eta: Mat<F>, mut out: MatMut<F>) {
        let learned = self.values(p);
        for r in 0..eta.rows() {
            for (d, mean) in out.row(r).iter_mut().enumerate() {
                *mean = F::from_f64(self.column.mean(self.numbers(eta.row(r), learned, d)));
            }
        }
    }
    fn sample(&self, p: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]) {
        let learned = self.values(p);
        for (d, x) in out.iter_mut().enumerate() {
            *x = F::from_f64(self.column.sample(self.numbers(eta, learned, d), rng));
        }
    }
}
