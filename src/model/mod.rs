//! Models: where networks, densities and an estimator meet.

mod block;
mod config;
mod corrupt;
mod coupled;
mod dropout;
mod flow_prior;
mod importance;
mod infer;
mod latent;
mod operands;
mod prior;
mod stacked_prior;
mod stats;
mod step;
mod threads;
mod vae;

pub use block::Block;
pub use config::{Heads, Hidden, Norm, PRESETS, Preset, VaeConfig};
pub use corrupt::Corruption;
pub use flow_prior::{FlowPrior, FlowSampler};
pub use infer::{Inference, Score};
pub use prior::{MixturePrior, PriorSampler};
pub use stacked_prior::{LevelCache, StackedPrior, StackedSampler};
pub use stats::Stats;
use step::split;
pub use step::{Draw, Workspace};
pub use threads::threads_used;
pub(crate) use vae::DATA;
pub use vae::Vae;
