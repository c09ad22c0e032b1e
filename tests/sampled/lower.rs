//! Stochastic layers between z and the data: two-level models and ladders.

use super::priors::check;
use super::{ALL, sampled, small};
use elbo::density::{GaussianProduct, LowerKind};
use elbo::estimator::PathGradient;
use elbo::gradcheck::check_coordinates;
use elbo::layer::parse_activation;
use elbo::model::{Draw, Hidden, Inference, Norm, PRESETS, Vae, VaeConfig, Workspace};
use elbo::tensor::{Buffer, Exec, Noise, Params, Stream};
use ndarray::{Array1, Array2, concatenate, s};
use rand::Rng;
use rand_distr::StandardNormal;

pub(super) const KINDS: [&str; 2] = ["hvae", "ladder"];

pub(super) fn lower(text: &str) -> LowerKind {
    text.parse().unwrap()
}

/// As few parameters as tell one from another: a check by coordinate takes the square of their number.
pub(super) fn tiny(text: &str) -> VaeConfig {
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

pub(super) const FORMS: [&str; 4] = ["hvae:2x4", "hvae:2x4,3x5", "ladder:2x4", "ladder:4x3,2x5,1x2"];

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
