//! The files of a run whose prior is made of its training rows.

use crate::support::{At, bars, small, start, whole};
use elbo::files::tensors::{self, Tensor, TensorFile};
use elbo::model::Inference;
use elbo::tensor::Exec;
use elbo::train::{Outcome, RunFolder, SavedModel, Settings};
use tempfile::tempdir;

const PRIOR: &str = "prior = \"exemplar:30:2\"\nbinarize = \"dynamic\"\nvalidation = 9\naverage = 0.9";

/// What the model keeps are the encodings of all training rows, grey, by its own parameters: those of the best epoch, averaged.
#[test]
fn a_model_keeps_its_training_rows_encodings() {
    let scratch = tempdir().unwrap();
    let (settings, out) = (small(PRIOR), scratch.path().join("run"));
    assert_eq!(whole(&settings, &out), Outcome::Finished);
    let model = SavedModel::load(&out).unwrap();
    let (data, ex) = (settings.split(bars()).unwrap(), Exec::sequential().unwrap());
    let (kept, mut rows) = (model.vae.exemplars().unwrap(), 0);
    let fill = |r: usize, x: &mut [f32]| data.train().gather(r, x);
    Inference::new(&model.vae, &model.params, &ex).encode(data.train().len(), &fill, |r, mean, _| {
        assert_eq!(kept.row(r).as_slice().unwrap(), mean, "row {r}");
        rows += 1;
    });
    assert_eq!((rows, kept.dim()), (61, (61, 3)), "70 rows but for nine of validation");
    // Written again, it is the same file.
    model.save(scratch.path().join("again")).unwrap();
    let bytes = |path| std::fs::read(path).unwrap();
    assert!(bytes(scratch.path().join("again")) == bytes(out.join("model.safetensors")));
}

#[test]
fn encodings_that_are_missing_or_wrong_are_refused() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("run");
    let (mut run, mut trainer) = start(&small(PRIOR), &out);
    run.train(&mut trainer, &mut At { step: 6, crash: false }, &false.into()).unwrap();
    let resume = || RunFolder::resume_with(&out, &Settings::default(), bars(), Exec::sequential().unwrap()).map(|_| ());
    let model = || SavedModel::load(&out).map(|_| ());
    type Open<'a> = &'a dyn Fn() -> elbo::Result<()>;
    let files: [(&str, &str, Open); 2] =
        [("model.safetensors", "prior.exemplars", &model), ("checkpoint", "exemplars.remembered", &resume)];
    for (name, tensor, open) in files {
        let file = TensorFile::read(out.join(name)).unwrap();
        let others: Vec<Tensor> = file.tensors.iter().filter(|t| t.name != tensor).cloned().collect();
        let with = |shape: &[usize], value: f32| {
            let values = vec![value; shape.iter().product()];
            [others.clone(), vec![Tensor::new(tensor.to_owned(), shape, values)]].concat()
        };
        let cases = [
            (others.clone(), "there is no tensor"),
            (with(&[61, 4], 0.5), "has shape"),
            (with(&[183], 0.5), "has shape"),
            (with(&[0, 3], 0.5), if name == "checkpoint" { "has shape" } else { "has no rows" }),
            (with(&[61, 3], f32::NAN), "not finite"),
        ];
        for (tensors, says) in cases {
            tensors::write(out.join(name), &file.metadata, &tensors).unwrap();
            let error = open().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(tensor), "{name}, {says}: {error}");
        }
        tensors::write(out.join(name), &file.metadata, &file.tensors).unwrap();
        open().unwrap();
    }
    // No other prior has a place for them.
    let plain = scratch.path().join("plain");
    whole(&small(""), &plain);
    for (name, tensor) in [("model.safetensors", "prior.exemplars"), ("checkpoint", "exemplars.remembered")] {
        let mut file = TensorFile::read(plain.join(name)).unwrap();
        file.tensors.push(Tensor::new(tensor, &[61, 3], vec![0.5f32; 183]));
        tensors::write(plain.join(name), &file.metadata, &file.tensors).unwrap();
    }
    let model = SavedModel::load(&plain).unwrap_err().to_string();
    assert!(model.contains("prior.exemplars is no part of"), "{model}");
    let resumed = RunFolder::resume_with(&plain, &Settings::default(), bars(), Exec::sequential().unwrap());
    let resumed = resumed.unwrap_err().to_string();
    assert!(resumed.contains("exemplars.remembered is no part of"), "{resumed}");
}
