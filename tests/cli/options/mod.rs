//! Every option does what it says: a table of verb, option and what shows it, and a test that none is missing.

mod conditional;
mod evaluate;
mod exchange;
pub mod lab;
mod lower;
mod network;
mod objective;
mod posterior;
mod reproduce;
mod sample;
mod training;
mod verbs;

use crate::support::*;
use elbo::train::Settings;
use lab::Lab;
use std::collections::BTreeSet;

/// A verb's option, and what asserts its effect. `"train"` has the rows of all network options; other verbs' say that they
/// reach the network.
type Row = (&'static str, &'static str, fn(&Lab));

fn table() -> Vec<Row> {
    [
        network::ROWS,
        training::ROWS,
        objective::ROWS,
        posterior::ROWS,
        lower::ROWS,
        exchange::ROWS,
        reproduce::ROWS,
        sample::ROWS,
        conditional::ROWS,
        evaluate::ROWS,
        &verbs::rows(),
    ]
    .concat()
}

/// The verbs' options as the program declares them, by name; positional ones by their value's.
fn declared() -> BTreeSet<(String, String)> {
    let program = elbo::cli::command();
    let of = |verb: &clap::Command| -> Vec<(String, String)> {
        let ours = verb.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str()));
        let name = |a: &clap::Arg| match a.get_long() {
            Some(long) => format!("--{long}"),
            None => a.get_id().as_str().to_uppercase(),
        };
        ours.map(|a| (verb.get_name().to_owned(), name(a))).collect()
    };
    program.get_subcommands().flat_map(of).collect()
}

#[test]
fn every_option_has_a_row() {
    let rows: Vec<(String, String)> = table().iter().map(|(v, o, _)| ((*v).to_owned(), (*o).to_owned())).collect();
    let (known, declared) = (rows.iter().cloned().collect::<BTreeSet<_>>(), declared());
    assert_eq!(rows.len(), known.len(), "a row for each, once");
    let without: Vec<_> = declared.difference(&known).collect();
    assert!(without.is_empty(), "options of which no row asserts what they do: {without:?}");
    let gone: Vec<_> = known.difference(&declared).collect();
    assert!(gone.is_empty(), "rows of options that the program does not have: {gone:?}");
    println!("{} options of {} verbs", declared.len(), elbo::cli::command().get_subcommands().count());
}

/// A file's keys are the flags' names, so that a row here is a row for the setting too.
#[test]
fn every_setting_is_an_option_of_train() {
    let flag = |key: String| if key == "data" { "DATA".to_owned() } else { format!("--{key}") };
    let keys: BTreeSet<String> = Settings::keys().into_iter().map(flag).collect();
    let train: BTreeSet<String> = declared().into_iter().filter(|(v, _)| v == "train").map(|(_, o)| o).collect();
    let beside = ["--memory", "--config", "--out", "--overwrite", "--resume", "--threads", "--quiet", "--json"];
    let beside: BTreeSet<String> = beside.map(str::to_owned).into();
    assert_eq!(train.difference(&keys).cloned().collect::<BTreeSet<_>>(), beside, "options that are no settings");
    assert_eq!(keys.difference(&train).count(), 0, "settings that are no options");
}

fn hold(verbs: &[&str]) {
    let lab = Lab::new();
    for (verb, option, holds) in table().into_iter().filter(|(verb, ..)| verbs.contains(verb)) {
        println!("{verb} {option}");
        holds(&lab);
    }
}

#[test]
fn options_of_train() {
    hold(&["train"]);
}

#[test]
fn options_of_the_verbs_that_use_a_model() {
    hold(&["evaluate", "info", "sample", "reconstruct", "encode", "decode", "interpolate", "score", "probe"]);
}

#[test]
fn options_of_import_and_export() {
    hold(&["import", "export"]);
}

#[test]
fn options_of_reproduce() {
    hold(&["reproduce"]);
}

#[test]
fn options_of_bench_and_gradcheck() {
    hold(&["bench", "gradcheck"]);
}

#[test]
fn a_run_s_configuration_repeats_it() {
    let lab = Lab::new();
    let first = lab.train("--preset gated-300 --hidden 8,6 --warmup-epochs 1 --binarize dynamic --seed 5");
    std::fs::copy(first.path.join("config.toml"), lab.at().join("again.toml")).unwrap();
    elbo(lab.at(), "train --config again.toml --out again --quiet").ok();
    assert_eq!(info(&lab.at().join("again"))["digest"], first.digest.as_str());
}
