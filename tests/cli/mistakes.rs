//! Mistakes: one clear error each, exit status 2, nothing on the standard output, no panic.

use crate::support::*;
use std::fs;

#[test]
fn mistakes_are_explained() {
    let folder = folder();
    let (at, run) = (folder.path(), digits().display());
    fs::create_dir(at.join("taken")).unwrap();
    fs::write(at.join("taken/precious.txt"), "mine").unwrap();
    fs::write(at.join("short.csv"), "a,b\n1,2\n3\n").unwrap();
    fs::write(at.join("words.csv"), "a,b\n1,2\n3,x\n").unwrap();
    fs::write(at.join("empty.csv"), "").unwrap();
    fs::write(at.join("labels.csv"), "label\na\nb\n").unwrap();
    fs::write(at.join("broken.safetensors"), "not a model").unwrap();
    fs::write(at.join("typo.toml"), "latnet = 3\n").unwrap();
    fs::write(at.join("three.toml"), "betas = [0.9, 0.99, 0.999]\n").unwrap();
    fs::write(at.join("twice.csv"), "a,b,a\n1,2,3\n4,5,6\n7,8,9\n").unwrap();
    fs::write(at.join("missing.csv"), "a,b\n1,2\n4,NA\n7,8\n").unwrap();
    ndarray_npy::write_npy(at.join("bytes.npy"), &ndarray::Array2::<u8>::ones((3, 3))).unwrap();
    ndarray_npy::write_npy(at.join("raw.npy"), &ndarray::Array2::<f32>::zeros((3, 784))).unwrap();
    let table: &[(&str, &[&str])] = &[
        // Names.
        ("trian mnist", &["train"]),
        ("train mnist --epohcs 3", &["--epochs"]),
        ("train mnist --preset mlp-40", &["unknown preset", "mlp-400"]),
        ("train mnits", &["mnist"]),
        ("train mnist --likelihood bernouli", &["bernoulli"]),
        ("train mnist --activation rellu", &["relu"]),
        ("train mnist --optimizer adma", &["adam"]),
        ("train mnist --schedule cosin", &["cosine"]),
        ("train mnist --init glorto", &["glorot"]),
        ("train mnist --binarize dynamik", &["dynamic"]),
        ("train mnist --config typo.toml", &["typo.toml", "latent"]),
        ("evaluate RUN --split tets", &["test"]),
        // Values.
        ("train", &["data"]),
        ("train mnist --epochs 0", &["epochs", "0"]),
        ("train mnist --batch-size 0", &["batch size"]),
        ("train mnist --learning-rate -1", &["learning"]),
        ("train mnist --beta -1", &["-1"]),
        ("train mnist --clip 0", &["clip"]),
        ("train mnist --latent 0", &["latent"]),
        ("train mnist --hidden 5,0", &["hidden"]),
        ("train mnist --hidden 4000000000", &["2^31"]),
        ("train mnist --betas 0.9", &["two numbers"]),
        ("train mnist --betas 0.9,abc,0.999", &["two numbers"]),
        ("train mnist --log-variance=-6,x,2", &["two numbers"]),
        ("train mnist --config three.toml", &["three.toml", "two numbers, and there are 3"]),
        ("train mnist --norm layer --hidden 8,2", &["width 2", "1 and -1"]),
        ("train mnist --momentum 0.9", &["momentum"]),
        ("train mnist --validation 1.5", &["1.5"]),
        ("train mnist --validation 9000", &["9000"]),
        ("train mnist --patience 2", &["--validation"]),
        ("train mnist --threads 100000", &["threads"]),
        ("train mnist --warmup-epochs -3", &["-3"]),
        ("train mnist --epochs many", &["many"]),
        // Data.
        ("train nowhere/data.csv", &["nowhere/data.csv"]),
        ("train short.csv", &["short.csv", "3"]),
        ("train words.csv", &["words.csv", "x"]),
        ("train empty.csv", &["empty"]),
        ("train gaussian-2d --binarize dynamic", &["made binary", "--binarize out"]),
        ("train twice.csv --condition a", &["two columns are named \"a\"", "rename"]),
        ("train missing.csv --condition b", &["row 1, column b is NA", "b:labels"]),
        ("train gaussian-2d --likelihood bernoulli", &["row", "column", "--likelihood gaussian"]),
        ("train mnist --likelihood categorical:4", &["categorical"]),
        ("train mnist --likelihood poisson", &["mnist: row", "column", "poisson needs counts", "gaussian"]),
        ("train gaussian-2d --likelihood beta-binomial", &["gaussian-2d: row", "column", "8-bit values", "255"]),
        ("evaluate RUN gaussian-2d", &["784", "2 columns"]),
        ("evaluate RUN --split validation", &["validation"]),
        // Runs.
        ("train mnist --out taken", &["taken", "--overwrite"]),
        ("train mnist --out words.csv", &["words.csv", "it is a file"]),
        ("train mnist --overwrite", &["--out"]),
        ("train --resume nowhere", &["nowhere"]),
        ("train --resume RUN --latent 7", &["latent", "cannot change"]),
        ("train mnist --out taken/precious.txt/run", &["precious.txt"]),
        ("evaluate nowhere", &["nowhere"]),
        ("info taken", &["model.safetensors"]),
        ("info broken.safetensors", &["broken.safetensors"]),
        // Tasks.
        ("evaluate RUN --samples 0", &["samples"]),
        ("evaluate RUN --samples 99999999999", &["samples"]),
        ("sample RUN --count 0 --out x.png", &["no rows"]),
        ("sample RUN --count 99999999999 --out x.npy", &["2^31"]),
        ("sample RUN --from mixtur:10 --out x.png", &["mixture:COMPONENTS"]),
        ("sample RUN --from mixture:0 --out x.png", &["mixture:10"]),
        ("sample RUN --temperature 0 --out x.png", &["--temperature", "above 0"]),
        ("sample RUN --out x.jpg", &[".jpg", ".png"]),
        ("sample RUN --out nowhere/x.png", &["nowhere", "does not exist"]),
        ("sample RUN --out taken", &["taken"]),
        ("encode RUN", &["--out"]),
        ("encode RUN --out z", &["ending"]),
        ("decode RUN nowhere.npy --out x.npy", &["nowhere.npy"]),
        ("decode RUN words.csv --out x.npy", &["words.csv"]),
        ("decode RUN labels.csv --out x.npy", &["labels.csv"]),
        ("decode RUN bytes.npy --out x.npy", &["bytes.npy", "8 bits", "floats"]),
        ("interpolate RUN --from 3 --to 1000 --out x.png", &["1000 rows", "from 0"]),
        ("interpolate RUN --from three --to 4", &["class:3"]),
        ("interpolate RUN --from class:11 --to 4 --out x.png", &["11"]),
        ("interpolate RUN --from 3 --to 4 --steps 1 --out x.png", &["steps"]),
        ("score RUN --contamination 2", &["between 0 and 1"]),
        ("score RUN --quantile 1.5", &["between 0 and 1"]),
        ("score RUN --quantile 0.5 --contamination 0.5", &["--contamination"]),
        ("score RUN --positive 12", &["12"]),
        ("score RUN --labels labels.csv", &["--positive"]),
        ("score RUN raw.npy --positive 3", &["no labels", "--labels FILE"]),
        ("score RUN --labels labels.csv --positive a", &["2 labels for 1000 rows"]),
        ("score RUN --out scores.npy", &[".csv"]),
        ("bench --batch-size 0", &["batch size"]),
        ("bench --preset mlp-40", &["mlp-400"]),
        ("gradcheck --preset mpl-400", &["mlp-400"]),
        ("gradcheck --batch-size 0", &["rows"]),
    ];
    for (args, expected) in table {
        let ran = elbo(at, &args.replace("RUN", &run.to_string()));
        assert_eq!(ran.code, 2, "{args}\n{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args}");
        assert!(!ran.stderr.contains("panicked"), "{args}\n{}", ran.stderr);
        for word in *expected {
            assert!(ran.stderr.to_lowercase().contains(&word.to_lowercase()), "{args}: {word} in\n{}", ran.stderr);
        }
    }
    assert_eq!(fs::read_to_string(at.join("taken/precious.txt")).unwrap(), "mine");
    assert!(!at.join("runs").exists(), "a mistake leaves no run behind");
    assert!(!at.join("x.png").exists() && !at.join("x.npy").exists());
}

#[test]
fn an_unknown_instruction_set_is_named() {
    let at = folder();
    let ran: Ran = command(at.path(), "train mnist").env("ELBO_ISA", "mmx").output().unwrap().into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("mmx") && ran.stderr.contains("portable"), "{}", ran.stderr);
}

#[test]
fn divergence_is_explained_and_exits_with_1() {
    let folder = folder();
    let at = folder.path();
    let ran = elbo(at, &format!("train mnist {SMALL} --epochs 3 --learning-rate 1e30 --out d"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("step ") && ran.stderr.contains("--learning-rate"), "{}", ran.stderr);
    // The last good checkpoint is kept, and can be gone on from.
    assert!(at.join("d/checkpoint").is_file());
    assert_eq!(elbo(at, "train --resume d").code, 1);
}

#[test]
fn overwriting_replaces_the_run_and_nothing_else() {
    let folder = folder();
    let at = folder.path();
    fs::create_dir(at.join("r")).unwrap();
    fs::write(at.join("r/notes.txt"), "mine").unwrap();
    elbo(at, &format!("train mnist {SMALL} --epochs 2 --out r --overwrite --quiet")).ok();
    elbo(at, &format!("train mnist {SMALL} --epochs 1 --out r --overwrite --quiet")).ok();
    assert_eq!(info(&at.join("r"))["epoch"], 1);
    assert_eq!(fs::read_to_string(at.join("r/metrics.jsonl")).unwrap().lines().count(), 1);
    assert_eq!(fs::read_to_string(at.join("r/notes.txt")).unwrap(), "mine");
}
