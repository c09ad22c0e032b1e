//! A training step allocates nothing after the first. A test binary of its own, for its counting allocator.

use elbo::data::{Binarize, Dataset, Memory, load_within};
use elbo::estimator::FreeBits;
use elbo::tensor::{Exec, Precision};
use elbo::train::{Flow, Observer, StepReport, TrainConfig, Trainer};
use ndarray::Array2;
use std::io::Write;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Counts the blocks allocated, by any thread, from the end of the first step to the end of the last.
struct Count {
    first: Option<u64>,
    last: u64,
    stop: u64,
}

impl Observer for Count {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> elbo::Result<Flow> {
        self.last = dhat::HeapStats::get().total_blocks;
        self.first.get_or_insert(self.last);
        Ok(if report.step == self.stop { Flow::Stop } else { Flow::Continue })
    }
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
    let mut trainer = Trainer::new(config, data, Exec::new(threads).unwrap()).unwrap();
    let mut count = Count { first: None, last: 0, stop: 40 };
    trainer.run(&mut count).unwrap();
    count.last - count.first.unwrap()
}

// One test, so that nothing else allocates meanwhile.
#[test]
fn a_step_allocates_nothing_after_the_first() {
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
    assert_eq!(allocated(2, |c| c.precision = Precision::Bf16), 0, "bf16");
}
