//! The options of a training run, each by what it promises of the parameters, the record or the words.

use super::Row;
use super::lab::*;
use crate::support::*;
use std::fs;

/// What the test of a proportion allows where `f32` parameters of about 0.1 move by about 0.01: their last place is
/// 1e-8, a millionth of the move; and Adam's ε takes as much of a typical gradient.
const ROUNDING: f64 = 1e-3;

pub const ROWS: &[Row] = &[
    ("train", "DATA", |lab| {
        let [grey, binary] = [lab.train(""), lab.train_binary("")];
        assert_ne!(grey.digest, binary.digest);
        assert_eq!((grey.model.info.data.name.as_str(), binary.model.info.data.name.as_str()), ("set", "binary"));
    }),
    ("train", "--epochs", |lab| {
        for epochs in [2, 5, 7] {
            let run = lab.train(&format!("--epochs {epochs}"));
            assert_eq!((run.lines.len(), run.steps()), (epochs, 5 * epochs as u64));
        }
    }),
    ("train", "--batch-size", |lab| {
        for (size, steps) in [("200", 1), ("199", 2), ("40", 5), ("9", 23)] {
            assert_eq!(lab.train(&format!("--batch-size {size} --epochs 1")).steps(), steps, "batches of {size}");
        }
    }),
    ("train", "--learning-rate", |lab| {
        // Adam's first step is the learning rate, whatever the gradient.
        for rate in [0.01, 0.001] {
            let run = lab.train(&format!("{ONE_STEP} --learning-rate {rate}"));
            near(largest(&run.moves()), rate, ROUNDING, "the largest move");
        }
    }),
    ("train", "--optimizer", |lab| {
        let of = |name: &str| lab.train(&format!("{ONE_STEP} --optimizer {name}"));
        let [adam, adamw, sgd] = [of("adam"), of("adamw --weight-decay 0.5"), of("sgd")];
        let (moves, decayed, descent) = (adam.moves(), adamw.moves(), sgd.moves());
        for (i, start) in adam.initial().into_iter().enumerate() {
            // All go downhill; AdamW, beside, shrinks each parameter by the learning rate times the decay.
            assert!(moves[i] * descent[i] >= 0.0, "{i}: {} and {}", moves[i], descent[i]);
            assert!((decayed[i] - moves[i] + 0.01 * 0.5 * start).abs() < 1e-6, "{i}: {} {}", decayed[i], moves[i]);
        }
        // Gradients differ in size, which SGD follows and Adam does not.
        let spread = |moves: &[f64]| norm(moves) / largest(moves);
        assert!(spread(&moves) > 2.0 * spread(&descent), "{} {}", spread(&moves), spread(&descent));
    }),
    ("train", "--betas", |lab| {
        // Without memory each step of Adam is ± the learning rate, and ten of them a whole number of it. With memory that
        // happens by chance, to four in a hundred.
        let whole = |flags: &str| {
            let moves = lab.train(&format!("--epochs 2 {flags}")).moves();
            let moved: Vec<f64> = moves.into_iter().filter(|x| *x != 0.0).map(|x| x / 0.01).collect();
            let whole = moved.iter().filter(|x| (**x - x.round()).abs() < 0.02).count();
            whole as f64 / moved.len() as f64
        };
        let (without, with) = (whole("--betas 0,0"), whole("--betas 0.9,0.999"));
        assert!(without > 0.95 && with < 0.2, "{without} {with}");
    }),
    ("train", "--epsilon", |lab| {
        let step = |epsilon: &str| largest(&lab.train(&format!("{ONE_STEP} --epsilon {epsilon}")).moves());
        ascending(&[step("1000"), step("10"), step("0.1"), step("1e-8")], "the largest move by epsilon, falling");
    }),
    ("train", "--momentum", |lab| {
        // Two steps whose gradients are nearly the same: g and then g + 0.9 g, 2.9 in all against 2. The noise of the
        // latents keeps them apart by a few hundredths.
        let way = |momentum: &str| {
            let sgd = "--batch-size 200 --epochs 2 --optimizer sgd --learning-rate 1e-4";
            norm(&lab.train(&format!("{sgd} --momentum {momentum}")).moves())
        };
        near(way("0.9") / way("0"), 1.45, 0.1, "the way of two steps");
    }),
    ("train", "--nesterov", |lab| {
        let way =
            |nesterov: &str| norm(&lab.train(&format!("{ONE_STEP} --optimizer sgd --momentum 0.5 {nesterov}")).moves());
        // The first step looks ahead by the momentum: g + 0.5 g.
        near(way("--nesterov true") / way("--nesterov false"), 1.5, ROUNDING, "the first step");
        near(way("--nesterov"), way("--nesterov true"), 0.0, "without a value it is true");
    }),
    ("train", "--weight-decay", |lab| {
        let norms = ["3", "1", "0"].map(|decay| norm(&lab.train(&format!("--weight-decay {decay}")).parameters()));
        ascending(&norms, "the parameters' norm by weight decay, falling");
        // Where it is added to the gradient, a step of SGD shrinks by the learning rate times the decay.
        let [with, without] =
            ["1", "0"].map(|decay| lab.train(&format!("{ONE_STEP} --optimizer sgd --weight-decay {decay}")));
        for ((with, without), start) in with.moves().iter().zip(without.moves()).zip(without.initial()) {
            assert!((with - without + 0.01 * start).abs() < 1e-6, "{with} {without} {start}");
        }
    }),
    ("train", "--schedule", |lab| {
        let rates = |schedule: &str| {
            let run = lab.train(&format!("--epochs 4 --schedule {schedule}"));
            run.lines.iter().map(|line| line.learning_rate / 0.01).collect::<Vec<f64>>()
        };
        assert_eq!(rates("constant"), [1.0; 4]);
        assert_eq!(rates("step:1,0.5"), [1.0, 0.5, 0.25, 0.125]);
        ascending(&rates("cosine").into_iter().rev().collect::<Vec<_>>(), "cosine, from its end");
        let rising = rates("warmup:20");
        [0.25, 0.5, 0.75, 1.0].iter().zip(&rising).for_each(|(e, f)| near(*f, *e, 1e-12, "warm-up"));
        let both = rates("warmup-cosine:10");
        assert!(both[0] < both[1] && both[1] > both[2] && both[2] > both[3], "{both:?}");
        // And the rate that is recorded is the one that is used.
        let first = lab.train(&format!("{ONE_STEP} --schedule step:1,0.5"));
        let second = lab.train("--batch-size 200 --epochs 2 --betas 0,0 --schedule step:1,0.5");
        near(largest(&first.moves()), 0.01, ROUNDING, "the first step");
        // A mean that forgets at once is x + (y − x), which rounds by the old x.
        near(largest(&second.moves()), 0.015, 0.01, "a step and half a step");
    }),
    ("train", "--clip", |lab| {
        let way = |clip: &str| norm(&lab.train(&format!("{ONE_STEP} --optimizer sgd {clip}")).moves());
        let free = way("");
        for bound in [0.5, 2.0] {
            assert!(free > 0.01 * bound, "the gradient's own norm is larger");
            near(way(&format!("--clip {bound}")), 0.01 * bound, ROUNDING, "the learning rate times the bound");
        }
        near(way("--clip 1e9"), free, 0.0, "what is below the bound stays");
    }),
    ("train", "--beta", |lab| {
        let kl = |beta: &str| lab.train(&format!("--beta {beta}")).kl();
        ascending(&[kl("10"), kl("3"), kl("1"), kl("0.1"), kl("0")], "KL by its weight, falling");
    }),
    ("train", "--warmup-epochs", |lab| {
        let (with, without) = (lab.train("--warmup-epochs 5"), lab.train(""));
        let weights: Vec<f64> = with.lines.iter().map(|line| line.beta).collect();
        [0.2, 0.4, 0.6, 0.8, 1.0].iter().zip(&weights).for_each(|(e, f)| near(*f, *e, 1e-12, "the weight"));
        assert!(without.lines.iter().all(|line| line.beta == 1.0));
        let first = |run: &Run| run.lines[0].train.kl.unwrap();
        assert!(first(&with) > first(&without), "a light KL is not pressed");
    }),
    ("train", "--cycle-epochs", |lab| {
        assert_eq!(weights(lab, "--cycle-epochs 4"), [0.5, 1.0, 1.0, 1.0]);
        assert_eq!(weights(lab, "--cycle-epochs 2"), [1.0, 1.0, 1.0, 1.0], "up in the first half of each cycle");
    }),
    ("train", "--cycle-ratio", |lab| {
        assert_eq!(weights(lab, "--cycle-epochs 4 --cycle-ratio 1"), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(weights(lab, "--cycle-epochs 2 --cycle-ratio 1"), [0.5, 1.0, 0.5, 1.0]);
    }),
    ("train", "--free-bits", |lab| {
        // Under a heavy weight: none is spared, one nat of the three latents together, or one of each.
        let kl = |free: &str| lab.train(&format!("--beta 30 --epochs 20 {free}")).kl();
        let found = [kl(""), kl("--free-bits 1,3"), kl("--free-bits 1")];
        ascending(&found, "KL by free bits");
        assert!(found[0] < 0.3 && found[1] > 0.5 && found[2] > 1.5, "{found:?}");
    }),
    ("train", "--binarize", |lab| {
        let [grey, dynamic, threshold, fixed] =
            ["none", "dynamic", "threshold", "fixed"].map(|how| lab.train(&format!("--binarize {how}")).digest.clone());
        assert_eq!(grey, lab.train("").digest);
        assert_eq!(threshold, lab.train_binary("").digest, "as if the data had been black and white");
        assert!(grey != dynamic && dynamic != fixed && fixed != threshold && threshold != dynamic);
        // A draw of 0 or 1 gives 0 or 1.
        for how in ["dynamic", "threshold", "fixed"] {
            assert_eq!(lab.train_binary(&format!("--binarize {how}")).digest, lab.train_binary("").digest, "{how}");
        }
    }),
    ("train", "--precision", |lab| {
        let (single, half) = (lab.train(""), lab.train("--precision bf16"));
        if elbo::tensor::Isa::detect().unwrap().has_half() {
            let apart: Vec<f64> = single.parameters().iter().zip(half.parameters()).map(|(a, b)| a - b).collect();
            // Operands are off by 2⁻⁹ at most; Adam makes of a gradient's changed sign a whole step, in 25 of them.
            let share = norm(&apart) / norm(&single.parameters());
            assert!(share > 0.0 && share < 0.1, "{share}");
        } else {
            assert!(half.stderr.contains("warning:") && half.digest == single.digest, "{}", half.stderr);
        }
    }),
    ("train", "--validation", |lab| {
        for (asked, steps) in [("40", 4), ("0.2", 4), ("100", 3)] {
            let run = lab.train(&format!("--validation {asked} --epochs 1"));
            assert!(run.lines[0].validation.is_some() && run.steps() == steps, "{asked}: {} steps", run.steps());
        }
        let last = lab.train("--validation last:40 --epochs 1");
        assert!(last.steps() == 4 && last.digest != lab.train("--validation 40 --epochs 1").digest);
        // The same rows whatever the seed of the draw: the split is told in the run's configuration.
        assert!(fs::read_to_string(last.path.join("config.toml")).unwrap().contains("validation = \"last:40\""));
        assert!(lab.train("").lines[0].validation.is_none());
        assert_eq!(lab.train("--validation none").digest, lab.train("").digest);
    }),
    ("train", "--patience", |lab| {
        // Steps so long that the objective gets worse from some epoch on.
        let epochs = |patience: &str| {
            let run = lab.train(&format!("--validation 40 --epochs 60 --learning-rate 0.3 --patience {patience}"));
            let best = |line: &elbo::train::MetricsLine| line.validation.unwrap().neg_elbo.unwrap();
            let kept = run.lines.iter().min_by(|a, b| best(a).total_cmp(&best(b))).unwrap();
            assert_eq!(run.model.info.epoch, kept.epoch, "the best is kept");
            run.lines.len() as f64
        };
        ascending(&[epochs("1"), epochs("4"), 60.0], "epochs by patience");
        // Patience counts once the KL has its weight.
        ascending(&[epochs("1"), 19.0, epochs("1 --warmup-epochs 19")], "epochs by patience and warm-up");
    }),
    ("train", "--memory", |lab| {
        let streamed = lab.train("--memory 1K");
        assert!(streamed.stderr.contains("streamed") && !lab.train("").stderr.contains("streamed"));
        assert_eq!(streamed.digest, lab.train("").digest);
    }),
    ("train", "--config", |lab| {
        fs::write(lab.at().join("c.toml"), "beta = 3\nhidden = [16]\nlatent = 3\nbatch-size = 40\nepochs = 4").unwrap();
        let flags = "--hidden 16 --latent 3 --batch-size 40";
        assert_eq!(lab.run("set --config c.toml").digest, lab.run(&format!("set {flags} --beta 3 --epochs 4")).digest);
        assert_eq!(
            lab.run("set --config c.toml --epochs 2").digest,
            lab.run(&format!("set {flags} --beta 3 --epochs 2")).digest,
            "flags win"
        );
    }),
    ("train", "--out", |lab| {
        lab.elbo("train gaussian-2d --epochs 1 --out named");
        assert!(lab.at().join("named/model.safetensors").is_file());
    }),
    ("train", "--overwrite", |lab| {
        let args = "train gaussian-2d --latent 1 --epochs 1 --out taken";
        let digest = |flags: &str| {
            lab.elbo(&format!("{args} {flags}"));
            info(&lab.at().join("taken"))["digest"].clone()
        };
        let first = digest("");
        let ran = elbo(lab.at(), args);
        assert!(ran.code == 2 && ran.stderr.contains("it exists already"), "{}", ran.stderr);
        assert_ne!(digest("--overwrite --seed 5"), first);
    }),
    ("train", "--from", |lab| {
        let first = lab.train("");
        let from = |flags: &str| lab.run(&format!("set --from {} --batch-size 40 {flags}", first.path.display()));
        let still = from("--epochs 1 --optimizer sgd --learning-rate 1e-30");
        assert_eq!(still.digest, first.digest, "where nothing is learned, the numbers are the model's");
        assert!(still.stderr.contains(&format!("epoch 5, parameters {}", first.digest)), "{}", still.stderr);
        let further = from("--epochs 2 --learning-rate 0.003");
        assert_eq!(further.shape("encoder.0.weight"), [16, COLS]);
        let loss = |run: &Run, line: usize| run.lines[line].train.neg_elbo.unwrap();
        ascending(&[loss(&further, 1), loss(&first, 4), loss(&first, 0)], "train -ELBO");
        // Its own configuration repeats it; of a model's file likewise.
        let config = further.path.join("config.toml");
        assert_eq!(lab.run(&format!("--config {}", config.display())).digest, further.digest);
        let file = first.path.join("model.safetensors");
        let of_file =
            lab.run(&format!("set --from {} --batch-size 40 --epochs 2 --learning-rate 0.003", file.display()));
        assert_eq!(of_file.digest, further.digest);
    }),
    ("train", "--resume", |lab| {
        let path = lab.at().join("grown");
        lab.elbo("train set --hidden 16 --latent 3 --batch-size 40 --epochs 2 --learning-rate 0.01 --out grown");
        let ran = lab.elbo("train --resume grown --epochs 5");
        assert_eq!(lab.read(&path, ran).digest, lab.train("").digest);
    }),
    ("train", "--seed", |lab| {
        assert_eq!(lab.train("--seed 0").digest, lab.train("").digest);
        assert_ne!(lab.train("--seed 1").digest, lab.train("").digest);
    }),
    ("train", "--threads", |lab| {
        // Wide enough to be worth sharing.
        let of =
            |threads: usize| lab.train(&format!("--hidden 300,200 --batch-size 200 --epochs 2 --threads {threads}"));
        let one = of(1);
        for threads in [2, 3, 7] {
            let run = of(threads);
            assert!(run.stderr.contains(&format!("{threads} threads")), "{}", run.stderr);
            for file in ["model.safetensors", "checkpoint", "config.toml"] {
                assert!(fs::read(run.path.join(file)).unwrap() == fs::read(one.path.join(file)).unwrap(), "{file}");
            }
        }
    }),
    ("train", "--quiet", |lab| {
        for quiet in ["--quiet", "-q"] {
            let run = lab.train(quiet);
            assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{quiet}");
            assert_eq!(run.digest, lab.train("").digest);
        }
        assert!(lab.train("").stderr.contains("epoch 5/5"));
    }),
    ("train", "--json", |lab| {
        let run = lab.train("--json");
        assert_eq!(run.stdout, fs::read_to_string(run.path.join("metrics.jsonl")).unwrap());
        assert_eq!(lab.train("").stdout, "");
    }),
];

/// The KL's weight in the last step of each of four epochs.
fn weights(lab: &Lab, flags: &str) -> Vec<f64> {
    lab.train(&format!("--epochs 4 {flags}")).lines.iter().map(|line| line.beta).collect()
}
