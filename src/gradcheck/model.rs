//! A whole VAE: the batch-mean objective by every parameter, and the f32 twin.

use super::surrogate::Surrogate;
use super::{Check, Value, differentiate, floor};
use crate::density::{Domain, PriorKind};
use crate::error::{Error, Result};
use crate::estimator::{AnyEstimator, Estimator};
use crate::layer::Sides;
use crate::model::{Draw, ExemplarRows, Norm, Vae, VaeConfig, Workspace};
use crate::tensor::{Entry, Exec, Noise, Par, Params, Real, Slab, Slot, Stream};
use rand::Rng;
use rand_distr::StandardNormal;

/// A model with more parameters than this is checked along random directions, not by coordinate.
const MOST_COORDINATES: usize = 2048;
/// Random directions of such a parameter.
const DIRECTIONS: usize = 4;

/// What checking one parameter of a model found.
#[derive(Clone, PartialEq, Debug)]
pub struct VaeCheck {
    /// The comparison with finite differences, in f64.
    pub check: Check,
    /// ‖g32 − g64‖ / ‖g64‖: how far the gradient in f32 is from the one in f64, for the same parameters, data and noise.
    pub f32_error: f64,
}

/// Values on which a likelihood is defined: grey in [0, 1], classes, small counts, bytes, or standard normal; behind each row
/// a condition of so many standard normal numbers.
fn example(domain: Domain, rows: usize, (cols, condition): (usize, usize), noise: &Noise) -> Vec<f64> {
    let mut rng = noise.rng(Stream::Check, 0, 0, 0);
    let mut one = || match domain {
        Domain::Real => rng.sample(StandardNormal),
        // Digits have many exact zeros and ones.
        Domain::Unit => (rng.random::<f64>() * 2.0 - 0.5).clamp(0.0, 1.0),
        Domain::Classes(k) => rng.random_range(0..k) as f64,
        Domain::Counts => f64::from(rng.random_range(0..9)),
        Domain::Bytes => f64::from(rng.random_range(0..=255)) / 255.0,
    };
    // Exact in f32, so that both precisions see the same data.
    let mut row = || -> Vec<f64> { (0..cols).map(|_| f64::from(one() as f32)).collect() };
    let of_condition = |r: usize| {
        let mut rng = noise.rng(Stream::Check, 0, r as u64, 1);
        let normal = move |_| f64::from(rng.sample::<f32, _>(StandardNormal));
        (0..condition).map(normal)
    };
    (0..rows).flat_map(|r| row().into_iter().chain(of_condition(r)).collect::<Vec<f64>>()).collect()
}

/// The objective on a fixed batch with fixed noise.
struct Objective<'a, F> {
    vae: &'a Vae,
    estimator: &'a dyn Estimator<F>,
    beta: f64,
    x: &'a [f64],
    rows: usize,
    draw: Draw,
    ex: Exec,
    workspace: Workspace<F>,
}

impl<'a, F: Real> Objective<'a, F> {
    fn fill(x: &'a [f64], cols: usize) -> impl Fn(usize, &mut [F]) + Sync + 'a {
        move |r, out| out.iter_mut().zip(&x[r * cols..]).for_each(|(o, &v)| *o = F::from_f64(v))
    }
    fn value(&mut self, p: &Params<F>) -> Value {
        let fill = Self::fill(self.x, self.vae.config().row_cols());
        let (isa, draw, ws) = (self.ex.isa(), self.draw, &mut self.workspace);
        let stats = self.vae.objective(isa, p, self.rows, &fill, &draw, self.estimator, self.beta, ws);
        let value = stats.value(self.estimator, self.beta);
        let mut sides = Sides::default();
        for b in self.workspace.blocks() {
            self.vae.kinks(b, &mut sides);
        }
        (value, sides)
    }
    fn gradient(&mut self, p: &Params<F>) -> Slab<F> {
        let mut grads = Slab::zeros(self.vae.layout());
        let fill = Self::fill(self.x, self.vae.config().row_cols());
        let (isa, draw, ws) = (self.ex.isa(), self.draw, &mut self.workspace);
        self.vae.loss_grad(isa, p, self.rows, &fill, &draw, self.estimator, self.beta, ws, &mut grads);
        grads
    }
}

/// Rows that exemplars are drawn from, where the prior is made of such: more than the batch, so that there are rows to choose
/// from, and no more than a check is patient enough for.
const MOST_EXEMPLARS: usize = 256;

/// Memory for a batch of the first `rows` rows of `x`; exemplars are drawn from all of them.
fn workspace<F: Real>(
    vae: &Vae,
    params: &Params<F>,
    (x, rows): (&[f64], usize),
    samples: usize,
    ex: &Exec,
) -> Workspace<F> {
    let ws = Workspace::new(vae, params, rows, samples, ex);
    if !vae.config().prior.is_exemplar() {
        return ws;
    }
    let (cols, x) = (vae.config().inputs, x.to_vec());
    let all = ExemplarRows::new(x.len() / cols, move |r, out: &mut [F]| Objective::fill(&x, cols)(r, out));
    let mut ws = ws.with_exemplars(vae, all, ex);
    ws.place(rows, Some);
    ws
}

/// Checks the gradient of a VAE's objective on a random batch of `rows` rows: each parameter by coordinate in a small
/// model, along random directions in a large one; and all together along random directions (the last check). A gradient
/// that is not that of the value is compared with its [surrogate](Estimator::surrogate)'s. Which exemplars a batch has stays what the
/// first gradient found, for every step of a difference and for f32: their choice is a jump, and the gradient is that between jumps.
///
/// # Errors
/// As [`Vae::new`] and [`VaeConfig::check_normalised_gradient`], an objective that wants a KL in closed form where there is none, and two rows of
/// hidden layers that are normalised by the batch.
///
/// # Panics
/// Of a flow's posterior under a gradient that is not plain, which it has not.
pub fn check_vae(
    config: &VaeConfig,
    estimator: &dyn AnyEstimator,
    beta: f64,
    rows: usize,
    seed: u64,
) -> Result<Vec<VaeCheck>> {
    let vae = Vae::new(config)?;
    if !config.closed_form() && !Estimator::<f64>::sampled(estimator) {
        let what = format!("a {} posterior has no KL in closed form to the prior {}", config.posterior, config.prior);
        return Err(Error::input(what).hint("check an objective whose KL is sampled"));
    }
    config.check_normalised_gradient(Estimator::<f64>::surrogate(estimator))?;
    if config.norm == Norm::Batch && rows == 2 {
        let what = "two numbers normalised by their batch are 1 and -1 whatever they were, but for ε: \
                    what is left of the gradient drowns in rounding";
        return Err(Error::input(what).hint("check a batch of four rows: --batch-size 4"));
    }
    let (noise, ex) = (Noise::new(seed), Exec::sequential()?);
    let pool = match config.prior {
        PriorKind::Exemplar { drawn, .. } => rows + drawn.min(MOST_EXEMPLARS),
        _ => rows,
    };
    let x = example(vae.likelihood::<f64>().domain(), pool, (config.inputs, config.condition), &noise);
    let draw = Draw { noise, stream: Stream::Check, step: 1 };
    let (double, float): (&dyn Estimator<f64>, &dyn Estimator<f32>) = (estimator, estimator);
    let samples = double.samples();
    let mut params = Params::<f64>::init(vae.layout(), &noise);
    vae.unsettle(&mut params, &noise);
    let workspace = self::workspace(&vae, &params, (&x, rows), samples, &ex);
    let mut f = Objective { vae: &vae, estimator: double, beta, x: &x, rows, draw, ex: ex.clone(), workspace };
    let gradient = f.gradient(&params);
    f.workspace.freeze_exemplars(None);
    let single = {
        let params = params.cast::<f32>();
        let mut workspace = self::workspace(&vae, &params, (&x, rows), samples, &ex);
        workspace.freeze_exemplars(Some(f.workspace.exemplars()));
        let mut f = Objective { vae: &vae, estimator: float, beta, x: &x, rows, draw, ex, workspace };
        f.gradient(&params).cast::<f64>()
    };

    let fill = Objective::<f64>::fill(&x, config.row_cols());
    let mut surrogate =
        double.surrogate().then(|| Surrogate::new(&vae, &params, double, beta, rows, &fill, &draw, &f.workspace));
    let mut value = |p: &Params<f64>| match &mut surrogate {
        Some(surrogate) => surrogate.value(p),
        None => f.value(p),
    };

    let mut checks = Vec::new();
    // Of an autoregressive flow over one latent a mask covers all of a weight.
    for entry in vae.layout().entries().iter().filter(|entry| places(entry).next().is_some()) {
        let mut check = Check::new(&entry.name);
        if vae.layout().count() > MOST_COORDINATES {
            along_directions(&mut check, &[entry], &mut params, &gradient, &noise, &mut value);
        } else {
            by_coordinate(&mut check, entry, &mut params, &gradient, &mut value);
        }
        checks.push(VaeCheck { check, f32_error: distance(single.slot(&entry.slot), gradient.slot(&entry.slot)) });
    }
    let entries: Vec<&Entry> = vae.layout().entries().iter().collect();
    let mut all = Check::new("all parameters");
    along_directions(&mut all, &entries, &mut params, &gradient, &noise, &mut value);
    checks.push(VaeCheck { check: all, f32_error: distance(single.data(), gradient.data()) });
    Ok(checks)
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(f, e)| f - e));
    let size = norm(&mut expected.iter().copied());
    if difference == 0.0 { 0.0 } else { difference / size }
}

type Function<'a> = dyn FnMut(&Params<f64>) -> Value + 'a;

/// The places of a parameter that are there, as (slot, row, column).
fn places(entry: &Entry) -> impl Iterator<Item = (Slot, usize, usize)> {
    let (slot, mask) = (entry.slot, entry.mask);
    let all = (0..slot.rows()).flat_map(move |row| (0..slot.cols()).map(move |col| (slot, row, col)));
    all.filter(move |(_, row, col)| mask.is_none_or(|mask| mask.keeps(*row, *col)))
}

fn by_coordinate(check: &mut Check, entry: &Entry, params: &mut Params<f64>, gradient: &Slab<f64>, f: &mut Function) {
    let slot = entry.slot;
    let floor = floor(gradient.slot(&slot));
    for (_, row, col) in places(entry) {
        let start = params.values().get(&slot, row, col);
        let mut at = |t: f64| {
            params.values_mut().set(&slot, row, col, start + t);
            params.refresh(Par::Sequential);
            f(params)
        };
        let numeric = differentiate(&mut at);
        at(0.0);
        check.compare(|| format!("[{col}, {row}]"), gradient.get(&slot, row, col), numeric, floor);
    }
}

/// Compares derivatives along random directions in the space of some parameters. Each is a random unit vector plus the
/// gradient's own: alone, a random one among many is nearly at right angles to the gradient, and its derivative would
/// drown in the rounding of the objective.
fn along_directions(
    check: &mut Check,
    entries: &[&Entry],
    params: &mut Params<f64>,
    gradient: &Slab<f64>,
    noise: &Noise,
    f: &mut Function,
) {
    let start = params.clone();
    let places: Vec<(Slot, usize, usize)> = entries.iter().flat_map(|entry| places(entry)).collect();
    let g: Vec<f64> = places.iter().map(|(slot, row, col)| gradient.get(slot, *row, *col)).collect();
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    for k in 0..DIRECTIONS {
        let mut rng = noise.rng(Stream::Check, 2, entries[0].slot.index() as u64, k as u64);
        let random: Vec<f64> = g.iter().map(|_| rng.sample(StandardNormal)).collect();
        let (of_random, of_g) = (norm(&random), norm(&g));
        let direction: Vec<f64> = random.iter().zip(&g).map(|(r, g)| r / of_random + g / of_g).collect();
        let analytic = direction.iter().zip(&g).map(|(d, g)| d * g).sum();
        let numeric = differentiate(|t| {
            for ((slot, row, col), d) in places.iter().zip(&direction) {
                params.values_mut().set(slot, *row, *col, start.values().get(slot, *row, *col) + t * d);
            }
            params.refresh(Par::Sequential);
            f(params)
        });
        check.compare(|| format!("direction {k}"), analytic, numeric, floor(&g));
    }
    params.clone_from(&start);
}
