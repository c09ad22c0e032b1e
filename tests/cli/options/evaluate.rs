//! The options of `elbo evaluate` and `elbo probe`: how good a model is.

use super::Row;
use super::lab::*;
use super::verbs::{call, fill, json, number};
use crate::support::*;
use serde_json::Value;
use std::fs;

pub const ROWS: &[Row] = &[
    ("evaluate", "RUN", |lab| {
        let run = lab.train("--seed 1");
        let other = lab.elbo(&format!("evaluate {} --seed 0 --json", run.path.display())).json();
        assert_ne!(number(&json(lab, "evaluate RUN"), "neg_elbo"), number(&other, "neg_elbo"));
    }),
    ("evaluate", "DATA", |lab| {
        let [own, same, other] = ["", "set", "binary"].map(|data| json(lab, &format!("evaluate RUN {data}")));
        assert!(own == same && number(&own, "neg_elbo") != number(&other, "neg_elbo") && other["data"] == "binary");
    }),
    ("evaluate", "--split", |lab| {
        let rows = |split: &str| number(&json(lab, &format!("evaluate RUN --split {split}")), "rows") as usize;
        assert_eq!(["test", "train", "all"].map(rows), [TEST, TRAIN, TRAIN + TEST]);
    }),
    ("evaluate", "--memory", |lab| {
        assert_eq!(json(lab, "evaluate RUN --memory 1K"), json(lab, "evaluate RUN"));
        assert!(call(lab, "evaluate RUN --memory 1K").stderr.contains("streamed"));
    }),
    ("evaluate", "--corrupt", |lab| {
        assert_eq!(json(lab, "evaluate RUN --corrupt none"), json(lab, "evaluate RUN"));
        let restored = |run: &Run, how: &str| {
            let found = lab.elbo(&format!("evaluate {} --corrupt {how} --samples 5 --json", run.path.display())).json();
            assert!(how == "none" || found["corrupt"] == how);
            number(&found, "reconstruction")
        };
        let [plain, denoising] = ["none", "mask:0.5"].map(|how| lab.train(&format!("--epochs 40 --corrupt {how}")));
        ascending(&["none", "mask:0.3", "mask:0.8"].map(|how| restored(&plain, how)), "by what is hidden");
        // Who has learned to make up for what is hidden does it better, on rows that it has not seen.
        ascending(&[&denoising, &plain].map(|run| restored(run, "mask:0.5")), "by training");
    }),
    ("evaluate", "--samples", |lab| {
        assert!(json(lab, "evaluate RUN").get("nll").is_none());
        // A bound that gets tighter (Burda et al., 2016, theorem 1): in the mean, and by far more than it scatters.
        let nll = |samples: &str| number(&json(lab, &format!("evaluate RUN --samples {samples}")), "nll");
        ascending(&[nll("500"), nll("20"), nll("1")], "-log p(x) by samples, falling");
    }),
    ("probe", "RUN", |lab| {
        let [run, other] = [lab.train(""), lab.train("--seed 1 --epochs 1")];
        let of = |run: &Run| lab.elbo(&format!("probe {} --seed 0 --few 8", run.path.display())).stdout;
        assert_ne!(of(&run), of(&other));
    }),
    ("probe", "DATA", |lab| {
        assert_eq!(probed(lab, "set"), probed(lab, ""), "without it, the run's own");
        assert!(call(lab, "probe RUN binary").stderr.contains("binary, train split"));
    }),
    ("probe", "--memory", |lab| {
        assert_eq!(probed(lab, "--memory 1K"), probed(lab, ""));
        assert!(call(lab, "probe RUN --memory 1K").stderr.contains("streamed"));
    }),
    ("probe", "--labels", |lab| {
        // The data's own labels once more; and labels that the rows know nothing of.
        let file = |name: &str, label: &dyn Fn(usize) -> usize| {
            let lines: String = (0..TRAIN + TEST).map(|row| format!("{}\n", label(row))).collect();
            fs::write(lab.at().join(name), format!("label\n{lines}")).unwrap();
        };
        file("own.csv", &|row| row % 4);
        file("none.csv", &|row| (row * 7919 + row * row * 31) % 13 % 4);
        let [(_, _, own), (_, _, none)] = ["own", "none"].map(|name| probed(lab, &format!("--labels {name}.csv"))[0]);
        assert_eq!(probed(lab, "")[0].2, own);
        assert!(own.iter().all(|a| *a > 0.95) && none.iter().all(|a| *a < 0.6), "{own:?} {none:?}");
        fs::write(lab.at().join("short.csv"), "label\n1\n2\n").unwrap();
        let ran = elbo(lab.at(), &fill(lab, "probe RUN --labels short.csv"));
        assert!(ran.code == 2 && ran.stderr.contains("2 labels for 260 rows"), "{}", ran.stderr);
    }),
    ("probe", "--few", |lab| {
        let all = probed(lab, "--few 4,100");
        assert_eq!(all.iter().map(|(labels, ..)| *labels).collect::<Vec<_>>(), [4, 100, TRAIN as u64]);
        // Many labels tell more than one of each class.
        assert!(all[2].1[0] > all[0].1[0] && all[2].2[0] >= all[0].2[0], "{all:?}");
        let ran = elbo(lab.at(), &fill(lab, "probe RUN --few 3"));
        assert!(ran.code == 2 && ran.stderr.contains("3 labels of 4 classes"), "{}", ran.stderr);
    }),
    ("probe", "--neighbours", |lab| {
        // Where all rows vote, the class of three rows in four always wins.
        let lines: String = (0..TRAIN + TEST).map(|row| format!("{}\n", row % 4 == 0)).collect();
        fs::write(lab.at().join("uneven.csv"), format!("label\n{lines}")).unwrap();
        let of = |k: &str| probed(lab, &format!("--labels uneven.csv --neighbours {k}"))[0];
        let [(_, near, _), (_, far, _)] = ["1", "200"].map(of);
        assert!(near[1] > 0.9 && far[1] == 0.75 && near[0] == far[0], "{near:?} {far:?}");
    }),
];

/// The accuracies of `elbo probe`, by the number of labels: of each, those of latents and of the rows.
fn probed(lab: &Lab, args: &str) -> Vec<(u64, [f64; 2], [f64; 2])> {
    let report = json(lab, &format!("probe RUN {args}"));
    let of = |r: &Value, which: &str| ["linear", "neighbours"].map(|name| number(&r[which], name));
    let result = |r: &Value| (r["labels"].as_u64().unwrap(), of(r, "latent"), of(r, "input"));
    report["results"].as_array().unwrap().iter().map(result).collect()
}
