//! The options of the verbs that use a model or measure.

use super::Row;
use super::exchange::dict;
use super::lab::*;
use super::network::gradcheck_json;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What verbs promise of the rows that they read: `args` writes a row for each, after a header, to `out.csv`.
macro_rules! reads_rows {
    ($verb:literal, $args:literal) => {{
        let rows: [Row; 4] = [
            ($verb, "RUN", |lab| {
                let [run, other] = [lab.train(""), lab.train("--seed 1")];
                let model = run.path.join("model.safetensors");
                let of = |path: &Path| table(lab, &$args.replace("RUN", &format!("{} set", path.display())));
                assert_ne!(of(&run.path), of(&other.path));
                assert_eq!(of(&run.path), of(&model), "a folder, or its model's file");
            }),
            ($verb, "DATA", |lab| {
                let [own, same, other] =
                    ["", "set", "binary"].map(|data| table(lab, &$args.replace("RUN", &format!("RUN {data}"))));
                assert!(own == same && own != other, "without it, the run's own");
            }),
            ($verb, "--split", |lab| {
                let rows = |split: &str| table(lab, &format!("{} {split}", $args)).lines().count() - 1;
                let found = ["test", "train", "all"].map(|s| rows(&format!("--split {s}")));
                assert_eq!(found, [TEST, TRAIN, TRAIN + TEST]);
                assert_eq!(rows(""), TEST, "the test split, if there is one");
            }),
            ($verb, "--memory", |lab| {
                let args = format!("{} --memory 1K", $args);
                assert_eq!(table(lab, &args), table(lab, $args));
                let ran = call(lab, &args);
                assert!(ran.stderr.contains("streamed"), "{}", ran.stderr);
            }),
        ];
        rows
    }};
}

/// The program's arguments with the run's folder in the place of `RUN`, and its state dict in that of `DICT`.
pub fn fill(lab: &Lab, args: &str) -> String {
    let run = lab.train("");
    // Few want one.
    let args = if args.contains("DICT") { args.replace("DICT", &dict(lab, &run)) } else { args.to_owned() };
    args.replace("RUN", &run.path.display().to_string())
}
/// Runs the program on what [`fill`] makes of these arguments, to its good end.
#[track_caller]
pub fn call(lab: &Lab, args: &str) -> Ran {
    lab.elbo(&fill(lab, args))
}
/// The same with `--json`: what is reported.
pub fn json(lab: &Lab, args: &str) -> Value {
    call(lab, &format!("{args} --json")).json()
}
/// The CSV file that a call writes.
pub fn table(lab: &Lab, args: &str) -> String {
    call(lab, args);
    String::from_utf8(lab.bytes("out.csv")).unwrap()
}
pub fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}
/// Whether a file in the folder is a PNG picture.
fn is_png(lab: &Lab, name: &str) -> bool {
    lab.bytes(name).starts_with(b"\x89PNG")
}

/// The rows of verbs without a file of their own, and those that every verb but `train` has; of `bench` and `gradcheck` those that
/// are not the network's.
pub fn rows() -> Vec<Row> {
    let score = reads_rows!("score", "score RUN --out out.csv");
    let encode = reads_rows!("encode", "encode RUN --out out.csv");
    let reconstruct = reads_rows!("reconstruct", "reconstruct RUN --out out.csv");
    [&score, &encode, &reconstruct, OF_ROWS, MODEL, MEASURE].concat().into_iter().chain(common()).collect()
}

const OF_ROWS: &[Row] = &[
    ("encode", "--out", |lab| {
        call(lab, "encode RUN --out z.npy");
        assert_eq!(lab.npy("z.npy").dim(), (TEST, 3));
        call(lab, "encode RUN --out z.png");
        assert!(is_png(lab, "z.png"));
    }),
    ("encode", "--with-variance", |lab| {
        let [without, with] =
            ["", "--with-variance"].map(|flag| table(lab, &format!("encode RUN --out out.csv {flag}")));
        assert!(
            without.starts_with("z0,z1,z2\n")
                && with.starts_with("z0,z1,z2,log_variance0,log_variance1,log_variance2\n")
        );
        let lines = without.lines().zip(with.lines());
        lines.for_each(|(without, with)| assert!(with.starts_with(&format!("{without},")), "further columns"));
    }),
    ("reconstruct", "--out", |lab| {
        call(lab, "reconstruct RUN --out x.npy");
        assert_eq!(lab.npy("x.npy").dim(), (TEST, COLS));
        call(lab, "reconstruct RUN");
        assert!(lab.train("").path.join("reconstructions-test.png").is_file(), "the run's folder without it");
    }),
    ("reconstruct", "--count", |lab| {
        let [five, all] = ["--count 5", ""].map(|count| table(lab, &format!("reconstruct RUN --out out.csv {count}")));
        assert!(five.lines().count() == 6 && all.starts_with(&five), "the first ones");
    }),
    ("interpolate", "RUN", |lab| {
        let [run, other] = [lab.train(""), lab.train("--seed 1")];
        let of = |path: &Path| table(lab, &format!("interpolate {} --from 0 --to 1 --out out.csv", path.display()));
        assert_ne!(of(&run.path), of(&other.path));
    }),
    ("interpolate", "DATA", |lab| assert_ne!(line(lab, "binary --from 0 --to 1"), line(lab, "set --from 0 --to 1"))),
    ("interpolate", "--split", |lab| {
        let train = line(lab, "--split train --from 0 --to 1");
        assert_ne!(train, line(lab, "--split test --from 0 --to 1"));
        // Row 200 of all is row 0 of the test split.
        assert_eq!(
            line(lab, "--split all --from 200 --to 0").lines().nth(1),
            line(lab, "--from 0 --to 1").lines().nth(1)
        );
    }),
    ("interpolate", "--memory", |lab| {
        assert_eq!(line(lab, "--memory 1K --from 0 --to 1"), line(lab, "--from 0 --to 1"));
        assert!(call(lab, "interpolate RUN --memory 1K --from 0 --to 1").stderr.contains("streamed"));
    }),
    ("interpolate", "--from", |lab| {
        let (whole, back) = (line(lab, "--from 3 --to 8"), line(lab, "--from 8 --to 3"));
        assert_eq!(whole.lines().nth(1), back.lines().last(), "where one starts the other ends");
        assert_ne!(line(lab, "--from class:0 --to 8"), line(lab, "--from class:1 --to 8"));
    }),
    ("interpolate", "--to", |lab| {
        let rows = table(lab, "reconstruct RUN --out out.csv");
        assert_eq!(line(lab, "--from 3 --to 8").lines().last(), rows.lines().nth(9), "row 8, reconstructed");
        assert_ne!(line(lab, "--from 8 --to class:0"), line(lab, "--from 8 --to class:1"));
    }),
    ("interpolate", "--steps", |lab| {
        assert_eq!(["", "--steps 4"].map(|s| line(lab, &format!("--from 3 --to 8 {s}")).lines().count() - 1), [10, 4]);
    }),
    ("interpolate", "--out", |lab| {
        call(lab, "interpolate RUN --from 0 --to 1 --out l.npy");
        assert_eq!(lab.npy("l.npy").dim(), (10, COLS));
        call(lab, "interpolate RUN --from 0 --to 1");
        assert!(lab.train("").path.join("interpolation.png").is_file());
    }),
    ("score", "--out", |lab| {
        let printed = call(lab, "score RUN").stdout;
        assert_eq!(table(lab, "score RUN --out out.csv"), printed, "the standard output without it");
    }),
    ("score", "--samples", |lab| {
        let score = |samples: &str| number(&json(lab, &format!("score RUN {samples}")), "reconstruction");
        let (mean, few, many, more) = (score(""), score("--samples 1"), score("--samples 200"), score("--samples 400"));
        // Draws of z explain a row worse than the posterior's mean, and many tell the same.
        assert!(mean < many && (many - more).abs() < (many - few).abs().max(0.1), "{mean} {few} {many} {more}");
    }),
    ("score", "--labels", |lab| {
        let scores = table(lab, "score RUN --out out.csv");
        let neg_elbo = |line: &str| line.split(',').nth(1).unwrap().parse::<f64>().unwrap();
        let median = number(&json(lab, "score RUN --quantile 0.5"), "threshold");
        let label = |line| if neg_elbo(line) > median { "odd\n" } else { "usual\n" };
        let labels = scores.lines().skip(1).map(label);
        fs::write(lab.at().join("labels.csv"), format!("label\n{}", labels.collect::<String>())).unwrap();
        assert_eq!(number(&json(lab, "score RUN --labels labels.csv --positive odd"), "auc"), 1.0);
    }),
    ("score", "--positive", |lab| {
        let auc = |class: usize| number(&json(lab, &format!("score RUN --positive {class}")), "auc");
        let found = [0, 1, 2, 3].map(auc);
        // Of classes of equal size: that one of two rows of different classes scores higher is one half on the whole.
        near(found.iter().sum::<f64>() / 4.0, 0.5, 1e-9, "the mean over classes");
        assert!(found.iter().any(|&auc| auc != found[0]), "{found:?}");
    }),
    ("score", "--contamination", |lab| {
        for (share, flagged) in [(0.1, 6.0), (0.25, 15.0)] {
            assert_eq!(number(&json(lab, &format!("score RUN --contamination {share}")), "flagged"), flagged);
        }
    }),
    ("score", "--quantile", |lab| {
        let at = |q: &str| number(&json(lab, &format!("score RUN --quantile {q}")), "threshold");
        ascending(&[at("0"), at("0.5"), at("0.9"), at("1")], "thresholds by quantile");
        near(at("0.75"), number(&json(lab, "score RUN --contamination 0.25"), "threshold"), 1e-12, "its complement");
    }),
];

/// What `interpolate` writes.
fn line(lab: &Lab, args: &str) -> String {
    table(lab, &format!("interpolate RUN {args} --out out.csv"))
}

const MODEL: &[Row] = &[
    ("info", "RUN", |lab| {
        let [run, other] = [lab.train(""), lab.train("--seed 1")];
        assert_eq!(
            (info(&run.path)["digest"].as_str(), info(&other.path)["digest"].as_str()),
            (Some(&*run.digest), Some(&*other.digest))
        );
    }),
    ("decode", "RUN", |lab| {
        table(lab, "encode RUN --out out.csv");
        fs::rename(lab.at().join("out.csv"), lab.at().join("z.csv")).unwrap();
        let of = |run: &Run| table(lab, &format!("decode {} z.csv --out out.csv", run.path.display()));
        assert_ne!(of(&lab.train("")), of(&lab.train("--seed 1")));
    }),
    ("decode", "LATENTS", |lab| {
        fs::write(lab.at().join("ones.csv"), "z0,z1,z2\n1,1,1\n").unwrap();
        assert_eq!(table(lab, "decode RUN ones.csv --out out.csv").lines().count(), 2);
        assert_eq!(table(lab, "decode RUN z.csv --out out.csv"), table(lab, "reconstruct RUN --out out.csv"));
    }),
    ("decode", "--out", |lab| {
        call(lab, "decode RUN z.csv --out x.png");
        assert!(is_png(lab, "x.png"));
    }),
    ("decode", "--parameters", |lab| {
        call(lab, "decode RUN z.csv --out x.npy");
        call(lab, "decode RUN z.csv --out logits.npy --parameters");
        for (mean, logit) in lab.npy("x.npy").iter().zip(&lab.npy("logits.npy")) {
            assert!((mean - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6, "{mean} of {logit}");
        }
    }),
];

const BENCH: &str = "bench --data set --hidden 6 --latent 3 --batch-size 100 --epochs 1";

const MEASURE: &[Row] = &[
    ("bench", "--data", |lab| {
        let report = json(lab, BENCH);
        assert_eq!((report["data"].as_str(), number(&report, "rows")), (Some("set"), TRAIN as f64 - 100.0));
    }),
    ("bench", "--batch-size", |lab| {
        // Whole batches, and at least a row left out.
        for (size, rows) in [(100, 100.0), (60, 180.0), (40, 160.0)] {
            let report = json(lab, &BENCH.replace("size 100", &format!("size {size}")));
            assert_eq!((number(&report, "batch_size"), number(&report, "rows")), (f64::from(size), rows));
        }
    }),
    ("bench", "--precision", |lab| {
        let has = elbo::tensor::Isa::detect().unwrap().has_half();
        assert_eq!(json(lab, BENCH)["precision"], "f32");
        assert_eq!(json(lab, &format!("{BENCH} --precision bf16"))["precision"], if has { "bf16" } else { "f32" });
    }),
    ("bench", "--epochs", |lab| assert_eq!(number(&json(lab, &BENCH.replace("epochs 1", "epochs 4")), "epochs"), 4.0)),
    ("bench", "--seconds", |lab| {
        let epochs = |seconds: &str| number(&json(lab, &BENCH.replace("--epochs 1", seconds)), "epochs");
        assert!(epochs("--seconds 0") < epochs("--seconds 1"), "at least three, and as many as there is time for");
    }),
    ("bench", "--dense", |lab| {
        assert_eq!(
            (&json(lab, BENCH)["dense"], &json(lab, &format!("{BENCH} --dense"))["dense"]),
            (&false.into(), &true.into())
        );
    }),
    ("bench", "--profile", |lab| {
        assert!(json(lab, BENCH).get("stages").is_none());
        assert!(json(lab, &format!("{BENCH} --profile"))["stages"].as_array().unwrap().len() > 5);
    }),
    ("bench", "--memory", |lab| {
        assert_eq!(json(lab, BENCH)["streamed"], false);
        assert_eq!(json(lab, &format!("{BENCH} --memory 1K"))["streamed"], true);
    }),
    ("gradcheck", "--inputs", |lab| {
        let compared = |inputs: &str| compared(&gradcheck_json(lab, inputs), "encoder.0.weight");
        assert_eq!((compared("--inputs 5"), compared("--inputs 7")), (20, 28), "each weight");
    }),
    ("gradcheck", "--batch-size", |lab| {
        let [two, three] = ["", "--batch-size 3"].map(|flag| gradcheck_json(lab, flag));
        assert!(two["checks"] != three["checks"] && gradcheck_json(lab, "--batch-size 2") == two);
    }),
    ("gradcheck", "--beta", |lab| {
        // Without a KL, of other derivatives; as with a KL, right ones.
        let [one, none] = ["--beta 1", "--beta 0"].map(|flag| gradcheck_json(lab, flag));
        assert!(one["checks"] != none["checks"] && none["passed"] == true && gradcheck_json(lab, "") == one);
    }),
    ("gradcheck", "--free-bits", |lab| {
        // More than any latent has: the KL's derivative is 0, as if it had no weight.
        let [free, none] = ["--free-bits 10", "--beta 0"].map(|flag| gradcheck_json(lab, flag));
        let errors = |report: &Value| {
            report["checks"].as_array().unwrap().iter().map(|c| c["f32_error"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(errors(&free), errors(&none));
        assert_ne!(errors(&free), errors(&gradcheck_json(lab, "")));
    }),
];

/// Derivatives of a parameter that were compared, or left out at a kink.
fn compared(report: &Value, parameter: &str) -> u64 {
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == parameter).unwrap();
    check["compared"].as_u64().unwrap() + check["kinks"].as_u64().unwrap()
}

/// A call of each verb that takes what every verb takes.
fn verb_call(verb: &str) -> &'static str {
    match verb {
        "evaluate" => "evaluate RUN --samples 3",
        "info" => "info RUN",
        "sample" => "sample RUN --from mixture:3 --out out.npy",
        "reconstruct" => "reconstruct RUN --out out.npy",
        "encode" => "encode RUN --out out.npy --with-variance",
        "decode" => "decode RUN z.csv --out out.npy",
        "interpolate" => "interpolate RUN --from 3 --to 8 --out out.npy",
        "score" => "score RUN --samples 2",
        "probe" => "probe RUN --few 4",
        "import" => "import DICT --hidden 16 --latent 3 --out out.safetensors --overwrite",
        "export" => "export RUN --to out.safetensors --overwrite",
        "bench" => BENCH,
        "gradcheck" => "gradcheck --hidden 4 --latent 2 --inputs 5",
        other => panic!("no call of {other}"),
    }
}

/// What a call prints and writes, but for the words: what may not depend on threads.
fn result(lab: &Lab, args: &str) -> (String, [Option<Vec<u8>>; 2]) {
    let ran = call(lab, args);
    (ran.stdout, ["out.npy", "out.safetensors"].map(|name| fs::read(lab.at().join(name)).ok()))
}

/// `--seed`, `--threads`, `--quiet` and `--json` of every verb but `train`.
fn common() -> Vec<Row> {
    macro_rules! rows {
        ($($verb:literal)+) => {
            vec![$(
                ($verb, "--seed", |lab: &Lab| seed(lab, $verb)),
                ($verb, "--threads", |lab: &Lab| threads(lab, $verb)),
                ($verb, "--quiet", |lab: &Lab| quiet(lab, $verb)),
                ($verb, "--json", |lab: &Lab| as_json(lab, $verb)),
            )+]
        };
    }
    rows![
        "evaluate" "info" "sample" "reconstruct" "encode" "decode" "interpolate" "score" "probe" "import" "export"
        "bench" "gradcheck"
    ]
}

/// Verbs of which nothing is random.
const SEEDLESS: [&str; 7] = ["info", "reconstruct", "encode", "decode", "interpolate", "import", "export"];

fn seed(lab: &Lab, verb: &str) {
    let of = |seed: &str| result(lab, &format!("{} {seed}", verb_call(verb)));
    match verb {
        "bench" => assert!(of("--seed 1").0.contains("examples/s")),
        _ if SEEDLESS.contains(&verb) => assert_eq!(of("--seed 1"), of(""), "{verb}: nothing is random"),
        _ => {
            assert_eq!(of("--seed 0"), of(""), "{verb}: the run's own, or 0");
            assert!(of("--seed 1") != of("") && of("--seed 1") == of("--seed 1"), "{verb}");
        }
    }
}

fn threads(lab: &Lab, verb: &str) {
    if verb == "bench" {
        let of = |n: u64| number(&json(lab, &format!("{BENCH} --threads {n}")), "threads") as u64;
        return assert_eq!([1, 2, 3].map(of), [1, 2, 3]);
    }
    let [one, two, three] = [1, 2, 3].map(|n| result(lab, &format!("{} --threads {n}", verb_call(verb))));
    assert!(one == two && two == three, "{verb}: results do not depend on threads");
}

fn quiet(lab: &Lab, verb: &str) {
    let [loud, quiet] = ["", "--quiet"].map(|flag| call(lab, &format!("{} {flag}", verb_call(verb))));
    assert_eq!(quiet.stderr, "", "{verb}");
    // A model's facts are all that `info` says.
    assert_eq!(loud.stderr.is_empty(), verb == "info", "{verb}: {}", loud.stderr);
    if verb != "bench" {
        assert_eq!(quiet.stdout, loud.stdout, "{verb}: results stay");
    }
}

fn as_json(lab: &Lab, verb: &str) {
    let [text, json] = ["", "--json"].map(|flag| call(lab, &format!("{} {flag}", verb_call(verb))));
    assert!(serde_json::from_str::<Value>(&text.stdout).is_err(), "{verb}: not without it");
    assert!(json.json().is_object(), "{verb}");
}
