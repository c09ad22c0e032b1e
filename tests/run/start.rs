//! Runs that start from a trained model.

use crate::support::{At, assert_same, bars, contents, go_on, small, whole};
use elbo::Result;
use elbo::data::{Dataset, Labels, Rows, View};
use elbo::tensor::Exec;
use elbo::train::{Outcome, Place, RunFolder, SavedModel, Settings, Start, Trainer, digest};
use ndarray::Array2;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// What a model consists of differs between these. The one with pseudo-inputs has more of them than the second run has rows.
const VARIANTS: [&str; 6] = [
    "",
    "norm = \"batch\"\nhidden = [9, 9]\nlayer = \"gated\"",
    "prior = \"vamp:65\"\nobjective = \"iwae\"\nsamples = 3\nprecision = \"bf16\"",
    "prior = \"exemplar:30:2\"\nlikelihood = \"gaussian-learned\"",
    "lower = \"hvae:3x8\"\nprior = \"flow:2:6\"\nposterior = \"iaf:2\"",
    "condition = \"labels\"\nconditional-prior = true\noutput-bias = \"data-mean\"",
];

/// What the second run asks for: nothing of the network, and an average, which is the model then.
fn further() -> Settings {
    let text = "epochs = 2\nbatch-size = 16\nlearning-rate = 0.002\naverage = 0.9\nvalidation = 9\nseed = 5";
    Settings::from_toml(text).unwrap()
}

fn trainer(start: &Start, settings: &Settings, data: Dataset) -> Result<Trainer> {
    let settings = start.settings(settings.clone())?;
    let (data, ex) = (settings.split(data)?, Exec::sequential().unwrap());
    let (mut config, _) = settings.resolve(&data)?;
    config.fit_precision(ex.isa());
    start.trainer(config, data, ex)
}

fn begin(first: &Path, out: &Path) -> (RunFolder, Trainer) {
    let start = Start::load(first).unwrap();
    let trainer = trainer(&start, &further(), bars()).unwrap();
    (RunFolder::create_from(&Place::New(out.into()), &trainer, "bars", &start).unwrap(), trainer)
}

#[test]
fn a_run_begins_with_the_model_s_network_and_numbers() {
    for variant in VARIANTS {
        let scratch = tempdir().unwrap();
        let [first, out] = ["first", "second"].map(|name| scratch.path().join(name));
        whole(&small(variant), &first);
        let model = SavedModel::load(&first).unwrap();
        let (mut run, mut trainer) = begin(&first, &out);
        assert_eq!(trainer.vae().config(), model.vae.config(), "{variant:?}");
        for params in [trainer.params(), trainer.model()] {
            assert_eq!(digest(trainer.vae(), params), model.digest(), "{variant:?}");
        }
        run.train(&mut trainer, &mut (), &false.into()).unwrap();
        let tuned = SavedModel::load(&out).unwrap();
        assert_ne!(tuned.digest(), model.digest(), "{variant:?}");

        // Paths are in the configuration alone; elsewhere the model is known by its digest.
        assert_eq!(tuned.info.settings.from, Some(model.digest()), "{variant:?}");
        let place = first.to_str().unwrap().as_bytes();
        for (name, bytes) in contents(&out) {
            let has = bytes.windows(place.len()).any(|window| window == place);
            assert_eq!(has, name == "config.toml", "{variant:?}: {name}");
        }
    }
}

#[test]
fn it_goes_on_to_the_same_bytes_without_the_model_that_it_started_from() {
    for variant in VARIANTS {
        let scratch = tempdir().unwrap();
        let [first, reference, out] = ["first", "whole", "parts"].map(|name| scratch.path().join(name));
        whole(&small(variant), &first);
        let (mut run, mut trainer) = begin(&first, &reference);
        run.train(&mut trainer, &mut (), &false.into()).unwrap();
        let (mut run, mut trainer) = begin(&first, &out);
        let outcome = run.train(&mut trainer, &mut At { step: 3, crash: false }, &false.into()).unwrap();
        assert_eq!(outcome, Outcome::Interrupted);
        fs::rename(&first, scratch.path().join("gone")).unwrap();

        let other = Settings { from: Some("elsewhere".to_owned()), ..Settings::default() };
        let refused =
            RunFolder::resume_with(&out, &other, bars(), Exec::sequential().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("from cannot change when a run is resumed"), "{refused}");
        assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::Finished);
        assert_same(&reference, &out, variant);
    }
}

#[test]
fn what_does_not_fit_the_model_is_told() {
    let scratch = tempdir().unwrap();
    let first = scratch.path().join("first");
    whole(&small("norm = \"batch\"\ninit = \"glorot\"\nactivation = \"gelu\""), &first);
    let start = Start::load(&first).unwrap();
    #[track_caller]
    fn fails(result: Result<Trainer>, words: &[&str]) {
        let error = result.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
    let with = |more: &str| trainer(&start, &further().merge(Settings::from_toml(more).unwrap()), bars());
    fails(with("hidden = [12]"), &["encoder.0.weight", "[10, 36]", "[12, 36]", "layers"]);
    fails(with("latent = 2"), &["encoder.mean.weight", "[3, 10]", "[2, 10]"]);
    fails(with("norm = \"none\""), &["encoder.0.bias", "has none, and this one [10]"]);
    let gated = scratch.path().join("gated");
    whole(&small("layer = \"gated\"\nnorm = \"layer\""), &gated);
    let of_gated = Start::load(&gated).unwrap();
    let batch = further().merge(Settings::from_toml("norm = \"batch\"").unwrap());
    fails(trainer(&of_gated, &batch, bars()), &["encoder.0.norm.running_mean", "has none"]);
    fails(with("likelihood = \"gaussian-learned\""), &["likelihood.log_variance", "has none"]);
    fails(with("layer = \"gated\""), &["encoder.0.weight", "[20, 36]"]);
    fails(with("init = \"he\""), &["init is he", "has glorot", "leave init out"]);
    fails(with("preset = \"gated-300\""), &["preset is gated-300", "leave preset out"]);
    fails(with("output-bias = \"data-mean\""), &["output-bias is data-mean", "has none"]);
    fails(with("condition = \"labels\""), &["condition is labels", "has none"]);
    let layer = with("layer = \"dense\"").unwrap().vae().config().layer;
    assert_eq!(layer, start.model().vae.config().layer, "the choice that it has");
    // What has no tensors may change.
    for same in ["dropout = 0.2", "activation = \"tanh\"", "log-variance = [-6, 2]", "init = \"glorot\""] {
        with(same).unwrap();
    }

    let table = |names: [&str; 2]| {
        let values = (0..80).map(|i| (i % 7) as f32 / 7.0).collect();
        let rows = Rows::from_f32(Array2::from_shape_vec((40, 2), values).unwrap()).unwrap();
        Dataset::new("table", View::new(rows.with_names(names.map(str::to_owned).to_vec()).unwrap()))
    };
    fails(trainer(&start, &further(), table(["a", "b"])), &["2 columns", "36"]);
    let second = scratch.path().join("second");
    let settings = Settings::from_toml("epochs = 1\nhidden = [4]\nlikelihood = \"gaussian\"").unwrap();
    let data = table(["a", "b"]);
    let (config, _) = settings.resolve(&data).unwrap();
    let mut of_table = Trainer::new(config, data, Exec::sequential().unwrap()).unwrap();
    let mut run = RunFolder::create(&Place::New(second.clone()), &of_table, "table").unwrap();
    run.train(&mut of_table, &mut (), &false.into()).unwrap();
    let start = Start::load(&second).unwrap();
    trainer(&start, &further(), table(["a", "b"])).unwrap();
    fails(trainer(&start, &further(), table(["a", "d"])), &["column 1 is \"d\"", "with \"b\" there"]);
}

/// Labels that a conditional model has never seen would take another's place.
#[test]
fn a_condition_of_other_labels_is_refused() {
    let scratch = tempdir().unwrap();
    let first = scratch.path().join("first");
    whole(&small("condition = \"labels\""), &first);
    let start = Start::load(&first).unwrap();
    trainer(&start, &further(), bars()).unwrap();
    let labels = (0..83).map(|row| format!("bar {}", row % 6)).collect::<Labels>();
    let renamed = Dataset::new("renamed", View::with_labels(bars().all().rows().clone(), labels).unwrap());
    let error = trainer(&start, &further(), renamed).unwrap_err().to_string();
    assert!(error.contains("renamed gives its condition other labels"), "{error}");
}
