//! Every likelihood learns, resumes to the byte, and generates rows of its own kind.

use crate::support::{At, assert_same};
use elbo::Result;
use elbo::data::{Binarize, Dataset, Rows, View};
use elbo::density::{Domain, LikelihoodKind};
use elbo::model::Inference;
use elbo::task::{self, Examples};
use elbo::tensor::{Exec, Noise, Stream};
use elbo::train::{Flow, MetricsLine, Observer, Outcome, Place, RunFolder, SavedModel, Settings, StepReport, Trainer};
use ndarray::Array2;
use std::f64::consts::{LN_2, PI};
use std::path::Path;
use tempfile::tempdir;

const KINDS: [&str; 16] = [
    "continuous-bernoulli",
    "gaussian-optimal",
    "laplace",
    "laplace-learned",
    "laplace-predicted",
    "student-t",
    "student-t:4",
    "poisson",
    "negative-binomial",
    "zero-inflated-negative-binomial",
    "multinomial:60",
    "discretized-logistic",
    "beta-binomial",
    "bernoulli",
    "gaussian-predicted",
    "categorical:5",
];

const COLS: usize = 12;

/// 96 rows of three kinds, with some noise, as values of a domain.
fn rows(domain: Domain) -> Dataset {
    let wave =
        |r: usize, c: usize| (2.1 * (r % 3) as f64 + 0.7 * c as f64).sin() + ((r * 7 + c * 5) % 11) as f64 / 40.0;
    let value = |r, c| match domain {
        Domain::Real => 2.0 * wave(r, c) - 0.3,
        Domain::Unit => (0.4 + 0.6 * wave(r, c)).clamp(0.0, 1.0),
        Domain::Bytes => 0.4 + 0.3 * wave(r, c),
        Domain::Classes(k) => (k as f64 * (0.45 + 0.4 * wave(r, c))).clamp(0.0, k as f64 - 1.0).floor(),
        Domain::Counts => (1.2 * wave(r, c) + 1.0).exp().floor(),
    };
    let all = match domain {
        Domain::Bytes => {
            let bytes = (0..96 * COLS).map(|i| (255.0 * value(i / COLS, i % COLS)).clamp(0.0, 255.0) as u8);
            Rows::from_u8(bytes.collect(), COLS)
        }
        _ => Rows::from_f32(Array2::from_shape_fn((96, COLS), |(r, c)| value(r, c) as f32)),
    };
    Dataset::new("waves", View::new(all.unwrap()))
}

fn settings(kind: &str) -> Settings {
    let toml = "preset = \"tabular\"\nhidden = [16]\nlatent = 2\nepochs = 12\nbatch-size = 20\nlearning-rate = 0.01";
    Settings::from_toml(&format!("{toml}\nlikelihood = \"{kind}\"")).unwrap()
}

fn trainer(kind: &str) -> Result<Trainer> {
    let data = rows(kind.parse::<LikelihoodKind>()?.domain());
    Trainer::new(settings(kind).resolve(&data)?.0, data, Exec::sequential()?)
}

fn start(kind: &str, out: &Path) -> (RunFolder, Trainer) {
    let trainer = trainer(kind).unwrap();
    (RunFolder::create(&Place::New(out.into()), &trainer, "waves").unwrap(), trainer)
}

#[test]
fn every_likelihood_learns_resumes_and_generates() {
    for kind in KINDS {
        let scratch = tempdir().unwrap();
        let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
        let (mut run, mut trainer) = start(kind, &whole);
        assert_eq!(run.train(&mut trainer, &mut (), &false.into()).unwrap(), Outcome::Finished);
        let objective: Vec<f64> =
            MetricsLine::read(whole.join("metrics.jsonl")).unwrap().iter().map(|l| l.train.neg_elbo.unwrap()).collect();
        // A fall that noise does not explain: a nat, of a row's ten and more.
        assert!(objective[11] < objective[0] - 1.0, "{kind} learned nothing: {objective:?}");

        // In the middle of an epoch of five steps.
        let (mut run, mut trainer) = start(kind, &parts);
        run.train(&mut trainer, &mut At { step: 28, crash: false }, &false.into()).unwrap();
        let (data, ex) = (rows(kind.parse::<LikelihoodKind>().unwrap().domain()), Exec::sequential().unwrap());
        let (mut run, mut trainer, _) = RunFolder::resume_with(&parts, &Settings::default(), data, ex).unwrap();
        run.train(&mut trainer, &mut (), &false.into()).unwrap();
        assert_same(&whole, &parts, kind);
        generates(kind, &whole);
    }
}

/// Means of x that are finite and differ by latent, and draws that have a density. Bits where there are levels to count.
fn generates(kind: &str, out: &Path) {
    let (model, ex) = (SavedModel::load(out).unwrap(), Exec::sequential().unwrap());
    let mut inference = Inference::new(&model.vae, &model.params, &ex);
    let data = rows(kind.parse::<LikelihoodKind>().unwrap().domain());
    let examples = Examples::new(&model.vae, data.all(), Binarize::None, 0).unwrap();
    for samples in [None, Some(10)] {
        let report = task::evaluate(&mut inference, &examples, 0, samples).unwrap();
        let nats = report.nll.last().map_or(report.neg_elbo, |last| last.nats);
        let levels = ["discretized-logistic", "beta-binomial"].contains(&kind);
        assert_eq!(report.bits_per_dimension, levels.then(|| nats / (COLS as f64 * LN_2)), "{kind}");
        // A level of 256 without any knowledge takes 8.
        assert!(report.bits_per_dimension.is_none_or(|bits| bits > 0.0 && bits < 8.0), "{kind} {report:?}");
    }
    let means = task::sample(&mut inference, 20, 3).unwrap();
    assert!(means.iter().all(|x| x.is_finite()) && means.row(0) != means.row(1), "{kind}: {means:?}");
    let (likelihood, z) = (model.vae.likelihood::<f32>(), task::sample_latents(&inference, 20, 3).unwrap());
    let eta = task::decode_parameters(&mut inference, z.view()).unwrap();
    let mut x = vec![f32::NAN; COLS];
    for (r, eta) in eta.rows().into_iter().enumerate() {
        let mut rng = Noise::new(4).rng(Stream::Sample, 0, r as u64, 1);
        likelihood.sample(&model.params, eta.to_slice().unwrap(), &mut rng, &mut x);
        assert!(x.iter().all(|&x| likelihood.domain().contains(f64::from(x))), "{kind} drew {x:?}");
    }
}

/// The variance after a whole batch is the batch's mean squared error, which its reconstruction and the variance before say:
/// −log p = ½ D (log 2π + v + mean d² · e⁻ᵛ). After a shorter batch it is not.
#[test]
fn the_optimal_variance_follows_the_error() {
    struct Follow {
        before: f64,
        off: Vec<f64>,
    }
    impl Observer for Follow {
        fn step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow> {
            let slot = trainer.vae().layout().find("likelihood.log_variance").unwrap().slot;
            let (v, now) = (self.before, f64::from(trainer.params().slot(&slot)[0]));
            let error = v.exp() * (2.0 * report.train.reconstruction / COLS as f64 - (2.0 * PI).ln() - v);
            self.off.push((now - error.ln()).abs());
            self.before = now;
            Ok(Flow::Continue)
        }
    }
    let follow = |kind: &str| {
        let (mut trainer, mut seen) = (trainer(kind).unwrap(), Follow { before: 0.0, off: vec![] });
        trainer.run(&mut seen).unwrap();
        seen
    };
    let optimal = follow("gaussian-optimal");
    // Five steps an epoch, the last of 16 rows and not 20; f32 rounds the reconstruction to 1e-7 of some twenty nats.
    let (short, whole): (Vec<_>, Vec<_>) = optimal.off.iter().enumerate().partition(|(step, _)| step % 5 == 4);
    assert!(whole.iter().all(|(_, off)| **off < 1e-5), "{whole:?}");
    assert!(short.iter().any(|(_, off)| **off > 1e-3), "{short:?}");
    // A learned one is on its way all the time.
    let learned = follow("gaussian-learned");
    assert!(learned.off.iter().all(|off| *off > 1e-5) && learned.before != optimal.before, "{:?}", learned.off);
}

/// Of a bound that weighs its samples the closed form weighs them too: it is where the gradient of a learned variance is zero,
/// and not the samples' mean squared error. −log p = ½ D (log 2π + v + d² e⁻ᵛ), so Σ w d²/D is 1 − 2/D times that gradient, at v = 0.
#[test]
fn the_optimal_variance_is_that_of_the_objective() {
    let first = |kind: &str, objective: &str| {
        let one = format!("optimizer = \"sgd\"\nlearning-rate = 0.01\nsamples = 5\nobjective = \"{objective}\"");
        let settings = settings(kind).merge(Settings::from_toml(&one).unwrap());
        struct One;
        impl Observer for One {
            fn step(&mut self, _: &Trainer, _: &StepReport) -> Result<Flow> {
                Ok(Flow::Stop)
            }
        }
        let data = rows(Domain::Real);
        let mut trainer = Trainer::new(settings.resolve(&data).unwrap().0, data, Exec::sequential().unwrap()).unwrap();
        trainer.run(&mut One).unwrap();
        let slot = trainer.vae().layout().find("likelihood.log_variance").unwrap().slot;
        f64::from(trainer.params().slot(&slot)[0])
    };
    for objective in ["elbo", "iwae", "renyi:0.5", "miwae:5", "ciwae:0.5"] {
        let gradient = first("gaussian-learned", objective) / -0.01;
        let expected = (1.0 - 2.0 * gradient / COLS as f64).ln();
        let found = first("gaussian-optimal", objective);
        // f32 rounds the gradient's sum over rows.
        assert!((found - expected).abs() < 1e-5, "{objective}: {found}, and the gradient is zero at {expected}");
    }
    assert!(first("gaussian-optimal", "iwae") < first("gaussian-optimal", "elbo") - 1e-3, "good samples weigh more");
}

/// The variance that has a closed form is no part of the gradient's norm: at unit variance that is what it is of a Gaussian of unit variance.
#[test]
fn clipping_looks_at_what_the_optimizer_takes() {
    struct First(Option<f64>);
    impl Observer for First {
        fn step(&mut self, _: &Trainer, report: &StepReport) -> Result<Flow> {
            self.0 = report.gradient_norm;
            Ok(Flow::Stop)
        }
    }
    let norm = |kind: &str| {
        let data = rows(kind.parse::<LikelihoodKind>().unwrap().domain());
        let (config, _) = Settings { clip: Some(1.0), ..settings(kind) }.resolve(&data).unwrap();
        let mut first = First(None);
        Trainer::new(config, data, Exec::sequential().unwrap()).unwrap().run(&mut first).unwrap();
        first.0.unwrap()
    };
    assert_eq!(norm("gaussian-optimal"), norm("gaussian"));
    assert_ne!(norm("gaussian-learned"), norm("gaussian"));
}

/// Values without a density are refused by row and column, and the error says what is needed.
#[test]
fn what_has_no_density_is_refused_by_row_and_column() {
    let refused = |kind: &str, x: Array2<f32>, words: &[&str]| {
        let data = Dataset::from_array(x.view()).unwrap();
        let config = settings(kind).resolve(&data).unwrap().0;
        let error = Trainer::new(config, data, Exec::sequential().unwrap()).err().unwrap().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{kind}: {error}"));
    };
    for kind in ["poisson", "negative-binomial", "zero-inflated-negative-binomial", "multinomial"] {
        let with = |bad: f32| Array2::from_shape_fn((30, 4), |(r, c)| if (r, c) == (7, 2) { bad } else { 3.0 });
        let words = ["row 7, column 2 is", kind, "needs counts: the integers 0 to 16777216", "hint", "gaussian"];
        [0.5, -1.0, 3e7].iter().for_each(|&bad| refused(kind, with(bad), &words));
    }
    for kind in ["discretized-logistic", "beta-binomial"] {
        let with =
            |bad: f32| Array2::from_shape_fn((30, 4), |(r, c)| if (r, c) == (7, 2) { bad } else { 51.0 / 255.0 });
        let words = ["row 7, column 2 is", kind, "needs 8-bit values: 0, 1/255", "hint", "by 255"];
        [0.5, -1.0, 51.0].iter().for_each(|&bad| refused(kind, with(bad), &words));
    }
    let data = Dataset::from_array(Array2::from_elem((30, 2), 0.5).view()).unwrap();
    let binary = settings("categorical:1").merge(Settings::from_toml("binarize = \"fixed\"").unwrap());
    let error = Trainer::new(binary.resolve(&data).unwrap().0, data, Exec::sequential().unwrap()).err().unwrap();
    assert!(error.to_string().contains("binary data have ones, and categorical:1 has none"), "{error}");
    refused("continuous-bernoulli", Array2::from_elem((30, 2), 1.5), &["row 0, column 0 is 1.5", "[0, 1]"]);
}
