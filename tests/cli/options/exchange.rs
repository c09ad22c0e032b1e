//! The options of `import` and `export`, but for those that every verb has.

use super::Row;
use super::lab::*;
use super::verbs::{call, fill, json};
use crate::support::*;
use elbo::files::state_dict::StateDict;
use elbo::train::SavedModel;
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

/// The network of a run without flags.
const SHAPE: &str = "--hidden 16 --latent 3";

/// The state dict of such a run comes in again.
const IN: &str = "import DICT --hidden 16 --latent 3";

pub const ROWS: &[Row] = &[
    ("export", "RUN", |lab| {
        let [run, other] = [lab.train(""), lab.train("--seed 1")];
        assert_eq!(import(lab, &run, SHAPE).digest(), run.digest);
        assert_eq!(import(lab, &other, SHAPE).digest(), other.digest);
        lab.elbo(&format!("export {}/model.safetensors --to same.safetensors", run.path.display()));
        assert!(lab.bytes("same.safetensors") == lab.bytes(&dict(lab, &run)), "a folder, or its model's file");
    }),
    ("export", "--to", |lab| {
        call(lab, "export RUN --to named.safetensors");
        let dict = StateDict::read(lab.at().join("named.safetensors")).unwrap();
        assert_eq!(dict.shape("fc1.weight"), Some(&[16, COLS][..]));
        let missing = elbo(lab.at(), &format!("export {}", lab.train("").path.display()));
        assert!(missing.code == 2 && missing.stderr.contains("--to"), "{}", missing.stderr);
    }),
    ("export", "--map", |lab| {
        write_map(lab);
        call(lab, "export RUN --map names.toml --to mapped.safetensors");
        let names = StateDict::read(lab.at().join("mapped.safetensors")).unwrap().names();
        let layer = |name: &str| ["bias", "weight"].map(|part| format!("{name}.{part}"));
        // What the mapping leaves out keeps elbo's own name.
        let expected = ["decoder.0", "decoder.1", "encoder.log_variance", "encoder.mean", "first"].map(layer).concat();
        assert_eq!(names, expected);
    }),
    ("export", "--overwrite", |lab| stays(lab, "export RUN --to kept.safetensors")),
    ("import", "FILE", |lab| {
        let [run, other] = [lab.train(""), lab.train("--seed 1")].map(|run| import(lab, &run, SHAPE).digest());
        assert_eq!((&run, &other), (&lab.train("").digest, &lab.train("--seed 1").digest));
        assert_ne!(run, other);
    }),
    ("import", "--map", |lab| {
        write_map(lab);
        call(lab, "export RUN --map names.toml --to first.safetensors --overwrite");
        let args = format!("import first.safetensors {SHAPE} --out mapped");
        let ran = elbo(lab.at(), &args);
        let missing = "there is no tensor fc1.weight, which is to be encoder.0.weight";
        assert!(ran.code == 2 && ran.stderr.contains(missing), "{}", ran.stderr);
        assert_eq!(json(lab, &format!("{args} --map names.toml"))["digest"], lab.train("").digest.as_str());
    }),
    ("import", "--data", |lab| {
        call(lab, &format!("{IN} --data set --out with"));
        call(lab, &format!("{IN} --out without"));
        let [with, without] = ["with", "without"].map(|name| info(&lab.at().join(name))["data"].clone());
        assert_eq!(with, info(&lab.train("").path)["data"], "name, scale and pictures, as training keeps them");
        assert_eq!(without["name"], "unknown data");
        // Pictures are drawn, numbers listed.
        for (name, file) in [("with", "with/samples-0.png"), ("without", "without/samples-0.csv")] {
            lab.elbo(&format!("sample {name}"));
            assert!(lab.at().join(file).is_file(), "{file}");
        }
        refused(lab, &format!("{IN} --data gaussian-2d"), "the data have 2 columns, but the model was made for 64");
    }),
    ("import", "--memory", |lab| memory(lab)),
    ("import", "--out", |lab| {
        call(lab, &format!("{IN} --out as-file.safetensors"));
        call(lab, &format!("{IN} --out as-folder"));
        assert!(lab.bytes("as-file.safetensors") == lab.bytes("as-folder/model.safetensors"), "a file, or a folder");
    }),
    ("import", "--overwrite", |lab| {
        stays(lab, &format!("{IN} --out old.safetensors"));
        stays(lab, &format!("{IN} --out old"));
    }),
    ("import", "--preset", |lab| {
        network(lab, "--preset mlp-one-squared", "there is no tensor fc1.weight, which is to be encoder.0.weight");
        // Its widths, where no flag says others.
        let dict = dict(lab, &lab.train("--preset mlp-one-squared"));
        let shape = "tensor encoder.0.weight has shape [16, 64], expected [500, 64]";
        refused(lab, &format!("import {dict} --preset mlp-one-squared"), shape);
    }),
    ("import", "--hidden", |lab| {
        network(lab, "--hidden 9", "tensor fc1.weight has shape [9, 64], expected [16, 64] (encoder.0.weight)");
        network(lab, "--hidden 16,7", "there is no tensor fc1.weight, which is to be encoder.0.weight");
    }),
    ("import", "--latent", |lab| {
        network(lab, "--latent 5", "tensor fc21.weight has shape [5, 16], expected [3, 16] (encoder.mean.weight)");
    }),
    ("import", "--layer", |lab| {
        network(lab, "--layer gated", "tensor fc1.weight has shape [32, 64], expected [16, 64] (encoder.0.weight)");
    }),
    ("import", "--activation", |lab| same_shapes(lab, "--activation tanh")),
    ("import", "--heads", |lab| {
        // One tensor in the place of two, so that it is missed by its name.
        network(lab, "--heads joint", "there is no tensor fc1.weight, which is to be encoder.0.weight");
        let dict = dict(lab, &lab.train("--heads joint"));
        fs::write(lab.at().join("own.toml"), "\"encoder.0\" = \"encoder.0\"\n").unwrap();
        let mean = "there is no tensor encoder.mean.weight";
        refused(lab, &format!("import {dict} {SHAPE} --map own.toml --heads separate"), mean);
    }),
    ("import", "--likelihood", |lab| {
        let shape = "tensor fc4.weight has shape [128, 16], expected [64, 16] (decoder.1.weight)";
        network(lab, "--likelihood gaussian-predicted", shape);
        network(lab, "--likelihood gaussian-learned", "likelihood.log_variance");
        same_shapes(lab, "--likelihood gaussian:0.1");
    }),
    ("import", "--norm", |lab| {
        network(lab, "--norm layer", "there is no tensor fc1.weight, which is to be encoder.0.weight");
        let run = lab.train("--norm batch");
        assert_eq!(import(lab, &run, &format!("{SHAPE} --norm batch")).digest(), run.digest, "running averages too");
    }),
    ("import", "--residual", |lab| {
        let run = lab.train("--hidden 16,16 --residual");
        let of = |is: bool| import(lab, &run, &merge(SHAPE, &format!("--hidden 16,16 --residual {is}")));
        assert_eq!((of(true).vae.config(), of(true).digest()), (run.model.vae.config(), run.digest.clone()));
        assert!(!of(false).vae.config().residual && of(false).digest() == run.digest, "no tensor tells");
    }),
    ("import", "--dropout", |lab| {
        let model = import(lab, &lab.train(""), &format!("{SHAPE} --dropout 0.2"));
        assert_eq!(model.vae.config().dropout, 0.2, "no tensor tells");
    }),
    ("import", "--init", |lab| {
        // Every parameter is read, so that nothing is left to draw; the model's record says what was asked for.
        for init in ["torch", "glorot", "he"] {
            let model = import(lab, &lab.train(""), &format!("{SHAPE} --init {init}"));
            assert_eq!(
                (model.digest(), model.info.settings.init.as_deref()),
                (lab.train("").digest.clone(), Some(init))
            );
        }
        refused(lab, &format!("{IN} --init hee"), "did you mean `he`?");
    }),
];

/// The file in the folder that is a run's state dict, exported once.
pub fn dict(lab: &Lab, run: &Run) -> String {
    let name = format!("{}.safetensors", run.path.file_name().unwrap().display());
    if !lab.at().join(&name).exists() {
        lab.elbo(&format!("export {} --to {name}", run.path.display()));
    }
    name
}

/// A run's model, by way of its state dict.
#[track_caller]
fn import(lab: &Lab, run: &Run, flags: &str) -> SavedModel {
    lab.elbo(&format!("import {} {flags} --out in.safetensors --overwrite", dict(lab, run)));
    SavedModel::load(lab.at().join("in.safetensors")).unwrap()
}

/// Asserts that a state dict is not taken for this reason, and that nothing is made of it.
#[track_caller]
fn refused(lab: &Lab, args: &str, why: &str) {
    let ran = elbo(lab.at(), &format!("{} --out refused.safetensors", fill(lab, args)));
    assert!(ran.code == 2 && ran.stderr.contains(why), "{args}: {why} in\n{}", ran.stderr);
    assert!(!lab.at().join("refused.safetensors").exists(), "{args}");
}

/// Asserts that flags make the network that a run of them had: its state dict is taken with them, and without them refused
/// for this reason.
#[track_caller]
fn network(lab: &Lab, flags: &str, why: &str) {
    let run = lab.train(flags);
    let model = import(lab, &run, &merge(SHAPE, flags));
    assert_eq!((model.digest(), model.vae.config()), (run.digest.clone(), run.model.vae.config()), "{flags}");
    refused(lab, &format!("import {} {SHAPE}", dict(lab, &run)), why);
}

/// The same of flags that change no tensor's shape: without them the numbers are those of another function.
fn same_shapes(lab: &Lab, flags: &str) {
    let run = lab.train(flags);
    let neg_elbo = |model: &str| lab.elbo(&format!("evaluate {model} set --json")).json()["neg_elbo"].clone();
    let own = neg_elbo(&run.path.display().to_string());
    for (flags, same) in [(merge(SHAPE, flags), true), (SHAPE.to_owned(), false)] {
        assert_eq!(import(lab, &run, &flags).digest(), run.digest, "{flags}");
        assert_eq!(neg_elbo("in.safetensors") == own, same, "{flags}");
    }
}

/// A mapping of one layer.
fn write_map(lab: &Lab) {
    fs::write(lab.at().join("names.toml"), "\"encoder.0\" = \"first\"\n").unwrap();
}

/// Asserts that a call's file, named by its last word, stays what it is without `--overwrite`.
#[track_caller]
fn stays(lab: &Lab, args: &str) {
    call(lab, args);
    let path = lab.at().join(args.rsplit(' ').next().unwrap());
    let path = if path.is_dir() { path.join("model.safetensors") } else { path };
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let ran = elbo(lab.at(), &fill(lab, args));
    assert!(ran.code == 2 && ran.stderr.contains("--overwrite"), "{args}: {}", ran.stderr);
    assert_eq!(fs::read(&path).unwrap(), b"precious", "{args}");
    call(lab, &format!("{args} --overwrite"));
    assert!(fs::read(&path).unwrap() == whole, "{args}");
}

/// Data beyond `--memory` stay in their file, with the same model.
fn memory(lab: &Lab) {
    let [free, bound] = ["", "--memory 1K"].map(|memory| {
        call(lab, &format!("{IN} --data set {memory} --out in.safetensors --overwrite"));
        lab.bytes("in.safetensors")
    });
    assert!(free == bound);
    // Whether they do shows where a process may have less memory than they take: 256 MiB of zeros, which no disk holds.
    if !cfg!(target_os = "linux") {
        return;
    }
    let (rows, path) = (1u32 << 22, lab.at().join("large.idx"));
    let mut file = File::create(path).unwrap();
    file.write_all(&[0, 0, 8, 3]).unwrap();
    [rows, 8, 8].iter().for_each(|n| file.write_all(&n.to_be_bytes()).unwrap());
    file.set_len(16 + u64::from(rows) * COLS as u64).unwrap();
    let limited = |memory: &str| {
        let args = format!("{} --data large.idx --memory {memory} --out large.safetensors", fill(lab, IN));
        let line = format!("ulimit -v 200000; exec {} {args}", env!("CARGO_BIN_EXE_elbo"));
        Ran::from(Command::new("sh").current_dir(lab.at()).arg("-c").arg(line).output().unwrap())
    };
    let held = limited("1G");
    assert!(held.code == 2 && held.stderr.contains("the rest of the data takes at least"), "{}", held.stderr);
    limited("1M").ok();
}
