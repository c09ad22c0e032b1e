//! Data, runs and models that belong together are found again, and others are told apart.

use crate::support::*;
use std::fs;
use std::path::Path;

/// Sixty rows of four columns in this order, by name.
fn table(columns: &[&str]) -> String {
    let value = |row: usize, column: &str| (row * 7 + column.as_bytes()[0] as usize * 13) % 11;
    let line = |row| columns.iter().map(|c| value(row, c).to_string()).collect::<Vec<_>>().join(",");
    let lines: Vec<String> = std::iter::once(columns.join(",")).chain((0..60).map(line)).collect();
    lines.join("\n") + "\n"
}

const TRAIN: &str = "--hidden 8 --latent 2 --epochs 1 --quiet --likelihood gaussian --threads 1";

fn config(run: &Path) -> String {
    fs::read_to_string(run.join("config.toml")).unwrap()
}

#[track_caller]
fn refused(at: &Path, args: &str, words: &[&str]) {
    let ran = elbo(at, args);
    assert_eq!(ran.code, 2, "{args}\n{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{args}: {word:?} is not in\n{}", ran.stderr);
    }
}

#[test]
fn a_resumed_run_finds_its_data_from_any_folder() {
    let folder = folder();
    let (at, other) = (folder.path(), folder.path().join("other"));
    fs::create_dir(&other).unwrap();
    fs::write(at.join("t.csv"), table(&["a", "b"])).unwrap();
    elbo(at, &format!("train t.csv {TRAIN} --out r")).ok();
    let before = config(&at.join("r"));
    elbo(at, "train --resume r t.csv --epochs 2 --quiet").ok();
    assert_eq!(config(&at.join("r")), before.replace("epochs = 1", "epochs = 2"));
    // Another table of that name, where the run is used.
    fs::write(other.join("t.csv"), table(&["a", "c"])).unwrap();
    let figures = |place: &Path, run: &str| elbo(place, &format!("evaluate {run} --json --quiet")).ok().stdout;
    assert_eq!(figures(&other, "../r"), figures(at, "r"));
}

#[test]
fn columns_in_another_order_are_refused() {
    let folder = folder();
    let at = folder.path();
    for (name, columns) in [("t", ["a", "b", "c"]), ("swapped", ["a", "c", "b"]), ("renamed", ["a", "b", "x"])] {
        fs::write(at.join(format!("{name}.csv")), table(&columns)).unwrap();
    }
    elbo(at, &format!("train t.csv {TRAIN} --out r")).ok();
    for verb in ["evaluate r", "score r", "encode r --out z.npy", "reconstruct r --out x.csv"] {
        let (verb, rest) = verb.split_once(' ').unwrap();
        let (run, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        elbo(at, &format!("{verb} {run} t.csv {rest} --quiet")).ok();
        refused(at, &format!("{verb} {run} swapped.csv {rest}"), &["column 1 is \"c\"", "with \"b\" there", "a,b,c"]);
        refused(at, &format!("{verb} {run} renamed.csv {rest}"), &["column 2 is \"x\"", "with \"c\" there"]);
    }
}

/// Numbers of 8 bits are divided by 255 as they are read, and others not.
#[test]
fn pixels_as_larger_numbers_are_refused() {
    let folder = folder();
    let at = folder.path();
    let pixels = ndarray::Array2::<u8>::from_shape_fn((50, 9), |(r, c)| (r * 31 + c * 17) as u8);
    ndarray_npy::write_npy(at.join("bytes.npy"), &pixels).unwrap();
    ndarray_npy::write_npy(at.join("wide.npy"), &pixels.mapv(i32::from)).unwrap();
    ndarray_npy::write_npy(at.join("scaled.npy"), &pixels.mapv(|x| f32::from(x) / 255.0)).unwrap();
    let ran = elbo(at, &format!("train bytes.npy {} --out r", TRAIN.replace("--quiet", ""))).ok();
    assert!(ran.stderr.contains("numbers of 8 bits, divided by 255"), "{}", ran.stderr);
    elbo(at, "evaluate r scaled.npy").ok();
    // Means of a Gaussian may lie outside what it was trained on.
    ndarray_npy::write_npy(at.join("beyond.npy"), &pixels.mapv(|x| f32::from(x) / 200.0 - 0.1)).unwrap();
    elbo(at, "evaluate r beyond.npy").ok();
    refused(at, "evaluate r wide.npy", &["wide", "row 0, column 1 is 17", "divided by 255"]);
}

/// A model's file knows its data by name, and files of all folders may have that.
#[test]
fn a_model_s_file_alone_asks_for_its_data() {
    let folder = folder();
    let at = folder.path();
    let array = ndarray::Array2::<f32>::from_shape_fn((50, 784), |(r, c)| ((r * 5 + c) % 7) as f32 / 7.0);
    ndarray_npy::write_npy(at.join("mnist.npy"), &array).unwrap();
    elbo(at, &format!("train mnist.npy {TRAIN} --out r")).ok();
    assert_eq!(info(&at.join("r"))["data"]["name"], "mnist-file");
    refused(at, "evaluate r/model.safetensors", &["knows its data as mnist-file", "name the data"]);
    let rows = |args: &str| elbo(at, &format!("evaluate {args} --json")).ok().json()["rows"].clone();
    assert_eq!(rows("r"), 50);
    assert_eq!(rows("r/model.safetensors mnist.npy"), 50);
    // Those that are known by name are found by it.
    let digits = digits().join("model.safetensors");
    assert_eq!(rows(&digits.display().to_string()), 1000);
}

#[test]
fn validation_rows_stay_apart_however_the_data_are_named() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("t.csv"), table(&["a", "b", "c"])).unwrap();
    elbo(at, &format!("train t.csv {TRAIN} --validation 20 --out r")).ok();
    let sample = |data: &str| {
        elbo(at, &format!("sample r {data} --from mixture:2 --count 3 --out s.csv --quiet")).ok();
        fs::read_to_string(at.join("s.csv")).unwrap()
    };
    let own = sample("");
    assert_eq!(own, sample("t.csv"));
    assert_eq!(own, sample(at.join("t.csv").to_str().unwrap()));
    fs::copy(at.join("t.csv"), at.join("copy.csv")).unwrap();
    assert_ne!(own, sample("copy.csv"), "of other data all rows are taken");
}

#[test]
fn exemplars_among_the_rows_are_told() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("t.csv"), table(&["a", "b", "c"])).unwrap();
    fs::copy(at.join("t.csv"), at.join("new.csv")).unwrap();
    elbo(at, &format!("train t.csv {TRAIN} --prior exemplar:20:5 --validation 20 --out r")).ok();
    for (args, told) in [("", true), ("--split train", true), ("--split validation", false), ("new.csv", false)] {
        for verb in ["evaluate", "score"] {
            let ran = elbo(at, &format!("{verb} r {args}")).ok();
            assert_eq!(ran.stderr.contains("exemplars of its prior"), told, "{verb} {args}: {}", ran.stderr);
        }
    }
}

#[test]
fn numbers_taken_as_labels_stay_so_where_some_are_missing() {
    let folder = folder();
    let at = folder.path();
    let cell = |row: usize| ["1", "2", "3", "NA"][row % 4];
    let lines: Vec<String> = (0..60).map(|row| format!("{},{},{}", row % 7, row % 5, cell(row))).collect();
    fs::write(at.join("t.csv"), format!("a,b,income\n{}\n", lines.join("\n"))).unwrap();
    elbo(at, &format!("train t.csv {TRAIN} --condition income:labels --out r")).ok();
    assert!(config(&at.join("r")).contains("condition = \"income:labels\""));
    elbo(at, "train --resume r --epochs 2 --quiet").ok();
    elbo(at, "evaluate r").ok();
    for condition in ["", "--condition income:labels"] {
        elbo(at, &format!("train t.csv --from r --epochs 1 --quiet {condition} --out from --overwrite")).ok();
    }
    refused(at, "train t.csv --from r --condition b", &["condition is b", "has income:labels"]);
    refused(at, "train t.csv --from r --out r --overwrite", &["would replace the model that it starts from"]);
    elbo(at, "train --resume from --from r --epochs 2 --quiet").ok();
}

#[test]
fn a_preset_does_not_rename_the_network_of_a_file() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("t.csv"), table(&["a", "b"])).unwrap();
    elbo(at, &format!("train t.csv {TRAIN} --preset tabular --betas 0.8,0.9 --warmup-epochs 1 --out r")).ok();
    let again =
        |flags: &str| elbo(at, &format!("train --config r/config.toml --quiet --overwrite --out again {flags}"));
    let wrong = again("--preset gated-300");
    assert!(wrong.code == 2 && wrong.stderr.contains("spells out the network of tabular"), "{}", wrong.stderr);
    again("--preset tabular").ok();
    // What the flags change takes what belonged to it along.
    for flags in ["--layer gated", "--optimizer sgd --learning-rate 1e-4", "--cycle-epochs 1", "--activation tanh"] {
        again(flags).ok();
    }
    assert!(config(&at.join("again")).contains("tanh"));
}

/// A run's validation rows are told apart in its own data; others have none.
#[test]
fn other_data_are_not_split_as_the_run_s() {
    let folder = folder();
    let at = folder.path();
    let few = table(&["a", "b", "c"]).lines().take(11).collect::<Vec<_>>().join("\n");
    for (name, text) in [("t", table(&["a", "b", "c"])), ("few", few)] {
        fs::write(at.join(format!("{name}.csv")), text).unwrap();
    }
    elbo(at, &format!("train t.csv {TRAIN} --validation 20 --out r")).ok();
    let rows = |args: &str| elbo(at, &format!("evaluate r {args} --json")).ok().json()["rows"].clone();
    assert_eq!([rows("--split train"), rows("--split validation"), rows("few.csv --split train")], [40, 20, 10]);
    refused(at, "evaluate r few.csv --split validation", &["validation"]);
}

/// What is held out to measure an encoder on is what it has not seen, if there is such; else that is said.
#[test]
fn a_probe_holds_out_what_the_encoder_has_not_seen() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("t.csv"), table(&["a", "b", "c"])).unwrap();
    let labels: String = (0..60).map(|row| format!("{}\n", row % 2)).collect();
    fs::write(at.join("labels.csv"), format!("label\n{labels}")).unwrap();
    fs::copy(at.join("t.csv"), at.join("copy.csv")).unwrap();
    for (run, more) in [("apart", "--validation 20"), ("all", "")] {
        elbo(at, &format!("train t.csv {TRAIN} {more} --out {run}")).ok();
    }
    for (args, heldout, known) in [("apart", 20, false), ("all", 12, true), ("all copy.csv", 12, false)] {
        let ran = elbo(at, &format!("probe {args} --labels labels.csv --json")).ok();
        assert_eq!(ran.json()["heldout"], heldout, "{args}");
        assert_eq!(ran.stderr.contains("was trained on the rows that are held out"), known, "{args}: {}", ran.stderr);
    }
}
