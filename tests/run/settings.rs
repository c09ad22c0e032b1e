//! Settings: their words, which win, and the way to a configuration and back.

use crate::support::{bars, small, trainer};
use elbo::Result;
use elbo::data::{Binarize, Dataset};
use elbo::density::LikelihoodKind;
use elbo::estimator::{BetaSchedule, FreeBits};
use elbo::layer::Activation;
use elbo::model::{Heads, Hidden, PRESETS, VaeConfig};
use elbo::optim::OptimizerConfig;
use elbo::tensor::Exec;
use elbo::train::{Settings, TrainConfig, Trainer};
use std::collections::{BTreeMap, BTreeSet};

fn resolve(toml: &str) -> Result<(TrainConfig, Vec<String>)> {
    let settings = Settings::from_toml(toml)?;
    settings.resolve(&settings.split(bars())?)
}

#[track_caller]
fn fails(toml: &str, words: &[&str]) {
    let error = resolve(toml).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{toml:?}: {word:?} is not in: {error}");
    }
}

/// For each key, lines that change it; `gated` and `sgd` stand where a key needs them.
fn change(key: &str) -> &'static str {
    match key {
        "data" => "data = \"gaussian-2d\"",
        "validation" => "validation = 0.1",
        "preset" => "preset = \"iwae-200\"",
        "hidden" => "hidden = [5, 4]",
        "latent" => "latent = 7",
        "layer" => "layer = \"gated\"",
        "activation" => "activation = \"leaky-relu:0.3\"",
        "norm" => "norm = \"layer\"",
        "residual" => "residual = true",
        "dropout" => "dropout = 0.3",
        "condition" => "condition = \"labels\"",
        "conditional-prior" => "condition = \"labels\"\nconditional-prior = true",
        "heads" => "heads = \"joint\"",
        "likelihood" => "likelihood = \"gaussian:0.25\"",
        "log-variance" => "log-variance = [-6, 2]",
        "normalize-gradients" => "normalize-gradients = true",
        "capacity" => "capacity = 3",
        "capacity-epochs" => "capacity = 3\ncapacity-epochs = 1.5",
        "penalty" => "penalty = \"tc:2.5\"",
        "corrupt" => "corrupt = \"mask:0.25\"",
        "average" => "average = 0.99",
        "prior" => "prior = \"vamp:6\"",
        "posterior" => "posterior = \"iaf:2\"",
        "lower" => "lower = \"hvae:5x6\"",
        "init" => "init = \"he\"",
        "from" => "from = \"runs/first\"",
        "output-bias" => "output-bias = \"data-mean\"",
        "binarize" => "binarize = \"fixed\"",
        "epochs" => "epochs = 3",
        "batch-size" => "batch-size = 9",
        "optimizer" => "optimizer = \"adamw\"",
        "learning-rate" => "learning-rate = 0.3",
        "betas" => "betas = [0.8, 0.99]",
        "epsilon" => "epsilon = 1e-5",
        "momentum" => "optimizer = \"sgd\"\nmomentum = 0.5",
        "nesterov" => "optimizer = \"sgd\"\nmomentum = 0.5\nnesterov = true",
        "weight-decay" => "weight-decay = 0.1",
        "schedule" => "schedule = \"warmup-cosine:7\"",
        "clip" => "clip = 2.5",
        "precision" => "precision = \"bf16\"",
        "beta" => "beta = 4",
        "warmup-epochs" => "warmup-epochs = 1.3",
        "cycle-epochs" => "cycle-epochs = 10",
        "cycle-ratio" => "cycle-epochs = 10\ncycle-ratio = 0.7",
        "objective" => "samples = 3\nobjective = \"iwae\"",
        "samples" => "samples = 3",
        "gradient" => "gradient = \"stl\"",
        "free-bits" => "free-bits = \"0.5,2\"",
        "patience" => "validation = 0.1\npatience = 3",
        "seed" => "seed = 18446744073709551615",
        other => panic!("no test of the setting {other}"),
    }
}

#[test]
fn every_setting_changes_the_run() {
    let base = resolve("").unwrap().0;
    let mut reached = BTreeSet::new();
    for key in Settings::keys() {
        let toml = match key.as_str() {
            "seed" => "seed = \"18446744073709551615\"",
            key => change(key),
        };
        // What the line itself changes, beside what it needs.
        let (needs, _) = toml.rsplit_once('\n').unwrap_or_default();
        let without = if needs.is_empty() { base.clone() } else { resolve(needs).unwrap().0 };
        let settings = Settings::from_toml(toml).unwrap();
        assert!(settings.to_toml().contains(&key), "{key}: {}", settings.to_toml());
        match key.as_str() {
            "data" => assert_eq!(settings.load_data().unwrap().name(), "gaussian-2d"),
            // The model is read where a run is made.
            "from" => assert_eq!(resolve(toml).unwrap().0, base),
            "validation" => assert_eq!(settings.split(bars()).unwrap().validation().unwrap().len(), 7),
            _ => {
                let (before, after) = (fields(&without), fields(&resolve(toml).unwrap().0));
                let changed: Vec<&str> = before.keys().filter(|f| before[*f] != after[*f]).copied().collect();
                assert_eq!(changed, fields_of(&key), "what {key} changes");
                reached.extend(changed);
            }
        }
    }
    // Columns are the data's.
    reached.insert("inputs");
    assert_eq!(reached, fields(&base).into_keys().collect(), "fields of a configuration that a setting changes");
}

/// A configuration's fields as text: taken apart, so that a new one does not compile before it has a place here.
fn fields(config: &TrainConfig) -> BTreeMap<&'static str, String> {
    macro_rules! texts {
        ($($field:ident)+) => { BTreeMap::from([$((stringify!($field), format!("{:?}", $field))),+]) };
    }
    let TrainConfig {
        vae,
        epochs,
        batch_size,
        optimizer,
        schedule,
        beta,
        objective,
        samples,
        gradient,
        free_bits,
        capacity,
        penalty,
        clip,
        output_bias,
        corrupt,
        normalize,
        average,
        binarize,
        patience,
        precision,
        seed,
    } = config;
    let VaeConfig {
        preset,
        inputs,
        hidden,
        layer,
        norm,
        residual,
        dropout,
        condition,
        conditional_prior,
        latent,
        heads,
        likelihood,
        prior,
        posterior,
        lower,
        log_variance,
        init,
    } = vae;
    let OptimizerConfig { kind, learning_rate, betas, epsilon, momentum, nesterov, weight_decay } = optimizer;
    texts![epochs batch_size schedule beta objective samples gradient free_bits capacity penalty clip output_bias corrupt normalize
        average binarize patience precision seed
        preset inputs hidden layer norm residual dropout condition conditional_prior latent heads likelihood prior posterior
        lower log_variance init
        kind learning_rate betas epsilon momentum nesterov weight_decay]
}

/// The fields that a setting's line in [`change`] changes, in alphabetical order: most often its own alone.
fn fields_of(key: &str) -> Vec<&str> {
    match key {
        "preset" => vec!["batch_size", "epsilon", "hidden", "init", "latent", "layer", "preset"],
        "activation" => vec!["layer"],
        "optimizer" => vec!["kind", "weight_decay"],
        "batch-size" => vec!["batch_size"],
        "learning-rate" => vec!["learning_rate"],
        "weight-decay" => vec!["weight_decay"],
        "free-bits" => vec!["free_bits"],
        "output-bias" => vec!["output_bias"],
        "capacity-epochs" => vec!["capacity"],
        "conditional-prior" => vec!["conditional_prior"],
        "log-variance" => vec!["log_variance"],
        "normalize-gradients" => vec!["normalize"],
        "warmup-epochs" | "cycle-epochs" | "cycle-ratio" => vec!["beta"],
        own => vec![own],
    }
}

#[test]
fn a_resolved_configuration_is_spelled_out_and_read_back_exactly() {
    let presets = PRESETS.map(|p| format!("preset = \"{}\"", p.name));
    let keys = Settings::keys().into_iter().filter(|key| !["data", "from", "seed"].contains(&key.as_str()));
    let changes = keys.map(|key| change(&key).to_owned());
    let awkward = [
        "seed = \"18446744073709551615\"",
        "learning-rate = 1.2345678901234567e-5\nbeta = 0.1\nwarmup-epochs = 0.1",
        "warmup-epochs = 1e9\nschedule = \"warmup:100000000\"",
        "epochs = 7\ncycle-epochs = 3\nvalidation = 1",
        "warmup-epochs = 0",
    ];
    for toml in presets.into_iter().chain(changes).chain(awkward.map(str::to_owned)) {
        let settings = Settings::from_toml(&toml).unwrap();
        let data = settings.split(bars()).unwrap();
        let (config, _) = settings.resolve(&data).unwrap();
        let full = Settings::from_config(&config, &data);
        let read = Settings::from_toml(&full.to_toml()).unwrap();
        assert_eq!(read, full, "{toml}");
        let again = read.split(bars()).unwrap();
        let (resolved, warnings) = read.resolve(&again).unwrap();
        assert_eq!(resolved, config, "{toml}");
        assert!(warnings.iter().all(|w| w.contains("grey")), "{toml}: nothing is left to be fitted: {warnings:?}");
        let ids = |data: &Dataset| (0..data.train().len()).map(|p| data.train().id(p)).collect::<Vec<_>>();
        assert_eq!(ids(&data), ids(&again), "{toml}");
        Trainer::new(config, data, Exec::sequential().unwrap()).unwrap();
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let file = Settings::from_toml("preset = \"gated-300\"\nlatent = 5\nepochs = 9\nseed = 3").unwrap();
    let flags = Settings { epochs: Some(2), learning_rate: Some(0.5), ..Settings::default() };
    let (config, _) = file.merge(flags).resolve(&bars()).unwrap();
    assert_eq!((config.vae.preset, config.vae.layer), ("gated-300", Hidden::Gated));
    assert_eq!((config.vae.latent, config.seed), (5, 3), "the file's");
    assert_eq!((config.epochs, config.optimizer.learning_rate), (2, 0.5), "the flags'");
    assert_eq!((config.vae.hidden.as_slice(), config.batch_size), (&[300, 300][..], 100), "the preset's");
}

/// What a flag changes takes along what the file says of the choice before.
#[test]
fn what_contradicts_a_flag_gives_way() {
    let file = "layer = \"dense\"\nactivation = \"tanh\"\noptimizer = \"adam\"\nbetas = [0.8, 0.9]\nepsilon = 1e-5\nwarmup-epochs = 2";
    let with = |flags: &str| Settings::from_toml(file).unwrap().merge(Settings::from_toml(flags).unwrap());
    let of = |flags: &str| with(flags).resolve(&bars()).unwrap().0;
    assert_eq!(of("layer = \"gated\"").vae.layer, Hidden::Gated);
    assert_eq!(of("layer = \"dense\"").vae.layer, Hidden::Dense(Activation::Tanh), "the same choice");
    assert_eq!(of("activation = \"gelu\"").vae.layer, Hidden::Dense(Activation::Gelu));
    assert_eq!(of("optimizer = \"sgd\"").optimizer.betas, OptimizerConfig::new(elbo::optim::OptimizerKind::Sgd).betas);
    assert_eq!(of("optimizer = \"adam\"").optimizer.betas, [0.8, 0.9], "the same choice");
    let short = Settings::from_toml("activation = \"tanh\"\nbetas = [0.8, 0.9]").unwrap();
    let same = short.merge(Settings::from_toml("layer = \"dense\"\noptimizer = \"adam\"").unwrap());
    assert!(
        same.activation.is_some() && same.betas.is_some(),
        "what the file does not say is as it would be without: {same:?}"
    );
    assert!(matches!(of("cycle-epochs = 2").beta, BetaSchedule::Cyclic { .. }));
    assert_eq!(with("cycle-epochs = 2").merge(Settings::from_toml("warmup-epochs = 1").unwrap()).cycle_epochs, None);
    for key in ["betas = [0.9, 0.99, 0.999]", "log-variance = [1]"] {
        let error = Settings::from_toml(key).unwrap_err().to_string();
        assert!(error.contains("expected two numbers"), "{error}");
    }
}

#[test]
fn values_arrive_where_they_belong() {
    let toml = "activation = \"gelu\"\nheads = \"joint\"\nlikelihood = \"categorical:2\"\nbinarize = \"threshold\"\n\
        free-bits = 0.5\nbeta = 2\nwarmup-epochs = 3\nepochs = 20\nbatch-size = 10";
    let (config, _) = resolve(toml).unwrap();
    assert_eq!(config.vae.layer, Hidden::Dense(Activation::Gelu));
    assert_eq!((config.vae.heads, config.vae.likelihood), (Heads::Joint, LikelihoodKind::Categorical(2)));
    assert_eq!((config.binarize, config.free_bits), (Binarize::Threshold, Some(FreeBits { lambda: 0.5, group: 1 })));
    assert_eq!(config.beta, BetaSchedule::Linear { beta: 2.0, warmup: 21 }, "three epochs of seven steps");
}

#[test]
fn a_run_has_a_sensible_length_and_preset_by_default() {
    let of = |data: &str| {
        let settings = Settings { data: Some(data.to_owned()), ..Settings::default() };
        let (config, _) = settings.resolve(&settings.load_data().unwrap()).unwrap();
        (config.vae.preset, config.epochs)
    };
    assert_eq!(of("gaussian-2d"), ("tabular", 70));
    #[cfg(feature = "mnist")]
    assert_eq!(of("mnist"), ("mlp-400", 30));
}

#[test]
fn what_had_to_change_is_said() {
    let warnings = |toml: &str| resolve(toml).unwrap().1;
    assert!(warnings("")[0].contains("grey"));
    assert!(warnings("binarize = \"dynamic\"").is_empty());
    assert!(warnings("likelihood = \"gaussian\"").is_empty());
    let (config, clamped) =
        resolve("epochs = 2\nbatch-size = 10\nwarmup-epochs = 5\nlikelihood = \"gaussian\"").unwrap();
    assert_eq!(config.beta, BetaSchedule::Linear { beta: 1.0, warmup: 14 });
    assert!(clamped[0].contains("35") && clamped[0].contains("14"), "{clamped:?}");
    // A library's configuration has nobody to warn.
    let mut unfitted = config;
    unfitted.beta = BetaSchedule::Linear { beta: 1.0, warmup: 15 };
    let error = Trainer::new(unfitted, bars(), Exec::sequential().unwrap()).unwrap_err().to_string();
    assert!(error.contains("does not fit the run"), "{error}");
}

#[test]
fn slips_are_explained() {
    fails("epoch = 3", &["unknown setting `epoch`", "did you mean `epochs`?"]);
    fails("batch_size = 3", &["did you mean `batch-size`?"]);
    fails("preset = \"mlp-40\"", &["did you mean `mlp-400`?"]);
    fails("optimizer = \"adm\"", &["optimizer: ", "did you mean `adam`?"]);
    fails("layer = \"gate\"", &["layer", "did you mean `gated`?"]);
    fails("heads = \"join\"", &["heads", "did you mean `joint`?"]);
    fails("init = \"xavier\"", &["init", "glorot"]);
    fails("activation = \"rleu\"", &["activation: ", "did you mean `relu`?"]);
    fails("binarize = \"fix\"", &["binarize: "]);
    fails("schedule = \"cos\"", &["schedule: "]);
    fails("free-bits = -1", &["free-bits: "]);
    fails("validation = 1.5", &["validation: "]);
    fails("layer = \"gated\"\nactivation = \"relu\"", &["gated layers have no activation"]);
    fails("momentum = 0.9", &["the optimizer adam has no momentum"]);
    fails("optimizer = \"sgd\"\nepsilon = 1e-8", &["the optimizer sgd has no epsilon"]);
    fails("warmup-epochs = 1\ncycle-epochs = 1", &["both warmup-epochs and cycle-epochs"]);
    fails("cycle-ratio = 0.5", &["cycle-epochs is not"]);
    fails("warmup-epochs = -1", &["warmup-epochs"]);
    fails("epochs = 9223372036854775807", &["too many steps"]);
    fails("condition = \"\"", &["condition: ", "empty name", "--condition labels"]);
    fails("condition = \"region\"", &["bars: ", "no column region"]);
    fails("seed = -1", &["a seed is a whole number"]);
    fails("hidden = 400", &["line 1", "sequence"]);
    fails("latent = 2.5", &["line 1"]);
}

#[test]
fn numbers_out_of_range_are_refused_before_training() {
    for (toml, words) in [
        ("epochs = 0", "number of epochs must be at least 1"),
        ("batch-size = 0", "batch size must be at least 1"),
        ("clip = 0", "clipping norm must be a positive number, not 0"),
        ("latent = 0", "latent"),
        ("hidden = [0]", "hidden"),
        ("validation = 9\npatience = 0", "epochs of patience must be at least 1"),
    ] {
        let settings = small(toml);
        let data = settings.split(bars()).unwrap();
        let tried = settings.resolve(&data).and_then(|(c, _)| Trainer::new(c, data, Exec::sequential().unwrap()));
        let error = tried.unwrap_err().to_string();
        assert!(error.contains(words), "{toml}: {error}");
    }
    let settings = small("patience = 1");
    let (config, _) = settings.resolve(&bars()).unwrap();
    let error = Trainer::new(config, bars(), Exec::sequential().unwrap()).unwrap_err().to_string();
    assert!(error.contains("--validation"), "{error}");
    trainer(&small("validation = 9\npatience = 1"), 1);
}
