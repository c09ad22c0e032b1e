//! Optimizers against a scalar reference written from PyTorch's documented formulas; schedules, clipping, threads.

use elbo::layer::Init;
use elbo::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, clip_global_norm, global_norm};
use elbo::tensor::{Exec, Isa, Layout, Noise, Par, Real, Slab, Stream};
use rand::Rng;

/// A weight of several chunks, a bias of no whole vectors, and a single number.
fn layout() -> Layout {
    let mut layout = Layout::new();
    layout.weight("weight", 210, 290, Init::Constant(0.0));
    layout.vector("bias", 290, Init::Constant(0.0));
    layout.vector("log_variance", 1, Init::Constant(0.0));
    layout
}

/// Random numbers in every element that is one, zero in the padding.
fn random<F: Real>(layout: &Layout, seed: u64) -> Slab<F> {
    let (mut slab, mut rng) = (Slab::zeros(layout), Noise::new(seed).rng(Stream::Check, 0, 0, 0));
    for entry in layout.entries() {
        let values: Vec<F> =
            (0..entry.slot.count()).map(|_| F::from_f64(f64::from(rng.random_range(-1f32..1.0)))).collect();
        slab.pack(&entry.slot, &values);
    }
    slab
}

fn config(kind: OptimizerKind) -> OptimizerConfig {
    OptimizerConfig { learning_rate: 0.05, ..OptimizerConfig::new(kind) }
}

/// The configurations to test: every option of every optimizer, alone and together.
fn configs() -> Vec<OptimizerConfig> {
    let (adam, adamw, sgd) = (config(OptimizerKind::Adam), config(OptimizerKind::AdamW), config(OptimizerKind::Sgd));
    vec![
        adam,
        OptimizerConfig { betas: [0.8, 0.999], ..adam },
        OptimizerConfig { betas: [0.9, 0.9], ..adam },
        OptimizerConfig { epsilon: 1e-2, ..adam },
        OptimizerConfig { weight_decay: 0.1, ..adam },
        adamw,
        OptimizerConfig { weight_decay: 0.1, ..adamw },
        OptimizerConfig { betas: [0.0, 0.5], weight_decay: 0.3, ..adamw },
        sgd,
        OptimizerConfig { weight_decay: 0.1, ..sgd },
        OptimizerConfig { momentum: 0.9, ..sgd },
        OptimizerConfig { momentum: 0.9, nesterov: true, ..sgd },
        OptimizerConfig { momentum: 0.5, nesterov: true, weight_decay: 0.2, ..sgd },
    ]
}

/// One scalar parameter, as in the "Algorithm" boxes of torch.optim.Adam, AdamW and SGD (dampening 0).
#[derive(Clone, Copy, Default)]
struct Scalar {
    p: f64,
    m: f64,
    v: f64,
    t: i32,
}

impl Scalar {
    fn step(&mut self, c: &OptimizerConfig, mut g: f64, lr: f64) {
        self.t += 1;
        match c.kind {
            OptimizerKind::AdamW => self.p -= lr * c.weight_decay * self.p,
            OptimizerKind::Adam | OptimizerKind::Sgd => g += c.weight_decay * self.p,
        }
        if c.kind == OptimizerKind::Sgd {
            if c.momentum != 0.0 {
                self.m = if self.t > 1 { c.momentum * self.m + g } else { g };
                g = if c.nesterov { g + c.momentum * self.m } else { self.m };
            }
            self.p -= lr * g;
        } else {
            let [b1, b2] = c.betas;
            self.m = b1 * self.m + (1.0 - b1) * g;
            self.v = b2 * self.v + (1.0 - b2) * g * g;
            let m_hat = self.m / (1.0 - b1.powi(self.t));
            let v_hat = self.v / (1.0 - b2.powi(self.t));
            self.p -= lr * m_hat / (v_hat.sqrt() + c.epsilon);
        }
    }
}

const STEPS: u64 = 12;

/// The learning rate changes from step to step, as under a schedule.
fn learning_rate(c: &OptimizerConfig, step: u64) -> f64 {
    c.learning_rate() * (1.0 - step as f64 / 20.0)
}

fn train<F: Real>(c: &OptimizerConfig, isa: Isa, par: Par) -> (Slab<F>, Optimizer<F>) {
    let layout = layout();
    let (mut params, mut optimizer) = (random(&layout, 0), Optimizer::new(c, &layout).unwrap());
    for step in 0..STEPS {
        optimizer.step(isa, par, &mut params, &random(&layout, 1 + step), learning_rate(c, step));
    }
    assert_eq!(optimizer.steps(), STEPS);
    (params, optimizer)
}

/// Twelve steps round a few times each; ε in Adam's denominator keeps a small second moment from magnifying that.
#[test]
fn optimizers_follow_pytorchs_formulas() {
    let layout = layout();
    for c in configs() {
        let (params, optimizer) = train::<f64>(&c, Isa::default(), Par::Sequential);
        let start: Slab<f64> = random(&layout, 0);
        let grads: Vec<Slab<f64>> = (0..STEPS).map(|step| random(&layout, 1 + step)).collect();
        let state: Vec<_> = optimizer.state();
        for i in 0..layout.len() {
            let mut scalar = Scalar { p: start.data()[i], ..Scalar::default() };
            (0..STEPS).for_each(|s| scalar.step(&c, grads[s as usize].data()[i], learning_rate(&c, s)));
            let got = params.data()[i];
            assert!((got - scalar.p).abs() <= 1e-13, "{c:?}[{i}]: {got} and {}", scalar.p);
            for ((name, slab), want) in state.iter().zip([scalar.m, scalar.v]) {
                assert!((slab.data()[i] - want).abs() <= 1e-14, "{c:?}, {name}[{i}]");
            }
        }
        let names: Vec<_> = state.iter().map(|(name, _)| *name).collect();
        match c.kind {
            OptimizerKind::Sgd if c.momentum == 0.0 => assert!(names.is_empty()),
            OptimizerKind::Sgd => assert_eq!(names, ["momentum_buffer"]),
            _ => assert_eq!(names, ["exp_avg", "exp_avg_sq"]),
        }
    }
}

#[test]
fn every_option_changes_the_result() {
    let results: Vec<Slab<f64>> = configs().iter().map(|c| train(c, Isa::default(), Par::Sequential).0).collect();
    for i in 0..results.len() {
        for j in 0..i {
            let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-6;
            assert!(
                results[i].data().iter().zip(results[j].data()).any(far),
                "{:?} and {:?}",
                configs()[i],
                configs()[j]
            );
        }
    }
}

#[test]
fn steps_and_norms_do_not_depend_on_threads() {
    let (isa, layout) = (Isa::default(), layout());
    for c in configs() {
        let (params, optimizer) = train::<f32>(&c, isa, Par::Sequential);
        for threads in [2, 3, 7] {
            let ex = Exec::with_isa(isa, threads).unwrap();
            assert_eq!(
                ex.install(|| train::<f32>(&c, isa, ex.par())),
                (params.clone(), optimizer.clone()),
                "{threads}"
            );
        }
    }
    let grads = random::<f32>(&layout, 1);
    let clipped = |isa, par| {
        let mut grads = grads.clone();
        let norm = clip_global_norm(isa, par, &layout, &mut grads, 0.5);
        (norm.to_bits(), grads)
    };
    let alone = clipped(isa, Par::Sequential);
    for &isa in Isa::available() {
        assert_eq!(clipped(isa, Par::Sequential), alone, "{}", isa.name());
    }
    for threads in [2, 3, 7] {
        let ex = Exec::with_isa(isa, threads).unwrap();
        assert_eq!(ex.install(|| clipped(isa, ex.par())), alone, "{threads}");
    }
}

#[test]
fn padding_stays_zero() {
    let layout = layout();
    let mut real = vec![false; layout.len()];
    for entry in layout.entries() {
        for r in 0..entry.slot.rows() {
            for c in 0..entry.slot.cols() {
                real[entry.slot.range().start + entry.slot.panels().index(r, c)] = true;
            }
        }
    }
    assert!(real.iter().any(|real| !real));
    for c in configs() {
        let (params, optimizer) = train::<f32>(&c, Isa::default(), Par::Sequential);
        for slab in optimizer.state().into_iter().map(|(_, slab)| slab).chain([&params]) {
            assert!(slab.data().iter().zip(&real).all(|(x, real)| *real || *x == 0.0), "{c:?}");
        }
    }
}

/// An optimizer restored from its state goes on as if it had never stopped.
#[test]
fn state_restores_and_refuses_damage() {
    let (layout, isa) = (layout(), Isa::default());
    for c in configs() {
        let (mut params, mut optimizer) = train::<f32>(&c, isa, Par::Sequential);
        let mut other = Optimizer::<f32>::new(&c, &layout).unwrap();
        let saved = optimizer.clone();
        let fill = |name: &str, slab: &mut Slab<f32>| {
            let state = saved.state();
            let (_, from) = state.iter().find(|(n, _)| *n == name).unwrap();
            slab.data_mut().copy_from_slice(from.data());
            Ok(())
        };
        other.restore(saved.steps(), fill).unwrap();
        assert_eq!(other, optimizer);
        let mut again = params.clone();
        optimizer.step(isa, Par::Sequential, &mut params, &random(&layout, 50), 0.01);
        other.step(isa, Par::Sequential, &mut again, &random(&layout, 50), 0.01);
        assert_eq!(params, again);
    }
    let mut adam = Optimizer::<f32>::new(&config(OptimizerKind::Adam), &layout).unwrap();
    let filled = |name: &'static str, value: f32| {
        move |n: &str, slab: &mut Slab<f32>| {
            slab.data_mut().fill(if n == name { value } else { 0.0 });
            Ok(())
        }
    };
    assert!(adam.restore(3, filled("exp_avg", -1.0)).is_ok());
    for (name, value) in [("exp_avg_sq", -1.0), ("exp_avg", f32::NAN), ("exp_avg_sq", f32::INFINITY)] {
        let error = adam.restore(3, filled(name, value)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(adam.restore(u64::MAX, filled("exp_avg", 0.0)).is_err());
}

#[test]
fn clipping_is_pytorchs() {
    let (layout, isa) = (layout(), Isa::default());
    let grads = random::<f64>(&layout, 1);
    let want = grads.data().iter().map(|g| g * g).sum::<f64>().sqrt();
    let norm = global_norm(isa, Par::Sequential, &grads);
    // Two orders of summing 61,000 positive terms.
    assert!((norm / want - 1.0).abs() < 1e-12, "{norm} and {want}");
    let mut clipped = grads.clone();
    assert_eq!(clip_global_norm(isa, Par::Sequential, &layout, &mut clipped, 2.0), norm);
    let factor = 2.0 / (norm + 1e-6);
    assert!(grads.data().iter().zip(clipped.data()).all(|(g, c)| *c == g * factor));
    assert!((global_norm(isa, Par::Sequential, &clipped) - 2.0).abs() < 1e-6);
    let mut kept = grads.clone();
    clip_global_norm(isa, Par::Sequential, &layout, &mut kept, norm * 1.01);
    assert_eq!(kept, grads, "below the limit nothing changes");
    for bad in [f64::NAN, f64::INFINITY] {
        let mut wrong = grads.clone();
        wrong.set(&layout.entries()[0].slot, 3, 5, bad);
        let before: Vec<u64> = wrong.data().iter().map(|x| x.to_bits()).collect();
        assert!(!clip_global_norm(isa, Par::Sequential, &layout, &mut wrong, 2.0).is_finite());
        assert!(wrong.data().iter().map(|x| x.to_bits()).eq(before));
    }
}

#[test]
fn schedules_by_step() {
    let curve = |text: &str| {
        let schedule: Schedule = text.parse().unwrap();
        assert_eq!(schedule.to_string(), text);
        assert_eq!(schedule.check(8).unwrap(), (schedule, None));
        // Two steps an epoch, four epochs.
        (0..8).map(|step| schedule.at(step, 2, 8)).collect::<Vec<f64>>()
    };
    let half = |degrees: f64| 0.5 * (1.0 + degrees.to_radians().cos());
    let close = |text: &str, want: [f64; 8]| {
        let got = curve(text);
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-15), "{text}: {got:?}");
    };
    close("constant", [1.0; 8]);
    close("step:1,0.5", [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
    close("step:3,0.1", [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1]);
    close("cosine", [0.0, 22.5, 45.0, 67.5, 90.0, 112.5, 135.0, 157.5].map(half));
    close("warmup:4", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
    close("warmup-cosine:4", [0.25, 0.5, 0.75, 1.0, 1.0, half(45.0), half(90.0), half(135.0)]);
    close("stages:1,0.5", [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
    close("stages:2,0.5", [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]);
    assert_eq!(Schedule::Cosine.at(8, 2, 8), 0.0);
    // Burda et al.: 3^i epochs at 10^(-i/7), i = 0 … 7, are 3,280 epochs.
    let stages: Schedule = "stages:3,0.7196856730011519".parse().unwrap();
    for (epoch, i) in [(0, 0), (1, 1), (3, 1), (4, 2), (12, 2), (13, 3), (1092, 6), (1093, 7), (3279, 7)] {
        let rate = stages.at(epoch * 3000 + 2999, 3000, 3280 * 3000);
        assert!((rate / 10f64.powf(-f64::from(i) / 7.0) - 1.0).abs() < 1e-14, "epoch {epoch}: {rate}");
    }
    assert_eq!(Schedule::default(), Schedule::Constant);
}

#[test]
fn a_rate_warm_up_longer_than_the_run_is_cut_with_a_warning() {
    for (schedule, cut) in [
        (Schedule::Warmup { steps: 9 }, Schedule::Warmup { steps: 8 }),
        (Schedule::WarmupCosine { steps: 9 }, Schedule::WarmupCosine { steps: 8 }),
    ] {
        let (checked, warning) = schedule.check(8).unwrap();
        assert_eq!((checked, checked.at(7, 2, 8)), (cut, 1.0));
        assert!(warning.unwrap().contains("warm-up of 9 steps is longer than the run of 8"));
    }
}

#[test]
fn wrong_names_and_numbers_are_errors() {
    for (text, part) in [
        ("cosin", "did you mean `cosine`?"),
        ("", "unknown schedule"),
        ("step", "step:10,0.5, for example"),
        ("step:0,0.5", "at least 1 epoch"),
        ("step:10,-1", "not -1"),
        ("step:10,nan", "not NaN"),
        ("step:x,0.5", "no schedule"),
        ("warmup", "warmup:500, for example"),
        ("warmup:0", "at least 1 step"),
        ("warmup-cosine:-5", "no schedule"),
        ("cosine:5", "unknown schedule"),
        ("stages:3", "stages:3,0.72, for example"),
        ("stages:0,0.5", "at least 1 time longer"),
        ("stages:3,0", "not 0"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for (name, kind) in OptimizerKind::ALL {
        assert_eq!((name.parse(), kind.to_string().as_str()), (Ok(kind), name));
    }
    let error = "adan".parse::<OptimizerKind>().unwrap_err().to_string();
    assert!(error.contains("did you mean `adam`?"), "{error}");
    let (adam, sgd) = (config(OptimizerKind::Adam), config(OptimizerKind::Sgd));
    for wrong in [
        OptimizerConfig { learning_rate: 0.0, ..adam },
        OptimizerConfig { learning_rate: f64::NAN, ..sgd },
        OptimizerConfig { epsilon: 0.0, ..adam },
        OptimizerConfig { betas: [1.0, 0.999], ..adam },
        OptimizerConfig { betas: [0.9, -0.1], ..adam },
        OptimizerConfig { weight_decay: -1.0, ..adam },
        OptimizerConfig { momentum: 1.0, ..sgd },
        OptimizerConfig { nesterov: true, ..sgd },
    ] {
        assert!(Optimizer::<f32>::new(&wrong, &layout()).is_err(), "{wrong:?}");
    }
}
