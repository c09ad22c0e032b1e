//! Runs by a sampled objective: what they report, and that bytes repeat.

use super::support::{bits, data, exec};
use elbo::density::PriorKind;
use elbo::estimator::{Bound, ObjectiveKind, PathGradient};
use elbo::model::{Corruption, Draw, Vae, Workspace};
use elbo::tensor::{Exec, Isa, Noise, Params, Precision, Slab, Stream};
use elbo::train::{EpochReport, Flow, TrainConfig, Trainer};

fn config(objective: ObjectiveKind, samples: usize, gradient: PathGradient) -> TrainConfig {
    let mut config = TrainConfig { epochs: 3, batch_size: 24, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    (config.objective, config.samples, config.gradient) = (objective, samples, gradient);
    (config.vae.hidden, config.vae.latent) = (vec![30], 6);
    config
}

const IWAE: ObjectiveKind = ObjectiveKind::Weighted(Bound::Iwae);
const DREG: PathGradient = PathGradient::DoublyReparameterized;

fn run(config: &TrainConfig, rows: usize, exec: Exec) -> (Vec<u32>, Vec<EpochReport>) {
    let mut trainer = Trainer::new(config.clone(), data(rows).with_test(rows / 5).unwrap(), exec).unwrap();
    let mut reports = Vec::new();
    trainer
        .run(&mut |report: &EpochReport| {
            reports.push(report.clone());
            Flow::Continue
        })
        .unwrap();
    (bits(&trainer), reports)
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for (objective, samples, gradient) in
        [(IWAE, 5, DREG), (ObjectiveKind::Elbo, 3, PathGradient::StickingTheLanding), (IWAE, 40, PathGradient::Plain)]
    {
        let config = config(objective, samples, gradient);
        let (bits, reports) = run(&config, 130, exec(1));
        for threads in [2, 3, 7] {
            let (found, others) = run(&config, 130, exec(threads));
            assert!(found == bits, "{objective}: {threads} threads differ from one");
            assert!(reports.iter().zip(&others).all(|(a, b)| (a.train, a.heldout) == (b.train, b.heldout)));
        }
    }
}

/// −IWAE is below −ELBO, which is reconstruction + KL and nothing else; of the ELBO there is no other bound.
#[test]
fn both_bounds_are_reported_apart() {
    let (_, reports) = run(&config(IWAE, 10, DREG), 130, exec(1));
    for m in reports.iter().flat_map(|r| [r.train, r.heldout.unwrap()]) {
        let bound = m.neg_bound.unwrap();
        assert!(bound.is_finite() && bound < m.neg_elbo, "{m:?}");
        assert!((m.neg_elbo - m.reconstruction - m.kl).abs() < 1e-9);
    }
    assert!(reports[2].train.neg_bound.unwrap() < reports[0].train.neg_bound.unwrap(), "it learns");
    for objective in [config(ObjectiveKind::Elbo, 2, DREG), config(ObjectiveKind::Elbo, 1, PathGradient::Plain)] {
        let (_, reports) = run(&objective, 130, exec(1));
        assert!(reports.iter().all(|r| r.train.neg_bound.is_none() && r.heldout.unwrap().neg_bound.is_none()));
    }
}

/// Whatever weighs the KL, the reported bound is one on −log p(x): at the end of a warm-up of β it does not jump.
#[test]
fn a_reported_bound_has_the_full_kl() {
    let beta = |beta| TrainConfig { beta: elbo::estimator::BetaSchedule::Constant(beta), ..config(IWAE, 4, DREG) };
    let mut one = TrainConfig { epochs: 1, ..beta(1.0) };
    one.optimizer.learning_rate = 1e-30;
    let mut none = TrainConfig { epochs: 1, ..beta(0.0) };
    none.optimizer.learning_rate = 1e-30;
    let [a, b] = [one, none].map(|config| run(&config, 130, exec(1)).1[0].train);
    assert_eq!(a.neg_bound, b.neg_bound);
}

/// A gradient changes what is learned, and one sample of IWAE is the ELBO's sampled form.
#[test]
fn objectives_and_gradients_differ() {
    let of = |objective, samples, gradient| run(&config(objective, samples, gradient), 130, exec(1)).0;
    let stl = PathGradient::StickingTheLanding;
    let runs = [
        of(ObjectiveKind::Elbo, 1, PathGradient::Plain),
        of(ObjectiveKind::Elbo, 1, stl),
        of(ObjectiveKind::Elbo, 4, PathGradient::Plain),
        of(IWAE, 4, PathGradient::Plain),
        of(IWAE, 4, stl),
        of(IWAE, 4, DREG),
        of(ObjectiveKind::Weighted(Bound::Miwae(2)), 4, DREG),
        of(ObjectiveKind::Weighted(Bound::Piwae(2)), 4, DREG),
        of(ObjectiveKind::Weighted(Bound::Ciwae(0.5)), 4, DREG),
        of(ObjectiveKind::Weighted(Bound::Renyi(0.5)), 4, DREG),
    ];
    for (i, a) in runs.iter().enumerate() {
        assert!(runs[..i].iter().all(|b| a != b), "run {i} is one of the others");
    }
    assert!(of(IWAE, 1, stl) == of(ObjectiveKind::Elbo, 1, stl), "of one sample there is nothing to weigh");
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    for (prior, corruption) in [
        (PriorKind::StandardNormal, Corruption::None),
        (PriorKind::Vamp(70), Corruption::Mask(0.3)),
        (PriorKind::Mixture(5), Corruption::Noise(0.1)),
        (PriorKind::Flow(3, Some(9)), Corruption::None),
        ("vae:4x9,3x5".parse().unwrap(), Corruption::None),
    ] {
        let gradient = if prior.levels().is_some() { PathGradient::Plain } else { DREG };
        let mut config = config(IWAE, 5, gradient);
        config.vae.prior = prior;
        let (vae, ex) = (Vae::new(&config.vae).unwrap(), Exec::sequential().unwrap());
        let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
        let mut ws = Workspace::new(&vae, &params, 24, 5, &ex).corrupted(&vae, corruption);
        let (mut grads, estimator) = (Slab::zeros(vae.layout()), config.estimator());
        let fill = |r: usize, x: &mut [f32]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 2) as f32);
        let mut step = |step| {
            let draw = Draw { noise: Noise::new(2), stream: Stream::Train, step };
            vae.loss_grad(ex.isa(), &params, 24, &fill, &draw, &estimator, 1.0, &mut ws, &mut grads);
        };
        step(0);
        let allocated = allocation_counter::measure(|| (1..5).for_each(&mut step));
        assert_eq!(allocated.count_total, 0, "{prior}");
    }
}

/// Every prior and precision goes through a whole run, and a prior that learns ends below the standard one.
#[test]
fn priors_train_in_either_precision() {
    let last = |prior, precision| {
        let mut config = TrainConfig { precision, epochs: 12, ..config(ObjectiveKind::Elbo, 1, PathGradient::Plain) };
        config.vae.prior = prior;
        config.optimizer.learning_rate = 0.003;
        config.fit_precision(Isa::default());
        run(&config, 130, exec(2)).1.last().unwrap().train.neg_elbo
    };
    let standard = last(PriorKind::StandardNormal, Precision::F32);
    let stacked = "vae:4x30".parse().unwrap();
    for prior in [PriorKind::Vamp(30), PriorKind::Mixture(8), PriorKind::Flow(3, None), stacked] {
        for precision in [Precision::F32, Precision::Bf16] {
            let found = last(prior, precision);
            assert!(found < standard + 0.5, "{prior} in {precision}: {found}, standard {standard}");
        }
    }
}
