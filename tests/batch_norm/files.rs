//! Running averages in files, damaged ones, and what is refused.

use super::{config, digits, sampled, small, unsettled};
use elbo::estimator::{Bound, ObjectiveKind, PathGradient};
use elbo::files::state_dict::{StateDict, write};
use elbo::files::tensors::{self, Tensor, TensorFile};
use elbo::gradcheck::check_vae;
use elbo::model::{Vae, VaeConfig};
use elbo::task::exchange::{export, import};
use elbo::tensor::{Exec, Layout, Params, Slab};
use elbo::train::{Place, RunFolder, SavedModel, Settings, TrainConfig, Trainer};

fn saved() -> SavedModel {
    let settings = Settings::from_toml("norm = \"batch\"\nhidden = [6, 5]\nlatent = 2").unwrap();
    let vae = Vae::new(&settings.network(4).unwrap()).unwrap();
    let params = unsettled(vae.layout()).cast();
    let empty = import(&dict(&vae, &params, |_| ()), &settings, None, None).unwrap();
    SavedModel { vae, params, info: empty.info }
}

/// A state dict of a model, changed and then written and read.
fn dict(vae: &Vae, params: &Params<f32>, change: impl Fn(&mut Vec<Tensor<'static>>)) -> StateDict {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dict.safetensors");
    let of = |layout: &Layout, slab: &Slab<f32>| -> Vec<Tensor<'static>> {
        let plain = |e: &elbo::tensor::Entry| slab.unpack(&e.slot).into_raw_vec_and_offset().0;
        layout.entries().iter().map(|e| Tensor::new(e.name.clone(), &e.shape(), plain(e))).collect()
    };
    let mut tensors = of(vae.layout(), params.values());
    tensors.extend(of(vae.layout().statistics().unwrap(), params.statistics()));
    change(&mut tensors);
    write(&path, &tensors).unwrap();
    StateDict::read(&path).unwrap()
}

/// Running averages are part of a model's file, of its digest, and of state dicts, by PyTorch's names.
#[test]
fn statistics_are_part_of_the_model_in_files() {
    let model = saved();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();
    let read = SavedModel::load(&path).unwrap();
    assert!(read.params.statistics() == model.params.statistics() && read.digest() == model.digest());
    let names: Vec<String> = export(&model, None).unwrap().into_iter().map(|t| t.name.into_owned()).collect();
    assert!(names.contains(&"decoder.1.norm.running_var".to_owned()), "{names:?}");
    assert!(!names.contains(&"encoder.0.bias".to_owned()), "a bias would be taken away again");

    let mut other = model.params.clone();
    other.statistics_mut().data_mut()[0] += 1.0;
    assert_ne!(elbo::train::digest(&model.vae, &other), model.digest());

    let bring = |change: &dyn Fn(&mut Vec<Tensor<'static>>)| {
        import(&dict(&model.vae, &model.params, change), &model.info.settings, None, None)
    };
    let counted = bring(&|tensors| tensors.push(Tensor::new("encoder.0.norm.num_batches_tracked", &[1], vec![7.0f32])));
    assert!(counted.unwrap().params.statistics() == model.params.statistics(), "PyTorch's counter is passed over");
    let refused = bring(&|tensors| tensors.retain(|t| t.name != "encoder.1.norm.running_var")).unwrap_err().to_string();
    assert!(refused.contains("there is no tensor encoder.1.norm.running_var"), "{refused}");
    let negative = |tensors: &mut Vec<Tensor<'static>>| {
        let at = tensors.iter_mut().find(|t| t.name == "encoder.1.norm.running_var").unwrap();
        *at = Tensor::new(at.name.clone(), &at.shape.clone(), vec![1.0f32, 1.0, -0.5, 1.0, 1.0]);
    };
    let refused = bring(&negative).unwrap_err().to_string();
    assert!(refused.contains("running_var is -0.5 at 2, expected a variance"), "{refused}");
}

/// Opens a file, or says why not.
type Open<'a> = &'a dyn Fn() -> Result<(), String>;

/// A model's file or a checkpoint whose running averages are missing, no variances or not finite is refused by the tensor's name.
#[test]
fn damaged_statistics_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = Settings::from_toml("norm = \"batch\"\nhidden = [6]\naverage = 0.9\nepochs = 1").unwrap();
    let start = || {
        let (config, _) = settings.resolve(&digits(52)).unwrap();
        Trainer::new(config, digits(52), Exec::sequential().unwrap()).unwrap()
    };
    let mut trainer = start();
    let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "digits").unwrap();
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let resume = || {
        let again = RunFolder::resume_with(&out, &Settings::default(), digits(52), Exec::sequential().unwrap());
        again.map(|_| ()).map_err(|e| e.to_string())
    };
    let load = || SavedModel::load(&out).map(|_| ()).map_err(|e| e.to_string());
    let files: [(&str, &str, Open); 3] = [
        ("model.safetensors", "", &load),
        ("checkpoint", "statistics.", &resume),
        ("checkpoint", "average_statistics.", &resume),
    ];
    for (name, prefix, open) in files {
        let path = out.join(name);
        let file = TensorFile::read(&path).unwrap();
        open().unwrap();
        let tensor = format!("{prefix}encoder.0.norm.running_var");
        let at = file.tensors.iter().position(|t| t.name == tensor.as_str()).unwrap();
        let spoilt = |value: f32| {
            let mut all = file.tensors.clone();
            all[at] = Tensor::new(tensor.clone(), &[6], vec![value; 6]);
            all
        };
        let mut without = file.tensors.clone();
        without.remove(at);
        let cases =
            [(spoilt(-1.0), "is -1 at 0, expected a variance"), (spoilt(f32::NAN), "not finite"), (without, "")];
        for (all, says) in cases {
            tensors::write(&path, &file.metadata, &all).unwrap();
            let error = open().unwrap_err();
            assert!(error.contains(&tensor) && error.contains(says), "{name}, {prefix}: {error}");
        }
        tensors::write(&path, &file.metadata, &file.tensors).unwrap();
    }
}

/// What cannot be normalised by the batch says so, and what to do.
#[test]
fn what_is_refused() {
    let says = |error: elbo::Error, words: &[&str]| {
        let error = error.to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
    };
    for prior in ["vamp:5", "exemplar:9:2"] {
        let error = Vae::new(&VaeConfig { prior: prior.parse().unwrap(), ..small() }).unwrap_err();
        says(error, &[prior.split(':').next().unwrap(), "encoded apart from it", "--norm layer"]);
    }
    let conditional = VaeConfig { condition: 2, conditional_prior: true, ..small() };
    let stacked = VaeConfig { prior: "vae:2x5".parse().unwrap(), ..small() };
    for config in [conditional, stacked] {
        says(Vae::new(&config).unwrap_err(), &["the prior has some too (prior.", "--norm layer"]);
    }
    let weighted = |gradient, kind: ObjectiveKind| TrainConfig { gradient, objective: kind, samples: 4, ..config(16) };
    for config in [
        weighted(PathGradient::StickingTheLanding, ObjectiveKind::Elbo),
        weighted(PathGradient::DoublyReparameterized, ObjectiveKind::Weighted(Bound::Iwae)),
        weighted(PathGradient::Plain, ObjectiveKind::Weighted(Bound::Piwae(2))),
    ] {
        let error = Trainer::new(config, digits(52), Exec::sequential().unwrap()).unwrap_err();
        says(error, &["every row's terms depend on all latents", "--norm layer"]);
    }
    let piwae = sampled(Some(Bound::Piwae(2)), 4);
    says(check_vae(&small(), &piwae, 1.0, 4, 1).unwrap_err(), &["every row's terms depend on all latents"]);
    let (one, two) = ("a batch of one row has none", "leaves 1 and -1 whatever they were");
    let refusals =
        [(1, 52, one, "--batch-size 100"), (16, 21, one, "too few training rows"), (2, 52, two, "--batch-size 100")];
    for (batch_size, rows, what, hint) in refusals.into_iter().chain([(16, 22, two, "too few training rows")]) {
        let error = Trainer::new(config(batch_size), digits(rows), Exec::sequential().unwrap()).unwrap_err();
        says(error, &[what, hint]);
    }
}
