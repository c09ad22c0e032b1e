//! Gradients against finite differences: of the value where they are its own, else of the surrogate.

use super::{ALL, GRADIENTS, sampled, small};
use elbo::estimator::{AnyEstimator, Estimator};
use elbo::gradcheck::{check_coordinates, check_vae};
use elbo::model::{Corruption, Draw, Heads, Vae, VaeConfig, Workspace};
use elbo::tensor::{Exec, Noise, Par, Params, Slab, Stream};

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

/// The encoder sees one thing, and the likelihood is of another.
#[test]
fn corrupted_inputs() {
    let (vae, ex) = (Vae::new(&small()).unwrap(), Exec::sequential().unwrap());
    let draw = Draw { noise: Noise::new(5), stream: Stream::Check, step: 1 };
    let fill =
        |r: usize, x: &mut [f64]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((3 * r + c) % 4) as f64 / 3.0);
    let estimator = sampled(ALL[2].0, 3, GRADIENTS[0]);
    let mut found = Vec::new();
    for corruption in [Corruption::None, Corruption::Mask(0.4), Corruption::Noise(0.3)] {
        let mut params = Params::<f64>::init(vae.layout(), &Noise::new(3));
        let mut ws = Workspace::new(&vae, &params, 9, 3, &ex).corrupted(&vae, corruption);
        let mut grads = Slab::zeros(vae.layout());
        vae.loss_grad(ex.isa(), &params, 9, &fill, &draw, &estimator, 1.0, &mut ws, &mut grads);
        for entry in vae.layout().entries() {
            let plain = |slab: &Slab<f64>| slab.unpack(&entry.slot).into_raw_vec_and_offset().0;
            let (start, gradient) = (plain(params.values()), plain(&grads));
            let check = check_coordinates(&entry.name, &start, &gradient, |at| {
                params.values_mut().pack(&entry.slot, at);
                params.refresh(Par::Sequential);
                let stats = vae.objective(ex.isa(), &params, 9, &fill, &draw, &estimator, 1.0, &mut ws);
                (stats.value::<f64>(&estimator, 1.0), Default::default())
            });
            params.values_mut().pack(&entry.slot, &start);
            params.refresh(Par::Sequential);
            assert!(check.passed(), "{corruption}: {check:?}");
        }
        found.push(grads);
    }
    assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2]);
}
