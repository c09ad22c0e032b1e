//! Importance sampling: log p(x) from weights w = p(x, z) / q(z|x) of draws z ~ q(z|x).
//!
//! ```text
//! L_K = E log (1/K) Σ_k w_k        L_1 = ELBO ≤ L_K ≤ L_{K+1} ≤ log p(x)
//! ```
//!
//! Burda, Grosse and Salakhutdinov (2016, arXiv:1509.00519), eq. 8 and theorem 1.

/// log Σ eˣ of numbers that come one at a time, in f64: shifted by the greatest so far, so that it neither overflows nor
/// vanishes.
///
/// −∞ for no numbers or only −∞, +∞ once one is, NaN once one is, and for good. n numbers are summed within 2n · 2⁻⁵³ of
/// the sum's size, which is an error of the logarithm by as many nats.
///
/// ```
/// use elbo::estimator::LogSumExp;
/// let mut sum = LogSumExp::default();
/// [-1e4, f64::NEG_INFINITY, -1e4].into_iter().for_each(|x| sum.add(x));
/// assert_eq!(sum.value(), -1e4 + 2f64.ln());
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogSumExp {
    greatest: f64,
    /// Σ e^(x − greatest)
    sum: f64,
}

impl Default for LogSumExp {
    /// Of no numbers.
    fn default() -> Self {
        LogSumExp { greatest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSumExp {
    /// Takes in one more.
    pub fn add(&mut self, x: f64) {
        if x == f64::NEG_INFINITY {
            return;
        }
        if x > self.greatest {
            self.sum = self.sum * (self.greatest - x).exp() + 1.0;
            self.greatest = x;
        } else {
            // Equal infinities have no difference.
            self.sum += if x == self.greatest { 1.0 } else { (x - self.greatest).exp() };
        }
    }
    /// log Σ eˣ
    pub fn value(&self) -> f64 {
        self.greatest + self.sum.ln()
    }
}

/// One row's estimates of L_K, in nats, from S log-weights that come one at a time: for K = S, and for every smaller power
/// of ten K that divides S, the mean of S/K groups of consecutive draws.
///
/// Groups nest, so by Jensen's inequality each row's estimates rise with K, and not only their expectations. Memory does
/// not depend on S.
///
/// ```
/// use elbo::estimator::ImportanceBounds;
/// let mut bounds = ImportanceBounds::new(20);
/// (0..20).for_each(|i| bounds.add(f64::from(i % 2)));
/// let found: Vec<(usize, f64)> = bounds.iter().collect();
/// assert_eq!(found[0], (1, 0.5));
/// // Each ten, like all twenty, are one half of e⁰ and one half of e¹.
/// let log_mean = (0.5 + 0.5 * 1f64.exp()).ln();
/// assert!(found[1..].iter().zip([10, 20]).all(|(f, k)| f.0 == k && (f.1 - log_mean).abs() < 1e-15));
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ImportanceBounds {
    levels: Vec<Level>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Level {
    /// K, and how many of the level before make one of this.
    size: usize,
    parts: usize,
    /// Parts of the group under way, and log Σ of its weights.
    have: usize,
    group: LogSumExp,
    /// Σ log (1/K) Σ w of the groups so far, and their number.
    total: f64,
    groups: usize,
}

impl ImportanceBounds {
    /// For `samples` draws. Panics when there are none.
    pub fn new(samples: usize) -> Self {
        let mut bounds = ImportanceBounds::default();
        bounds.restart(samples);
        bounds
    }
    /// Back to no weights, in the same memory.
    pub fn restart(&mut self, samples: usize) {
        assert!(samples > 0, "importance sampling with no samples");
        let powers = std::iter::successors(Some(1), |k: &usize| k.checked_mul(10));
        let sizes = powers.take_while(|k| *k < samples && samples.is_multiple_of(*k)).chain([samples]);
        self.levels.clear();
        let mut before = 1;
        for size in sizes {
            let group = LogSumExp::default();
            self.levels.push(Level { size, parts: size / before, have: 0, group, total: 0.0, groups: 0 });
            before = size;
        }
    }
    /// Takes in the next log w.
    pub fn add(&mut self, log_weight: f64) {
        let mut part = log_weight;
        for level in &mut self.levels {
            level.group.add(part);
            level.have += 1;
            if level.have < level.parts {
                return;
            }
            part = level.group.value();
            level.total += part - (level.size as f64).ln();
            level.groups += 1;
            (level.have, level.group) = (0, LogSumExp::default());
        }
    }
    /// (K, estimate of L_K), K rising, the last of them S; NaN where no group is whole yet.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.levels.iter().map(|l| (l.size, l.total / l.groups as f64))
    }
    /// The estimate of log p(x): that of K = S.
    pub fn log_likelihood(&self) -> f64 {
        self.iter().last().map_or(f64::NAN, |(_, bound)| bound)
    }
}
