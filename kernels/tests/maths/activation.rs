//! Activations and the gate: values, derivatives, bounds, and the same bits everywhere.

use crate::support::{Guarded, Random, assert_close, assert_same_bits, derivative, fused, lengths};
use elbo_kernels::activation::{self, Activation};
use elbo_kernels::{Element, Isa, reference};

const ALL: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Gelu,
    Activation::LeakyRelu(0.01),
    Activation::Elu(1.0),
    Activation::Elu(1.5),
];

fn forward<E: Element>(isa: Isa, act: Activation, x: &[E]) -> Vec<E> {
    let mut y = Guarded::new(x);
    activation::forward(isa, act, y.inside());
    y.into_contents()
}

fn backward<E: Element>(isa: Isa, act: Activation, x: &[E], dy: &[E]) -> Vec<E> {
    let y = if act.needs_input() { x.to_vec() } else { forward(isa, act, x) };
    let mut dx = Guarded::new(dy);
    activation::backward(isa, act, &y, dx.inside());
    dx.into_contents()
}

fn values_and_derivatives<E: Element>(tolerance: f64) {
    let mut random = Random(1);
    for act in ALL {
        for n in lengths() {
            let x: Vec<E> = random.vector(n, -6.0, 6.0);
            let dy: Vec<E> = random.vector(n, -1.0, 1.0);
            let y = forward(Isa::default(), act, &x);
            let dx = backward(Isa::default(), act, &x, &dy);
            for isa in fused() {
                let what = format!("{act:?} of {n} on {}", isa.name());
                assert_same_bits(&forward(isa, act, &x), &y, &what);
                assert_same_bits(&backward(isa, act, &x, &dy), &dx, &what);
            }
            for i in 0..n {
                let x = x[i].to_f64();
                assert_close(y[i].to_f64(), reference::activation(act, x), tolerance, format_args!("{act:?}({x})"));
                let want = dy[i].to_f64() * reference::activation_derivative(act, x);
                assert_close(dx[i].to_f64(), want, tolerance, format_args!("{act:?}'({x})"));
            }
        }
    }
}

#[test]
fn single_precision() {
    // A few roundings of numbers up to 6.
    values_and_derivatives::<f32>(1e-6);
}

#[test]
fn double_precision() {
    values_and_derivatives::<f64>(2e-15);
}

#[test]
fn derivatives_match_finite_differences_of_the_kernels() {
    let mut random = Random(2);
    for &isa in Isa::available() {
        for act in ALL {
            for x in random.vector::<f64>(50, -4.0, 4.0) {
                if act.kink().is_some_and(|at| (x - at).abs() < 0.01) {
                    continue;
                }
                let numeric = derivative(|x| forward(isa, act, &[x])[0], x);
                // Fourth order: truncation ~ h⁴ = 1e-12, rounding ~ 1e-16 / h = 1e-13.
                assert_close(backward(isa, act, &[x], &[1.0])[0], numeric, 1e-11, format_args!("{act:?}'({x})"));
            }
        }
    }
}

#[test]
fn at_a_kink_the_derivative_is_the_left_one() {
    for &isa in Isa::available() {
        assert_eq!(backward(isa, Activation::Relu, &[0.0, -0.0], &[1.0, 1.0]), [0.0, 0.0]);
        assert_eq!(backward(isa, Activation::LeakyRelu(0.25), &[0.0], &[1.0]), [0.25]);
        assert_eq!(backward(isa, Activation::Elu(1.5), &[0.0], &[1.0]), [1.5]);
    }
}

#[test]
fn nan_is_passed_on() {
    for &isa in Isa::available() {
        for act in ALL {
            assert!(forward(isa, act, &[f32::NAN])[0].is_nan(), "{act:?}");
            assert!(backward(isa, act, &[1.0], &[f32::NAN])[0].is_nan(), "{act:?}'");
        }
    }
}

fn glu<E: Element>(isa: Isa, a: &[E], g: &[E], dy: &[E]) -> [Vec<E>; 3] {
    let [mut y, mut da, mut dg] = [(); 3].map(|()| Guarded::nan(a.len()));
    activation::glu_forward(isa, a, g, y.inside());
    activation::glu_backward(isa, a, g, dy, da.inside(), dg.inside());
    [y, da, dg].map(Guarded::into_contents)
}

#[test]
fn gate() {
    let mut random = Random(3);
    for n in lengths() {
        let [a, g, dy]: [Vec<f32>; 3] = [(); 3].map(|()| random.vector(n, -4.0, 4.0));
        let [y, da, dg] = glu(Isa::default(), &a, &g, &dy);
        for isa in fused() {
            for (got, want) in glu(isa, &a, &g, &dy).iter().zip([&y, &da, &dg]) {
                assert_same_bits(got, want, isa.name());
            }
        }
        for i in 0..n {
            let [a, g, dy] = [a[i], g[i], dy[i]].map(f64::from);
            let gate = reference::sigmoid(g);
            assert_close(y[i].into(), a * gate, 1e-6, "y");
            assert_close(da[i].into(), dy * gate, 1e-6, "da");
            assert_close(dg[i].into(), dy * a * gate * (1.0 - gate), 1e-6, "dg");
        }
    }
    for isa in fused() {
        for _ in 0..20 {
            let (a, g) = (random.uniform(-4.0, 4.0), random.uniform(-4.0, 4.0));
            let [_, da, dg] = glu(isa, &[a], &[g], &[1.0]);
            let value = |a, g| glu(isa, &[a], &[g], &[1.0])[0][0];
            assert_close(da[0], derivative(|a| value(a, g), a), 1e-11, "da");
            assert_close(dg[0], derivative(|g| value(a, g), g), 1e-11, "dg");
        }
    }
}

#[test]
#[should_panic(expected = "slices of unequal length: [(\"y\", 3), (\"dy\", 2)]")]
fn unequal_lengths_are_named() {
    activation::backward(Isa::default(), Activation::Relu, &[0.0f32; 3], &mut [0.0; 2]);
}
