//! Files that are damaged, changed or of something else: an error that names the file, and nothing changed on disk.

use crate::support::{bars, contents, small, start, whole};
use elbo::data::Dataset;
use elbo::files::tensors::{self, Tensor, TensorFile};
use elbo::tensor::Exec;
use elbo::train::{RunFolder, SavedModel, Settings};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn finished() -> (TempDir, PathBuf) {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("run");
    whole(&small(""), &out);
    (scratch, out)
}

/// The error of a resume, which must leave every file as it is.
#[track_caller]
fn refused(out: &Path, changes: &str, data: Dataset) -> String {
    let before = contents(out);
    let changes = Settings::from_toml(changes).unwrap();
    let error = RunFolder::resume_with(out, &changes, data, Exec::sequential().unwrap()).unwrap_err().to_string();
    assert!(before == contents(out), "files changed: {error}");
    error
}

#[track_caller]
fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let (_scratch, out) = finished();
    let path = out.join("checkpoint");
    let good = fs::read(&path).unwrap();
    for len in [0, 5, 100, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert_says(&refused(&out, "", bars()), &[path.to_str().unwrap()]);
    }
    fs::copy(out.join("model.safetensors"), &path).unwrap();
    assert_says(&refused(&out, "", bars()), &[path.to_str().unwrap(), "a model, expected a checkpoint"]);
    fs::remove_file(&path).unwrap();
    assert_says(&refused(&out, "", bars()), &[path.to_str().unwrap(), "cannot read"]);
}

#[test]
fn counters_that_do_not_fit_the_run_are_refused() {
    let (_scratch, out) = finished();
    let path = out.join("checkpoint");
    let file = TensorFile::read(&path).unwrap();
    for (key, value) in [("epoch", json!(3)), ("batch", json!(5)), ("step", json!(u64::MAX)), ("best_epoch", json!(9))]
    {
        let mut metadata = file.metadata.clone();
        metadata[key] = value;
        tensors::write(&path, &metadata, &file.tensors).unwrap();
        assert_says(&refused(&out, "epochs = 50", bars()), &[path.to_str().unwrap()]);
    }
    let with = |changes: &[(&str, serde_json::Value)]| {
        let mut metadata = file.metadata.clone();
        changes.iter().for_each(|(key, value)| metadata[*key] = value.clone());
        tensors::write(&path, &metadata, &file.tensors).unwrap();
        refused(&out, "epochs = 50", bars())
    };
    // Counters at the end of what can be counted, and counters that contradict each other.
    assert_says(&with(&[("epoch", json!(u64::MAX)), ("batch", json!(1))]), &["epochs asked for"]);
    assert_says(&with(&[("rows", json!(u64::MAX))]), &["18446744073709551615 rows", "does not fit"]);
    assert_says(&with(&[("rows", json!(7))]), &["7 rows", "does not fit"]);
    assert_says(&with(&[("optimizer_steps", json!(3))]), &["at step 20, and its optimizer at step 3", "damaged"]);
    let mut metadata = file.metadata.clone();
    metadata["surprise"] = json!(1);
    tensors::write(&path, &metadata, &file.tensors).unwrap();
    assert_says(&refused(&out, "", bars()), &[path.to_str().unwrap(), "metadata are damaged", "surprise"]);
}

#[test]
fn sums_that_are_no_numbers_are_refused() {
    let (_scratch, out) = finished();
    let path = out.join("checkpoint");
    let file = TensorFile::read(&path).unwrap();
    let sums = [("sums.reconstruction", "reconstruction", f64::NAN), ("sums.kl", "KL", f64::INFINITY)];
    for (name, says, bad) in sums {
        let mut all = file.tensors.clone();
        let at = all.iter_mut().find(|t| t.name == name).unwrap();
        *at = Tensor::new(name, &at.shape.clone(), vec![bad; at.shape.iter().product()]);
        tensors::write(&path, &file.metadata, &all).unwrap();
        assert_says(&refused(&out, "epochs = 50", bars()), &[path.to_str().unwrap(), says, "not finite", "damaged"]);
    }
}

#[test]
fn a_changed_configuration_or_record_is_named() {
    let (_scratch, out) = finished();
    let path = out.join("config.toml");
    let good = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        fs::write(&path, good.replace(from, to)).unwrap();
        refused(&out, "", bars())
    };
    let file = path.to_str().unwrap().to_owned();
    assert_says(&with("latent = 3", "latent = 4"), &["latent is 4, and was 3", "checkpoint"]);
    assert_says(&with("latent = 3", "latnet = 3"), &[&file, "unknown setting `latnet`", "did you mean `latent`?"]);
    assert_says(&with("latent = 3", "latent = \"three\""), &[&file, "line", "latent"]);
    assert_says(&with("latent = 3", "latent = "), &[&file]);
    assert_says(&with("\"bernoulli\"", "\"bernouli\""), &[&file, "likelihood", "did you mean `bernoulli`?"]);
    assert_says(&with("optimizer = \"adam\"", "optimizer = \"adamw\""), &["optimizer is \"adamw\", and was \"adam\""]);
    fs::write(&path, &good).unwrap();
    assert_says(&refused(&out, "latent = 5", bars()), &["latent cannot change"]);
    fs::write(out.join("metrics.jsonl"), "").unwrap();
    assert_says(&refused(&out, "", bars()), &["metrics.jsonl", "0 lines", "epoch 4"]);
    let empty = tempdir().unwrap();
    assert_says(&refused(empty.path(), "", bars()), &[empty.path().to_str().unwrap(), "there is no run here"]);
}

#[test]
fn other_data_are_refused() {
    let (_scratch, out) = finished();
    let one_value = {
        let mut array = bars().all().to_array::<f32>();
        array[[3, 4]] = 0.5;
        Dataset::from_array(array.view()).unwrap().with_test(13).unwrap()
    };
    for data in [one_value, bars().with_test(12).unwrap(), bars().with_test(14).unwrap()] {
        let path = out.join("checkpoint");
        assert_says(&refused(&out, "", data), &[path.to_str().unwrap()]);
    }
}

#[test]
fn a_model_that_is_damaged_or_of_another_network_is_refused() {
    let (_scratch, out) = finished();
    let path = out.join("model.safetensors");
    let name = path.to_str().unwrap();
    let file = TensorFile::read(&path).unwrap();
    let error = || SavedModel::load(&path).unwrap_err().to_string();

    let with = |change: &dyn Fn(&mut serde_json::Value, &mut Vec<Tensor<'static>>)| {
        let (mut metadata, mut all) = (file.metadata.clone(), file.tensors.clone());
        change(&mut metadata, &mut all);
        tensors::write(&path, &metadata, &all).unwrap();
        let error = error();
        assert_says(&error, &[name]);
        error
    };
    let wider = with(&|m, _| m["architecture"]["hidden"] = json!([11]));
    assert_says(&wider, &["encoder.0.weight", "[10, 36]", "[11, 36]"]);
    assert_says(&with(&|_, t| drop(t.remove(2))), &["no tensor encoder.mean.weight"]);
    assert_says(&with(&|_, t| t.push(Tensor::new("extra", &[1], vec![1.0f32]))), &["tensor extra"]);
    let poison = |t: &mut Vec<Tensor<'static>>| t[1] = Tensor::new("encoder.0.bias", &[10], vec![f32::NAN; 10]);
    assert_says(&with(&|_, t| poison(t)), &["encoder.0.bias", "not finite"]);
    // Claims far beyond the file ask for no memory.
    let huge = with(&|m, _| m["architecture"]["hidden"] = json!([30_000, 30_000]));
    assert_says(&huge, &["encoder.0.weight", "[30000, 36]"]);
    assert_says(&with(&|m, _| m["architecture"]["hidden"] = json!([u32::MAX])), &["2^31"]);
    assert_says(&with(&|m, _| m["architecture"]["inputs"] = json!(35)), &["35 columns"]);
    assert_says(&with(&|m, _| m["likelihood"] = json!("gausian")), &["did you mean `gaussian`?"]);
    assert_says(&with(&|m, _| drop(m.as_object_mut().unwrap().remove("training"))), &["metadata", "training"]);
    assert_says(&with(&|m, _| m["data"]["image"] = json!([6, 7, 1])), &["image"]);
    assert_says(&with(&|m, _| drop(m.as_object_mut().unwrap().remove("kind"))), &["this is a model"]);

    let checkpoint = SavedModel::load(out.join("checkpoint")).unwrap_err().to_string();
    assert_says(&checkpoint, &["a checkpoint, expected a model", "model.safetensors is the model"]);
    let newer = {
        tensors::write(&path, &file.metadata, &file.tensors).unwrap();
        let bytes = fs::read(&path).unwrap();
        let version = br#"\"format\":1"#;
        let at = bytes.windows(version.len()).position(|w| w == version).unwrap();
        let mut newer = bytes;
        newer[at + version.len() - 1] = b'9';
        fs::write(&path, newer).unwrap();
        error()
    };
    assert_says(&newer, &[name, "newer elbo"]);
    fs::write(&path, "[1, 2, 3]").unwrap();
    assert_says(&error(), &[name, "not a safetensors file"]);
    assert_says(&SavedModel::load(out.join("nothing")).unwrap_err().to_string(), &["nothing", "cannot read"]);
}

#[test]
fn a_full_disk_names_the_file_and_keeps_the_checkpoint() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("run");
    let (mut run, mut trainer) = start(&small(""), &out);
    // A folder in the record's place fails as a full disk would, for the superuser too.
    fs::create_dir(out.join("metrics.jsonl")).unwrap();
    let error = run.train(&mut trainer, &mut (), &false.into()).unwrap_err().to_string();
    assert_says(&error, &["metrics.jsonl", "cannot append"]);
    fs::remove_dir(out.join("metrics.jsonl")).unwrap();
    RunFolder::resume_with(&out, &Settings::default(), bars(), Exec::sequential().unwrap()).unwrap();
}
