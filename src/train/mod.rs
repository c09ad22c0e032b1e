//! Training: the loop, what it reports, and where a run is kept.

mod config;
mod diagnose;
mod evaluate;
mod trainer;

pub use config::{TrainConfig, check_data};
pub use evaluate::{Evaluation, Metrics, active_units, evaluate, filler};
pub use trainer::{EpochReport, Flow, Observer, State, StepReport, Trainer};
