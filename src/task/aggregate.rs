//! What the posteriors of many rows make together, and how their KL falls into parts.
//!
//! ```text
//! q(z) = 1/N Σ_n q(z|x_n)
//! mean KL(q(z|x) ‖ p(z)) = I(x; z) + KL(q(z) ‖ p(z))                            (Hoffman and Johnson 2016, ELBO surgery)
//!          KL(q(z) ‖ p(z)) = KL(q(z) ‖ Π_j q(z_j)) + Σ_j KL(q(z_j) ‖ p(z_j))     (Chen et al. 2018, arXiv:1802.04942, eq. 2)
//! ```
//!
//! The second line wants a prior that is a product over latents. Each part is the mean of a difference of log-densities at
//! one draw z_i ~ q(z|x_i) a row; the densities of q(z) and q(z_j) are exact sums over the N rows, in O(N² L).

use super::{Encoding, Examples, check_some, encode};
use crate::density::{Exemplars, LOG_TAU, PosteriorKind};
use crate::error::{Error, Result};
use crate::layer::Cache;
use crate::model::{Inference, LevelCache, PriorSampler};
use crate::tensor::{Buffer, Exec, Isa, Noise, Stream};
use elbo_kernels::par::for_each_mut;
use elbo_kernels::sweep::softmax_log_prob;
use rand::Rng;
use rand::seq::index;
use rand_distr::StandardNormal;

/// The most rows of an aggregate: twice as many cost four times as much, and raise log N by 0.7 nats.
const MOST_ROWS: usize = 2000;
/// Rows that a thread takes at once.
const BLOCK: usize = 16;

/// How the KL of N rows to the prior falls into parts, in nats per example. All are estimated from the same draws, so that
/// they add up to rounding.
///
/// All of it is of z; what levels below z add to the KL is left out. Of a prior of more stochastic layers, log p(z) is [its bound](crate::model::StackedSampler::bound).
///
/// q(z) is the mixture of these rows' posteriors and of no others. Where hardly two of them meet, `mutual_information` is near
/// log N, and what more there is to know of a row counts as total correlation: only figures of as many rows compare.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AggregatePosterior {
    /// N.
    pub rows: usize,
    /// KL(q(z|x) ‖ p(z)): `mutual_information` + `marginal_kl`.
    pub kl: f64,
    /// I(x; z) of a row among the N and its latents: at most log N, however much the latents know.
    pub mutual_information: f64,
    /// KL(q(z) ‖ p(z)).
    pub marginal_kl: f64,
    /// KL(q(z) ‖ Π_j q(z_j)).
    pub total_correlation: f64,
    /// Σ_j KL(q(z_j) ‖ p(z_j)): `marginal_kl` − `total_correlation`; none of a prior that is no product:
    /// any but the standard one.
    pub dimension_kl: Option<f64>,
}

/// The aggregate posterior of some rows: of all, or of 2,000 of them that the seed draws. `seed` is that of the draws of z
/// as well.
///
/// # Errors
/// A prior that follows a condition, for then there is no one p(z); posteriors that are no products over latents, of which q(z_j) is
/// no such sum; no rows, or streamed rows that cannot be read; an exemplar prior without its exemplars.
pub fn aggregate_posterior(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    seed: u64,
) -> Result<AggregatePosterior> {
    let (rows, noise) = (examples.len(), Noise::new(seed));
    check_some(rows)?;
    inference.check_prior()?;
    let posterior = inference.vae().config().posterior;
    if posterior != PosteriorKind::Diagonal {
        return Err(Error::input(format!("the posteriors are {posterior}, and these figures are of diagonal ones")));
    }
    if inference.vae().config().conditional_prior {
        return Err(Error::input(
            "the rows' posteriors have no one prior to be compared with: theirs follows the condition",
        ));
    }
    let encoding = if rows <= MOST_ROWS {
        encode(inference, examples)?
    } else {
        let mut drawn = index::sample(&mut noise.rng(Stream::Evaluate, 3, 0, 0), rows, MOST_ROWS).into_vec();
        drawn.sort_unstable();
        let positions: Vec<u32> = drawn.into_iter().map(|r| r as u32).collect();
        encode(inference, &Examples { view: &examples.view.select(&positions), ..examples.clone() })?
    };
    Ok(parts(inference.exec(), &encoding, &inference.prior_sampler(), noise))
}

/// Log-densities at one row's draw: log q(z|x), log q(z), Σ_j log q(z_j), log p(z).
type Logs = [f64; 4];

fn parts(ex: &Exec, encoding: &Encoding, prior: &PriorSampler<f32>, noise: Noise) -> AggregatePosterior {
    let (posteriors, count) = (Posteriors::of(encoding), encoding.mean.nrows());
    let mut logs: Vec<Logs> = vec![[0.0; 4]; count];
    let mut blocks: Vec<&mut [Logs]> = logs.chunks_mut(BLOCK).collect();
    ex.install(|| {
        for_each_mut(ex.par(), &mut blocks, |block, logs| {
            let mut work = Work::new(&posteriors, prior);
            for (r, logs) in logs.iter_mut().enumerate() {
                *logs = posteriors.logs(block * BLOCK + r, noise, prior, ex.isa(), &mut work);
            }
        });
    });
    let mean = |difference: &dyn Fn(&Logs) -> f64| logs.iter().map(difference).sum::<f64>() / count as f64;
    let product = matches!(prior, PriorSampler::StandardNormal);
    AggregatePosterior {
        rows: count,
        kl: mean(&|[given, _, _, prior]| given - prior),
        mutual_information: mean(&|[given, joint, ..]| given - joint),
        marginal_kl: mean(&|[_, joint, _, prior]| joint - prior),
        total_correlation: mean(&|[_, joint, product, _]| joint - product),
        dimension_kl: product.then(|| mean(&|[_, _, product, prior]| product - prior)),
    }
}

/// The posteriors by latent, (L, N) each, so that a sweep runs over rows.
struct Posteriors {
    count: usize,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    precision: Vec<f64>,
    /// −½ (log 2π + v)
    norm: Vec<f64>,
}

/// Memory of a thread.
struct Work {
    /// A draw, (L).
    z: Vec<f64>,
    /// log q(z|x_n) of every row, and log q(z_j|x_n) of one latent, (N).
    joint: Vec<f64>,
    one: Vec<f64>,
    /// The draw as a mixture prior takes it, (1, L), and its shares there, (1, C).
    row: Buffer<f32>,
    shares: Buffer<f32>,
    /// What a flow prior works in.
    flow: Cache<f32>,
    /// And a prior of more stochastic layers.
    levels: Vec<LevelCache<f32>>,
}

impl Work {
    fn new(posteriors: &Posteriors, prior: &PriorSampler<f32>) -> Self {
        let (latent, count) = (posteriors.mean.len() / posteriors.count, posteriors.count);
        let components = match prior {
            PriorSampler::StandardNormal | PriorSampler::Flow(_) | PriorSampler::Stacked(_) => 0,
            PriorSampler::Mixture(components) => components.count(),
            PriorSampler::Exemplars(_) => Exemplars::<f32>::SCRATCH,
        };
        let flow = if let PriorSampler::Flow(flow) = prior { flow.cache(1) } else { Cache::default() };
        let levels = if let PriorSampler::Stacked(stacked) = prior { stacked.cache() } else { Vec::new() };
        let (joint, one) = (vec![0.0; count], vec![0.0; count]);
        let (row, shares) = (Buffer::new(1, latent), Buffer::new(1, components));
        Work { z: vec![0.0; latent], joint, one, row, shares, flow, levels }
    }
}

impl Posteriors {
    fn of(encoding: &Encoding) -> Self {
        let by_latent = |of: &dyn Fn(f64) -> f64| -> Vec<f64> {
            encoding.log_variance.t().iter().map(|&v| of(f64::from(v))).collect()
        };
        Posteriors {
            count: encoding.mean.nrows(),
            mean: encoding.mean.t().iter().map(|&m| f64::from(m)).collect(),
            deviation: by_latent(&|v| (0.5 * v).exp()),
            precision: by_latent(&|v| (-v).exp()),
            norm: by_latent(&|v| -0.5 * (LOG_TAU + v)),
        }
    }
    /// The log-densities at row `i`'s draw.
    fn logs(&self, i: usize, noise: Noise, prior: &PriorSampler<f32>, isa: Isa, work: &mut Work) -> Logs {
        let (n, log_n) = (self.count, (self.count as f64).ln());
        // log 1/N Σ_n e^{o_n}, by the share of row i in the sum.
        let mixed = |logs: &[f64]| logs[i] - softmax_log_prob(isa, i, logs) - log_n;
        let mut rng = noise.rng(Stream::Evaluate, 2, i as u64, 0);
        work.joint.fill(0.0);
        let mut product = 0.0;
        for (j, z) in work.z.iter_mut().enumerate() {
            let eps: f64 = rng.sample(StandardNormal);
            *z = self.mean[j * n + i] + self.deviation[j * n + i] * eps;
            let rows = j * n..(j + 1) * n;
            let of = self.mean[rows.clone()].iter().zip(&self.precision[rows.clone()]).zip(&self.norm[rows]);
            for (((mean, precision), norm), (joint, one)) in of.zip(work.joint.iter_mut().zip(&mut work.one)) {
                let off = *z - mean;
                *one = norm - 0.5 * off * off * precision;
                *joint += *one;
            }
            product += mixed(&work.one);
        }
        [work.joint[i], mixed(&work.joint), product, log_prior(prior, isa, work)]
    }
}

/// log p(z) of the draw.
fn log_prior(prior: &PriorSampler<f32>, isa: Isa, work: &mut Work) -> f64 {
    work.row.rows_mut(1).row(0).iter_mut().zip(&work.z).for_each(|(to, z)| *to = *z as f32);
    let mut out = [0.0];
    match prior {
        PriorSampler::StandardNormal => -0.5 * work.z.iter().map(|z| LOG_TAU + z * z).sum::<f64>(),
        PriorSampler::Mixture(components) => {
            components.log_prob(isa, work.row.rows(1), work.shares.rows_mut(1), &mut out);
            f64::from(out[0])
        }
        PriorSampler::Flow(flow) => {
            flow.log_prob(work.row.rows(1), &mut out, &mut work.flow);
            f64::from(out[0])
        }
        PriorSampler::Exemplars(exemplars) => {
            exemplars.log_prob(isa, work.row.rows(1), work.shares.rows_mut(1), &mut out);
            f64::from(out[0])
        }
        PriorSampler::Stacked(stacked) => stacked.bound(&work.z, &mut work.levels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::Components;
    use crate::tensor::Isa;
    use ndarray::Array2;

    fn of(mean: Array2<f64>, log_variance: f64) -> AggregatePosterior {
        with(mean, log_variance, &PriorSampler::StandardNormal, 2)
    }
    fn with(mean: Array2<f64>, log_variance: f64, prior: &PriorSampler<f32>, threads: usize) -> AggregatePosterior {
        let log_variance = Array2::from_elem(mean.dim(), log_variance as f32);
        let encoding = Encoding { mean: mean.mapv(|m| m as f32), log_variance };
        parts(&Exec::with_isa(Isa::default(), threads).unwrap(), &encoding, prior, Noise::new(5))
    }
    /// N standard normal rows, (N, 2), the second with a correlation to the first.
    fn normal(rows: usize, correlation: f64) -> Array2<f64> {
        let mut z = Array2::zeros((rows, 2));
        for (r, mut row) in z.rows_mut().into_iter().enumerate() {
            let mut rng = Noise::new(6).rng(Stream::Check, 0, r as u64, 0);
            let (a, b): (f64, f64) = (rng.sample(StandardNormal), rng.sample(StandardNormal));
            (row[0], row[1]) = (a, correlation * a + (1.0 - correlation * correlation).sqrt() * b);
        }
        z
    }

    /// Of linear-Gaussian q the aggregate is Gaussian: x ~ N(0, I), μ = A x with Cov S, q(z|x) = N(A x, v I), so q(z) =
    /// N(0, S + v I), C for short:
    ///
    /// I = ½ log (det C / v²), TC = ½ Σ log C_jj − ½ log det C, and Σ_j ½ (C_jj − 1 − log C_jj) by dimension.
    ///
    /// The differences of log-densities have deviations below 1.5, so that 2,000 draws know their means to 1.5/√2000 = 0.034,
    /// and as many rows say as much of S: twice both together is allowed.
    #[test]
    fn a_gaussian_aggregate_has_closed_forms() {
        let v: f64 = 0.3;
        for correlation in [0.0, 0.9] {
            let (deviations, mut mean) = ([1.2, 0.8], normal(2000, correlation));
            mean.rows_mut().into_iter().for_each(|mut row| (0..2).for_each(|j| row[j] *= deviations[j]));
            let found = of(mean, v.ln());
            let [a, b] = deviations.map(|d| d * d + v);
            let off = correlation * deviations[0] * deviations[1];
            let log_det = (a * b - off * off).ln();
            let expected = [
                ("mutual information", found.mutual_information, 0.5 * (log_det - 2.0 * v.ln())),
                ("total correlation", found.total_correlation, 0.5 * ((a * b).ln() - log_det)),
                ("by dimension", found.dimension_kl.unwrap(), 0.5 * (a + b - 2.0 - (a * b).ln())),
            ];
            for (what, found, expected) in expected {
                assert!((found - expected).abs() < 0.09, "{correlation}, {what}: {found}, expected {expected}");
            }
        }
    }

    /// The parts are sums over the same draws; and their whole is the KL in closed form, ½ Σ (μ² + e^v − 1 − v), within four
    /// standard errors: log q(z|x) − log p(z) = ½ Σ (z² − ε² − v) has a deviation below 3 here.
    #[test]
    fn the_parts_add_up_to_the_kl() {
        let mean = normal(1500, 0.5) * 1.5 + 0.4;
        let v: f64 = -1.0;
        let closed = mean.mapv(|m| 0.5 * (m * m + v.exp() - 1.0 - v)).sum() / 1500.0;
        let found = of(mean, v);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(found.kl, found.mutual_information + found.marginal_kl), "{found:?}");
        assert!(near(found.marginal_kl, found.total_correlation + found.dimension_kl.unwrap()), "{found:?}");
        assert!((found.kl - closed).abs() < 4.0 * 3.0 / 1500f64.sqrt(), "{} {closed}", found.kl);
        assert_eq!(found.rows, 1500);
    }

    /// Posteriors that never meet tell which row it was, and no more than that: log N. Equal ones tell nothing.
    #[test]
    fn mutual_information_is_at_most_log_n() {
        let apart = of(Array2::from_shape_fn((50, 3), |(r, j)| (10 * r + j) as f64), -6.0);
        assert!((apart.mutual_information - 50f64.ln()).abs() < 1e-12, "{apart:?}");
        let equal = of(Array2::from_elem((50, 3), 0.7), -1.0);
        assert!(equal.mutual_information.abs() < 1e-12 && equal.total_correlation.abs() < 1e-12, "{equal:?}");
    }

    /// A mixture prior that is the aggregate itself has no KL to it, but for the draws' rounding to f32; one elsewhere has.
    #[test]
    fn a_mixture_prior_is_compared_as_a_whole() {
        let mean = Array2::from_shape_fn((4, 2), |(r, j)| (r * (j + 1)) as f64);
        let mut own = Components::<f32>::new(4, 2);
        (0..4).for_each(|c| own.set(Isa::default(), c, &[c as f32, 2.0 * c as f32], &[-1.0; 2]));
        let found = with(mean.clone(), -1.0, &PriorSampler::Mixture(own), 1);
        assert!(found.marginal_kl.abs() < 1e-5 && found.dimension_kl.is_none(), "{found:?}");
        let elsewhere = with(mean, -1.0, &PriorSampler::Mixture(Components::new(3, 2)), 1);
        assert!(elsewhere.marginal_kl > 0.5, "{elsewhere:?}");
        assert_eq!(elsewhere.mutual_information, found.mutual_information);
    }

    #[test]
    fn threads_change_nothing() {
        let of = |threads| with(normal(100, 0.3), -0.5, &PriorSampler::StandardNormal, threads);
        assert_eq!(of(1), of(3));
    }
}
