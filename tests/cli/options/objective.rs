//! The options of objectives and priors, each by what it promises.

use super::Row;
use super::lab::*;
use super::network::gradcheck_json;
use elbo::train::SavedModel;
use std::collections::BTreeSet;

/// Steps so short that the parameters stay what they were.
const STILL: &str = "--learning-rate 1e-30 --epochs 1";

const BENCH: &str = "bench --data set --epochs 1 --batch-size 100 --hidden 6 --latent 3";

/// The training rows as the prior: its one parameter, and all that a model needs is in its file.
fn exemplars(lab: &Lab) {
    let run = lab.train("--prior exemplar:50:3");
    assert!(run.stderr.contains("exemplar:50:3 prior") && run.shape("prior.log_variance") == [1], "{}", run.stderr);
    assert_ne!(run.digest, lab.train("--prior exemplar:50").digest, "of all that are drawn, not of the nearest");
    let alone = lab.at().join("alone.safetensors");
    std::fs::copy(run.path.join("model.safetensors"), &alone).unwrap();
    assert_eq!(lab.elbo("info alone.safetensors --json").json()["exemplars"], 200, "the training rows");
    lab.elbo("sample alone.safetensors --count 3 --out s.npy");
    for verb in ["reconstruct", "encode", "score"] {
        lab.elbo(&format!("{verb} alone.safetensors set --out {verb}.csv"));
    }
    let found = lab.elbo("evaluate alone.safetensors set --json").json();
    assert_eq!(found["neg_elbo"], run.lines.last().unwrap().heldout.unwrap().neg_elbo.unwrap());
    let ran = crate::support::elbo(lab.at(), "train set --prior exemplar:201:3 --out none");
    assert!(ran.code == 2 && ran.stderr.contains("201 exemplars"), "{}", ran.stderr);
    let ran = crate::support::elbo(lab.at(), "train set --prior exemplar:50:3 --memory 1K --out none");
    assert!(ran.code == 2 && ran.stderr.contains("these are streamed"), "{}", ran.stderr);
}

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
        // That of a flow's network and of a level's posterior likewise, and nothing of the level's decoder.
        let of =
            |gradient: &str| lab.train(&format!("{ONE_STEP} --posterior iaf:2 --prior vae:4x8 --gradient {gradient}"));
        let [plain, stl] = ["plain", "stl"].map(of);
        for (name, alike) in [
            ("prior.0.decoder.0.weight", true),
            ("prior.0.encoder.0.weight", false),
            ("posterior.0.leave.weight", false),
            ("encoder.context.weight", false),
        ] {
            assert_eq!(plain.tensor(name) == stl.tensor(name), alike, "{name}");
        }
    }),
    ("train", "--prior", |lab| {
        assert_eq!(lab.train("--prior standard").digest, lab.train("").digest);
        let [mixture, vamp] = ["mixture:4", "vamp:5"].map(|prior| lab.train(&format!("--prior {prior}")));
        assert_eq!((mixture.shape("prior.means"), mixture.shape("prior.logits")), (vec![3, 4], vec![1, 4]));
        assert_eq!(vamp.shape("prior.pseudo_inputs"), [COLS, 5]);
        assert!(vamp.stderr.contains("vamp:5 prior"), "{}", vamp.stderr);
        // Pseudo-inputs start as rows of the data: bars of 158 to 255 on a ground below 97.
        let start = lab.train(&format!("{STILL} --prior vamp:5")).tensor("prior.pseudo_inputs");
        for row in start.columns() {
            let bars = row.iter().filter(|x| **x > 0.6).count();
            assert!(bars == 16 && row.iter().all(|x| (-1e-6..=1.0).contains(x)), "{row}");
        }
        let moved = vamp.tensor("prior.pseudo_inputs");
        assert!(moved.iter().zip(&start).any(|(a, b)| (a - b).abs() > 1e-3), "and are learned");
        // Four kinds of rows, told apart by a prior of four kinds: up to log 4 less KL.
        let long = |prior: &str| {
            lab.train(&format!("--epochs 200 --prior {prior}")).lines[199].heldout.unwrap().neg_elbo.unwrap()
        };
        let standard = long("standard");
        for prior in ["vamp:20", "mixture:4", "flow:4", "exemplar:100:3", "vae:2x16"] {
            assert!(long(prior) < standard - 0.3, "{prior}: {}, {standard}", long(prior));
        }
        let [flow, wide] = ["flow:3:8", "flow:3"].map(|prior| lab.train(&format!("--prior {prior}")));
        assert_eq!(
            (flow.shape("prior.2.hidden.weight"), flow.shape("prior.1.affine.weight")),
            (vec![8, 2], vec![4, 8])
        );
        assert_eq!(wide.shape("prior.0.hidden.weight"), [64, 2], "as wide as the latents ask for");
        assert!(flow.stderr.contains("flow:3:8 prior"), "{}", flow.stderr);
        let start = lab.train(&format!("{STILL} --prior flow:3:8")).tensor("prior.0.affine.weight");
        let moved = flow.tensor("prior.0.affine.weight");
        assert!(start.iter().all(|w| w.abs() < 1e-20) && moved.iter().any(|w| w.abs() > 1e-3), "and is learned");
        let stacked = lab.train("--prior vae:4x8,2x5");
        assert_eq!(
            (stacked.shape("prior.0.encoder.2.weight"), stacked.shape("prior.1.decoder.2.weight")),
            (vec![8, 8], vec![8, 5])
        );
        assert!(stacked.stderr.contains("vae:4x8,2x5 prior"), "{}", stacked.stderr);
        assert!(stacked.moves().iter().any(|m| m.abs() > 1e-3));
        let ran = crate::support::elbo(lab.at(), "train set --prior flow:4 --latent 1 --out none");
        assert!(ran.code == 2 && ran.stderr.contains("--latent 2 or more"), "{}", ran.stderr);
        exemplars(lab);
        let ran = crate::support::elbo(lab.at(), "train set --prior vamp:201 --out none");
        assert!(ran.code == 2 && ran.stderr.contains("201 pseudo-inputs"), "{}", ran.stderr);
    }),
    ("train", "--log-variance", |lab| {
        let found = |flags: &str| {
            let path = lab.train(flags).path.display().to_string();
            lab.elbo(&format!("encode {path} --with-variance --out v.npy"));
            let both = lab.npy("v.npy");
            both.slice(ndarray::s![.., 3..]).iter().map(|v| f64::from(*v)).collect::<Vec<_>>()
        };
        let (free, bounded) = (found("--epochs 20"), found("--epochs 20 --log-variance -1,-0.5"));
        assert!(free.iter().any(|v| *v < -1.0), "{free:?}");
        assert!(bounded.iter().all(|v| (-1.0..=-0.5).contains(v)), "{bounded:?}");
        assert!(bounded.contains(&-1.0) && bounded.contains(&-0.5));
        let ran = crate::support::elbo(lab.at(), "train set --log-variance 2,-6 --out none");
        assert!(ran.code == 2 && ran.stderr.contains("cannot lie between 2 and -6"), "{}", ran.stderr);
    }),
    ("bench", "--objective", |lab| {
        let of = |flags: &str| lab.elbo(&format!("{BENCH} {flags} --json")).json();
        assert_eq!(of("--objective iwae --samples 2")["objective"], "iwae");
        let ran = crate::support::elbo(lab.at(), &format!("{BENCH} --objective iwea --samples 2"));
        assert!(ran.code == 2 && ran.stderr.contains("did you mean `iwae`?"), "{}", ran.stderr);
    }),
    ("bench", "--samples", |lab| {
        // Operations an example: the encoder's once, the decoder's for each sample.
        let flops = |samples: usize| {
            let json = lab.elbo(&format!("{BENCH} --samples {samples} --json")).json();
            1e9 * json["gflops"].as_f64().unwrap() / json["samples_per_second"].as_f64().unwrap()
        };
        let (encoder, decoder) = (2.0 * (2.0 * 64.0 * 6.0 + 3.0 * 6.0 * 6.0), 6.0 * (3.0 * 6.0 + 6.0 * 64.0));
        near(flops(1), encoder + decoder, 1e-9, "one sample");
        near(flops(5), encoder + 5.0 * decoder, 1e-9, "five");
    }),
    ("bench", "--gradient", |lab| {
        // It changes no figure that is shown; its name is read as elsewhere.
        lab.elbo(&format!("{BENCH} --gradient dreg"));
        let ran = crate::support::elbo(lab.at(), &format!("{BENCH} --gradient drag"));
        assert!(ran.code == 2 && ran.stderr.contains("did you mean `dreg`?"), "{}", ran.stderr);
    }),
    ("bench", "--penalty", |lab| {
        let of = |flags: &str| lab.elbo(&format!("{BENCH} {flags} --json")).json()["penalty"].clone();
        assert_eq!((of("--penalty tc:5"), of("")), ("tc:5".into(), serde_json::Value::Null));
        let ran = crate::support::elbo(lab.at(), &format!("{BENCH} --penalty mdd:5"));
        assert!(ran.code == 2 && ran.stderr.contains("did you mean `mmd`?"), "{}", ran.stderr);
    }),
    ("bench", "--log-variance", |lab| {
        let ran = crate::support::elbo(lab.at(), "bench --data set --log-variance 1,1");
        assert!(ran.code == 2 && ran.stderr.contains("cannot lie between 1 and 1"), "{}", ran.stderr);
    }),
    ("gradcheck", "--log-variance", |lab| {
        let [free, bounded] = ["", "--log-variance -0.01,0.01"].map(|flag| gradcheck_json(lab, flag));
        assert!(free["checks"] != bounded["checks"] && bounded["passed"] == true);
    }),
    ("train", "--normalize-gradients", |lab| {
        // A step of gradient descent moves each weight and each bias by the learning rate.
        let run = lab.train(&format!("{ONE_STEP} --optimizer sgd --normalize-gradients"));
        let (start, layout) = (run.initial(), run.model.vae.layout());
        let moves: Vec<f64> = run.parameters().iter().zip(start).map(|(after, before)| after - before).collect();
        for entry in layout.entries() {
            near(norm(&moves[entry.slot.range()]), 0.01, 1e-3, &entry.name);
        }
        let off = lab.train("--normalize-gradients false");
        assert_eq!(off.digest, lab.train("").digest);
        let both = crate::support::elbo(lab.at(), "train set --normalize-gradients --clip 1 --out none");
        assert!(both.code == 2 && both.stderr.contains("both normalised and clipped"), "{}", both.stderr);
    }),
    ("import", "--prior", |lab| {
        for (name, prior) in [("vamp", "vamp:5"), ("flow", "flow:3:8"), ("stacked", "vae:4x8,2x5")] {
            let run = lab.train(&format!("--prior {prior}"));
            lab.elbo(&format!("export {} --to {name}.safetensors", run.path.display()));
            let args = format!("import {name}.safetensors --hidden 16 --latent 3 --out {name}");
            let found = lab.elbo(&format!("{args} --prior {prior} --json")).json();
            assert_eq!(found["digest"], run.digest.as_str(), "a prior's parameters come in like every other");
            let without = crate::support::elbo(lab.at(), &format!("{args} --overwrite"));
            assert_eq!(without.code, 2, "and are not left out unsaid");
            let told = lab.elbo(&format!("info {}", run.path.display())).stdout;
            assert!(told.contains(prior), "{told}");
        }
        // What is made of the training rows is more than a network's parameters.
        let (exemplar, args) = (
            lab.train("--prior exemplar:50:3").path.display().to_string(),
            "import vamp.safetensors --hidden 16 --latent 3 --out vamp",
        );
        for args in
            [format!("export {exemplar} --to e.safetensors"), format!("{args} --prior exemplar:50:3 --overwrite")]
        {
            let ran = crate::support::elbo(lab.at(), &args);
            assert!(ran.code == 2 && ran.stderr.contains("made of its training rows"), "{args}: {}", ran.stderr);
        }
    }),
    ("import", "--log-variance", |lab| {
        lab.elbo(&format!("export {} --to free.safetensors", lab.train("").path.display()));
        lab.elbo("import free.safetensors --hidden 16 --latent 3 --log-variance -1,2 --out bounded");
        let model = SavedModel::load(lab.at().join("bounded")).unwrap();
        assert_eq!(model.vae.config().log_variance, Some([-1.0, 2.0]));
    }),
    ("train", "--capacity", |lab| {
        // Under a weight that leaves no choice, the KL is what it is drawn to, from below and from above.
        for nats in [0.5, 2.0, 6.0] {
            let run = lab.train(&format!("--beta 100 --epochs 60 --capacity {nats}"));
            near(run.kl(), nats, 0.15, "the KL");
        }
        let both = crate::support::elbo(lab.at(), "train set --capacity 2 --free-bits 1 --out none");
        assert!(both.code == 2 && both.stderr.contains("without free bits"), "{}", both.stderr);
    }),
    ("train", "--capacity-epochs", |lab| {
        let kl: Vec<f64> = lab
            .train("--beta 100 --epochs 60 --capacity 6 --capacity-epochs 60")
            .lines
            .iter()
            .map(|line| line.train.kl.unwrap())
            .collect();
        // Of 60 epochs a third each: half-way, a half of it.
        assert!(kl[19] < kl[39] && kl[39] < kl[59], "{kl:?}");
        near(kl[39], 4.0, 0.3, "the KL after two thirds");
        let cut = lab.train("--capacity 2 --capacity-epochs 50");
        assert!(cut.stderr.contains("it is cut to 25"), "{}", cut.stderr);
    }),
    ("train", "--penalty", |lab| {
        let penalty = |run: &Run| run.lines.last().unwrap().train.penalty.unwrap();
        let long = |args: &str| lab.train(&format!("--epochs 40 {args}"));
        let tc = ["tc:0", "tc:3", "tc:30"].map(|text| long(&format!("--penalty {text}")));
        ascending(&[penalty(&tc[2]), penalty(&tc[1]), penalty(&tc[0])], "total correlation by its weight, falling");
        // Without a KL, codes go where they like, unless the penalty draws them to the prior.
        for kind in ["mmd", "mmd-gaussian"] {
            let [free, drawn] = [0, 300].map(|weight| long(&format!("--beta 0 --penalty {kind}:{weight}")));
            assert!(penalty(&drawn) < 0.5 * penalty(&free), "{kind}: {} and {}", penalty(&drawn), penalty(&free));
        }
        assert_eq!(lab.train("--penalty tc:0").digest, lab.train("").digest, "a penalty of no weight");
        assert!(tc[1].stderr.contains(", penalty "), "{}", tc[1].stderr);
        let refused = crate::support::elbo(lab.at(), "train set --penalty tc:1 --samples 2 --out none");
        assert!(refused.code == 2 && refused.stderr.contains("of one sample"), "{}", refused.stderr);
    }),
    ("gradcheck", "--penalty", |lab| {
        let errors = |args: &str| gradcheck_json(lab, args)["checks"].clone();
        assert_ne!(errors("--penalty tc:5"), errors(""), "another function, and other rounding errors");
        assert_ne!(errors("--penalty mmd:5"), errors("--penalty tc:5"));
    }),
    ("train", "--corrupt", |lab| {
        assert_eq!(lab.train("--corrupt none").digest, lab.train("").digest);
        let runs = ["mask:0.5", "mask:0.1", "noise:0.3"].map(|how| lab.train(&format!("--corrupt {how}")));
        let digests: BTreeSet<String> = runs.iter().map(|run| run.digest.clone()).collect();
        assert_eq!(digests.len(), 3);
        // Who sees less restores less, while it is trained.
        let long =
            |how: &str| lab.train(&format!("--epochs 30 --corrupt {how}")).lines[29].train.reconstruction.unwrap();
        ascending(&[long("none"), long("mask:0.5"), long("mask:0.9")], "reconstruction by what is masked");
    }),
    ("train", "--average", |lab| {
        // After the first step the decay is a tenth, or what was asked for, if that is less.
        let moved = norm(&lab.train(ONE_STEP).moves());
        for (decay, share) in [("0.999", 0.9), ("0.05", 0.95)] {
            let run = lab.train(&format!("{ONE_STEP} --average {decay}"));
            near(norm(&run.moves()), share * moved, 1e-3, "the average's move");
        }
        // What is trained is the same; what is kept, and measured, is its average.
        let [with, without] = [lab.train("--average 0.9"), lab.train("")];
        assert_eq!(with.lines[4].train, without.lines[4].train);
        assert_ne!(with.lines[4].heldout, without.lines[4].heldout);
        let ran = crate::support::elbo(lab.at(), "train set --average 1 --out none");
        assert!(ran.code == 2 && ran.stderr.contains("between 0 and 1"), "{}", ran.stderr);
    }),
    ("bench", "--prior", |lab| {
        for prior in ["vamp:5", "flow:2:8", "vae:3x8,2x4"] {
            let ran = lab.elbo(&format!("{BENCH} --prior {prior}"));
            assert!((ran.stderr.clone() + &ran.stdout).contains(&format!("{prior} prior")), "{}", ran.stderr);
        }
    }),
    ("gradcheck", "--prior", |lab| {
        for (prior, parameter) in [
            ("vamp:3", "prior.pseudo_inputs"),
            ("flow:2:3", "prior.1.hidden.weight"),
            ("vae:3x4,2x3", "prior.1.encoder.2.bias"),
        ] {
            let report = gradcheck_json(lab, &format!("--prior {prior}"));
            let names = report["checks"].as_array().unwrap().iter().map(|c| c["name"].clone());
            assert!(report["passed"] == true && names.collect::<Vec<_>>().contains(&parameter.into()), "{report}");
        }
        assert_eq!(gradcheck_json(lab, "--prior exemplar:5:2 --gradient stl")["passed"], true);
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
        for model in ["--posterior planar:2", "--posterior iaf:2", "--prior vae:3x4"] {
            assert_eq!(gradcheck_json(lab, &format!("{model} --gradient stl"))["passed"], true, "{model}");
        }
    }),
];
