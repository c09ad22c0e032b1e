//! No flag without an effect.

use crate::support::*;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Trains a tiny network and returns its parameters' digest.
fn digest(at: &Path, args: &str) -> String {
    let ran = elbo(at, &format!("train mnist --quiet --out run --overwrite {args}"));
    assert_eq!(ran.code, 0, "{args}\n{}", ran.stderr);
    info(&at.join("run"))["digest"].as_str().unwrap().to_owned()
}

const TINY: &str = "--hidden 8 --latent 2 --batch-size 1500 --epochs 2";

#[test]
fn every_flag_changes_the_parameters() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("run.toml"), "beta = 3\nepochs = 1\n").unwrap();
    // With what, and the flag.
    let table = [
        ("", "--preset iwae-200"),
        ("", "--hidden 9"),
        ("", "--hidden 8,8"),
        ("", "--latent 3"),
        ("", "--layer gated"),
        ("", "--activation tanh"),
        ("", "--heads joint"),
        ("", "--likelihood gaussian"),
        ("", "--init glorot"),
        ("", "--init he"),
        ("", "--epochs 1"),
        ("", "--batch-size 1000"),
        ("", "--learning-rate 0.01"),
        ("", "--optimizer sgd"),
        ("", "--betas 0.5,0.99"),
        ("", "--epsilon 0.1"),
        ("--optimizer sgd", "--momentum 0.5"),
        ("--optimizer sgd --momentum 0.5", "--nesterov"),
        ("", "--weight-decay 0.1"),
        ("--weight-decay 0.1", "--optimizer adamw"),
        ("", "--schedule cosine"),
        ("", "--clip 1"),
        ("", "--beta 0.5"),
        ("", "--warmup-epochs 1"),
        ("", "--cycle-epochs 1"),
        ("--cycle-epochs 1", "--cycle-ratio 0.9"),
        ("", "--free-bits 0.1"),
        ("--free-bits 0.1", "--free-bits 0.1,2"),
        ("", "--binarize dynamic"),
        ("", "--binarize threshold"),
        ("", "--binarize fixed"),
        ("", "--validation 0.2"),
        ("", "--seed 1"),
        ("", "--config run.toml"),
    ];
    // Elsewhere bf16 falls back to f32.
    let half = elbo::tensor::Isa::detect().unwrap().has_half();
    let table = table.into_iter().chain(half.then_some(("", "--precision bf16")));
    let mut known = HashMap::new();
    for (with, flag) in table {
        let (without, changed) = (merge(TINY, with), merge(&merge(TINY, with), flag));
        let before = known.entry(without.clone()).or_insert_with(|| digest(at, &without)).clone();
        assert_ne!(before, digest(at, &changed), "{flag} changes nothing");
    }
    // Flags win over the file.
    assert_eq!(digest(at, &format!("{TINY} --config run.toml")), digest(at, &format!("{TINY} --beta 3")));
}

/// Arguments with a flag added, or replaced if it is there.
fn merge(args: &str, flag: &str) -> String {
    let name = flag.split(' ').next().unwrap_or_default();
    let mut words: Vec<&str> = args.split_whitespace().collect();
    if let Some(i) = words.iter().position(|w| *w == name && !name.is_empty()) {
        words.drain(i..i + 2);
    }
    words.extend(flag.split_whitespace());
    words.join(" ")
}

#[test]
fn the_number_of_threads_changes_nothing_but_is_said() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(digest(at, &format!("{TINY} --threads 1")), digest(at, &format!("{TINY} --threads 3")));
    let ran = elbo(at, &format!("train mnist {TINY} --threads 3 --out threads")).ok();
    assert!(ran.stderr.contains("3 threads"), "{}", ran.stderr);
}

#[test]
fn patience_stops_early() {
    let folder = folder();
    let at = folder.path();
    // Steps so large that the objective gets worse from some epoch on.
    let ran = elbo(
        at,
        &format!(
            "train mnist {} --validation 0.2 --patience 1 --out p",
            merge(TINY, "--epochs 60") + " --learning-rate 0.5"
        ),
    )
    .ok();
    let lines = fs::read_to_string(at.join("p/metrics.jsonl")).unwrap().lines().count();
    assert!(lines < 60 && ran.stderr.contains("no improvement"), "{lines} epochs\n{}", ran.stderr);
    let model = info(&at.join("p"));
    assert_eq!(model["epoch"].as_u64(), Some(lines as u64 - 1));
    assert_eq!(model["selected"], "best validation");
}

#[test]
fn a_run_s_configuration_repeats_it() {
    let folder = folder();
    let at = folder.path();
    let first = digest(at, &format!("{TINY} --preset gated-300 --warmup-epochs 1 --binarize dynamic --seed 5"));
    fs::copy(at.join("run/config.toml"), at.join("again.toml")).unwrap();
    elbo(at, "train --config again.toml --out again --quiet").ok();
    assert_eq!(info(&at.join("again"))["digest"], first.as_str());
}
