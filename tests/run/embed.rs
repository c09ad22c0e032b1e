//! What a program that embeds the library may get wrong, and is told.

use crate::support::{At, bars, small, start, trainer};
use elbo::Result;
use elbo::data::{Binarize, Validation};
use elbo::layer::Activation;
use elbo::model::{Hidden, Inference, Vae, VaeConfig};
use elbo::task::{self, Covariance, Encoding, Examples, GaussianMixture, Labelled, Sampling};
use elbo::tensor::{Exec, Noise, Params, Precision, Stream};
use elbo::train::{
    DataInfo, KeepBest, ModelInfo, Place, RunFolder, SavedModel, Selected, Settings, TrainConfig, Trainer, digest,
};
use ndarray::Array2;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tempfile::tempdir;

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("it is refused").to_string();
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
}

#[track_caller]
fn panics<T>(f: impl FnOnce() -> T, word: &str) {
    let panic = catch_unwind(AssertUnwindSafe(f)).err().expect("it panics");
    let plain = || panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = panic.downcast_ref::<String>().cloned().or_else(plain).expect("a message");
    assert!(said.contains(word), "{word:?} is not in: {said}");
}

fn network(hidden: &[usize], latent: usize) -> Vae {
    let config = TrainConfig::preset("mlp-one", 36).unwrap().vae;
    Vae::new(&VaeConfig { hidden: hidden.to_vec(), latent, ..config }).unwrap()
}

fn parameters(vae: &Vae) -> Params<f32> {
    Params::init(vae.layout(), &Noise::new(0))
}

/// As many numbers, in other places.
#[test]
fn parameters_of_another_network_are_refused() {
    let ([a, b], ex) = ([network(&[5, 3], 2), network(&[3, 5], 2)], Exec::sequential().unwrap());
    let (of_a, of_b) = (parameters(&a), parameters(&b));
    assert_eq!(of_a.layout(), a.layout());
    panics(|| drop(Inference::new(&a, &of_b, &ex)), "of another network");
    let config = TrainConfig { vae: a.config().clone(), ..TrainConfig::preset("mlp-one", 36).unwrap() };
    let started = |params| Trainer::starting_from(config.clone(), bars(), Exec::sequential().unwrap(), params);
    assert_eq!(digest(&a, started(&of_a).unwrap().params()), digest(&a, &of_a));
    refused(started(&of_b), &["encoder.0.weight", "[3, 36]", "[5, 36]"]);

    let scratch = tempdir().unwrap();
    let info = ModelInfo {
        version: String::new(),
        data: DataInfo::unknown(),
        settings: Settings::from_network(a.config()),
        epoch: 1,
        step: 1,
        selected: Selected::Last,
    };
    let save = |vae: &Vae, params: &Params<f32>, info: &ModelInfo| {
        let (vae, params, info) = (vae.clone(), params.clone(), info.clone());
        SavedModel { vae, params, info }.save(scratch.path().join("m"))
    };
    save(&a, &of_a, &info).unwrap();
    assert_eq!(SavedModel::load(scratch.path().join("m")).unwrap().vae.config(), a.config());
    refused(save(&a, &of_b, &info), &["of another network"]);
    // A model that could not be read again.
    let words = ["describes another network", "SavedModel::of"];
    refused(save(&b, &of_b, &info), &words);
    refused(save(&a, &of_a, &ModelInfo { settings: Settings::default(), ..info.clone() }), &words);
}

#[test]
fn a_trainer_s_model_is_saved_without_a_run_folder() {
    let (scratch, mut trainer) = (tempdir().unwrap(), trainer(&small("condition = \"labels\"\naverage = 0.9"), 1));
    trainer.run(&mut ()).unwrap();
    let path = scratch.path().join("m.safetensors");
    SavedModel::of(&trainer).save(&path).unwrap();
    let read = SavedModel::load(&path).unwrap();
    assert_eq!((read.vae.config(), read.digest()), (trainer.vae().config(), digest(trainer.vae(), trainer.model())));
    assert_eq!((read.info.epoch, read.info.settings.batch_size), (4, Some(16)));
}

#[test]
fn the_best_epoch_is_kept_without_a_run_folder() {
    let settings = small("epochs = 60\nvalidation = 9\npatience = 3\nlearning-rate = 0.1");
    let (scratch, mut best) = (tempdir().unwrap(), KeepBest::default());
    let mut alone = trainer(&settings, 1);
    alone.run(&mut best).unwrap();
    let (epoch, vae, params) = best.into_model().unwrap();
    assert!(epoch < alone.state().epoch, "patience has run out");
    let (mut run, mut trainer) = start(&settings, &scratch.path().join("run"));
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let kept = SavedModel::load(scratch.path().join("run")).unwrap();
    assert_eq!((epoch, digest(&vae, &params)), (kept.info.epoch, kept.digest()));
}

/// What files could not name is not trained.
#[test]
fn networks_that_no_file_could_name_are_refused() {
    let config = network(&[4], 2).config().clone();
    let with = |activation| VaeConfig { layer: Hidden::Dense(activation), ..config.clone() }.check();
    with(Activation::LeakyRelu(0.1)).unwrap();
    for (activation, name) in [
        (Activation::LeakyRelu(0.0), "leaky-relu"),
        (Activation::LeakyRelu(f64::NAN), "leaky-relu"),
        (Activation::Elu(-1.0), "elu"),
    ] {
        refused(with(activation), &[name, "takes a positive number"]);
    }
    refused(VaeConfig { preset: "mlp-oen", ..config }.check(), &["preset", "mlp-one"]);
}

/// A run in bf16 that goes on where there is no such product says in what.
#[test]
fn a_run_that_goes_on_in_f32_says_so() {
    let (data, ex) = (bars(), || Exec::sequential().unwrap());
    let (config, _) = small("precision = \"bf16\"").resolve(&data).unwrap();
    assert_eq!(config.precision, Precision::Bf16);
    let (scratch, has) = (tempdir().unwrap(), ex().isa().has_half());
    let place = Place::New(scratch.path().join("run"));
    let mut trainer = Trainer::new(config, data, ex()).unwrap();
    let mut run = RunFolder::create(&place, &trainer, "bars").unwrap();
    run.train(&mut trainer, &mut At { step: 6, crash: false }, &false.into()).unwrap();
    for again in [false, true] {
        let (run, trainer, warnings) =
            RunFolder::resume_with(scratch.path().join("run"), &Settings::default(), bars(), ex()).unwrap();
        let precision = trainer.config().precision;
        assert_eq!(precision == Precision::Bf16, has);
        assert_eq!(run.settings().precision, Some(precision.to_string()));
        assert!(has || again || warnings.iter().any(|w| w.contains("goes on in f32")), "{warnings:?}");
    }
}

#[test]
fn a_split_by_another_seed_is_found_again() {
    let data = || bars().with_validation(Validation::Rows(9), 7).unwrap();
    let (scratch, out) = (tempdir().unwrap(), "run");
    let (config, _) = small("").resolve(&data()).unwrap();
    let mut trainer = Trainer::new(config, data(), Exec::sequential().unwrap()).unwrap();
    let mut run = RunFolder::create(&Place::New(scratch.path().join(out)), &trainer, "bars").unwrap();
    run.train(&mut trainer, &mut At { step: 6, crash: false }, &false.into()).unwrap();
    let resume = |data| {
        let ex = Exec::sequential().unwrap();
        RunFolder::resume_with(scratch.path().join(out), &Settings::default(), data, ex).map(|_| ())
    };
    resume(data()).unwrap();
    refused(resume(bars()), &["the data are not those"]);
}

#[test]
fn tasks_ask_for_the_exemplars() {
    let mut trainer = trainer(&small("prior = \"exemplar:30:2\""), 1);
    trainer.run(&mut ()).unwrap();
    let (vae, params, ex) = (trainer.vae().clone(), trainer.model().clone(), Exec::sequential().unwrap());
    let examples = Examples::new(&vae, trainer.data().train(), Binarize::None, 0).unwrap();
    let (mut without, words) = (Inference::new(&vae, &params, &ex), ["exemplars of the prior", "Trainer::trained()"]);
    refused(task::evaluate(&mut without, &examples, 0, None), &words);
    refused(task::scores(&mut without, &examples, None), &words);
    refused(task::sample_latents(&without, 3, 0), &words);
    refused(task::aggregate_posterior(&mut without, &examples, 0), &words);
    task::encode(&mut without, &examples).unwrap();
    task::evaluate(&mut Inference::new(&trainer.trained(), &params, &ex), &examples, 0, None).unwrap();
}

/// Labels are names: their size costs nothing, and what is not there is no class.
#[test]
fn classes_may_be_any_numbers() {
    let mut trainer = trainer(&small(""), 1);
    trainer.run(&mut ()).unwrap();
    let (known, heldout) = (trainer.data().train().clone(), trainer.data().test().unwrap().clone());
    let [known, heldout] = [known, heldout].map(|view| {
        let classes = (0..view.len()).map(|row| view.id(row) % 6 % 2).collect::<Vec<usize>>();
        (view, classes)
    });
    let vae = trainer.vae();
    let probe = |name: &dyn Fn(usize) -> usize| {
        let examples = [&known, &heldout].map(|(view, _)| Examples::new(vae, view, Binarize::None, 0).unwrap());
        let classes = [&known, &heldout].map(|(_, of)| of.iter().map(|c| name(*c)).collect::<Vec<usize>>());
        let labelled = |i: usize| Labelled { examples: &examples[i], classes: &classes[i] };
        task::probe(&mut trainer.inference(), labelled(0), labelled(1), &[10], 3, 0)
    };
    let plain = probe(&|class| class).unwrap();
    assert_eq!(probe(&|class| [7, usize::MAX][class]).unwrap(), plain);
    refused(probe(&|_| 3), &["the same label"]);
}

#[test]
fn mixtures_take_their_own_latents_alone() {
    let mean = Array2::from_shape_fn((40, 2), |(r, c)| ((r * 7 + c * 5) % 11) as f32 / 5.0);
    let encoding = |log_variance: Array2<f32>| Encoding { mean: mean.clone(), log_variance };
    let ex = Exec::sequential().unwrap();
    let fit = |encoding: &Encoding| GaussianMixture::fit(&ex, encoding, 2, Covariance::Full, 0);
    refused(fit(&encoding(Array2::zeros((3, 2)))), &["40 × 2", "3 × 2"]);
    let mixture = fit(&encoding(Array2::zeros((40, 2)))).unwrap().mixture;
    assert!(mixture.log_prob(&[0.0, 0.0]).is_finite());
    panics(|| mixture.log_prob(&[0.0]), "over 2 latents");
    let mut rng = Noise::new(0).rng(Stream::Sample, 0, 0, 0);
    panics(|| mixture.sample(1.0, &mut rng, &mut [0.0; 3]), "over 2 latents");
}

#[test]
fn conditions_that_say_nothing_are_refused() {
    let mut trainer = trainer(&small("condition = \"labels\"\nconditional-prior = true"), 1);
    trainer.run(&mut ()).unwrap();
    let condition = trainer.data().condition().unwrap().clone();
    assert_eq!(condition.rows(&[Some(5.0)], 2).ncols(), 6);
    for code in [6.0, 1.5, -1.0, f32::NAN] {
        panics(|| condition.rows(&[Some(code)], 2), "is no code of the condition's column");
    }
    let inference = trainer.inference();
    let mut c = condition.rows(&[], 3);
    panics(|| inference.condition_draws(&mut Array2::zeros((3, 2)), c.view()), "latents (3, 2)");
    c[(1, 0)] = f32::NAN;
    let sampling = Sampling { condition: Some(c.view()), ..Sampling::default() };
    refused(task::sample_latents_by(&inference, 3, 0, &sampling), &["condition of row 1 is not finite"]);
    // The network is made for the data, and not the other way round.
    let config = TrainConfig::preset("mlp-one", 36).unwrap();
    let trained = Trainer::new(config, trainer.data().clone(), Exec::sequential().unwrap());
    refused(trained, &["6 columns", "made for 0", "VaeConfig::condition"]);
}

#[test]
fn quantiles_beside_infinite_values_are_numbers() {
    let scores = [1.0, 2.0, f64::INFINITY];
    assert_eq!([0.0, 0.5, 1.0].map(|q| task::quantile(&scores, q).unwrap()), [1.0, 2.0, f64::INFINITY]);
    assert_eq!(task::quantile(&scores, 0.75).unwrap(), f64::INFINITY);
}
