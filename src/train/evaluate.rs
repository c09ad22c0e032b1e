//! How well a model does on some rows: the same objective as in training, in nats per example.

use crate::data::{Binarize, View};
use crate::estimator::Estimator;
use crate::model::{Draw, Inference, Stats};
use crate::tensor::Noise;

/// Means over rows, nats per example.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metrics {
    /// −ELBO: reconstruction + KL.
    pub neg_elbo: f64,
    /// −log p(x|z).
    pub reconstruction: f64,
    /// KL(q(z|x) ‖ p(z)).
    pub kl: f64,
    /// The bound on −log p(x) that the objective is, where that is another than −ELBO: −IWAE of K samples, say.
    pub neg_bound: Option<f64>,
    /// The estimate of the objective's penalty of the batch, without its weight, where it has one; of batches that were
    /// trained on.
    pub penalty: Option<f64>,
}

impl From<&Stats> for Metrics {
    fn from(stats: &Stats) -> Self {
        Metrics {
            neg_elbo: stats.neg_elbo(),
            reconstruction: stats.mean_reconstruction(),
            kl: stats.mean_kl(),
            neg_bound: stats.neg_bound(),
            penalty: stats.mean_penalty(),
        }
    }
}

/// What an evaluation found.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// The terms' sums.
    pub stats: Stats,
    /// Latents that are used: those whose posterior mean varies over rows with a variance above 0.01 (Burda, Grosse and
    /// Salakhutdinov 2016, section 5.2). Under a prior that follows a condition, what varies is the mean's
    /// [shift](Inference::shifts) from the row's own prior: the mean itself follows the condition even where x says nothing.
    pub active_units: usize,
}

/// Variance of a posterior mean above which its latent counts as used.
const ACTIVE: f64 = 0.01;

/// Evaluates all rows of a view with one draw of z each. Rows that cannot be read are NaN: see [`View::check_read`]; so are the
/// means of none.
pub fn evaluate(inference: &mut Inference<f32>, view: &View, binarize: Binarize, draw: &Draw) -> Evaluation {
    let fill = filler(view, binarize, draw.noise);
    let stats = inference.elbo(view.len(), &fill, draw);
    Evaluation { active_units: active_units(inference, view, binarize, draw.noise), stats }
}

/// Evaluates all rows of a view by an objective: as [`evaluate`] where it is the ELBO, else with as many draws a row as it
/// has samples. `beta` is the weight of its KL.
pub fn evaluate_objective(
    inference: &mut Inference<f32>,
    view: &View,
    binarize: Binarize,
    draw: &Draw,
    estimator: &dyn Estimator<f32>,
    beta: f64,
) -> Evaluation {
    if estimator.is_elbo() {
        return evaluate(inference, view, binarize, draw);
    }
    let fill = filler(view, binarize, draw.noise);
    let stats = inference.objective(view.len(), &fill, draw, estimator, beta);
    Evaluation { active_units: active_units(inference, view, binarize, draw.noise), stats }
}

/// Latents in use on a view; see [`Evaluation::active_units`].
pub fn active_units(inference: &mut Inference<f32>, view: &View, binarize: Binarize, noise: Noise) -> usize {
    // Welford's update, row by row: stable, and the same whatever the blocks.
    let mut moments: Vec<(f64, f64)> = Vec::new();
    let mut rows = 0.0;
    inference.shifts(view.len(), &filler(view, binarize, noise), |_, shift| {
        moments.resize(shift.len(), (0.0, 0.0));
        rows += 1.0;
        for ((mu, m2), &x) in moments.iter_mut().zip(shift) {
            let delta = f64::from(x) - *mu;
            *mu += delta / rows;
            *m2 += delta * (f64::from(x) - *mu);
        }
    });
    moments.iter().filter(|(_, m2)| m2 / rows > ACTIVE).count()
}

/// Writes rows of a view as an evaluation sees them: binarized, if at all, by the fixed draw of the seed. Where there is room
/// for more than a row, its condition goes behind it.
pub fn filler(view: &View, binarize: Binarize, noise: Noise) -> impl Fn(usize, &mut [f32]) + Sync {
    let binarize = binarize.evaluation();
    move |row, out| {
        let (x, c) = out.split_at_mut(view.cols());
        view.gather(row, x);
        view.gather_condition(row, c);
        binarize.apply(noise, 0, view.id(row) as u64, x);
    }
}
