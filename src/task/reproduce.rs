//! Published tables: the protocol of each row as settings, what the paper and others report, and what a run here reached.

use super::{Examples, evaluate};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::Inference;
use crate::nearest::unknown;
use crate::tensor::Exec;
use crate::train::{LIKELIHOOD_FILE, METRICS_FILE, MetricsLine, SavedModel, Settings};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A published table of test −log p(x), in nats, with the protocol that all of its rows share.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is of.
    pub about: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// The data of the paper.
    pub data: &'static str,
    /// Importance samples a test row.
    pub samples: usize,
    /// Epochs of the paper's protocol.
    pub epochs: u64,
    /// The settings that all rows share, in TOML.
    pub settings: &'static str,
    /// The rows.
    pub rows: &'static [Row],
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is trained.
    pub about: &'static str,
    /// The settings of this row alone, in TOML; they go before the table's.
    pub settings: &'static str,
    /// Test −log p(x) as published, in nats, if the paper has the row.
    pub published: Option<f64>,
    /// What others report of the same row, in nats, and who.
    pub elsewhere: Option<(f64, &'static str)>,
}

/// What the rows of the exemplar VAE's tables share: 784-300-300 gated, 40 latents, grey training pixels binarized anew each
/// time, gradients divided by their norm tensor by tensor, warm-up, and the best epoch on validation.
const EXEMPLAR: &str = "preset = \"gated-300\"\nbinarize = \"dynamic\"\nlog-variance = [-6, 2]\nlearning-rate = 5e-4\n\
                        normalize-gradients = true\nwarmup-epochs = 100\npatience = 50\nvalidation = \"last:10000\"";

const IWAE: Table = Table {
    name: "iwae",
    about: "784-200-200 tanh, 50 latents or 100 and 50, MNIST binarized anew each time a row is used",
    source: "Burda, Grosse and Salakhutdinov 2016, arXiv 1509.00519, Table 1",
    data: "mnist-full",
    samples: 5000,
    epochs: 3280,
    // Stages of 3^i epochs at 1e-3 · 10^(−i/7), i = 0 … 7: section 5 of the paper.
    settings: "preset = \"iwae-200\"\nbinarize = \"dynamic\"\noutput-bias = \"data-mean\"\nlearning-rate = 1e-3\n\
               schedule = \"stages:3,0.7196856730011519\"\nvalidation = \"none\"",
    rows: &[
        Row {
            name: "k1",
            about: "VAE, which is IWAE with K = 1",
            settings: "objective = \"elbo\"",
            published: Some(86.76),
            elsewhere: Some((86.35, "a later run")),
        },
        Row {
            name: "k5",
            about: "IWAE, K = 5",
            settings: "objective = \"iwae\"\nsamples = 5",
            published: Some(85.54),
            elsewhere: Some((85.18, "a later run")),
        },
        Row {
            name: "k50",
            about: "IWAE, K = 50",
            settings: "objective = \"iwae\"\nsamples = 50",
            published: Some(84.78),
            elsewhere: Some((84.59, "a later run")),
        },
        Row {
            name: "k50-short",
            about: "IWAE, K = 50, six stages of 2^i epochs, 63 in all, to the same last learning rate",
            settings: "objective = \"iwae\"\nsamples = 50\nschedule = \"stages:2,0.6309573444801932\"\nepochs = 63",
            published: Some(84.78),
            elsewhere: Some((84.59, "a later run")),
        },
        Row {
            name: "k1-dreg",
            about: "the same as k1, doubly reparameterized gradient (Tucker et al. 2019)",
            settings: "objective = \"iwae\"\nsamples = 1\ngradient = \"dreg\"",
            published: None,
            elsewhere: Some((86.08, "a later run")),
        },
        Row {
            name: "k5-dreg",
            about: "IWAE, K = 5, doubly reparameterized gradient",
            settings: "objective = \"iwae\"\nsamples = 5\ngradient = \"dreg\"",
            published: None,
            elsewhere: Some((84.90, "a later run")),
        },
        Row {
            name: "k50-dreg",
            about: "IWAE, K = 50, doubly reparameterized gradient",
            settings: "objective = \"iwae\"\nsamples = 50\ngradient = \"dreg\"",
            published: None,
            elsewhere: Some((84.32, "a later run")),
        },
        Row {
            name: "k1-two",
            about: "VAE, two stochastic layers of 100 and 50 units",
            settings: "objective = \"elbo\"\nlatent = 100\nprior = \"vae:50x100\"",
            published: Some(85.33),
            elsewhere: None,
        },
        Row {
            name: "k5-two",
            about: "IWAE, K = 5, two stochastic layers of 100 and 50 units",
            settings: "objective = \"iwae\"\nsamples = 5\nlatent = 100\nprior = \"vae:50x100\"",
            published: Some(83.89),
            elsewhere: None,
        },
        Row {
            name: "k50-two",
            about: "IWAE, K = 50, two stochastic layers of 100 and 50 units",
            settings: "objective = \"iwae\"\nsamples = 50\nlatent = 100\nprior = \"vae:50x100\"",
            published: Some(82.90),
            elsewhere: None,
        },
    ],
};

const EXEMPLAR_FASHION: Table = Table {
    name: "exemplar-fashion",
    about: "784-300-300 gated, 40 latents or 40 and 40, Fashion-MNIST binarized anew each time a row is used",
    source: "Norouzi, Fleet and Norouzi 2020, arXiv 2004.04795; patience ends it before its last epoch",
    data: "fashion-mnist",
    samples: 5000,
    epochs: 2000,
    settings: EXEMPLAR,
    rows: &[
        Row { name: "vae", about: "VAE", settings: "", published: Some(228.70), elsewhere: None },
        Row {
            name: "vamp",
            about: "VampPrior of 500 pseudo-inputs",
            settings: "prior = \"vamp:500\"",
            published: Some(227.35),
            elsewhere: None,
        },
        Row {
            name: "exemplar",
            about: "exemplar prior: 25,000 training rows drawn each step, of them the 10 nearest of each row",
            settings: "prior = \"exemplar:25000:10\"",
            published: Some(226.75),
            elsewhere: None,
        },
        Row {
            name: "hvae",
            about: "two levels of 40 latents",
            settings: "lower = \"hvae:40x300\"",
            published: Some(227.37),
            elsewhere: None,
        },
        Row {
            name: "hvae-vamp",
            about: "two levels, VampPrior of 500 pseudo-inputs over the upper",
            settings: "lower = \"hvae:40x300\"\nprior = \"vamp:500\"",
            published: Some(226.72),
            elsewhere: None,
        },
        Row {
            name: "hvae-exemplar",
            about: "two levels, exemplar prior over the upper",
            settings: "lower = \"hvae:40x300\"\nprior = \"exemplar:25000:10\"",
            published: Some(226.53),
            elsewhere: None,
        },
    ],
};

const EXEMPLAR_MNIST: Table = Table {
    name: "exemplar-mnist",
    about: "784-300-300 gated, 40 latents or 40 and 40, MNIST binarized anew each time a row is used",
    data: "mnist-full",
    rows: &[
        Row { name: "vae", about: "VAE", settings: "", published: Some(84.45), elsewhere: None },
        Row {
            name: "vamp",
            about: "VampPrior of 500 pseudo-inputs",
            settings: "prior = \"vamp:500\"",
            published: Some(82.43),
            elsewhere: None,
        },
        Row {
            name: "exemplar",
            about: "exemplar prior: 25,000 training rows drawn each step, of them the 10 nearest of each row",
            settings: "prior = \"exemplar:25000:10\"",
            published: Some(82.09),
            elsewhere: None,
        },
        Row {
            name: "hvae",
            about: "two levels of 40 latents",
            settings: "lower = \"hvae:40x300\"",
            published: Some(82.39),
            elsewhere: None,
        },
        Row {
            name: "hvae-vamp",
            about: "two levels, VampPrior of 500 pseudo-inputs over the upper",
            settings: "lower = \"hvae:40x300\"\nprior = \"vamp:500\"",
            published: Some(81.56),
            elsewhere: None,
        },
        Row {
            name: "hvae-exemplar",
            about: "two levels, exemplar prior over the upper",
            settings: "lower = \"hvae:40x300\"\nprior = \"exemplar:25000:10\"",
            published: Some(81.22),
            elsewhere: None,
        },
    ],
    ..EXEMPLAR_FASHION
};

/// Every table.
pub const TABLES: [Table; 3] = [IWAE, EXEMPLAR_FASHION, EXEMPLAR_MNIST];

impl Table {
    /// The table of a name.
    ///
    /// # Errors
    /// When there is none; the message names the nearest.
    pub fn named(name: &str) -> Result<&'static Table> {
        TABLES.iter().find(|t| t.name == name).ok_or_else(|| unknown("table", name, &TABLES.map(|t| t.name)))
    }
    /// The row of a name.
    ///
    /// # Errors
    /// When there is none; the message names the nearest.
    pub fn row(&self, name: &str) -> Result<&'static Row> {
        let names: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
        self.rows.iter().find(|row| row.name == name).ok_or_else(|| unknown("row", name, &names))
    }
    /// The protocol of a row: the whole of it, on the paper's data. A row of its own length says so in its settings.
    pub fn protocol(&self, row: &Row) -> Settings {
        let parse = |text| Settings::from_toml(text).unwrap_or_else(|e| panic!("{}, {}: {e}", self.name, row.name));
        let whole = Settings { data: Some(self.data.to_owned()), epochs: Some(self.epochs), ..Settings::default() };
        parse(self.settings).merge(whole).merge(parse(row.settings))
    }
}

/// What a run reached: a line of `likelihood.jsonl` in its folder.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reached {
    /// Epochs that the model was trained for.
    pub epoch: u64,
    /// The run's seed.
    pub seed: u64,
    /// Test −log p(x) in nats: the mean over rows.
    pub nll: f64,
    /// Its standard error over rows.
    pub nll_stderr: f64,
    /// Importance samples a row.
    pub samples: usize,
    /// Test rows.
    pub rows: usize,
    /// Hours of training; of an epoch that was interrupted, those of its last part.
    pub hours: f64,
    /// The model's [digest](SavedModel::digest).
    #[serde(default)]
    pub digest: String,
}

impl Reached {
    /// Measures a run's model on the test rows of its data, with `samples` importance samples a row, and records it. What is
    /// recorded already is not measured again.
    ///
    /// # Errors
    /// A folder without a model, data without a test split, a record that is damaged or cannot be written.
    pub fn measure(folder: &Path, data: &Dataset, samples: usize, ex: &Exec) -> Result<Reached> {
        let saved = SavedModel::load(folder)?;
        let settings = &saved.info.settings;
        let path = folder.join(LIKELIHOOD_FILE);
        let (done, digest) = (Self::read(&path)?, saved.digest());
        if let Some(found) = done.into_iter().find(|r| (&r.digest, r.samples) == (&digest, samples)) {
            return Ok(found);
        }
        let seed = settings.seed.unwrap_or_default();
        let binarize = settings.binarize.as_deref().map_or(Ok(Default::default()), str::parse)?;
        let test = data.split(crate::data::Split::Test)?;
        let examples = Examples::new(&saved.vae, test, binarize, seed)?;
        let mut inference = Inference::new(&saved.vae, &saved.params, ex);
        let report = evaluate(&mut inference, &examples, seed, Some(samples))?;
        let lines = MetricsLine::read(folder.join(METRICS_FILE))?;
        let seconds: f64 = lines.iter().filter(|l| l.epoch <= saved.info.epoch).map(|l| l.seconds).sum();
        let nll = report.nll.last().ok_or_else(|| Error::input("no samples were asked for"))?;
        let reached = Reached {
            epoch: saved.info.epoch,
            seed,
            nll: nll.nats,
            nll_stderr: nll.stderr,
            samples,
            rows: report.rows,
            hours: seconds / 3600.0,
            digest,
        };
        reached.append(&path)?;
        Ok(reached)
    }

    /// The lines of a record; none, if there is no file.
    fn read(path: &Path) -> Result<Vec<Reached>> {
        let at = |e: Error| e.at(path.display().to_string());
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", path, &e)),
        };
        let parse = |(i, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| {
                at(Error::input(format!("line {}: {e}", i + 1)).hint("remove the line; what it says is measured again"))
            })
        };
        text.lines().enumerate().map(parse).collect()
    }

    fn append(&self, path: &Path) -> Result<()> {
        let line = serde_json::to_string(self).map_err(|e| Error::input(e.to_string()))? + "\n";
        let write = || OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes());
        write().map_err(|e: std::io::Error| Error::io("write", path, &e))
    }
}
