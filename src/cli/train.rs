//! `elbo train`: a run, from its data to its folder.

use super::console::{Console, complain, count};
use super::model::{describe, describe_network};
use super::network::Network;
use super::progress::Progress;
use super::signals::{self, Signals};
use super::{Common, End, MemoryArgs};
use crate::data::KNOWN;
use crate::error::{Error, Result};
use crate::train::{
    CONFIG_FILE, METRICS_FILE, MODEL_FILE, MetricsLine, Outcome, Place, RunFolder, SavedModel, Selected, Settings,
    Start, Trainer, WARNING,
};
use std::path::{Path, PathBuf};

/// Train a model and keep it in a run folder
#[derive(clap::Args, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  elbo train mnist                                      the digits inside the program
  elbo train fashion-mnist --preset mlp-400 --epochs 10 --out runs/f
  elbo train images-idx3-ubyte.gz --hidden 512,256 --latent 20 --likelihood bernoulli
  elbo train table.csv --likelihood gaussian --validation 0.1 --patience 10
  elbo train mnist --preset iwae-200 --objective iwae --samples 5 --gradient dreg
  elbo train mnist --preset gated-300 --prior vamp:500 --warmup-epochs 10 --binarize dynamic
  elbo train mnist --condition labels                   then elbo sample --label 7
  elbo train --config runs/f/config.toml --seed 1       the same run with another seed
  elbo train mnist --from runs/f --learning-rate 2e-4   starts with that run's model, on other rows
  elbo train large.npy --memory 2G                      streamed, if it would take more than 2 GiB
  elbo train --resume runs/f                            goes on where a run was interrupted

Presets: mlp-400 (for pictures, if none is named), mlp-512-256, mlp-512-256-separate, mlp-one,
mlp-one-squared, tabular (for other data, if none is named), iwae-200, gated-300.

A run folder has config.toml, metrics.jsonl, model.safetensors (the best epoch if --validation
is given, else the last), checkpoint, loss.svg, samples.png and reconstructions.png. Equal seeds
give equal models, whatever the threads.

Ctrl-C finishes the batch (an evaluation is left for later), writes a checkpoint and says how to go
on; a second one stops at once."
)]
pub struct Train {
    /// Data: mnist, mnist-full, fashion-mnist, gaussian-2d, or a path (IDX, NPY, CSV, or a folder)
    #[arg(value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    network: Network,
    /// What rows are conditioned on: labels (those that the data bring with them), or columns of a CSV file, which leave x:
    /// text is one-hot, numbers are standardised, and NAME:labels takes numbers as text
    #[arg(long, help_heading = "Network", value_name = "COLUMN,…")]
    condition: Option<String>,
    /// A trained model to start from, with its network: a run folder or a model's file, an imported one too
    #[arg(long, help_heading = "Training", value_name = "MODEL")]
    from: Option<String>,
    /// Times that every training row is used; without it, 10 or more, in tens as many as make 2,000 steps
    #[arg(long, help_heading = "Training", value_name = "N")]
    epochs: Option<u64>,
    /// Rows of a step
    #[arg(long, help_heading = "Training", value_name = "N")]
    batch_size: Option<usize>,
    /// Step size of the optimizer
    #[arg(long, help_heading = "Training", value_name = "X")]
    learning_rate: Option<f64>,
    /// adam, adamw or sgd
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    optimizer: Option<String>,
    /// Adam's two decays, such as 0.9,0.999
    #[arg(long, help_heading = "Training", value_name = "A,B", value_parser = pair)]
    betas: Option<[f64; 2]>,
    /// Adam's epsilon
    #[arg(long, help_heading = "Training", value_name = "X")]
    epsilon: Option<f64>,
    /// SGD's decay of the velocity
    #[arg(long, help_heading = "Training", value_name = "X")]
    momentum: Option<f64>,
    /// Whether SGD looks ahead along its velocity
    #[arg(long, help_heading = "Training", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    nesterov: Option<bool>,
    /// Weight decay: decoupled in adamw, else added to the gradient
    #[arg(long, help_heading = "Training", value_name = "X")]
    weight_decay: Option<f64>,
    /// How the learning rate changes: constant, step:10,0.5, cosine, stages:3,0.72, …
    #[arg(long, help_heading = "Training", value_name = "SCHEDULE")]
    schedule: Option<String>,
    /// Largest global norm of a gradient
    #[arg(long, help_heading = "Training", value_name = "NORM")]
    clip: Option<f64>,
    /// Whether the gradient of each weight and bias is divided by its norm
    #[arg(long, help_heading = "Training", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    normalize_gradients: Option<bool>,
    /// Decay of a moving average of the parameters, which is then the model: 0.999, say
    #[arg(long, help_heading = "Training", value_name = "DECAY")]
    average: Option<f64>,
    /// Weight of the KL
    #[arg(long, help_heading = "Training", value_name = "X")]
    beta: Option<f64>,
    /// Epochs over which the KL's weight rises from 0
    #[arg(long, help_heading = "Training", value_name = "N")]
    warmup_epochs: Option<f64>,
    /// Epochs of a cycle in which the KL's weight rises and stays, over and over
    #[arg(long, help_heading = "Training", value_name = "N")]
    cycle_epochs: Option<f64>,
    /// Part of a cycle in which it rises
    #[arg(long, help_heading = "Training", value_name = "X")]
    cycle_ratio: Option<f64>,
    /// What to minimise: elbo, iwae, miwae:GROUPS, piwae:GROUPS, ciwae:SHARE or renyi:ORDER
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    objective: Option<String>,
    /// Samples of z a row
    #[arg(long, help_heading = "Training", value_name = "K")]
    samples: Option<usize>,
    /// Gradient by the posterior: plain, stl (sticking the landing) or dreg (doubly reparameterized)
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    gradient: Option<String>,
    /// KL that each latent may keep unpressed: NATS, or NATS,GROUP for groups of latents
    #[arg(long, help_heading = "Training", value_name = "NATS")]
    free_bits: Option<String>,
    /// Where the bias of the decoder's output starts: init, or data-mean (the logits of the training rows' mean)
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    output_bias: Option<String>,
    /// Nats that the KL is drawn to, with the weight --beta: as many bits of a row as latents may keep
    #[arg(long, help_heading = "Training", value_name = "NATS")]
    capacity: Option<f64>,
    /// Epochs over which the capacity rises from 0
    #[arg(long, help_heading = "Training", value_name = "N")]
    capacity_epochs: Option<f64>,
    /// A penalty of each batch's latents: tc:WEIGHT (total correlation, as β-TC-VAE with beta 1 + WEIGHT), or mmd:WEIGHT and
    /// mmd-gaussian:WEIGHT (maximum mean discrepancy from the prior; with --beta 0 a Wasserstein autoencoder). It has its weight from
    /// the first step on, and takes time with the square of the batch
    #[arg(long, help_heading = "Training", value_name = "NAME:WEIGHT")]
    penalty: Option<String>,
    /// What the encoder sees of the rows that it learns to restore: none, mask:SHARE or noise:DEVIATION
    #[arg(long, help_heading = "Training", value_name = "HOW")]
    corrupt: Option<String>,
    /// How grey values become binary: none, dynamic, threshold or fixed
    #[arg(long, help_heading = "Training", value_name = "HOW")]
    binarize: Option<String>,
    /// Operands of matrix products: f32, or bf16 where the processor multiplies it (parameters and sums stay f32)
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    precision: Option<String>,
    /// Training rows to set aside for choosing the best epoch: a number (1000), a share (0.1), or the last ones (last:1000)
    #[arg(long, help_heading = "Training", value_name = "N")]
    validation: Option<String>,
    /// Epochs without improvement on the validation split, after the warm-up of the KL's weight and capacity, after which
    /// training stops
    #[arg(long, help_heading = "Training", value_name = "N")]
    patience: Option<u64>,
    #[command(flatten)]
    memory: MemoryArgs,
    /// A TOML file with any of these settings; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run; without it runs/<data>-<preset>, with a number behind it if taken
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Use --out even if it exists, and replace the run there
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Go on with an interrupted run; only --epochs and --patience may change
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn pair(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    let pair = numbers.and_then(|numbers| numbers.try_into().ok());
    pair.ok_or_else(|| "expected two numbers with a comma between them".to_owned())
}

impl Train {
    pub(super) fn run(&self, signals: &Signals) -> Result<End> {
        let console = self.common.console();
        // Until it is open, a signal ends the program: the folder is made whole, or as it was.
        let (mut run, mut trainer, notes) = self.open()?;
        let (outcome, progress) = follow(console, &mut run, &mut trainer, &notes, signals)?;
        if let Some(signal) = signals.caught() {
            console.say(format_args!(
                "{} {}; go on with\n  {}",
                signals::name(signal),
                at(&trainer),
                run.resume_command()
            ));
            return Ok(End::Signal(signal));
        }
        // All that a signal could cost from here on are pictures.
        signals.release();
        if let Err(e) = run.draw(&trainer) {
            complain(format_args!(
                "{WARNING}{e}\nthe run is complete but for its pictures; {} draws them",
                run.resume_command()
            ));
        }
        conclude(&console, &run, &trainer, outcome)?;
        progress.said().map(|()| End::Done)
    }

    /// The run at its start, or where it was left.
    fn open(&self) -> Result<(RunFolder, Trainer, Vec<String>)> {
        let (flags, ex) = (self.settings(), self.common.exec()?);
        if let Some(path) = &self.resume {
            let data = flags.data.as_deref().map(source);
            let from = flags.from.as_ref().map(Start::place);
            let flags = Settings { data, from, ..flags };
            return RunFolder::resume(path, &flags, self.memory.memory, ex);
        }
        let place = Place::new(self.out.clone(), self.overwrite);
        check_place(&place)?;
        let file = self.config.as_ref().map_or_else(|| Ok(Settings::default()), Settings::load)?;
        check_preset(&file, &flags)?;
        let mut settings = file.merge(flags);
        let start = settings.from.as_ref().map(Start::load).transpose()?;
        if let Some(start) = &start {
            check_start(start, &place)?;
            settings = start.settings(settings)?;
        }
        let data = settings.load_data_within(self.memory.memory)?;
        let (mut config, mut notes) = settings.resolve(&data)?;
        notes.extend(config.fit_precision(ex.isa()).map(|why| format!("{WARNING}{why}")));
        let source = source(settings.data.as_deref().unwrap_or_default());
        let (run, trainer) = match &start {
            None => {
                let trainer = Trainer::new(config, data, ex)?;
                (RunFolder::create(&place, &trainer, &source)?, trainer)
            }
            Some(start) => {
                let trainer = start.trainer(config, data, ex)?;
                let (info, digest) = (&start.model().info, start.model().digest());
                notes.push(format!("starts from {}: epoch {}, parameters {digest}", start.source(), info.epoch));
                (RunFolder::create_from(&place, &trainer, &source, start)?, trainer)
            }
        };
        Ok((run, trainer, notes))
    }

    /// The flags, as settings.
    fn settings(&self) -> Settings {
        Settings {
            data: self.data.clone(),
            validation: self.validation.clone(),
            condition: self.condition.clone(),
            from: self.from.clone(),
            output_bias: self.output_bias.clone(),
            binarize: self.binarize.clone(),
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            learning_rate: self.learning_rate,
            betas: self.betas,
            epsilon: self.epsilon,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            schedule: self.schedule.clone(),
            clip: self.clip,
            average: self.average,
            normalize_gradients: self.normalize_gradients,
            precision: self.precision.clone(),
            beta: self.beta,
            warmup_epochs: self.warmup_epochs,
            cycle_epochs: self.cycle_epochs,
            cycle_ratio: self.cycle_ratio,
            objective: self.objective.clone(),
            samples: self.samples,
            gradient: self.gradient.clone(),
            free_bits: self.free_bits.clone(),
            capacity: self.capacity,
            capacity_epochs: self.capacity_epochs,
            penalty: self.penalty.clone(),
            corrupt: self.corrupt.clone(),
            patience: self.patience,
            seed: self.common.seed,
            ..self.network.settings()
        }
    }
}

/// Trains to the end or to a signal, and says how it goes.
pub(super) fn follow(
    console: Console,
    run: &mut RunFolder,
    trainer: &mut Trainer,
    notes: &[String],
    signals: &Signals,
) -> Result<(Outcome, Progress)> {
    signals.catch();
    introduce(&console, run, trainer, notes);
    let mut progress = Progress::new(console, trainer);
    let outcome = run.fit(trainer, &mut progress, signals.catch());
    progress.finish();
    Ok((outcome?, progress))
}

/// Where a run stands, for a message.
pub(super) fn at(trainer: &Trainer) -> String {
    let state = trainer.state();
    match state.epoch >= trainer.config().epochs {
        true => "after the last epoch, before the pictures".to_owned(),
        false => format!("in epoch {} after step {}", state.epoch + 1, state.step),
    }
}

/// Where the data are, in words that hold in any folder: a known name, or an absolute path.
pub(super) fn source(data: &str) -> String {
    if KNOWN.contains(&data) { data.to_owned() } else { Start::place(data) }
}

/// A run does not replace the model that it starts from: its configuration could not repeat it.
fn check_start(start: &Start, place: &Place) -> Result<()> {
    match place {
        Place::Overwrite(path) if Path::new(start.source()).starts_with(Start::place(path)) => {
            Err(Error::input("the run would replace the model that it starts from")
                .at(path.display().to_string())
                .hint("--out with another folder"))
        }
        _ => Ok(()),
    }
}

/// A preset is what a network starts from, and no longer matters where a file spells one out.
fn check_preset(file: &Settings, flags: &Settings) -> Result<()> {
    match (&file.preset, &flags.preset) {
        (Some(own), Some(other)) if own != other && file.hidden.is_some() => Err(Error::input(format!(
            "--preset is {other}, and the file spells out the network of {own}, which would stay as it is"
        ))
        .hint("leave --preset out and name what should change, or take the network's settings out of the file")),
        _ => Ok(()),
    }
}

/// An `--out` that is taken is found before data are read.
fn check_place(place: &Place) -> Result<()> {
    match place {
        Place::New(path) if path.exists() => {
            let hint = match (path.join(CONFIG_FILE).is_file(), path.is_dir()) {
                (true, _) => format!("go on with it: --resume {0}; replace it: --out {0} --overwrite", path.display()),
                (_, true) => format!("put a run there all the same: --out {} --overwrite", path.display()),
                _ => "it is a file; name a folder".to_owned(),
            };
            Err(Error::input("it exists already").at(path.display().to_string()).hint(hint))
        }
        _ => Ok(()),
    }
}

fn introduce(console: &Console, run: &RunFolder, trainer: &Trainer, notes: &[String]) {
    console.say(describe(trainer.data()));
    console.say(describe_network(trainer.vae()));
    let (config, ex) = (trainer.config(), trainer.exec());
    let state = trainer.state();
    let from = match (state.epoch, state.batch) {
        (0, 0) => String::new(),
        (epoch, _) if epoch >= config.epochs => ", all done: --epochs N goes on".to_owned(),
        (epoch, batch) if batch == trainer.steps_per_epoch() => format!(" from the end of epoch {}", epoch + 1),
        (epoch, batch) => format!(" from epoch {} batch {}", epoch + 1, batch + 1),
    };
    console.say(format_args!(
        "{}{from}, batches of {}, {} at {}, seed {}, {}, {}, {}",
        count(config.epochs as usize, "epoch"),
        config.batch_size,
        config.optimizer.kind,
        config.optimizer.learning_rate,
        config.seed,
        count(ex.threads(), "thread"),
        ex.isa().name(),
        config.precision
    ));
    for note in notes {
        // What is not done as asked is said even to who wants quiet.
        if note.starts_with(WARNING) { complain(note) } else { console.say(note) }
    }
    console.say(format_args!("run folder {}", run.path().display()));
}

/// The figures of the model that was kept, where it is, and what can be done with it.
fn conclude(console: &Console, run: &RunFolder, trainer: &Trainer, outcome: Outcome) -> Result<()> {
    let path = run.path().display();
    let model = SavedModel::load(run.path())?;
    let epoch = model.info.epoch;
    if outcome == Outcome::OutOfPatience {
        console.say(format_args!("stopped after epoch {}: no improvement on validation", trainer.state().epoch));
    }
    let why = match model.info.selected {
        Selected::BestValidation => "the best on validation",
        Selected::Last => "the last",
    };
    console.say(format_args!("{path}/{MODEL_FILE}: epoch {epoch}, {why}"));
    let lines = MetricsLine::read(run.path().join(METRICS_FILE))?;
    if let Some(line) = lines.iter().find(|line| line.epoch == epoch) {
        let (split, terms) = match (line.heldout, line.validation) {
            (Some(terms), _) => ("test", terms),
            (None, Some(terms)) => ("validation", terms),
            (None, None) => ("train", line.train),
        };
        let number = |x: Option<f64>| x.map_or_else(|| "not finite".to_owned(), |x| format!("{x:.4}"));
        let beta = if line.beta == 1.0 { String::new() } else { format!(" (trained with beta {})", line.beta) };
        let config = trainer.config();
        let label = config.objective.label(config.samples);
        let bound = terms.neg_bound.map_or_else(String::new, |bound| format!(", -{label} {bound:.4}"));
        console.say(format_args!(
            "{split} -ELBO {} = reconstruction {} + KL {} nats per example{bound}{beta}",
            number(terms.neg_elbo),
            number(terms.reconstruction),
            number(terms.kl)
        ));
    }
    console.say(format_args!(
        "next:\n  elbo evaluate {path} --samples 100\n  elbo sample {path} --count 64\n  elbo reconstruct {path}"
    ));
    Ok(())
}
