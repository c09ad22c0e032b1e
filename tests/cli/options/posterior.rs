//! `--posterior`, for every verb that builds a network.

use super::Row;
use super::lab::*;
use super::network::gradcheck_json;
use elbo::train::SavedModel;
use std::fs;

pub const ROWS: &[Row] = &[
    ("train", "--posterior", |lab| {
        assert_eq!(lab.train("--posterior diagonal").digest, lab.train("").digest);
        let runs = ["full", "planar:2", "iaf:2"].map(|name| (name, lab.train(&format!("--posterior {name}"))));
        for (name, run) in &runs {
            assert!(run.stderr.contains(&format!(", {name} posterior, ")), "{}", run.stderr);
            // What a run's own configuration asks for.
            let config = fs::read_to_string(run.path.join("config.toml")).unwrap();
            assert!(config.contains(&format!("posterior = \"{name}\"")), "{config}");
            let info = crate::support::info(&run.path);
            assert_eq!(info["training"]["posterior"], *name);
            resumes(lab, name);
            tasks(lab, name, run);
        }
        let [(_, full), (_, planar), (_, iaf)] = &runs;
        assert_eq!(full.shape("encoder.covariance.weight"), [3, 16]);
        assert_eq!(planar.shape("encoder.flow.weight"), [2 * 7, 16]);
        assert_eq!(
            (iaf.shape("encoder.context.weight"), iaf.shape("posterior.1.leave.weight")),
            (vec![32, 16], vec![6, 16])
        );
        // No mean and no variance are in the way of a full covariance: with the same steps it is as near, or nearer.
        let loss =
            |flags: &str| lab.train(&format!("--epochs 40 {flags}")).lines.last().unwrap().train.neg_elbo.unwrap();
        assert!(loss("--posterior full") < loss("") + 0.05, "{} {}", loss("--posterior full"), loss(""));
    }),
    ("bench", "--posterior", |lab| {
        let ran =
            lab.elbo("bench --data set --epochs 1 --batch-size 100 --hidden 6 --latent 3 --posterior iaf:2 --profile");
        assert!((ran.stderr.clone() + &ran.stdout).contains("iaf:2 posterior"), "{}", ran.stderr);
        assert!(ran.stdout.contains("posterior.1.enter.weight"), "{}", ran.stdout);
    }),
    ("gradcheck", "--posterior", |lab| {
        for (posterior, name) in [
            ("full", "encoder.covariance.bias"),
            ("planar:2", "encoder.flow.weight"),
            ("iaf:2", "posterior.0.enter.weight"),
        ] {
            let report = gradcheck_json(lab, &format!("--posterior {posterior}"));
            let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
            assert!(report["passed"] == true && names.contains(&name.into()), "{posterior}: {report}");
        }
    }),
    ("import", "--posterior", |lab| {
        let run = lab.train("--posterior iaf:2");
        lab.elbo(&format!("export {} --to iaf.safetensors", run.path.display()));
        let args = "import iaf.safetensors --hidden 16 --latent 3 --out iaf";
        let found = lab.elbo(&format!("{args} --posterior iaf:2 --json")).json();
        assert_eq!(found["digest"], run.digest.as_str());
        assert_eq!(SavedModel::load(lab.at().join("iaf")).unwrap().vae.config(), run.model.vae.config());
        let other = crate::support::elbo(lab.at(), &format!("{args} --overwrite"));
        assert!(other.code == 2, "a flow is not left out unsaid: {}", other.stderr);
        // The same tensors with a connection that is none.
        let raw = lab.bytes("iaf.safetensors");
        let len = u64::from_le_bytes(raw[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&raw[8..8 + len]).unwrap();
        let begin = header["posterior.0.enter.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
        let mut changed = raw.clone();
        changed[8 + len + begin..][..4].copy_from_slice(&1f32.to_le_bytes());
        fs::write(lab.at().join("iaf.safetensors"), changed).unwrap();
        let other = crate::support::elbo(lab.at(), &format!("{args} --posterior iaf:2 --overwrite"));
        assert!(other.code == 2 && other.stderr.contains("has no connection"), "{}", other.stderr);
    }),
];

/// A run that goes on where it stopped ends in the same bytes.
fn resumes(lab: &Lab, posterior: &str) {
    let args = format!("train set --hidden 16 --latent 3 --batch-size 40 --posterior {posterior} --quiet");
    lab.elbo(&format!("{args} --epochs 2 --threads 1 --out whole --overwrite"));
    lab.elbo(&format!("{args} --epochs 1 --threads 2 --out parts --overwrite"));
    lab.elbo("train --resume parts --epochs 2 --quiet");
    for file in ["model.safetensors", "checkpoint"] {
        assert!(lab.bytes(&format!("whole/{file}")) == lab.bytes(&format!("parts/{file}")), "{posterior}: {file}");
    }
}

/// The verbs that use a model say what is true of its posterior, or that they cannot.
fn tasks(lab: &Lab, name: &str, run: &Run) {
    let (path, gaussian) = (run.path.display(), name == "full");
    let found = lab.elbo(&format!("evaluate {path} --json")).json();
    assert!(found["aggregate"].is_null() && found["neg_elbo"].as_f64().unwrap() > 0.0, "{found}");
    let text = lab.elbo(&format!("evaluate {path}")).stdout;
    assert!(text.contains(&format!("of diagonal ones, and these are {name}")), "{text}");
    lab.elbo(&format!("encode {path} --out z.csv"));
    lab.elbo(&format!("reconstruct {path} --out r.png"));
    lab.elbo(&format!("sample {path} --count 4 --out s.png"));
    lab.elbo(&format!("score {path} --samples 3 --out s.csv"));
    let try_to = |args: &str| crate::support::elbo(lab.at(), args);
    for (args, hint) in [
        (format!("encode {path} --with-variance --out v.csv"), "leave --with-variance out"),
        (format!("score {path} --out s.csv"), "--samples 100"),
        (format!("sample {path} --from diagonal:2 --count 4 --out m.png"), "--from prior"),
    ] {
        let ran = try_to(&args);
        assert_eq!(ran.code, if gaussian { 0 } else { 2 }, "{args}: {}", ran.stderr);
        assert!(gaussian || ran.stderr.contains(hint), "{args}: {}", ran.stderr);
    }
    let ran = try_to(&format!("sample {path} --from mixture:2 --count 4 --out m.png"));
    assert!(ran.code == 2 && ran.stderr.contains("covariances of posteriors"), "{}", ran.stderr);
}
