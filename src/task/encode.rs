//! Rows to latents and back.

use super::{Examples, check_size, check_some};
use crate::error::{Error, Result};
use crate::model::{Draw, Inference, Vae};
use ndarray::{Array2, ArrayView2};

/// The posteriors of some rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Encoding {
    /// Posterior means, (rows, L); of a flow its base's mean, taken through the flow.
    pub mean: Array2<f32>,
    /// Posterior log-variances, (rows, L), of each latent by itself; NaN of a flow, where they have no closed form.
    pub log_variance: Array2<f32>,
}

impl Encoding {
    /// One table of both: means, then log-variances, (rows, 2L).
    pub fn both(&self) -> Array2<f32> {
        let (rows, latent) = self.mean.dim();
        Array2::from_shape_fn((rows, 2 * latent), |(r, j)| match j.checked_sub(latent) {
            None => self.mean[[r, j]],
            Some(j) => self.log_variance[[r, j]],
        })
    }
    /// Columns' names: `z0`, `z1`, … and, for [`both`](Self::both), `log_variance0`, …
    pub fn names(&self, with_variance: bool) -> Vec<String> {
        let latent = self.mean.ncols();
        let means = (0..latent).map(|j| format!("z{j}"));
        let variances = (0..if with_variance { latent } else { 0 }).map(|j| format!("log_variance{j}"));
        means.chain(variances).collect()
    }
}

/// The rows as the model sees them, (rows, D): binarized, if it was trained so.
///
/// # Errors
/// More rows than fit in memory, or streamed rows that cannot be read.
pub fn originals(examples: &Examples) -> Result<Array2<f32>> {
    let (rows, cols) = (examples.len(), examples.view().cols());
    check_size(rows, cols)?;
    let (mut x, fill) = (Array2::zeros((rows, cols)), examples.fill());
    for (r, mut row) in x.rows_mut().into_iter().enumerate() {
        fill(r, row.as_slice_mut().unwrap_or_default());
    }
    examples.view().check_read()?;
    Ok(x)
}

/// The posterior of each row.
///
/// # Errors
/// No rows, more than fit in memory, or streamed rows that cannot be read.
pub fn encode(inference: &mut Inference<'_, f32>, examples: &Examples) -> Result<Encoding> {
    let (rows, latent) = (examples.len(), inference.vae().config().latent);
    check_some(rows)?;
    check_size(rows, 2 * latent)?;
    let (mut mean, mut log_variance) = (Array2::zeros((rows, latent)), Array2::zeros((rows, latent)));
    inference.encode(rows, &examples.fill(), |r, m, v| {
        copy(m, mean.row_mut(r));
        copy(v, log_variance.row_mut(r));
    });
    examples.view().check_read()?;
    Ok(Encoding { mean, log_variance })
}

/// The mean of x for each row of latents `z`, (rows, L), at the means of any levels below z; or [z | c] of a conditional model, (rows, L + C), to (rows, D).
///
/// # Errors
/// Latents with another number of columns than the model's, or values that are not finite; no rows, or more than fit in
/// memory.
pub fn decode(inference: &mut Inference<'_, f32>, z: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let cols = inference.vae().config().inputs;
    decode_rows(inference, z, cols, None, |_, mean| mean)
}

/// The same with draws at the levels below z, if there are any: see [`Inference::generate`].
///
/// # Errors
/// As [`decode`].
pub(super) fn generate(
    inference: &mut Inference<'_, f32>,
    z: ArrayView2<'_, f32>,
    draw: &Draw,
    temperature: f64,
) -> Result<Array2<f32>> {
    let cols = inference.vae().config().inputs;
    decode_rows(inference, z, cols, Some((draw, temperature)), |_, mean| mean)
}

/// The likelihood's parameters (logits, say) for each row of latents `z`, as for [`decode`], to (rows, E).
///
/// # Errors
/// As [`decode`].
pub fn decode_parameters(inference: &mut Inference<'_, f32>, z: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let cols = inference.vae().likelihood::<f32>().eta_cols();
    decode_rows(inference, z, cols, None, |eta, _| eta)
}

fn decode_rows(
    inference: &mut Inference<'_, f32>,
    z: ArrayView2<'_, f32>,
    cols: usize,
    below: Option<(&Draw, f64)>,
    pick: impl for<'a> Fn(&'a [f32], &'a [f32]) -> &'a [f32] + Sync,
) -> Result<Array2<f32>> {
    check_latents(inference.vae(), z)?;
    let rows = z.nrows();
    check_some(rows)?;
    check_size(rows, cols)?;
    let mut out = Array2::zeros((rows, cols));
    let fill = |r: usize, to: &mut [f32]| to.iter_mut().zip(z.row(r)).for_each(|(to, z)| *to = *z);
    let write = |r: usize, eta: &[f32], mean: &[f32]| copy(pick(eta, mean), out.row_mut(r));
    match below {
        None => inference.decode(rows, &fill, write),
        Some(below) => inference.generate(rows, &fill, below, write),
    }
    Ok(out)
}

/// Each row through the posterior's mean and back: the mean of x, (rows, D).
///
/// # Errors
/// As [`encode`].
pub fn reconstruct(inference: &mut Inference<'_, f32>, examples: &Examples) -> Result<Array2<f32>> {
    let (rows, inputs) = (examples.len(), inference.vae().config().inputs);
    check_some(rows)?;
    check_size(rows, inputs)?;
    let mut out = Array2::zeros((rows, inputs));
    inference.reconstruct(rows, &examples.fill(), |r, _, mean| copy(mean, out.row_mut(r)));
    examples.view().check_read()?;
    Ok(out)
}

fn copy(from: &[f32], mut to: ndarray::ArrayViewMut1<'_, f32>) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

fn check_latents(vae: &Vae, z: ArrayView2<'_, f32>) -> Result<()> {
    let (latent, condition) = (vae.config().latent, vae.config().condition);
    if z.ncols() != latent + condition && condition > 0 {
        let what = format!("latents of {} columns; the model has {latent}, and a condition of {condition}", z.ncols());
        return Err(Error::input(what).hint("say what the rows are conditioned on: --label or --labels"));
    }
    if z.ncols() != latent + condition {
        return Err(Error::input(format!("latents of {} columns; the model has {latent}", z.ncols()))
            .hint("decode what `elbo encode` wrote without --with-variance"));
    }
    match z.indexed_iter().find(|(_, z)| !z.is_finite()) {
        None => Ok(()),
        Some(((row, col), z)) => Err(Error::input(format!("row {row}, column {col} is {z}, which is not finite"))),
    }
}
