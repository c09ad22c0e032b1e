//! The folder of a run: its configuration, record, model, checkpoint and pictures.
//!
//! | file | what | when |
//! |---|---|---|
//! | `config.toml` | every setting, in full | at the start |
//! | `metrics.jsonl` | a [`MetricsLine`] | after each epoch |
//! | `model.safetensors` | the [`SavedModel`]: the best on the validation split, or the last where there is none | with the checkpoint |
//! | `checkpoint` | all that is needed to resume | at the start, after the first epoch, then after epochs as often as takes a twentieth of the time, when interrupted, and at the end |
//! | `loss.svg`, `samples.png`, `reconstructions.png` | pictures | at the end |
//!
//! Each is replaced as a whole or not at all. The model is written before the checkpoint, and a line of the record before
//! both, so that whatever is cut off, the checkpoint never knows of something that is not on the disk. A new folder appears
//! with its configuration and checkpoint in it, and one program at a time trains there.
//!
//! What cannot be written ends the run with an error, and it can be resumed from its last checkpoint; but for pictures,
//! which are drawn when all else is done.

use super::checkpoint::{self, CHECKPOINT_FILE, Checkpoint, FREE};
use super::place::{Place, lock};
use super::saved::Encoded;
use super::{
    EpochReport, Flow, METRICS_FILE, MODEL_FILE, MetricsLine, ModelInfo, Observer, SavedModel, Selected, Settings,
    Start, StepReport, Trainer, WARNING, pictures,
};
use crate::data::{Dataset, Memory};
use crate::error::{Error, ErrorKind, Result};
use crate::files::atomic;
use crate::tensor::Exec;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The configuration's file in a run folder.
pub const CONFIG_FILE: &str = "config.toml";

/// Checkpoints, but for those that an event asks for, may take one part in so many of the time.
const SHARE: u32 = 20;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// The validation objective has not improved for as long as patience allows.
    OutOfPatience,
    /// It was told to stop; it can be [resumed](RunFolder::resume).
    Interrupted,
}

/// A run's folder.
///
/// ```
/// use elbo::train::{Place, RunFolder, Settings, Trainer};
/// use elbo::{data::load, tensor::Exec};
/// # let scratch = tempfile::tempdir().unwrap();
/// # let out = scratch.path().join("g");
/// let settings = Settings { data: Some("gaussian-2d".into()), epochs: Some(2), ..Settings::default() };
/// let data = settings.load_data()?;
/// let (config, _warnings) = settings.resolve(&data)?;
/// let mut trainer = Trainer::new(config, data, Exec::sequential()?)?;
/// let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "gaussian-2d")?;
/// run.train(&mut trainer, &mut (), &false.into())?;
/// let model = elbo::train::SavedModel::load(&out)?;
/// assert_eq!(model.info.epoch, 2);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The settings of the run, in full.
    settings: Settings,
    /// The digest of the model that it started from, if it did.
    start: Option<String>,
    data_digest: String,
    /// The best model since the last one was written.
    best: Option<Encoded>,
    written: Instant,
    /// What writing it took.
    cost: Duration,
    /// Epochs that the last checkpoint has behind it.
    kept: u64,
}

impl RunFolder {
    /// Makes the folder of a run that is about to start, with its configuration and a first checkpoint. `source` is the
    /// data's name or path, from which they can be loaded again.
    ///
    /// # Errors
    /// A folder that exists, or cannot be made or written to.
    pub fn create(place: &Place, trainer: &Trainer, source: &str) -> Result<RunFolder> {
        Self::make(place, trainer, source, None)
    }

    /// The same of a run that starts from a trained model.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_from(place: &Place, trainer: &Trainer, source: &str, start: &Start) -> Result<RunFolder> {
        Self::make(place, trainer, source, Some(start))
    }

    fn make(place: &Place, trainer: &Trainer, source: &str, start: Option<&Start>) -> Result<RunFolder> {
        let settings = Settings::from_config(trainer.config(), trainer.data());
        let from = start.map(|start| start.source().to_owned());
        let settings = Settings { data: Some(source.to_owned()), from, ..settings };
        let data_digest = checkpoint::data_digest(trainer.data())?;
        let mut run = RunFolder {
            path: PathBuf::new(),
            settings,
            start: start.map(|start| start.model().digest()),
            data_digest,
            best: None,
            written: Instant::now(),
            cost: Duration::ZERO,
            kept: 0,
        };
        let name = format!("{}-{}", trainer.data().name(), trainer.config().vae.preset);
        run.path = place.make(&name, |folder| {
            run.path = folder.to_owned();
            run.write_config()?;
            run.write_checkpoint(trainer)
        })?;
        Ok(run)
    }

    /// Opens the folder of a run that was interrupted, and puts a trainer where it stood; training goes on to the same
    /// bytes as if it had never stopped. `changes` may set `epochs` and `patience`, and where the `data` lie now; they may
    /// take as much `memory`, and are streamed beyond it. Returns what there is to say about the settings too, as [`Settings::resolve`].
    ///
    /// A run in bf16 goes on in f32, with a warning and to other bytes, where the processor has no products of bf16.
    ///
    /// A rate or weight that follows the number of epochs (a cosine, cycles) follows the new one from here on.
    ///
    /// # Errors
    /// A folder without a run, files that are damaged, other data, and changes that would make another run.
    pub fn resume(
        path: impl AsRef<Path>,
        changes: &Settings,
        memory: Memory,
        ex: Exec,
    ) -> Result<(RunFolder, Trainer, Vec<String>)> {
        let settings = Self::changed_settings(path.as_ref(), changes)?;
        let data = settings.load_data_within(memory)?;
        Self::restore(path.as_ref(), settings, data, ex)
    }

    /// As [`resume`](Self::resume), with the data given. Their validation split is set aside as it was, if they have none of that
    /// size yet.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_with(
        path: impl AsRef<Path>,
        changes: &Settings,
        data: Dataset,
        ex: Exec,
    ) -> Result<(RunFolder, Trainer, Vec<String>)> {
        let settings = Self::changed_settings(path.as_ref(), changes)?;
        let data = settings.split(data)?;
        Self::restore(path.as_ref(), settings, data, ex)
    }

    fn changed_settings(path: &Path, changes: &Settings) -> Result<Settings> {
        if !path.join(CONFIG_FILE).is_file() {
            let error = Error::input(format!("there is no run here: {CONFIG_FILE} is missing"));
            return Err(error
                .at(path.display().to_string())
                .hint("give the folder of a run, such as runs/mnist-mlp-400"));
        }
        let settings = Settings::load(path.join(CONFIG_FILE))?;
        let (old, new) = (settings.to_json(), changes.to_json());
        let changed = |key: &&String| !FREE.contains(&key.as_str()) && old.get(*key) != new.get(*key);
        if let Some(key) = new.keys().find(changed) {
            let was = old.get(key).map_or("not set".to_owned(), ToString::to_string);
            return Err(Error::input(format!(
                "{key} cannot change when a run is resumed: it is {was}, not {}",
                new[key]
            ))
            .at(path.display().to_string())
            .hint("a resumed run can change its epochs and its patience alone; start another run for the rest"));
        }
        Ok(settings.merge(changes.clone()))
    }

    fn restore(path: &Path, settings: Settings, data: Dataset, ex: Exec) -> Result<(RunFolder, Trainer, Vec<String>)> {
        let at_config = |e: Error| e.within(path.join(CONFIG_FILE).display().to_string());
        let (mut config, mut warnings) = settings.resolve(&data).map_err(at_config)?;
        let _alone = lock(path)?;
        let file = path.join(CHECKPOINT_FILE);
        let at_checkpoint = |e: Error| e.within(file.display().to_string());
        let checkpoint = Checkpoint::read(&file)?;
        let data_digest = checkpoint::data_digest(&data)?;
        let start = checkpoint.start().map(str::to_owned);
        let resolved = Settings { data: settings.data, from: start.clone(), ..Settings::from_config(&config, &data) };
        checkpoint.check(&resolved, &data_digest).map_err(at_checkpoint)?;
        let begun = checkpoint.epoch().saturating_add(u64::from(checkpoint.batch() > 0));
        if config.epochs < begun {
            let what = format!("{} epochs asked for, and epoch {begun} has begun", config.epochs);
            return Err(Error::input(what).at(path.display().to_string()).hint("ask for more epochs"));
        }
        warnings.extend(config.fit_precision(ex.isa()).map(|why| format!("{WARNING}{why}")));
        let resolved = Settings { precision: Some(config.precision.to_string()), ..resolved };
        let mut trainer = Trainer::blank(config, data, ex)?;
        checkpoint.restore(&mut trainer).map_err(at_checkpoint)?;
        let run = RunFolder {
            path: path.to_owned(),
            settings: Settings { from: settings.from, ..resolved },
            start,
            data_digest,
            best: None,
            written: Instant::now(),
            cost: Duration::ZERO,
            kept: checkpoint.epoch(),
        };
        run.rewind(checkpoint.epoch())?;
        atomic::remove_leftovers(path)?;
        run.write_config()?;
        Ok((run, trainer, warnings))
    }

    /// Takes the record back to where the checkpoint stands.
    fn rewind(&self, epochs: u64) -> Result<()> {
        let record = self.file(METRICS_FILE);
        let lines = atomic::truncate_lines(&record, epochs as usize)?;
        if lines as u64 == epochs {
            return Ok(());
        }
        Err(Error::input(format!("the record has {lines} lines, and the checkpoint stands after epoch {epochs}"))
            .at(record.display().to_string())
            .hint("restore the file, or start another run"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The settings of the run, in full.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// The command that goes on with the run.
    pub fn resume_command(&self) -> String {
        let path = self.path.display().to_string();
        let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c));
        if plain { format!("elbo train --resume {path}") } else { format!("elbo train --resume '{path}'") }
    }

    /// [Trains](Self::fit), and [draws](Self::draw) when the run is done.
    ///
    /// # Errors
    /// Those of both.
    pub fn train(&mut self, trainer: &mut Trainer, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let outcome = self.fit(trainer, observer, stop)?;
        if outcome != Outcome::Interrupted {
            self.draw(trainer)?;
        }
        Ok(outcome)
    }

    /// Trains to the end, or until `stop` is set (the batch under way is finished, an evaluation is left for later) or
    /// the observer says stop, and keeps the record, the model and the checkpoint on the way. `observer` sees every step
    /// and epoch too.
    ///
    /// # Errors
    /// As [`Trainer::run`]; files that cannot be written, and a folder in which another program trains. The last good
    /// checkpoint stays.
    pub fn fit(&mut self, trainer: &mut Trainer, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let _alone = lock(&self.path)?;
        let ran = trainer.run(&mut Recorder { run: self, observer, stop });
        ran.and_then(|()| self.save(trainer)).or_else(|error| self.keep_best(error))?;
        Ok(match trainer.state().epoch >= trainer.config().epochs {
            true => Outcome::Finished,
            false if trainer.out_of_patience() => Outcome::OutOfPatience,
            false => Outcome::Interrupted,
        })
    }

    /// Draws the pictures of the model that was kept: the loss by epoch, samples, reconstructions.
    ///
    /// # Errors
    /// A model or a record that cannot be read, rows of streamed data likewise, and a picture that cannot be written.
    pub fn draw(&self, trainer: &Trainer) -> Result<()> {
        let model = SavedModel::load(&self.path)?;
        pictures::draw(&self.path, &model, trainer.data(), trainer.exec())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The settings as they stand in files that know no paths.
    fn placeless(&self) -> Settings {
        Settings { from: self.start.clone(), ..self.settings.clone() }
    }

    fn write_config(&self) -> Result<()> {
        let mut text = format!("# Every setting of this run; `elbo train --config {CONFIG_FILE}` repeats it.\n");
        if let Some(digest) = &self.start {
            text += &format!("# The model that it started from had the digest {digest}.\n");
        }
        text += &self.settings.to_toml();
        atomic::write(self.file(CONFIG_FILE), |w| w.write_all(text.as_bytes()))
    }

    /// After a failure: the best model so far is good whatever came after it, and the last checkpoint is there.
    fn keep_best(&mut self, error: Error) -> Result<()> {
        let kept = format!("the last good checkpoint, after epoch {}, is kept in {}", self.kept, self.path.display());
        match error.kind() {
            ErrorKind::Diverged => {
                self.write_best()?;
                let config = self.file(CONFIG_FILE);
                Err(error.and_hint(format!(
                    "{kept}; for other settings start a new run: elbo train --config {} …",
                    config.display()
                )))
            }
            ErrorKind::Io => Err(error.and_hint(format!("{kept}; go on with it: {}", self.resume_command()))),
            ErrorKind::Input => Err(error),
        }
    }

    /// Notes an epoch: its line, and the model if it is the best so far.
    fn record(&mut self, trainer: &Trainer, report: &EpochReport) -> Result<()> {
        atomic::append_line(self.file(METRICS_FILE), &MetricsLine::from(report).to_json())?;
        if report.validation.is_some() && report.improved {
            self.best = Some(self.encode(trainer, Selected::BestValidation)?);
        }
        if trainer.state().epoch == 1 || self.written.elapsed() >= self.cost * SHARE {
            self.save(trainer)?;
        }
        Ok(())
    }

    /// Writes the model, then the checkpoint.
    fn save(&mut self, trainer: &Trainer) -> Result<()> {
        if trainer.state().best.is_none() {
            self.best = Some(self.encode(trainer, Selected::Last)?);
        }
        self.write_best()?;
        if let Some(name) = trainer.bad_parameter() {
            let what = format!("step {}: parameter {name} is not finite", trainer.state().step);
            return Err(Error::diverged(what).hint("lower --learning-rate"));
        }
        self.write_checkpoint(trainer)
    }

    fn encode(&self, trainer: &Trainer, selected: Selected) -> Result<Encoded> {
        let info = ModelInfo::new(&self.placeless(), trainer.data(), trainer.state(), selected);
        Encoded::new(&trainer.trained(), trainer.model(), &info)
    }

    fn write_best(&mut self) -> Result<()> {
        if let Some(best) = &self.best {
            best.write(&self.file(MODEL_FILE))?;
        }
        self.best = None;
        Ok(())
    }

    fn write_checkpoint(&mut self, trainer: &Trainer) -> Result<()> {
        let start = Instant::now();
        checkpoint::write(&self.file(CHECKPOINT_FILE), trainer, &self.placeless(), &self.data_digest)?;
        (self.written, self.cost, self.kept) = (Instant::now(), start.elapsed(), trainer.state().epoch);
        Ok(())
    }
}

/// Keeps a run's folder while it trains.
struct Recorder<'a> {
    run: &'a mut RunFolder,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
}

impl Recorder<'_> {
    fn flow(&self, flow: Flow) -> Flow {
        if self.stop.load(Ordering::Relaxed) { Flow::Stop } else { flow }
    }
}

impl Observer for Recorder<'_> {
    fn step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow> {
        let flow = self.observer.step(trainer, report)?;
        Ok(self.flow(flow))
    }
    fn epoch(&mut self, trainer: &Trainer, report: &EpochReport) -> Result<Flow> {
        self.run.record(trainer, report)?;
        let flow = self.observer.epoch(trainer, report)?;
        Ok(self.flow(flow))
    }
    fn stop(&self) -> Option<&AtomicBool> {
        Some(self.stop)
    }
}
