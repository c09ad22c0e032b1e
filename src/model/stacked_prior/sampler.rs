//! Draws from a prior of more stochastic layers, and its density without draws.

use super::{LevelCache, StackedPrior};
use crate::layer::Layer;
use crate::model::flow_prior::POINTS;
use crate::tensor::{Buffer, Isa, Params, Real};
use elbo_kernels::sweep::reparameterize;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A prior of more stochastic layers with its parameters, to draw from.
#[derive(Clone, Debug)]
pub struct StackedSampler<'m, F> {
    prior: &'m StackedPrior,
    params: &'m Params<F>,
    isa: Isa,
}

impl<'m, F: Real> StackedSampler<'m, F> {
    pub(in crate::model) fn new(prior: &'m StackedPrior, params: &'m Params<F>, isa: Isa) -> Self {
        StackedSampler { prior, params, isa }
    }
    /// Memory for [`bound`](Self::bound).
    pub fn cache(&self) -> Vec<LevelCache<F>> {
        self.prior.cache(1)
    }
    /// A lower bound on log p(z) but for the error of a mean over 32 points, in nats: that of log p̂(z).
    pub fn bound(&self, z: &[f64], levels: &mut [LevelCache<F>]) -> f64 {
        let mut row = Buffer::new(1, z.len());
        row.rows_mut(1).row(0).iter_mut().zip(z).for_each(|(to, &z)| *to = F::from_f64(z));
        let points = self.prior.points();
        let columns = points.len() / POINTS;
        let (mut sum, mut out) = (0.0, [F::ZERO]);
        for (point, sign) in points.chunks(columns).flat_map(|point| [(point, 1.0), (point, -1.0)]) {
            let mut above = point[z.len()..].iter();
            for level in levels.iter_mut() {
                level
                    .eps
                    .rows_mut(1)
                    .row(0)
                    .iter_mut()
                    .zip(&mut above)
                    .for_each(|(eps, e)| *eps = F::from_f64(sign * e));
            }
            self.prior.log_prob(self.isa, self.params, row.rows(1), &mut out, levels);
            sum += out[0].to_f64();
        }
        sum / (points.len() / columns * 2) as f64
    }
    /// One draw, from the top level down, with all deviations multiplied by a temperature.
    pub fn sample_at(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [F]) {
        let mut draw = |eps: &mut [F]| {
            eps.iter_mut().for_each(|e| *e = F::from_f64(temperature * rng.sample::<f64, _>(StandardNormal)));
        };
        let mut above: Option<Buffer<F>> = None;
        for nets in self.prior.levels.iter().rev() {
            let z = above.take().unwrap_or_else(|| {
                let mut top = Buffer::new(1, nets.above);
                draw(top.rows_mut(1).row(0));
                top
            });
            let (mut eta, mut eps, mut below) =
                (Buffer::new(1, 2 * nets.below), vec![F::ZERO; nets.below], Buffer::new(1, nets.below));
            let mut cache = Layer::<F>::cache(&nets.decoder, 1);
            nets.decoder.forward(self.isa, self.params, z.rows(1), &mut eta, &mut cache);
            nets.likelihood.bound(eta.rows_mut(1));
            draw(&mut eps);
            let (mean, log_variance) = eta.rows(1).row(0).split_at(nets.below);
            reparameterize(self.isa, mean, log_variance, &eps, below.rows_mut(1).row(0));
            above = Some(below);
        }
        above.iter().for_each(|z| out.copy_from_slice(z.rows(1).row(0)));
    }
}
