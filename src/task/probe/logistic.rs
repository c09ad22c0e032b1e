//! Multinomial logistic regression, fitted to its optimum.
//!
//! ```text
//! J(W, b) = −1/n Σ log softmax(x W + b)_y + ‖W‖²/2n      ∂/∂W = Xᵀ(P − Y)/n + W/n      ∂/∂b = Σ (P − Y)/n
//! ```
//!
//! Convex, with one optimum: scikit-learn's `LogisticRegression` with its default C = 1, whose intercept is not penalised
//! either.

use super::lbfgs;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// A fitted regression on standardised columns.
#[derive(Clone, Debug)]
pub struct Logistic {
    scaling: Scaling,
    /// W above b, (D + 1, K).
    weights: Array2<f32>,
    /// Whether the gradient became small enough.
    pub converged: bool,
}

/// Each column's mean, and the inverse of its standard deviation; 0 of a constant column, which then says nothing.
#[derive(Clone, Debug)]
struct Scaling {
    mean: Array1<f32>,
    inverse: Array1<f32>,
}

impl Scaling {
    fn of(x: ArrayView2<'_, f32>) -> Self {
        let n = x.nrows() as f64;
        let moments = |column: ArrayView1<'_, f32>| {
            let mean = column.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = column.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
            // A deviation of rounding alone is none.
            let constant = variance.sqrt() <= 1e-6 * mean.abs().max(1e-30);
            (mean as f32, if constant { 0.0 } else { (1.0 / variance.sqrt()) as f32 })
        };
        let (mean, inverse): (Vec<_>, Vec<_>) = x.columns().into_iter().map(moments).unzip();
        Scaling { mean: mean.into(), inverse: inverse.into() }
    }
    fn apply(&self, x: ArrayView2<'_, f32>) -> Array2<f32> {
        (&x - &self.mean) * &self.inverse
    }
}

/// x W + b, (n, K).
fn logits(x: ArrayView2<'_, f32>, weights: ArrayView2<'_, f32>) -> Array2<f32> {
    let (weights, bias) = weights.split_at(Axis(0), x.ncols());
    x.dot(&weights) + bias
}

/// J, and its gradient into `gradient`, both (D + 1, K) row by row.
fn objective(x: ArrayView2<'_, f32>, classes: &[usize], at: &[f64], gradient: &mut [f64]) -> f64 {
    let (n, cols) = (x.nrows() as f64, x.ncols());
    let k = at.len() / (cols + 1);
    let weights = Array1::from_iter(at.iter().map(|&w| w as f32)).into_shape_with_order((cols + 1, k));
    let mut p = logits(x, weights.expect("D + 1 rows of K").view());
    let mut loss = 0.0;
    for (mut p, &class) in p.rows_mut().into_iter().zip(classes) {
        let top = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let of_class = f64::from(p[class] - top);
        p.mapv_inplace(|o| (o - top).exp());
        let sum = p.iter().map(|&e| f64::from(e)).sum::<f64>();
        loss += sum.ln() - of_class;
        p.mapv_inplace(|e| (f64::from(e) / sum) as f32);
        p[class] -= 1.0;
    }
    let (of_weights, of_bias) = gradient.split_at_mut(cols * k);
    let mut square = 0.0;
    for ((g, &product), &w) in of_weights.iter_mut().zip(&x.t().dot(&p)).zip(at) {
        *g = (f64::from(product) + w) / n;
        square += w * w;
    }
    for (g, column) in of_bias.iter_mut().zip(p.columns()) {
        *g = column.iter().map(|&d| f64::from(d)).sum::<f64>() / n;
    }
    (loss + 0.5 * square) / n
}

impl Logistic {
    /// The optimum for rows `x`, (n, D), of `classes` below `k`: until no derivative is above 1e-4.
    pub fn fit(x: ArrayView2<'_, f32>, classes: &[usize], k: usize) -> Self {
        let scaling = Scaling::of(x);
        let x = scaling.apply(x);
        let mut at = vec![0.0; (x.ncols() + 1) * k];
        let converged = lbfgs::minimise(&mut at, |at, gradient| objective(x.view(), classes, at, gradient));
        let weights = Array1::from_iter(at.iter().map(|&w| w as f32)).into_shape_with_order((x.ncols() + 1, k));
        Logistic { scaling, weights: weights.expect("D + 1 rows of K"), converged }
    }
    /// The most probable class of each row.
    pub fn predict(&self, x: ArrayView2<'_, f32>) -> Vec<usize> {
        let logits = logits(self.scaling.apply(x).view(), self.weights.view());
        let most =
            |row: ArrayView1<'_, f32>| (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        logits.axis_iter(Axis(0)).map(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Array2<f32>, Vec<usize>) {
        let x = Array2::from_shape_fn((40, 3), |(r, c)| ((r * 7 + c * 5 + r * c) % 11) as f32 / 4.0 - 1.0);
        let classes = x.rows().into_iter().enumerate().map(|(r, x)| usize::from(x[0] + x[1] > 0.3) + r % 2).collect();
        (x, classes)
    }

    /// The products are in f32: a difference over 1/16 has their rounding, 1e-6, and its own h²/6 times the third derivative,
    /// 2e-4 of one, as errors.
    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let (x, classes) = rows();
        let at: Vec<f64> = (0..12).map(|i| f64::from((f64::from(i) * 0.7).sin() as f32)).collect();
        let mut gradient = vec![0.0; 12];
        objective(x.view(), &classes, &at, &mut gradient);
        for i in 0..12 {
            let value = |h: f64| {
                let mut moved = at.clone();
                moved[i] += h;
                objective(x.view(), &classes, &moved, &mut [0.0; 12])
            };
            let numeric = (value(0.03125) - value(-0.03125)) / 0.0625;
            assert!(
                (numeric - gradient[i]).abs() < 1e-3 * gradient[i].abs().max(0.05),
                "{i}: {numeric} {}",
                gradient[i]
            );
        }
    }

    /// No derivative is left, and a step along any coordinate rises.
    #[test]
    fn the_optimum_is_found() {
        let (x, classes) = rows();
        let fit = Logistic::fit(x.view(), &classes, 3);
        assert!(fit.converged);
        let x = fit.scaling.apply(x.view());
        let at: Vec<f64> = fit.weights.iter().map(|&w| f64::from(w)).collect();
        let mut gradient = vec![f64::NAN; at.len()];
        let best = objective(x.view(), &classes, &at, &mut gradient);
        assert!(gradient.iter().all(|g| g.abs() < 2e-4), "{gradient:?}");
        for (i, step) in (0..at.len()).flat_map(|i| [(i, 0.05), (i, -0.05)]) {
            let mut moved = at.clone();
            moved[i] += step;
            assert!(objective(x.view(), &classes, &moved, &mut gradient) > best, "{i}");
        }
    }
}
