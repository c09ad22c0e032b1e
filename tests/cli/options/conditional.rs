//! Models with a condition: what they are conditioned on, and how each verb says it.

use super::Row;
use super::lab::*;
use super::network::{bench, gradcheck};
use crate::support::*;
use ndarray::{Array2, ArrayView1, Axis, s};
use serde_json::json;
use std::fs;
use std::rc::Rc;

/// Enough steps for a label to be heard.
const GIVEN: &str = "--condition labels --epochs 40";

fn given(lab: &Lab) -> Rc<Run> {
    lab.train(GIVEN)
}

/// A call that is refused, with words of why.
fn refused(lab: &Lab, args: &str, words: &[&str]) {
    let ran = elbo(lab.at(), args);
    assert!(ran.code == 2 && !ran.stderr.contains("panicked"), "{args}\n{}", ran.stderr);
    words.iter().for_each(|word| assert!(ran.stderr.contains(word), "{args}: {word} in\n{}", ran.stderr));
}

/// The label that a picture of `set` shows: the brightest of its four bars.
fn shown(x: ArrayView1<f32>) -> usize {
    let bars: Vec<f32> = (0..4).map(|bar| x.slice(s![16 * bar..16 * (bar + 1)]).sum()).collect();
    (0..4).max_by(|&a, &b| bars[a].total_cmp(&bars[b])).unwrap()
}

/// The share of rows of which something holds.
fn share(x: &Array2<f32>, holds: impl Fn(usize, ArrayView1<f32>) -> bool) -> f64 {
    x.rows().into_iter().enumerate().filter(|(r, x)| holds(*r, x.view())).count() as f64 / x.nrows() as f64
}

pub const ROWS: &[Row] = &[
    ("train", "--condition", |lab| {
        let (run, plain) = (given(lab), lab.train("--epochs 40"));
        assert_eq!(
            (run.shape("encoder.0.weight"), run.shape("decoder.0.weight")),
            (vec![16, COLS + 4], vec![16, 3 + 4])
        );
        assert_eq!(run.shape("decoder.1.weight"), plain.shape("decoder.1.weight"), "x is what it was");
        assert!(run.stderr.contains("64-16-3-16-64 given 4, "), "{}", run.stderr);
        assert!(
            run.lines.last().unwrap().heldout.unwrap().neg_elbo < plain.lines.last().unwrap().heldout.unwrap().neg_elbo
        );
        let expected = json!([{ "kind": "labels", "column": "labels", "labels": ["0", "1", "2", "3"] }]);
        assert_eq!(info(&run.path)["data"]["condition"], expected);
        refused(lab, "train gaussian-2d --condition labels", &["gaussian-2d: the data have no labels", "name columns"]);
        refused(lab, "train set --condition region", &["no column region", "--condition labels"]);
        refused(lab, "train set --condition labels,labels", &["condition: ", "twice"]);
        refused(lab, "train set --condition labels --prior vamp:5", &["have no condition", "mixture:COMPONENTS"]);
    }),
    ("train", "--conditional-prior", |lab| {
        let run = lab.train(&format!("{GIVEN} --conditional-prior"));
        assert_eq!((run.shape("prior.0.weight"), run.shape("prior.mean.weight")), (vec![16, 4], vec![3, 16]));
        assert!(run.stderr.contains("conditional prior, "), "{}", run.stderr);
        assert_eq!(lab.train(&format!("{GIVEN} --conditional-prior false")).digest, given(lab).digest);
        assert_ne!(run.digest, given(lab).digest);
        let args = format!("evaluate {} --samples 10", run.path.display());
        let report = lab.elbo(&format!("{args} --json")).json();
        assert!(report.get("aggregate").is_none() && report["kl_per_latent"].as_array().unwrap().len() == 3);
        assert_eq!(report["neg_elbo"], run.lines.last().unwrap().heldout.unwrap().neg_elbo.unwrap());
        assert!(!lab.elbo(&args).stdout.contains("mutual information"));
        refused(lab, "train set --conditional-prior", &["there is none", "give --condition"]);
        refused(lab, "train set --condition labels --conditional-prior --prior mixture:4", &["not both"]);
        refused(lab, "train set --condition labels --conditional-prior --penalty mmd:1", &["follows the condition"]);
        refused(lab, &format!("sample {} --from mixture:2 --out x.png", run.path.display()), &["--from prior"]);
    }),
    ("bench", "--condition", |lab| bench(lab, "--condition labels", "64-6-3-6-64 given 4")),
    ("bench", "--conditional-prior", |lab| {
        bench(lab, "--profile --condition labels --conditional-prior", "prior.0.weight")
    }),
    ("gradcheck", "--condition", |lab| gradcheck(lab, "--condition 2", "5-4-2-4-5 given 2")),
    ("gradcheck", "--conditional-prior", |lab| gradcheck(lab, "--condition 2 --conditional-prior", "prior.0.weight")),
    ("import", "--conditional-prior", |lab| {
        // A state dict does not say what its columns stand for: it comes out, and goes nowhere but where it came from.
        lab.elbo(&format!("export {} --to c.safetensors", given(lab).path.display()));
        refused(lab, "import c.safetensors --hidden 16 --latent 3 --out c", &["has shape [16, 7], expected [16, 3]"]);
        refused(
            lab,
            "import c.safetensors --conditional-prior --out c",
            &["does not say what the condition of a conditional model is made of"],
        );
    }),
    ("sample", "--label", |lab| {
        let run = given(lab);
        let of = |run: &Run, args: &str| {
            lab.elbo(&format!("sample {} --out s.npy {args}", run.path.display()));
            lab.npy("s.npy")
        };
        for label in 0..4 {
            let x = of(&run, &format!("--label {label}.0"));
            assert!(share(&x, |_, x| shown(x) == label) > 0.9, "{label}");
        }
        let in_turn = of(&run, "--count 20");
        assert!(share(&in_turn, |r, x| shown(x) == r % 4) > 0.9, "{in_turn}");
        // Of 40 samples a column for each of the four labels, or seven to a line.
        let wide = |args: &str| {
            lab.elbo(&format!("sample {} --count 40 --out s.png {args}", run.path.display()));
            let bytes = lab.bytes("s.png");
            u32::from_be_bytes(bytes[16..20].try_into().unwrap())
        };
        assert!(wide("") * 3 < wide("--label 1") * 2, "{} {}", wide(""), wide("--label 1"));
        assert_eq!(of(&run, "--label labels=2"), of(&run, "--label 2"));
        assert_eq!(of(&run, "--from mixture:2 --count 8").nrows(), 8);
        let place = run.path.display();
        refused(
            lab,
            &format!("sample {place} --label 11 --out s.npy"),
            &["--label: no training row had `11` in labels", "did you mean `1`?"],
        );
        refused(
            lab,
            &format!("sample {place} --label label=1 --out s.npy"),
            &["unknown column", "did you mean `labels`?"],
        );
        let plain = lab.train("").path.display().to_string();
        refused(
            lab,
            &format!("sample {plain} --label 1 --out s.npy"),
            &["the model has no condition", "--condition labels"],
        );
    }),
    ("decode", "--labels", |lab| {
        let place = given(lab).path.display().to_string();
        lab.elbo(&format!("encode {place} --out c.npy"));
        lab.elbo(&format!("reconstruct {place} --out r.npy"));
        let labels: String = (0..TEST).map(|row| format!("{}\n", row % 4)).collect();
        fs::write(lab.at().join("y.csv"), format!("label\n{labels}")).unwrap();
        lab.elbo(&format!("decode {place} c.npy --labels y.csv --out d.npy"));
        assert_eq!(lab.npy("d.npy"), lab.npy("r.npy"), "each row under its own label");
        fs::write(lab.at().join("short.csv"), "label\n1\n").unwrap();
        refused(
            lab,
            &format!("decode {place} c.npy --labels short.csv --out d.npy"),
            &["short.csv: 1 labels for 60 rows"],
        );
        refused(lab, &format!("decode {place} c.npy --out d.npy"), &["a condition of 4", "--label or --labels"]);
    }),
    ("decode", "--label", |lab| {
        let place = given(lab).path.display().to_string();
        lab.elbo(&format!("decode {place} c.npy --label 3 --out d.npy"));
        assert!(share(&lab.npy("d.npy"), |_, x| shown(x) == 3) > 0.9, "the same latents, another label");
        refused(lab, &format!("decode {place} c.npy --label 3 --labels y.csv --out d.npy"), &["--labels"]);
    }),
];

/// Verbs that read rows go by the rows' own labels.
#[test]
fn other_verbs_use_the_rows_own_labels() {
    let lab = Lab::new();
    let place = given(&lab).path.display().to_string();
    let report = lab.elbo(&format!("score {place} --json")).json();
    let evaluated = lab.elbo(&format!("evaluate {place} --split test --json")).json();
    // At the posterior's mean, and with a draw: the same KL, whatever reads it.
    let [a, b] = [&report, &evaluated].map(|report| report["kl"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-4 * a, "{a} {b}");
    assert!(lab.elbo(&format!("probe {place}")).stdout.contains("labels"));
    lab.elbo(&format!("interpolate {place} --from class:0 --to class:3 --steps 5 --out i.npy"));
    let line = lab.npy("i.npy");
    assert_eq!((shown(line.row(0)), shown(line.row(4))), (0, 3));
    lab.elbo(&format!("evaluate {place} binary"));
    refused(&lab, &format!("evaluate {place} gaussian-2d"), &["gaussian-2d", "no labels"]);
    lab.elbo(&format!("train --resume {place} --epochs 41"));
    assert!(lab.elbo(&format!("info {place}/checkpoint")).stdout.contains("condition"));
    refused(&lab, &format!("train --resume {place} --condition none"), &["condition cannot change"]);
    // Labels stay in memory, wherever the rows are.
    assert_eq!(lab.train(&format!("{GIVEN} --memory 1K")).digest, given(&lab).digest);
}

/// Kingma et al. (2014) and Sohn et al. (2015), in small: a label is worth nats, and a digit that is asked for is drawn.
#[test]
fn digits_by_label() {
    let lab = Lab::new();
    let args = "mnist --hidden 64 --latent 3 --batch-size 100 --epochs 3 --learning-rate 0.004";
    let [plain, run] = ["", " --condition labels"].map(|more| lab.run(&format!("{args}{more}")));
    let neg_elbo = |run: &Run| run.lines.last().unwrap().heldout.unwrap().neg_elbo.unwrap();
    assert!(neg_elbo(&run) + 5.0 < neg_elbo(&plain), "{} {}", neg_elbo(&run), neg_elbo(&plain));
    let data = elbo::data::load("mnist").unwrap();
    let centroids: Vec<_> = (0..10)
        .map(|label| {
            let rows = data.train().select(&data.train().positions_of(&label.to_string()).unwrap());
            rows.to_array::<f32>().mean_axis(Axis(0)).unwrap()
        })
        .collect();
    let nearest = |x: ArrayView1<f32>| {
        let distance = |c: &ndarray::Array1<f32>| (&x - c).mapv(|d| d * d).sum();
        (0..10).min_by(|&a, &b| distance(&centroids[a]).total_cmp(&distance(&centroids[b]))).unwrap()
    };
    lab.elbo(&format!("sample {} --count 200 --out s.npy", run.path.display()));
    let right = share(&lab.npy("s.npy"), |r, x| nearest(x) == r % 10);
    // By chance one in ten; the rule itself is right about real digits four times in five.
    assert!(right > 0.6, "{right}");
    assert!(run.path.join("samples.png").is_file());
}

/// Text, a number, and numbers taken as text: they leave x, are a part of the model, and are asked for by name.
#[test]
fn covariates_of_a_table() {
    let lab = Lab::new();
    let line = |i: usize, region: &str| {
        let (age, code) = (20 + (i * 7) % 50, i % 2 + 1);
        let x = i as f64 * 0.37 % 1.0 + age as f64 / 10.0;
        format!("{x},{region},{},{age},{code}\n", 2.0 * x - code as f64)
    };
    let table = |name: &str, region: &dyn Fn(usize) -> &'static str| {
        let lines: String = (0..120).map(|i| line(i, region(i))).collect();
        fs::write(lab.at().join(name), format!("x,region,y,age,code\n{lines}")).unwrap();
    };
    table("t.csv", &|i| ["south", "north", "east"][i % 3]);
    table("odd.csv", &|i| if i == 7 { "nrth" } else { "south" });
    fs::write(lab.at().join("less.csv"), "x,y,age,code\n1,2,3,1\n").unwrap();
    fs::write(lab.at().join("gap.csv"), "x,region,y,age,code\n1,south,2,3,1\n2,,3,4,2\n").unwrap();
    let run = lab.run("t.csv --condition region,age,code:labels --epochs 3 --validation 0.1 --hidden 8");
    assert_eq!((run.shape("encoder.0.weight"), run.shape("decoder.1.bias")), (vec![8, 2 + 3 + 1 + 2], vec![2]));
    let data = info(&run.path)["data"].clone();
    assert_eq!(data["columns"], json!(["x", "y"]));
    assert_eq!(
        data["condition"][0],
        json!({ "kind": "labels", "column": "region", "labels": ["east", "north", "south"] })
    );
    assert_eq!(
        (&data["condition"][1]["kind"], &data["condition"][2]["labels"]),
        (&json!("number"), &json!(["1", "2"]))
    );
    let config = fs::read_to_string(run.path.join("config.toml")).unwrap();
    assert!(config.contains("condition = \"region,age,code:labels\""), "{config}");
    let place = run.path.display().to_string();
    let sample = |label: &str| {
        lab.elbo(&format!("sample {place} --count 4 --out s.csv {label}"));
        String::from_utf8(lab.bytes("s.csv")).unwrap()
    };
    assert!(sample("").starts_with("x,y\n"));
    assert_ne!(sample("--label region=north,age=60"), sample("--label region=north,age=20"));
    assert_eq!(sample("--label age=60,region=north,code=1"), sample("--label region=north,code=1.0,age=60"));
    lab.elbo(&format!("evaluate {place} --split validation"));
    lab.elbo(&format!("train --resume {place} --epochs 4"));
    refused(&lab, &format!("evaluate {place} odd.csv"), &["row 7: no training row had `nrth` in region", "`north`"]);
    refused(&lab, &format!("evaluate {place} less.csv"), &["less.csv", "unknown column `region`"]);
    refused(&lab, &format!("evaluate {place} gap.csv"), &["line 3", "region", "is empty"]);
    refused(&lab, &format!("sample {place} --label north --out s.csv"), &["region=…,age=…,code=…"]);
    refused(&lab, &format!("sample {place} --label age=old --out s.csv"), &["`old` is no number"]);
    refused(&lab, &format!("sample {place} --label age=1,age=2 --out s.csv"), &["age is given twice"]);
    refused(&lab, &format!("decode {place} s.csv --labels t.csv --out d.csv"), &["t.csv"]);
    refused(&lab, "train t.csv --condition regoin", &["did you mean `region`?"]);
    refused(&lab, "train t.csv --condition x,region,y,age,code", &["none is left to be modelled"]);
    refused(&lab, "train t.csv --condition region,,age", &["empty name"]);
}
