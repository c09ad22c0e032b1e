//! Stochastic layers between z and the data: two-level models and ladders.

use super::priors::check;
use super::{ALL, sampled, small};
use elbo::data::Dataset;
use elbo::density::{GaussianProduct, LowerKind, PosteriorKind, PriorKind};
use elbo::estimator::{Bound, Estimator, ObjectiveKind, PathGradient};
use elbo::gradcheck::check_coordinates;
use elbo::layer::parse_activation;
use elbo::model::{Draw, Hidden, Inference, Norm, PRESETS, Score, Vae, VaeConfig, Workspace};
use elbo::tensor::{Buffer, Exec, Isa, Noise, Params, Precision, Stream};
use elbo::train::{TrainConfig, Trainer};
use ndarray::{Array1, Array2, concatenate, s};
use rand::Rng;
use rand_distr::StandardNormal;

const KINDS: [&str; 2] = ["hvae", "ladder"];

fn lower(text: &str) -> LowerKind {
    text.parse().unwrap()
}

/// As few parameters as tell one from another: a check by coordinate takes the square of their number.
fn tiny(text: &str) -> VaeConfig {
    VaeConfig { hidden: vec![2], latent: 2, lower: lower(text), ..PRESETS[6].config(3) }
}

#[test]
fn every_objective() {
    // What a ladder has not is another test's.
    let some = [ALL[0], ALL[2], ALL[5]];
    for (text, objectives) in
        [("hvae:1x2", &ALL[..]), ("ladder:1x2", &some), ("hvae:2x2,1x2", &ALL[1..2]), ("ladder:2x2,1x2", &ALL[1..2])]
    {
        for &(kind, samples) in objectives {
            let estimator = sampled(kind, samples, PathGradient::Plain);
            check(&tiny(text), &estimator, 0.6, &format!("{text}, {kind} of {samples}"));
        }
    }
}

/// Gates, leaky ReLUs, norms, ways around layers as wide as their input, outputs left out, no hidden layer at all, and bounds that
/// some log-variances meet, whose kinks all networks have.
#[test]
fn its_nets_are_built_as_the_network_s_are() {
    let leaky = parse_activation("leaky-relu:0.3").unwrap();
    for kind in KINDS {
        let base = tiny(&format!("{kind}:1x2"));
        let kinds = [
            VaeConfig { layer: Hidden::Gated, dropout: 0.3, ..base.clone() },
            VaeConfig {
                layer: Hidden::Dense(leaky),
                residual: true,
                hidden: vec![3, 2],
                ..tiny(&format!("{kind}:1x2,2x3"))
            },
            // Of two columns a norm leaves but a sign, and of none that are left in, no direction.
            VaeConfig { norm: Norm::Layer, ..VaeConfig { hidden: vec![3], ..tiny(&format!("{kind}:1x3")) } },
            VaeConfig { hidden: vec![], ..base.clone() },
            VaeConfig { log_variance: Some([-0.2, 0.3]), ..base },
        ];
        for config in kinds {
            check(&config, &sampled(ALL[2].0, 2, PathGradient::Plain), 1.0, &format!("{config:?}"));
        }
    }
}

/// Whatever z is drawn from and compared with; PIWAE tells the networks apart, where there is no doubt to which a level's belong.
#[test]
fn under_every_prior_and_posterior_of_z() {
    for kind in KINDS {
        let base = tiny(&format!("{kind}:1x2"));
        let configs = ["mixture:2", "vamp:3", "flow:1:2", "exemplar:6:2", "vae:1x2"]
            .map(|prior| VaeConfig { prior: prior.parse().unwrap(), ..base.clone() });
        let others = ["full", "planar:1", "iaf:1"]
            .map(|posterior| VaeConfig { posterior: posterior.parse().unwrap(), ..base.clone() });
        for config in configs.into_iter().chain(others) {
            let (objective, samples) = if kind == "hvae" { ALL[4] } else { (ALL[2].0, 2) };
            let estimator = sampled(objective, samples, PathGradient::Plain);
            let what = format!("{} {} {}, {objective}", config.lower, config.prior, config.posterior);
            check(&config, &estimator, 0.8, &what);
        }
    }
}

/// log N(x; m, e^v)
fn normal(x: f64, mean: f64, log_variance: f64) -> f64 {
    -0.5 * (std::f64::consts::TAU.ln() + log_variance + (x - mean).powi(2) * (-log_variance).exp())
}

/// A model of dense tanh layers, computed layer by layer from its parameters' names.
struct Plain<'a> {
    vae: &'a Vae,
    p: &'a Params<f64>,
}

type Pair = (Array1<f64>, Array1<f64>);

impl Plain<'_> {
    fn linear(&self, name: &str, x: &Array1<f64>) -> Array1<f64> {
        let plain = |name: String| self.p.values().unpack(&self.vae.layout().find(&name).unwrap().slot);
        let bias: Array1<f64> = plain(format!("{name}.bias")).into_iter().collect();
        plain(format!("{name}.weight")).dot(x) + bias
    }
    fn tanh(&self, name: &str, x: &Array1<f64>) -> Array1<f64> {
        self.linear(name, x).mapv(f64::tanh)
    }
    fn bounded(&self, both: Array1<f64>) -> Pair {
        let [low, high] = self.vae.config().log_variance.unwrap_or([-6.0, 2.0]);
        let half = both.len() / 2;
        (both.slice(s![..half]).to_owned(), both.slice(s![half..]).mapv(|v| v.clamp(low, high)))
    }
    fn is_ladder(&self) -> bool {
        matches!(self.vae.config().lower, LowerKind::Ladder(_))
    }
    fn levels(&self) -> usize {
        self.vae.lower().unwrap().levels()
    }
    /// q(z|x), and of a ladder each level's evidence.
    fn encode(&self, x: &Array1<f64>) -> (Pair, Vec<Pair>) {
        let (mut d, mut evidence) = (self.tanh("encoder.0", x), Vec::new());
        for l in (0..self.levels()).rev().filter(|_| self.is_ladder()) {
            evidence.insert(0, self.bounded(self.linear(&format!("encoder.evidence.{l}"), &d)));
            d = self.tanh(&format!("encoder.up.{l}.1"), &self.tanh(&format!("encoder.up.{l}.0"), &d));
        }
        let (mean, mut v) = (self.linear("encoder.mean", &d), self.linear("encoder.log_variance", &d));
        if let Some([low, high]) = self.vae.config().log_variance {
            v.mapv_inplace(|v| v.clamp(low, high));
        }
        ((mean, v), evidence)
    }
    /// p(z_l|z_{l+1}).
    fn prior(&self, l: usize, above: &Array1<f64>) -> Pair {
        let name = |i: usize| format!("lower.{l}.prior.{i}");
        self.bounded(self.linear(&name(2), &self.tanh(&name(1), &self.tanh(&name(0), above))))
    }
    /// q(z_l|x, z_{l+1}).
    fn posterior(&self, l: usize, x: &Array1<f64>, above: &Array1<f64>, evidence: &[Pair]) -> Pair {
        if let Some((mean, v)) = evidence.get(l) {
            let (m, s) = self.prior(l, above);
            let precision = v.mapv(|v| (-v).exp()) + s.mapv(|s| (-s).exp());
            let sum = mean * v.mapv(|v| (-v).exp()) + m * s.mapv(|s| (-s).exp());
            return (sum / &precision, -precision.mapv(f64::ln));
        }
        let features = self.tanh(&format!("encoder.features.{l}"), x);
        let name = |what: &str| format!("lower.{l}.posterior.{what}");
        let both = concatenate![ndarray::Axis(0), features, self.tanh(&name("above"), above)];
        self.bounded(self.linear(&name("out"), &self.tanh(&name("joint"), &both)))
    }
    /// The logits of x, of the latents from z down.
    fn decode(&self, latents: &[Array1<f64>]) -> Array1<f64> {
        let hidden = if self.is_ladder() {
            self.tanh("decoder.0", latents.last().unwrap())
        } else {
            let each = latents.iter().enumerate().map(|(l, z)| self.tanh(&format!("decoder.0.{l}"), z));
            each.reduce(|a, b| concatenate![ndarray::Axis(0), a, b]).unwrap()
        };
        self.linear("decoder.1", &hidden)
    }
}

const FORMS: [&str; 4] = ["hvae:2x4", "hvae:2x4,3x5", "ladder:2x4", "ladder:4x3,2x5,1x2"];

/// All three terms of each sample, from the parameters and the noise alone: in f64 the same to the digits of a tanh. With bounds
/// that no log-variance meets, and some that most do.
#[test]
fn the_terms_are_the_sums_over_levels() {
    const ROWS: usize = 3;
    const SAMPLES: usize = 2;
    let (ex, estimator) = (Exec::sequential().unwrap(), sampled(ALL[2].0, SAMPLES, PathGradient::Plain));
    for (text, log_variance) in FORMS.iter().flat_map(|text| [None, Some([-0.1, 0.05])].map(|bounds| (*text, bounds))) {
        let vae = Vae::new(&VaeConfig { lower: lower(text), log_variance, ..small() }).unwrap();
        let p = Params::<f64>::init(vae.layout(), &Noise::new(1));
        let plain = Plain { vae: &vae, p: &p };
        let mut ws = Workspace::new(&vae, &p, ROWS, SAMPLES, &ex);
        let draw = Draw { noise: Noise::new(3), stream: Stream::Check, step: 6 };
        let fill = |r: usize, x: &mut [f64]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 2) as f64);
        vae.objective(ex.isa(), &p, ROWS, &fill, &draw, &estimator, 1.0, &mut ws);
        let [b] = ws.blocks() else { panic!("one block") };
        let mut kl = [[0.0; 4]; ROWS];
        for i in 0..ROWS * SAMPLES {
            // Level l below z, of row r and sample k, draws by (r, k + 2⁴⁸ (15 + l)).
            let noise = |level: usize, count: usize| -> Array1<f64> {
                let sequence = (i % SAMPLES) as u64 + ((level as u64) << 48);
                let mut rng = draw.noise.rng(draw.stream, draw.step, (i / SAMPLES) as u64, sequence);
                (0..count).map(|_| rng.sample::<f64, _>(StandardNormal)).collect()
            };
            let at = |(mean, v): &Pair, eps: Array1<f64>| mean + v.mapv(|v| (0.5 * v).exp()) * eps;
            let log = |z: &Array1<f64>, (mean, v): &Pair| {
                z.iter().zip(mean).zip(v).map(|((z, m), v)| normal(*z, *m, *v)).sum::<f64>()
            };
            let mut x = Array1::zeros(7);
            fill(i / SAMPLES, x.as_slice_mut().unwrap());
            let (q, evidence) = plain.encode(&x);
            let mut latents = vec![at(&q, noise(0, 3))];
            let (mut log_p, mut log_q) =
                (log(&latents[0], &(Array1::zeros(3), Array1::zeros(3))), log(&latents[0], &q));
            kl[i / SAMPLES][0] += (log_q - log_p) / SAMPLES as f64;
            for (l, level) in vae.config().lower.levels().unwrap().iter().enumerate() {
                let (q, p) = (plain.posterior(l, &x, &latents[l], &evidence), plain.prior(l, &latents[l]));
                let z = at(&q, noise(16 + l, level.latent));
                kl[i / SAMPLES][1 + l] += (log(&z, &q) - log(&z, &p)) / SAMPLES as f64;
                (log_p, log_q) = (log_p + log(&z, &p), log_q + log(&z, &q));
                latents.push(z);
            }
            let logits = plain.decode(&latents);
            let log_px: f64 = logits.iter().zip(&x).map(|(t, x)| x * t - (1.0 + t.exp()).ln()).sum();
            for (what, found, expected) in
                [("x", b.terms.log_px[i], log_px), ("p", b.terms.log_pz[i], log_p), ("q", b.terms.log_qz[i], log_q)]
            {
                assert!(
                    (found - expected).abs() < 1e-11 * expected.abs().max(1.0),
                    "{text} {what}: {found} {expected}"
                );
            }
        }
        // Each level's part of the KL; in f64, too, a difference of some tens of nats.
        assert_eq!(vae.kl_parts(), 1 + plain.levels());
        for (r, expected) in kl.iter().enumerate() {
            for (found, expected) in b.terms.kl.rows(ROWS).row(r).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-11, "{text}: {found} {expected}");
            }
        }
        // What is decoded from z alone goes through the means of p(z_l|z_{l+1}).
        let mut inference = Inference::new(&vae, &p, &ex);
        let z = Array2::from_shape_fn((2, 3), |(r, c)| r as f64 - 0.4 * c as f64);
        let (mut found, mut hot) = (Array2::zeros((2, 7)), Array2::zeros((2, 7)));
        inference.decode_into(z.view(), found.view_mut());
        let latent = |r: usize, to: &mut [f64]| to.iter_mut().zip(z.row(r)).for_each(|(to, z)| *to = *z);
        let write = |r: usize, _: &[f64], mean: &[f64]| hot.row_mut(r).as_slice_mut().unwrap().copy_from_slice(mean);
        inference.generate(2, &latent, (&draw, 1.0), write);
        for (z, (found, hot)) in z.rows().into_iter().zip(found.rows().into_iter().zip(hot.rows())) {
            let mut latents = vec![z.to_owned()];
            (0..plain.levels()).for_each(|l| latents.push(plain.prior(l, &latents[l]).0));
            let expected = plain.decode(&latents).mapv(|t| 1.0 / (1.0 + (-t).exp()));
            for ((found, expected), hot) in found.iter().zip(&expected).zip(hot) {
                assert!(
                    (found - expected).abs() < 1e-12 && (hot - expected).abs() > 1e-9,
                    "{text}: {found} {expected}"
                );
            }
        }
    }
}

fn buffer(rows: &[f64], cols: usize) -> Buffer<f64> {
    let mut buffer = Buffer::new(rows.len() / cols, cols);
    buffer.view_mut(rows.len() / cols).iter_mut().zip(rows).for_each(|(to, x)| *to = *x);
    buffer
}

/// The product's density is that of the product of both, up to a constant of which a quadrature says the value; its KL to the
/// expectation is the Gaussian formula's; and precisions that overflow do no harm.
#[test]
fn the_product_of_two_gaussians() {
    let product = GaussianProduct::new(1);
    for (evidence, expected) in [([0.7, -0.8], [-0.3, 0.4]), ([2.0, 2.0], [-1.0, -6.0]), ([-0.5, 0.1], [0.4, 0.1])] {
        let (e, p, mut out) = (buffer(&evidence, 2), buffer(&expected, 2), Buffer::new(1, 2));
        product.forward(e.rows(1), p.rows(1), out.rows_mut(1));
        let [mean, v] = [out.rows(1).row(0)[0], out.rows(1).row(0)[1]];
        let [log_e, log_p] = [evidence, expected].map(|[mean, v]| move |z: f64| normal(z, mean, v));
        // The trapezoidal rule is exact to all digits on what has fallen to nothing at both ends.
        let step = 1e-3;
        let points = || (-20_000..20_000).map(|i| f64::from(i) * step);
        let mass: f64 = points().map(|z| (log_e(z) + log_p(z)).exp() * step).sum();
        for z in [-1.0, 0.0, 0.3, 2.0] {
            let direct = log_e(z) + log_p(z) - mass.ln();
            assert!((normal(z, mean, v) - direct).abs() < 1e-9 * direct.abs().max(1.0), "{z}: {direct}");
        }
        let kl: f64 = points().map(|z| normal(z, mean, v).exp() * (normal(z, mean, v) - log_p(z)) * step).sum();
        let [m, s] = expected;
        let closed = 0.5 * (s - v - 1.0 + (v - s).exp() + (mean - m).powi(2) * (-s).exp());
        assert!((kl - closed).abs() < 1e-9, "{kl} {closed}");
    }
    let (e, p, mut out) = (buffer(&[3.0, -2000.0], 2), buffer(&[1.0, 2000.0], 2), Buffer::new(1, 2));
    product.forward(e.rows(1), p.rows(1), out.rows_mut(1));
    assert_eq!(out.rows(1).row(0), [3.0, -2000.0], "all of the evidence");
}

/// Four samples of two rows, three latents each: by the evidence, of which two samples share a row, and by the expectation.
#[test]
fn the_product_s_gradients() {
    let mut rng = Noise::new(1).rng(Stream::Check, 0, 0, 0);
    let mut some = |n: usize| (0..n).map(|_| rng.random_range(-1.5..1.5)).collect::<Vec<f64>>();
    let (evidence, expected, weights) = (some(2 * 6), some(4 * 6), some(4 * 6));
    let product = GaussianProduct::new(3);
    let value = |evidence: &[f64], expected: &[f64]| {
        let mut out = Buffer::new(4, 6);
        product.forward(buffer(evidence, 6).rows(2), buffer(expected, 6).rows(4), out.rows_mut(4));
        (out.view(4).iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>(), Default::default())
    };
    // Both add to what is there.
    let (mut d_evidence, mut d_expected) = (buffer(&[1.0; 12], 6), buffer(&[2.0; 24], 6));
    let (e, p, d) = (buffer(&evidence, 6), buffer(&expected, 6), buffer(&weights, 6));
    product.backward(e.rows(2), p.rows(4), d.rows(4), d_evidence.rows_mut(2), d_expected.rows_mut(4));
    let less = |d: &Buffer<f64>, rows, there: f64| d.view(rows).iter().map(|d| d - there).collect::<Vec<f64>>();
    let by_evidence = check_coordinates("evidence", &evidence, &less(&d_evidence, 2, 1.0), |at| value(at, &expected));
    let by_expected = check_coordinates("expected", &expected, &less(&d_expected, 4, 2.0), |at| value(&evidence, at));
    assert!(by_evidence.passed() && by_expected.passed(), "{by_evidence:?} {by_expected:?}");
}

fn data(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| if (i * 7 + j * j + i * j) % 5 < 2 { 1.0 } else { 0.0 };
    Dataset::from_array(Array2::from_shape_fn((rows, 40), value).view()).unwrap().with_test(50).unwrap()
}

fn config(text: &str) -> TrainConfig {
    let mut config = TrainConfig { epochs: 8, batch_size: 25, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![20], latent: 4, lower: lower(text), ..config.vae };
    config.optimizer.learning_rate = 0.005;
    config
}

fn trained(config: TrainConfig, exec: Exec) -> Trainer {
    let mut trainer = Trainer::new(config, data(150), exec).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer
}

fn exec(threads: usize) -> Exec {
    Exec::with_isa(Isa::default(), threads).unwrap()
}

/// A trained model's figures agree with each other, and what is said without draws is near them: under a mixture, too, whose components
/// the quadrature takes into account.
#[test]
fn inference_over_all_levels() {
    for (text, prior) in [("hvae:3x12,2x8", "standard"), ("ladder:3x12", "vamp:5"), ("hvae:3x12", "exemplar:30:5")] {
        let mut config = config(text);
        config.vae.prior = prior.parse().unwrap();
        let trainer = trained(config, exec(2));
        let (vae, mut inference) = (trainer.vae(), trainer.inference());
        let view = trainer.data().test().unwrap();
        let fill = |r: usize, x: &mut [f32]| view.gather(r, x);
        let draw = Draw { noise: Noise::new(1), stream: Stream::Evaluate, step: 0 };
        let stats = inference.elbo(50, &fill, &draw);
        let by_level = vae.kl_by_level(&stats);
        assert_eq!(by_level.len(), 1 + vae.lower().unwrap().levels());
        assert!((by_level.iter().sum::<f64>() - stats.mean_kl()).abs() < 1e-9, "{by_level:?}");
        let (mut one, mut many, mut sampled) = (0.0, 0.0, Vec::new());
        inference.importance(50, &fill, &draw, 1, |_, bounds| one -= bounds.log_likelihood() / 50.0);
        inference.importance(50, &fill, &draw, 100, |_, bounds| many -= bounds.log_likelihood() / 50.0);
        assert!((one - stats.neg_elbo()).abs() < 1e-4 && many < one, "{one} {many} {}", stats.neg_elbo());

        inference.sampled_score(50, &fill, &draw, 1000, |_, score| sampled.push(score.kl));
        let mut scores: Vec<Score> = Vec::new();
        inference.score(50, &fill, |_, score| scores.push(score));
        // 32 points in up to nine latents: products of two latents' noise are not averaged out, so a row is off by some tenths of
        // a nat, of about ten.
        let apart: f64 = scores.iter().zip(&sampled).map(|(a, b)| (a.kl - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1.0, "{text}: {apart}");
        // It is the row's own, wherever it stands.
        let mut turned: Vec<Score> = Vec::new();
        inference.score(50, &|r: usize, x: &mut [f32]| view.gather(49 - r, x), |_, score| turned.push(score));
        turned.reverse();
        assert_eq!(turned, scores);
        // One draw a row through all levels is as far from the reconstruction by all means as they vary, and no further.
        let reconstruction = scores.iter().map(|s| s.reconstruction).sum::<f64>() / 50.0;
        assert!(
            (stats.mean_reconstruction() - reconstruction).abs() < 0.2 * reconstruction,
            "{text}: {reconstruction}"
        );
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bytes() {
    for text in ["hvae:3x9,2x5", "ladder:3x9,2x5"] {
        let bits = |precision, exec: Exec| {
            let mut config = TrainConfig { epochs: 1, precision, objective: ALL[2].0, samples: 5, ..config(text) };
            config.vae.dropout = 0.2;
            config.vae.prior = PriorKind::Vamp(3);
            config.fit_precision(exec.isa());
            let trainer = trained(config, exec);
            trainer.params().values().data().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        for precision in [Precision::F32, Precision::Bf16] {
            let expected = bits(precision, exec(1));
            for threads in [2, 7] {
                assert!(bits(precision, exec(threads)) == expected, "{threads} threads in {precision}, {text}");
            }
        }
        let expected = bits(Precision::F32, exec(1));
        for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
            assert!(bits(Precision::F32, Exec::with_isa(isa, 2).unwrap()) == expected, "{}, {text}", isa.name());
        }
    }
}

#[test]
fn its_name_reads_back_and_slips_are_explained() {
    for text in ["none", "hvae:40x300", "ladder:1x1,2x3,4x5,6x7"] {
        assert_eq!(lower(text).to_string(), text);
    }
    let slips = [
        ("hvae", "hvae:LATENTxWIDTH"),
        ("lader:4x5", "expected none, hvae:LATENTxWIDTH or ladder:LATENTxWIDTH"),
        ("hvae:", "`` is no LATENTxWIDTH"),
        ("ladder:50", "`50` is no LATENTxWIDTH\n  hint: ladder:40x300"),
        ("hvae:50x0", "1 to 65536 latents and hidden units, not 50x0\n  hint: hvae:40x300"),
        ("hvae:1x1,1x1,1x1,1x1,1x1", "1 to 4 levels, not 5"),
    ];
    for (text, says) in slips {
        let error = text.parse::<LowerKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    for kind in KINDS {
        let huge = VaeConfig { lower: lower(&format!("{kind}:65536x65536")), ..small() };
        assert!(Vae::new(&huge).unwrap_err().to_string().contains("2^31 parameters"));
        let given = VaeConfig { lower: lower(&format!("{kind}:2x3")), condition: 2, ..small() };
        let error = Vae::new(&given).unwrap_err().to_string();
        assert!(error.contains("know nothing of a condition") && error.contains("leave out --lower"), "{error}");
        for gradient in [PathGradient::StickingTheLanding, PathGradient::DoublyReparameterized] {
            let config = TrainConfig { objective: ALL[2].0, samples: 5, gradient, ..config(&format!("{kind}:3x9")) };
            let error = Trainer::new(config, data(60), exec(1)).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("scores would have to go") && error.contains("leave --gradient out"), "{error}");
        }
    }
    let piwae = ObjectiveKind::Weighted(Bound::Piwae(2));
    let of = |text: &str| Trainer::new(TrainConfig { objective: piwae, samples: 4, ..config(text) }, data(60), exec(1));
    let error = of("ladder:3x9").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("piwae:2 weights") && error.contains("--lower hvae:40x300"), "{error}");
    assert!(of("hvae:3x9").is_ok());
}

/// Whoever builds an estimator by hand is told, too.
#[test]
#[should_panic(expected = "has its weight")]
fn another_weight_of_a_ladder_is_a_programmer_s_error() {
    let config = VaeConfig { lower: lower("ladder:2x3"), ..small() };
    check(&config, &sampled(ObjectiveKind::Weighted(Bound::Piwae(2)), 4, PathGradient::Plain), 1.0, "");
}

/// The number of parameters that a configuration is refused by is the number that there are. A step multiplies with each weight
/// three times a sample, but for those that look at x alone.
#[test]
fn its_parameters_are_counted() {
    for text in FORMS.into_iter().chain(["hvae:6x4,2x7,1x1"]) {
        for hidden in [vec![], vec![5], vec![5, 6]] {
            let of = |text| Vae::new(&VaeConfig { hidden: hidden.clone(), lower: lower(text), ..small() }).unwrap();
            let (with, without) = (of(text), of("none"));
            let encoded = hidden.last().copied().unwrap_or(7);
            let own = with.config().lower.parameters(7, encoded, 3);
            let of_levels = |e: &&elbo::tensor::Entry| {
                let of_ladder = ["encoder.up.", "encoder.evidence.", "encoder.features.", "lower."];
                of_ladder.iter().any(|name| e.name.starts_with(name))
            };
            let found: usize = with.layout().entries().iter().filter(of_levels).map(|e| e.slot.count()).sum();
            assert_eq!(own, found, "{text} of {hidden:?}");
            let flops = |vae: &Vae, k| vae.flops_with(k);
            assert!(flops(&with, 1) > flops(&without, 1));
            let more = flops(&with, 5) - flops(&with, 1);
            let weights = with.layout().entries().iter().filter(|e| !e.vector && !e.name.starts_with("encoder."));
            assert_eq!(more, 4.0 * 6.0 * weights.map(|e| e.slot.count()).sum::<usize>() as f64, "{text}");
        }
    }
}

/// Few kinds of rows, whose latents lie in as many places: a second level lowers the bound that both are trained by.
#[test]
fn a_second_level_lowers_the_bound() {
    let bound = |text: &str| {
        let trainer = trained(TrainConfig { epochs: 60, objective: ALL[2].0, samples: 5, ..config(text) }, exec(2));
        let (view, estimator) = (trainer.data().test().unwrap(), trainer.config().estimator());
        let draw = Draw { noise: Noise::new(1), stream: Stream::Evaluate, step: 0 };
        let fill = |r: usize, x: &mut [f32]| view.gather(r, x);
        let stats = trainer.inference().objective(50, &fill, &draw, &estimator, 1.0);
        assert!(Estimator::<f32>::sampled(&estimator));
        stats.value::<f32>(&estimator, 1.0)
    };
    let (one, two, ladder) = (bound("none"), bound("hvae:4x16"), bound("ladder:4x16"));
    println!("one level {one}, two {two}, ladder {ladder}");
    assert!(two < one - 0.2 && ladder < one, "{one} {two} {ladder}");
}

/// A posterior of z that is no diagonal Gaussian has no KL without draws here either.
#[test]
fn a_score_without_draws_is_of_diagonal_posteriors() {
    let of = |posterior| VaeConfig { posterior, lower: lower("hvae:2x3"), ..small() };
    assert!(of(PosteriorKind::Diagonal).kl_without_draws() && !of(PosteriorKind::Full).kl_without_draws());
}

/// The table's row is the network of the authors' code (github.com/sajadn/Exemplar-VAE, `models/HVAE_2level.py`), layer by layer.
#[test]
fn the_published_two_level_model() {
    use elbo::task::reproduce::Table;
    let dense = |inputs: usize, outputs: usize| inputs * outputs + outputs;
    let gated = |inputs, outputs| 2 * dense(inputs, outputs);
    let heads = 2 * dense(300, 40);
    let upper = gated(784, 300) + gated(300, 300) + heads;
    let lower = gated(784, 300) + gated(40, 300) + gated(600, 300) + heads;
    let prior = gated(40, 300) + gated(300, 300) + heads;
    let decoder = 2 * gated(40, 300) + gated(600, 300) + dense(300, 784);
    for (table, published) in
        [("exemplar-fashion", [227.37, 226.72, 226.53]), ("exemplar-mnist", [82.39, 81.56, 81.22])]
    {
        let table = Table::named(table).unwrap();
        for ((row, published), more) in
            ["hvae", "hvae-vamp", "hvae-exemplar"].iter().zip(published).zip([0, 500 * 784, 1])
        {
            let row = table.row(row).unwrap();
            let config = table.protocol(row).network(784).unwrap();
            assert_eq!((row.published, config.log_variance), (Some(published), Some([-6.0, 2.0])));
            let vae = Vae::new(&config).unwrap();
            assert_eq!(vae.layout().count(), upper + lower + prior + decoder + more, "{}", row.name);
        }
    }
}
