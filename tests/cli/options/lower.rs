//! `--lower`, for every verb that builds a network.

use super::Row;
use super::lab::*;
use super::network::gradcheck_json;
use elbo::train::SavedModel;
use std::fs;

const KINDS: [&str; 2] = ["hvae:4x12", "ladder:4x12,3x9"];

pub const ROWS: &[Row] = &[
    ("train", "--lower", |lab| {
        assert_eq!(lab.train("--lower none").digest, lab.train("").digest);
        for lower in KINDS {
            let run = lab.train(&format!("--lower {lower}"));
            assert!(run.stderr.contains(&format!(", {lower} below z, ")), "{}", run.stderr);
            // What a run's own configuration asks for.
            let config = fs::read_to_string(run.path.join("config.toml")).unwrap();
            assert!(config.contains(&format!("lower = \"{lower}\"")), "{config}");
            assert_eq!(crate::support::info(&run.path)["training"]["lower"], *lower);
            // A KL of each level, which add up.
            let last = run.lines.last().unwrap();
            let sum: f64 = last.kl_by_level.iter().map(|kl| kl.unwrap()).sum();
            assert_eq!(last.kl_by_level.len(), 1 + lower.matches('x').count());
            near(sum, run.kl(), 1e-9, "the KL of all levels");
            tasks(lab, &run);
        }
        let [hvae, deep] = KINDS.map(|lower| lab.train(&format!("--lower {lower}")));
        assert_eq!(hvae.shape("decoder.0.1.weight"), [16, 4]);
        assert_eq!(
            (hvae.shape("encoder.features.0.weight"), deep.shape("decoder.0.weight")),
            (vec![12, COLS], vec![16, 3])
        );
        assert_eq!(deep.shape("encoder.evidence.1.weight"), [6, 16]);
        // Which of four bars a row has is log 4 nats, whatever level says it. Of a ladder the lowest is all that the decoder sees, and
        // this network then comes nearer to the data in as many steps.
        let after = |flags: &str| lab.train(&format!("--epochs 60 {flags}"));
        let (one, two, ladder) = (after(""), after("--lower hvae:4x12"), after("--lower ladder:4x12"));
        let loss = |run: &Run| run.lines.last().unwrap().train.neg_elbo.unwrap();
        assert!(two.kl() > 1.0 && loss(&two) < loss(&hvae) - 1.0, "{} {} {}", two.kl(), loss(&two), loss(&hvae));
        assert!(ladder.kl() > 1.0 && loss(&ladder) < loss(&one), "{} {} {}", ladder.kl(), loss(&one), loss(&ladder));
        // A full posterior's KL to N(0, I) is known, and those of the levels below it are not.
        let full = lab.train("--lower hvae:4x12 --posterior full");
        let ran = crate::support::elbo(lab.at(), &format!("score {} --out s.csv", full.path.display()));
        let says = "to the prior standard, with the levels below z, hvae:4x12, is only known from draws";
        assert!(ran.code == 2 && ran.stderr.contains(says), "{}", ran.stderr);
        let ran = crate::support::elbo(lab.at(), "train set --lower ladder:3x9 --condition labels --out none");
        assert!(ran.code == 2 && ran.stderr.contains("leave out --lower or --condition"), "{}", ran.stderr);
    }),
    ("bench", "--lower", |lab| {
        let args = "bench --data set --epochs 1 --batch-size 100 --hidden 6 --latent 3 --lower hvae:2x5 --profile";
        let ran = lab.elbo(args);
        assert!((ran.stderr.clone() + &ran.stdout).contains("hvae:2x5 below z"), "{}", ran.stderr);
        assert!(ran.stdout.contains("lower.0.posterior.joint.weight"), "{}", ran.stdout);
    }),
    ("gradcheck", "--lower", |lab| {
        for (lower, name) in [("hvae:2x3", "encoder.features.0.weight"), ("ladder:2x3", "encoder.evidence.0.bias")] {
            let report = gradcheck_json(lab, &format!("--lower {lower}"));
            let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
            assert!(report["passed"] == true && names.contains(&name.into()), "{lower}: {report}");
        }
    }),
    ("import", "--lower", |lab| {
        for lower in KINDS {
            let run = lab.train(&format!("--lower {lower}"));
            let to = &lower[..4];
            lab.elbo(&format!("export {} --to {to}.safetensors", run.path.display()));
            let args = format!("import {to}.safetensors --hidden 16 --latent 3 --out {to} --overwrite");
            let found = lab.elbo(&format!("{args} --lower {lower} --json")).json();
            assert_eq!(found["digest"], run.digest.as_str());
            assert_eq!(SavedModel::load(lab.at().join(to)).unwrap().vae.config(), run.model.vae.config());
            let other = crate::support::elbo(lab.at(), &args);
            let hinted = other.stderr.contains("--lower and --likelihood choose the network");
            assert!(other.code == 2 && hinted, "levels are not left out unsaid: {}", other.stderr);
        }
    }),
];

/// The verbs that use a model.
fn tasks(lab: &Lab, run: &Run) {
    let path = run.path.display();
    let found = lab.elbo(&format!("evaluate {path} --samples 3 --json")).json();
    let levels: Vec<f64> = found["kl_by_level"].as_array().unwrap().iter().map(|kl| kl.as_f64().unwrap()).collect();
    near(levels.iter().sum(), found["kl"].as_f64().unwrap(), 1e-9, "the KL of all levels");
    assert_eq!(found["kl_per_latent"].as_array().unwrap().len(), 0);
    let text = lab.elbo(&format!("evaluate {path}")).stdout;
    assert!(text.contains("KL of each level, from z down: ") && text.contains("\nposteriors of z of "), "{text}");
    lab.elbo(&format!("encode {path} --with-variance --out z.csv"));
    lab.elbo(&format!("encode {path} --out z.npy"));
    lab.elbo(&format!("reconstruct {path} --out r.npy"));
    lab.elbo(&format!("score {path} --out s.csv"));
    lab.elbo(&format!("score {path} --samples 3 --out s.csv"));
    lab.elbo(&format!("interpolate {path} --from 1 --to 2 --out i.png"));
    lab.elbo(&format!("sample {path} --from diagonal:2 --count 4 --out m.png"));
    assert_eq!(lab.npy("z.npy").dim(), (TEST, 3), "the latents of z");
    // Noise at every level, the same at each temperature: little of it is near none.
    lab.elbo(&format!("sample {path} --count 4 --out warm.npy"));
    lab.elbo(&format!("sample {path} --count 4 --temperature 1e-6 --out cold.npy"));
    fs::write(lab.at().join("zeros.csv"), "a,b,c\n0,0,0\n").unwrap();
    lab.elbo(&format!("decode {path} zeros.csv --out middle.npy"));
    let (warm, cold, middle) = (lab.npy("warm.npy"), lab.npy("cold.npy"), lab.npy("middle.npy"));
    let far = |x: &ndarray::Array2<f32>| {
        x.iter().zip(middle.iter().cycle()).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
    };
    assert!(far(&cold) < 1e-4 && far(&warm) > 1e-3, "{} {}", far(&cold), far(&warm));
}
