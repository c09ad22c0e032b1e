//! Flows by themselves: log-determinants against Jacobians, derivatives against differences, and what keeps them invertible.

use super::{assert_passed, buffer, flat, uniform};
use elbo::flow::{Autoregressive, Planar, PosteriorFlow};
use elbo::gradcheck::check_coordinates;
use elbo::layer::InitScheme;
use elbo::tensor::{Buffer, Isa, Layout, Noise, Par, Params};

const L: usize = 4;
const N: usize = 2;
const K: usize = 2;
const MANY: usize = N * K;

/// A flow with its parameters, and a point: η and z₀.
struct Point {
    flow: Box<dyn PosteriorFlow<f64>>,
    layout: Layout,
    params: Params<f64>,
    eta: Vec<f64>,
    z: Vec<f64>,
}

fn point(flow: Box<dyn PosteriorFlow<f64>>, layout: Layout) -> Point {
    let params = Params::init(&layout, &Noise::new(3));
    let eta = uniform(1, N * flow.eta_cols()).iter().map(|x| 1.5 * x).collect();
    Point { flow, layout, params, eta, z: uniform(2, MANY * L) }
}

fn points() -> [Point; 4] {
    let iaf = |steps, width| {
        let mut layout = Layout::new();
        let flow = Autoregressive::new(&mut layout, L, width, steps, InitScheme::Torch);
        point(Box::new(flow), layout)
    };
    let planar = |steps| point(Box::new(Planar::new(L, steps)), Layout::new());
    [planar(1), planar(3), iaf(1, 6), iaf(3, 9)]
}

/// z_K and the log-determinants.
fn run(p: &Point, params: &Params<f64>, eta: &[f64], z: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut z, mut log_det, mut cache) = (buffer(MANY, z), vec![0.0; MANY], p.flow.cache(MANY));
    p.flow.forward(Isa::default(), params, buffer(N, eta).rows(N), z.rows_mut(MANY), &mut log_det, &mut cache);
    (flat(&z), log_det)
}

/// log |det| by Gaussian elimination with the largest pivot.
fn log_abs_det(mut a: [[f64; L]; L]) -> f64 {
    let mut sum = 0.0;
    for i in 0..L {
        let pivot = (i..L).max_by(|&x, &y| a[x][i].abs().total_cmp(&a[y][i].abs())).unwrap();
        a.swap(i, pivot);
        sum += a[i][i].abs().ln();
        let pivot = a[i];
        for row in &mut a[i + 1..] {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    sum
}

/// Central differences of step 1e-4 of functions of order one err by 1e-8 of third derivatives / 6, and 1e-12 of rounding.
#[test]
fn log_determinants_are_those_of_the_jacobian() {
    for p in points() {
        let log_det = run(&p, &p.params, &p.eta, &p.z).1;
        for r in 0..MANY {
            let mut jacobian = [[0.0; L]; L];
            for j in 0..L {
                let at = |h: f64| {
                    let mut z = p.z.clone();
                    z[r * L + j] += h;
                    run(&p, &p.params, &p.eta, &z).0[r * L..][..L].to_vec()
                };
                let (plus, minus) = (at(1e-4), at(-1e-4));
                (0..L).for_each(|i| jacobian[i][j] = (plus[i] - minus[i]) / 2e-4);
            }
            let expected = log_abs_det(jacobian);
            assert!(expected.abs() > 1e-3, "a map that keeps volumes would show nothing: {expected}");
            assert!((log_det[r] - expected).abs() < 1e-6, "{:?}: {} {expected}", p.flow, log_det[r]);
        }
    }
}

/// By z₀, by η and by the flow's own parameters, of Σ c z_K − Σ w log det; entries under a mask have no derivative.
#[test]
fn gradients() {
    let (c, w) = (uniform(3, MANY * L), uniform(4, MANY));
    for p in points() {
        let loss = |params: &Params<f64>, eta: &[f64], z: &[f64]| {
            let (z, log_det) = run(&p, params, eta, z);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            (dot(&z, &c) - dot(&log_det, &w), Default::default())
        };
        let (mut z, mut log_det, mut cache) = (buffer(MANY, &p.z), vec![0.0; MANY], p.flow.cache(MANY));
        let (eta, mut dz, mut deta) = (buffer(N, &p.eta), buffer(MANY, &c), Buffer::new(N, p.flow.eta_cols()));
        let (isa, z) = (Isa::default(), z.rows_mut(MANY));
        p.flow.forward(isa, &p.params, eta.rows(N), z, &mut log_det, &mut cache);
        p.flow.backward_rows(isa, &p.params, eta.rows(N), dz.rows_mut(MANY), &w, deta.rows_mut(N), &mut cache);
        let by_z = check_coordinates("z", &p.z, &flat(&dz), |z| loss(&p.params, &p.eta, z));
        assert_passed(&by_z, &format!("{:?} by z", p.flow));
        let by_eta = check_coordinates("eta", &p.eta, &flat(&deta), |eta| loss(&p.params, eta, &p.z));
        assert_passed(&by_eta, &format!("{:?} by η", p.flow));
        let mut params = p.params.clone();
        for entry in p.layout.entries() {
            let gradient = p.flow.gradient(entry.slot, MANY, &cache).unwrap().to_array().into_raw_vec_and_offset().0;
            let start = p.params.values().unpack(&entry.slot).into_raw_vec_and_offset().0;
            let there = |at: &usize| {
                let inputs = entry.slot.rows();
                entry.mask.is_none_or(|mask| mask.keeps(at % inputs, at / inputs))
            };
            let places: Vec<usize> = (0..start.len()).filter(there).collect();
            let pick = |from: &[f64]| places.iter().map(|&i| from[i]).collect::<Vec<f64>>();
            let check = check_coordinates(&entry.name, &pick(&start), &pick(&gradient), |at| {
                let mut plain = start.clone();
                places.iter().zip(at).for_each(|(&i, x)| plain[i] = *x);
                params.values_mut().pack(&entry.slot, &plain);
                params.refresh(Par::Sequential);
                loss(&params, &p.eta, &p.z)
            });
            params.values_mut().pack(&entry.slot, &start);
            params.refresh(Par::Sequential);
            assert_passed(&check, &format!("{:?} by {}", p.flow, entry.name));
        }
    }
}

/// v of ∂ log q₀/∂z₀ = g₀, whatever that is: Jᵀv + ∂ log det/∂z₀ = g₀, so Σ v z_K + log det has the derivative g₀ by z₀.
#[test]
fn the_force_solves_its_equations() {
    let start = uniform(5, MANY * L);
    for p in points() {
        let (mut z, mut log_det, mut cache) = (buffer(MANY, &p.z), vec![0.0; MANY], p.flow.cache(MANY));
        let (eta, mut force) = (buffer(N, &p.eta), buffer(MANY, &start));
        p.flow.forward(Isa::default(), &p.params, eta.rows(N), z.rows_mut(MANY), &mut log_det, &mut cache);
        p.flow.force(&p.params, eta.rows(N), force.rows_mut(MANY), &mut cache);
        let force = flat(&force);
        assert!(force.iter().zip(&start).all(|(v, g)| (v - g).abs() > 1e-6), "a flow changes all of it");
        let check = check_coordinates("z", &p.z, &start, |z| {
            let (z, log_det) = run(&p, &p.params, &p.eta, z);
            let along: f64 = z.iter().zip(&force).map(|(z, v)| z * v).sum();
            (along + log_det.iter().sum::<f64>(), Default::default())
        });
        assert_passed(&check, &format!("{:?}", p.flow));
    }
}

/// The same along one direction, of weights that are several panels wide.
#[test]
fn the_force_of_a_wide_flow() {
    const WIDE: usize = 70;
    let mut layout = Layout::new();
    let flow = Autoregressive::new(&mut layout, WIDE, 150, 2, InitScheme::Torch);
    let params = Params::<f64>::init(&layout, &Noise::new(3));
    let [start, z, along] = [5, 2, 6].map(|place| uniform(place, WIDE));
    let eta = buffer(1, &uniform(1, PosteriorFlow::<f64>::eta_cols(&flow)));
    let mut cache = PosteriorFlow::<f64>::cache(&flow, 1);
    let mut run = |z: &[f64]| {
        let (mut z, mut log_det) = (buffer(1, z), [0.0]);
        flow.forward(Isa::default(), &params, eta.rows(1), z.rows_mut(1), &mut log_det, &mut cache);
        let mut force = buffer(1, &start);
        flow.force(&params, eta.rows(1), force.rows_mut(1), &mut cache);
        (flat(&z), log_det[0], flat(&force))
    };
    let (_, _, force) = run(&z);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let check = check_coordinates("along", &[0.0], &[dot(&start, &along)], |t| {
        let moved: Vec<f64> = z.iter().zip(&along).map(|(z, d)| z + t[0] * d).collect();
        let (z, log_det, _) = run(&moved);
        (dot(&z, &force) + log_det, Default::default())
    });
    assert_passed(&check, "wide");
}

/// A search ends within roundings of the answer, which the slope there multiplies: by 1 / det, far below 100 at these points.
#[test]
fn the_inverse_inverts() {
    for p in points() {
        let (z, log_det) = run(&p, &p.params, &p.eta, &p.z);
        let (mut back, mut again, mut cache) = (buffer(MANY, &z), vec![0.0; MANY], p.flow.cache(MANY));
        let eta = buffer(N, &p.eta);
        p.flow.inverse(Isa::default(), &p.params, eta.rows(N), back.rows_mut(MANY), &mut again, &mut cache);
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart(&flat(&back), &p.z) < 1e-13, "{:?}: {:?} {:?}", p.flow, flat(&back), p.z);
        assert!(apart(&again, &log_det) < 1e-13, "{:?}: {again:?} {log_det:?}", p.flow);
    }
}

/// Latent i of a step depends on the latents before it and on itself, and on every one of them; so does the first on the
/// context, which reaches all.
#[test]
fn an_autoregressive_step_is_a_triangle() {
    let [_, _, p, _] = points();
    let before = run(&p, &p.params, &p.eta, &p.z).0;
    for j in 0..L {
        let mut z = p.z.clone();
        z[j] += 1.0;
        let after = run(&p, &p.params, &p.eta, &z).0;
        for i in 0..L {
            assert_eq!(after[i] != before[i], i >= j, "latent {i} by latent {j}");
        }
        assert_eq!(after[L..], before[L..], "no other sample");
    }
    let eta: Vec<f64> = p.eta.iter().map(|x| x + 0.5).collect();
    assert!(run(&p, &p.params, &eta, &p.z).0.iter().zip(&before).all(|(a, b)| a != b));
}

/// Whatever the encoder says: wᵀu far below −1, where a flow without its constraint would fold, and w at the pole of the
/// constraint. Determinants stay positive: their logarithms are finite.
#[test]
fn planar_flows_stay_invertible() {
    let flow = Planar::new(2, 1);
    let params = Params::<f64>::zeros(&Layout::new());
    let at = |eta: &[f64; 5], z: [f64; 2]| {
        let (mut z, mut log_det, mut cache) = (buffer(1, &z), [0.0], PosteriorFlow::<f64>::cache(&flow, 1));
        flow.forward(Isa::default(), &params, buffer(1, eta).rows(1), z.rows_mut(1), &mut log_det, &mut cache);
        (z.rows(1).row(0).to_vec(), log_det[0])
    };
    // The unit vector along the first latent is added to w: this is w = (2, 0), u = (−9, 1).
    let folded = [-9.0, 1.0, 1.0, 0.0, 0.3];
    let mut last = f64::NEG_INFINITY;
    for i in -40..=40 {
        let (z, log_det) = at(&folded, [f64::from(i) / 10.0, 0.2]);
        // z'₁ rises with z₁: one to one along w, and the identity beside it.
        assert!(log_det.is_finite() && z[0] > last, "{i}: {log_det}, {} after {last}", z[0]);
        last = z[0];
        // Nearly folded: the slope is down to 0.01 at these points, and the inverse knows two digits less.
        let (mut back, mut cache) = (buffer(1, &z), PosteriorFlow::<f64>::cache(&flow, 1));
        flow.inverse(Isa::default(), &params, buffer(1, &folded).rows(1), back.rows_mut(1), &mut [0.0], &mut cache);
        assert!((back.rows(1).row(0)[0] - f64::from(i) / 10.0).abs() < 1e-12, "{i}: {:?}", flat(&back));
    }
    let (z, log_det) = at(&[0.4, -2.0, -1.0, 0.0, 0.7], [0.1, 0.2]);
    let t = 0.7f64.tanh();
    assert_eq!((z, log_det), (vec![0.1 + 0.4 * t, 0.2 - 2.0 * t], 0.0), "w = 0: a translation");
}
