//! `elbo reproduce`: a published table, trained again.

use super::console::Console;
use super::signals::{self, Signals};
use super::train::{at, follow, source};
use super::{Common, End, MemoryArgs};
use crate::error::{Error, Result};
use crate::task::reproduce::{Reached, Row, Table};
use crate::train::{Place, RunFolder, Settings, Trainer};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Train a published table again, and print paper, others and elbo side by side
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo reproduce iwae --rows k1                    the paper's protocol: 3,280 epochs
  elbo reproduce iwae --rows k1,k5 --epochs 364    its first six stages
  elbo reproduce iwae --rows k1 --epochs 1093      goes on from there

Tables: iwae (Burda et al. 2016, Table 1; rows k1, k5, k50, k1-dreg, k5-dreg, k50-dreg, of two
stochastic layers k1-two, k5-two, k50-two, and k50-short, which is k50 in 63 epochs);
exemplar-fashion and exemplar-mnist (Norouzi et al. 2020; rows vae, vamp, exemplar, and of two
levels hvae, hvae-vamp, hvae-exemplar).

Each row is a run folder of its own; the same command goes on where it was interrupted, and with more
epochs where it ended. Figures are test -log p(x) in nats, by importance sampling. They are recorded in
the folder's likelihood.jsonl and not measured twice. With --json the table is the last line, behind
those of the epochs.")]
pub struct Reproduce {
    /// The table: iwae, exemplar-fashion or exemplar-mnist
    table: String,
    /// Rows of it, such as k1,k5; without it all
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    rows: Vec<String>,
    /// The first N epochs of the protocol, its warm-up or more; without it all
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Importance samples a test row; without it the paper's
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// Other data than the paper's: a known name or a path
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Folder of the run folders
    #[arg(long, value_name = "DIR", default_value = "runs/reproduce")]
    out: PathBuf,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    common: Common,
}

impl Reproduce {
    pub(super) fn run(&self, signals: &Signals) -> Result<End> {
        let (console, table) = (self.common.console(), Table::named(&self.table)?);
        let rows: Vec<&Row> = match self.rows.as_slice() {
            [] => table.rows.iter().collect(),
            names => names.iter().map(|name| table.row(name)).collect::<Result<_>>()?,
        };
        let samples = self.samples.unwrap_or(table.samples);
        crate::task::check_samples(samples)?;
        let mut reached = Vec::new();
        for row in rows {
            console.say(format_args!("{} {}: {}", table.name, row.name, row.about));
            let (mut run, mut trainer, notes) = self.open(table, row)?;
            let (_, progress) = follow(console, &mut run, &mut trainer, &notes, signals)?;
            if let Some(signal) = signals.caught() {
                let name = signals::name(signal);
                console.say(format_args!("{name} {}; the same command goes on from there", at(&trainer)));
                return Ok(End::Signal(signal));
            }
            signals.release();
            progress.said()?;
            console.say(format_args!("measuring -log p(x) with {samples} samples a row"));
            reached.push((row, Reached::measure(run.path(), trainer.data(), samples, trainer.exec())?));
        }
        self.print(console, table, &reached)
    }

    /// A row's run, at its start or where it was left.
    fn open(&self, table: &Table, row: &Row) -> Result<(RunFolder, Trainer, Vec<String>)> {
        let ex = self.common.exec()?;
        let own = Settings {
            data: self.data.clone(),
            epochs: self.epochs,
            seed: Some(self.common.seed.unwrap_or_default()),
            ..Settings::default()
        };
        let protocol = table.protocol(row);
        if let (Some(epochs), Some(warmup)) = (self.epochs, protocol.warmup_epochs)
            && (epochs as f64) < warmup
        {
            let what = format!("--epochs {epochs} is less than the {warmup} epochs of this table's warm-up");
            return Err(Error::input(what).hint(format!(
                "a run so short would warm up faster, and be another protocol: ask for {warmup} or more, and interrupt it"
            )));
        }
        let settings = protocol.merge(own);
        let data = settings.data.clone().unwrap_or_default();
        let beside = if data == table.data { String::new() } else { format!("-{}", stem(&data)) };
        let folder = format!("{}{beside}-seed{}", row.name, settings.seed.unwrap_or_default());
        let folder = self.out.join(table.name).join(folder);
        let loaded = settings.load_data_within(self.memory.memory)?;
        let (config, notes) = settings.resolve(&loaded)?;
        if folder.exists() {
            // All of the protocol, so that a run of another one is refused.
            let protocol = Settings::from_config(&config, &loaded);
            let changes = Settings { data: self.data.as_deref().map(source), ..protocol };
            let resumed = RunFolder::resume_with(folder, &changes, loaded, ex);
            return resumed.map_err(|e| e.within(format!("row {} of {}", row.name, table.name)));
        }
        let trainer = Trainer::new(config, loaded, ex)?;
        let run = RunFolder::create(&Place::New(folder), &trainer, &source(&data))?;
        Ok((run, trainer, notes))
    }

    fn print(&self, console: Console, table: &Table, reached: &[(&Row, Reached)]) -> Result<End> {
        let objects = reached.iter().map(|(row, r)| {
            json!({
                "row": row.name, "published": row.published, "elsewhere": row.elsewhere.map(|(nats, _)| nats),
                "nll": r.nll, "nll_stderr": r.nll_stderr, "samples": r.samples, "rows": r.rows,
                "epochs": r.epoch, "of": table.epochs, "seed": r.seed, "hours": r.hours,
            })
        });
        console.report(&json!({ "table": table.name, "rows": objects.collect::<Vec<_>>() }), text(table, reached))?;
        Ok(End::Done)
    }
}

/// What tells the folders of runs on other data apart.
fn stem(data: &str) -> String {
    Path::new(data).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn text(table: &Table, reached: &[(&Row, Reached)]) -> String {
    let nats = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:.2}"));
    let mut lines = vec![
        format!("{}, {}", table.about, table.source),
        "test -log p(x), nats     paper  elsewhere    elbo  ± error  samples  epochs        seed  hours".to_owned(),
    ];
    for (row, r) in reached {
        let epochs = match r.epoch == table.epochs {
            true => r.epoch.to_string(),
            false => format!("{} of {}", r.epoch, table.epochs),
        };
        lines.push(format!(
            "{:22}  {:>7}  {:>9}  {:>6.2}  {:>7.2}  {:>7}  {:<12}  {:>4}  {:>5.2}",
            row.name,
            nats(row.published),
            nats(row.elsewhere.map(|(nats, _)| nats)),
            r.nll,
            r.nll_stderr,
            r.samples,
            epochs,
            r.seed,
            r.hours
        ));
    }
    lines.join("\n")
}
