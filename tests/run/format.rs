//! The files of a run as `elbo::files::format` describes them: those of format 1 open, and what is wrong with others is
//! said in words.

use crate::support::{At, bars, small, start};
use elbo::data::Binarize;
use elbo::files::tensors::{self, Tensor, TensorFile, Values};
use elbo::model::Draw;
use elbo::tensor::{Exec, Noise, Stream};
use elbo::train::{CheckpointInfo, MetricsLine, Outcome, RunFolder, SavedModel, Settings, evaluate};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// A run that was interrupted in its third epoch, as the version of its name wrote it.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1");

fn copy() -> (TempDir, PathBuf) {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("run");
    fs::create_dir(&out).unwrap();
    for entry in fs::read_dir(FIXTURE).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), out.join(entry.file_name())).unwrap();
    }
    (scratch, out)
}

fn resume(out: &Path) -> elbo::Result<(RunFolder, elbo::Trainer, Vec<String>)> {
    RunFolder::resume_with(out, &Settings::default(), bars(), Exec::sequential()?)
}

#[test]
#[ignore = "writes the fixture; a new version of the format gets a folder of its own beside it"]
fn write_the_fixture() {
    let scratch = tempdir().unwrap();
    let (mut run, mut trainer) =
        start(&small("validation = 9\nclip = 5\nwarmup-epochs = 3"), &scratch.path().join("run"));
    assert_eq!(
        run.train(&mut trainer, &mut At { step: 11, crash: false }, &false.into()).unwrap(),
        Outcome::Interrupted
    );
    fs::create_dir_all(FIXTURE).unwrap();
    for entry in fs::read_dir(run.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), Path::new(FIXTURE).join(entry.file_name())).unwrap();
    }
}

/// Digests are of stored bytes and never change. Figures are sums of some hundred f32 terms, whose order a later version
/// may change: 10⁻⁵. Training multiplies such differences, and five steps are left: 10⁻³. Without the checkpoint's moments
/// the end is 4.6·10⁻³ away.
#[test]
fn the_run_of_format_1_opens_evaluates_and_goes_on() {
    let (_scratch, out) = copy();
    let model = SavedModel::load(&out).unwrap();
    assert_eq!(
        (model.info.epoch, model.info.step, model.info.selected.to_string().as_str()),
        (2, 8, "best validation")
    );
    assert_eq!(model.digest(), MODEL_DIGEST);
    let (data, ex, noise) = (bars(), Exec::sequential().unwrap(), Noise::new(0));
    let mut inference = elbo::model::Inference::new(&model.vae, &model.params, &ex);
    let draw = Draw { noise, stream: Stream::Evaluate, step: 0 };
    let found = evaluate(&mut inference, data.test().unwrap(), Binarize::None, &draw);
    let close = |found: f64, expected: f64, within: f64| {
        assert!((found - expected).abs() <= within * expected, "{found}, expected {expected}");
    };
    close(found.stats.mean_reconstruction(), RECONSTRUCTION, 1e-5);
    close(found.stats.mean_kl(), KL, 1e-5);

    let checkpoint = CheckpointInfo::find(out.join("checkpoint")).unwrap().unwrap();
    assert_eq!((checkpoint.epoch, checkpoint.step, checkpoint.batch), (2, 11, 3));
    assert_eq!((checkpoint.digest.as_str(), checkpoint.parameters), (CHECKPOINT_DIGEST, 872));
    let (mut run, mut trainer, _) = resume(&out).unwrap();
    assert_eq!(run.train(&mut trainer, &mut (), &false.into()).unwrap(), Outcome::Finished);
    let lines = MetricsLine::read(out.join("metrics.jsonl")).unwrap();
    close(lines.last().unwrap().validation.unwrap().neg_elbo.unwrap(), VALIDATION, 1e-3);
}

const MODEL_DIGEST: &str = "f91c3865e21becb95f3abf6522d2e15f5d0db9e4c06c987f45f04cc6cc681310";
const CHECKPOINT_DIGEST: &str = "1cf628752691300d5cf0357a319ae005fac07ec8be8c85a4c1feed40e0380964";
const RECONSTRUCTION: f64 = 21.985_878_724;
const KL: f64 = 0.112_497_347_5;
const VALIDATION: f64 = 20.760_447_72;

/// Opens one file of the run in a folder.
type Open = fn(&Path) -> elbo::Result<()>;

/// Both files of the fixture, by how they are opened.
fn both() -> [(&'static str, Open); 2] {
    [("model.safetensors", |out| SavedModel::load(out).map(drop)), ("checkpoint", |out| resume(out).map(drop))]
}

/// The error of opening a file of the run at `out`, which names it and asks for no memory beyond what the file has.
#[track_caller]
fn refusal(out: &Path, name: &str, open: Open) -> String {
    let len = fs::metadata(out.join(name)).unwrap().len();
    let mut said = String::new();
    let memory = allocation_counter::measure(|| said = open(out).expect_err(name).to_string());
    // A run that has gone on for longer than it was to is no fault of the file.
    let of_the_run = said.contains("epochs asked for") && said.starts_with(out.to_str().unwrap());
    assert!(said.starts_with(out.join(name).to_str().unwrap()) || of_the_run, "{said}");
    // The reader's buffer, a header parsed, and a trainer for the data of this run: a quarter of a megabyte.
    assert!(memory.bytes_max < (1 << 18) + 64 * len, "{} bytes in memory, file of {len}: {said}", memory.bytes_max);
    said
}

#[test]
fn a_file_cut_short_at_any_byte_is_refused() {
    let (_scratch, out) = copy();
    for (name, open) in both() {
        let path = out.join(name);
        let good = fs::read(&path).unwrap();
        // Opening the whole run costs more; what reads the file is the same.
        let read: Open = |out| CheckpointInfo::find(out.join("checkpoint")).map(drop);
        let file = fs::File::options().write(true).open(&path).unwrap();
        for cut in (0..good.len()).rev() {
            file.set_len(cut as u64).unwrap();
            let said = refusal(&out, name, if name == "checkpoint" && cut % 97 > 0 { read } else { open });
            assert!(["not a safetensors file", "cut short"].iter().any(|words| said.contains(words)), "{cut}: {said}");
        }
        fs::write(&path, [&good[..], &[0]].concat()).unwrap();
        assert!(refusal(&out, name, open).contains("longer than its header says"));
        fs::write(&path, good).unwrap();
        open(&out).unwrap();
    }
}

#[test]
fn every_tensor_is_there_in_its_shape_and_type_with_finite_values() {
    let (_scratch, out) = copy();
    let mut tried = 0;
    for (name, open) in both() {
        let path = out.join(name);
        let file = TensorFile::read(&path).unwrap();
        let mut refused = |tensors: &[Tensor<'static>], words: &[&str]| {
            tensors::write(&path, &file.metadata, tensors).unwrap();
            let said = refusal(&out, name, open);
            for word in words {
                assert!(said.contains(word), "{word} in: {said}");
            }
            tried += 1;
        };
        for (i, tensor) in file.tensors.iter().enumerate() {
            let (tensor_name, shape) = (&*tensor.name, &tensor.shape);
            let with = |changed: Tensor<'static>| {
                let mut all = file.tensors.clone();
                all[i] = changed;
                all
            };
            let missing: Vec<_> = file.tensors.iter().filter(|t| t.name != tensor.name).cloned().collect();
            refused(&missing, &["no tensor", tensor_name]);
            refused(&with(Tensor { name: "renamed".into(), ..tensor.clone() }), &["tensor"]);
            refused(
                &with(Tensor { shape: [&[1], &shape[..]].concat(), ..tensor.clone() }),
                &[tensor_name, "has shape"],
            );
            let len: usize = shape.iter().product();
            refused(
                &with(Tensor::new(tensor_name.to_owned(), &[len + 1], vec![0.0f32; len + 1])),
                &[tensor_name, "has shape"],
            );
            refused(&with(Tensor::new(tensor_name.to_owned(), shape, vec![0u64; len])), &[tensor_name, "U64"]);
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut changed = tensor.clone();
                match &mut changed.values {
                    Values::F32(v) => v.to_mut()[len - 1] = bad as f32,
                    Values::F64(v) => v.to_mut()[len - 1] = bad,
                    Values::U64(_) => unreachable!("neither file has counters among its tensors"),
                }
                // An objective may be infinite, and is then the worst.
                if tensor_name != "best.objective" || bad.is_nan() {
                    let says = match tensor_name {
                        "sums.reconstruction" => "reconstruction",
                        "sums.kl" => "KL",
                        "best.objective" => "best objective",
                        name => name.split('.').next().unwrap(),
                    };
                    refused(&with(changed), &[says]);
                }
            }
        }
        for extra in ["extra", "params.extra", "exp_avg.encoder.0.bia"] {
            let extra = Tensor::new(extra, &[1], vec![0.0f32]);
            refused(&[&file.tensors[..], std::slice::from_ref(&extra)].concat(), &[&extra.name, "no part of"]);
        }
        tensors::write(&path, &file.metadata, &file.tensors).unwrap();
        open(&out).unwrap();
    }
    println!("{tried} changes of tensors refused");
}

/// A file with another header text and, if given, another length claimed for it.
fn with_header(good: &[u8], change: impl Fn(&mut Value), claimed: Option<u64>) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&good[8..end]).unwrap();
    change(&mut header);
    let text = header.to_string();
    let length = claimed.unwrap_or(text.len() as u64).to_le_bytes();
    [&length[..], text.as_bytes(), &good[end..]].concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let (_scratch, out) = copy();
    for (name, open) in both() {
        let path = out.join(name);
        let good = fs::read(&path).unwrap();
        let refused = |bytes: Vec<u8>, words: &str| {
            fs::write(&path, bytes).unwrap();
            let said = refusal(&out, name, open);
            assert!(said.contains(words), "{words} in: {said}");
        };
        for length in [0, 1, 7, 100, good.len() as u64 - 9, good.len() as u64 - 8] {
            refused(with_header(&good, |_| (), Some(length)), "");
        }
        refused(with_header(&good, |_| (), Some(good.len() as u64 + 1000)), "cut short");
        for length in [1 << 31, 1 << 63, (1 << 63) - 1, u64::MAX] {
            refused(with_header(&good, |_| (), Some(length)), "the header claims");
        }
        let first = if name == "checkpoint" { "params.encoder.0.bias" } else { "encoder.0.bias" };
        let second = if name == "checkpoint" { "params.encoder.0.weight" } else { "encoder.0.weight" };
        let offsets = |value: Value| with_header(&good, move |h| h[first]["data_offsets"] = value.clone(), None);
        let other = with_header(&good, |h| h[first]["data_offsets"] = h[second]["data_offsets"].clone(), None);
        refused(other, "the header is damaged");
        for value in [
            json!([0, 0]),
            json!([0, 39]),
            json!([40, 0]),
            json!([0, 1u64 << 63]),
            json!([u64::MAX - 40, u64::MAX]),
            json!([-40, 0]),
            json!([0.0, 40.0]),
            json!([0]),
            json!("0 40"),
        ] {
            refused(offsets(value), "the header is damaged");
        }
        for shape in [json!([11]), json!([1u64 << 63]), json!([1u64 << 32, 1u64 << 32]), json!([-10]), json!(10)] {
            refused(with_header(&good, |h| h[first]["shape"] = shape.clone(), None), "the header is damaged");
        }
        refused(with_header(&good, |h| h[first]["dtype"] = json!("F33"), None), "the header is damaged");
        refused(with_header(&good, |h| h["__metadata__"] = json!({"format": "pt"}), None), "no entry \"elbo\"");
        refused(
            with_header(&good, |h| drop(h.as_object_mut().unwrap().remove("__metadata__")), None),
            "no entry \"elbo\"",
        );
        let format = |with: &str| {
            let text = |h: &mut Value| {
                let entry = h["__metadata__"]["elbo"].as_str().unwrap().replace("\"format\":1", with);
                h["__metadata__"]["elbo"] = json!(entry);
            };
            with_header(&good, text, None)
        };
        refused(format("\"format\":2"), "written by a newer elbo: format 2, this one reads up to 1");
        refused(format("\"format\":-1"), "no format number");
        refused(format("\"formal\":1"), "no format number");
        fs::write(&path, &good).unwrap();
        open(&out).unwrap();
    }
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if !at.is_empty() {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| places(value, &format!("{at}/{i}"), found)),
        _ => {}
    }
}

/// Each key and element of the metadata is replaced by each of many values: an error that names the file, or a file that
/// makes sense all the same; never a panic, and never memory that it does not have.
#[test]
fn metadata_of_any_kind_are_refused_or_make_sense() {
    let strange = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(1u64 << 32),
        json!(""),
        json!("relu"),
        json!("\u{0}\u{ffff}"),
        json!([]),
        json!([1, 2, 3]),
        json!([u64::MAX, u64::MAX, u64::MAX]),
        json!({}),
        json!({"a": {"b": []}}),
    ];
    let (_scratch, out) = copy();
    let (mut refused, mut opened) = (0, 0);
    for (name, open) in both() {
        let path = out.join(name);
        let file = TensorFile::read(&path).unwrap();
        let mut all = Vec::new();
        places(&file.metadata, "", &mut all);
        for at in &all {
            for value in &strange {
                let mut metadata = file.metadata.clone();
                *metadata.pointer_mut(at).unwrap() = value.clone();
                tensors::write(&path, &metadata, &file.tensors).unwrap();
                match open(&out) {
                    Ok(()) => opened += 1,
                    Err(_) => {
                        refused += 1;
                        refusal(&out, name, open);
                    }
                }
            }
        }
        for key in file.metadata.as_object().unwrap().keys() {
            let mut metadata = file.metadata.clone();
            metadata.as_object_mut().unwrap().remove(key);
            tensors::write(&path, &metadata, &file.tensors).unwrap();
            // An absent option is one without a value.
            if key != "best_epoch" {
                refusal(&out, name, open);
            }
            metadata[format!("{key}s")] = json!(1);
            tensors::write(&path, &metadata, &file.tensors).unwrap();
            refusal(&out, name, open);
        }
        tensors::write(&path, &file.metadata, &file.tensors).unwrap();
        open(&out).unwrap();
    }
    println!("{refused} changes of metadata refused, {opened} made sense");
    // Settings that only say how the model was trained may be anything of their type.
    assert!(refused > 4 * opened, "{refused} {opened}");
}

#[test]
fn the_digest_is_of_the_parameters_alone() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("run");
    let (mut run, mut trainer) = start(&small(""), &out);
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let model = SavedModel::load(&out).unwrap();
    let checkpoint = CheckpointInfo::find(out.join("checkpoint")).unwrap().unwrap();
    assert_eq!(checkpoint.digest, model.digest(), "the last parameters, in either file");
    assert_eq!((checkpoint.parameters, checkpoint.epoch, checkpoint.step), (model.vae.layout().count(), 4, 20));
    assert_eq!(CheckpointInfo::find(out.join("model.safetensors")).unwrap(), None);
    assert_eq!(CheckpointInfo::find(&out).unwrap(), None);
    // Metadata do not enter; any bit of any parameter does.
    let mut renamed = model.clone();
    renamed.info.epoch = 77;
    renamed.save(out.join("renamed.safetensors")).unwrap();
    assert_eq!(SavedModel::load(out.join("renamed.safetensors")).unwrap().digest(), model.digest());
    let file = TensorFile::read(out.join("model.safetensors")).unwrap();
    for i in 0..file.tensors.len() {
        let mut tensors = file.tensors.clone();
        let Values::F32(values) = &mut tensors[i].values else { panic!("a model is F32") };
        let last = values.to_mut().last_mut().unwrap();
        *last = f32::from_bits(last.to_bits() ^ 1);
        tensors::write(out.join("bit.safetensors"), &file.metadata, &tensors).unwrap();
        assert_ne!(SavedModel::load(out.join("bit.safetensors")).unwrap().digest(), model.digest());
    }
}
