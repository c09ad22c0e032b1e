//! Rows that tests train on, and what every model trained on them must show.

use elbo::data::{Binarize, Dataset};
use elbo::estimator::Estimator;
use elbo::model::{Draw, Score, Stats};
use elbo::task::{Examples, aggregate_posterior, evaluate};
use elbo::tensor::{Exec, Isa, Noise, Precision, Stream};
use elbo::train::{TrainConfig, Trainer};
use ndarray::Array2;

/// Binary rows of forty columns, of few kinds.
pub fn data(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| if (i * 7 + j * j + i * j) % 5 < 2 { 1.0 } else { 0.0 };
    Dataset::from_array(Array2::from_shape_fn((rows, 40), value).view()).unwrap()
}

pub fn exec(threads: usize) -> Exec {
    Exec::with_isa(Isa::default(), threads).unwrap()
}

/// A whole run on 100 rows, with 50 for a test.
pub fn trained(config: TrainConfig, exec: Exec) -> Trainer {
    let mut trainer = Trainer::new(config, data(150).with_test(50).unwrap(), exec).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer
}

pub fn bits(trainer: &Trainer) -> Vec<u32> {
    trainer.params().values().data().iter().map(|x| x.to_bits()).collect()
}

/// A run's bytes depend neither on threads, in either precision, nor on the instruction set.
pub fn same_bytes(config: &TrainConfig) {
    let bits = |precision, exec: Exec| {
        let mut config = TrainConfig { precision, ..config.clone() };
        config.fit_precision(exec.isa());
        bits(&trained(config, exec))
    };
    for precision in [Precision::F32, Precision::Bf16] {
        let expected = bits(precision, exec(1));
        for threads in [2, 7] {
            assert!(bits(precision, exec(threads)) == expected, "{threads} threads in {precision}");
        }
    }
    let expected = bits(Precision::F32, exec(1));
    for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
        assert!(bits(Precision::F32, Exec::with_isa(isa, 2).unwrap()) == expected, "{}", isa.name());
    }
}

fn draw() -> Draw {
    Draw { noise: Noise::new(1), stream: Stream::Evaluate, step: 0 }
}

/// The value on the test rows of the objective that a run was trained by.
pub fn bound(trainer: &Trainer) -> f64 {
    let (view, estimator) = (trainer.data().test().unwrap(), trainer.config().estimator());
    assert!(Estimator::<f32>::sampled(&estimator));
    let fill = |r: usize, x: &mut [f32]| view.gather(r, x);
    trainer.inference().objective(50, &fill, &draw(), &estimator, 1.0).value::<f32>(&estimator, 1.0)
}

/// The estimates of a model without a KL in closed form agree with each other, and what is said without draws is `near` those of
/// many for every row: all terms, and each row's without draws and its KL by draws.
pub fn estimates_agree(trainer: &Trainer, near: f64) -> (Stats, Vec<Score>, Vec<f64>) {
    let mut inference = trainer.inference();
    let view = trainer.data().test().unwrap();
    let fill = |r: usize, x: &mut [f32]| view.gather(r, x);
    let stats = inference.elbo(50, &fill, &draw());
    let (mut one, mut many, mut sampled) = (0.0, 0.0, Vec::new());
    inference.importance(50, &fill, &draw(), 1, |_, bounds| one -= bounds.log_likelihood() / 50.0);
    inference.importance(50, &fill, &draw(), 100, |_, bounds| many -= bounds.log_likelihood() / 50.0);
    assert!((one - stats.neg_elbo()).abs() < 1e-4 && many < one, "{one} {many} {}", stats.neg_elbo());

    inference.sampled_score(50, &fill, &draw(), 2000, |_, score| sampled.push(score.kl));
    let mut scores: Vec<Score> = Vec::new();
    inference.score(50, &fill, |_, score| scores.push(score));
    let apart = scores.iter().zip(&sampled).map(|(a, b)| (a.kl - b).abs()).fold(0.0, f64::max);
    assert!(apart < near, "{apart}");
    // It is the row's own, wherever it stands and however many there are.
    let mut turned: Vec<Score> = Vec::new();
    inference.score(50, &|r: usize, x: &mut [f32]| view.gather(49 - r, x), |_, score| turned.push(score));
    turned.reverse();
    assert_eq!(turned, scores);
    (stats, scores, sampled)
}

/// [`estimates_agree`] for a model whose KL is one number, and so do the report and the parts of its KL.
pub fn figures_agree(trainer: &Trainer, near: f64) {
    let (stats, _, sampled) = estimates_agree(trainer, near);
    assert_eq!((stats.kl.len(), trainer.vae().kl_parts()), (1, 1));
    let examples = Examples::new(trainer.vae(), trainer.data().test().unwrap(), Binarize::None, 1).unwrap();
    let report = evaluate(&mut trainer.inference(), &examples, 1, Some(10)).unwrap();
    assert!(report.kl_per_latent.is_empty() && report.nll[1].nats < report.nll[0].nats, "{report:?}");
    let parts = aggregate_posterior(&mut trainer.inference(), &examples, 1).unwrap();
    let mean = sampled.iter().sum::<f64>() / 50.0;
    // One draw a row of fifty: log q − log p has a deviation of about two nats.
    assert!(parts.dimension_kl.is_none() && (parts.kl - mean).abs() < 1.5, "{} {mean}", parts.kl);
}
