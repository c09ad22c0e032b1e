//! Training: the loop, what it reports, and where a run is kept.
//!
//! [`Trainer`] is the loop. With the feature `files` there are also [`Settings`], a configuration as a person writes it,
//! [`SavedModel`], a trained model in a file, [`Start`], one that a run goes on from, and [`RunFolder`], which records a run, saves it
//! and resumes it.

#[cfg(feature = "files")]
mod checkpoint;
mod collapse;
mod config;
mod diagnose;
mod evaluate;
mod exemplars;
#[cfg(feature = "files")]
mod info;
#[cfg(feature = "files")]
mod metrics;
mod observe;
mod output_bias;
#[cfg(feature = "files")]
mod pictures;
#[cfg(feature = "files")]
mod place;
mod placement;
#[cfg(feature = "files")]
mod resolve;
#[cfg(feature = "files")]
mod run;
#[cfg(feature = "files")]
mod saved;
#[cfg(feature = "files")]
mod settings;
#[cfg(feature = "files")]
mod start;
#[cfg(feature = "files")]
mod statistics;
mod trainer;

#[cfg(feature = "files")]
pub use checkpoint::{CHECKPOINT_FILE, CheckpointInfo};
pub use collapse::Collapse;
pub use config::{Capacity, TrainConfig, check_data};
pub use evaluate::{Evaluation, Metrics, active_units, evaluate, evaluate_objective, filler};
#[cfg(feature = "files")]
pub use info::{DataInfo, ModelInfo, Selected};
#[cfg(feature = "files")]
pub use metrics::{METRICS_FILE, MetricsLine, MetricsTerms};
pub use observe::{EpochReport, Flow, KeepBest, Observer, StepReport};
pub use output_bias::OutputBias;
#[cfg(feature = "files")]
pub use place::{LIKELIHOOD_FILE, Place};
#[cfg(feature = "files")]
pub use resolve::WARNING;
#[cfg(feature = "files")]
pub use run::{CONFIG_FILE, Outcome, RunFolder};
#[cfg(feature = "files")]
pub(crate) use saved::check_mask;
#[cfg(feature = "files")]
pub use saved::{MODEL_FILE, SavedModel, digest};
#[cfg(feature = "files")]
pub use settings::Settings;
#[cfg(feature = "files")]
pub use start::Start;
#[cfg(feature = "files")]
pub(crate) use statistics::expect_variance;
pub use trainer::{State, Trainer};
