//! The options of `elbo sample`: where latents come from, and how far apart they are.

use super::Row;
use super::lab::*;
use super::verbs::{call, fill, table};
use crate::support::*;
use ndarray::{ArrayView1, Axis};

pub const ROWS: &[Row] = &[
    ("sample", "RUN", |lab| {
        let of = |run: &Run| table(lab, &format!("sample {} --seed 3 --out out.csv", run.path.display()));
        assert_ne!(of(&lab.train("")), of(&lab.train("--seed 1")));
    }),
    ("sample", "DATA", |lab| {
        let of = |data: &str| table(lab, &format!("sample RUN {data} --from mixture:4 --out out.csv"));
        assert!(of("") == of("set") && of("") != of("binary"), "without it, the run's own");
        assert!(call(lab, "sample RUN --from mixture:4 --out out.csv").stderr.contains("set, train split"));
        // What a run set aside of its own rows is no business of others.
        let run = lab.train("--validation 199 --epochs 1");
        let fitted = lab.elbo(&format!("sample {} binary --from mixture:2 --out out.csv", run.path.display())).stderr;
        assert!(fitted.contains("of 200 rows"), "{fitted}");
        let ran = elbo(lab.at(), &fill(lab, "sample RUN set"));
        assert!(ran.code == 2 && ran.stderr.contains("the prior needs no data"), "{}", ran.stderr);
    }),
    ("sample", "--memory", |lab| {
        let args = "sample RUN --from mixture:4 --out out.csv";
        assert_eq!(table(lab, &format!("{args} --memory 1K")), table(lab, args));
        assert!(call(lab, &format!("{args} --memory 1K")).stderr.contains("streamed"));
    }),
    ("sample", "--from", |lab| {
        // A KL of little weight leaves the posteriors far from the prior, whose samples are then far from any row.
        let run = lab.train("--beta 0.01 --epochs 60");
        let rows = lab.rows("set", "train");
        let apart = |args: &str| {
            lab.elbo(&format!("sample {} --count 100 --out s.npy {args}", run.path.display()));
            let near = |x: ArrayView1<f32>| {
                let distance = |row: ArrayView1<f32>| (&row - &x).mapv(|d| f64::from(d * d)).sum();
                rows.rows().into_iter().map(distance).fold(f64::INFINITY, f64::min)
            };
            lab.npy("s.npy").rows().into_iter().map(near).sum::<f64>() / 100.0
        };
        let found = ["mixture:4", "diagonal:1", "prior"].map(|from| apart(&format!("--from {from}")));
        ascending(&found, "the squared distance to the nearest row");
        assert!(2.0 * found[0] < found[2] && apart("") == found[2], "{found:?}");
    }),
    ("sample", "--temperature", |lab| {
        // Latents further apart are decoded to rows further apart, from the prior as from a mixture.
        let spread = |args: &str| {
            call(lab, &format!("sample RUN --out s.npy {args}"));
            f64::from(lab.npy("s.npy").var_axis(Axis(0), 0.0).sum())
        };
        for from in ["", "--from mixture:2"] {
            let found = ["0.1", "0.5", "1", "3"].map(|t| spread(&format!("--temperature {t} {from}")));
            ascending(&found, "the variance by temperature");
            assert_eq!(spread(from), found[2]);
        }
        assert!(spread("--temperature 1e-6") < 1e-9);
    }),
    ("sample", "--count", |lab| {
        let [five, all] = ["--count 5", ""].map(|count| table(lab, &format!("sample RUN --out out.csv {count}")));
        assert!(
            five.lines().count() == 6 && all.lines().count() == 65 && all.starts_with(&five),
            "64, and the same first"
        );
    }),
    ("sample", "--out", |lab| {
        call(lab, "sample RUN --out x.npy");
        assert_eq!(lab.npy("x.npy").dim(), (64, COLS));
        call(lab, "sample RUN");
        assert!(lab.train("").path.join("samples-0.png").is_file());
    }),
];
