//! Batch normalization: the layer through a whole batch in blocks, whole models, running averages, and files.

use elbo::data::Dataset;
use elbo::estimator::{AnyEstimator, Bound, Elbo, FreeBits, Objective, ObjectiveKind, PathGradient};
use elbo::files::state_dict::{StateDict, write};
use elbo::files::tensors::{self, Tensor, TensorFile};
use elbo::gradcheck::{check_coordinates, check_layer, check_vae};
use elbo::layer::{Activation, BatchNorm, Cache, Chain, Dense, Dropout, InitScheme, Layer, Linear, Meeting, Residual};
use elbo::model::{Draw, Hidden, Norm, PRESETS, Vae, VaeConfig, Workspace};
use elbo::optim::average_decay;
use elbo::task::exchange::{export, import};
use elbo::tensor::{Buffer, Exec, Isa, Layout, Noise, Par, Params, Precision, Slab, Stream};
use elbo::train::{Flow, Observer, Place, RunFolder, SavedModel, Settings, StepReport, TrainConfig, Trainer};
use ndarray::{Array1, Array2, Axis};
use std::sync::Arc;

/// A layer, and the blocks of a batch on their way through it.
struct Lab<'l> {
    layer: &'l dyn Layer<f64>,
    meetings: Vec<Meeting>,
    blocks: Vec<InBlock>,
}

struct InBlock {
    rows: usize,
    cache: Cache<f64>,
    x: Buffer<f64>,
    y: Buffer<f64>,
    dy: Buffer<f64>,
    dx: Buffer<f64>,
}

impl<'l> Lab<'l> {
    fn new(layer: &'l dyn Layer<f64>, blocks: &[usize]) -> Self {
        let (wide, narrow) = (|n| Buffer::new(n, layer.inputs()), |n| Buffer::new(n, layer.outputs()));
        let block = |&rows: &usize| {
            let most = rows.max(1);
            let [x, dx, y, dy] = [wide(most), wide(most), narrow(most), narrow(most)];
            InBlock { rows, cache: layer.cache(most), x, y, dy, dx }
        };
        Lab { layer, meetings: layer.meetings(), blocks: blocks.iter().map(block).collect() }
    }
    fn rows(&self) -> usize {
        self.blocks.iter().map(|b| b.rows).sum()
    }
    /// All rows to all outputs, as a step takes them.
    fn forward(&mut self, p: &Params<f64>, x: &Array2<f64>) -> Array2<f64> {
        let alone = self.rows() == 1;
        let mut from = 0;
        for b in &mut self.blocks {
            b.x.view_mut(b.rows).assign(&x.slice(ndarray::s![from..from + b.rows, ..]));
            from += b.rows;
        }
        for part in 0..self.layer.parts() {
            for b in &mut self.blocks {
                if part > 0 {
                    self.meetings[part - 1].tell(p, &mut b.cache);
                }
                self.layer.forward_part(part, Isa::default(), p, b.x.rows(b.rows), &mut b.y, &mut b.cache);
            }
            if let Some(meeting) = self.meetings.get_mut(part) {
                meeting.count(Par::Sequential, alone, &self.blocks, |b| (&b.cache, b.rows));
            }
        }
        let all: Vec<_> = self.blocks.iter().map(|b| b.y.view(b.rows)).collect();
        ndarray::concatenate(Axis(0), &all).unwrap()
    }
    /// The way back of Σ c ⊙ y: the derivative by all rows.
    fn backward(&mut self, p: &Params<f64>, c: &Array2<f64>) -> Array2<f64> {
        let mut from = 0;
        for b in &mut self.blocks {
            b.dy.view_mut(b.rows).assign(&c.slice(ndarray::s![from..from + b.rows, ..]));
            from += b.rows;
        }
        for part in (0..self.layer.parts()).rev() {
            for b in &mut self.blocks {
                if let Some(meeting) = self.meetings.get(part) {
                    meeting.tell(p, &mut b.cache);
                }
                let (x, dx) = (b.x.rows(b.rows), Some(&mut b.dx));
                self.layer.backward_part(part, Isa::default(), p, x, &b.y, &mut b.dy, dx, &mut b.cache);
            }
            if part > 0 {
                self.meetings[part - 1].count_back(Par::Sequential, &self.blocks, |b| (&b.cache, b.rows));
            }
        }
        let all: Vec<_> = self.blocks.iter().map(|b| b.dx.view(b.rows)).collect();
        ndarray::concatenate(Axis(0), &all).unwrap()
    }
    /// The sum over blocks of a parameter's gradient, in file order.
    fn gradient(&self, slot: elbo::tensor::Slot) -> Vec<f64> {
        let of = |b: &InBlock| {
            let gradient = self.layer.gradient(slot, b.x.rows(b.rows), b.dy.rows(b.rows), &b.cache);
            gradient.expect("the layer's own").to_array()
        };
        let sum = self.blocks.iter().map(of).reduce(|a, b| a + b).expect("a block");
        sum.into_raw_vec_and_offset().0
    }
}

/// Numbers without a pattern, of deviation 1 or so.
fn numbers(rows: usize, cols: usize, seed: u64) -> Array2<f64> {
    let mut layout = Layout::new();
    let slot = layout.weight("x", cols, rows, InitScheme::He.dense(2, 1).0);
    Params::<f64>::init(&layout, &Noise::new(seed)).values().unpack(&slot)
}

/// Parameters that differ from their start: gains are not 1 and biases not 0, and running averages not those of no data.
fn unsettled(layout: &Layout) -> Params<f64> {
    let mut p = Params::init(layout, &Noise::new(5));
    for (i, x) in p.values_mut().data_mut().iter_mut().enumerate().filter(|(_, x)| **x != 0.0) {
        *x += 0.1 * (i as f64).sin();
    }
    for e in layout.entries().iter().filter(|e| e.name.ends_with("bias")) {
        (0..e.slot.cols()).for_each(|c| p.values_mut().set(&e.slot, 0, c, 0.3 * (c as f64).cos()));
    }
    for e in layout.statistics().map_or(&[][..], Layout::entries) {
        (0..e.slot.cols()).for_each(|c| p.statistics_mut().set(&e.slot, 0, c, 0.5 + 0.1 * c as f64));
    }
    p.refresh(Par::Sequential);
    p
}

/// Against the formula of algorithm 1 in plain array arithmetic, for a batch in one block, in three, and in rows alone.
#[test]
fn the_formula_whatever_the_blocks() {
    let mut layout = Layout::new();
    let layer = BatchNorm::new(&mut layout, 37, Activation::Tanh);
    let (p, x) = (unsettled(&layout), numbers(9, 37, 1) * 3.0 + 700.0);
    let vector = |name: &str| Array1::from_iter(p.values().unpack(&layout.find(name).unwrap().slot));
    let mean = x.mean_axis(Axis(0)).unwrap();
    let variance = x.var_axis(Axis(0), 0.0);
    let expected = (&x - &mean) / (&variance + 1e-5).mapv(f64::sqrt) * vector("weight") + vector("bias");
    let expected = expected.mapv(f64::tanh);
    let mut before: Option<Array2<f64>> = None;
    for blocks in [&[9][..], &[4, 4, 1], &[2, 6, 0, 1], &[1; 9]] {
        let mut lab = Lab::new(&layer, blocks);
        let y = lab.forward(&p, &x);
        // Numbers near 700 are exact to 1e-13, and a deviation of 3 keeps that; a variance as E x² − (E x)² would lose five digits more.
        assert!((&y - &expected).iter().all(|d| d.abs() < 1e-12), "{blocks:?}");
        assert!(before.replace(y.clone()).is_none_or(|before| before == y), "the same bits, {blocks:?}");
    }
}

/// At rest: the derivatives of a layer whose moments are constants.
#[test]
fn at_rest() {
    for activation in [Activation::Identity, Activation::Tanh, Activation::Gelu, Activation::Relu] {
        for columns in [1, 4, 35] {
            let mut layout = Layout::new();
            let layer = BatchNorm::new(&mut layout, columns, activation);
            for check in check_layer(&layer, &layout, 5, 1) {
                assert!(check.passed(), "{activation:?}, {columns}: {check:?}");
            }
        }
    }
    let mut layout = Layout::new();
    let layer = Linear::new(&mut layout, 4, 3, InitScheme::Torch);
    assert!(check_layer(&layer, &layout, 5, 1).iter().all(|check| check.passed()), "linear");
}

/// By every coordinate of the input, the gains, the biases and the weights around them, through the sums over all rows: alone, and in
/// chains with what may stand around it.
#[test]
fn gradients_through_the_whole_batch() {
    let normalised = |layout: &mut Layout, inputs, outputs, activation| -> Arc<dyn elbo::layer::AnyLayer> {
        let linear = Arc::new(Linear::new(layout, inputs, outputs, InitScheme::Torch));
        let norm = layout.scope("norm", |l| BatchNorm::new(l, outputs, activation));
        Arc::new(Chain::new(vec![linear, Arc::new(norm)]))
    };
    for blocks in [&[2][..], &[1, 2], &[3, 4], &[2, 2, 0, 3]] {
        let mut layout = Layout::new();
        let first = layout.scope(0, |l| normalised(l, 4, 5, Activation::Tanh));
        let dropped = Dropout::new(layout.scope(1, |l| normalised(l, 5, 5, Activation::Gelu)), 0.4);
        let around = Residual::new(Arc::new(dropped));
        let last = layout.scope(2, |l| Dense::new(l, 5, 3, Activation::Identity, InitScheme::Torch));
        let chain = Chain::new(vec![first, Arc::new(around), Arc::new(last)]);
        assert_eq!(Layer::<f64>::parts(&chain), 3);
        let rows = blocks.iter().sum();
        let (mut p, x, c) = (unsettled(&layout), numbers(rows, 4, 2), numbers(rows, 3, 3));
        let mut lab = Lab::new(&chain, blocks);
        let mut row = 0;
        for b in &mut lab.blocks {
            for r in 0..b.rows {
                chain.renew(r, Some(&mut Noise::new(4).rng(Stream::Dropout, 0, row, 0)), &mut b.cache);
                row += 1;
            }
        }
        lab.forward(&p, &x);
        let dx = lab.backward(&p, &c);
        let of = |a: &Array2<f64>| a.iter().copied().collect::<Vec<f64>>();
        let gradients: Vec<Vec<f64>> = layout.entries().iter().map(|e| lab.gradient(e.slot)).collect();
        let mut checks = vec![check_coordinates("input", &of(&x), &of(&dx), |at| {
            let x = Array2::from_shape_vec(x.raw_dim(), at.to_vec()).unwrap();
            ((lab.forward(&p, &x) * &c).sum(), Default::default())
        })];
        for (e, gradient) in layout.entries().iter().zip(&gradients) {
            let start = of(&p.values().unpack(&e.slot));
            checks.push(check_coordinates(&e.name, &start, gradient, |at| {
                p.values_mut().pack(&e.slot, at);
                p.refresh(Par::Sequential);
                ((lab.forward(&p, &x) * &c).sum(), Default::default())
            }));
            p.values_mut().pack(&e.slot, &start);
        }
        for check in checks {
            println!("{blocks:?} {} {:.1e}", check.name, check.worst);
            assert!(check.passed(), "{blocks:?}: {check:?}");
        }
    }
}

/// A network of seven columns, three hidden layers and two latents.
fn small() -> VaeConfig {
    let base = PRESETS[0].config(7);
    VaeConfig { norm: Norm::Batch, layer: Hidden::Dense(Activation::Tanh), hidden: vec![7, 5, 5], latent: 2, ..base }
}

fn sampled(bound: Option<Bound>, samples: usize) -> Objective {
    let kind = bound.map_or(ObjectiveKind::Elbo, ObjectiveKind::Weighted);
    kind.build(samples, PathGradient::Plain, None, false).unwrap()
}

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
    for (seed, rows) in [(1, 80), (2, 33), (3, 5)] {
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

/// A batch of one row goes through at rest, as evaluation does, and leaves the averages as they are.
#[test]
fn a_batch_of_one_row_is_at_rest() {
    let mut model = Model::new();
    let mut ws = model.workspace(9);
    model.step(&numbers(9, 7, 4), &mut ws);
    let (x, statistics) = (numbers(1, 7, 5), model.params.statistics().clone());
    let found = model.step(&x, &mut ws);
    assert_eq!(found, model.at_rest(&x, &mut ws));
    model.vae.follow_batch(&ws, &mut model.params);
    assert!(*model.params.statistics() == statistics);
}

fn digits(rows: usize) -> Dataset {
    let value = |(i, j): (usize, usize)| ((i * i + 3 * j) * 31 % 256) as f32 / 255.0;
    Dataset::from_array(Array2::from_shape_fn((rows, 50), value).view()).unwrap().with_test(20).unwrap()
}

fn config(batch_size: usize) -> TrainConfig {
    let base = TrainConfig::preset("mlp-400", 50).unwrap();
    let vae = VaeConfig { norm: Norm::Batch, hidden: vec![40, 40], latent: 5, residual: true, ..base.vae };
    TrainConfig { epochs: 2, batch_size, vae, ..base }
}

/// Parameters, moments and running averages after a run, to the bit.
fn bits(trainer: Trainer) -> Vec<u32> {
    let mut trainer = trainer;
    trainer.run(&mut ()).unwrap();
    let moments = trainer.optimizer().state().into_iter().flat_map(|(_, m)| m.data().to_vec()).collect::<Vec<f32>>();
    let model = [trainer.params(), trainer.model()].map(|p| [p.values().data(), p.statistics().data()].concat());
    model.concat().iter().chain(&moments).map(|x| x.to_bits()).collect()
}

/// At any number of threads, on every instruction set with fused multiply-add, with the update in the weights pass or after it: in batches
/// of more than a block and odd ones, the last of one row.
#[test]
fn the_same_bytes_everywhere() {
    let iwae = TrainConfig { objective: ObjectiveKind::Weighted(Bound::Iwae), samples: 3, ..config(30) };
    let half = TrainConfig { precision: Precision::Bf16, ..config(130) };
    let vae = VaeConfig { dropout: 0.2, ..config(130).vae };
    let coupled = TrainConfig { penalty: Some("mmd:3".parse().unwrap()), average: Some(0.9), vae, ..config(130) };
    for config in [config(130), iwae, half, coupled] {
        let trainer = |isa, threads| {
            Trainer::new(config.clone(), digits(20 + 2 * config.batch_size + 1), Exec::with_isa(isa, threads).unwrap())
                .unwrap()
        };
        let expected = bits(trainer(Isa::default(), 1));
        for threads in [2, 3, 7] {
            assert!(bits(trainer(Isa::default(), threads)) == expected, "{threads} threads, {:?}", config.objective);
        }
        assert!(bits(trainer(Isa::default(), 2).unfused()) == expected, "unfused");
        // Products in bf16 promise the same for threads alone.
        let others =
            Isa::available().iter().filter(|isa| isa.name() != "foreign" && config.precision == Precision::F32);
        for &isa in others {
            assert!(bits(trainer(isa, 2)) == expected, "{}", isa.name());
        }
    }
}

/// The running averages after each step.
struct Watch(Vec<Vec<f32>>);

impl Observer for Watch {
    fn step(&mut self, trainer: &Trainer, _: &StepReport) -> elbo::Result<Flow> {
        self.0.push(trainer.params().statistics().data().to_vec());
        Ok(Flow::Continue)
    }
}

/// A kept average has averages of the statistics, with its own decay; and is what is used.
#[test]
fn a_moving_average_has_its_own_statistics() {
    let config = TrainConfig { average: Some(0.9), epochs: 1, ..config(16) };
    let mut trainer = Trainer::new(config, digits(68), Exec::sequential().unwrap()).unwrap();
    let mut expected = trainer.params().statistics().data().to_vec();
    let mut watch = Watch(Vec::new());
    trainer.run(&mut watch).unwrap();
    assert_eq!(watch.0.len(), 3);
    for (step, latest) in watch.0.iter().enumerate() {
        let keep = 1.0 - average_decay(0.9, step as u64) as f32;
        expected.iter_mut().zip(latest).for_each(|(a, p)| *a += keep * (p - *a));
    }
    let average = trainer.average().unwrap().statistics().data();
    for (found, expected) in average.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found}, expected {expected}");
    }
    assert!(average != trainer.params().statistics().data() && trainer.model().statistics().data() == average);
}

fn saved() -> SavedModel {
    let settings = Settings::from_toml("norm = \"batch\"\nhidden = [6, 5]\nlatent = 2").unwrap();
    let vae = Vae::new(&settings.network(4).unwrap()).unwrap();
    let params = unsettled(vae.layout()).cast();
    let empty = import(&dict(&vae, &params, |_| ()), &settings, None, None).unwrap();
    SavedModel { vae, params, info: empty.info }
}

/// A state dict of a model, changed and then written and read.
fn dict(vae: &Vae, params: &Params<f32>, change: impl Fn(&mut Vec<Tensor<'static>>)) -> StateDict {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dict.safetensors");
    let of = |layout: &Layout, slab: &Slab<f32>| -> Vec<Tensor<'static>> {
        let plain = |e: &elbo::tensor::Entry| slab.unpack(&e.slot).into_raw_vec_and_offset().0;
        layout.entries().iter().map(|e| Tensor::new(e.name.clone(), &e.shape(), plain(e))).collect()
    };
    let mut tensors = of(vae.layout(), params.values());
    tensors.extend(of(vae.layout().statistics().unwrap(), params.statistics()));
    change(&mut tensors);
    write(&path, &tensors).unwrap();
    StateDict::read(&path).unwrap()
}

/// Running averages are part of a model's file, of its digest, and of state dicts, by PyTorch's names.
#[test]
fn statistics_are_part_of_the_model_in_files() {
    let model = saved();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();
    let read = SavedModel::load(&path).unwrap();
    assert!(read.params.statistics() == model.params.statistics() && read.digest() == model.digest());
    let names: Vec<String> = export(&model, None).unwrap().into_iter().map(|t| t.name.into_owned()).collect();
    assert!(names.contains(&"decoder.1.norm.running_var".to_owned()), "{names:?}");
    assert!(!names.contains(&"encoder.0.bias".to_owned()), "a bias would be taken away again");

    let mut other = model.params.clone();
    other.statistics_mut().data_mut()[0] += 1.0;
    assert_ne!(elbo::train::digest(&model.vae, &other), model.digest());

    let bring = |change: &dyn Fn(&mut Vec<Tensor<'static>>)| {
        import(&dict(&model.vae, &model.params, change), &model.info.settings, None, None)
    };
    let counted = bring(&|tensors| tensors.push(Tensor::new("encoder.0.norm.num_batches_tracked", &[1], vec![7.0f32])));
    assert!(counted.unwrap().params.statistics() == model.params.statistics(), "PyTorch's counter is passed over");
    let refused = bring(&|tensors| tensors.retain(|t| t.name != "encoder.1.norm.running_var")).unwrap_err().to_string();
    assert!(refused.contains("there is no tensor encoder.1.norm.running_var"), "{refused}");
    let negative = |tensors: &mut Vec<Tensor<'static>>| {
        let at = tensors.iter_mut().find(|t| t.name == "encoder.1.norm.running_var").unwrap();
        *at = Tensor::new(at.name.clone(), &at.shape.clone(), vec![1.0f32, 1.0, -0.5, 1.0, 1.0]);
    };
    let refused = bring(&negative).unwrap_err().to_string();
    assert!(refused.contains("running_var is -0.5 at 2, expected a variance"), "{refused}");
}

/// Opens a file, or says why not.
type Open<'a> = &'a dyn Fn() -> Result<(), String>;

/// A model's file or a checkpoint whose running averages are missing, no variances or not finite is refused by the tensor's name.
#[test]
fn damaged_statistics_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = Settings::from_toml("norm = \"batch\"\nhidden = [6]\naverage = 0.9\nepochs = 1").unwrap();
    let start = || {
        let (config, _) = settings.resolve(&digits(52)).unwrap();
        Trainer::new(config, digits(52), Exec::sequential().unwrap()).unwrap()
    };
    let mut trainer = start();
    let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "digits").unwrap();
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let resume = || {
        let again = RunFolder::resume_with(&out, &Settings::default(), digits(52), Exec::sequential().unwrap());
        again.map(|_| ()).map_err(|e| e.to_string())
    };
    let load = || SavedModel::load(&out).map(|_| ()).map_err(|e| e.to_string());
    let files: [(&str, &str, Open); 3] = [
        ("model.safetensors", "", &load),
        ("checkpoint", "statistics.", &resume),
        ("checkpoint", "average_statistics.", &resume),
    ];
    for (name, prefix, open) in files {
        let path = out.join(name);
        let file = TensorFile::read(&path).unwrap();
        open().unwrap();
        let tensor = format!("{prefix}encoder.0.norm.running_var");
        let at = file.tensors.iter().position(|t| t.name == tensor.as_str()).unwrap();
        let spoilt = |value: f32| {
            let mut all = file.tensors.clone();
            all[at] = Tensor::new(tensor.clone(), &[6], vec![value; 6]);
            all
        };
        let mut without = file.tensors.clone();
        without.remove(at);
        let cases =
            [(spoilt(-1.0), "is -1 at 0, expected a variance"), (spoilt(f32::NAN), "not finite"), (without, "")];
        for (all, says) in cases {
            tensors::write(&path, &file.metadata, &all).unwrap();
            let error = open().unwrap_err();
            assert!(error.contains(&tensor) && error.contains(says), "{name}, {prefix}: {error}");
        }
        tensors::write(&path, &file.metadata, &file.tensors).unwrap();
    }
}

/// What cannot be normalised by the batch says so, and what to do.
#[test]
fn what_is_refused() {
    let says = |error: elbo::Error, words: &[&str]| {
        let error = error.to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
    };
    for prior in ["vamp:5", "exemplar:9:2"] {
        let error = Vae::new(&VaeConfig { prior: prior.parse().unwrap(), ..small() }).unwrap_err();
        says(error, &[prior.split(':').next().unwrap(), "encoded apart from it", "--norm layer"]);
    }
    let conditional = VaeConfig { condition: 2, conditional_prior: true, ..small() };
    let stacked = VaeConfig { prior: "vae:2x5".parse().unwrap(), ..small() };
    for config in [conditional, stacked] {
        says(Vae::new(&config).unwrap_err(), &["the prior has some too (prior.", "--norm layer"]);
    }
    let weighted = |gradient, kind: ObjectiveKind| TrainConfig { gradient, objective: kind, samples: 4, ..config(16) };
    for config in [
        weighted(PathGradient::StickingTheLanding, ObjectiveKind::Elbo),
        weighted(PathGradient::DoublyReparameterized, ObjectiveKind::Weighted(Bound::Iwae)),
        weighted(PathGradient::Plain, ObjectiveKind::Weighted(Bound::Piwae(2))),
    ] {
        let error = Trainer::new(config, digits(52), Exec::sequential().unwrap()).unwrap_err();
        says(error, &["every row's terms depend on all latents", "--norm layer"]);
    }
    let piwae = sampled(Some(Bound::Piwae(2)), 4);
    says(check_vae(&small(), &piwae, 1.0, 4, 1).unwrap_err(), &["every row's terms depend on all latents"]);
    let (one, two) = ("a batch of one row has none", "leaves 1 and -1 whatever they were");
    let refusals =
        [(1, 52, one, "--batch-size 100"), (16, 21, one, "too few training rows"), (2, 52, two, "--batch-size 100")];
    for (batch_size, rows, what, hint) in refusals.into_iter().chain([(16, 22, two, "too few training rows")]) {
        let error = Trainer::new(config(batch_size), digits(rows), Exec::sequential().unwrap()).unwrap_err();
        says(error, &[what, hint]);
    }
}
