//! New rows: latents from the prior, decoded.

use super::{check_size, check_some, decode};
use crate::density::Prior;
use crate::error::Result;
use crate::model::{Inference, Vae};
use crate::tensor::{Noise, Stream};
use ndarray::Array2;

/// `count` latents from the prior, (count, L). Row `r` is a function of the seed and of `r` alone, so that more samples
/// begin with the same ones.
///
/// # Errors
/// No rows, or more than fit in memory.
pub fn sample_latents(vae: &Vae, count: usize, seed: u64) -> Result<Array2<f32>> {
    check_some(count)?;
    check_size(count, vae.config().latent)?;
    let (mut z, noise) = (Array2::zeros((count, vae.config().latent)), Noise::new(seed));
    for (r, mut row) in z.rows_mut().into_iter().enumerate() {
        let mut rng = noise.rng(Stream::Sample, 0, r as u64, 0);
        Prior::<f32>::sample(vae.prior(), &mut rng, row.as_slice_mut().unwrap_or_default());
    }
    Ok(z)
}

/// The means of x for `count` latents from the prior, (count, D).
///
/// # Errors
/// As [`sample_latents`].
pub fn sample(inference: &mut Inference<'_, f32>, count: usize, seed: u64) -> Result<Array2<f32>> {
    check_size(count, inference.vae().config().inputs)?;
    let z = sample_latents(inference.vae(), count, seed)?;
    decode(inference, z.view())
}
