//! Row sweeps: values and derivatives against plain sums, finite differences, bounds, and the same bits everywhere.

use crate::support::*;
use elbo_kernels::{Element, Isa, reference, sweep};

const LOG_TAU: f64 = 1.8378770664093453;

/// A copy between sentinels is given to `write`; its contents come back.
fn with<E: Element>(contents: &[E], write: impl FnOnce(&mut [E])) -> Vec<E> {
    let mut buffer = Guarded::new(contents);
    write(buffer.inside());
    buffer.into_contents()
}

/// Two copies, likewise.
fn with2<E: Element>(a: &[E], b: &[E], write: impl FnOnce(&mut [E], &mut [E])) -> [Vec<E>; 2] {
    let [mut a, mut b] = [a, b].map(Guarded::new);
    write(a.inside(), b.inside());
    [a.into_contents(), b.into_contents()]
}

/// Asserts each of a few numbers up to 100 in magnitude within a few roundings.
#[track_caller]
fn assert_all_close<E: Element>(got: &[E], want: impl Iterator<Item = f64>, what: &str) {
    let mut count = 0;
    for (got, want) in got.iter().zip(want) {
        assert_close(got.to_f64(), want, 32.0 * epsilon::<E>(), what);
        count += 1;
    }
    assert_eq!(count, got.len());
}

fn bernoulli_row<E: Element>(isa: Isa, x: &[E], o: &[E], w: E) -> Vec<Vec<E>> {
    let mut value = E::ZERO;
    let d = with(o, |o| value = sweep::bernoulli_log_prob_grad(isa, x, o, w));
    assert_eq!(value, sweep::bernoulli_log_prob(isa, x, o));
    vec![d, vec![value]]
}

fn bernoulli<E: Element>() {
    let mut random = Random(1);
    for n in lengths() {
        let mut x: Vec<E> = random.vector(n, 0.0, 1.0);
        for x in x.iter_mut().step_by(3) {
            *x = E::from_f64(x.to_f64().round());
        }
        let o: Vec<E> = random.vector(n, -30.0, 30.0);
        let w = E::from_f64(-0.75);
        let out = same_everywhere(|isa| bernoulli_row(isa, &x, &o, w));
        let (x, o) = (wide(&x), wide(&o));
        // Both parts are summed on their own before they cancel; e, 1 + e and their product round near 1.
        let terms: Vec<f64> =
            x.iter().zip(&o).flat_map(|(x, o)| [x * o - o.max(0.0), -(-o.abs()).exp().ln_1p()]).collect();
        assert_sum(out[1][0], &terms, 3 * n, "bernoulli");
        let want = x.iter().zip(&o).map(|(x, o)| -0.75 * (x - reference::sigmoid(*o)));
        assert_all_close(&out[0], want, "bernoulli derivative");
    }
}

#[test]
fn bernoulli_in_both_precisions() {
    bernoulli::<f32>();
    bernoulli::<f64>();
    let mut random = Random(2);
    let x: Vec<f64> = random.vector(37, 0.0, 1.0);
    let o: Vec<f64> = random.vector(37, -5.0, 5.0);
    for &isa in Isa::available() {
        let out = bernoulli_row(isa, &x, &o, 1.0);
        assert_gradient(|o| sweep::bernoulli_log_prob(isa, &x, o), &o, &out[0], isa.name());
    }
}

#[test]
fn bernoulli_in_the_tails_and_across_groups() {
    for &isa in Isa::available() {
        // A certain and right logit costs nothing, a wrong one its size; in 70 vectors a group closes midway.
        assert_eq!(sweep::bernoulli_log_prob(isa, &[1.0f32, 0.0], &[1e30, -1e30]), 0.0);
        assert_eq!(sweep::bernoulli_log_prob(isa, &[0.0f32, 1.0], &[3e4, -3e4]), -6e4);
        let n = 70 * 16;
        let got = sweep::bernoulli_log_prob(isa, &vec![0.0f64; n], &vec![0.0; n]);
        assert_close(got, -(n as f64) * core::f64::consts::LN_2, 1e-14, isa.name());
        assert!(sweep::bernoulli_log_prob(isa, &[0.5f32; 3], &[0.0, f32::NAN, 0.0]).is_nan());
    }
}

fn squared_error<E: Element>() {
    let mut random = Random(3);
    for n in lengths() {
        let [x, mu]: [Vec<E>; 2] = [(); 2].map(|()| random.vector(n, -3.0, 3.0));
        let out = same_everywhere(|isa| vec![vec![sweep::squared_error(isa, &x, &mu)]]);
        let d: Vec<f64> = wide(&x).iter().zip(wide(&mu)).map(|(x, mu)| (x - mu) * (x - mu)).collect();
        assert_sum(out[0][0], &d, 0, "squared error");
    }
}

#[test]
fn squared_error_in_both_precisions() {
    squared_error::<f32>();
    squared_error::<f64>();
}

fn gaussian_row<E: Element>(isa: Isa, x: &[E], mean: &[E], v: &[E], w: E) -> Vec<Vec<E>> {
    let value = sweep::gaussian_log_prob(isa, x, mean, v);
    let [dmean, dv] = with2(mean, v, |m, v| assert_eq!(sweep::gaussian_log_prob_grad(isa, x, m, v, w), value));
    let mut dx = Guarded::new(x);
    let again = with2(mean, v, |m, v| {
        assert_eq!(sweep::gaussian_log_prob_grad_x(isa, x, m, v, w, dx.inside()), value);
    });
    assert_eq!(again, [dmean.clone(), dv.clone()]);
    vec![dmean, dv, dx.into_contents(), vec![value]]
}

fn gaussian<E: Element>() {
    let mut random = Random(5);
    for n in lengths() {
        let [x, mean, v]: [Vec<E>; 3] = [(); 3].map(|()| random.vector(n, -2.0, 2.0));
        let out = same_everywhere(|isa| gaussian_row(isa, &x, &mean, &v, E::from_f64(-2.0)));
        let (x, mean, v) = (wide(&x), wide(&mean), wide(&v));
        let d = |i: usize| (x[i] - mean[i]) * (-v[i]).exp();
        let square = |i: usize| (x[i] - mean[i]) * d(i);
        let terms: Vec<f64> = (0..n).flat_map(|i| [-0.5 * LOG_TAU, -0.5 * v[i], -0.5 * square(i)]).collect();
        assert_sum(out[3][0], &terms, 0, "gaussian");
        assert_all_close(&out[0], (0..n).map(|i| -2.0 * d(i)), "by the mean");
        assert_all_close(&out[1], (0..n).map(|i| 1.0 - square(i)), "by the log-variance");
        assert_all_close(&out[2], (0..n).map(|i| x[i] + 2.0 * d(i)), "by x, added to what was there");
    }
}

#[test]
fn gaussian_in_both_precisions() {
    gaussian::<f32>();
    gaussian::<f64>();
    let mut random = Random(6);
    let [x, mean, v]: [Vec<f64>; 3] = [(); 3].map(|()| random.vector(19, -2.0, 2.0));
    for &isa in Isa::available() {
        let out = gaussian_row(isa, &x, &mean, &v, 1.0);
        let dx: Vec<f64> = out[2].iter().zip(&x).map(|(sum, x)| sum - x).collect();
        assert_gradient(|mean| sweep::gaussian_log_prob(isa, &x, mean, &v), &mean, &out[0], "by the mean");
        assert_gradient(|v| sweep::gaussian_log_prob(isa, &x, &mean, v), &v, &out[1], "by the log-variance");
        assert_gradient(|x| sweep::gaussian_log_prob(isa, x, &mean, &v), &x, &dx, "by x");
    }
}

fn standard_normal<E: Element>() {
    let mut random = Random(7);
    for n in lengths() {
        let z: Vec<E> = random.vector(n, -3.0, 3.0);
        let out = same_everywhere(|isa| {
            let dz = with(&z, |dz| sweep::standard_normal_log_prob_grad(isa, &z, E::from_f64(0.25), dz));
            vec![dz, vec![sweep::standard_normal_log_prob(isa, &z)]]
        });
        let z = wide(&z);
        let terms: Vec<f64> = z.iter().flat_map(|z| [-0.5 * LOG_TAU, -0.5 * z * z]).collect();
        assert_sum(out[1][0], &terms, 0, "standard normal");
        assert_all_close(&out[0], z.iter().map(|z| 0.75 * z), "standard normal's derivative, added");
    }
}

#[test]
fn standard_normal_in_both_precisions() {
    standard_normal::<f32>();
    standard_normal::<f64>();
    let z: Vec<f64> = Random(8).vector(23, -3.0, 3.0);
    for &isa in Isa::available() {
        let dz = with(&[0.0; 23], |dz| sweep::standard_normal_log_prob_grad(isa, &z, 1.0, dz));
        assert_gradient(|z| sweep::standard_normal_log_prob(isa, z), &z, &dz, isa.name());
    }
}

fn kl_row<E: Element>(isa: Isa, mean: &[E], v: &[E], w: &[E]) -> Vec<Vec<E>> {
    let mut kl = Guarded::nan(mean.len());
    let value = sweep::kl_standard_normal(isa, mean, v, kl.inside());
    let [dmean, dv] = with2(mean, v, |dm, dv| sweep::kl_standard_normal_grad(isa, mean, v, w, dm, dv));
    vec![dmean, dv, kl.into_contents(), vec![value]]
}

fn kl<E: Element>() {
    let mut random = Random(9);
    for n in lengths() {
        let [mean, v, w]: [Vec<E>; 3] = [(); 3].map(|()| random.vector(n, -2.0, 2.0));
        let out = same_everywhere(|isa| kl_row(isa, &mean, &v, &w));
        let (mean, v, w) = (wide(&mean), wide(&v), wide(&w));
        let column = |i: usize| 0.5 * (mean[i] * mean[i] + reference::exp_minus_1_minus_x(v[i]));
        assert_all_close(&out[2], (0..n).map(column), "KL by column");
        assert_sum(out[3][0], &(0..n).map(column).collect::<Vec<_>>(), 0, "KL");
        assert_all_close(&out[0], (0..n).map(|i| mean[i] + w[i] * mean[i]), "by the mean, added");
        assert_all_close(&out[1], (0..n).map(|i| v[i] + w[i] * 0.5 * v[i].exp_m1()), "by the log-variance, added");
    }
}

#[test]
fn kl_in_both_precisions() {
    kl::<f32>();
    kl::<f64>();
    let mut random = Random(10);
    let [mean, v]: [Vec<f64>; 2] = [(); 2].map(|()| random.vector(20, -2.0, 2.0));
    for &isa in Isa::available() {
        let [dmean, dv] =
            with2(&[0.0; 20], &[0.0; 20], |dm, dv| sweep::kl_standard_normal_grad(isa, &mean, &v, &[1.0; 20], dm, dv));
        assert_gradient(|m| sweep::kl_standard_normal(isa, m, &v, &mut [0.0; 20]), &mean, &dmean, "by the mean");
        assert_gradient(|v| sweep::kl_standard_normal(isa, &mean, v, &mut [0.0; 20]), &v, &dv, "by the log-variance");
        // A collapsed posterior's divergence is small, exact and never negative.
        let tiny: Vec<f32> = random.vector(64, -1e-4, 1e-4);
        let out = kl_row(isa, &vec![0.0; 64], &tiny, &vec![1.0; 64]);
        for (&kl, &v) in out[2].iter().zip(&tiny) {
            let want = 0.5 * reference::exp_minus_1_minus_x(v.into());
            assert!(kl >= 0.0 && (f64::from(kl) - want).abs() <= 1e-6 * want, "{kl:e} is not {want:e}");
        }
    }
}

fn reparameterize_row<E: Element>(isa: Isa, mean: &[E], v: &[E], eps: &[E], dz: &[E]) -> Vec<Vec<E>> {
    let mut z = Guarded::nan(mean.len());
    sweep::reparameterize(isa, mean, v, eps, z.inside());
    let [dmean, dv] = with2(mean, v, |dm, dv| sweep::reparameterize_grad(isa, v, eps, dz, dm, dv));
    vec![z.into_contents(), dmean, dv]
}

fn reparameterize<E: Element>() {
    let mut random = Random(11);
    for n in lengths() {
        let [mean, v, eps, dz]: [Vec<E>; 4] = [(); 4].map(|()| random.vector(n, -2.0, 2.0));
        let out = same_everywhere(|isa| reparameterize_row(isa, &mean, &v, &eps, &dz));
        let [mean, v, eps, dz] = [mean, v, eps, dz].map(|x| wide(&x));
        let noise = |i: usize| (0.5 * v[i]).exp() * eps[i];
        assert_all_close(&out[0], (0..n).map(|i| mean[i] + noise(i)), "z");
        assert_all_close(&out[1], (0..n).map(|i| mean[i] + dz[i]), "by the mean, added");
        assert_all_close(&out[2], (0..n).map(|i| v[i] + 0.5 * dz[i] * noise(i)), "by the log-variance, added");
    }
}

#[test]
fn reparameterize_in_both_precisions() {
    reparameterize::<f32>();
    reparameterize::<f64>();
    let mut random = Random(12);
    let [mean, v, eps, dz]: [Vec<f64>; 4] = [(); 4].map(|()| random.vector(18, -2.0, 2.0));
    for &isa in Isa::available() {
        let zero = [0.0; 18];
        let [dmean, dv] = with2(&zero, &zero, |dm, dv| sweep::reparameterize_grad(isa, &v, &eps, &dz, dm, dv));
        let along = |mean: &[f64], v: &[f64]| {
            let mut z = zero;
            sweep::reparameterize(isa, mean, v, &eps, &mut z);
            reference::dot(&z, &dz)
        };
        assert_gradient(|mean| along(mean, &v), &mean, &dmean, "by the mean");
        assert_gradient(|v| along(&mean, v), &v, &dv, "by the log-variance");
    }
}

fn softmax_row<E: Element>(isa: Isa, index: usize, o: &[E], w: E) -> Vec<Vec<E>> {
    let mut value = E::ZERO;
    let d = with(o, |o| value = sweep::softmax_log_prob_grad(isa, index, o, w));
    assert_eq!(value, sweep::softmax_log_prob(isa, index, o));
    vec![d, vec![value]]
}

fn softmax<E: Element>() {
    let mut random = Random(13);
    for n in lengths().skip(1) {
        let o: Vec<E> = random.vector(n, -20.0, 20.0);
        let index = n / 3;
        let out = same_everywhere(|isa| softmax_row(isa, index, &o, E::from_f64(-1.5)));
        let o = wide(&o);
        let total: f64 = reference::sum(&o.iter().map(|o| o.exp()).collect::<Vec<_>>());
        assert_sum(out[1][0], &[o[index], -total.ln()], 0, "softmax");
        let onehot = |i| f64::from(i == index);
        assert_all_close(&out[0], (0..n).map(|i| -1.5 * (onehot(i) - o[i].exp() / total)), "softmax derivative");
    }
}

#[test]
fn softmax_in_both_precisions() {
    softmax::<f32>();
    softmax::<f64>();
    let o: Vec<f64> = Random(14).vector(18, -3.0, 3.0);
    for &isa in Isa::available() {
        let out = softmax_row(isa, 17, &o, 1.0);
        assert_gradient(|o| sweep::softmax_log_prob(isa, 17, o), &o, &out[0], isa.name());
        // The shift keeps huge logits finite, and negative ones from their padding.
        assert_eq!(sweep::softmax_log_prob(isa, 0, &[3e38f32, -3e38]), 0.0);
        assert_eq!(sweep::softmax_log_prob(isa, 0, &[-5e4f32]), 0.0);
        assert!(sweep::softmax_log_prob(isa, 0, &[1.0f32, f32::NAN]).is_nan());
    }
}

#[test]
fn pixels_are_scaled_exactly() {
    for n in lengths() {
        let x: Vec<u8> = (0..n).map(|i| (i * 7) as u8).collect();
        for &isa in Isa::available() {
            let got = with(&vec![f32::NAN; n], |y| sweep::scale_u8(isa, &x, 1.0 / 255.0, y));
            let want: Vec<f32> = x.iter().map(|&x| x as f32 * (1.0 / 255.0)).collect();
            assert_same_bits(&got, &want, isa.name());
        }
    }
}
