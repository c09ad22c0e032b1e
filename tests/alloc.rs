//! A training step allocates nothing after the first, nor does inference. A test binary of its own, for its counting
//! allocator.

use elbo::data::{Binarize, Dataset, Memory, load_within};
use elbo::density::LikelihoodKind;
use elbo::estimator::FreeBits;
use elbo::model::{Draw, Inference, Norm, Preset, Vae};
use elbo::tensor::{Exec, Isa, Noise, Params, Precision, Stream};
use elbo::train::{Flow, Observer, StepReport, TrainConfig, Trainer};
use ndarray::Array2;
use std::io::Write;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Notes the blocks allocated so far, by any thread, after each step.
struct Count {
    after: Vec<u64>,
}

/// Steps, and how many of them are looked at together: a thread that the machine lets begin late has its own start in one such
/// window, and what every step or group of rows allocates is in all.
const STEPS: usize = 46;
const WINDOW: usize = 15;

impl Observer for Count {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> elbo::Result<Flow> {
        self.after.push(dhat::HeapStats::get().total_blocks);
        Ok(if report.step == STEPS as u64 { Flow::Stop } else { Flow::Continue })
    }
}

/// Really so many threads, however few the cores.
fn exec(threads: usize) -> Exec {
    Exec::with_isa(Isa::detect().unwrap(), threads).unwrap()
}

fn allocated(threads: usize, change: impl Fn(&mut TrainConfig)) -> u64 {
    let data = Array2::from_shape_fn((6_400, 784), |(i, j)| ((i * 31 + j * 17) % 256) as f32 / 255.0);
    allocated_on(Dataset::from_array(data.view()).unwrap(), threads, change)
}

/// The same rows in a file, from which a thread reads them.
fn streamed() -> Dataset {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0, 0, 8, 2, 0, 0, 0x19, 0, 0, 0, 3, 0x10]).unwrap();
    file.write_all(&(0..6_400 * 784).map(|i| (i / 784 * 31 + i % 784 * 17) as u8).collect::<Vec<u8>>()).unwrap();
    let data = load_within(file.path().to_str().unwrap(), Memory::Bytes(0)).unwrap();
    assert!(data.all().rows().is_streamed() && data.all().len() == 6_400);
    data
}

fn allocated_on(data: Dataset, threads: usize, change: impl Fn(&mut TrainConfig)) -> u64 {
    let mut config = TrainConfig::preset("mlp-400", 784).unwrap();
    change(&mut config);
    let mut trainer = Trainer::new(config, data, exec(threads)).unwrap();
    let mut count = Count { after: Vec::with_capacity(STEPS) };
    trainer.run(&mut count).unwrap();
    assert_eq!(count.after.len(), STEPS);
    count.after.windows(WINDOW + 1).step_by(WINDOW).map(|w| w[WINDOW] - w[0]).min().unwrap()
}

/// Blocks that calls of encode, decode, score and importance allocate after the first of each, for so many rows.
fn allocated_by_inference(threads: usize, rows: usize) -> u64 {
    let vae = Vae::new(&Preset::named("mlp-400").unwrap().config(784)).unwrap();
    let (params, ex) = (Params::init(vae.layout(), &Noise::new(1)), exec(threads));
    let x = Array2::from_shape_fn((rows, 784), |(i, j)| ((i * 31 + j * 17) % 256) as f32 / 255.0);
    let (mut z, mut y) = (Array2::<f32>::zeros((rows, 20)), Array2::<f32>::zeros((rows, 784)));
    let mut scores = vec![0.0; rows];
    let draw = Draw { noise: Noise::new(2), stream: Stream::Evaluate, step: 0 };
    let mut round = |inference: &mut Inference<f32>| {
        inference.encode_into(x.view(), z.view_mut());
        inference.decode_into(z.view(), y.view_mut());
        let fill = |r: usize, out: &mut [f32]| out.copy_from_slice(x.row(r).to_slice().unwrap());
        inference.score(rows, &fill, |r, score| scores[r] = score.neg_elbo());
        // More draws than a block decodes at once, and no whole number of those.
        inference.importance(rows.min(20), &fill, &draw, 50, |r, bounds| scores[r] = -bounds.log_likelihood());
    };
    let mut inference = Inference::new(&vae, &params, &ex);
    // Entering a pool from outside now and then costs rayon a block of its queue; inside, nothing does.
    let count = ex.install(|| {
        round(&mut inference);
        // The least of three, as of the windows of steps.
        let again = |_| {
            let before = dhat::HeapStats::get().total_blocks;
            (0..3).for_each(|_| round(&mut inference));
            dhat::HeapStats::get().total_blocks - before
        };
        (0..3).map(again).min().unwrap()
    });
    assert!(scores.iter().all(|s| s.is_finite() && *s > 0.0));
    count
}

// One test, so that nothing else allocates meanwhile.
#[test]
fn steps_and_inference_allocate_nothing_after_the_first() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for threads in [1, 2, 3] {
        assert_eq!(allocated(threads, |_| {}), 0, "plain, {threads} threads");
        let all = |c: &mut TrainConfig| {
            c.clip = Some(1.0);
            c.free_bits = Some(FreeBits { lambda: 0.1, group: 1 });
            c.binarize = Binarize::Dynamic;
        };
        // 50 steps to an epoch, read in groups of 10.
        assert_eq!(allocated_on(streamed(), threads, |_| {}), 0, "streamed, {threads} threads");
        assert_eq!(allocated(threads, all), 0, "clipping, free bits, binarization, {threads} threads");
    }
    let gated = |c: &mut TrainConfig| *c = TrainConfig::preset("gated-300", 784).unwrap();
    assert_eq!(allocated(2, gated), 0, "gated");
    for penalty in ["tc:2", "mmd:2"] {
        assert_eq!(allocated(2, |c| c.penalty = Some(penalty.parse().unwrap())), 0, "{penalty}");
    }
    assert_eq!(allocated(2, |c| c.precision = Precision::Bf16), 0, "bf16");
    assert_eq!(allocated(2, |c| c.vae.norm = Norm::Batch), 0, "batch norm");
    for posterior in ["full", "planar:2", "iaf:2"] {
        assert_eq!(allocated(2, |c| c.vae.posterior = posterior.parse().unwrap()), 0, "{posterior}");
    }
    for posterior in ["full", "planar:2", "iaf:2"] {
        let sticking = |c: &mut TrainConfig| {
            (c.vae.posterior, c.gradient) = (posterior.parse().unwrap(), "stl".parse().unwrap());
        };
        assert_eq!(allocated(2, sticking), 0, "{posterior}, sticking the landing");
    }
    for lower in ["hvae:9x30,5x20", "ladder:9x30,5x20"] {
        assert_eq!(allocated(2, |c| c.vae.lower = lower.parse().unwrap()), 0, "{lower}");
    }
    // One with a learned number, and one of 8-bit values.
    for name in ["laplace-learned", "discretized-logistic"] {
        let likelihood = name.parse::<LikelihoodKind>().unwrap();
        assert_eq!(allocated(2, |c| c.vae.likelihood = likelihood), 0, "{name}");
    }
    for (threads, rows) in [(1, 1), (1, 1000), (2, 1), (2, 1000), (3, 1000)] {
        assert_eq!(allocated_by_inference(threads, rows), 0, "inference, {rows} rows, {threads} threads");
    }
}
