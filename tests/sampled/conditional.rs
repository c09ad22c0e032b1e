//! A condition of each row: the density of a conditional prior by itself, and both as parts of the model.

use super::{ALL, GRADIENTS, sampled, small};
use elbo::data::{Binarize, ConditionColumns, Dataset, Labels, Rows, View};
use elbo::density::{ConditionalGaussian, PriorKind};
use elbo::estimator::{AnyEstimator, Elbo, Estimator, FreeBits, Penalty};
use elbo::gradcheck::check_vae;
use elbo::model::{Corruption, Draw, Heads, PRESETS, Vae, VaeConfig, Workspace};
use elbo::tensor::{Buffer, Exec, Isa, Noise, Par, Params, Precision, Slab, Stream};
use elbo::train::{TrainConfig, Trainer, active_units, filler};
use ndarray::{Array2, ArrayView1, Axis};

/// As for the other sampled objectives: sums of a few dozen terms of order 1 in f32.
const F32_BOUND: f64 = 2e-4;

fn given(conditional_prior: bool) -> VaeConfig {
    VaeConfig { condition: 3, conditional_prior, ..small() }
}

fn check(config: &VaeConfig, estimator: &dyn AnyEstimator, beta: f64, what: &str) {
    for c in check_vae(config, estimator, beta, 4, 7).unwrap() {
        let check = &c.check;
        assert!(check.passed() && check.compared > 0, "{what}, {}: {:.1e} at {}", check.name, check.worst, check.at);
        assert!(c.f32_error <= F32_BOUND, "{what}, {}: f32 is {:.1e} off", check.name, c.f32_error);
    }
}

/// KL(N(μ_q, e^{v_q}) ‖ N(μ, e^v)) by Simpson's rule over twelve deviations on either side: its error is far below 1e-10.
#[test]
fn the_kl_is_the_integral() {
    let log_density =
        |z: f64, mean: f64, v: f64| -0.5 * (std::f64::consts::TAU.ln() + v + (z - mean).powi(2) / v.exp());
    for [mean_q, v_q, mean, v] in [[0.3, -1.0, -0.4, 0.7], [2.0, 0.5, 2.0, 0.5], [-1.0, 1.2, 0.5, -0.8]] {
        let row = |values: [f64; 2]| {
            let mut buffer = Buffer::<f64>::new(1, 2);
            buffer.rows_mut(1).row(0).copy_from_slice(&values);
            buffer
        };
        let mut found = Buffer::<f64>::new(1, 1);
        let (eta, rho) = (row([mean_q, v_q]), row([mean, v]));
        ConditionalGaussian::new(1).kl(eta.rows(1), rho.rows(1), found.rows_mut(1));
        let (n, half) = (4000, 12.0 * (0.5 * v_q).exp());
        let h = 2.0 * half / f64::from(n);
        let f = |i: i32| {
            let z = mean_q - half + h * f64::from(i);
            let log_q = log_density(z, mean_q, v_q);
            log_q.exp() * (log_q - log_density(z, mean, v))
        };
        let weight = |i: i32| if i == 0 || i == n { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
        let expected = (0..=n).map(|i| weight(i) * f(i)).sum::<f64>() * h / 3.0;
        let found = found.rows(1).row(0)[0];
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }
}

#[test]
fn gradients_with_the_kl_in_closed_form() {
    let free_bits = Some(FreeBits { lambda: 0.05, group: 2 });
    let relu = VaeConfig { hidden: vec![6, 4], latent: 3, ..PRESETS[1].config(7) };
    let gated = VaeConfig { hidden: vec![6], latent: 3, ..PRESETS[7].config(7) };
    let linear = VaeConfig { hidden: vec![], heads: Heads::Joint, ..small() };
    for conditional_prior in [false, true] {
        for network in [small(), relu.clone(), gated.clone(), linear.clone()] {
            let config = VaeConfig { condition: 3, conditional_prior, ..network };
            check(&config, &Elbo::default(), 0.7, &format!("{config:?}"));
        }
        check(&given(conditional_prior), &Elbo::new(3, free_bits), 1.0, "free bits");
        let bounded = VaeConfig { log_variance: Some([-0.1, 0.05]), ..given(conditional_prior) };
        check(&bounded, &Elbo::default(), 1.0, "bounded");
    }
    let penalty: Penalty = "tc:3".parse().unwrap();
    let objective = elbo::estimator::ObjectiveKind::Elbo.build(1, GRADIENTS[0], None, true).unwrap();
    check(&given(false), &objective.with_penalty(Some((penalty, 1000))), 1.0, "tc:3");
}

#[test]
fn gradients_of_every_objective() {
    let mixture = VaeConfig { prior: PriorKind::Mixture(3), ..given(false) };
    // Each objective by one gradient, and one by all: how they combine is tested without a condition.
    let all = ALL.into_iter().zip(GRADIENTS.into_iter().cycle()).chain(GRADIENTS.map(|gradient| (ALL[2], gradient)));
    for ((kind, samples), gradient) in all {
        let estimator = sampled(kind, samples, gradient);
        check(&given(true), &estimator, 0.6, &format!("conditional prior, {kind} of {samples}, {gradient}"));
    }
    for (config, what) in [(given(false), "standard"), (mixture, "mixture")] {
        for gradient in GRADIENTS {
            check(&config, &sampled(ALL[2].0, 3, gradient), 1.0, &format!("{what}, {gradient}"));
        }
    }
}

/// The terms of a batch and all gradients, of rows behind which `c` stands.
fn terms(vae: &Vae, params: &Params<f32>, c: &[f32]) -> (Vec<u64>, Slab<f32>) {
    let ex = Exec::sequential().unwrap();
    let mut ws = Workspace::new(vae, params, 21, 2, &ex).corrupted(vae, Corruption::Mask(0.3));
    let mut grads = Slab::zeros(vae.layout());
    let fill = |r: usize, row: &mut [f32]| {
        let (x, behind) = row.split_at_mut(vae.config().inputs);
        x.iter_mut().enumerate().for_each(|(j, x)| *x = ((3 * r + j) % 4) as f32 / 3.0);
        behind.copy_from_slice(c);
    };
    let draw = Draw { noise: Noise::new(5), stream: Stream::Check, step: 1 };
    let stats = vae.loss_grad(ex.isa(), params, 21, &fill, &draw, &Elbo::new(2, None), 1.0, &mut ws, &mut grads);
    (stats.kl.iter().chain([&stats.reconstruction]).map(|x| x.to_bits()).collect(), grads)
}

/// c is constant and its weights are zero: every product has so many zeros more at its end, and no bit is another.
#[test]
fn weights_of_zero_leave_the_unconditional_model() {
    for network in [small(), VaeConfig { hidden: vec![9, 9], residual: true, ..PRESETS[1].config(7) }] {
        let (plain, vae) =
            (Vae::new(&network).unwrap(), Vae::new(&VaeConfig { condition: 3, ..network.clone() }).unwrap());
        let params = Params::<f32>::init(plain.layout(), &Noise::new(3));
        let mut more = Params::<f32>::zeros(vae.layout());
        let pairs = || plain.layout().entries().iter().zip(vae.layout().entries());
        let places = |rows: usize, cols: usize| (0..rows).flat_map(move |row| (0..cols).map(move |col| (row, col)));
        for (a, b) in pairs() {
            assert_eq!(a.name, b.name);
            for (row, col) in places(a.slot.rows(), a.slot.cols()) {
                more.values_mut().set(&b.slot, row, col, params.values().get(&a.slot, row, col));
            }
        }
        more.refresh(Par::Sequential);
        let (expected, of_plain) = terms(&plain, &params, &[]);
        let (found, of_more) = terms(&vae, &more, &[0.3, -1.0, 1.0]);
        assert_eq!(found, expected, "{network:?}");
        let mut wider = 0;
        for (a, b) in pairs() {
            for (row, col) in places(a.slot.rows(), a.slot.cols()) {
                let [x, y] = [of_plain.get(&a.slot, row, col), of_more.get(&b.slot, row, col)].map(f32::to_bits);
                assert_eq!(x, y, "{} at ({row}, {col})", a.name);
            }
            wider += b.slot.rows() - a.slot.rows();
            for (row, col) in places(b.slot.rows() - a.slot.rows(), b.slot.cols()) {
                let gradient = of_more.get(&b.slot, a.slot.rows() + row, col);
                assert!(gradient.is_finite(), "{} of the condition", b.name);
            }
        }
        assert_eq!(wider, 2 * 3, "the encoder's and the decoder's first layer");
    }
}

/// Rows whose pattern follows their label, 30 of them for testing.
fn data(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| if (j * (i % 3 + 1) + i * i / 7) % 5 < 2 { 1.0 } else { 0.0 };
    let labels = (0..rows).map(|i| ["a", "b", "c"][i % 3]).collect::<Labels>();
    let view = View::with_labels(Rows::from_f32(Array2::from_shape_fn((rows, 40), value)).unwrap(), labels).unwrap();
    let data = Dataset::new("patterns", view).with_test(30).unwrap();
    let columns: ConditionColumns = "labels".parse().unwrap();
    let condition = columns.fit(&data).unwrap();
    data.with_condition(condition).unwrap()
}

fn config(conditional_prior: bool) -> TrainConfig {
    let mut config = TrainConfig { epochs: 4, batch_size: 24, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![30], latent: 4, condition: 3, conditional_prior, ..config.vae };
    config.optimizer.learning_rate = 0.01;
    config
}

fn trained(config: &TrainConfig, ex: Exec) -> Trainer {
    let mut trainer = Trainer::new(config.clone(), data(160), ex).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer
}

#[test]
fn threads_and_instruction_sets_give_the_same_bytes() {
    let bits = |config: &TrainConfig, ex: Exec| -> Vec<u32> {
        trained(config, ex).params().values().data().iter().map(|x| x.to_bits()).collect()
    };
    let iwae = TrainConfig { objective: ALL[2].0, samples: 5, gradient: GRADIENTS[2], ..config(true) };
    let penalty =
        TrainConfig { penalty: Some("tc:2".parse().unwrap()), corrupt: Corruption::Mask(0.2), ..config(false) };
    let half = TrainConfig { precision: Precision::Bf16, ..config(true) };
    for config in [iwae, penalty, half] {
        let config = TrainConfig { epochs: 2, ..config };
        let one = bits(&config, Exec::with_isa(Isa::default(), 1).unwrap());
        for threads in [2, 7] {
            assert!(bits(&config, Exec::with_isa(Isa::default(), threads).unwrap()) == one, "{threads} threads");
        }
        let config = TrainConfig { epochs: 1, ..config };
        let one = bits(&config, Exec::with_isa(Isa::default(), 1).unwrap());
        let half = |isa: &&Isa| config.precision == Precision::F32 || isa.has_half();
        for &isa in Isa::available().iter().filter(|isa| !isa.is_foreign()).filter(half) {
            assert!(bits(&config, Exec::with_isa(isa, 2).unwrap()) == one, "{}", isa.name());
        }
    }
}

/// How far the posterior's mean lies from the prior's of the row, whose mean and deviation are what draws make of 0 and of 1. Latents
/// in use are those in which that varies: the mean itself would follow the condition where x says nothing.
#[test]
fn shifts_are_from_the_row_s_own_prior() {
    for conditional in [true, false] {
        let trainer = trained(&config(conditional), Exec::sequential().unwrap());
        let (data, noise) = (trainer.data().train().clone(), Noise::new(0));
        let (rows, fill) = (data.len(), filler(&data, Binarize::None, noise));
        let mut c = Array2::zeros((rows, 3));
        (0..rows).for_each(|r| data.gather_condition(r, c.row_mut(r).as_slice_mut().unwrap()));
        let mut inference = trainer.inference();
        let [mut middle, mut beside] = [0.0, 1.0].map(|z| Array2::<f32>::from_elem((rows, 4), z));
        inference.condition_draws(&mut middle, c.view());
        inference.condition_draws(&mut beside, c.view());
        assert_eq!(conditional, middle.row(0) != middle.row(1), "a prior of each label");
        let (mut means, mut shifts) = (Array2::<f32>::zeros((rows, 4)), Array2::<f32>::zeros((rows, 4)));
        inference.encode(rows, &fill, |r, mean, _| means.row_mut(r).assign(&ArrayView1::from(mean)));
        inference.shifts(rows, &fill, |r, shift| shifts.row_mut(r).assign(&ArrayView1::from(shift)));
        let expected = (&means - &middle) / (&beside - &middle);
        let off = (&expected - &shifts).mapv(f32::abs).fold(0.0f32, |most, x| most.max(*x));
        // Differences of numbers of order 1 in f32.
        assert!(off < 1e-5, "off by {off}");
        let used = shifts.mapv(f64::from).var_axis(Axis(0), 0.0).iter().filter(|v| **v > 0.01).count();
        assert_eq!(active_units(&mut inference, &data, Binarize::None, noise), used);
    }
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let plain: &dyn Estimator<f32> = &Elbo::default();
    let weighted: &dyn Estimator<f32> = &sampled(ALL[2].0, 5, GRADIENTS[2]);
    for (conditional_prior, estimator) in [(false, plain), (true, plain), (true, weighted)] {
        let (vae, ex) = (Vae::new(&given(conditional_prior)).unwrap(), Exec::sequential().unwrap());
        let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
        let mut ws = Workspace::new(&vae, &params, 24, estimator.samples(), &ex).corrupted(&vae, Corruption::Mask(0.3));
        let mut grads = Slab::zeros(vae.layout());
        let fill = |r: usize, row: &mut [f32]| row.iter_mut().enumerate().for_each(|(j, x)| *x = ((r + j) % 2) as f32);
        let mut step = |step| {
            let draw = Draw { noise: Noise::new(2), stream: Stream::Train, step };
            vae.loss_grad(ex.isa(), &params, 24, &fill, &draw, estimator, 1.0, &mut ws, &mut grads);
        };
        step(0);
        let allocated = allocation_counter::measure(|| (1..5).for_each(&mut step));
        assert_eq!(allocated.count_total, 0, "{estimator:?}");
    }
}

/// Figures of a trained model agree with each other, whatever computes them: one sample's importance weight is −ELBO with its
/// sampled KL, the mean of many is the KL in closed form, and more samples are a tighter bound.
#[test]
fn inference_under_a_conditional_prior() {
    let trainer = trained(&config(true), Exec::with_isa(Isa::default(), 2).unwrap());
    let (mut inference, view) = (trainer.inference(), trainer.data().test().unwrap());
    let draw = Draw { noise: Noise::new(1), stream: Stream::Evaluate, step: 0 };
    let fill = filler(view, elbo::data::Binarize::None, Noise::new(0));
    let stats = inference.elbo(30, &fill, &draw);
    let (mut closed, mut kls) = (0.0, Vec::new());
    inference.score(30, &fill, |_, score| closed += score.kl / 30.0);
    assert!((closed - stats.mean_kl()).abs() < 1e-5, "{closed} {}", stats.mean_kl());
    for samples in [1, 1000] {
        let sampled = inference.objective(30, &fill, &draw, &sampled(ALL[0].0, samples, GRADIENTS[0]), 1.0);
        let mut of_weights = 0.0;
        inference.importance(30, &fill, &draw, samples, |_, bounds| {
            let (_, one) = bounds.iter().next().unwrap();
            of_weights -= one / 30.0;
        });
        kls.push((sampled.objective.unwrap() / 30.0, of_weights));
    }
    // f32 sums of 40 terms.
    let (objective, weight) = kls[0];
    assert!((objective - weight).abs() < 1e-4, "{objective} {weight}");
    // 30,000 draws of log q − log p + log p(x|z), whose deviation is below 5.
    let elbo = kls[1].0;
    let mut scored = 0.0;
    inference.sampled_score(30, &fill, &draw, 1000, |_, score| scored += score.neg_elbo() / 30.0);
    assert!((elbo - scored).abs() < 0.15, "{elbo} {scored}");
    let mut tight = 0.0;
    inference.importance(30, &fill, &draw, 200, |_, bounds| tight -= bounds.log_likelihood() / 30.0);
    assert!(tight < scored, "{tight} {scored}");
}

/// The prior has learned from the labels: draws of N(0, I) become others by label, μ + σ ε of the same noise.
#[test]
fn draws_follow_the_condition() {
    let trainer = trained(&config(true), Exec::sequential().unwrap());
    let (inference, condition) = (trainer.inference(), trainer.data().condition().unwrap());
    let c = condition.rows(&[], 150);
    let at = |noise: f32| {
        let mut z = Array2::from_elem((150, 4), noise);
        inference.condition_draws(&mut z, c.view());
        z
    };
    let (mean, one, two) = (at(0.0), at(1.0), at(2.0));
    assert_eq!((mean.row(0), mean.row(1)), (mean.row(3), mean.row(148)), "labels in turn, across blocks");
    assert!((&mean.row(0) - &mean.row(1)).iter().any(|d| d.abs() > 0.05), "{mean}");
    for ((mean, one), two) in mean.iter().zip(&one).zip(&two) {
        let deviation = one - mean;
        assert!(deviation > 0.0 && (two - one - deviation).abs() < 1e-5, "{mean} {one} {two}");
    }
    let plain = trained(&config(false), Exec::sequential().unwrap());
    let mut z = Array2::from_elem((150, 4), 0.5);
    plain.inference().condition_draws(&mut z, c.view());
    assert!(z.iter().all(|&z| z == 0.5), "N(0, I) is the same under every condition");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let cases = [
        (VaeConfig { condition: 0, ..given(true) }, "give --condition"),
        (VaeConfig { prior: PriorKind::Mixture(2), ..given(true) }, "--conditional-prior or --prior"),
        (VaeConfig { prior: PriorKind::Vamp(2), ..given(false) }, "have no condition"),
    ];
    for (config, says) in cases {
        let error = Vae::new(&config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let penalty = TrainConfig { penalty: Some("mmd:2".parse().unwrap()), ..config(true) };
    let error = Trainer::new(penalty, data(100), Exec::sequential().unwrap()).unwrap_err().to_string();
    assert!(error.contains("--penalty or --conditional-prior"), "{error}");
    let mut other = config(false);
    other.vae.condition = 2;
    let error = Trainer::new(other, data(100), Exec::sequential().unwrap()).unwrap_err().to_string();
    assert!(error.contains("3 columns") && error.contains("made for 2"), "{error}");
    let trainer = trained(&config(true), Exec::sequential().unwrap());
    let error = elbo::task::sample(&mut trainer.inference(), 5, 1).unwrap_err().to_string();
    assert!(error.contains("(5, 3)"), "{error}");
}

/// Of the six rows the last is held out: labels in order of numbers, then of text, and moments of the five.
#[test]
fn codes_are_those_of_the_training_rows() {
    let texts = |texts: [&str; 6]| texts.iter().collect::<Labels>();
    let view = |place: [&str; 6]| {
        let rows = Rows::from_f32(Array2::from_shape_fn((6, 2), |(i, j)| (i + j) as f32)).unwrap();
        let columns = [("place", place), ("age", ["1", "2.0", "3", "4", "5", "9"]), ("same", ["7"; 6])];
        View::new(rows).with_columns(columns.map(|(name, column)| (name.to_owned(), texts(column))).to_vec()).unwrap()
    };
    let condition = |place: [&str; 6], columns: &str| {
        let data = Dataset::new("rows", view(place)).with_test(1).unwrap();
        let condition = columns.parse::<ConditionColumns>()?.fit(&data)?;
        assert_eq!(condition.columns().to_string(), columns);
        condition.check()?;
        data.with_condition(condition)
    };
    let places = ["b", "10", "a", "2.0", "b", "a"];
    let data = condition(places, "place,age,same").unwrap();
    assert_eq!(data.train().condition_cols(), 6);
    let codes = |position: usize| {
        let mut c = [f64::NAN; 6];
        data.all().gather_condition(position, &mut c);
        c
    };
    // 1 … 5: mean 3, variance 2. A column that is the same everywhere says nothing.
    let number = |age: f64| f64::from(((age - 3.0) / 2.0f64.sqrt()) as f32);
    assert_eq!(codes(0), [0.0, 0.0, 0.0, 1.0, number(1.0), 0.0]);
    assert_eq!(codes(3), [1.0, 0.0, 0.0, 0.0, number(4.0), 0.0]);
    assert_eq!(codes(5), [0.0, 0.0, 1.0, 0.0, number(9.0), 0.0]);
    // The age of the row that is held out is no label.
    let error = condition(places, "age:labels").unwrap_err().to_string();
    assert!(error.starts_with("rows: row 5: no training row had `9` in age"), "{error}");
    let error = condition(["b", "b", "b", "b", "b", "B"], "place").unwrap_err().to_string();
    assert!(error.contains("`B`") && error.contains("did you mean `b`?"), "{error}");
    let error = condition(["1", "1", "2", "1", "2", "x"], "place").unwrap_err().to_string();
    assert!(error.contains("`x` is no number, and place is one"), "{error}");
    assert!(view(places).with_columns(vec![("few".to_owned(), Labels::default())]).is_err());
    let spec = data.condition().unwrap();
    assert_eq!((spec.turns(), spec.rows(&[], 5).row(4).to_vec()), (4, vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(spec.parse("age=3,place=a").unwrap(), [Some(2.0), Some(0.0), None]);
    assert!(spec.of_labels(&texts(places)).unwrap_err().to_string().contains("place, age, same"));
}
