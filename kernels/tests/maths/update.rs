//! Optimizer steps against their formulas in double precision, over many steps, and the same bits everywhere.

use crate::support::*;
use elbo_kernels::update::{self, AdamStep, SgdStep};
use elbo_kernels::{Element, Isa};

const STEPS: u64 = 5;

fn adam_step(t: u64) -> AdamStep {
    AdamStep { weight_decay: 0.01, decoupled_weight_decay: 0.1, ..AdamStep::new(1e-2, 0.9, 0.999, 1e-8, t) }
}

/// A gradient that differs from step to step.
fn gradient<E: Element>(n: usize, t: u64) -> Vec<E> {
    Random(100 + t).vector(n, -1.0, 1.0)
}

fn adam<E: Element>() {
    for n in lengths() {
        let start: Vec<E> = Random(1).vector(n, -1.0, 1.0);
        let out = same_everywhere(|isa| {
            let [mut p, mut m, mut v] = [start.clone(), vec![E::ZERO; n], vec![E::ZERO; n]].map(|x| Guarded::new(&x));
            for t in 1..=STEPS {
                update::adam(isa, &adam_step(t), p.inside(), m.inside(), v.inside(), &gradient(n, t));
            }
            [p, m, v].map(Guarded::into_contents).to_vec()
        });
        for i in 0..n {
            let (mut p, mut m, mut v) = (start[i].to_f64(), 0.0, 0.0);
            for t in 1..=STEPS {
                let g = gradient::<E>(n, t)[i].to_f64() + 0.01 * p;
                p *= 1.0 - 1e-2 * 0.1;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t as i32)), v / (1.0 - 0.999f64.powi(t as i32)));
                p -= 1e-2 * m_hat / (v_hat.sqrt() + 1e-8);
            }
            for (got, want) in [(out[0][i], p), (out[1][i], m), (out[2][i], v)] {
                assert_close(got.to_f64(), want, 16.0 * epsilon::<E>(), format_args!("element {i} of {n}"));
            }
        }
    }
}

#[test]
fn adam_in_both_precisions() {
    adam::<f32>();
    adam::<f64>();
}

/// The first steps are known without running anything: each moves by the learning rate against the gradient's sign.
#[test]
fn adam_starts_with_steps_of_the_learning_rate() {
    for &isa in Isa::available() {
        let (mut p, mut m, mut v) = ([1.0f64, 1.0], [0.0; 2], [0.0; 2]);
        for t in 1..=3 {
            update::adam(isa, &AdamStep::new(0.125, 0.9, 0.999, 0.0, t), &mut p, &mut m, &mut v, &[3.0, -1e-5]);
        }
        assert_close(p[0], 1.0 - 3.0 * 0.125, 1e-15, "against a large gradient");
        assert_close(p[1], 1.0 + 3.0 * 0.125, 1e-15, "along a small one");
    }
}

fn moments_never_become_subnormal<E: Element>(least_normal: f64, steps: u64) {
    for &isa in Isa::available() {
        let start = E::from_f64(least_normal * 1e3);
        let (mut p, mut m, mut v) = ([E::ONE; 20], [-start; 20], [start; 20]);
        let step = AdamStep::new(1e-3, 0.9, 0.9, 1e-8, 1000);
        for _ in 0..steps {
            update::adam(isa, &step, &mut p, &mut m, &mut v, &[E::ZERO; 20]);
            for x in m.iter().chain(&v) {
                assert!(*x == E::ZERO || x.to_f64().abs() >= least_normal, "{x:?} on {}", isa.name());
            }
        }
        assert!(v[0].to_f64() <= 10.0 * least_normal, "they have decayed: {v:?}");
        assert_eq!(p, [E::ONE; 20]);
    }
}

#[test]
fn moments_of_dead_units_never_become_subnormal() {
    moments_never_become_subnormal::<f32>(f32::MIN_POSITIVE.into(), 100);
    moments_never_become_subnormal::<f64>(f64::MIN_POSITIVE, 100);
}

#[test]
fn a_bad_gradient_is_not_hidden() {
    for &isa in Isa::available() {
        let (mut p, mut m, mut v) = ([1.0f32; 3], [0.0; 3], [0.0; 3]);
        let step = AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1);
        update::adam(isa, &step, &mut p, &mut m, &mut v, &[0.0, f32::NAN, 0.0]);
        assert_eq!(p.map(f32::is_nan), [false, true, false]);
        assert_eq!(m.map(f32::is_nan), [false, true, false]);
    }
}

fn sgd<E: Element>(momentum: f64, nesterov: bool) {
    let step = SgdStep { learning_rate: 0.1, momentum, nesterov, weight_decay: 0.01 };
    for n in lengths() {
        let start: Vec<E> = Random(2).vector(n, -1.0, 1.0);
        let out = same_everywhere(|isa| {
            let buffer = if momentum == 0.0 { Vec::new() } else { vec![E::ZERO; n] };
            let [mut p, mut b] = [&start, &buffer].map(|x| Guarded::new(x));
            for t in 1..=STEPS {
                update::sgd(isa, &step, p.inside(), b.inside(), &gradient(n, t));
            }
            [p, b].map(Guarded::into_contents).to_vec()
        });
        for i in 0..n {
            let (mut p, mut buffer) = (start[i].to_f64(), None);
            for t in 1..=STEPS {
                let g = gradient::<E>(n, t)[i].to_f64() + 0.01 * p;
                let b = buffer.map_or(g, |b| momentum * b + g);
                buffer = Some(b);
                p -= 0.1 * if nesterov { g + momentum * b } else { b };
            }
            assert_close(out[0][i].to_f64(), p, 16.0 * epsilon::<E>(), format_args!("parameter {i} of {n}"));
            if momentum > 0.0 {
                assert_close(out[1][i].to_f64(), buffer.unwrap(), 16.0 * epsilon::<E>(), format_args!("buffer {i}"));
            }
        }
    }
}

#[test]
fn sgd_in_both_precisions() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        sgd::<f32>(momentum, nesterov);
        sgd::<f64>(momentum, nesterov);
    }
}
