//! What a run looks like: its loss by epoch, samples, and reconstructions.

use super::metrics::curves;
use super::{METRICS_FILE, MetricsLine, SavedModel, filler};
use crate::data::{Binarize, Condition, Dataset, Field, ImageShape, View};
use crate::error::Result;
use crate::model::{Draw, Inference, join};
use crate::report::{curve, grid, points};
use crate::tensor::{Exec, Noise, Stream};
use ndarray::Array2;
use std::path::Path;

/// −ELBO by epoch.
pub(super) const LOSS_FILE: &str = "loss.svg";
/// What the model generates.
pub(super) const SAMPLES_FILE: &str = "samples.png";
/// Held-out rows above what the model makes of them.
pub(super) const RECONSTRUCTIONS_FILE: &str = "reconstructions.png";

/// Pictures in a line, and how many there are.
const COLUMNS: usize = 8;
const SAMPLES: usize = 64;
const PAIRS: usize = 24;
/// Lines of samples by label, at most.
const LABELS: usize = 16;
/// Points of a scatter.
const POINTS: usize = 1000;
/// Lines of a heat map.
const LINES: usize = 32;

/// Draws all three into a run's folder.
pub(super) fn draw(folder: &Path, model: &SavedModel, data: &Dataset, ex: &Exec) -> Result<()> {
    let lines = MetricsLine::read(folder.join(METRICS_FILE))?;
    let title = format!("{}, {}", data.name(), model.vae.config().preset);
    curve::loss(&title, &curves(&lines), folder.join(LOSS_FILE))?;

    let noise = Noise::new(model.info.settings.seed.unwrap_or_default());
    let mut inference = Inference::new(&model.vae, &model.params, ex);
    let image = data.all().image().map(|ImageShape { height, width, channels }| (height, width, channels));
    match image.filter(|(_, _, channels)| matches!(channels, 1 | 3)) {
        Some(shape) => {
            let c = by_label(data);
            let means = samples(model, &mut inference, noise, c, false);
            grid::grid(means.view(), shape, COLUMNS, folder.join(SAMPLES_FILE))?;
            let (x, y) = reconstructions(model, data, &mut inference, noise, PAIRS)?;
            grid::pairs(x.view(), y.view(), shape, COLUMNS, folder.join(RECONSTRUCTIONS_FILE))
        }
        None => {
            let count = if data.all().cols() == 2 { POINTS } else { LINES };
            let (x, y) = reconstructions(model, data, &mut inference, noise, count)?;
            let drawn = samples(model, &mut inference, noise, shown(data, x.nrows()), true);
            points::table(x.view(), Some(drawn.view()), folder.join(SAMPLES_FILE))?;
            points::table(x.view(), Some(y.view()), folder.join(RECONSTRUCTIONS_FILE))
        }
    }
}

/// The conditions of a grid's samples: a line of each label, if there are some and not too many.
fn by_label(data: &Dataset) -> Array2<f32> {
    let Some(condition) = data.condition() else { return Array2::zeros((SAMPLES, 0)) };
    let labels = condition.fields().iter().any(|field| matches!(field, Field::Labels { .. }));
    let each = condition.rows(&[], if labels { condition.turns().min(LABELS) } else { SAMPLES / COLUMNS });
    Array2::from_shape_fn((each.nrows() * COLUMNS, each.ncols()), |(r, j)| each[[r / COLUMNS, j]])
}

/// The conditions of the first rows that are [shown](view).
fn shown(data: &Dataset, count: usize) -> Array2<f32> {
    let mut c = Array2::zeros((count, data.condition().map_or(0, Condition::cols)));
    for (row, mut c) in c.rows_mut().into_iter().enumerate() {
        view(data).gather_condition(row, c.as_slice_mut().expect("a new array is row-major"));
    }
    c
}

/// The split whose rows are shown: test, or validation, or training.
fn view(data: &Dataset) -> &View {
    data.test().or(data.validation()).unwrap_or(data.train())
}

/// Rows that the model generates from the prior, one for each row of conditions: draws from the likelihood, or its means, as
/// pictures usually show.
fn samples(
    model: &SavedModel,
    inference: &mut Inference<f32>,
    noise: Noise,
    c: Array2<f32>,
    from_likelihood: bool,
) -> Array2<f32> {
    let (prior, likelihood, config) = (inference.prior_sampler(), model.vae.likelihood::<f32>(), model.vae.config());
    let (mut out, mut z) = (Array2::zeros((c.nrows(), config.inputs)), Array2::zeros((c.nrows(), config.latent)));
    for (row, mut z) in z.rows_mut().into_iter().enumerate() {
        let z = z.as_slice_mut().expect("a new array is row-major");
        prior.sample(&mut noise.rng(Stream::Sample, 0, row as u64, 0), z);
    }
    inference.condition_draws(&mut z, c.view());
    let z = join(z.view(), c.view());
    let latent = |row: usize, to: &mut [f32]| to.iter_mut().zip(z.row(row)).for_each(|(to, z)| *to = *z);
    let draw = Draw { noise, stream: Stream::Sample, step: 0 };
    inference.generate(c.nrows(), &latent, (&draw, 1.0), |row, eta, mean| {
        let mut line = out.row_mut(row);
        let line = line.as_slice_mut().expect("a new array is row-major");
        match from_likelihood {
            true => likelihood.sample(&model.params, eta, &mut noise.rng(Stream::Sample, 0, row as u64, 1), line),
            false => line.copy_from_slice(mean),
        }
    });
    out
}

/// The first rows of the test split (or the validation, or the training split), as an evaluation sees them, and their
/// reconstructions.
fn reconstructions(
    model: &SavedModel,
    data: &Dataset,
    inference: &mut Inference<f32>,
    noise: Noise,
    count: usize,
) -> Result<(Array2<f32>, Array2<f32>)> {
    let view = view(data);
    let view = view.slice(0..view.len().min(count));
    let binarize = model.info.settings.binarize.as_deref().map_or(Ok(Binarize::None), str::parse)?;
    let fill = filler(&view, binarize, noise);
    let mut x = Array2::zeros((view.len(), view.cols()));
    for (row, mut line) in x.rows_mut().into_iter().enumerate() {
        fill(row, line.as_slice_mut().expect("a new array is row-major"));
    }
    let mut y = Array2::zeros(x.dim());
    inference.reconstruct(view.len(), &fill, |row, _, mean| {
        y.row_mut(row).as_slice_mut().expect("a new array is row-major").copy_from_slice(mean);
    });
    view.check_read()?;
    Ok((x, y))
}
