//! Whole models: gradients, and running averages against direct sums.

use super::{numbers, sampled, small, unsettled};
use elbo::estimator::{AnyEstimator, Bound, Elbo, FreeBits};
use elbo::gradcheck::check_vae;
use elbo::model::{Draw, Hidden, Vae, VaeConfig, Workspace};
use elbo::tensor::{Exec, Noise, Params, Stream};
use ndarray::{Array1, Array2, Axis};

/// Whole models against finite differences of the whole step: of one row, which goes through at rest, of few, and of more than a
/// block; with what else couples rows, and with what may be combined.
#[test]
fn whole_models() {
    let pass = |config: &VaeConfig, estimator: &dyn AnyEstimator, rows: usize, what: &str| {
        for c in check_vae(config, estimator, 0.7, rows, 3).unwrap() {
            println!("{what}, {rows} rows, {}: {:.1e}, f32 {:.1e}", c.check.name, c.check.worst, c.f32_error);
            assert!(c.check.passed(), "{what}, {rows} rows, {}: {:?}", c.check.name, c.check);
            // As of other networks (see gradients.rs): a handful of layers, each with rounding of some 2·10⁻⁶.
            assert!(c.f32_error < 2e-5, "{what}, {rows} rows, {}: f32 {:.1e}", c.check.name, c.f32_error);
        }
    };
    for rows in [1, 3, 7, 70] {
        pass(&small(), &Elbo::new(1, None), rows, "elbo");
    }
    let error = check_vae(&small(), &Elbo::new(1, None), 1.0, 2, 3).unwrap_err().to_string();
    assert!(error.contains("drowns in rounding"), "{error}");
    pass(&small(), &sampled(Some(Bound::Iwae), 3), 4, "iwae");
    pass(&small(), &Elbo::new(2, Some(FreeBits { lambda: 0.2, group: 1 })), 4, "free bits");
    let penalised = Elbo::new(1, None).with_penalty("tc:3".parse().unwrap(), 100);
    pass(&small(), &penalised, 4, "penalty");
    let all = VaeConfig { residual: true, dropout: 0.3, condition: 2, log_variance: Some([-6.0, 2.0]), ..small() };
    pass(&all, &Elbo::new(1, None), 5, "residual, dropout, condition");
    pass(&VaeConfig { layer: Hidden::Gated, ..small() }, &Elbo::new(1, None), 4, "gated");
    for prior in ["mixture:3", "flow:2"] {
        let config = VaeConfig { prior: prior.parse().unwrap(), posterior: "planar:2".parse().unwrap(), ..small() };
        pass(&config, &sampled(None, 2), 4, prior);
    }
}

/// A model, its parameters in f64, and batches of made-up rows.
struct Model {
    vae: Vae,
    params: Params<f64>,
    ex: Exec,
}

const SAMPLES: usize = 3;

impl Model {
    fn new() -> Self {
        let vae = Vae::new(&small()).unwrap();
        let params = unsettled(vae.layout());
        Model { vae, params, ex: Exec::sequential().unwrap() }
    }
    fn draw() -> Draw {
        Draw { noise: Noise::new(2), stream: Stream::Train, step: 0 }
    }
    fn fill(x: &Array2<f64>) -> impl Fn(usize, &mut [f64]) + Sync {
        move |r, to| to.copy_from_slice(x.row(r).as_slice().unwrap())
    }
    fn workspace(&self, rows: usize) -> Workspace<f64> {
        Workspace::new(&self.vae, &self.params, rows, SAMPLES, &self.ex)
    }
    fn step(&self, x: &Array2<f64>, ws: &mut Workspace<f64>) -> f64 {
        let estimator = sampled(Some(Bound::Iwae), SAMPLES);
        self.vae.rows_pass(self.ex.isa(), &self.params, x.nrows(), &Self::fill(x), &Self::draw(), &estimator, 1.0, ws);
        ws.stats().reconstruction
    }
    fn at_rest(&self, x: &Array2<f64>, ws: &mut Workspace<f64>) -> f64 {
        let (isa, fill) = (self.ex.isa(), Self::fill(x));
        self.vae.loss(isa, &self.params, x.nrows(), &fill, &Self::draw(), ws).reconstruction
    }
    fn running(&self, name: &str) -> Vec<f64> {
        let slot = self.vae.layout().statistics().unwrap().find(name).unwrap().slot;
        self.params.statistics().unpack(&slot).into_iter().collect()
    }
    /// x W, as the layer of a name has it.
    fn linear(&self, name: &str, x: &Array2<f64>) -> Array2<f64> {
        x.dot(&self.params.values().unpack(&self.vae.layout().find(name).unwrap().slot).t())
    }
}

fn near(found: &[f64], expected: &Array1<f64>, what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12 * (1.0 + expected.abs()), "{what}: {found}, expected {expected}");
    }
}

/// After some batches, of the encoder's first layer from the rows, and of the decoder's from all samples of z: 0.9 of the average before and
/// 0.1 of the batch's, whose variance is the unbiased one.
#[test]
fn running_averages_are_those_of_the_batches() {
    let mut model = Model::new();
    let mut ws = model.workspace(80);
    let names = ["encoder.0", "decoder.0"];
    let of = |model: &Model, part: &str| {
        names.map(|name| Array1::from(model.running(&format!("{name}.norm.running_{part}"))))
    };
    let (mut means, mut variances) = (of(&model, "mean"), of(&model, "var"));
    for (seed, rows) in [(1, 80), (2, 33), (3, 8)] {
        let x = numbers(rows, 7, seed).mapv(|x| x.abs().min(1.0));
        model.step(&x, &mut ws);
        let z: Vec<f64> =
            ws.blocks().iter().flat_map(|b| b.z.view(b.many()).iter().copied().collect::<Vec<_>>()).collect();
        let z = Array2::from_shape_vec((rows * SAMPLES, 2), z).unwrap();
        let inputs = [model.linear("encoder.0.weight", &x), model.linear("decoder.0.weight", &z)];
        for (i, x) in inputs.into_iter().enumerate() {
            means[i] = 0.9 * &means[i] + 0.1 * x.mean_axis(Axis(0)).unwrap();
            variances[i] = 0.9 * &variances[i] + 0.1 * x.var_axis(Axis(0), 1.0);
        }
        model.vae.follow_batch(&ws, &mut model.params);
        for (i, name) in names.iter().enumerate() {
            near(&of(&model, "mean")[i].to_vec(), &means[i], name);
            near(&of(&model, "var")[i].to_vec(), &variances[i], name);
        }
    }
}

/// Of parameters that stay, the averages become the batch's, and the model in use what it was in training: but for N / (N − 1), which
/// is taken back here.
#[test]
fn in_use_a_constant_network_is_what_it_was_in_training() {
    let mut model = Model::new();
    let x = numbers(40, 7, 1).mapv(|x| x.abs().min(1.0));
    let mut ws = model.workspace(40);
    let trained = model.step(&x, &mut ws);
    let before = (model.at_rest(&x, &mut ws) - trained).abs();
    for _ in 0..300 {
        model.step(&x, &mut ws);
        model.vae.follow_batch(&ws, &mut model.params);
    }
    for e in model.vae.layout().statistics().unwrap().entries().iter().filter(|e| e.name.ends_with("var")) {
        let rows = if e.name.starts_with("encoder") { 40.0 } else { 40.0 * SAMPLES as f64 };
        for c in 0..e.slot.cols() {
            let unbiased = model.params.statistics().get(&e.slot, 0, c);
            model.params.statistics_mut().set(&e.slot, 0, c, unbiased * (rows - 1.0) / rows);
        }
    }
    // 0.9³⁰⁰ = 2e-14 of the start is left.
    let after = (model.at_rest(&x, &mut ws) - trained).abs();
    assert!(before > 0.1 && after < 1e-9 * trained, "{before}, then {after}");
}

/// A last batch of a few rows goes through at rest, as evaluation does, and leaves the averages as they are: fewer than eight, or than the
/// batches have.
#[test]
fn a_batch_of_a_few_rows_is_at_rest() {
    for (batch, rows, rests) in [(9, 1, true), (9, 2, true), (9, 7, true), (9, 8, false), (4, 3, true), (4, 4, false)] {
        let mut model = Model::new();
        let mut ws = model.workspace(batch);
        model.step(&numbers(batch, 7, 4), &mut ws);
        let (x, statistics) = (numbers(rows, 7, 5), model.params.statistics().clone());
        let found = model.step(&x, &mut ws);
        model.vae.follow_batch(&ws, &mut model.params);
        assert_eq!(*model.params.statistics() == statistics, rests, "{rows} rows of {batch}");
        *model.params.statistics_mut() = statistics;
        assert_eq!(found == model.at_rest(&x, &mut ws), rests, "{rows} rows of {batch}");
    }
}
