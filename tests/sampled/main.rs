//! Objectives of sampled terms and priors without a closed form: values, gradients, and training by them.

mod bias;
mod conditional;
mod exemplar;
mod exemplar_density;
mod flow_prior;
mod gradients;
mod lower;
mod lower_training;
mod priors;
mod stacked_prior;
mod support;
mod training;
mod values;

use elbo::estimator::{Bound, Objective, ObjectiveKind, PathGradient};
use elbo::model::{PRESETS, VaeConfig};

const GRADIENTS: [PathGradient; 3] =
    [PathGradient::Plain, PathGradient::StickingTheLanding, PathGradient::DoublyReparameterized];

/// Every objective, with a number of samples.
const ALL: [(ObjectiveKind, usize); 8] = [
    (ObjectiveKind::Elbo, 1),
    (ObjectiveKind::Elbo, 3),
    (ObjectiveKind::Weighted(Bound::Iwae), 5),
    (ObjectiveKind::Weighted(Bound::Miwae(2)), 4),
    (ObjectiveKind::Weighted(Bound::Piwae(2)), 4),
    (ObjectiveKind::Weighted(Bound::Ciwae(0.3)), 3),
    (ObjectiveKind::Weighted(Bound::Renyi(0.5)), 3),
    (ObjectiveKind::Weighted(Bound::Renyi(-1.5)), 3),
];

/// The objective with its KL sampled.
fn sampled(kind: ObjectiveKind, samples: usize, gradient: PathGradient) -> Objective {
    kind.build(samples, gradient, None, false).unwrap()
}

/// A network of seven columns and three latents.
fn small() -> VaeConfig {
    VaeConfig { hidden: vec![5], latent: 3, ..PRESETS[6].config(7) }
}
