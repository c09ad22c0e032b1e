//! Unlucky data and settings: training goes well, or ends with a cause; never a panic, and never a number that is none.

use crate::support::bars;
use elbo::data::{Dataset, Memory, load_within};
use elbo::density::LikelihoodKind;
use elbo::tensor::Exec;
use elbo::train::{EpochReport, Flow, Observer, Settings, StepReport, Trainer};
use elbo::{Error, ErrorKind, Result};
use ndarray::Array2;
use proptest::prelude::*;
use std::fs;

/// Sees that every figure is a number.
struct Finite;

impl Observer for Finite {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> Result<Flow> {
        let train = report.train;
        assert!([train.neg_elbo, train.reconstruction, train.kl].iter().all(|x| x.is_finite()), "{report:?}");
        Ok(Flow::Continue)
    }
    fn epoch(&mut self, trainer: &Trainer, report: &EpochReport) -> Result<Flow> {
        assert!(report.train.neg_elbo.is_finite(), "{report:?}");
        assert_eq!(trainer.bad_parameter(), None);
        Ok(Flow::Continue)
    }
}

/// Trains a small network, three epochs without `more` settings.
fn train(data: Array2<f32>, more: &str) -> Result<Trainer> {
    let base = "preset = \"tabular\"\nhidden = [6]\nlatent = 2\nepochs = 3\nbatch-size = 8";
    let settings = Settings::from_toml(base)?.merge(Settings::from_toml(more)?);
    let data = settings.split(Dataset::from_array(data.view())?)?;
    let mut trainer = Trainer::new(settings.resolve(&data)?.0, data, Exec::sequential()?)?;
    trainer.run(&mut Finite)?;
    Ok(trainer)
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

/// 20 rows of ordinary numbers around 0.
fn ordinary(cols: usize) -> Array2<f32> {
    Array2::from_shape_fn((20, cols), |(i, j)| ((i * 13 + j * 7) % 17) as f32 / 8.0 - 1.0)
}

const GAUSSIANS: [&str; 4] = ["gaussian", "gaussian-learned", "gaussian-per-dimension", "gaussian-predicted"];

#[test]
fn data_of_little_use_train() {
    let full = |shape, value: f32| Array2::from_elem(shape, value);
    let denormal = f32::from_bits(1);
    for (what, data) in [
        ("one row", full((1, 3), 0.5)),
        ("one row and column", full((1, 1), -2.0)),
        ("one column", ordinary(1)),
        ("constant columns", full((20, 3), 5.0)),
        ("zeros", full((20, 3), 0.0)),
        ("denormals", Array2::from_shape_fn((20, 3), |(i, _)| denormal * i as f32)),
        ("equal rows but for one", {
            let mut data = full((20, 3), 1.0);
            data[[19, 2]] = 3.0;
            data
        }),
    ] {
        for likelihood in GAUSSIANS {
            for more in ["", "validation = 0", "optimizer = \"sgd\"\nmomentum = 0.9", "free-bits = 0.5\nclip = 1"] {
                let trained = train(data.clone(), &format!("likelihood = \"{likelihood}\"\n{more}"));
                assert!(trained.is_ok(), "{what}, {likelihood}, {more}: {trained:?}");
            }
        }
    }
}

#[test]
fn numbers_too_large_end_with_the_cause() {
    for likelihood in GAUSSIANS {
        for large in [1e30f32, -1e30, f32::MAX] {
            let error =
                train(Array2::from_elem((20, 3), large), &format!("likelihood = \"{likelihood}\"")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Diverged);
            says(&error, &["step 1:", "not finite", "scale the data"]);
            // One such number among ordinary ones.
            let mut data = ordinary(3);
            data[[7, 1]] = large;
            let error = train(data, &format!("likelihood = \"{likelihood}\"")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Diverged);
            says(&error, &["step ", "scale the data"]);
        }
    }
    // Latents whose squares overflow, while no layer does: the KL is to blame, and no decoder.
    let data = Array2::from_shape_fn((20, 2), |(i, j)| if j == 0 { (i % 3) as f32 } else { 1e21 });
    let error = train(data, "activation = \"identity\"\nheads = \"separate\"").unwrap_err();
    assert!(!error.to_string().contains("the KL is not finite; no layer before the last"), "{error}");
}

#[test]
fn settings_that_ask_for_too_much_end_with_the_cause() {
    for more in
        ["learning-rate = 1e3", "learning-rate = 1e3\noptimizer = \"sgd\"", "learning-rate = 1e300", "beta = 1e300"]
    {
        for likelihood in GAUSSIANS {
            let ran = train(ordinary(3), &format!("likelihood = \"{likelihood}\"\nepochs = 30\n{more}"));
            let error = ran.expect_err(more);
            assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
            says(&error, &["step ", "--learning-rate"]);
        }
    }
}

/// A log-variance that is learned is driven towards ∞ by noise that no network explains, and towards −∞ by data that one
/// explains altogether.
#[test]
fn log_variances_at_their_extremes_end_well_or_with_the_cause() {
    let constant = Array2::from_elem((20, 2), 0.25);
    let large = ordinary(2).mapv(|x| x * 1e6);
    for data in [constant, large] {
        for likelihood in &GAUSSIANS[1..] {
            for rate in ["0.1", "10", "1000"] {
                let more = format!("likelihood = \"{likelihood}\"\nlearning-rate = {rate}\nepochs = 100");
                if let Err(error) = train(data.clone(), &more) {
                    assert_eq!(error.kind(), ErrorKind::Diverged, "{more}: {error}");
                    says(&error, &["step "]);
                }
            }
        }
    }
}

#[test]
fn sizes_beyond_the_data_are_met() {
    let bytes = |trainer: &Trainer| trainer.params().values().data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let all = bytes(&train(ordinary(3), "batch-size = 20").unwrap());
    // A batch larger than the data is all of them.
    for size in ["21", "1000000000000", "9223372036854775807"] {
        assert_eq!(bytes(&train(ordinary(3), &format!("batch-size = {size}")).unwrap()), all, "{size}");
    }
    train(ordinary(1), "latent = 50").unwrap();
    train(ordinary(3), "hidden = []").unwrap();
    train(ordinary(3), "hidden = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]").unwrap();
    train(Array2::from_elem((2, 100_000), 0.5), "hidden = [1]\nlatent = 1\nepochs = 1").unwrap();
}

#[test]
fn sizes_of_nothing_are_refused() {
    for (more, words) in [
        ("latent = 0", ["latents", "at least 1"]),
        ("hidden = [0]", ["hidden", "at least 1"]),
        ("hidden = [3, 0, 3]", ["hidden", "at least 1"]),
        ("epochs = 0", ["epochs", "at least 1"]),
        ("batch-size = 0", ["batch size", "at least 1"]),
        ("validation = 20", ["20 validation rows", "none of 20"]),
    ] {
        says(&train(ordinary(3), more).unwrap_err(), &words);
    }
    for widths in
        ["9223372036854775807", "9223372036854775807, 9223372036854775807", "4294967296, 4294967296", "65536, 65536"]
    {
        says(&train(ordinary(3), &format!("hidden = [{widths}]")).unwrap_err(), &["2^31 parameters", "--hidden"]);
    }
    says(&train(ordinary(3), "latent = 9223372036854775807").unwrap_err(), &["2^31 parameters", "--latent"]);
}

/// Four million numbers a row and two hundred thousand rows: more activations than any machine of today has memory for,
/// though the parameters would fit.
#[test]
fn a_batch_beyond_memory_is_refused_before_memory_is_asked_for() {
    let data = Array2::from_shape_fn((200_000, 1), |(i, _)| i as f32 / 2e5);
    let used = allocation_counter::measure(|| {
        let error = train(data.clone(), "hidden = [1000000]\nbatch-size = 200000").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        says(
            &error,
            &[
                "training 10000005 parameters",
                "batches of 200000 rows",
                "takes at least",
                "TiB of memory",
                "--batch-size",
            ],
        );
    });
    assert!(used.bytes_max < 1 << 24, "{} bytes", used.bytes_max);
}

#[test]
fn a_likelihood_out_of_range_is_refused_wherever_it_comes_from() {
    for likelihood in
        [LikelihoodKind::GaussianGiven(1e40), LikelihoodKind::GaussianGiven(f64::NAN), LikelihoodKind::Categorical(0)]
    {
        let (mut config, _) = Settings::default().resolve(&bars()).unwrap();
        config.vae.likelihood = likelihood;
        let error = Trainer::new(config, bars(), Exec::sequential().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
}

/// Streamed numbers are looked at when they are loaded; ones that change afterwards are not taken for divergence.
#[test]
fn a_file_whose_numbers_change_while_it_is_streamed_is_named_as_the_cause() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.npy");
    ndarray_npy::write_npy(&path, &ordinary(3)).unwrap();
    let data = load_within(path.to_str().unwrap(), Memory::Bytes(0)).unwrap();
    let settings = Settings::from_toml("hidden = [6]\nlatent = 2\nepochs = 3\nbatch-size = 8").unwrap();
    let mut trainer = Trainer::new(settings.resolve(&data).unwrap().0, data, Exec::sequential().unwrap()).unwrap();
    ndarray_npy::write_npy(&path, &ordinary(3).mapv(|_| f32::NAN)).unwrap();
    let error = trainer.run(&mut ()).unwrap_err();
    says(&error, &["step 1", "NaN", "finite when loaded", "must not change"]);
    // The same length, so that only the numbers tell.
    assert_eq!(fs::metadata(&path).unwrap().len(), 128 + 20 * 3 * 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any finite numbers, of any size, under any Gaussian: finite figures to the end, or divergence in words.
    #[test]
    fn any_finite_data_train_or_say_why_not(
        bits in prop::collection::vec(any::<u32>(), 1..60),
        cols in 1usize..4, likelihood in 0usize..4, rate in -6i32..6, batch in 1usize..30,
    ) {
        let values: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        let rows = values.len() / cols;
        prop_assume!(rows > 0);
        let data = Array2::from_shape_vec((rows, cols), values[..rows * cols].to_vec()).unwrap();
        let more = format!(
            "likelihood = \"{}\"\nlearning-rate = 1e{rate}\nbatch-size = {batch}\nepochs = 2", GAUSSIANS[likelihood]
        );
        if let Err(error) = train(data, &more) {
            prop_assert_eq!(error.kind(), ErrorKind::Diverged, "{}", error);
            prop_assert!(error.to_string().contains("step "), "{}", error);
        }
    }
}
