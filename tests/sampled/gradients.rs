//! Gradients against finite differences: of the value where they are its own, else of the surrogate.

use super::{ALL, GRADIENTS, sampled, small};
use elbo::estimator::{AnyEstimator, Estimator};
use elbo::gradcheck::check_vae;
use elbo::model::{Heads, VaeConfig};

/// ‖g32 − g64‖ / ‖g64‖ of any parameter. A log-weight is a sum of some ten terms of a few nats in f32, so it is off by
/// some 10⁻⁶, and a normalised weight by as much of itself; the score of q is a difference of such weights, times ε/σ.
const F32_BOUND: f64 = 1e-4;

fn check(config: &VaeConfig, estimator: &dyn AnyEstimator, beta: f64, what: &str) {
    for c in check_vae(config, estimator, beta, 4, 7).unwrap() {
        let check = &c.check;
        assert!(check.passed(), "{what}, {}: {:.1e} at {}", check.name, check.worst, check.at);
        assert!(c.f32_error <= F32_BOUND, "{what}, {}: f32 is {:.1e} off", check.name, c.f32_error);
    }
}

#[test]
fn every_objective_and_gradient() {
    for (kind, samples) in ALL {
        for gradient in GRADIENTS {
            for beta in [1.0, 0.4] {
                let estimator = sampled(kind, samples, gradient);
                check(&small(), &estimator, beta, &format!("{kind} of {samples}, {gradient}, beta {beta}"));
            }
        }
    }
}

#[test]
fn every_likelihood_with_parameters_of_its_own() {
    for likelihood in ["gaussian-learned", "gaussian-per-dimension", "gaussian-predicted", "categorical:3"] {
        let config = VaeConfig { likelihood: likelihood.parse().unwrap(), heads: Heads::Joint, ..small() };
        for (kind, samples) in [ALL[2], ALL[4]] {
            for gradient in GRADIENTS {
                check(&config, &sampled(kind, samples, gradient), 1.0, &format!("{likelihood}, {kind}, {gradient}"));
            }
        }
    }
}

/// What a surrogate is for: the same gradient is not that of the value.
#[test]
fn a_gradient_that_is_not_the_value_s_is_known_to_be_none() {
    for (kind, samples) in ALL {
        for gradient in GRADIENTS {
            let estimator = sampled(kind, samples, gradient);
            let plain = gradient == GRADIENTS[0] && !kind.to_string().starts_with("piwae");
            assert_eq!(Estimator::<f64>::surrogate(&estimator), !plain, "{kind}, {gradient}");
        }
    }
}
