//! Mixtures of Gaussians: values, shares and derivatives against plain sums, and the same bits everywhere.

use crate::support::*;
use elbo_kernels::mixture::{
    LEAST_SHARE, mixture_grad_component, mixture_grad_z, mixture_log_prob, mixture_precisions, to_shares,
};
use elbo_kernels::{Element, LANES, Mat};

/// (latents, components): below, at and between whole vectors and panels.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (2, 3), (3, 16), (16, 17), (17, 64), (40, 65), (40, 500), (65, 130), (130, 5)];

/// A matrix as one slice, its rows `stride` apart; what is between them is NaN, and must not be used.
struct Table<E> {
    data: Vec<E>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<E: Element> Table<E> {
    fn new(rows: usize, cols: usize, stride: usize, at: impl Fn(usize, usize) -> E) -> Self {
        let mut data = vec![E::from_f64(f64::NAN); ((rows - 1) * stride + cols).max(1)];
        for r in 0..rows {
            (0..cols).for_each(|c| data[r * stride + c] = at(r, c));
        }
        Table { data, rows, cols, stride }
    }
    fn mat(&self) -> Mat<'_, E> {
        Mat::new(&self.data, self.rows, self.cols, self.stride)
    }
}

fn agrees<E: Element>() {
    let mut random = Random(7);
    for (latents, count) in SHAPES {
        // Rows that reach to whole vectors, and rows that end where they end.
        for padded in [true, false] {
            let stride = |n: usize| if padded { n.next_multiple_of(LANES) + LANES } else { n };
            let means: Vec<E> = random.vector(latents * count, -2.0, 2.0);
            let precisions: Vec<E> = random.vector(latents * count, 0.1, 4.0);
            let offsets: Vec<E> = random.vector(count, -3.0, 0.0);
            let by_latent = |of: &[E]| Table::new(latents, count, stride(count), |l, c| of[c * latents + l]);
            let by_component = |of: &[E]| Table::new(count, latents, stride(latents), |c, l| of[c * latents + l]);
            // A few, or more than are gathered at once.
            let rows = if count < 20 { 70 } else { 5 };
            let z =
                Table::new(rows, latents, stride(latents), |r, l| means[(r % count) * latents + l] + E::from_f64(0.3));
            let weights: Vec<E> = random.vector(rows, -1.0, 1.0);
            let out = same_everywhere(|isa| {
                let (mean, precision) = (by_latent(&means), by_latent(&precisions));
                let (mut log_prob, mut all, mut dz) = (vec![], vec![], vec![]);
                for r in 0..rows {
                    let mut shares = Guarded::new(&vec![E::from_f64(f64::NAN); count]);
                    log_prob.push(E::from_f64(mixture_log_prob(
                        isa,
                        z.mat().row(r),
                        mean.mat(),
                        precision.mat(),
                        &offsets,
                        shares.inside(),
                    )));
                    all.extend(shares.into_contents());
                }
                let (mean, precision) = (by_component(&means), by_component(&precisions));
                for r in 0..rows {
                    let mut d = Guarded::new(&vec![E::ONE; latents]);
                    let shares = &all[r * count..][..count];
                    mixture_grad_z(isa, z.mat().row(r), shares, weights[r], mean.mat(), precision.mat(), d.inside());
                    dz.extend(d.into_contents());
                }
                let (mut dmean, mut dv) = (vec![], vec![]);
                for c in 0..count {
                    let [mut m, mut v] = [0; 2].map(|_| Guarded::new(&vec![E::ONE; latents]));
                    let (mean, precision) = (mean.mat().row(c), precision.mat().row(c));
                    let shares = Mat::new(&all, rows, count, count);
                    mixture_grad_component(isa, z.mat(), shares, c, &weights, mean, precision, m.inside(), v.inside());
                    // Block after block of rows is as good.
                    let [mut m2, mut v2] = [0; 2].map(|_| vec![E::ONE; latents]);
                    for (from, rows) in [(0, 2), (2, rows - 2)] {
                        let (z, shares) = (z.mat().block(from, rows, 0, latents), shares.block(from, rows, 0, count));
                        let weights = &weights[from..];
                        mixture_grad_component(isa, z, shares, c, weights, mean, precision, &mut m2, &mut v2);
                    }
                    assert_same_bits(&m2, m.inside(), "by a mean, in blocks");
                    assert_same_bits(&v2, v.inside(), "by a log-variance, in blocks");
                    dmean.extend(m.into_contents());
                    dv.extend(v.into_contents());
                }
                vec![log_prob, all, dz, dmean, dv]
            });
            let (mean, precision, weights, offsets) = (wide(&means), wide(&precisions), wide(&weights), wide(&offsets));
            let (mut dmean, mut dv) = (vec![1.0; latents * count], vec![1.0; latents * count]);
            // Each of L terms of a distance rounds thrice, and what it is off by is a share's relative error; derivatives sum
            // as many of those as there are components, or rows.
            let tolerance = |terms: usize| ((4 * latents + 8) * 10 + terms) as f64 * 4.0 * epsilon::<E>();
            for r in 0..rows {
                let z = wide(z.mat().row(r));
                let log = |c: usize| {
                    let each =
                        (0..latents).map(|l| (z[l] - mean[c * latents + l]).powi(2) * precision[c * latents + l]);
                    offsets[c] - 0.5 * each.sum::<f64>()
                };
                let top = (0..count).map(log).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = (0..count).map(|c| (log(c) - top).exp()).sum();
                assert_close(out[0][r].to_f64(), top + total.ln(), tolerance(count), "log p(z)");
                let mut dz = vec![1.0; latents];
                for c in 0..count {
                    let share = (log(c) - top).exp() / total;
                    assert_close(out[1][r * count + c].to_f64(), share, tolerance(count), "a share");
                    for l in 0..latents {
                        let (d, p) = (z[l] - mean[c * latents + l], precision[c * latents + l]);
                        dz[l] -= weights[r] * share * d * p;
                        dmean[c * latents + l] += weights[r] * share * d * p;
                        dv[c * latents + l] += 0.5 * weights[r] * share * (d * d * p - 1.0);
                    }
                }
                for l in 0..latents {
                    assert_close(out[2][r * latents + l].to_f64(), dz[l], tolerance(count) * 8.0, "by z");
                }
            }
            // The square of a distance up to 4 times a precision up to 4, weighted.
            for i in 0..latents * count {
                assert_close(out[3][i].to_f64(), dmean[i], tolerance(rows) * 8.0, "by a mean");
                assert_close(out[4][i].to_f64(), dv[i], tolerance(rows) * 32.0, "by a log-variance");
            }
        }
    }
}

#[test]
fn a_mixture_and_its_derivatives() {
    agrees::<f32>();
    agrees::<f64>();
}

#[test]
fn far_components_have_no_share_and_what_is_no_number_stays_none() {
    let (mean, precision, offsets) = ([0.0f32, 40.0], [1.0f32, 1.0], [0.0f32, 0.0]);
    let table = |of| Mat::new(of, 1, 2, 2);
    for isa in fused() {
        let mut shares = [9.0f32; 2];
        let at_home = mixture_log_prob(isa, &[0.0], table(&mean), table(&precision), &offsets, &mut shares);
        // e^−800 is below any share.
        assert_eq!((at_home, shares), (0.0, [1.0, 0.0]));
        let mut shares = [9.0f32; 2];
        let between = mixture_log_prob(isa, &[15.0], table(&mean), table(&precision), &offsets, &mut shares);
        // −112.5 and −312.5: e^−200 is 1e-87.
        assert_eq!((between, shares), (-112.5, [1.0, 0.0]));
        assert!((-200.0f64).exp() < LEAST_SHARE);
        assert!(mixture_log_prob(isa, &[f32::NAN], table(&mean), table(&precision), &offsets, &mut shares).is_nan());
    }
}

fn many<E: Element>() {
    let mut random = Random(3);
    for count in [1, 15, 16 * 64, 16 * 64 * 2 + 5] {
        let mut logs: Vec<E> = random.vector(count, -20.0, 20.0);
        // One that is left out.
        logs[count / 2] = if count > 1 { E::from_f64(f64::NEG_INFINITY) } else { logs[0] };
        let out = same_everywhere(|isa| {
            let mut shares = Guarded::new(&logs);
            let log = to_shares(isa, shares.inside());
            vec![vec![E::from_f64(log)], shares.into_contents()]
        });
        let logs = wide(&logs);
        let total: f64 = logs.iter().map(|log| log.exp()).sum();
        // A group's sum rounds once a vector and in its tree, an exponential twice.
        assert_close(out[0][0].to_f64(), total.ln(), 80.0 * epsilon::<E>(), "the logarithm of a sum");
        for (share, log) in out[1].iter().zip(&logs) {
            assert_close(share.to_f64(), log.exp() / total, 80.0 * epsilon::<E>(), "a share");
        }
    }
}

#[test]
fn logarithms_become_shares() {
    many::<f32>();
    many::<f64>();
    for isa in fused() {
        assert!(to_shares(isa, &mut [1.0f32, f32::NAN, 0.0]).is_nan());
        assert!(to_shares(isa, &mut [f32::NEG_INFINITY; 3]).is_nan());
    }
}

fn inverse_variances<E: Element>() {
    let v: Vec<E> = Random(5).vector(1003, -30.0, 30.0);
    let out = same_everywhere(|isa| {
        let mut out = Guarded::new(&vec![E::from_f64(f64::NAN); v.len()]);
        mixture_precisions(isa, &v, out.inside());
        vec![out.into_contents()]
    });
    for (&p, v) in out[0].iter().zip(wide(&v)) {
        assert!(ulps(p, (-v).exp()) <= 2.0, "e^-{v}: {p:?}");
    }
    for isa in fused() {
        let mut out = [E::ZERO; 3];
        mixture_precisions(isa, &[E::from_f64(1e4), E::from_f64(-1e4), E::from_f64(f64::NAN)], &mut out);
        let [small, large, none] = out.map(E::to_f64);
        assert!(small == 0.0 && large == f64::INFINITY && none.is_nan(), "{out:?}");
    }
}

#[test]
fn log_variances_become_precisions() {
    inverse_variances::<f32>();
    inverse_variances::<f64>();
}
