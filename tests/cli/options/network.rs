//! The options that choose a network: in full for `train`, and for the other verbs that build one that they reach it.

use super::Row;
use super::lab::*;
use elbo::layer::Activation;
use elbo::model::{Heads, Hidden, Inference};
use elbo::tensor::Exec;
use ndarray::Array2;

pub const ROWS: &[Row] = &[
    ("train", "--preset", |lab| {
        let run = lab.run("set --preset iwae-200 --epochs 1");
        let config = run.model.vae.config();
        assert_eq!((config.hidden.as_slice(), config.latent), (&[200, 200][..], 50));
        assert_eq!(config.layer, Hidden::Dense(Activation::Tanh));
        assert_eq!(run.steps(), 10, "its batches of 20");
    }),
    ("train", "--hidden", |lab| {
        let run = lab.train("--hidden 9,7");
        let shapes = [
            ("encoder.0.weight", [9, COLS]),
            ("encoder.1.weight", [7, 9]),
            ("decoder.0.weight", [7, 3]),
            ("decoder.1.weight", [9, 7]),
            ("decoder.2.weight", [COLS, 9]),
        ];
        for (name, shape) in shapes {
            assert_eq!(run.shape(name), shape, "{name}");
        }
    }),
    ("train", "--latent", |lab| {
        assert_eq!(lab.train("--latent 5").shape("decoder.0.weight"), [16, 5]);
        assert_eq!(lab.train("").shape("decoder.0.weight"), [16, 3]);
    }),
    ("train", "--layer", |lab| {
        // A gate for each unit.
        assert_eq!(lab.train("--layer gated").shape("encoder.0.weight"), [32, COLS]);
        assert_eq!(lab.train("--layer dense").digest, lab.train("").digest, "the preset's own");
    }),
    ("train", "--activation", |lab| activations(lab)),
    ("train", "--heads", |lab| {
        let [joint, separate] = ["joint", "separate"].map(|heads| lab.train(&format!("--heads {heads}")));
        assert_eq!(
            (joint.model.vae.config().heads, joint.shape("encoder.posterior.weight")),
            (Heads::Joint, vec![6, 16])
        );
        for head in ["mean", "log_variance"] {
            assert_eq!(separate.shape(&format!("encoder.{head}.weight")), [3, 16]);
        }
        assert_ne!(joint.digest, separate.digest);
    }),
    ("train", "--likelihood", |lab| {
        // The smaller the variance, the more a nat of the reconstruction is worth, and the more the latents say.
        let kl = |name: &str| lab.train(&format!("--likelihood {name}")).kl();
        ascending(&[kl("gaussian"), kl("gaussian:0.1"), kl("gaussian:0.01")], "KL by variance");
        // Every other changes the network's end: a variance of its own, or parameters for each column.
        let learned = lab.train("--likelihood gaussian-learned");
        assert_eq!(learned.shape("likelihood.log_variance"), [1]);
        assert_eq!(lab.train("--likelihood gaussian-per-dimension").shape("likelihood.log_variance"), [COLS]);
        let ends = [("bernoulli", COLS), ("gaussian-predicted", 2 * COLS)];
        for (name, columns) in ends {
            assert_eq!(lab.train(&format!("--likelihood {name}")).shape("decoder.1.bias"), [columns], "{name}");
        }
        assert_eq!(lab.train_binary("--likelihood categorical:3").shape("decoder.1.bias"), [3 * COLS]);
    }),
    ("train", "--init", |lab| {
        // Steps so short that the parameters stay what they were.
        let weights = |name: &str| {
            let run = lab.train(&format!("--init {name} --learning-rate 1e-30"));
            let f64s = |x: Array2<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            (f64s(run.tensor("encoder.0.weight")), largest(&f64s(run.tensor("encoder.0.bias"))))
        };
        // 1,024 uniform draws come within a percent of their bound, all but surely: 0.99¹⁰²⁴ < 1e-4.
        let ((torch, bias), bound) = (weights("torch"), 1.0 / (COLS as f64).sqrt());
        assert!(
            largest(&torch) <= bound && largest(&torch) > 0.99 * bound && bias > 1e-3,
            "torch: {}",
            largest(&torch)
        );
        let ((glorot, bias), bound) = (weights("glorot"), (6.0 / (COLS as f64 + 16.0)).sqrt());
        assert!(largest(&glorot) <= bound && largest(&glorot) > 0.99 * bound && bias < 1e-20, "{}", largest(&glorot));
        // Their deviation is known to 1 / √(2 · 1024) = 2.2 %; three times that.
        let (he, bias) = weights("he");
        near(norm(&he) / 32.0, (2.0 / COLS as f64).sqrt(), 0.07, "he");
        assert!(bias < 1e-20, "no more than a step: {bias}");
    }),
    ("train", "--norm", |lab| {
        assert_eq!(lab.train("--norm none").digest, lab.train("").digest);
        let run = lab.train("--norm layer");
        for name in ["encoder.0.norm.weight", "decoder.0.norm.bias"] {
            assert_eq!(run.shape(name), [16], "{name}");
        }
        assert!(run.stderr.contains(", relu, layer norm, "), "{}", run.stderr);
        let still = lab.train("--norm layer --learning-rate 1e-30");
        assert!(still.tensor("encoder.0.norm.weight").iter().all(|&gain| gain == 1.0), "gains begin at 1");
        assert!(run.tensor("encoder.0.norm.weight").iter().any(|&gain| gain != 1.0), "and are learned");
        // Of 25 steps, a deep network makes more when each layer's units keep their mean and variance.
        let loss = |norm: &str| {
            let run = lab.train(&format!("--hidden 16,16,16 --norm {norm}"));
            (run.lines.last().unwrap().train.neg_elbo.unwrap(), run)
        };
        let ((batch, run), (none, _)) = (loss("batch"), loss("none"));
        assert!(batch < none - 1.0, "{batch} nats by the batch, {none} without");
        assert!(run.stderr.contains(", relu, batch norm, "), "{}", run.stderr);
        let statistics = run.model.vae.layout().statistics().unwrap();
        let counted = |e: &elbo::tensor::Entry| run.model.params.statistics().get(&e.slot, 0, 0);
        assert!(statistics.entries().iter().all(|e| ![0.0, 1.0].contains(&counted(e))), "they follow the batches");
        let ran = crate::support::elbo(lab.at(), "train set --norm batch --batch-size 1 --out refused");
        assert!(ran.code == 2 && ran.stderr.contains("a batch of one row has none"), "{}", ran.stderr);
    }),
    ("train", "--residual", |lab| {
        let of = |args: &str| lab.train(args).digest.clone();
        assert_ne!(of("--hidden 16,16 --residual"), of("--hidden 16,16"));
        assert_eq!(of("--hidden 16,16 --residual false"), of("--hidden 16,16"));
        assert_eq!(of("--hidden 16,8 --residual"), of("--hidden 16,8"), "no layer is as wide as its input");
        assert!(lab.train("--hidden 16,16 --residual").stderr.contains(", relu, residual, "));
    }),
    ("train", "--dropout", |lab| {
        let of = |args: &str| lab.train(args).digest.clone();
        assert_eq!(of("--dropout 0"), of(""));
        assert_ne!(of("--dropout 0.5"), of(""));
        // A step too small to change anything: what is said of training rows is with outputs left out, of test rows without.
        let still = |args: &str| lab.train(&format!("--learning-rate 1e-30 {args}"));
        let [with, without] = ["--dropout 0.5", ""].map(still);
        let (with, without) = (with.lines.last().unwrap(), without.lines.last().unwrap());
        assert_eq!(with.heldout, without.heldout);
        assert_ne!(with.train.reconstruction, without.train.reconstruction);
        assert!(lab.train("--dropout 0.5").stderr.contains(", relu, dropout 0.5, "));
        let ran = crate::support::elbo(lab.at(), "train set --dropout 1 --out refused");
        assert!(ran.code == 2 && ran.stderr.contains("lies from 0 to below 1, and 1 does not"), "{}", ran.stderr);
    }),
    ("bench", "--dropout", |lab| bench(lab, "--dropout 0.1", ", relu, dropout 0.1")),
    ("gradcheck", "--dropout", |lab| {
        let of = |args: &str| gradcheck_json(lab, args)["checks"].clone();
        assert_ne!(of("--dropout 0.5"), of(""), "another function, and other rounding errors");
    }),
    ("bench", "--norm", |lab| {
        bench(lab, "--norm layer", ", relu, layer norm, ");
        bench(lab, "--norm batch", ", relu, batch norm, ");
    }),
    ("bench", "--residual", |lab| bench(lab, "--hidden 6,6 --residual", "64-6-6-3-6-6-64, relu, residual")),
    ("gradcheck", "--norm", |lab| {
        gradcheck(lab, "--norm layer", "encoder.0.norm.weight");
        gradcheck(lab, "--norm batch", "decoder.0.norm.weight");
    }),
    ("gradcheck", "--residual", |lab| {
        let of = |args: &str| gradcheck_json(lab, &format!("--hidden 4,4 {args}"))["checks"].clone();
        assert_ne!(of("--residual"), of(""), "another function, and other rounding errors");
    }),
    ("bench", "--preset", |lab| {
        bench(lab, "--preset mlp-one-squared", "mlp-one-squared: 64-6-3-6-64, relu, gaussian likelihood")
    }),
    ("bench", "--hidden", |lab| bench(lab, "--hidden 9,7", "64-9-7-3-7-9-64")),
    ("bench", "--latent", |lab| bench(lab, "--latent 5", "64-6-5-6-64")),
    ("bench", "--layer", |lab| bench(lab, "--layer gated", "gated")),
    ("bench", "--activation", |lab| bench(lab, "--activation elu", "-64, elu:1.0,")),
    ("bench", "--heads", |lab| bench(lab, "--profile --heads joint", "encoder.posterior.weight")),
    ("bench", "--likelihood", |lab| bench(lab, "--likelihood gaussian:0.5", "gaussian:0.5 likelihood")),
    ("bench", "--init", |lab| {
        // Its numbers change no figure that is shown; its name is read as elsewhere.
        bench(lab, "--init he", "examples/s");
        let ran = crate::support::elbo(lab.at(), "bench --data set --init hee");
        assert!(ran.code == 2 && ran.stderr.contains("did you mean `he`?"), "{}", ran.stderr);
    }),
    ("gradcheck", "--preset", |lab| gradcheck(lab, "--preset mlp-one-squared", "mlp-one-squared: 5-4-2-4-5")),
    ("gradcheck", "--hidden", |lab| gradcheck(lab, "--hidden 4,3", "5-4-3-2-3-4-5")),
    ("gradcheck", "--latent", |lab| gradcheck(lab, "--latent 3", "5-4-3-4-5")),
    ("gradcheck", "--layer", |lab| gradcheck(lab, "--layer gated", "gated")),
    ("gradcheck", "--activation", |lab| gradcheck(lab, "--activation softplus", "softplus")),
    ("gradcheck", "--heads", |lab| gradcheck(lab, "--heads joint", "encoder.posterior.weight")),
    ("gradcheck", "--likelihood", |lab| gradcheck(lab, "--likelihood gaussian-learned", "likelihood.log_variance")),
    ("gradcheck", "--init", |lab| {
        let [torch, he] = ["torch", "he"].map(|init| gradcheck_json(lab, &format!("--init {init}")));
        assert_ne!(torch["checks"], he["checks"], "derivatives elsewhere, and other rounding errors");
    }),
];

/// The encoder's mean, from its weights and the definition of each activation.
fn activations(lab: &Lab) {
    // Φ by Simpson's rule on a hundred intervals: right to 1e-9 for |x| < 6.
    let normal_cdf = |x: f64| {
        let (n, density) = (100, |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt());
        let h = x / f64::from(n);
        let weight = |i| {
            if i == 0 || i == n {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        0.5 + (0..=n).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>() * h / 3.0
    };
    let definitions: [(&str, &dyn Fn(f64) -> f64); 8] = [
        ("relu", &|x| x.max(0.0)),
        ("tanh", &|x| x.tanh()),
        ("sigmoid", &|x| 1.0 / (1.0 + (-x).exp())),
        ("softplus", &|x| x.exp().ln_1p()),
        ("gelu", &|x| x * normal_cdf(x)),
        ("leaky-relu", &|x| if x > 0.0 { x } else { 0.01 * x }),
        ("leaky-relu:0.3", &|x| if x > 0.0 { x } else { 0.3 * x }),
        ("elu", &|x| if x > 0.0 { x } else { x.exp_m1() }),
    ];
    let x = Array2::from_shape_fn((20, COLS), |(i, j)| ((i * 31 + j * 17) % 19) as f32 / 18.0);
    let ex = Exec::sequential().unwrap();
    for (name, f) in definitions {
        let run = lab.train(&format!("--activation {name}"));
        let mut mean = Array2::<f32>::zeros((20, 3));
        Inference::new(&run.model.vae, &run.model.params, &ex).encode_into(x.view(), mean.view_mut());
        let dense = |x: &Array2<f64>, layer: &str| {
            let [weight, bias] =
                ["weight", "bias"].map(|p| run.tensor(&format!("encoder.{layer}.{p}")).mapv(f64::from));
            let bias = bias.into_iter().collect::<ndarray::Array1<f64>>();
            let weight = if weight.nrows() == x.ncols() { weight } else { weight.reversed_axes() };
            x.dot(&weight) + &bias
        };
        let expected = dense(&dense(&x.mapv(f64::from), "0").mapv(f), "mean");
        for (found, expected) in mean.iter().zip(&expected) {
            // Sums of 64 and of 16 terms of order 1 in f32.
            assert!((f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{name}: {found} {expected}");
        }
    }
}

pub fn bench(lab: &Lab, flags: &str, says: &str) {
    let defaults = [("--hidden", "6"), ("--latent", "3")];
    let more =
        defaults.iter().filter(|(flag, _)| !flags.contains(flag)).map(|(flag, value)| format!(" {flag} {value}"));
    let ran = lab.elbo(&format!("bench --data set --epochs 1 --batch-size 100 {flags}{}", more.collect::<String>()));
    assert!((ran.stderr.clone() + &ran.stdout).contains(says), "{says} in\n{}{}", ran.stderr, ran.stdout);
}

pub fn gradcheck(lab: &Lab, flags: &str, says: &str) {
    let ran = lab.elbo(&gradcheck_args(flags));
    assert!((ran.stderr.clone() + &ran.stdout).contains(says), "{says} in\n{}{}", ran.stderr, ran.stdout);
}

pub fn gradcheck_json(lab: &Lab, flags: &str) -> serde_json::Value {
    lab.elbo(&format!("{} --json", gradcheck_args(flags))).json()
}

fn gradcheck_args(flags: &str) -> String {
    let defaults = [("--hidden", "4"), ("--latent", "2"), ("--inputs", "5")];
    let more =
        defaults.iter().filter(|(flag, _)| !flags.contains(flag)).map(|(flag, value)| format!(" {flag} {value}"));
    format!("gradcheck {flags}{}", more.collect::<String>())
}
