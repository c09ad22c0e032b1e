//! Models: where networks, densities and an estimator meet.

mod block;
mod condition;
mod config;
mod corrupt;
mod coupled;
mod dropout;
mod exemplar;
mod flow_prior;
mod importance;
mod infer;
mod latent;
mod nearest;
mod operands;
mod posterior;
mod prior;
mod stats;
mod step;
mod table;
mod threads;
mod vae;

pub use block::Block;
pub use condition::join;
pub use config::{Heads, Hidden, Norm, PRESETS, Preset, VaeConfig};
pub use corrupt::Corruption;
pub use exemplar::ExemplarRows;
pub use flow_prior::{FlowPrior, FlowSampler};
pub use infer::{Inference, Score};
pub use posterior::ModelPosterior;
pub use prior::{MixturePrior, PriorSampler};
pub use stats::Stats;
pub use step::{Draw, Workspace};
use step::{load, split};
pub use table::PriorTable;
pub use threads::threads_used;
pub(crate) use vae::DATA;
pub use vae::Vae;
