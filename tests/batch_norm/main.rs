//! Batch normalization: the layer through a whole batch in blocks, whole models, running averages, and files.

mod files;
mod layer;
mod model;
mod training;

use elbo::data::Dataset;
use elbo::estimator::{Bound, Objective, ObjectiveKind, PathGradient};
use elbo::layer::{Activation, InitScheme};
use elbo::model::{Hidden, Norm, PRESETS, VaeConfig};
use elbo::tensor::{Layout, Noise, Par, Params};
use elbo::train::TrainConfig;
use ndarray::Array2;

/// Numbers without a pattern, of deviation 1 or so.
fn numbers(rows: usize, cols: usize, seed: u64) -> Array2<f64> {
    let mut layout = Layout::new();
    let slot = layout.weight("x", cols, rows, InitScheme::He.dense(2, 1).0);
    Params::<f64>::init(&layout, &Noise::new(seed)).values().unpack(&slot)
}

/// Parameters that differ from their start: gains are not 1 and biases not 0, and running averages not those of no data.
fn unsettled(layout: &Layout) -> Params<f64> {
    let mut p = Params::init(layout, &Noise::new(5));
    for (i, x) in p.values_mut().data_mut().iter_mut().enumerate().filter(|(_, x)| **x != 0.0) {
        *x += 0.1 * (i as f64).sin();
    }
    for e in layout.entries().iter().filter(|e| e.name.ends_with("bias")) {
        (0..e.slot.cols()).for_each(|c| p.values_mut().set(&e.slot, 0, c, 0.3 * (c as f64).cos()));
    }
    for e in layout.statistics().map_or(&[][..], Layout::entries) {
        (0..e.slot.cols()).for_each(|c| p.statistics_mut().set(&e.slot, 0, c, 0.5 + 0.1 * c as f64));
    }
    p.refresh(Par::Sequential);
    p
}

/// A network of seven columns, three hidden layers and two latents.
fn small() -> VaeConfig {
    let base = PRESETS[0].config(7);
    VaeConfig { norm: Norm::Batch, layer: Hidden::Dense(Activation::Tanh), hidden: vec![7, 5, 5], latent: 2, ..base }
}

fn sampled(bound: Option<Bound>, samples: usize) -> Objective {
    let kind = bound.map_or(ObjectiveKind::Elbo, ObjectiveKind::Weighted);
    kind.build(samples, PathGradient::Plain, None, false).unwrap()
}

fn digits(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| ((i * i + 3 * j) * 31 % 256) as f32 / 255.0;
    Dataset::from_array(Array2::from_shape_fn((rows, 50), value).view()).unwrap().with_test(20).unwrap()
}

fn config(batch_size: usize) -> TrainConfig {
    let base = TrainConfig::preset("mlp-400", 50).unwrap();
    let vae = VaeConfig { norm: Norm::Batch, hidden: vec![40, 40], latent: 5, residual: true, ..base.vae };
    TrainConfig { epochs: 2, batch_size, vae, ..base }
}
