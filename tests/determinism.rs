//! Same seed, same bytes: at any number of threads, on every instruction set with fused multiply-add.

use elbo::data::{Binarize, Dataset};
use elbo::estimator::FreeBits;
use elbo::optim::OptimizerKind;
use elbo::tensor::{Cores, Exec, Isa, Precision};
use elbo::train::{TrainConfig, Trainer};
use ndarray::Array2;

fn digits(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| ((i * i + 3 * j) * 31 % 256) as f32 / 255.0;
    Dataset::from_array(Array2::from_shape_fn((rows, 784), value).view()).unwrap().with_test(20).unwrap()
}

fn bits(config: &TrainConfig, rows: usize, exec: Exec) -> Vec<u32> {
    let mut trainer = Trainer::new(config.clone(), digits(rows), exec).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer.params().values().data().iter().map(|x| x.to_bits()).collect()
}

fn configs() -> Vec<TrainConfig> {
    let preset =
        |name: &str, batch_size| TrainConfig { epochs: 2, batch_size, ..TrainConfig::preset(name, 784).unwrap() };
    vec![
        preset("mlp-400", 128),
        preset("gated-300", 50),
        TrainConfig {
            clip: Some(1.0),
            free_bits: Some(FreeBits { lambda: 0.2, group: 2 }),
            binarize: Binarize::Dynamic,
            ..preset("mlp-512-256", 96)
        },
        // Rows that leave an odd block.
        TrainConfig { precision: Precision::Bf16, ..preset("mlp-400", 51) },
    ]
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for config in configs() {
        // 260 rows leave a remainder at every batch size above.
        let expected = bits(&config, 280, Exec::with_isa(Isa::default(), 1).unwrap());
        for threads in [2, 3, 7] {
            let found = bits(&config, 280, Exec::with_isa(Isa::default(), threads).unwrap());
            assert!(found == expected, "{}: {threads} threads differ from one", config.vae.preset);
        }
    }
}

#[test]
fn every_instruction_set_with_fused_multiply_add_gives_the_same_bytes() {
    for config in configs() {
        // Few rows: the portable twin is slow where it has to call a function for each multiply-add.
        let config = TrainConfig { batch_size: 24, epochs: 1, ..config };
        let expected = bits(&config, 60, Exec::with_isa(Isa::default(), 1).unwrap());
        for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
            let found = bits(&config, 60, Exec::with_isa(isa, 2).unwrap());
            assert!(found == expected, "{}: {} differs", config.vae.preset, isa.name());
        }
    }
}

/// The update inside the weights pass, against the gradient in memory, the optimizer, and the copies after it; and the
/// zeros of the digits left out, against all of them multiplied.
#[test]
fn the_fused_update_and_skipped_zeros_give_the_same_bytes() {
    let adamw = |config: TrainConfig| {
        let mut config = TrainConfig { clip: None, ..config };
        config.optimizer.kind = OptimizerKind::AdamW;
        config.optimizer.weight_decay = 0.1;
        config
    };
    for config in configs().into_iter().chain(configs().into_iter().map(adamw)) {
        for &isa in Isa::available() {
            let config = TrainConfig { batch_size: 24, epochs: 1, ..config.clone() };
            let trainer = || Trainer::new(config.clone(), digits(60), Exec::with_isa(isa, 2).unwrap()).unwrap();
            let ways = [trainer(), trainer().unfused(), trainer().dense(), trainer().placed(Cores::Apart)];
            let [fused, apart, dense, around] = ways.map(|mut trainer| {
                trainer.run(&mut ()).unwrap();
                let moments = trainer.optimizer().state().into_iter().flat_map(|(_, m)| m.data().to_vec());
                let all: Vec<f32> = trainer.params().values().data().iter().copied().chain(moments).collect();
                all.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            });
            assert!(fused == apart, "{} {} on {}", config.vae.preset, config.optimizer.kind, isa.name());
            assert!(fused == around, "cores apart, {} {} on {}", config.vae.preset, config.optimizer.kind, isa.name());
            assert!(fused == dense, "zeros, {} {} on {}", config.vae.preset, config.optimizer.kind, isa.name());
        }
    }
}

#[test]
fn bf16_is_near_f32_and_not_the_same() {
    let run = |precision| {
        let config = TrainConfig { precision, batch_size: 50, ..TrainConfig::preset("mlp-400", 784).unwrap() };
        let mut losses = Vec::new();
        let mut trainer = Trainer::new(config, digits(520), Exec::with_isa(Isa::default(), 2).unwrap()).unwrap();
        trainer
            .run(&mut |report: &elbo::train::EpochReport| {
                losses.push(report.heldout.unwrap().neg_elbo);
                elbo::train::Flow::Continue
            })
            .unwrap();
        losses
    };
    let (single, half) = (run(Precision::F32), run(Precision::Bf16));
    assert_ne!(single, half);
    for (a, b) in single.iter().zip(&half) {
        // Operands have eight bits; what they move the objective by stays far below its changes from epoch to epoch.
        assert!((a - b).abs() < 0.01 * a, "{single:?} {half:?}");
    }
}

#[test]
fn the_seed_changes_the_result() {
    let config = TrainConfig { epochs: 1, ..TrainConfig::preset("mlp-400", 784).unwrap() };
    let other = TrainConfig { seed: 1, ..config.clone() };
    let exec = || Exec::with_isa(Isa::default(), 2).unwrap();
    assert!(bits(&config, 100, exec()) != bits(&other, 100, exec()));
}
