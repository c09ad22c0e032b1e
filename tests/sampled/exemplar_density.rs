//! The exemplar prior's density by itself.

use elbo::density::{Exemplars, LeaveOut};
use elbo::gradcheck::check_coordinates;
use elbo::tensor::{Buffer, Isa, Noise, Real, Stream};
use rand::Rng;

const L: usize = 9;
pub const LOG_TAU: f64 = 1.837_877_066_409_345_5;

pub fn some(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Noise::new(seed).rng(Stream::Check, 0, 0, 0);
    (0..n).map(|_| f64::from(rng.random_range(-1.0..1.0f32))).collect()
}

fn filled<F: Real>(rows: &[f64], cols: usize) -> Buffer<F> {
    let mut buffer = Buffer::new(rows.len() / cols, cols);
    buffer.view_mut(rows.len() / cols).iter_mut().zip(rows).for_each(|(to, x)| *to = F::from_f64(*x));
    buffer
}

fn exemplars<F: Real>(means: &[f64], v: f64) -> Exemplars<F> {
    let (n, means) = (means.len() / L, filled::<F>(means, L));
    let mut exemplars = Exemplars::new(n, L);
    exemplars.replace(F::from_f64(v), (0..n).map(|i| means.rows(n).row(i)));
    exemplars
}

/// log 1/`of` Σ_n N(z; μ_n, e^v I) over all means but one.
pub fn naive(z: &[f64], means: &[f64], v: f64, own: Option<usize>, of: usize) -> f64 {
    let each = means.chunks(z.len()).enumerate().filter(|(n, _)| Some(*n) != own).map(|(_, mean)| {
        let square: f64 = z.iter().zip(mean).map(|(z, m)| (z - m).powi(2)).sum();
        -0.5 * (square / v.exp() + z.len() as f64 * (LOG_TAU + v))
    });
    let logs: Vec<f64> = each.collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln() - (of as f64).ln()
}

/// Over all exemplars: one, a group of them, several and a rest; of one row, and more than run side by side. Wide components, which
/// all count, and narrow ones, of which hardly any does.
#[test]
fn a_mixture_of_all_is_the_sum() {
    for (n, rows) in [(1, 1), (3, 70), (256, 2), (700, 130)] {
        let (means, z) = (some(n * L, 1), some(rows * L, 2));
        for v in [0.7, -1.0, -5.0] {
            let mut double = (vec![0.0; rows], Buffer::new(rows, Exemplars::<f64>::SCRATCH));
            let mut single = (vec![0.0; rows], Buffer::new(rows, Exemplars::<f32>::SCRATCH));
            let (z64, z32) = (filled::<f64>(&z, L), filled::<f32>(&z, L));
            let isa = Isa::default();
            exemplars::<f64>(&means, v).log_prob(isa, z64.rows(rows), double.1.rows_mut(rows), &mut double.0);
            exemplars::<f32>(&means, v).log_prob(isa, z32.rows(rows), single.1.rows_mut(rows), &mut single.0);
            for (r, z) in z.chunks(L).enumerate() {
                let expected = naive(z, &means, v, None, n);
                // u e^{−v} ‖z‖ ‖μ‖, of norms below 3, a few times; and u of the value.
                let bound = |u: f64| u * (40.0 * (-v).exp() + 4.0 * expected.abs() + 10.0);
                assert!((double.0[r] - expected).abs() < bound(1.1e-16), "{n} {v}: {} {expected}", double.0[r]);
                let single = f64::from(single.0[r]);
                assert!((single - expected).abs() < bound(6e-8), "{n} {v}: f32 {single}, {expected}");
            }
        }
    }
}

const ROWS: usize = 4;
const WEIGHTS: [f64; ROWS] = [0.7, -1.3, 0.4, 2.0];

/// Rows that leave out one exemplar, another or none.
fn others(r: usize) -> LeaveOut {
    LeaveOut { own: [Some(0), None, Some(4), None][r], of: 7 }
}

#[test]
fn the_density_s_gradients() {
    let (mut at, z) = (some(5 * L + 1, 3), some(ROWS * L, 4));
    at[5 * L] = -0.3;
    let values = |at: &[f64], z: &[f64]| {
        let (mut out, mut shares) = (vec![0.0; ROWS], Buffer::new(ROWS, 5));
        let z = filled::<f64>(z, L);
        let table = exemplars::<f64>(&at[..5 * L], at[5 * L]);
        table.log_prob_without(Isa::default(), z.rows(ROWS), others, shares.rows_mut(ROWS), &mut out);
        (table, z, shares, out)
    };
    let (table, rows, shares, out) = values(&at, &z);
    for (r, z) in z.chunks(L).enumerate() {
        let expected = naive(z, &at[..5 * L], at[5 * L], others(r).own, 7);
        assert!((out[r] - expected).abs() < 1e-13, "{} {expected}", out[r]);
        let shares = shares.rows(ROWS).row(r);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-14 && others(r).own.is_none_or(|n| shares[n] == 0.0));
    }
    let f = |at: &[f64], z: &[f64]| (values(at, z).3.iter().zip(WEIGHTS).map(|(p, w)| p * w).sum(), Default::default());
    let mut dz = Buffer::new(ROWS, L);
    table.log_prob_grad(rows.rows(ROWS), shares.rows(ROWS), &WEIGHTS, dz.rows_mut(ROWS));
    let dz: Vec<f64> = dz.view(ROWS).iter().copied().collect();
    let by_z = check_coordinates("z", &z, &dz, |z| f(&at, z));
    assert!(by_z.passed() && by_z.compared == ROWS * L, "{by_z:?}");
    let mut d = vec![0.0; 5 * L + 1];
    let (means, v) = d.split_at_mut(5 * L);
    for (n, mean) in means.chunks_mut(L).enumerate() {
        table.exemplar_grad(n, rows.rows(ROWS), shares.rows(ROWS), &WEIGHTS, mean, &mut v[0]);
    }
    let by_parameter = check_coordinates("means and variance", &at, &d, |at| f(at, &z));
    assert!(by_parameter.passed() && by_parameter.compared == 5 * L + 1, "{by_parameter:?}");
}

/// Of a single exemplar the bound is the KL in closed form, and of several it is above it by at most log N.
#[test]
fn the_kl_s_bound() {
    let (mean, w) = (some(L, 5), some(L, 6));
    let bound = |means: &[f64]| {
        let (mut out, mut scratch) = ([0.0], Buffer::new(1, Exemplars::<f64>::SCRATCH));
        let table = exemplars::<f64>(means, -0.4);
        table.log_prob(Isa::default(), filled::<f64>(&mean, L).rows(1), scratch.rows_mut(1), &mut out);
        table.kl_bound(out[0], &w)
    };
    let closed = |at: &[f64]| -> f64 {
        let each = mean.iter().zip(&w).zip(at).map(|((m, w), at)| {
            let ratio = w + 0.4;
            0.5 * ((m - at).powi(2) * 0.4f64.exp() + ratio.exp() - 1.0 - ratio)
        });
        each.sum()
    };
    let at = some(6 * L, 7);
    assert!((bound(&at[..L]) - closed(&at[..L])).abs() < 1e-12);
    let least = at.chunks(L).map(closed).fold(f64::INFINITY, f64::min);
    assert!(bound(&at) > least && bound(&at) < least + 6f64.ln());
}

#[test]
fn draws_have_the_mixture_s_moments() {
    let mut mixture = Exemplars::<f64>::new(2, 1);
    mixture.replace(0.5f64.ln(), [&[-2.0][..], &[3.0][..]].into_iter());
    const DRAWS: usize = 40_000;
    let mut rng = Noise::new(3).rng(Stream::Sample, 0, 0, 0);
    let mut z = [0.0];
    let draws = (0..DRAWS).map(|_| {
        mixture.sample_at(1.0, &mut rng, &mut z);
        z[0]
    });
    let draws: Vec<f64> = draws.collect();
    let mean = draws.iter().sum::<f64>() / DRAWS as f64;
    let variance = draws.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / DRAWS as f64;
    // ½ and 2.5² + ½; five standard errors of a mean, and of a variance of kurtosis < 3.
    assert!((mean - 0.5).abs() < 5.0 * (6.75 / DRAWS as f64).sqrt(), "{mean}");
    assert!((variance / 6.75 - 1.0).abs() < 5.0 * (2.0 / DRAWS as f64).sqrt(), "{variance}");
}
