//! Models from PyTorch's state dicts and back.

use crate::support::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::fs;
use std::path::Path;

/// Names, shapes, types and bytes.
type Tensors = Vec<(String, Vec<usize>, Dtype, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, t): (String, TensorView)| (name, t.shape().to_vec(), t.dtype(), t.data().to_vec());
    let mut all: Tensors = file.tensors().into_iter().map(tensor).collect();
    all.sort();
    all
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(n, s, d, bytes)| (n, TensorView::new(*d, s.clone(), bytes).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// The example's state dict at 6-5-2-5-6, every number a short dyadic one of its own, exact even in BF16.
fn published() -> Tensors {
    let shapes: [(&str, &[usize]); 10] = [
        ("fc1.weight", &[5, 6]),
        ("fc1.bias", &[5]),
        ("fc21.weight", &[2, 5]),
        ("fc21.bias", &[2]),
        ("fc22.weight", &[2, 5]),
        ("fc22.bias", &[2]),
        ("fc3.weight", &[5, 2]),
        ("fc3.bias", &[5]),
        ("fc4.weight", &[6, 5]),
        ("fc4.bias", &[6]),
    ];
    let mut next = 0u16;
    let mut value = || {
        next += 1;
        (f32::from(next) - 64.0) / 64.0
    };
    let tensor = |(name, shape): (&str, &[usize])| {
        let bytes = (0..shape.iter().product()).flat_map(|_| value().to_le_bytes()).collect();
        (name.to_owned(), shape.to_vec(), Dtype::F32, bytes)
    };
    let mut all: Tensors = shapes.map(tensor).into();
    all.sort();
    all
}

/// The same numbers in another type, as bytes of each f32.
fn cast(tensors: &Tensors, dtype: Dtype, to: impl Fn(f32) -> Vec<u8>) -> Tensors {
    let convert = |bytes: &[u8]| bytes.as_chunks().0.iter().flat_map(|b| to(f32::from_le_bytes(*b))).collect();
    tensors.iter().map(|(n, s, _, bytes)| (n.clone(), s.clone(), dtype, convert(bytes))).collect()
}

const SHAPE: &str = "--preset mlp-400 --hidden 5 --latent 2";

#[test]
fn the_published_example_comes_in_and_goes_out_to_the_bit() {
    let folder = folder();
    let at = folder.path();
    write(&at.join("torch.safetensors"), &published());
    let ran = elbo(at, &format!("import torch.safetensors {SHAPE} --out model --json")).ok();
    let report = ran.json();
    assert_eq!((&report["parameters"], &report["out"]), (&110.into(), &"model/model.safetensors".into()));
    assert!(ran.stderr.contains("6-5-2-5-6"), "{}", ran.stderr);
    elbo(at, "export model --to back.safetensors").ok();
    assert_eq!(read(&at.join("back.safetensors")), published());

    // The right numbers in the right places: weights as elbo's own file has them.
    let ours = read(&at.join("model/model.safetensors"));
    for (theirs, name) in [("fc1", "encoder.0"), ("fc21", "encoder.mean"), ("fc22", "encoder.log_variance")]
        .into_iter()
        .chain([("fc3", "decoder.0"), ("fc4", "decoder.1")])
    {
        for part in ["weight", "bias"] {
            let bytes =
                |all: &Tensors, name: &str| all.iter().find(|t| t.0 == format!("{name}.{part}")).unwrap().3.clone();
            assert_eq!(bytes(&ours, name), bytes(&published(), theirs), "{name}.{part}");
        }
    }
    // An ordinary model.
    fs::write(at.join("x.csv"), "a,b,c,d,e,f\n0,1,0.5,0,1,1\n1,0,0,0.25,1,0\n").unwrap();
    assert_eq!(elbo(at, "evaluate model x.csv --json").ok().json()["rows"], 2);
    elbo(at, "sample model --count 3 --out s.npy").ok();
    let info = info(&at.join("model"));
    assert_eq!(
        (&info["digest"], &info["hidden"], &info["data"]["name"]),
        (&report["digest"], &[5].into(), &"unknown data".into())
    );
    let ran = elbo(at, "evaluate model");
    assert!(ran.code == 2 && ran.stderr.contains("name the data"), "{}", ran.stderr);
}

#[test]
fn every_floating_type_comes_in() {
    let folder = folder();
    let at = folder.path();
    let digest = |tensors: &Tensors, name: &str| {
        write(&at.join(format!("{name}.safetensors")), tensors);
        elbo(at, &format!("import {name}.safetensors {SHAPE} --out {name} --json")).ok().json()["digest"].clone()
    };
    let single = digest(&published(), "f32");
    let double = cast(&published(), Dtype::F64, |x| f64::from(x).to_le_bytes().into());
    // A BF16 is the upper half of an F32.
    let brain = cast(&published(), Dtype::BF16, |x| x.to_le_bytes()[2..].into());
    // These numbers are normal in F16: five bits of exponent with a bias of 15, ten of fraction.
    let half = cast(&published(), Dtype::F16, |x| {
        let bits = x.to_bits();
        let exponent = (bits >> 23 & 0xff).saturating_sub(112) << 10;
        ((bits >> 16 & 0x8000 | exponent | bits >> 13 & 0x3ff) as u16).to_le_bytes().into()
    });
    for (tensors, name) in [(double, "f64"), (brain, "bf16"), (half, "f16")] {
        assert_eq!(digest(&tensors, name), single, "{name}");
    }
}

/// A file starts with its header's length, whose bytes may be those that a pickle or a ZIP archive starts with.
#[test]
fn a_header_of_any_length_comes_in() {
    let folder = folder();
    let at = folder.path();
    let path = at.join("torch.safetensors");
    write(&path, &published());
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    for start in [*b"PK", [0x80, 0x02]] {
        let mut padded = header.to_vec();
        padded.resize(usize::from(u16::from_le_bytes(start)) + (1 << 16), b' ');
        fs::write(&path, [&(padded.len() as u64).to_le_bytes(), &padded[..], data].concat()).unwrap();
        elbo(at, &format!("import torch.safetensors {SHAPE} --out model.safetensors --overwrite")).ok();
    }
}

#[test]
fn a_mapping_names_other_tensors() {
    let folder = folder();
    let at = folder.path();
    // A joint head of two tensors, a layer by its name, parameters by theirs, in both of TOML's spellings.
    let renamed = |name: &str| {
        let (layer, part) = name.split_once('.').unwrap();
        match (layer, part) {
            ("fc1", "weight") => "W1".to_owned(),
            ("fc1", _) => "b1".to_owned(),
            ("fc21", part) => format!("to_mean.{part}"),
            ("fc22", part) => format!("to_logvar.{part}"),
            ("fc3", part) => format!("decoder.layers.0.{part}"),
            (_, part) => format!("decoder.1.{part}"),
        }
    };
    let mut other: Tensors = published().into_iter().map(|(n, s, d, b)| (renamed(&n), s, d, b)).collect();
    other.sort();
    write(&at.join("other.safetensors"), &other);
    let map = "encoder.0.weight = \"W1\"\n\"encoder.0.bias\" = \"b1\"\n\"decoder.0\" = \"decoder.layers.0\"\n\
               \"encoder.posterior\" = [\"to_mean\", \"to_logvar\"]\n";
    fs::write(at.join("names.toml"), map).unwrap();
    let ran = elbo(
        at,
        "import other.safetensors --hidden 5 --latent 2 --heads joint --map names.toml --out joint.safetensors",
    );
    ran.ok();
    elbo(at, "export joint.safetensors --map names.toml --to back.safetensors").ok();
    assert_eq!(read(&at.join("back.safetensors")), other);
    // The same function of x as with a head each.
    write(&at.join("torch.safetensors"), &published());
    elbo(at, &format!("import torch.safetensors {SHAPE} --out separate.safetensors")).ok();
    fs::write(at.join("x.csv"), "a,b,c,d,e,f\n0,1,0.5,0,1,1\n1,0,0,0.25,1,0\n").unwrap();
    let score = |model: &str| elbo(at, &format!("score {model} x.csv")).ok().stdout;
    assert_eq!(score("joint.safetensors"), score("separate.safetensors"));
    // A gated layer's rows are the values', then the gates': half of them are what --hidden says.
    elbo(at, "train gaussian-2d --layer gated --hidden 4 --epochs 1 --quiet --out gated").ok();
    fs::write(at.join("gates.toml"), "encoder.0 = [\"h\", \"g\"]\n").unwrap();
    elbo(at, "export gated --map gates.toml --to g.safetensors").ok();
    let shapes: Vec<_> = read(&at.join("g.safetensors")).into_iter().filter(|t| !t.0.contains("coder")).collect();
    let shapes: Vec<_> = shapes.iter().map(|t| (t.0.as_str(), t.1.clone())).collect();
    assert_eq!(shapes, [("g.bias", vec![4]), ("g.weight", vec![4, 2]), ("h.bias", vec![4]), ("h.weight", vec![4, 2])]);
    let flags = "--preset tabular --layer gated --hidden 4 --data gaussian-2d --map gates.toml";
    elbo(at, &format!("import g.safetensors {flags} --out again")).ok();
    assert_eq!(info(&at.join("again"))["digest"], info(&at.join("gated"))["digest"]);
    assert_eq!(elbo(at, "evaluate again --json").ok().json(), {
        let mut same = elbo(at, "evaluate gated --json").ok().json();
        same["epoch"] = 0.into();
        same
    });
}

/// A trained model with the data's shape, out and in again.
#[test]
fn digits_keep_their_pictures() {
    let folder = folder();
    let (at, run) = (folder.path(), digits().display());
    elbo(at, &format!("export {run} --to d.safetensors")).ok();
    elbo(at, "import d.safetensors --hidden 16 --latent 3 --data mnist --out d").ok();
    assert_eq!(info(&at.join("d"))["digest"], info(digits())["digest"]);
    elbo(at, "sample d --count 4").ok();
    assert!(at.join("d/samples-0.png").is_file());
    let evaluate = |model: &str| elbo(at, &format!("evaluate {model} --json")).ok().json()["neg_elbo"].clone();
    assert_eq!(evaluate("d"), evaluate(&run.to_string()));
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = folder();
    let (at, run) = (folder.path(), digits().display());
    let good = published();
    let with = |name: &str, change: &dyn Fn(&mut Tensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        write(&at.join(name), &tensors);
    };
    with("good.safetensors", &|_| ());
    with("missing.safetensors", &|t| t.retain(|t| t.0 != "fc22.bias"));
    with("more.safetensors", &|t| t.push(("bn.running_mean".to_owned(), vec![1], Dtype::F32, vec![0; 4])));
    with("nan.safetensors", &|t| t[2].3[4..8].copy_from_slice(&f32::NAN.to_le_bytes()));
    with("huge.safetensors", &|t| *t = cast(t, Dtype::F64, |x| (f64::from(x) * 1e300).to_le_bytes().into()));
    with("whole.safetensors", &|t| *t = cast(t, Dtype::I32, |_| vec![0; 4]));
    with("flat.safetensors", &|t| t.iter_mut().find(|t| t.0 == "fc1.weight").unwrap().1 = vec![30]);
    let bytes = fs::read(at.join("good.safetensors")).unwrap();
    fs::write(at.join("cut.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    fs::write(at.join("pickle.pt"), b"PK\x03\x04archive/data.pkl").unwrap();
    fs::write(at.join("empty.safetensors"), b"").unwrap();
    for (name, text) in [
        ("typo.toml", "\"encoder.o\" = \"fc1\"\n"),
        ("number.toml", "\"encoder.0\" = 3\n"),
        ("twice.toml", "\"encoder.0\" = \"fc1\"\n\"decoder.0\" = \"fc1\"\n"),
        ("three.toml", "\"encoder.0\" = [\"a\", \"b\", \"c\"]\n"),
        ("bad.toml", "encoder.0 =\n"),
        ("nowhere.toml", "\"encoder.0\" = \"linear1\"\n"),
    ] {
        fs::write(at.join(name), text).unwrap();
    }
    fs::create_dir(at.join("taken")).unwrap();
    fs::write(at.join("taken/model.safetensors"), "precious").unwrap();
    let table: &[(String, &[&str])] = &[
        (format!("import good.safetensors {SHAPE}"), &["--out"]),
        (format!("import good.safetensors {SHAPE} --out taken"), &["taken/model.safetensors", "--overwrite"]),
        (format!("import nowhere.safetensors {SHAPE} --out o"), &["nowhere.safetensors"]),
        (
            format!("import missing.safetensors {SHAPE} --out o"),
            &["no tensor fc22.bias", "encoder.log_variance.bias", "fc22.weight"],
        ),
        (format!("import more.safetensors {SHAPE} --out o"), &["no place for bn.running_mean"]),
        (format!("import nan.safetensors {SHAPE} --out o"), &["fc21.bias", "finite", "at 1"]),
        (format!("import huge.safetensors {SHAPE} --out o"), &["finite f32"]),
        (format!("import whole.safetensors {SHAPE} --out o"), &["holds I32", "F16"]),
        (format!("import flat.safetensors {SHAPE} --out o"), &["fc1.weight has shape [30]"]),
        (format!("import cut.safetensors {SHAPE} --out o"), &["cut.safetensors", "damaged"]),
        (format!("import empty.safetensors {SHAPE} --out o"), &["empty.safetensors", "save_file"]),
        (format!("import pickle.pt {SHAPE} --out o"), &["pickle", "save_file"]),
        ("import good.safetensors --out o".into(), &["fc1.weight has shape [5, 6], expected [400, 6]", "--hidden"]),
        ("import good.safetensors --hidden 5 --out o".into(), &["fc21.weight has shape [2, 5], expected [20, 5]"]),
        (
            "import good.safetensors --hidden 5 --latent 2 --heads joint --out o".into(),
            &["no tensor encoder.0.weight", "fc1.weight"],
        ),
        (
            format!("import good.safetensors {SHAPE} --likelihood gaussian-predicted --out o"),
            &["fc4.weight has shape [6, 5], expected [12, 5]"],
        ),
        (format!("import good.safetensors {SHAPE} --data mnist --out o"), &["784 columns", "6"]),
        (
            format!("import good.safetensors {SHAPE} --map typo.toml --out o"),
            &["encoder.o", "did you mean `encoder.0`"],
        ),
        (format!("import good.safetensors {SHAPE} --map number.toml --out o"), &["number.toml", "encoder.0 is 3"]),
        (format!("import good.safetensors {SHAPE} --map bad.toml --out o"), &["bad.toml"]),
        (format!("import good.safetensors {SHAPE} --map nowhere.toml --out o"), &["linear1.weight"]),
        (format!("import good.safetensors {SHAPE} --out nowhere/o"), &["nowhere"]),
        (format!("export {run} --map twice.toml --to e.safetensors"), &["fc1.weight twice"]),
        (format!("export {run} --map three.toml --to e.safetensors"), &["16 rows", "3 tensors"]),
        (format!("export {run} --to taken/model.safetensors"), &["--overwrite"]),
        (format!("export {run} --to taken"), &["folder"]),
        ("export nowhere --to e.safetensors".into(), &["nowhere"]),
        ("export pickle.pt --to e.safetensors".into(), &["pickle.pt"]),
    ];
    for (args, expected) in table {
        let ran = elbo(at, args);
        assert_eq!(ran.code, 2, "{args}\n{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args}");
        assert!(!ran.stderr.contains("panicked"), "{args}\n{}", ran.stderr);
        for word in *expected {
            assert!(ran.stderr.contains(word), "{args}: {word} in\n{}", ran.stderr);
        }
    }
    assert_eq!(fs::read_to_string(at.join("taken/model.safetensors")).unwrap(), "precious");
    assert!(!at.join("o").exists() && !at.join("e.safetensors").exists(), "a mistake leaves nothing behind");
    elbo(at, &format!("import good.safetensors {SHAPE} --out taken --overwrite")).ok();
    elbo(at, "export taken --to taken/model.safetensors --overwrite").ok();
}
