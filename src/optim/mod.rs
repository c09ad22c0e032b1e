//! Optimizers, learning-rate schedules and gradient clipping. They know slabs of numbers, and nothing of layers.

mod average;
mod clip;
mod config;
mod optimizer;
mod schedule;

pub use average::{average_decay, average_into};
pub use clip::{clip_global_norm, global_norm, normalize_each};
pub use config::{OptimizerConfig, OptimizerKind};
pub use optimizer::Optimizer;
pub use schedule::Schedule;

/// Elements that one thread takes at a time: enough to outweigh handing them over, few enough to stay in cache.
const CHUNK: usize = 1 << 14;

/// Where a range of `len` elements is cut in two: after half of its chunks. It depends on the length alone, so sums over
/// such cuts have the same bits on any number of threads.
fn middle(len: usize) -> usize {
    len.div_ceil(CHUNK) / 2 * CHUNK
}
