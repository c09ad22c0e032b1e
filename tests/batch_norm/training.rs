//! Training: the same bytes everywhere, and averages of averages.

use super::{config, digits};
use elbo::estimator::{Bound, ObjectiveKind};
use elbo::model::VaeConfig;
use elbo::optim::average_decay;
use elbo::tensor::{Exec, Isa, Precision};
use elbo::train::{Flow, Observer, StepReport, TrainConfig, Trainer};

/// Parameters, moments and running averages after a run, to the bit.
fn bits(trainer: Trainer) -> Vec<u32> {
    let mut trainer = trainer;
    trainer.run(&mut ()).unwrap();
    let moments = trainer.optimizer().state().into_iter().flat_map(|(_, m)| m.data().to_vec()).collect::<Vec<f32>>();
    let model = [trainer.params(), trainer.model()].map(|p| [p.values().data(), p.statistics().data()].concat());
    model.concat().iter().chain(&moments).map(|x| x.to_bits()).collect()
}

/// At any number of threads, on every instruction set with fused multiply-add, with the update in the weights pass or after it: in batches
/// of more than a block and odd ones, the last of one row.
#[test]
fn the_same_bytes_everywhere() {
    let iwae = TrainConfig { objective: ObjectiveKind::Weighted(Bound::Iwae), samples: 3, ..config(30) };
    let half = TrainConfig { precision: Precision::Bf16, ..config(130) };
    let vae = VaeConfig { dropout: 0.2, ..config(130).vae };
    let coupled = TrainConfig { penalty: Some("mmd:3".parse().unwrap()), average: Some(0.9), vae, ..config(130) };
    for config in [config(130), iwae, half, coupled] {
        let trainer = |isa, threads| {
            Trainer::new(config.clone(), digits(20 + 2 * config.batch_size + 1), Exec::with_isa(isa, threads).unwrap())
                .unwrap()
        };
        let expected = bits(trainer(Isa::default(), 1));
        for threads in [2, 3, 7] {
            assert!(bits(trainer(Isa::default(), threads)) == expected, "{threads} threads, {:?}", config.objective);
        }
        assert!(bits(trainer(Isa::default(), 2).unfused()) == expected, "unfused");
        // Products in bf16 promise the same for threads alone.
        let others =
            Isa::available().iter().filter(|isa| isa.name() != "foreign" && config.precision == Precision::F32);
        for &isa in others {
            assert!(bits(trainer(isa, 2)) == expected, "{}", isa.name());
        }
    }
}

/// The running averages after each step.
struct Watch(Vec<Vec<f32>>);

impl Observer for Watch {
    fn step(&mut self, trainer: &Trainer, _: &StepReport) -> elbo::Result<Flow> {
        self.0.push(trainer.params().statistics().data().to_vec());
        Ok(Flow::Continue)
    }
}

/// A kept average has averages of the statistics, with its own decay; and is what is used.
#[test]
fn a_moving_average_has_its_own_statistics() {
    let config = TrainConfig { average: Some(0.9), epochs: 1, ..config(16) };
    let mut trainer = Trainer::new(config, digits(68), Exec::sequential().unwrap()).unwrap();
    let mut expected = trainer.params().statistics().data().to_vec();
    let mut watch = Watch(Vec::new());
    trainer.run(&mut watch).unwrap();
    assert_eq!(watch.0.len(), 3);
    for (step, latest) in watch.0.iter().enumerate() {
        let keep = 1.0 - average_decay(0.9, step as u64) as f32;
        expected.iter_mut().zip(latest).for_each(|(a, p)| *a += keep * (p - *a));
    }
    let average = trainer.average().unwrap().statistics().data();
    for (found, expected) in average.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found}, expected {expected}");
    }
    assert!(average != trainer.params().statistics().data() && trainer.model().statistics().data() == average);
}
