//! Training: the loop, what it reports, and where a run is kept.

mod config;
mod diagnose;
mod evaluate;
mod trainer;

pub use config::TrainConfig;
pub use evaluate::{Evaluation, Metrics, evaluate};
pub use trainer::{EpochReport, Flow, Observer, State, StepReport, Trainer};
