//! What a run's folder holds, and where it is made.

use crate::support::{At, bars, contents, small, start, trainer, whole};
use elbo::files::tensors::{self, TensorFile};
use elbo::model::Inference;
use elbo::tensor::Exec;
use elbo::train::{Place, RunFolder, SavedModel, Selected, Settings};
use serde_json::{Value, json};
use std::fs;
use tempfile::tempdir;

const FILES: [&str; 7] = [
    "checkpoint",
    "config.toml",
    "loss.svg",
    "metrics.jsonl",
    "model.safetensors",
    "reconstructions.png",
    "samples.png",
];

#[test]
fn a_finished_run_has_every_file_and_the_record_every_key() {
    let scratch = tempdir().unwrap();
    let keys = |more: &str| {
        let out = scratch.path().join(more.len().to_string());
        whole(&small(more), &out);
        assert_eq!(contents(&out).keys().collect::<Vec<_>>(), FILES.iter().collect::<Vec<_>>());
        let record = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        assert_eq!(record.lines().count(), 4);
        let line = record.lines().last().unwrap().to_owned();
        let value: Value = serde_json::from_str(&line).unwrap();
        for split in ["train", "validation", "heldout"] {
            let Some(terms) = value.get(split) else { continue };
            let of = |key: &str| terms[key].as_f64().unwrap();
            assert!((of("neg_elbo") - of("reconstruction") - of("kl")).abs() < 1e-9 * of("neg_elbo"), "{line}");
            assert_eq!(terms.as_object().unwrap().len(), 3);
        }
        assert_eq!((value["epoch"].as_u64(), value["beta"].as_f64()), (Some(4), Some(1.0)));
        // In the order that a reader meets them.
        let mut keys: Vec<(usize, String)> =
            value.as_object().unwrap().keys().map(|k| (line.find(&format!("\"{k}\":")).unwrap(), k.clone())).collect();
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect::<Vec<_>>().join(" ")
    };
    let rest = "heldout beta active_units samples_per_second learning_rate seconds";
    assert_eq!(keys(""), format!("epoch step train {rest}"));
    assert_eq!(keys("validation = 9"), format!("epoch step train validation {rest}"));
}

#[test]
fn a_table_gets_pictures_too() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("g");
    let settings = Settings::from_toml("data = \"gaussian-2d\"\nepochs = 1").unwrap();
    let data = settings.load_data().unwrap();
    let (config, warnings) = settings.resolve(&data).unwrap();
    assert_eq!((config.vae.preset, warnings.len()), ("tabular", 0));
    let mut trainer = elbo::train::Trainer::new(config, data, Exec::sequential().unwrap()).unwrap();
    let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "gaussian-2d").unwrap();
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    assert_eq!(contents(&out).keys().collect::<Vec<_>>(), FILES.iter().collect::<Vec<_>>());
    let model = SavedModel::load(&out).unwrap();
    assert_eq!(model.info.data.columns.as_deref().unwrap(), ["x0", "x1"]);
    assert_eq!(model.info.data.scale, 1.0);
}

#[test]
fn the_model_is_the_trained_one_in_pytorch_s_layout() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("m");
    let (mut run, mut trainer) = start(&small("hidden = [10, 7]"), &out);
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let model = SavedModel::load(&out).unwrap();
    assert_eq!(model.params.values(), trainer.params().values());
    assert_eq!(model.vae.config(), trainer.vae().config());
    assert_eq!((model.info.epoch, model.info.step, model.info.selected), (4, 20, Selected::Last));
    assert_eq!(model.info.data.scale, 1.0 / 255.0);
    assert_eq!(model.info.data.image(), bars().all().image());

    let file = TensorFile::read(out.join("model.safetensors")).unwrap();
    let shapes: Vec<(&str, &[usize])> = file.tensors.iter().map(|t| (&*t.name, &t.shape[..])).collect();
    let expected: [(&str, &[usize]); 14] = [
        ("encoder.0.weight", &[10, 36]),
        ("encoder.0.bias", &[10]),
        ("encoder.1.weight", &[7, 10]),
        ("encoder.1.bias", &[7]),
        ("encoder.mean.weight", &[3, 7]),
        ("encoder.mean.bias", &[3]),
        ("encoder.log_variance.weight", &[3, 7]),
        ("encoder.log_variance.bias", &[3]),
        ("decoder.0.weight", &[7, 3]),
        ("decoder.0.bias", &[7]),
        ("decoder.1.weight", &[10, 7]),
        ("decoder.1.bias", &[10]),
        ("decoder.2.weight", &[36, 10]),
        ("decoder.2.bias", &[36]),
    ];
    assert_eq!(shapes, expected);
    let values = file.tensors.iter().zip(&expected).map(|(t, (name, shape))| {
        assert_eq!(t.name, *name);
        file.get::<f32>(name, shape).unwrap()
    });
    assert_eq!(model.digest(), tensors::digest(values));

    // The first hidden unit and the mean by hand, from the plain tensors of the file.
    let get = |name: &str| {
        let t = file.tensors.iter().find(|t| t.name == name).unwrap();
        file.get::<f32>(name, &t.shape).unwrap()
    };
    let layer = |x: &[f64], name: &str, relu: bool| -> Vec<f64> {
        let (w, b) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
        let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let out = w.chunks(x.len()).zip(b).map(|(w, b)| dot(w) + f64::from(*b));
        out.map(|a| if relu { a.max(0.0) } else { a }).collect()
    };
    let data = bars();
    let mut x = vec![0.0; 36];
    data.all().gather(5, &mut x);
    let mean = layer(&layer(&layer(&x, "encoder.0", true), "encoder.1", true), "encoder.mean", false);
    let ex = Exec::sequential().unwrap();
    Inference::new(&model.vae, &model.params, &ex).encode(1, &|_, x| data.all().gather(5, x), |_, found, _| {
        let close = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(found.iter().zip(&mean).all(close), "{found:?} {mean:?}");
    });
}

#[test]
fn metadata_say_what_the_model_is_and_nothing_of_the_machine() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("m");
    let trainer = trainer(&small("validation = 9"), 1);
    let source = scratch.path().join("some/where/bars");
    RunFolder::create(&Place::New(out.clone()), &trainer, source.to_str().unwrap())
        .unwrap()
        .train(&mut { trainer }, &mut (), &false.into())
        .unwrap();
    let config = Settings::load(out.join("config.toml")).unwrap();
    assert_eq!(config.data.as_deref(), source.to_str(), "the configuration can load the data again");
    for name in ["model.safetensors", "checkpoint"] {
        let metadata = TensorFile::read(out.join(name)).unwrap().metadata;
        let text = metadata.to_string();
        for word in ["some/where", "thread", "second", "host", "time"] {
            assert!(!text.contains(word), "{name}: {word} in {text}");
        }
    }
    let metadata = TensorFile::read(out.join("model.safetensors")).unwrap().metadata;
    let model = SavedModel::load(&out).unwrap();
    assert_eq!(metadata["kind"], "model");
    assert_eq!(metadata["likelihood"], "bernoulli");
    assert_eq!(metadata["data"], json!({"name": "bars", "scale": 1.0 / 255.0, "image": [6, 6, 1]}));
    let architecture = json!({"inputs": 36, "preset": "mlp-400", "hidden": [10], "latent": 3, "layer": "dense",
        "activation": "relu", "heads": "separate", "init": "torch"});
    assert_eq!(metadata["architecture"], architecture);
    assert_eq!(metadata["training"]["selected"], "best validation");
    assert_eq!(metadata["training"]["epoch"], model.info.epoch);
    assert_eq!(metadata["training"]["batch-size"], 16);
    // Saved again, it is the same file.
    let copy = scratch.path().join("copy.safetensors");
    model.save(&copy).unwrap();
    assert_eq!(fs::read(copy).unwrap(), fs::read(out.join("model.safetensors")).unwrap());
}

#[test]
fn folders_are_numbered_refused_or_overwritten() {
    let scratch = tempdir().unwrap();
    let trainer = trainer(&small(""), 1);
    let create = |place: &Place| RunFolder::create(place, &trainer, "bars");
    let runs = scratch.path().join("runs");
    let numbered = Place::Numbered(runs.clone());
    for name in ["bars-mlp-400", "bars-mlp-400-2", "bars-mlp-400-3"] {
        assert_eq!(create(&numbered).unwrap().path(), runs.join(name));
    }
    let taken = runs.join("bars-mlp-400");
    fs::write(taken.join("notes.txt"), "mine").unwrap();
    fs::write(taken.join("samples.png"), "of an earlier run").unwrap();
    let before = contents(&taken);
    let error = create(&Place::New(taken.clone())).unwrap_err().to_string();
    assert!(error.starts_with(&taken.display().to_string()), "{error}");
    assert!(error.contains("--resume") && error.contains("--overwrite"), "{error}");
    assert!(before == contents(&taken), "nothing is harmed");
    create(&Place::Overwrite(taken.clone())).unwrap();
    let after = contents(&taken);
    assert_eq!(after.keys().collect::<Vec<_>>(), ["checkpoint", "config.toml", "notes.txt"]);
    create(&Place::Overwrite(scratch.path().join("a/b/new"))).unwrap();

    // The superuser may write anywhere, but not below a file.
    let below = taken.join("notes.txt/run");
    for place in [Place::New(below.clone()), Place::Overwrite(below.clone()), Place::Numbered(below.clone())] {
        let error = create(&place).unwrap_err().to_string();
        assert!(error.contains("notes.txt") && error.contains("cannot make"), "{error}");
    }
}

#[test]
fn a_run_without_an_epoch_has_a_model_only_once_it_was_interrupted() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("m");
    let (mut run, mut trainer) = start(&small("validation = 9"), &out);
    let error = SavedModel::load(&out).unwrap_err().to_string();
    assert!(error.contains("no model.safetensors") && error.contains("--resume"), "{error}");
    run.train(&mut trainer, &mut At { step: 2, crash: false }, &false.into()).unwrap();
    let info = SavedModel::load(&out).unwrap().info;
    assert_eq!((info.epoch, info.step, info.selected), (0, 2, Selected::Last));
}

#[test]
fn a_diverged_run_leaves_its_last_good_files() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("m");
    let settings = small("learning-rate = 1e30\nlikelihood = \"gaussian\"");
    let (mut run, mut trainer) = start(&settings, &out);
    let before = contents(&out);
    let error = run.train(&mut trainer, &mut (), &false.into()).unwrap_err();
    assert_eq!(error.kind(), elbo::ErrorKind::Diverged);
    let kept = format!("the last good checkpoint, after epoch 0, is kept in {}", out.display());
    assert!(error.to_string().contains(&kept), "{error}");
    assert!(before == contents(&out));
    RunFolder::resume_with(&out, &Settings::default(), bars(), Exec::sequential().unwrap()).unwrap();
}
