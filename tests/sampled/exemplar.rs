//! The exemplar prior in a model: the choice of exemplars, the step, and what a trained model keeps.

use super::exemplar_density::{LOG_TAU, naive, some};
use super::support::{bits, data, exec};
use super::{GRADIENTS, sampled, small};
use elbo::density::PriorKind;
use elbo::estimator::{Bound, ObjectiveKind, PathGradient};
use elbo::gradcheck::check_vae;
use elbo::model::{Draw, ExemplarRows, Inference, PRESETS, PriorSampler, Vae, VaeConfig, Workspace};
use elbo::tensor::{Buffer, Exec, Isa, Noise, Params, Precision, Slab, Stream};
use elbo::train::{EpochReport, Flow, TrainConfig, Trainer};

/// As for other priors.
const F32_BOUND: f64 = 2e-4;

/// With the choice of exemplars frozen, the gradient is that of the objective: through the batch's rows, the exemplars' and the
/// variance, with some or all that were drawn, more rows than exemplars and fewer.
#[test]
fn a_step_s_gradient() {
    let iwae = ObjectiveKind::Weighted(Bound::Iwae);
    let relu = VaeConfig { hidden: vec![6], latent: 3, ..PRESETS[0].config(7) };
    let gated = VaeConfig { hidden: vec![4], log_variance: Some([-1.0, 1.0]), latent: 3, ..PRESETS[7].config(7) };
    let cases = [(small(), "exemplar:9:2"), (small(), "exemplar:3"), (relu, "exemplar:6:3"), (gated, "exemplar:5:1")];
    for (config, prior) in cases {
        let config = VaeConfig { prior: prior.parse().unwrap(), ..config };
        for (kind, samples) in [(ObjectiveKind::Elbo, 1), (iwae, 3)] {
            for gradient in GRADIENTS {
                for c in check_vae(&config, &sampled(kind, samples, gradient), 0.6, 4, 7).unwrap() {
                    let (check, what) = (&c.check, format!("{prior}, {kind}, {gradient}, {}", c.check.name));
                    assert!(check.passed(), "{what}: {:.1e} at {}", check.worst, check.at);
                    assert!(c.f32_error <= F32_BOUND, "{what}: f32 is {:.1e} off", c.f32_error);
                }
            }
        }
    }
}

const N: usize = 12;

/// A network in f64 with a prior, N rows, of which the first five are a batch, and what a step on it makes of them.
struct Lab {
    vae: Vae,
    params: Params<f64>,
    x: Vec<f64>,
}

impl Lab {
    fn new(prior: &str) -> Self {
        let vae = Vae::new(&VaeConfig { prior: prior.parse().unwrap(), ..small() }).unwrap();
        let mut params = Params::init(vae.layout(), &Noise::new(4));
        let slot = vae.layout().find("prior.log_variance").unwrap().slot;
        params.values_mut().set(&slot, 0, 0, -1.5);
        Lab { vae, params, x: some(N * 7, 8).iter().map(|x| x.abs()).collect() }
    }
    fn draw(step: u64) -> Draw {
        Draw { noise: Noise::new(9), stream: Stream::Train, step }
    }
    /// Means and log-variances of all rows.
    fn encoded(&self) -> Vec<(Vec<f64>, Vec<f64>)> {
        let (ex, mut all) = (Exec::sequential().unwrap(), Vec::new());
        let fill = |r: usize, x: &mut [f64]| x.copy_from_slice(&self.x[r * 7..][..7]);
        Inference::new(&self.vae, &self.params, &ex)
            .encode(N, &fill, |_, mean, v| all.push((mean.to_vec(), v.to_vec())));
        all
    }
    fn workspace(&self) -> Workspace<f64> {
        let (ex, x) = (Exec::sequential().unwrap(), self.x.clone());
        let rows = ExemplarRows::new(N, move |n, out: &mut [f64]| out.copy_from_slice(&x[n * 7..][..7]));
        Workspace::new(&self.vae, &self.params, 5, 1, &ex).with_exemplars(&self.vae, rows, &ex)
    }
    /// The KL of rows 0 … 4, their sum, under `ws`.
    fn kl(&self, ws: &mut Workspace<f64>, step: u64) -> f64 {
        ws.place(5, Some);
        let fill = |r: usize, x: &mut [f64]| x.copy_from_slice(&self.x[r * 7..][..7]);
        self.vae.loss(Isa::default(), &self.params, 5, &fill, &Self::draw(step), ws).kl[0]
    }
    /// The same, from the definition: of row r over the exemplars at `places` but itself, divided by `of(r)`.
    fn expected(&self, step: u64, places: &[usize], of: impl Fn(usize) -> usize) -> f64 {
        let all = self.encoded();
        let mut eps = Buffer::<f64>::new(5, 3);
        Self::draw(step).fill(0, 0, 1, 5, &mut eps);
        let means: Vec<f64> = places.iter().flat_map(|&n| all[n].0.clone()).collect();
        let kl = (0..5).map(|r| {
            let ((mean, v), eps) = (&all[r], eps.rows(5).row(r));
            let z: Vec<f64> = (0..3).map(|j| mean[j] + (0.5 * v[j]).exp() * eps[j]).collect();
            let log_q: f64 = (0..3).map(|j| -0.5 * (LOG_TAU + v[j] + eps[j] * eps[j])).sum();
            log_q - naive(&z, &means, -1.5, places.iter().position(|&n| n == r), of(r))
        });
        kl.sum()
    }
}

/// All rows are exemplars, because all are drawn and used, or because each of the others is among the nearest.
#[test]
fn a_step_over_all_rows_is_the_sum_over_the_others() {
    for prior in ["exemplar:12", "exemplar:12:12", "exemplar:12:11"] {
        let lab = Lab::new(prior);
        let (found, all) = (lab.kl(&mut lab.workspace(), 3), (0..N).collect::<Vec<_>>());
        let expected = lab.expected(3, &all, |_| N - 1);
        assert!((found - expected).abs() < 1e-12, "{prior}: {found}, {expected}");
    }
}

/// The union of each row's nearest, by means that are fresh; and what is left out makes log p(z) less.
#[test]
fn the_nearest_are_chosen() {
    let lab = Lab::new("exemplar:12:2");
    let (mut ws, all) = (lab.workspace(), lab.encoded());
    let mut to = ws.remembered_mut().unwrap();
    all.iter().enumerate().for_each(|(n, (mean, _))| to.row(n).copy_from_slice(mean));
    let found = lab.kl(&mut ws, 0);
    let mut union = Vec::new();
    for r in 0..5 {
        let apart = |n: &usize| -> f64 { all[r].0.iter().zip(&all[*n].0).map(|(a, b)| (a - b).powi(2)).sum() };
        let mut others: Vec<usize> = (0..N).filter(|&n| n != r).collect();
        others.sort_by(|a, b| apart(a).total_cmp(&apart(b)));
        union.extend_from_slice(&others[..2]);
    }
    union.sort_unstable();
    union.dedup();
    assert_eq!(ws.exemplars().iter().map(|&n| n as usize).collect::<Vec<_>>(), union);
    assert!(union.len() < N, "some are left out");
    let expected = lab.expected(0, &union, |_| N - 1);
    assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
    let exact = lab.expected(0, &(0..N).collect::<Vec<_>>(), |_| N - 1);
    assert!(found > exact, "a bound from above on the KL: {found}, {exact}");
}

/// Drawn without replacement, anew each step, each row as often; a row that was drawn is not counted for itself.
#[test]
fn exemplars_are_drawn_anew() {
    let lab = Lab::new("exemplar:6");
    let mut ws = lab.workspace();
    let (mut counts, mut sets) = ([0; N], std::collections::BTreeSet::new());
    const STEPS: u64 = 400;
    for step in 0..STEPS {
        let found = lab.kl(&mut ws, step);
        let drawn: Vec<usize> = ws.exemplars().iter().map(|&n| n as usize).collect();
        assert!(drawn.len() == 6 && drawn.is_sorted_by(|a, b| a < b), "{drawn:?}");
        drawn.iter().for_each(|&n| counts[n] += 1);
        if step < 5 {
            let expected = lab.expected(step, &drawn, |r| 6 - usize::from(drawn.contains(&r)));
            assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        }
        sets.insert(drawn);
    }
    assert!(sets.len() > 200, "{} of 924 sets in 400 steps", sets.len());
    // 200 ± 10, five times; all twelve.
    assert!(counts.iter().all(|&count| (150..=250).contains(&count)), "{counts:?}");
}

/// A row's own place among the exemplars says nothing of it, whatever stands there; a twin at another place stands for it.
#[test]
fn no_row_is_its_own_exemplar() {
    // All that is drawn are rows 0 and 1: the batch is row 0 alone.
    let lab = Lab::new("exemplar:2");
    let ex = Exec::sequential().unwrap();
    let kl = |own: usize, other: usize| {
        let x = lab.x.clone();
        let rows = ExemplarRows::new(2, move |n, out: &mut [f64]| {
            out.copy_from_slice(&x[if n == 0 { own } else { other } * 7..][..7]);
        });
        let mut ws = Workspace::new(&lab.vae, &lab.params, 1, 1, &ex).with_exemplars(&lab.vae, rows, &ex);
        ws.place(1, Some);
        let fill = |_: usize, x: &mut [f64]| x.copy_from_slice(&lab.x[..7]);
        lab.vae.loss(Isa::default(), &lab.params, 1, &fill, &Lab::draw(0), &mut ws).kl[0]
    };
    assert_eq!(kl(0, 5), kl(7, 5), "its own place does not matter");
    assert_ne!(kl(0, 5), kl(0, 7), "the other does");
    // With its twin, the KL between the posterior and a normal density around its own mean.
    let (mean, v) = &lab.encoded()[0];
    let mut eps = Buffer::<f64>::new(1, 3);
    Lab::draw(0).fill(0, 0, 1, 1, &mut eps);
    let each = eps.rows(1).row(0).iter().zip(v).map(|(e, v)| {
        let off = (0.5 * v).exp() * e;
        0.5 * (off * off / (-1.5f64).exp() - 1.5 - v - e * e)
    });
    assert_eq!(mean.len(), 3);
    let (found, expected) = (kl(0, 0), each.sum::<f64>());
    assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
}

/// What is remembered is of the batch's rows and of the exemplars, as they were encoded; the rest stays.
#[test]
fn what_was_encoded_is_remembered() {
    let lab = Lab::new("exemplar:6:1");
    let (mut ws, all) = (lab.workspace(), lab.encoded());
    lab.kl(&mut ws, 1);
    let chosen: Vec<usize> = ws.exemplars().iter().map(|&n| n as usize).collect();
    assert!(!chosen.is_empty());
    let means = ws.remembered().unwrap();
    for (n, (mean, _)) in all.iter().enumerate() {
        match n < 5 || chosen.contains(&n) {
            true => assert!(means.row(n).iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-15), "row {n}"),
            false => assert!(means.row(n).iter().all(|m| *m == 0.0), "row {n} was not looked at"),
        }
    }
}

fn config(prior: &str) -> TrainConfig {
    let mut config = TrainConfig { epochs: 3, batch_size: 24, ..TrainConfig::preset("gated-300", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![30], latent: 6, prior: prior.parse().unwrap(), ..config.vae };
    config
}

fn run(config: &TrainConfig, exec: Exec) -> (Trainer, Vec<EpochReport>) {
    let mut trainer = Trainer::new(config.clone(), data(130).with_test(26).unwrap(), exec).unwrap();
    let mut reports = Vec::new();
    trainer
        .run(&mut |report: &EpochReport| {
            reports.push(report.clone());
            Flow::Continue
        })
        .unwrap();
    (trainer, reports)
}

/// Any number of threads, and every instruction set with fused multiply-add: parameters, what is remembered, and figures.
#[test]
fn bytes_do_not_depend_on_threads_or_instructions() {
    let other = |config: TrainConfig| TrainConfig {
        objective: ObjectiveKind::Weighted(Bound::Iwae),
        samples: 3,
        gradient: PathGradient::DoublyReparameterized,
        average: Some(0.9),
        precision: Precision::Bf16,
        ..config
    };
    for mut config in [config("exemplar:60:3"), other(config("exemplar:20"))] {
        config.fit_precision(Isa::default());
        let figures = |exec: Exec| {
            let (trainer, reports) = run(&config, exec);
            let means = trainer.remembered().unwrap();
            let remembered = (0..means.rows()).flat_map(|r| means.row(r).iter()).map(|x| x.to_bits());
            let all: Vec<u32> = bits(&trainer).into_iter().chain(remembered).collect();
            (all, reports.iter().map(|r| (r.train, r.heldout)).collect::<Vec<_>>())
        };
        let expected = figures(exec(1));
        for threads in [2, 3, 7] {
            assert!(figures(exec(threads)) == expected, "{}: {threads} threads differ from one", config.vae.prior);
        }
        for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
            // Products of bf16 are rounded in another way where there are none.
            if config.precision == Precision::F32 {
                let found = figures(Exec::with_isa(isa, 2).unwrap());
                assert!(found == expected, "{}: {} differs", config.vae.prior, isa.name());
            }
        }
    }
}

/// A batch may have any number of exemplars up to the most, and they are cut into the same blocks.
#[test]
fn any_number_of_exemplars_has_room() {
    let config = config("exemplar:300:50");
    let vae = Vae::new(&config.vae).unwrap();
    let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
    let fill = |r: usize, x: &mut [f32]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 2) as f32);
    for threads in [1, 2, 7] {
        let ex = exec(threads);
        let mut ws = Workspace::new(&vae, &params, 24, 1, &ex).with_exemplars(&vae, ExemplarRows::new(400, fill), &ex);
        let (mut grads, estimator) = (Slab::zeros(vae.layout()), config.estimator());
        let places: Vec<u32> = (0..300).collect();
        for count in 1..=300 {
            ws.freeze_exemplars(Some(&places[..count]));
            // None of these is an exemplar, of which it would be left without one.
            ws.place(24, |r| Some(350 + r));
            let draw = Draw { noise: Noise::new(2), stream: Stream::Train, step: 1 };
            vae.loss_grad(ex.isa(), &params, 24, &fill, &draw, &estimator, 1.0, &mut ws, &mut grads);
            assert!(grads.data().iter().all(|g| g.is_finite()), "{count} exemplars, {threads} threads");
        }
    }
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    for prior in ["exemplar:50:3", "exemplar:70"] {
        let config = config(prior);
        let (vae, ex) = (Vae::new(&config.vae).unwrap(), Exec::sequential().unwrap());
        let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
        let fill = |r: usize, x: &mut [f32]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 2) as f32);
        let mut ws = Workspace::new(&vae, &params, 24, 1, &ex).with_exemplars(&vae, ExemplarRows::new(90, fill), &ex);
        let (mut grads, estimator) = (Slab::zeros(vae.layout()), config.estimator());
        let mut step = |step: u64| {
            let draw = Draw { noise: Noise::new(2), stream: Stream::Train, step };
            ws.place(24, |r| Some((r + 5 * step as usize) % 90));
            vae.loss_grad(ex.isa(), &params, 24, &fill, &draw, &estimator, 1.0, &mut ws, &mut grads);
        };
        step(0);
        let allocated = allocation_counter::measure(|| (1..20).for_each(&mut step));
        assert_eq!(allocated.count_total, 0, "{prior}");
    }
}

/// Data of five kinds of rows, told apart by a prior that knows them: below the standard normal prior after as many epochs, in either
/// precision, whether some or all of the exemplars are encoded.
#[test]
fn it_learns_more_than_a_standard_prior() {
    let last = |prior: &str, precision| {
        let mut config = TrainConfig { precision, epochs: 40, ..config(prior) };
        config.optimizer.learning_rate = 0.003;
        config.fit_precision(Isa::default());
        run(&config, exec(2)).1.last().unwrap().heldout.unwrap().neg_elbo
    };
    let standard = last("standard", Precision::F32);
    for (prior, precision) in
        [("exemplar:100:5", Precision::F32), ("exemplar:60", Precision::F32), ("exemplar:60:5", Precision::Bf16)]
    {
        let found = last(prior, precision);
        assert!(found < standard - 0.1, "{prior} in {precision}: {found}, standard {standard}");
    }
}

/// A trained model's figures agree with each other, as under other mixtures; and its samples are drawn around its exemplars.
#[test]
fn inference_among_exemplars() {
    let (trainer, reports) = run(&TrainConfig { epochs: 8, ..config("exemplar:60:3") }, exec(2));
    let mut inference = trainer.inference();
    let view = trainer.data().test().unwrap();
    let (rows, fill) = (view.len(), |r: usize, x: &mut [f32]| view.gather(r, x));
    let draw = Draw { noise: Noise::new(0), stream: Stream::Evaluate, step: 0 };
    let stats = inference.elbo(rows, &fill, &draw);
    assert_eq!(stats.neg_elbo(), reports[7].heldout.unwrap().neg_elbo, "what training reported");
    let mut ones = 0.0;
    inference.importance(rows, &fill, &draw, 1, |_, bounds| ones -= bounds.log_likelihood() / rows as f64);
    assert!((ones - stats.neg_elbo()).abs() < 1e-4, "{ones} {}", stats.neg_elbo());
    let (mut many, mut sampled, mut bound) = (0.0, 0.0, 0.0);
    inference.importance(rows, &fill, &draw, 100, |_, bounds| many -= bounds.log_likelihood() / rows as f64);
    inference.sampled_score(rows, &fill, &draw, 200, |_, score| sampled += score.kl / rows as f64);
    inference.score(rows, &fill, |_, score| bound += score.kl / rows as f64);
    assert!(many < ones, "{many} {ones}");
    // Five standard errors of a mean over 26 · 200 draws are a few hundredths; a bound over 104 exemplars is off by log 104 at most.
    assert!(bound > sampled - 0.1 && bound < sampled + 104f64.ln(), "{bound} {sampled}");

    let means = trainer.exemplars().unwrap();
    assert_eq!(means.dim(), (104, 6));
    let PriorSampler::Exemplars(exemplars) = inference.prior_sampler() else { panic!("exemplars") };
    assert_eq!(exemplars.count(), 104);
    let deviation = (0.5 * exemplars.log_variance()).exp() as f32;
    let z = elbo::task::sample_latents(&inference, 200, 5).unwrap();
    for z in z.rows() {
        let apart = means
            .rows()
            .into_iter()
            .map(|mean| (&mean - &z).mapv(|d| d * d).sum().sqrt())
            .fold(f32::INFINITY, f32::min);
        // √χ² of six latents is beyond 6 once in 10⁶ draws.
        assert!(apart < 6.0 * deviation, "{apart} {deviation}");
    }
    let still = elbo::task::Sampling { temperature: 1e-6, ..Default::default() };
    let z = elbo::task::sample_latents_by(&inference, 20, 5, &still).unwrap();
    let near = |z: ndarray::ArrayView1<f32>| means.rows().into_iter().any(|m| (&m - &z).iter().all(|d| d.abs() < 1e-4));
    assert!(z.rows().into_iter().all(near), "without deviations, they are the exemplars");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, says) in [
        ("exemplar:1", "no row is its own"),
        ("exemplar:0:1", "no row is its own"),
        ("exemplar:10:0", "nearest 0 of 10"),
        ("exemplar:10:11", "nearest 11 of 10"),
        ("exemplar:x", "number of components"),
        ("exemplar:5:y", "`y` is no number"),
        ("exemplar", "exemplar:DRAWN:NEAREST"),
        ("exemplar:99999999", "2 to 16777216"),
    ] {
        let error = text.parse::<PriorKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    for name in ["exemplar:25000:10", "exemplar:50"] {
        assert_eq!(name.parse::<PriorKind>().unwrap().to_string(), name);
    }
    let error =
        Trainer::new(config("exemplar:105:3"), data(130).with_test(26).unwrap(), exec(1)).unwrap_err().to_string();
    assert!(error.contains("105 exemplars") && error.contains("there are 104"), "{error}");
}
