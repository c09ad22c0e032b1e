//! The options of objectives and priors, each by what it promises.

use super::Row;
use super::lab::*;
use super::network::gradcheck_json;
use std::collections::BTreeSet;

/// Steps so short that the parameters stay what they were.
const STILL: &str = "--learning-rate 1e-30 --epochs 1";

/// The bound of a run's last epoch, on the training rows.
fn bound(run: &Run) -> f64 {
    run.lines.last().unwrap().train.neg_bound.unwrap()
}

pub const ROWS: &[Row] = &[
    ("train", "--objective", |lab| {
        assert_eq!(lab.train("--objective elbo").digest, lab.train("").digest);
        let names = ["elbo", "iwae", "miwae:2", "piwae:2", "ciwae:0.5", "renyi:0.5"];
        let runs = names.map(|name| lab.train(&format!("--objective {name} --samples 4")));
        assert_eq!(runs.iter().map(|r| r.digest.clone()).collect::<BTreeSet<_>>().len(), names.len());
        for (name, run) in names.iter().zip(&runs).skip(1) {
            let label = name.split(':').next().unwrap().to_uppercase();
            assert!(run.stderr.contains(&format!(", -{label}_4 ")), "{}", run.stderr);
            assert!(bound(run) < run.lines.last().unwrap().train.neg_elbo.unwrap(), "{name} is tighter than -ELBO");
        }
        assert!(runs[0].lines[0].train.neg_bound.is_none() && !runs[0].stderr.contains("ELBO_"));
        // The model knows what it was trained by, and is measured by it again.
        let found = lab.elbo(&format!("evaluate {} --json", runs[1].path.display())).json();
        let recorded = runs[1].lines.last().unwrap().heldout.unwrap();
        assert_eq!((&found["neg_bound"], &found["bound"]), (&recorded.neg_bound.unwrap().into(), &"IWAE_4".into()));
        assert_eq!(found["neg_elbo"], recorded.neg_elbo.unwrap());
    }),
    ("train", "--samples", |lab| {
        let iwae = |samples: usize| bound(&lab.train(&format!("{STILL} --objective iwae --samples {samples}")));
        ascending(&[iwae(64), iwae(8), iwae(2)], "the bound of one model by samples, falling");
        assert_ne!(lab.train("--samples 3").digest, lab.train("").digest);
        assert_eq!(lab.train("--samples 1").digest, lab.train("").digest);
        let ran = crate::support::elbo(lab.at(), "train set --objective iwae --out none");
        assert!(ran.code == 2 && ran.stderr.contains("--samples 5"), "{}", ran.stderr);
    }),
    ("train", "--gradient", |lab| {
        let of = |name: &str| lab.train(&format!("{ONE_STEP} --objective iwae --samples 4 --gradient {name}"));
        let [plain, stl, dreg] = ["plain", "stl", "dreg"].map(of);
        assert_eq!(plain.digest, lab.train(&format!("{ONE_STEP} --objective iwae --samples 4")).digest);
        // The posterior's gradient alone is estimated in another way.
        for (a, b) in [(&plain, &stl), (&plain, &dreg), (&stl, &dreg)] {
            assert_eq!(a.tensor("decoder.1.weight"), b.tensor("decoder.1.weight"));
            assert_ne!(a.tensor("encoder.0.weight"), b.tensor("encoder.0.weight"));
        }
    }),
    ("gradcheck", "--objective", |lab| {
        let [elbo, iwae] = ["elbo", "iwae"].map(|o| gradcheck_json(lab, &format!("--objective {o} --samples 3")));
        assert!(elbo["checks"] != iwae["checks"] && iwae["passed"] == true);
    }),
    ("gradcheck", "--samples", |lab| {
        let [one, three] = ["", "--samples 3"].map(|samples| gradcheck_json(lab, samples));
        assert!(one["checks"] != three["checks"] && gradcheck_json(lab, "--samples 1") == one);
    }),
    ("gradcheck", "--gradient", |lab| {
        let of = |name: &str| gradcheck_json(lab, &format!("--objective iwae --samples 3 --gradient {name}"));
        let [plain, stl, dreg] = ["plain", "stl", "dreg"].map(of);
        assert!(plain["checks"] != stl["checks"] && stl["checks"] != dreg["checks"]);
        assert!([plain, stl, dreg].iter().all(|report| report["passed"] == true));
    }),
];
