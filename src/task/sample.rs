//! New rows: latents from the prior, or from what the rows of training made of the latent space, decoded.

use super::encode::generate;
use super::{Covariance, Examples, GaussianMixture, MixtureFit, check_size, check_some, encode};
use crate::density::PosteriorKind;
use crate::error::{Error, Result};
use crate::model::{Draw, Inference, join};
use crate::nearest::unknown;
use crate::tensor::{Noise, Stream};
use ndarray::{Array2, ArrayView2};
use std::fmt;
use std::str::FromStr;

/// What latents are drawn from, by name; it reads and prints as `prior`, `mixture:COMPONENTS` or `diagonal:COMPONENTS`.
///
/// ```
/// use elbo::task::{Covariance, LatentSource};
/// assert_eq!("mixture:10".parse::<LatentSource>()?, LatentSource::Mixture(10, Covariance::Full));
/// assert!("mixtur:10".parse::<LatentSource>().unwrap_err().to_string().contains("mixture:COMPONENTS"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LatentSource {
    /// The model's prior.
    #[default]
    Prior,
    /// A mixture of so many Gaussians, fitted to the aggregate posterior.
    Mixture(usize, Covariance),
}

impl fmt::Display for LatentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LatentSource::Prior => write!(f, "prior"),
            LatentSource::Mixture(count, Covariance::Full) => write!(f, "mixture:{count}"),
            LatentSource::Mixture(count, Covariance::Diagonal) => write!(f, "diagonal:{count}"),
        }
    }
}

impl FromStr for LatentSource {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let number = |n: &str| match n.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => {
                Err(Error::input(format!("`{text}`: `{n}` is no number of components")).hint("mixture:10, for example"))
            }
        };
        match text.split_once(':') {
            None if text == "prior" => Ok(LatentSource::Prior),
            Some(("mixture", n)) => Ok(LatentSource::Mixture(number(n)?, Covariance::Full)),
            Some(("diagonal", n)) => Ok(LatentSource::Mixture(number(n)?, Covariance::Diagonal)),
            _ => Err(unknown("source of latents", text, &["prior", "mixture:COMPONENTS", "diagonal:COMPONENTS"])),
        }
    }
}

/// How latents are drawn; by default, from the prior as it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling<'a> {
    /// A mixture that takes the prior's place.
    pub mixture: Option<&'a GaussianMixture>,
    /// What deviations are multiplied by: z = μ + T σ ε, of the standard normal prior, of each component of a mixture, and of
    /// the normal at a flow's end, and at every level of more stochastic layers, above z or below it. Below 1, samples are nearer the means and less various.
    pub temperature: f64,
    /// The condition of each sample, (count, C); a conditional model has no samples without.
    pub condition: Option<ArrayView2<'a, f32>>,
}

impl Default for Sampling<'_> {
    fn default() -> Self {
        Sampling { mixture: None, temperature: 1.0, condition: None }
    }
}

impl Sampling<'_> {
    /// Whether its temperature is one.
    ///
    /// # Errors
    /// A temperature that is not above 0 and at most 10⁶.
    pub fn check(&self) -> Result<()> {
        if self.temperature > 0.0 && self.temperature <= 1e6 {
            return Ok(());
        }
        Err(Error::input(format!("a temperature of {}; it must be above 0, and 10⁶ at most", self.temperature))
            .hint("1 draws from the distribution itself, 0.7 closer to its means"))
    }
}

/// `count` latents from the prior, (count, L). Row `r` is a function of the seed and of `r` alone, so that more samples
/// begin with the same ones.
///
/// # Errors
/// No rows, or more than fit in memory; an exemplar prior without its exemplars.
pub fn sample_latents(inference: &Inference<'_, f32>, count: usize, seed: u64) -> Result<Array2<f32>> {
    sample_latents_by(inference, count, seed, &Sampling::default())
}

/// The same from a fitted mixture, at another temperature, or under conditions.
///
/// # Errors
/// As [`sample_latents`], a temperature that is not above 0, a mixture over other latents or in the place of a conditional
/// prior, and conditions that do not fit the model.
pub fn sample_latents_by(
    inference: &Inference<'_, f32>,
    count: usize,
    seed: u64,
    sampling: &Sampling<'_>,
) -> Result<Array2<f32>> {
    let latent = inference.vae().config().latent;
    check_some(count)?;
    check_size(count, latent)?;
    inference.check_prior()?;
    sampling.check()?;
    if let Some(other) = sampling.mixture.map(GaussianMixture::latent).filter(|other| *other != latent) {
        return Err(Error::input(format!("a mixture over {other} latents; the model has {latent}")));
    }
    check_condition(inference, count, sampling)?;
    let (mut z, noise, prior) = (Array2::zeros((count, latent)), Noise::new(seed), inference.prior_sampler());
    for (r, mut row) in z.rows_mut().into_iter().enumerate() {
        let (mut rng, out) = (noise.rng(Stream::Sample, 0, r as u64, 0), row.as_slice_mut().unwrap_or_default());
        match sampling.mixture {
            None => prior.sample_at(sampling.temperature, &mut rng, out),
            Some(mixture) => mixture.sample(sampling.temperature, &mut rng, out),
        }
    }
    if let Some(c) = sampling.condition {
        inference.condition_draws(&mut z, c);
    }
    Ok(z)
}

fn check_condition(inference: &Inference<'_, f32>, count: usize, sampling: &Sampling<'_>) -> Result<()> {
    let config = inference.vae().config();
    let (found, expected) = (sampling.condition.map(|c| c.dim()), (count, config.condition));
    if found.unwrap_or((count, 0)) != expected {
        let what = format!("conditions of {:?} rows and columns, expected {expected:?}", found.unwrap_or((count, 0)));
        return Err(Error::input(what).hint("the model's Condition::rows makes them"));
    }
    if let Some(row) =
        sampling.condition.and_then(|c| c.rows().into_iter().position(|c| c.iter().any(|x| !x.is_finite())))
    {
        return Err(Error::input(format!("the condition of row {row} is not finite")));
    }
    if config.conditional_prior && sampling.mixture.is_some() {
        return Err(Error::input("a mixture knows nothing of the condition that the prior follows")
            .hint("--from prior draws under each condition"));
    }
    Ok(())
}

/// The means of x for `count` latents from the prior, with draws at any levels below z, (count, D).
///
/// # Errors
/// As [`sample_latents`].
pub fn sample(inference: &mut Inference<'_, f32>, count: usize, seed: u64) -> Result<Array2<f32>> {
    sample_by(inference, count, seed, &Sampling::default())
}

/// The same from a fitted mixture, or at another temperature.
///
/// # Errors
/// As [`sample_latents_by`].
pub fn sample_by(
    inference: &mut Inference<'_, f32>,
    count: usize,
    seed: u64,
    sampling: &Sampling<'_>,
) -> Result<Array2<f32>> {
    check_size(count, inference.vae().config().inputs)?;
    let z = sample_latents_by(inference, count, seed, sampling)?;
    let z = sampling.condition.map_or_else(|| z.clone(), |c| join(z.view(), c));
    let draw = Draw { noise: Noise::new(seed), stream: Stream::Sample, step: 0 };
    generate(inference, z.view(), &draw, sampling.temperature)
}

/// A mixture of `count` Gaussians fitted to the aggregate posterior of some rows: see [`GaussianMixture::fit`].
///
/// # Errors
/// As [`encode`] and [`GaussianMixture::fit`]; posteriors whose moments the fit has not.
pub fn fit_mixture(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    count: usize,
    covariance: Covariance,
    seed: u64,
) -> Result<MixtureFit> {
    // The fit counts the posteriors' covariances in, and knows the variances alone.
    let (posterior, full) = (inference.vae().config().posterior, covariance == Covariance::Full);
    if !posterior.is_gaussian() || (full && posterior == PosteriorKind::Full) {
        let hint = if posterior.is_gaussian() { "--from diagonal:10 asks for variances alone" } else { "--from prior" };
        let what =
            format!("a mixture is fitted to the covariances of posteriors, which {posterior} ones do not give here");
        return Err(Error::input(what).hint(hint));
    }
    let encoding = encode(inference, examples)?;
    GaussianMixture::fit(inference.exec(), &encoding, count, covariance, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::{Components, Exemplars};
    use crate::model::PriorSampler;

    /// At every temperature the same noise, so that the way from the component's mean is T times as far: exact but for
    /// rounding to f32, 6e-8 of numbers up to 20.
    #[test]
    fn temperature_scales_each_component() {
        let mut components = Components::<f32>::new(2, 3);
        let isa = crate::tensor::Isa::default();
        components.set(isa, 0, &[10.0, 10.0, 10.0], &[0.0, 0.5, -1.0]);
        components.set(isa, 1, &[-10.0, 0.0, -10.0], &[0.3, 0.0, 0.1]);
        components.set_weights([0.0f32, 1.0].into_iter());
        let means = [[10.0f32, 10.0, 10.0], [-10.0, 0.0, -10.0]];
        let mut exemplars = Exemplars::<f32>::new(2, 3);
        exemplars.replace(-0.5, means.iter().map(|mean| &mean[..]));
        let priors =
            [PriorSampler::StandardNormal, PriorSampler::Mixture(components), PriorSampler::Exemplars(exemplars)];
        for (prior, row) in priors.iter().flat_map(|prior| (0..40).map(move |row| (prior, row))) {
            let draw = |temperature: Option<f64>| {
                let (mut z, mut rng) = ([0.0f32; 3], Noise::new(3).rng(Stream::Sample, 0, row, 0));
                match temperature {
                    None => prior.sample(&mut rng, &mut z),
                    Some(t) => prior.sample_at(t, &mut rng, &mut z),
                }
                z
            };
            let plain = draw(None);
            assert_eq!(plain, draw(Some(1.0)));
            let mean = match prior {
                PriorSampler::StandardNormal => [0.0; 3],
                PriorSampler::Mixture(_) | PriorSampler::Exemplars(_) => means[usize::from(plain[0] < 0.0)],
                PriorSampler::Flow(_) | PriorSampler::Stacked(_) => unreachable!("none of the three"),
            };
            for t in [0.25, 2.0] {
                for ((scaled, plain), mean) in draw(Some(t)).into_iter().zip(plain).zip(mean) {
                    let expected = mean + t as f32 * (plain - mean);
                    assert!((scaled - expected).abs() < 5e-6, "{t}: {scaled}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn a_source_s_name_reads_back() {
        for name in ["prior", "mixture:10", "diagonal:3"] {
            assert_eq!(name.parse::<LatentSource>().unwrap().to_string(), name);
        }
        for (name, said) in [("mixture:0", "no number"), ("mixture:x", "no number"), ("pryor", "did you mean `prior`")]
        {
            assert!(name.parse::<LatentSource>().unwrap_err().to_string().contains(said), "{name}");
        }
    }
}
