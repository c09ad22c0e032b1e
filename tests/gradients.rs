//! Every layer and every preset against finite differences, in f64.

use elbo::estimator::{Elbo, FreeBits, Penalty};
use elbo::gradcheck::{Check, VaeCheck, check_layer, check_vae};
use elbo::layer::{
    Activation, AnyLayer, Chain, Concat, Dense, Gated, InitScheme, Layer, LayerNorm, Parallel, Part, Residual,
};
use elbo::model::{Heads, Hidden, Norm, PRESETS, Preset, VaeConfig};
use elbo::tensor::{Buffer, Isa, Layout, Mat, Noise, Params};
use rayon::prelude::*;
use std::sync::Arc;

const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Gelu,
    Activation::LeakyRelu(0.1),
    Activation::Elu(1.0),
    Activation::Elu(0.7),
];

/// ‖g32 − g64‖ / ‖g64‖ of any parameter. A gradient is a sum over at most 784 products of numbers that were themselves
/// sums over at most 784: some √784 · 2⁻²⁴ ≈ 2·10⁻⁶ of rounding each, in a handful of layers.
const F32_BOUND: f64 = 2e-5;

fn assert_passed(checks: &[Check], what: &str) {
    for check in checks {
        // With --nocapture: how many derivatives, and the worst of them.
        println!("compared {} worst {:.1e} {what}, {}", check.compared, check.worst, check.name);
        assert!(
            check.passed(),
            "{what}, {}: {:.1e} at {} ({} compared)",
            check.name,
            check.worst,
            check.at,
            check.compared
        );
    }
}

fn assert_vae_passed(checks: &[VaeCheck], what: &str) {
    for c in checks {
        assert_passed(std::slice::from_ref(&c.check), what);
        // Twenty coordinates near a kink for every one that is not would be a test of nothing.
        assert!(c.check.kinks <= 20 * c.check.compared, "{what}, {}: {} kinks", c.check.name, c.check.kinks);
        assert!(c.f32_error <= F32_BOUND, "{what}, {}: f32 is {:.1e} off", c.check.name, c.f32_error);
    }
}

#[test]
fn dense_with_every_activation() {
    for activation in ACTIVATIONS {
        for (inputs, outputs) in [(1, 1), (3, 5), (17, 18)] {
            let mut layout = Layout::new();
            let layer = Dense::new(&mut layout, inputs, outputs, activation, InitScheme::Torch);
            assert_passed(&check_layer(&layer, &layout, 5, 1), &format!("{activation:?} {inputs}×{outputs}"));
        }
    }
}

#[test]
fn layer_norm_with_every_activation() {
    for activation in ACTIVATIONS {
        // Of one column nothing is left but the bias, at first 0, where some activations have a kink.
        let least = if matches!(activation, Activation::Identity | Activation::Tanh) { 1 } else { 2 };
        for columns in [least, 4, 19] {
            let mut layout = Layout::new();
            let layer = LayerNorm::new(&mut layout, columns, activation);
            assert_passed(&check_layer(&layer, &layout, 5, 1), &format!("layer norm, {activation:?}, {columns}"));
        }
    }
}

/// A row's scale and offset are gone, but for ε.
#[test]
fn layer_norm_forgets_scale_and_offset() {
    let mut layout = Layout::new();
    let layer = LayerNorm::new(&mut layout, 4, Activation::Identity);
    let params = Params::<f64>::init(&layout, &Noise::new(1));
    let of = |x: [f64; 4]| {
        let (mut y, mut cache) = (Buffer::new(1, 4), Layer::<f64>::cache(&layer, 1));
        layer.forward(Isa::default(), &params, Mat::new(&x, 1, 4, 4), &mut y, &mut cache);
        y.rows(1).row(0).to_vec()
    };
    // Mean 0 and mean square 5: deviations ±3/√5 and ±1/√5, less ε/2·5 of themselves.
    let expected = [-3.0, -1.0, 1.0, 3.0].map(|x: f64| x / (5.0f64 + 1e-5).sqrt());
    for (found, expected) in of([-3.0, -1.0, 1.0, 3.0]).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-15);
    }
    for (found, expected) in of([70.0, 90.0, 110.0, 130.0]).iter().zip(expected) {
        assert!((found - expected).abs() < 2e-6, "{found}, {expected}");
    }
    assert_eq!(of([7.0; 4]), [0.0; 4]);
}

#[test]
fn residual() {
    for activation in [Activation::Tanh, Activation::Gelu, Activation::Relu] {
        let mut layout = Layout::new();
        let dense = Dense::new(&mut layout, 5, 5, activation, InitScheme::Torch);
        let around = Residual::new(Arc::new(dense));
        assert_passed(&check_layer(&around, &layout, 4, 2), &format!("residual, {activation:?}"));
    }
}

/// Both in whole models, of dense and of gated layers; the first layer of a linear encoder's width included.
#[test]
fn normalised_and_residual_networks() {
    let tanh = VaeConfig { layer: Hidden::Dense(Activation::Tanh), ..small(PRESETS[0].config(7)) };
    for layer in [Hidden::Dense(Activation::Tanh), Hidden::Dense(Activation::Gelu), Hidden::Gated] {
        for (norm, residual) in [(Norm::Layer, false), (Norm::None, true), (Norm::Layer, true)] {
            let config = VaeConfig { layer, norm, residual, hidden: vec![7, 5, 5], ..tanh.clone() };
            let checks = check_vae(&config, &Elbo::new(2, None), 1.0, 4, 3).unwrap();
            assert_vae_passed(&checks, &format!("{layer:?}, {norm:?}, residual {residual}"));
        }
    }
}

/// The same outputs are left out wherever a check evaluates the objective.
#[test]
fn networks_that_leave_outputs_out() {
    let tanh = VaeConfig { layer: Hidden::Dense(Activation::Tanh), ..small(PRESETS[0].config(7)) };
    for layer in [Hidden::Dense(Activation::Tanh), Hidden::Gated] {
        for (norm, residual) in [(Norm::None, false), (Norm::Layer, true)] {
            let config = VaeConfig { layer, norm, residual, dropout: 0.4, hidden: vec![7, 5, 5], ..tanh.clone() };
            let checks = check_vae(&config, &Elbo::new(2, None), 1.0, 4, 3).unwrap();
            assert_vae_passed(&checks, &format!("{layer:?}, {norm:?}, residual {residual}"));
            let whole = check_vae(&VaeConfig { dropout: 0.0, ..config }, &Elbo::new(2, None), 1.0, 4, 3).unwrap();
            assert_ne!(format!("{checks:?}"), format!("{whole:?}"), "something was left out");
        }
    }
}

/// Layers of different kinds with columns between them that go through as they are.
#[test]
fn parallel() {
    let mut layout = Layout::new();
    let a = layout.scope("a", |l| Dense::new(l, 4, 3, Activation::Relu, InitScheme::He));
    let b = layout.scope("b", |l| Gated::new(l, 17, 2, InitScheme::Torch));
    let parts = [Part::Keep(2), Part::Through(Arc::new(a)), Part::Keep(1), Part::Through(Arc::new(b))];
    let parallel = Parallel::new(parts.to_vec());
    assert_eq!((Layer::<f64>::inputs(&parallel), Layer::<f64>::outputs(&parallel)), (24, 8));
    assert_passed(&check_layer(&parallel, &layout, 5, 2), "parallel");
}

#[test]
fn gated_chain_and_concat() {
    let mut layout = Layout::new();
    let gated = Gated::new(&mut layout, 4, 3, InitScheme::Glorot);
    assert_passed(&check_layer(&gated, &layout, 5, 2), "gated");

    let mut layout = Layout::new();
    let layers: Vec<Arc<dyn AnyLayer>> = vec![
        layout.scope("0", |l| Arc::new(Dense::new(l, 4, 6, Activation::Gelu, InitScheme::He)) as Arc<dyn AnyLayer>),
        layout.scope("1", |l| Arc::new(Gated::new(l, 6, 5, InitScheme::Torch)) as Arc<dyn AnyLayer>),
        layout.scope("2", |l| Arc::new(Dense::new(l, 5, 2, Activation::Tanh, InitScheme::Torch)) as Arc<dyn AnyLayer>),
    ];
    assert_passed(&check_layer(&Chain::new(layers), &layout, 3, 3), "chain");

    let mut layout = Layout::new();
    let layers: Vec<Arc<dyn AnyLayer>> = vec![
        layout.scope("a", |l| {
            Arc::new(Dense::new(l, 4, 2, Activation::Softplus, InitScheme::Torch)) as Arc<dyn AnyLayer>
        }),
        layout.scope("b", |l| {
            Arc::new(Dense::new(l, 4, 3, Activation::Identity, InitScheme::Torch)) as Arc<dyn AnyLayer>
        }),
    ];
    assert_passed(&check_layer(&Concat::new(layers), &layout, 3, 4), "concat");
}

fn small(config: VaeConfig) -> VaeConfig {
    VaeConfig { inputs: 7, hidden: config.hidden.iter().map(|h| h / 100 + 3).collect(), latent: 3, ..config }
}

#[test]
fn every_preset_by_coordinate_at_small_shapes() {
    for preset in &PRESETS {
        let checks = check_vae(&small(preset.config(7)), &Elbo::new(1, None), 1.0, 5, 5).unwrap();
        assert_vae_passed(&checks, preset.name);
    }
}

#[test]
fn every_preset_along_directions_at_full_size() {
    PRESETS.par_iter().for_each(|preset| {
        let inputs = if preset.name == "tabular" { 2 } else { 784 };
        let checks = check_vae(&preset.config(inputs), &Elbo::new(1, None), 1.0, 2, 6).unwrap();
        assert_vae_passed(&checks, preset.name);
    });
}

#[test]
fn every_likelihood_head_style_and_objective() {
    let base = small(PRESETS[0].config(7));
    let tanh = VaeConfig { layer: Hidden::Dense(Activation::Tanh), ..base };
    let likelihoods = [
        "bernoulli",
        "gaussian",
        "gaussian:0.1",
        "gaussian-learned",
        "gaussian-per-dimension",
        "gaussian-predicted",
        "categorical:3",
        "continuous-bernoulli",
        "laplace-predicted",
        "student-t",
        "poisson",
        "zero-inflated-negative-binomial",
        "multinomial",
        "discretized-logistic",
        "beta-binomial",
    ];
    for likelihood in likelihoods {
        for heads in [Heads::Joint, Heads::Separate] {
            let config = VaeConfig { likelihood: likelihood.parse().unwrap(), heads, ..tanh.clone() };
            let estimators =
                [Elbo::new(1, None), Elbo::new(3, None), Elbo::new(1, Some(FreeBits { lambda: 0.05, group: 2 }))];
            for (estimator, beta) in estimators.iter().zip([1.0, 0.3, 4.0]) {
                let checks = check_vae(&config, estimator, beta, 4, 7).unwrap();
                assert_vae_passed(&checks, &format!("{likelihood} {heads:?} {estimator:?} beta {beta}"));
            }
        }
    }
}

/// Bounds so narrow that some log-variances are at each of them, and some between.
#[test]
fn bounded_log_variances() {
    for heads in [Heads::Joint, Heads::Separate] {
        let config = VaeConfig { log_variance: Some([-0.1, 0.05]), heads, ..small(PRESETS[6].config(7)) };
        let free = VaeConfig { log_variance: None, ..config.clone() };
        let of = |config| check_vae(config, &Elbo::new(2, None), 1.0, 6, 7).unwrap();
        assert_vae_passed(&of(&config), &format!("bounds, {heads:?}"));
        assert_ne!(of(&config).last().unwrap().check.at, of(&free).last().unwrap().check.at, "they bound something");
    }
}

/// Penalties of the batch, alone and beside what else couples its rows; of a single row there is none.
#[test]
fn penalties_of_the_batch() {
    let config = small(PRESETS[0].config(7));
    let config = VaeConfig { layer: Hidden::Dense(Activation::Tanh), log_variance: Some([-6.0, 2.0]), ..config };
    let free_bits = Some(FreeBits { lambda: 0.05, group: 2 });
    for text in ["tc:5", "mmd:10", "mmd-gaussian:30"] {
        let penalty: Penalty = text.parse().unwrap();
        for (free_bits, beta, rows) in [(None, 1.0, 6), (None, 0.0, 2), (free_bits, 4.0, 5)] {
            let checks = check_vae(&config, &Elbo::new(1, free_bits).with_penalty(penalty, 40), beta, rows, 9).unwrap();
            assert_vae_passed(&checks, &format!("{text}, beta {beta}, {rows} rows"));
        }
        let of = |elbo: Elbo| check_vae(&config, &elbo, 1.0, 1, 9).unwrap();
        assert_eq!(of(Elbo::default().with_penalty(penalty, 40)), of(Elbo::default()), "{text} of a single row");
    }
}

#[test]
fn no_hidden_layer_and_one_latent() {
    let config = VaeConfig { hidden: vec![], latent: 1, ..small(PRESETS[0].config(7)) };
    assert_vae_passed(&check_vae(&config, &Elbo::new(1, None), 1.0, 3, 8).unwrap(), "linear");
}

/// Of a likelihood whose value is a sum of terms of hundreds of nats that cancel, which round by more than it tells.
#[test]
fn values_that_round_more_than_they_tell() {
    for seed in 1..=8 {
        let base = Preset::named("tabular").unwrap().config(12);
        let config = VaeConfig { hidden: vec![9, 9], latent: 3, likelihood: "beta-binomial".parse().unwrap(), ..base };
        let checks = check_vae(&config, &Elbo::new(1, None), 1.0, 2, seed).unwrap();
        checks.iter().for_each(|c| assert_passed(std::slice::from_ref(&c.check), &format!("seed {seed}")));
    }
}
