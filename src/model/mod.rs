//! Models: where networks, densities and an estimator meet.

mod block;
mod config;
mod corrupt;
mod coupled;
mod exemplar;
mod importance;
mod infer;
mod latent;
mod nearest;
mod operands;
mod prior;
mod stats;
mod step;
mod table;
mod threads;
mod vae;

pub use block::Block;
pub use config::{Heads, Hidden, Norm, PRESETS, Preset, VaeConfig};
pub use corrupt::Corruption;
pub use exemplar::ExemplarRows;
pub use infer::{Inference, Score};
pub use prior::{MixturePrior, PriorSampler};
pub use stats::Stats;
pub use step::{Draw, Workspace};
use step::{load, split};
pub use table::PriorTable;
pub use threads::threads_used;
pub(crate) use vae::DATA;
pub use vae::Vae;
