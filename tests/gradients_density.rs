//! Every derivative of a density, and the ELBO's weights, against fourth-order central differences in f64; and the f32
//! twin against f64.
//!
//! The difference quotient with step h errs by h⁴f⁽⁵⁾/30 and by about 2⁻⁵³|f|/h. At h = 2e-3 and losses of order
//! one to a hundred both are under 1e-11, so 1e-7 relative to a gradient of order one leaves room for no real mistake.

use elbo::density::{DiagonalGaussian, Domain, Likelihood, LikelihoodKind, Posterior, Prior, StandardNormal};
use elbo::estimator::{Batch, Elbo, Estimator, FreeBits, Terms, Weights};
use elbo::layer::Gradient;
use elbo::tensor::{Buffer, Isa, Layout, Noise, Params, Real, Stream};
use elbo_kernels::Element;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Rows, samples a row, columns: more columns than a vector has lanes, and no multiple of them.
const N: usize = 3;
const K: usize = 2;
const D: usize = 19;

const KINDS: [&str; 20] = [
    "bernoulli",
    "gaussian",
    "gaussian:0.3",
    "gaussian-learned",
    "gaussian-optimal",
    "gaussian-per-dimension",
    "gaussian-predicted",
    "categorical:4",
    "continuous-bernoulli",
    "laplace",
    "laplace-learned",
    "laplace-predicted",
    "student-t",
    "student-t:4",
    "poisson",
    "negative-binomial",
    "zero-inflated-negative-binomial",
    "multinomial",
    "discretized-logistic",
    "beta-binomial",
];

/// The parameters that likelihoods learn for themselves.
const LEARNED: [(&str, &str); 7] = [
    ("gaussian-learned", "log_variance"),
    ("gaussian-optimal", "log_variance"),
    ("gaussian-per-dimension", "log_variance"),
    ("laplace-learned", "log_scale"),
    ("student-t", "log_degrees"),
    ("negative-binomial", "log_inverse_dispersion"),
    ("zero-inflated-negative-binomial", "log_inverse_dispersion"),
];

fn rng(row: u64) -> ChaCha8Rng {
    Noise::new(20).rng(Stream::Check, 0, row, 0)
}

/// Numbers that f32 holds exactly, so that both twins see the same.
fn uniform<F: Real>(rng: &mut ChaCha8Rng, low: f64, high: f64) -> F {
    F::from_f64(f64::from(rng.random_range(low..high) as f32))
}

fn random<F: Real>(row: u64, rows: usize, cols: usize, low: f64, high: f64) -> Buffer<F> {
    let (mut out, mut rng) = (Buffer::new(rows, cols), rng(row));
    all(&mut out).mapv_inplace(|_| uniform(&mut rng, low, high));
    out
}

/// Every row of a buffer.
fn all<F: Real>(b: &mut Buffer<F>) -> ndarray::ArrayViewMut2<'_, F> {
    b.view_mut(b.capacity())
}

/// All elements, in order, in f64.
fn flat<F: Real>(b: &Buffer<F>) -> Vec<f64> {
    b.view(b.capacity()).iter().map(|x| Element::to_f64(*x)).collect()
}

/// The derivative of `f` by each element of `at`.
fn differences(at: &mut Buffer<f64>, mut f: impl FnMut(&Buffer<f64>) -> f64) -> Vec<f64> {
    let (rows, cols) = (at.capacity(), at.cols());
    let mut out = Vec::new();
    for i in 0..rows * cols {
        let here = (i / cols, i % cols);
        let x = at.view(rows)[here];
        out.push(difference(x, |x| {
            all(at)[here] = x;
            f(at)
        }));
        all(at)[here] = x;
    }
    out
}

fn difference(x: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let h = 2e-3;
    let d = (f(x - 2.0 * h) - 8.0 * f(x - h) + 8.0 * f(x + h) - f(x + 2.0 * h)) / (12.0 * h);
    f(x);
    d
}

/// |a − n| / max(|a|, |n|, 10⁻³·‖g‖∞) ≤ 1e-7
#[track_caller]
fn assert_gradient(what: &str, analytic: &[f64], numeric: &[f64]) {
    assert_eq!(analytic.len(), numeric.len(), "{what}");
    let most = analytic.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(most > 1e-3, "{what}: the gradient is nothing but zeros");
    for (i, (a, n)) in analytic.iter().zip(numeric).enumerate() {
        let error = (a - n).abs() / a.abs().max(n.abs()).max(1e-3 * most);
        assert!(error <= 1e-7, "{what}[{i}]: analytic {a}, numeric {n}, error {error:e}");
    }
}

/// A likelihood with a point at which to check it.
struct Case<F> {
    likelihood: std::sync::Arc<dyn elbo::density::AnyLikelihood>,
    layout: Layout,
    params: Params<F>,
    x: Buffer<F>,
    eta: Buffer<F>,
    weights: Vec<F>,
}

fn case<F: Real>(name: &str) -> Case<F> {
    let kind: LikelihoodKind = name.parse().unwrap();
    let mut layout = Layout::new();
    let likelihood = kind.build(&mut layout, D);
    let mut params = Params::zeros(&layout);
    for entry in layout.entries() {
        let mut rng = rng(1);
        let values: Vec<F> = (0..entry.slot.count()).map(|_| uniform(&mut rng, -1.5, 1.0)).collect();
        params.values_mut().pack(&entry.slot, &values);
    }
    let mut x = random::<F>(2, N, D, 0.0, 1.0);
    let mut whole = rng(3);
    all(&mut x).indexed_iter_mut().for_each(|((_, c), x)| match (kind.domain(), c % 3) {
        // Black, white and grey.
        (Domain::Unit | Domain::Bytes, 0) => *x = F::ZERO,
        (Domain::Unit | Domain::Bytes, 1) => *x = F::ONE,
        (Domain::Unit, _) => {}
        (Domain::Bytes, _) => *x = F::from_f64(f64::from(whole.random_range(0..=255)) / 255.0),
        (Domain::Classes(k), _) => *x = F::from_f64(whole.random_range(0..k) as f64),
        // Among them many zeros, and more than Γ's recurrence takes to where its series holds.
        (Domain::Counts, i) => *x = F::from_f64(f64::from(whole.random_range(0..[2, 6, 40][i]))),
        (Domain::Real, _) => *x = *x * F::from_f64(4.0) - F::from_f64(2.0),
    });
    let cols = F::likelihood(&*likelihood).eta_cols();
    let mut rng = rng(5);
    let weights = (0..N * K).map(|_| uniform(&mut rng, -1.0, 1.0)).collect();
    let mut eta = random::<F>(4, N * K, cols, -2.0, 2.0);
    if let LikelihoodKind::Laplace(_) = kind {
        // No kink, which is at η = x, within reach of a difference.
        all(&mut eta).indexed_iter_mut().filter(|((_, c), _)| *c < D).for_each(|((r, c), o)| {
            let distance = Element::to_f64(*o - x.rows(N).row(r / K)[c]);
            *o = if distance.abs() < 0.01 { *o + F::from_f64(0.0625) } else { *o };
        });
    }
    Case { likelihood, layout, params, x, eta, weights }
}

/// Values, the gradient by η, and the gradient by each parameter, in f64.
type Gradients = (Vec<f64>, Vec<f64>, Vec<Vec<f64>>);

fn gradients<F: Real>(c: &mut Case<F>) -> Gradients {
    let likelihood = F::likelihood(&*c.likelihood);
    let (mut out, mut cache) = (vec![F::ZERO; N * K], likelihood.cache(N * K));
    let mut eta = c.eta.clone();
    let (x, isa) = (c.x.rows(N), Isa::default());
    likelihood.log_prob_grad(isa, &c.params, x, eta.rows_mut(N * K), &c.weights, &mut out, &mut cache);
    let by_parameter = c.layout.entries().iter().map(|entry| {
        let Some(Gradient::Sum(rows)) = likelihood.gradient(entry.slot, N * K, &cache) else {
            panic!("{} has no gradient", entry.name)
        };
        assert_eq!((rows.rows(), rows.cols()), (N * K, entry.slot.cols()));
        (0..rows.cols()).map(|d| (0..N * K).map(|r| Element::to_f64(rows.row(r)[d])).sum()).collect()
    });
    let by_parameter = by_parameter.collect();
    (out.iter().map(|x| Element::to_f64(*x)).collect(), flat(&eta), by_parameter)
}

fn loss(c: &Case<f64>, params: &Params<f64>, eta: &Buffer<f64>) -> f64 {
    let mut out = vec![0.0; N * K];
    let likelihood = f64::likelihood(&*c.likelihood);
    likelihood.log_prob(Isa::default(), params, c.x.rows(N), eta.rows(N * K), &mut out);
    out.iter().zip(&c.weights).map(|(p, w)| p * w).sum()
}

#[test]
fn likelihoods() {
    for name in KINDS {
        let mut c = case::<f64>(name);
        let (values, by_eta, by_parameter) = gradients(&mut c);
        let mut alone = vec![0.0; N * K];
        let likelihood = f64::likelihood(&*c.likelihood);
        likelihood.log_prob(Isa::default(), &c.params, c.x.rows(N), c.eta.rows(N * K), &mut alone);
        assert_eq!(values, alone, "{name}: the value alone and with its gradient");
        let mut eta = c.eta.clone();
        let numeric = differences(&mut eta, |eta| loss(&c, &c.params, eta));
        assert_gradient(&format!("{name} by η"), &by_eta, &numeric);
        let learned = LEARNED.iter().filter(|(kind, _)| *kind == name);
        assert_eq!(by_parameter.len(), learned.clone().count(), "{name}");
        for ((entry, analytic), (_, parameter)) in c.layout.entries().iter().zip(by_parameter).zip(learned) {
            assert_eq!(entry.name, *parameter);
            let mut params = c.params.clone();
            let numeric: Vec<f64> = (0..entry.slot.cols())
                .map(|d| {
                    difference(c.params.values().get(&entry.slot, 0, d), |v| {
                        params.values_mut().set(&entry.slot, 0, d, v);
                        loss(&c, &params, &c.eta)
                    })
                })
                .collect();
            assert_gradient(&format!("{name} by {parameter}"), &analytic, &numeric);
        }
    }
}

#[test]
fn zero_weight_gives_zero_gradient_and_other_slots_none() {
    let mut layout = Layout::new();
    let foreign = layout.vector("bias", 2, elbo::layer::Init::Constant(0.0));
    for name in KINDS {
        let mut c = case::<f64>(name);
        c.weights.fill(0.0);
        let (_, by_eta, by_parameter) = gradients(&mut c);
        assert!(by_eta.iter().chain(by_parameter.iter().flatten()).all(|g| *g == 0.0), "{name}");
        let likelihood = f64::likelihood(&*c.likelihood);
        assert!(likelihood.gradient(foreign, 1, &likelihood.cache(1)).is_none(), "{name}");
    }
}

/// Both twins start from the same numbers. A derivative is a few roundings and an exponential of a number below 2 in
/// magnitude, so it is within 32 units of 2⁻²⁴ of the gradient's largest; a value is a sum of D terms, so it is
/// within 64 units of the sum of their magnitudes, which |value| + D stands for; and a parameter's gradient sums
/// rows whose magnitudes the same bound covers.
#[test]
fn f32_twins() {
    let unit = 2f64.powi(-24);
    for name in KINDS {
        let (values, by_eta, by_parameter) = gradients(&mut case::<f32>(name));
        let exact = gradients(&mut case::<f64>(name));
        for (a, b) in values.iter().zip(&exact.0) {
            assert!((a - b).abs() <= 64.0 * unit * (b.abs() + D as f64), "{name}: {a} and {b}");
        }
        let most = exact.1.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for (a, b) in by_eta.iter().zip(&exact.1) {
            assert!((a - b).abs() <= 32.0 * unit * most, "{name} by η: {a} and {b}");
        }
        let total = exact.0.iter().map(|v| v.abs() + D as f64).sum::<f64>();
        for (a, b) in by_parameter.iter().flatten().zip(exact.2.iter().flatten()) {
            assert!((a - b).abs() <= 64.0 * unit * total, "{name} by its parameter: {a} and {b}");
        }
    }
}

/// A posterior of L latents at a random point, with noise for K samples of N rows.
struct Point {
    posterior: DiagonalGaussian,
    prior: StandardNormal,
    eta: Buffer<f64>,
    eps: Buffer<f64>,
}

fn point(latent: usize) -> Point {
    let eta = random(10, N, 2 * latent, -1.5, 1.0);
    let eps = random(11, N * K, latent, -2.0, 2.0);
    Point { posterior: DiagonalGaussian::new(latent), prior: StandardNormal::new(latent), eta, eps }
}

impl Point {
    fn z(&self, eta: &Buffer<f64>) -> Buffer<f64> {
        let mut z = Buffer::new(N * K, self.eps.cols());
        self.posterior.sample(Isa::default(), eta.rows(N), self.eps.rows(N * K), z.rows_mut(N * K));
        z
    }
    fn kl(&self, eta: &Buffer<f64>) -> Buffer<f64> {
        let mut kl = Buffer::new(N, self.eps.cols());
        self.prior.kl(Isa::default(), eta.rows(N), kl.rows_mut(N));
        kl
    }
}

#[test]
fn reparameterized_samples() {
    let p = point(D);
    // Σ sin z, so that every row and column gets another dz.
    let dz: Vec<f64> = flat(&p.z(&p.eta)).iter().map(|z| z.cos()).collect();
    let mut d = Buffer::new(N * K, D);
    all(&mut d).iter_mut().zip(dz).for_each(|(d, z)| *d = z);
    let mut deta = Buffer::new(N, 2 * D);
    all(&mut deta).fill(0.25);
    p.posterior.sample_grad(Isa::default(), p.eta.rows(N), p.eps.rows(N * K), d.rows(N * K), deta.rows_mut(N));
    let analytic: Vec<f64> = flat(&deta).iter().map(|g| g - 0.25).collect();
    let mut eta = p.eta.clone();
    let numeric = differences(&mut eta, |eta| flat(&p.z(eta)).iter().map(|z| z.sin()).sum());
    assert_gradient("z by η", &analytic, &numeric);
}

#[test]
fn kl_to_the_standard_normal() {
    let p = point(D);
    let weights = random::<f64>(12, N, D, -1.0, 1.0);
    let mut deta = Buffer::new(N, 2 * D);
    all(&mut deta).fill(0.25);
    p.prior.kl_grad(Isa::default(), p.eta.rows(N), weights.rows(N), deta.rows_mut(N));
    let analytic: Vec<f64> = flat(&deta).iter().map(|g| g - 0.25).collect();
    let mut eta = p.eta.clone();
    let numeric = differences(&mut eta, |eta| flat(&p.kl(eta)).iter().zip(flat(&weights)).map(|(kl, w)| kl * w).sum());
    assert_gradient("KL by η", &analytic, &numeric);
}

/// The whole objective as a function of η, through a decoder that is the identity: z are the logits.
fn objective(p: &Point, x: &Buffer<f64>, elbo: &Elbo, beta: f64, eta: &Buffer<f64>) -> (f64, Vec<f64>) {
    let latent = p.eps.cols();
    let params = Params::zeros(&Layout::new());
    let mut log_px = vec![0.0; N * K];
    let bernoulli = elbo::density::Bernoulli::new(latent);
    bernoulli.log_prob(Isa::default(), &params, x.rows(N), p.z(eta).rows(N * K), &mut log_px);
    let kl = p.kl(eta);
    let mean_kl: Vec<f64> = kl.view(N).columns().into_iter().map(|c| c.sum() / N as f64).collect();
    let reconstruction = -log_px.iter().sum::<f64>() / (N * K) as f64;
    (Estimator::<f64>::objective(elbo, beta, reconstruction, &mean_kl), mean_kl)
}

fn objective_grad(p: &Point, x: &Buffer<f64>, elbo: &Elbo, beta: f64) -> Vec<f64> {
    let (latent, isa) = (p.eps.cols(), Isa::default());
    let (_, mean_kl) = objective(p, x, elbo, beta, &p.eta);
    let batch = Batch { rows: N, beta, mean_kl: &mean_kl };
    let terms = Terms { kl: p.kl(&p.eta), ..Terms::new(N, K, latent) };
    let mut weights = Weights { log_px: vec![f64::NAN; N * K], ..Weights::<f64>::new(N, K, latent) };
    all(&mut weights.kl).fill(f64::NAN);
    elbo.weights(&batch, N, &terms, &mut weights);
    let known: Option<f64> = elbo.likelihood_weight(&batch);
    assert!(weights.log_px.iter().all(|w| Some(*w) == known), "the weight known beforehand");
    let (mut dz, mut out) = (p.z(&p.eta), vec![0.0; N * K]);
    let bernoulli = elbo::density::Bernoulli::new(latent);
    let mut cache = Likelihood::<f64>::cache(&bernoulli, N * K);
    let params = Params::zeros(&Layout::new());
    bernoulli.log_prob_grad(isa, &params, x.rows(N), dz.rows_mut(N * K), &weights.log_px, &mut out, &mut cache);
    let mut deta = Buffer::new(N, 2 * latent);
    p.posterior.sample_grad(isa, p.eta.rows(N), p.eps.rows(N * K), dz.rows(N * K), deta.rows_mut(N));
    p.prior.kl_grad(isa, p.eta.rows(N), weights.kl.rows(N), deta.rows_mut(N));
    flat(&deta)
}

#[test]
fn elbo_with_beta_and_free_bits() {
    let p = point(7);
    let x = random::<f64>(13, N, 7, 0.0, 1.0);
    let mut gradients: Vec<Vec<f64>> = vec![];
    for (lambda, group) in [(0.0, 0), (0.55, 1), (0.7, 2), (1.2, 3), (100.0, 1), (0.0, 1)] {
        let free_bits = (group > 0).then_some(FreeBits { lambda, group });
        let elbo = Elbo::new(K, free_bits);
        assert_eq!(Estimator::<f64>::couples_rows(&elbo), free_bits.is_some());
        for beta in [0.0, 0.5, 1.0, 4.0] {
            let what = format!("ELBO at β {beta}, {free_bits:?}");
            let analytic = objective_grad(&p, &x, &elbo, beta);
            let mut eta = p.eta.clone();
            let numeric = differences(&mut eta, |eta| objective(&p, &x, &elbo, beta, eta).0);
            assert_gradient(&what, &analytic, &numeric);
            if beta == 1.0 {
                gradients.push(analytic);
            }
        }
        let groups = objective(&p, &x, &elbo, 1.0, &p.eta).1;
        let groups: Vec<f64> = groups.chunks(group.max(1)).map(|g| g.iter().sum()).collect();
        // No kink within reach of a difference, and groups on both sides of it where λ is in the middle.
        assert!(groups.iter().all(|kl| (kl - lambda).abs() > 0.01), "{groups:?} near {lambda}");
        let below = groups.iter().filter(|kl| **kl < lambda).count();
        let middle = lambda > 0.0 && lambda < 100.0;
        assert!(!middle || (below > 0 && below < groups.len()), "{below} of {groups:?} below {lambda}");
    }
    assert_eq!(gradients[0], gradients[5], "λ = 0 is no floor");
    for i in 0..5 {
        for j in 0..i {
            assert_ne!(gradients[i], gradients[j], "free bits {i} and {j}");
        }
    }
}

/// Burgess et al. (2018), eq. 8: on either side of the capacity.
#[test]
fn elbo_with_a_capacity() {
    let p = point(7);
    let x = random::<f64>(13, N, 7, 0.0, 1.0);
    let kl: f64 = objective(&p, &x, &Elbo::new(K, None), 1.0, &p.eta).1.iter().sum();
    for nats in [0.0, kl - 0.5, kl + 0.5, 100.0] {
        let elbo = Elbo::new(K, None).with_capacity(nats);
        let analytic = objective_grad(&p, &x, &elbo, 3.0);
        let mut eta = p.eta.clone();
        let numeric = differences(&mut eta, |eta| objective(&p, &x, &elbo, 3.0, eta).0);
        assert_gradient(&format!("capacity {nats} of a KL of {kl}"), &analytic, &numeric);
    }
    assert_eq!(
        objective_grad(&p, &x, &Elbo::new(K, None).with_capacity(0.0), 3.0),
        objective_grad(&p, &x, &Elbo::new(K, None), 3.0),
        "no capacity is the β-ELBO"
    );
}

/// The f32 weights are the rounded f64 weights, a group at λ keeps its weight, and rows not in use are left alone.
#[test]
fn weights_of_the_f32_twin() {
    let (elbo, mean_kl) = (Elbo::new(K, Some(FreeBits { lambda: 0.5, group: 1 })), [0.4, 0.5]);
    let batch = Batch { rows: 7, beta: 0.3, mean_kl: &mean_kl };
    let terms = Terms::<f32>::new(10, K, 2);
    let mut weights = Weights::new(10, K, 2);
    elbo.weights(&batch, N, &terms, &mut weights);
    assert_eq!(weights.log_px[..N * K], [(-1.0f64 / 14.0) as f32; N * K]);
    assert_eq!(weights.log_px[N * K..], [0.0; 14]);
    for r in 0..10 {
        let row = weights.kl.rows(10).row(r);
        assert_eq!(row, if r < N { [0.0, (0.3f64 / 7.0) as f32] } else { [0.0, 0.0] });
    }
}

#[test]
fn a_slab_of_a_learned_parameter_has_its_padding_untouched() {
    for (name, _) in LEARNED {
        let mut c = case::<f64>(name);
        let likelihood = f64::likelihood(&*c.likelihood);
        let mut cache = likelihood.cache(N * K);
        let mut out = vec![0.0; N * K];
        let eta = c.eta.rows_mut(N * K);
        likelihood.log_prob_grad(Isa::default(), &c.params, c.x.rows(N), eta, &c.weights, &mut out, &mut cache);
        let buffer = &cache.buffers[0];
        let (stride, cols) = (buffer.rows(1).stride().max(buffer.flat(1).len()), buffer.cols());
        for row in buffer.flat(N * K).chunks(stride) {
            assert!(row[cols..].iter().all(|x| *x == 0.0), "{name}: column sums read the padding ");
        }
    }
}
