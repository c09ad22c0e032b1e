//! Runs: bytes repeat, and what a mask covers stays zero whatever moves the parameters.

use elbo::data::Dataset;
use elbo::model::Vae;
use elbo::optim::OptimizerKind;
use elbo::tensor::{Cores, Exec, Isa, Noise, Params, Precision};
use elbo::train::{DataInfo, ModelInfo, SavedModel, Selected, Settings, TrainConfig, Trainer};
use ndarray::Array2;

fn data() -> Dataset {
    let value = |(i, j): (usize, usize)| if (i * 7 + j * j + i * j) % 5 < 2 { 1.0 } else { 0.0 };
    Dataset::from_array(Array2::from_shape_fn((70, 40), value).view()).unwrap().with_test(10).unwrap()
}

fn config(posterior: &str) -> TrainConfig {
    let mut config = TrainConfig { epochs: 2, batch_size: 24, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    // Hidden units of several panels.
    (config.vae.hidden, config.vae.latent, config.vae.posterior) = (vec![70], 6, posterior.parse().unwrap());
    config
}

fn trained(config: &TrainConfig, exec: Exec, change: impl Fn(Trainer) -> Trainer) -> Trainer {
    let mut trainer = change(Trainer::new(config.clone(), data(), exec).unwrap());
    trainer.run(&mut ()).unwrap();
    trainer
}

fn exec(isa: Isa, threads: usize) -> Exec {
    Exec::with_isa(isa, threads).unwrap()
}

fn bits(trainer: &Trainer) -> Vec<u32> {
    trainer.params().values().data().iter().map(|x| x.to_bits()).collect()
}

/// Masked entries of every parameter: their number, and whether all are zero.
fn masked(trainer: &Trainer, params: &Params<f32>) -> (usize, bool) {
    let (mut count, mut zero) = (0, true);
    for entry in trainer.vae().layout().entries() {
        let Some(mask) = entry.mask else { continue };
        let plain = params.values().unpack(&entry.slot);
        for ((output, input), x) in plain.indexed_iter() {
            if !mask.keeps(input, output) {
                (count, zero) = (count + 1, zero && x.to_bits() == 0);
            }
        }
    }
    (count, zero)
}

/// Any number of threads, any instruction set with fused multiply-add, the update inside the weights pass or after it, and
/// wherever the cores stand.
#[test]
fn the_same_bytes() {
    for posterior in ["full", "planar:2", "iaf:2"] {
        let config = config(posterior);
        let expected = bits(&trained(&config, exec(Isa::default(), 1), |t| t));
        for threads in [2, 3] {
            assert!(
                bits(&trained(&config, exec(Isa::default(), threads), |t| t)) == expected,
                "{posterior}, {threads} threads"
            );
        }
        for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
            assert!(bits(&trained(&config, exec(isa, 2), |t| t)) == expected, "{posterior} on {}", isa.name());
        }
        assert!(bits(&trained(&config, exec(Isa::default(), 2), Trainer::unfused)) == expected, "{posterior}, unfused");
        let apart = |t: Trainer| t.placed(Cores::Apart);
        assert!(bits(&trained(&config, exec(Isa::default(), 2), apart)) == expected, "{posterior}, cores apart");
    }
}

#[test]
fn what_a_mask_covers_stays_zero() {
    type Change = fn(&mut TrainConfig);
    let changes: [(&str, Change); 8] = [
        ("Adam in the weights pass", |_| {}),
        ("Adam with weight decay", |c| c.optimizer.weight_decay = 0.1),
        ("AdamW", |c| (c.optimizer.kind, c.optimizer.weight_decay) = (OptimizerKind::AdamW, 0.1)),
        ("SGD", |c| {
            c.optimizer.kind = OptimizerKind::Sgd;
            (c.optimizer.momentum, c.optimizer.nesterov, c.optimizer.weight_decay) = (0.9, true, 0.1);
        }),
        ("clipping", |c| c.clip = Some(0.1)),
        ("normalised gradients", |c| c.normalize = true),
        ("an average", |c| c.average = Some(0.9)),
        ("bf16", |c| c.precision = Precision::Bf16),
    ];
    for (what, change) in changes {
        let mut config = config("iaf:2");
        change(&mut config);
        if config.precision == Precision::Bf16 && !Isa::default().has_half() {
            continue;
        }
        let trainer = trained(&config, exec(Isa::default(), 2), |t| t);
        let start = Params::<f32>::init(trainer.vae().layout(), &Noise::new(config.seed));
        // Of 6 latents, a hidden unit of degree d sees d; an output for latent i sees the degrees up to i.
        let enter: usize = (0..70).map(|k| 6 - k % 6).sum();
        let leave: usize = (0..12).map(|o| (0..70).filter(|k| k % 6 > o % 6).count()).sum();
        assert_eq!(masked(&trainer, &start), (2 * (enter + leave), true), "at the start");
        assert_eq!(masked(&trainer, trainer.params()), (2 * (enter + leave), true), "{what}");
        let (before, after) = (start.values().data(), trainer.params().values().data());
        let moved = trainer.vae().layout().entries().iter().filter(|e| e.mask.is_some());
        let all = moved.map(|e| before[e.slot.range()] != after[e.slot.range()]);
        assert!(all.collect::<Vec<bool>>() == [true; 4], "{what}: the others learn");
        if let Some(average) = trainer.average() {
            assert!(masked(&trainer, average).1, "{what}");
        }
    }
}

/// A file with a number where there is no connection is no model: z would depend on latents that its determinant does not know.
#[test]
fn a_file_with_a_connection_too_many_is_refused() {
    let vae = Vae::new(&config("iaf:2").vae).unwrap();
    let mut params = Params::<f32>::init(vae.layout(), &Noise::new(1));
    let settings = Settings::from_network(vae.config());
    let (data, version) = (DataInfo::unknown(), "0".to_owned());
    let info = ModelInfo { version, data, settings, epoch: 0, step: 0, selected: Selected::Last };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let slot = vae.layout().find("posterior.1.leave.weight").unwrap().slot;
    for (value, allowed) in [(0.0, true), (1e-3, false)] {
        // Hidden unit 5 sees the latents before the last; the first latent may not.
        params.values_mut().set(&slot, 5, 0, value);
        SavedModel { vae: vae.clone(), params: params.clone(), info: info.clone() }.save(&path).unwrap();
        let loaded = SavedModel::load(&path);
        assert_eq!(loaded.is_ok(), allowed);
        if let Err(error) = loaded {
            let text = error.to_string();
            assert!(text.contains("posterior.1.leave.weight is 0.001 at 5, expected 0"), "{text}");
        }
    }
}

/// Steps far too long end with the cause, and not in a flow's own arithmetic.
#[test]
fn a_run_that_diverges_says_where() {
    for posterior in ["full", "planar:3", "iaf:2"] {
        let mut config = config(posterior);
        config.optimizer.kind = OptimizerKind::Sgd;
        config.optimizer.learning_rate = 1e30;
        let mut trainer = Trainer::new(config, data(), exec(Isa::default(), 1)).unwrap();
        let error = trainer.run(&mut ()).unwrap_err().to_string();
        assert!(error.contains("not finite"), "{posterior}: {error}");
    }
}
