//! More stochastic layers: a prior that is a VAE over the latents.

use super::priors::check;
use super::support::{bound, exec, figures_agree, same_bytes, trained};
use super::{ALL, sampled, small};
use elbo::density::{Level, Levels, PriorKind};
use elbo::estimator::{ObjectiveKind, PathGradient};
use elbo::layer::parse_activation;
use elbo::model::{Draw, Hidden, Inference, Norm, PRESETS, PriorSampler, Vae, VaeConfig, Workspace};
use elbo::tensor::{Exec, Noise, Params, Stream};
use elbo::train::TrainConfig;
use ndarray::Array1;
use rand::Rng;
use rand_distr::StandardNormal;

fn prior(text: &str) -> PriorKind {
    text.parse().unwrap()
}

#[test]
fn every_objective() {
    let checked = |text: &str, (kind, samples): (ObjectiveKind, usize), gradient| {
        let config = VaeConfig { hidden: vec![3], prior: prior(text), ..small() };
        let estimator = sampled(kind, samples, gradient);
        check(&config, &estimator, 0.6, &format!("{text}, {kind} of {samples}, {gradient}"));
    };
    for (text, objectives) in [("vae:2x4", &ALL[..]), ("vae:4x3,2x3", &ALL[1..5])] {
        objectives.iter().for_each(|&objective| checked(text, objective, PathGradient::Plain));
    }
    // Two levels, whose scores are left out, and the latents of the lower one between them.
    let (stl, dreg) = (PathGradient::StickingTheLanding, PathGradient::DoublyReparameterized);
    for (objective, gradient) in [(ALL[1], stl), (ALL[2], dreg), (ALL[4], dreg)] {
        checked("vae:2x3,2x2", objective, gradient);
    }
}

/// Gates, leaky ReLUs, whose kinks its nets have too, norms, and ways around layers that are as wide as their input.
#[test]
fn its_nets_are_built_as_the_network_s_are() {
    let base = VaeConfig { hidden: vec![3], latent: 3, prior: prior("vae:2x6,2x5"), ..PRESETS[6].config(5) };
    let leaky = parse_activation("leaky-relu:0.3").unwrap();
    let kinds = [
        VaeConfig { layer: Hidden::Gated, ..base.clone() },
        VaeConfig { layer: Hidden::Dense(leaky), residual: true, ..base.clone() },
        VaeConfig { norm: Norm::Layer, ..base.clone() },
        // Some log-variances of each level are at a bound, some are free.
        VaeConfig { log_variance: Some([-0.2, 0.15]), ..base },
    ];
    for config in kinds {
        for (kind, samples, gradient) in
            [(ALL[0].0, 1, PathGradient::Plain), (ALL[2].0, 3, PathGradient::DoublyReparameterized)]
        {
            let estimator = sampled(kind, samples, gradient);
            let what = format!("{:?} {:?} {:?}, {kind}, {gradient}", config.layer, config.norm, config.log_variance);
            check(&config, &estimator, 1.0, &what);
        }
    }
}

fn config(text: &str) -> TrainConfig {
    let mut config = TrainConfig { epochs: 8, batch_size: 25, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![20], latent: 4, prior: prior(text), ..config.vae };
    config.optimizer.learning_rate = 0.005;
    config
}

/// log N(x; m, e^v)
fn normal(x: f64, mean: f64, log_variance: f64) -> f64 {
    -0.5 * (std::f64::consts::TAU.ln() + log_variance + (x - mean).powi(2) * (-log_variance).exp())
}

/// Two hidden layers of tanh and a linear one, cut into means and log-variances, which are put between their bounds.
fn net(vae: &Vae, p: &Params<f64>, name: &str, x: &Array1<f64>) -> (Array1<f64>, Array1<f64>) {
    let plain = |name: String| p.values().unpack(&vae.layout().find(&name).unwrap().slot);
    let layer = |x: Array1<f64>, i: usize| {
        let bias: Array1<f64> = plain(format!("{name}.{i}.bias")).into_iter().collect();
        let y = plain(format!("{name}.{i}.weight")).dot(&x) + bias;
        if i < 2 { y.mapv(f64::tanh) } else { y }
    };
    let both = (0..3).fold(x.clone(), layer);
    let half = both.len() / 2;
    let [low, high] = vae.config().log_variance.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
    (both.slice(ndarray::s![..half]).to_owned(), both.slice(ndarray::s![half..]).mapv(|v| v.clamp(low, high)))
}

/// The sum of the page's second formula, from the parameters and the noise alone. In f64 it is the same to the digits of a tanh. Without
/// bounds of log-variances, and with some that most of them meet.
#[test]
fn log_p_is_the_sum_over_levels() {
    const ROWS: usize = 3;
    const SAMPLES: usize = 2;
    let (ex, estimator) = (Exec::sequential().unwrap(), sampled(ALL[2].0, SAMPLES, PathGradient::Plain));
    let mut sums = Vec::new();
    for (text, log_variance) in ["vae:2x4", "vae:4x3,2x5,1x2"]
        .into_iter()
        .flat_map(|text| [None, Some([-0.1, 0.05])].map(|bounds| (text, bounds)))
    {
        let vae = Vae::new(&VaeConfig { prior: prior(text), log_variance, ..small() }).unwrap();
        let p = Params::<f64>::init(vae.layout(), &Noise::new(1));
        let mut ws = Workspace::new(&vae, &p, ROWS, SAMPLES, &ex);
        let draw = Draw { noise: Noise::new(3), stream: Stream::Check, step: 6 };
        let fill = |r: usize, x: &mut [f64]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 2) as f64);
        vae.objective(ex.isa(), &p, ROWS, &fill, &draw, &estimator, 1.0, &mut ws);
        let [b] = ws.blocks() else { panic!("one block") };
        for i in 0..ROWS * SAMPLES {
            // Level l of row r and sample k draws by (r, k + 2⁴⁸ l).
            let noise = |level: usize, count: usize| -> Array1<f64> {
                let sequence = (i % SAMPLES) as u64 + ((level as u64) << 48);
                let mut rng = draw.noise.rng(draw.stream, draw.step, (i / SAMPLES) as u64, sequence);
                (0..count).map(|_| rng.sample::<f64, _>(StandardNormal)).collect()
            };
            assert_eq!(b.eps.rows(b.many()).row(i), noise(0, 3).as_slice().unwrap());
            let mut z = Array1::from(b.z.rows(b.many()).row(i).to_vec());
            let mut expected = 0.0;
            for (l, level) in vae.config().prior.levels().unwrap().iter().enumerate() {
                let (mean, log_variance) = net(&vae, &p, &format!("prior.{l}.encoder"), &z);
                let above = &mean + log_variance.mapv(|v| (0.5 * v).exp()) * noise(l + 1, level.latent);
                let (m, s) = net(&vae, &p, &format!("prior.{l}.decoder"), &above);
                expected += z.iter().zip(&m).zip(&s).map(|((z, m), s)| normal(*z, *m, *s)).sum::<f64>();
                let score = above.iter().zip(&mean).zip(&log_variance).map(|((z, m), v)| normal(*z, *m, *v));
                expected -= score.sum::<f64>();
                z = above;
            }
            expected += z.iter().map(|z| normal(*z, 0.0, 0.0)).sum::<f64>();
            let found = b.terms.log_pz[i];
            let what = format!("{text} {log_variance:?}: {found} {expected}");
            assert!((found - expected).abs() < 1e-11 * expected.abs().max(1.0), "{what}");
        }
        sums.push(b.terms.log_pz.iter().sum::<f64>());
    }
    // An option that changes the result.
    assert!((sums[0] - sums[1]).abs() > 1e-3 && (sums[2] - sums[3]).abs() > 1e-3, "{sums:?}");
}

/// With log-variances of −80, what is drawn of z is its mean given what is drawn above it.
#[test]
fn draws_keep_within_the_bounds() {
    let bounds = |log_variance| VaeConfig { prior: prior("vae:2x4"), log_variance, ..small() };
    let off = [None, Some([-81.0, -80.0])].map(|log_variance| {
        let vae = Vae::new(&bounds(log_variance)).unwrap();
        let p = Params::<f64>::init(vae.layout(), &Noise::new(1));
        let ex = exec(1);
        let PriorSampler::Stacked(sampler) = Inference::new(&vae, &p, &ex).prior_sampler() else { panic!("of levels") };
        let mut z = [0.0; 3];
        sampler.sample_at(1.0, &mut Noise::new(5).rng(Stream::Sample, 0, 0, 0), &mut z);
        // The noise of the top level comes first.
        let mut rng = Noise::new(5).rng(Stream::Sample, 0, 0, 0);
        let top: Array1<f64> = (0..2).map(|_| rng.sample::<f64, _>(StandardNormal)).collect();
        let (mean, _) = net(&vae, &p, "prior.0.decoder", &top);
        z.iter().zip(&mean).map(|(z, m)| (z - m).abs()).fold(0.0, f64::max)
    });
    assert!(off[0] > 0.1 && off[1] < 1e-15, "{off:?}");
}

/// 32 points in nine latents: products of two latents' noise are not averaged out, so a row is off by some tenths of a nat, of about
/// ten.
#[test]
fn inference_under_more_layers() {
    let trainer = trained(config("vae:3x12,2x8"), exec(2));
    assert_eq!(trainer.vae().stacked_prior().unwrap().levels(), 2);
    figures_agree(&trainer, 1.0);
}

#[test]
fn threads_and_instruction_sets_give_the_same_bytes() {
    let mut config = TrainConfig { epochs: 1, objective: ALL[2].0, samples: 5, ..config("vae:3x9,2x5") };
    config.gradient = PathGradient::DoublyReparameterized;
    config.vae.posterior = "iaf:2".parse().unwrap();
    config.vae.dropout = 0.2;
    same_bytes(&config);
}

#[test]
fn its_name_reads_back_and_slips_are_explained() {
    for text in ["vae:50x100", "vae:1x1,2x3,4x5,6x7"] {
        assert_eq!(prior(text).to_string(), text);
    }
    let two = Levels::new(&[Level { latent: 50, width: 100 }, Level { latent: 20, width: 50 }]).unwrap();
    assert_eq!(prior("vae:50x100,20x50"), PriorKind::Stacked(two));
    let slips = [
        ("vae", "vae:LATENTxWIDTH"),
        ("vae:", "`` is no LATENTxWIDTH"),
        ("vae:50", "`50` is no LATENTxWIDTH"),
        ("vae:50x", "`50x` is no LATENTxWIDTH"),
        ("vae:50x100,", "`` is no LATENTxWIDTH"),
        ("vae:50x0", "1 to 65536 latents and hidden units, not 50x0"),
        ("vae:65537x1", "not 65537x1"),
        ("vae:1x1,1x1,1x1,1x1,1x1", "1 to 4 levels, not 5"),
    ];
    for (text, says) in slips {
        let error = text.parse::<PriorKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let huge = VaeConfig { prior: prior("vae:65536x65536"), ..small() };
    assert!(Vae::new(&huge).unwrap_err().to_string().contains("2^31 parameters"));
}

/// The number of parameters that a configuration is refused by is the number that there are, and a step multiplies with
/// each weight three times a sample.
#[test]
fn its_parameters_are_counted() {
    for (latent, text) in [(2, "vae:3x5"), (6, "vae:4x3,2x7,1x1")] {
        let kind = prior(text);
        let of = |prior| Vae::new(&VaeConfig { latent, prior, ..small() }).unwrap();
        let (with, without) = (of(kind), of(PriorKind::StandardNormal));
        assert_eq!(kind.parameters(7, latent), with.layout().count() - without.layout().count(), "{text} of {latent}");
        let own = with.layout().entries().iter().filter(|e| e.name.starts_with("prior.") && !e.vector);
        let weights: usize = own.map(|e| e.slot.count()).sum();
        assert_eq!(with.flops_with(5) - without.flops_with(5), 2.0 * 3.0 * 5.0 * weights as f64);
    }
}

/// Few kinds of rows, whose latents lie in as many places: the bound that both are trained by is lower, by some 0.4 nats.
#[test]
fn a_second_layer_lowers_the_bound() {
    let bound = |text: &str| {
        bound(&trained(TrainConfig { epochs: 60, objective: ALL[2].0, samples: 5, ..config(text) }, exec(2)))
    };
    let (one, two) = (bound("standard"), bound("vae:2x16"));
    assert!(two < one - 0.2, "{two} {one}");
}
