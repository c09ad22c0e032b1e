//! All that a run needs to go on as if it had never stopped: the file `checkpoint`.
//!
//! The format is described in [`format`](crate::files::format). Equal runs write equal bytes: the file has no times,
//! threads, hosts or paths.

use super::saved::{check_tensors, expect_kind, pack, unpack_into};
use super::{Settings, State, Trainer, statistics};
use crate::data::{Dataset, View};
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::files::tensors::{self, Element, Tensor, TensorFile};
use crate::model::Stats;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The checkpoint's file in a run folder.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// Settings that may change from one part of a run to the next: where the data lie, and when to stop.
pub(super) const FREE: [&str; 3] = ["data", "epochs", "patience"];
/// Settings that are fitted to the number of epochs, and so may change with it.
const FITTED: [&str; 4] = ["warmup-epochs", "cycle-epochs", "capacity-epochs", "schedule"];

const KIND: &str = "checkpoint";
const PARAMS: &str = "params.";
const AVERAGE: &str = "average.";
const STATISTICS: &str = "statistics.";
const AVERAGE_STATISTICS: &str = "average_statistics.";
const RECONSTRUCTION: &str = "sums.reconstruction";
const KL: &str = "sums.kl";
const OBJECTIVE: &str = "sums.objective";
const BOUND: &str = "sums.bound";
const PENALTY: &str = "sums.penalty";
const BEST: &str = "best.objective";
/// What an exemplar prior finds the nearest rows by, (N, L).
const REMEMBERED: &str = "exemplars.remembered";

/// Metadata, as it is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    kind: String,
    data: String,
    settings: Settings,
    epoch: u64,
    step: u64,
    batch: u64,
    rows: u64,
    optimizer_steps: u64,
    best_epoch: Option<u64>,
}

/// SHA-256 of the values of a data set, their shape, their condition, and which rows each split has.
///
/// # Errors
/// Streamed rows that cannot be read.
pub(super) fn data_digest(data: &Dataset) -> Result<String> {
    let mut hash = Sha256::new();
    let number = |hash: &mut Sha256, n: usize| hash.update((n as u64).to_le_bytes());
    let rows = data.all().rows();
    number(&mut hash, rows.len());
    number(&mut hash, rows.cols());
    hash.update(rows.scale().to_le_bytes());
    rows.each_bytes(|bytes| hash.update(bytes))?;
    if let Some(condition) = data.condition() {
        hash.update(json!(condition).to_string());
        data.all().condition_codes().iter().for_each(|code| hash.update(code.to_le_bytes()));
    }
    for split in [Some(data.train()), data.validation(), data.test()] {
        number(&mut hash, split.map_or(0, View::len));
        for position in 0..split.map_or(0, View::len) {
            number(&mut hash, split.map_or(0, |view| view.id(position)));
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes where a run stands. `settings` are the run's in full, `data` is its [`data_digest`].
pub(super) fn write(path: &Path, trainer: &Trainer, settings: &Settings, data: &str) -> Result<()> {
    let (layout, state, optimizer) = (trainer.vae().layout(), trainer.state(), trainer.optimizer());
    let metadata = Metadata {
        kind: KIND.to_owned(),
        data: data.to_owned(),
        settings: Settings { data: Some(trainer.data().name().to_owned()), ..settings.clone() },
        epoch: state.epoch,
        step: state.step,
        batch: state.batch,
        rows: state.sums.rows,
        optimizer_steps: optimizer.steps(),
        best_epoch: state.best.map(|(_, epoch)| epoch),
    };
    let mut all = pack(layout, trainer.params().values(), PARAMS);
    all.extend(statistics::pack(layout, trainer.params().statistics(), STATISTICS));
    for (name, slab) in optimizer.state() {
        all.extend(pack(layout, slab, &format!("{name}.")));
    }
    if let Some(average) = trainer.average() {
        all.extend(pack(layout, average.values(), AVERAGE));
        all.extend(statistics::pack(layout, average.statistics(), AVERAGE_STATISTICS));
    }
    all.push(Tensor::new(RECONSTRUCTION, &[1], vec![state.sums.reconstruction]));
    all.push(Tensor::new(KL, &[state.sums.kl.len()], state.sums.kl.clone()));
    let sums = &state.sums;
    for (name, sum) in [(OBJECTIVE, sums.objective), (BOUND, sums.bound), (PENALTY, sums.penalty)] {
        all.extend(sum.map(|sum| Tensor::new(name, &[1], vec![sum])));
    }
    if let Some((objective, _)) = state.best {
        all.push(Tensor::new(BEST, &[1], vec![objective]));
    }
    if let Some(means) = trainer.remembered() {
        let values: Vec<f32> = (0..means.rows()).flat_map(|r| means.row(r)).copied().collect();
        all.push(Tensor::new(REMEMBERED, &[means.rows(), means.cols()], values));
    }
    tensors::write(path, &json!(metadata), &all)
}

/// A checkpoint that has been read, and not yet been looked at for whether it fits.
pub(super) struct Checkpoint {
    file: TensorFile,
    metadata: Metadata,
}

impl Checkpoint {
    /// # Errors
    /// A file that is missing, damaged, or not a checkpoint.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let parse = || {
            expect_kind(&file, KIND)?;
            let damaged = |e: serde_json::Error| Error::input(format!("the checkpoint's metadata are damaged: {e}"));
            serde_json::from_value(file.metadata.clone()).map_err(damaged)
        };
        let metadata = parse().map_err(|e| e.at(path.display().to_string()))?;
        Ok(Checkpoint { file, metadata })
    }
    /// Epochs finished.
    pub(super) fn epoch(&self) -> u64 {
        self.metadata.epoch
    }
    /// The digest of the model that the run started from, if it did.
    pub(super) fn start(&self) -> Option<&str> {
        self.metadata.settings.from.as_deref()
    }
    /// Steps taken in the epoch under way.
    pub(super) fn batch(&self) -> u64 {
        self.metadata.batch
    }

    /// Whether a run with these settings and data is the one that the checkpoint is of.
    ///
    /// # Errors
    /// The first setting that differs, with both values; other data.
    pub(super) fn check(&self, settings: &Settings, data: &str) -> Result<()> {
        let (old, new) = (self.metadata.settings.to_json(), settings.to_json());
        let same_length = old.get("epochs") == new.get("epochs");
        for key in Settings::keys().iter().map(String::as_str) {
            // A run in bf16 may have to go on in f32, which its configuration then says before its next checkpoint does.
            let fallen = key == "precision" && new.get(key).and_then(Value::as_str) == Some("f32");
            let free = FREE.contains(&key) || (!same_length && FITTED.contains(&key)) || fallen;
            if !free && old.get(key) != new.get(key) {
                let show = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
                let what = format!(
                    "{key} is {}, and was {} when the checkpoint was written",
                    show(new.get(key)),
                    show(old.get(key))
                );
                let hint = "a resumed run can change its epochs and its patience alone; start another run for the rest";
                return Err(Error::input(what).hint(hint));
            }
        }
        if self.metadata.data != data {
            let name = self.metadata.settings.data.as_deref().unwrap_or("the data");
            return Err(Error::input(format!("the data are not those that the run was started with ({name})"))
                .hint("resume with the same file, unchanged; a digest of rows and splits tells them apart"));
        }
        Ok(())
    }

    /// Puts a trainer where the checkpoint stands.
    ///
    /// # Errors
    /// Tensors that are missing or do not fit the network, counters that do not fit the run.
    pub(super) fn restore(&self, trainer: &mut Trainer) -> Result<()> {
        let (layout, m, file) = (trainer.vae().layout().clone(), &self.metadata, &self.file);
        self.check_names(trainer)?;
        let reconstruction = file.get::<f64>(RECONSTRUCTION, &[1])?[0];
        let kl = file.get::<f64>(KL, &[trainer.vae().kl_parts()])?.to_vec();
        let sum = |name: &str| match self.has_sum(name, trainer) {
            true => Ok(Some(file.get::<f64>(name, &[1])?[0])),
            false => Ok(None),
        };
        let (objective, bound, penalty) = (sum(OBJECTIVE)?, sum(BOUND)?, sum(PENALTY)?);
        let best = match m.best_epoch {
            Some(epoch) => Some((file.get::<f64>(BEST, &[1])?[0], epoch)),
            None => None,
        };
        let state = State {
            epoch: m.epoch,
            step: m.step,
            batch: m.batch,
            sums: Stats { rows: m.rows, reconstruction, kl, penalty, objective, bound },
            best,
        };
        check_tensors(&layout, file, PARAMS)?;
        statistics::check(&layout, file, STATISTICS)?;
        if trainer.average().is_some() {
            check_tensors(&layout, file, AVERAGE)?;
            statistics::check(&layout, file, AVERAGE_STATISTICS)?;
        }
        trainer.restore_statistics(|params, average| {
            statistics::unpack(&layout, file, STATISTICS, params)?;
            average.map_or(Ok(()), |average| statistics::unpack(&layout, file, AVERAGE_STATISTICS, average))
        })?;
        trainer.restore_average(|average| unpack_into(&layout, file, AVERAGE, average))?;
        if let Some(shape) = trainer.remembered().map(|means| (means.rows(), means.cols())) {
            let means = file.get::<f32>(REMEMBERED, &[shape.0, shape.1])?;
            if let Some(at) = means.iter().position(|x| !x.is_finite()) {
                return Err(Error::input(format!("tensor {REMEMBERED} holds a value that is not finite, at {at}")));
            }
            let wrong = |e: ndarray::ShapeError| Error::input(format!("tensor {REMEMBERED}: {e}"));
            trainer.restore_remembered(ndarray::ArrayView2::from_shape(shape, means).map_err(wrong)?);
        }
        trainer.restore(state, |params, optimizer| {
            unpack_into(&layout, file, PARAMS, params)?;
            optimizer.restore(m.optimizer_steps, |name, slab| unpack_into(&layout, file, &format!("{name}."), slab))
        })
    }

    /// Whether the epoch under way has sums of an objective of that name.
    fn has_sum(&self, name: &str, trainer: &Trainer) -> bool {
        let estimator: &dyn Estimator<f32> = &trainer.config().estimator();
        self.metadata.rows > 0
            && match name {
                PENALTY => trainer.config().penalty.is_some(),
                OBJECTIVE => estimator.sampled(),
                _ => estimator.sampled() && !estimator.is_elbo(),
            }
    }

    /// Every tensor has a place to go to.
    fn check_names(&self, trainer: &Trainer) -> Result<()> {
        let mut parts: Vec<&str> =
            trainer.optimizer().state().iter().map(|(name, _)| *name).chain(["params"]).collect();
        parts.extend(trainer.average().map(|_| "average"));
        let layout = trainer.vae().layout();
        let known = |name: &str| match name {
            RECONSTRUCTION | KL => true,
            OBJECTIVE | BOUND | PENALTY => self.has_sum(name, trainer),
            BEST => self.metadata.best_epoch.is_some(),
            REMEMBERED => trainer.remembered().is_some(),
            _ if name.starts_with(STATISTICS) => statistics::has(layout, &name[STATISTICS.len()..]),
            _ if name.starts_with(AVERAGE_STATISTICS) => {
                trainer.average().is_some() && statistics::has(layout, &name[AVERAGE_STATISTICS.len()..])
            }
            _ => name.split_once('.').is_some_and(|(part, rest)| parts.contains(&part) && layout.find(rest).is_some()),
        };
        match self.file.tensors.iter().find(|t| !known(&t.name)) {
            Some(t) => Err(Error::input(format!("tensor {} is no part of the run that the metadata describe", t.name))),
            None => Ok(()),
        }
    }
}

/// What a checkpoint says of itself, without the data that it belongs to.
#[derive(Clone, PartialEq, Debug)]
pub struct CheckpointInfo {
    /// Every setting of the run; `data` is the set's name.
    pub settings: Settings,
    /// Epochs finished.
    pub epoch: u64,
    /// Steps taken.
    pub step: u64,
    /// Steps taken in the epoch under way.
    pub batch: u64,
    /// The number of parameters.
    pub parameters: usize,
    /// SHA-256 of the parameters, as [`SavedModel::digest`](super::SavedModel::digest).
    pub digest: String,
}

impl CheckpointInfo {
    /// Reads a file that is a checkpoint; `None` of any other path.
    ///
    /// # Errors
    /// A file that is neither model nor checkpoint, or damaged.
    pub fn find(path: impl AsRef<Path>) -> Result<Option<CheckpointInfo>> {
        let path = path.as_ref();
        if path.is_dir() || TensorFile::read(path)?.metadata["kind"] != KIND {
            return Ok(None);
        }
        let Checkpoint { file, metadata: m } = Checkpoint::read(path)?;
        let of = |prefix: &'static str| {
            let tensors = file.tensors.iter().filter(move |t: &&Tensor<'_>| t.name.starts_with(prefix));
            tensors.filter_map(|t| Element::of(&t.values))
        };
        let params: Vec<&[f32]> = of(PARAMS).collect();
        Ok(Some(CheckpointInfo {
            settings: m.settings,
            epoch: m.epoch,
            step: m.step,
            batch: m.batch,
            parameters: params.iter().map(|p| p.len()).sum(),
            digest: tensors::digest(params.into_iter().chain(of(STATISTICS))),
        }))
    }
}
