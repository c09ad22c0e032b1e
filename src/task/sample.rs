//! New rows: latents from the prior, decoded.

use super::{check_size, check_some, decode};
use crate::error::Result;
use crate::model::Inference;
use crate::tensor::{Noise, Stream};
use ndarray::Array2;

/// `count` latents from the prior, (count, L). Row `r` is a function of the seed and of `r` alone, so that more samples
/// begin with the same ones.
///
/// # Errors
/// No rows, or more than fit in memory.
pub fn sample_latents(inference: &Inference<'_, f32>, count: usize, seed: u64) -> Result<Array2<f32>> {
    let latent = inference.vae().config().latent;
    check_some(count)?;
    check_size(count, latent)?;
    let (mut z, noise, prior) = (Array2::zeros((count, latent)), Noise::new(seed), inference.prior_sampler());
    for (r, mut row) in z.rows_mut().into_iter().enumerate() {
        let mut rng = noise.rng(Stream::Sample, 0, r as u64, 0);
        prior.sample(&mut rng, row.as_slice_mut().unwrap_or_default());
    }
    Ok(z)
}

/// The means of x for `count` latents from the prior, (count, D).
///
/// # Errors
/// As [`sample_latents`].
pub fn sample(inference: &mut Inference<'_, f32>, count: usize, seed: u64) -> Result<Array2<f32>> {
    check_size(count, inference.vae().config().inputs)?;
    let z = sample_latents(inference, count, seed)?;
    decode(inference, z.view())
}
