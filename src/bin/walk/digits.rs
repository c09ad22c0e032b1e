//! Small digits, and the few lines that train on them.

use elbo::data::{Binarize, Dataset, Rows, View};
use elbo::density::LikelihoodKind;
use elbo::model::Draw;
use elbo::optim::{OptimizerConfig, Schedule};
use elbo::tensor::Stream;
use elbo::train::{Evaluation, evaluate};
use elbo::{Exec, Result, TrainConfig, Trainer};
use ndarray::{Array2, s};

/// Pixels of a side, and of a digit.
pub const SIDE: usize = 14;
pub const PIXELS: usize = SIDE * SIDE;

/// The embedded digits at half their size, each pixel the mean of four: 9,000 to learn from and 1,000 held out.
pub fn digits() -> Result<Dataset> {
    let full = elbo::data::load("mnist")?;
    let x: Array2<f32> = full.all().to_array();
    let small = Array2::from_shape_fn((x.nrows(), PIXELS), |(r, p)| {
        let at = 28 * 2 * (p / SIDE) + 2 * (p % SIDE);
        (x[[r, at]] + x[[r, at + 1]] + x[[r, at + 28]] + x[[r, at + 29]]) / 4.0
    });
    with_labels_of(&full, small)
}

/// Other rows in the place of a set's own: its labels, and as many rows held out.
pub fn with_labels_of(data: &Dataset, rows: Array2<f32>) -> Result<Dataset> {
    let rows = Rows::from_f32(rows)?;
    let view = match data.all().labels() {
        Some(labels) => View::with_labels(rows, labels.clone())?,
        None => View::new(rows),
    };
    Dataset::new("digits", view).with_test(data.test().map_or(0, View::len))
}

/// The digit that each row of a view is labelled with.
pub fn labels(view: &View) -> Vec<usize> {
    (0..view.len()).filter_map(|r| view.label(r)?.parse().ok()).collect()
}

/// A dense VAE for `inputs` columns: batches of 100, Adam at 0.002 with a cosine to 0, so that a run of seconds settles.
pub fn config(inputs: usize, hidden: &[usize], latent: usize, likelihood: LikelihoodKind) -> Result<TrainConfig> {
    let mut config = TrainConfig::preset("mlp-one", inputs)?;
    config.vae.hidden = hidden.to_vec();
    config.vae.latent = latent;
    config.vae.likelihood = likelihood;
    config.batch_size = 100;
    config.optimizer = OptimizerConfig::adam(2e-3, 1e-8);
    config.schedule = Schedule::Cosine;
    Ok(config)
}

/// A finished run.
pub fn train(config: TrainConfig, data: &Dataset) -> Result<Trainer> {
    let mut trainer = Trainer::new(config, data.clone(), Exec::new(0)?)?;
    trainer.run(&mut ())?;
    Ok(trainer)
}

/// The terms of the ELBO on a view, with one draw of z a row.
pub fn terms(trainer: &Trainer, view: &View) -> Evaluation {
    let draw = Draw { noise: elbo::tensor::Noise::new(1), stream: Stream::Evaluate, step: 0 };
    evaluate(&mut trainer.inference(), view, Binarize::None, &draw)
}

/// Each latent's KL, nats per example, greatest first.
pub fn kl_by_latent(evaluation: &Evaluation) -> Vec<f64> {
    let mut kl: Vec<f64> = evaluation.stats.kl.iter().map(|kl| kl / evaluation.stats.rows as f64).collect();
    kl.sort_unstable_by(|a, b| b.total_cmp(a));
    kl
}

/// Rows of a matrix as slices, for [`grey`](super::grey).
pub fn pictures(rows: &Array2<f32>) -> Vec<&[f32]> {
    rows.rows().into_iter().filter_map(|row| row.to_slice()).collect()
}

/// The first `n` rows.
pub fn first(rows: &Array2<f32>, n: usize) -> Array2<f32> {
    rows.slice(s![..n.min(rows.nrows()), ..]).to_owned()
}
