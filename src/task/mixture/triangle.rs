//! Symmetric matrices by their lower triangle, or by their diagonal alone, and triangular ones of the same shape.
//!
//! Row i is stored from its first column to the diagonal: from column 0, or from column i. Every loop runs over what is
//! stored, so that a diagonal matrix is the same code with rows of one element.

use super::Covariance;

/// A lower triangle, (L, L).
#[derive(Clone, PartialEq, Debug)]
pub struct Triangle {
    shape: Covariance,
    dim: usize,
    values: Vec<f64>,
}

impl Triangle {
    /// All zeros.
    pub fn new(shape: Covariance, dim: usize) -> Self {
        let len = match shape {
            Covariance::Diagonal => dim,
            Covariance::Full => dim * (dim + 1) / 2,
        };
        Triangle { shape, dim, values: vec![0.0; len] }
    }
    /// Where row `i` begins, and its first column.
    fn start(&self, i: usize) -> (usize, usize) {
        match self.shape {
            Covariance::Diagonal => (i, i),
            Covariance::Full => (i * (i + 1) / 2, 0),
        }
    }
    /// The first stored column of row `i`, and the elements from there to the diagonal.
    fn row(&self, i: usize) -> (usize, &[f64]) {
        let (start, first) = self.start(i);
        (first, &self.values[start..=start + i - first])
    }
    fn row_mut(&mut self, i: usize) -> (usize, &mut [f64]) {
        let (start, first) = self.start(i);
        (first, &mut self.values[start..=start + i - first])
    }
    /// Element (i, j), j ≤ i.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (first, row) = self.row(i);
        if j < first { 0.0 } else { row[j - first] }
    }
    /// The diagonal.
    pub fn diagonal(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.dim).map(|i| self.get(i, i))
    }
    /// Adds `weight · (d dᵀ + diag v)`, as far as it is stored.
    pub fn add(&mut self, weight: f64, d: &[f64], v: &[f64]) {
        for i in 0..self.dim {
            let (first, row) = self.row_mut(i);
            let scaled = weight * d[i];
            row.iter_mut().zip(&d[first..]).for_each(|(x, d)| *x += scaled * d);
            row[i - first] += weight * v[i];
        }
    }
    /// Multiplies by a number.
    pub fn scale(&mut self, factor: f64) {
        self.values.iter_mut().for_each(|x| *x *= factor);
    }
    /// T of A = T Tᵀ, of the same shape (Cholesky's, row by row); none where A is not positive definite.
    pub fn cholesky(&self) -> Option<Triangle> {
        let mut t = Triangle::new(self.shape, self.dim);
        for i in 0..self.dim {
            let first = self.start(i).1;
            for j in first..=i {
                let known: f64 = (first..j).map(|k| t.get(i, k) * t.get(j, k)).sum();
                let rest = self.get(i, j) - known;
                let x = if i == j { rest.sqrt() } else { rest / t.get(j, j) };
                if i == j && !(x > 0.0 && x.is_finite()) {
                    return None;
                }
                t.row_mut(i).1[j - first] = x;
            }
        }
        Some(t)
    }
    /// The inverse of a triangular matrix, by forward substitution.
    pub fn inverse(&self) -> Triangle {
        let mut inverse = Triangle::new(self.shape, self.dim);
        for i in 0..self.dim {
            let (first, pivot) = (self.start(i).1, self.get(i, i));
            for j in first..i {
                let known: f64 = (j..i).map(|k| self.get(i, k) * inverse.get(k, j)).sum();
                inverse.row_mut(i).1[j - first] = -known / pivot;
            }
            inverse.row_mut(i).1[i - first] = 1.0 / pivot;
        }
        inverse
    }
    /// T x of a triangular matrix, element by element.
    pub fn times<'a>(&'a self, x: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        (0..self.dim).map(|i| {
            let (first, row) = self.row(i);
            row.iter().zip(&x[first..]).map(|(t, x)| t * x).sum()
        })
    }
    /// The diagonal of TᵀT of a triangular matrix: each column's sum of squares.
    pub fn column_squares(&self) -> Vec<f64> {
        let mut squares = vec![0.0; self.dim];
        for i in 0..self.dim {
            let (first, row) = self.row(i);
            squares[first..].iter_mut().zip(row).for_each(|(sum, t)| *sum += t * t);
        }
        squares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(shape: Covariance) -> Triangle {
        let mut a = Triangle::new(shape, 4);
        for k in 0..6 {
            let d: Vec<f64> = (0..4).map(|j| f64::from((k * 7 + j * 3) % 5) - 1.7).collect();
            a.add(0.3, &d, &[0.2, 0.1, 0.05, 0.4]);
        }
        a
    }

    /// Sums of a few products of numbers around 1: rounding is a few 1e-16.
    #[test]
    fn factor_and_inverse_multiply_back() {
        for shape in [Covariance::Full, Covariance::Diagonal] {
            let a = matrix(shape);
            let t = a.cholesky().unwrap();
            let w = t.inverse();
            for i in 0..4 {
                for j in 0..=i {
                    let product: f64 = (0..=j).map(|k| t.get(i, k) * t.get(j, k)).sum();
                    let unit: f64 = (j..=i).map(|k| w.get(i, k) * t.get(k, j)).sum();
                    assert!((product - a.get(i, j)).abs() < 1e-13, "{shape:?} {i} {j}: {product} {}", a.get(i, j));
                    assert!((unit - if i == j { 1.0 } else { 0.0 }).abs() < 1e-13, "{shape:?} {i} {j}: {unit}");
                }
            }
            let x = [1.0, -2.0, 0.5, 3.0];
            let y: Vec<f64> = t.times(&x).collect();
            let back: Vec<f64> = w.times(&y).collect();
            back.iter().zip(x).for_each(|(found, x)| assert!((found - x).abs() < 1e-12, "{found} {x}"));
            let third = (0..4).map(|i| w.get(i.max(2), 2).powi(2) * if i < 2 { 0.0 } else { 1.0 }).sum::<f64>();
            assert!((w.column_squares()[2] - third).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let mut a = Triangle::new(Covariance::Full, 2);
        assert_eq!(a.cholesky(), None, "zeros");
        a.add(1.0, &[1.0, 1.0], &[0.0, -0.5]);
        assert_eq!(a.cholesky(), None);
        a.add(f64::INFINITY, &[1.0, 1.0], &[1.0, 1.0]);
        assert_eq!(a.cholesky(), None);
    }
}
