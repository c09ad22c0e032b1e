//! The options of a published table, on a small set in the place of the paper's.

use super::Row;
use super::lab::*;
use crate::support::Ran;
use serde_json::Value;
use std::fs;

/// One row, a step or two: `OUT` is where its folder goes.
const SMALLEST: &str = "reproduce iwae --rows k1 --epochs 1 --samples 2 --data binary --threads 1";

fn call(lab: &Lab, flags: &str) -> Ran {
    lab.elbo(&merge(SMALLEST, flags))
}
/// What is reported: the last line, behind those of the epochs.
fn json(lab: &Lab, flags: &str) -> Value {
    call(lab, &format!("{flags} --json")).json_lines().pop().unwrap()
}
/// The same of the first row.
fn first(lab: &Lab, flags: &str) -> Value {
    json(lab, flags)["rows"][0].clone()
}
fn model(lab: &Lab, folder: &str) -> Vec<u8> {
    fs::read(lab.at().join(folder).join("model.safetensors")).unwrap()
}

pub const ROWS: &[Row] = &[
    ("train", "--output-bias", |lab| {
        let bias = |flags: &str| {
            let run = lab.train(&format!("--learning-rate 1e-30 --epochs 1 {flags}"));
            run.tensor("decoder.1.bias").into_raw_vec_and_offset().0
        };
        let (init, mean) = (bias(""), bias("--output-bias data-mean"));
        assert_eq!(init, bias("--output-bias init"));
        // The set's bars: rows of the picture that are lit in a quarter of the pictures, none ever.
        let of = |i: usize| 1.0 / (1.0 + (-f64::from(mean[i])).exp());
        let grey = |i: usize| {
            let images = lab.bytes("set/train-images-idx3-ubyte");
            let sum: u32 = images[16..].chunks(COLS).map(|row| u32::from(row[i])).sum();
            f64::from(sum) / (255.0 * TRAIN as f64)
        };
        // f32 logits of means that are themselves sums of f32 values.
        (0..COLS).for_each(|i| near(of(i), grey(i), 1e-5, "a column's mean"));
        let ran = crate::support::elbo(lab.at(), "train set --output-bias data-mean --likelihood gaussian --out none");
        assert!(ran.code == 2 && ran.stderr.contains("--likelihood bernoulli"), "{}", ran.stderr);
    }),
    ("reproduce", "TABLE", |lab| {
        let ran = crate::support::elbo(lab.at(), "reproduce iwea");
        assert!(ran.code == 2 && ran.stderr.contains("did you mean `iwae`?"), "{}", ran.stderr);
    }),
    ("reproduce", "--rows", |lab| {
        let two = json(lab, "--rows k1,k5 --out rows");
        let rows = two["rows"].as_array().unwrap();
        assert_eq!(rows.iter().map(|r| r["row"].as_str().unwrap()).collect::<Vec<_>>(), ["k1", "k5"]);
        assert_eq!((&rows[0]["published"], &rows[1]["published"]), (&86.76.into(), &85.54.into()));
        assert_ne!(model(lab, "rows/iwae/k1-binary-seed0"), model(lab, "rows/iwae/k5-binary-seed0"));
        let deep = json(lab, "--rows k1-two --out rows")["rows"][0].clone();
        assert_eq!((&deep["row"], &deep["published"]), (&"k1-two".into(), &85.33.into()));
        let info = lab.elbo("info rows/iwae/k1-two-binary-seed0 --json").json();
        assert_eq!((&info["latent"], &info["training"]["prior"]), (&100.into(), &"vae:50x100".into()));
        let ran = crate::support::elbo(lab.at(), "reproduce iwae --rows k500");
        assert!(ran.code == 2 && ran.stderr.contains("`k50`"), "{}", ran.stderr);
    }),
    ("reproduce", "--epochs", |lab| {
        let (one, two) = (first(lab, "--out more"), first(lab, "--out more --epochs 2"));
        assert_eq!((&one["epochs"], &two["epochs"], &one["of"]), (&1.into(), &2.into(), &3280.into()));
        // What goes on is what would have been without a stop.
        first(lab, "--out once --epochs 2");
        assert_eq!(model(lab, "more/iwae/k1-binary-seed0"), model(lab, "once/iwae/k1-binary-seed0"));
        // A warm-up that is cut to the run would be another protocol, and stay so when the run goes on.
        let short = "reproduce exemplar-mnist --rows hvae --epochs 99 --data binary --out short";
        let ran = crate::support::elbo(lab.at(), short);
        assert!(ran.code == 2 && ran.stderr.contains("ask for 100 or more"), "{}", ran.stderr);
        assert!(!lab.at().join("short").exists());
    }),
    ("reproduce", "--samples", |lab| {
        let of = |samples: usize| first(lab, &format!("--out samples --samples {samples}"))["nll"].as_f64().unwrap();
        assert!(of(500) < of(2), "more samples, a tighter bound");
        // Both are recorded, and not measured again.
        let lines = || String::from_utf8(lab.bytes("samples/iwae/k1-binary-seed0/likelihood.jsonl")).unwrap();
        let before = lines();
        assert!(before.lines().count() == 2 && of(2).is_finite() && lines() == before);
        // Of another model in that folder nothing has been recorded, and as the run of the row it is refused.
        let folder = "samples/iwae/k1-binary-seed0";
        lab.elbo(&format!("train binary --preset mlp-one --hidden 4 --latent 2 --epochs 1 --out {folder} --overwrite"));
        assert!(!lab.at().join(folder).join("likelihood.jsonl").exists());
        let ran = crate::support::elbo(lab.at(), &merge(SMALLEST, "--out samples"));
        let words = ["row k1 of iwae", "cannot change when a run is resumed: it is"];
        assert!(ran.code == 2 && words.iter().all(|word| ran.stderr.contains(word)), "{}", ran.stderr);
    }),
    ("reproduce", "--data", |lab| {
        let (binary, grey) = (first(lab, "--out data"), first(lab, "--out data --data set"));
        assert_ne!(binary["nll"], grey["nll"]);
        assert!(lab.at().join("data/iwae/k1-set-seed0").is_dir(), "a folder of its own");
        // Other data of the same name are not taken for those.
        let other = lab.at().join("other/set");
        fs::create_dir_all(&other).unwrap();
        for file in fs::read_dir(lab.at().join("binary")).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), other.join(file.file_name())).unwrap();
        }
        let ran = crate::support::elbo(lab.at(), &merge(SMALLEST, "--out data --data other/set"));
        assert!(ran.code == 2 && ran.stderr.contains("the data are not those"), "{}", ran.stderr);
    }),
    ("reproduce", "--out", |lab| {
        call(lab, "");
        assert!(lab.at().join("runs/reproduce/iwae/k1-binary-seed0").is_dir());
        call(lab, "--out elsewhere");
        assert!(lab.at().join("elsewhere/iwae/k1-binary-seed0").is_dir());
    }),
    ("reproduce", "--memory", |lab| {
        call(lab, "--out held");
        let ran = call(lab, "--out streamed --memory 1K");
        assert!(ran.stderr.contains("streamed"), "{}", ran.stderr);
        assert_eq!(model(lab, "held/iwae/k1-binary-seed0"), model(lab, "streamed/iwae/k1-binary-seed0"));
    }),
    ("reproduce", "--seed", |lab| {
        let (zero, one) = (first(lab, "--out seeds"), first(lab, "--out seeds --seed 1"));
        assert!(zero["nll"] != one["nll"] && (&zero["seed"], &one["seed"]) == (&0.into(), &1.into()));
    }),
    ("reproduce", "--threads", |lab| {
        let [one, two] = ["one --threads 1", "two --threads 2"].map(|out| first(lab, &format!("--out {out}")));
        assert_eq!(one["nll"], two["nll"]);
    }),
    ("reproduce", "--quiet", |lab| {
        assert!(!call(lab, "--out loud").stderr.is_empty());
        let ran = call(lab, "--out still --quiet");
        assert!(ran.stderr.is_empty() && ran.stdout.contains("paper"), "{}", ran.stderr);
    }),
    ("reproduce", "--json", |lab| {
        let text = call(lab, "--out as-text").stdout;
        assert!(text.contains("86.76") && text.contains("1 of 3280"), "{text}");
        let json = json(lab, "--out as-text");
        let row = &json["rows"][0];
        assert!(json["table"] == "iwae" && row["rows"] == TEST && row["nll"].is_number(), "{json}");
    }),
];

/// Every row of every table is a configuration that can be trained.
#[test]
fn every_row_resolves() {
    use elbo::task::reproduce::TABLES;
    use elbo::train::Settings;
    use elbo::{Dataset, TrainConfig, Trainer, tensor::Exec};
    for table in TABLES {
        for row in table.rows {
            let protocol = table.protocol(row);
            let epochs = if row.name == "k50-short" { 63 } else { table.epochs };
            assert_eq!((protocol.data.as_deref(), protocol.epochs), (Some(table.data), Some(epochs)));
            let protocol = Settings { validation: protocol.validation.map(|_| "6".to_owned()), ..protocol };
            // More rows than any of the priors has pseudo-inputs, or draws exemplars.
            let x = ndarray::Array2::from_shape_fn((25_100, 8), |(i, j)| f32::from(i % (j + 2) == 0));
            let data = Dataset::from_array(x.view()).unwrap().with_test(4).unwrap();
            let data = protocol.split(data).unwrap();
            let (config, notes): (TrainConfig, _) = protocol.resolve(&data).unwrap();
            assert!(notes.is_empty(), "{}, {}: {notes:?}", table.name, row.name);
            // The rates of IWAE fall from stage to stage to a tenth, whichever number of epochs a row has.
            let rate = |epoch| config.schedule.at(epoch, 1, epochs);
            let last = if table.name == "iwae" { 0.1 } else { 1.0 };
            assert!(rate(0) == 1.0 && (rate(epochs - 1) - last).abs() < 1e-12, "{}, {}", table.name, row.name);
            Trainer::new(config, data, Exec::sequential().unwrap()).unwrap();
        }
    }
}
