//! What most verbs begin with: a trained model, the data, and a split of them.

use super::console::count;
use super::output::Output;
use super::train::source;
use super::{Common, Console, MemoryArgs};
use crate::data::{Binarize, Condition, Dataset, ImageShape, KNOWN, Split, Validation, View, load_beside};
use crate::density::{LowerKind, PosteriorKind, PriorKind};
use crate::error::{Error, Result};
use crate::layer::activation_name;
use crate::model::{Hidden, Inference, Norm, Vae};
use crate::task::Examples;
use crate::tensor::Exec;
use crate::train::{CONFIG_FILE, SavedModel, Settings};
use std::path::{Path, PathBuf};

/// A model, and how to run it.
#[derive(Debug)]
pub struct Subject {
    /// The model.
    pub saved: SavedModel,
    ex: Exec,
    path: PathBuf,
    /// The settings of the run folder, where the data's path is; a model's own file knows their name only.
    run: Option<Settings>,
}

/// Rows to work on.
#[derive(Debug)]
pub struct Rows {
    /// The set's name.
    pub name: String,
    /// Which part of it.
    pub split: Split,
    /// The rows.
    pub view: View,
    /// What is to be said about them.
    notes: Vec<String>,
    /// Whether rows that the model was trained on are among them, as far as the data's name tells.
    own: bool,
}

impl Rows {
    fn of(data: &Dataset, split: Split) -> Result<Self> {
        let notes = data.note().map(str::to_owned).into_iter().collect();
        Ok(Rows { view: data.split(split)?.clone(), split, name: data.name().to_owned(), notes, own: false })
    }
}

impl Subject {
    /// Loads a run folder's model, or a model's file.
    ///
    /// # Errors
    /// As [`SavedModel::load`], and when the threads cannot be started.
    pub fn load(path: &Path, common: &Common) -> Result<Self> {
        let config = path.join(CONFIG_FILE);
        let run = if config.is_file() { Some(Settings::load(&config)?) } else { None };
        Ok(Subject { saved: SavedModel::load(path)?, ex: common.exec()?, path: path.to_path_buf(), run })
    }
    /// The model, ready to be used.
    pub fn inference(&self) -> Inference<'_, f32> {
        Inference::new(&self.saved.vae, &self.saved.params, &self.ex)
    }
    /// The seed of a random task: the one asked for, or that of the training.
    pub fn seed(&self, common: &Common) -> u64 {
        common.seed.unwrap_or_else(|| self.trained_with())
    }
    fn trained_with(&self) -> u64 {
        self.saved.info.settings.seed.unwrap_or_default()
    }
    /// The data asked for, or those of the run, and of them the split asked for, or the default one. The run's own training
    /// and validation rows are told apart as the run did.
    ///
    /// # Errors
    /// As [`load_beside`] and [`Dataset::with_condition`], and a split that the data do not have.
    pub fn rows(&self, args: &DataArgs) -> Result<Rows> {
        let mut data = self.data(args.data.as_deref(), args.memory)?;
        if matches!(args.split, Some(Split::Train | Split::Validation)) {
            data = self.split(args.data.as_deref(), data)?;
        }
        let split = args.split.unwrap_or_else(|| data.default_split());
        let own = self.is_own(args.data.as_deref()) && matches!(split, Split::Train | Split::All);
        Ok(Rows { own, ..Rows::of(&data, split)? })
    }
    /// Rows to learn from, those that the run set aside for validation among them, and the test rows. Where there are none, the
    /// rows that the run set aside for validation, or else a fifth of the rows, by the seed: the encoder knows those of its own
    /// data, which is said.
    ///
    /// # Errors
    /// As [`load_beside`] and [`Dataset::with_condition`], and data of fewer than two rows.
    pub fn known_and_heldout(&self, name: Option<&str>, memory: MemoryArgs, seed: u64) -> Result<(Rows, Rows)> {
        let data = self.data(name, memory)?;
        if data.test().is_some() {
            return Ok((Rows::of(&data, Split::Train)?, Rows::of(&data, Split::Test)?));
        }
        let data = self.split(name, data)?;
        if data.validation().is_some() {
            return Ok((Rows::of(&data, Split::Train)?, Rows::of(&data, Split::Validation)?));
        }
        let data = data.with_validation(Validation::Fraction(0.2), seed)?;
        let (mut known, heldout) = (Rows::of(&data, Split::Train)?, Rows::of(&data, Split::Validation)?);
        if self.is_own(name) {
            known.notes.push(
                "note: the encoder was trained on the rows that are held out here, too; other rows, or a run with \
                 --validation, tell what it makes of new ones"
                    .to_owned(),
            );
        }
        Ok((known, heldout))
    }
    /// The rows that a run learns from, without those that it sets aside for validation; of other data that are asked for, all
    /// that are not test rows.
    ///
    /// # Errors
    /// As [`load_beside`] and [`Dataset::with_condition`].
    pub fn training_rows(&self, name: Option<&str>, memory: MemoryArgs) -> Result<Rows> {
        let data = self.data(name, memory)?;
        Rows::of(&self.split(name, data)?, Split::Train)
    }
    /// The run's own data with its validation rows set aside; others as they are.
    fn split(&self, name: Option<&str>, data: Dataset) -> Result<Dataset> {
        if self.is_own(name) { self.settings().split(data) } else { Ok(data) }
    }
    fn settings(&self) -> &Settings {
        self.run.as_ref().unwrap_or(&self.saved.info.settings)
    }
    /// The data of a name, or those of the run, with the model's columns and condition.
    fn data(&self, name: Option<&str>, memory: MemoryArgs) -> Result<Dataset> {
        let info = &self.saved.info.data;
        let name = name.map_or_else(|| self.own_data(), Ok)?;
        let data = match &info.condition {
            None => load_beside(name, memory.memory, &[])?,
            Some(condition) => {
                let columns: Vec<String> = condition.columns().names().map(str::to_owned).collect();
                load_beside(name, memory.memory, &columns)?.with_condition(condition.clone())?
            }
        };
        data.all().expect_cols(self.saved.vae.config().inputs).map_err(|e| e.at(data.name()))?;
        info.expect(&data)?;
        Ok(data)
    }
    /// The data that the model was trained on. Its file has their name alone, which may be that of other files too.
    fn own_data(&self) -> Result<&str> {
        match self.settings().data.as_deref() {
            Some(name) if self.run.is_some() || KNOWN.contains(&name) => Ok(name),
            Some(name) => {
                Err(Error::input(format!("the model's file knows its data as {name}, and not where they lie"))
                    .at(self.path.display().to_string())
                    .hint("name the data; a run's folder, with its configuration, knows where they lie"))
            }
            None => Err(Error::input("the model does not say what it was trained on").hint("name the data")),
        }
    }
    /// Whether data of this name are those that the run was trained on.
    fn is_own(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.settings().data.as_deref().is_some_and(|own| own == name || own == source(name)))
    }
    /// Rows as the model sees them.
    ///
    /// # Errors
    /// Rows that the model cannot take.
    pub fn examples<'v>(&self, rows: &'v Rows) -> Result<Examples<'v>> {
        let binarize = self.saved.info.settings.binarize.as_deref().map_or(Ok(Binarize::None), str::parse)?;
        let examples = Examples::new(&self.saved.vae, &rows.view, binarize, self.trained_with());
        examples.map_err(|e| e.at(format!("{} ({} split)", rows.name, rows.split)))
    }
    /// What the model's rows are conditioned on.
    ///
    /// # Errors
    /// A model without a condition, of which `asked` said something.
    pub fn condition(&self, asked: &str) -> Result<&Condition> {
        self.saved.info.data.condition.as_ref().ok_or_else(|| {
            Error::input("the model has no condition")
                .at(asked)
                .hint("elbo train DATA --condition labels makes one that has")
        })
    }
    /// The picture that a row of x is, if it is one.
    pub fn image(&self) -> Option<ImageShape> {
        self.saved.info.data.image()
    }
    /// The names of x's columns.
    pub fn names(&self) -> Vec<String> {
        super::output::column_names(self.saved.info.data.columns.as_deref(), self.saved.vae.config().inputs)
    }
    /// Where rows of x go: `out`, or a file of that stem in the run folder, a picture if rows are pictures, else a table.
    ///
    /// # Errors
    /// As [`Output::new`].
    pub fn output(&self, out: Option<&Path>, stem: &str) -> Result<Output> {
        let default = || {
            let folder =
                if self.path.is_dir() { self.path.as_path() } else { self.path.parent().unwrap_or(Path::new("")) };
            folder.join(format!("{stem}.{}", if self.image().is_some() { "png" } else { "csv" }))
        };
        let path = out.map_or_else(default, Path::to_path_buf);
        Output::new(&path, self.image(), true)
    }
    /// One line about the model: where from, which network, which parameters.
    pub fn about(&self) -> String {
        let (info, config) = (&self.saved.info, self.saved.vae.config());
        let parameters = self.saved.vae.layout().count();
        format!(
            "{}: {} on {}, {parameters} parameters, {} (epoch {})",
            self.path.display(),
            config.preset,
            info.data.name,
            info.selected,
            info.epoch
        )
    }
    /// Says which model and which rows.
    pub fn introduce(&self, console: &Console, rows: &Rows) {
        console.say(self.about());
        let (len, cols) = (rows.view.len(), rows.view.cols());
        console.say(format_args!(
            "{}, {} split: {} of {}{}",
            rows.name,
            rows.split,
            count(len, "row"),
            count(cols, "column"),
            streamed(&rows.view)
        ));
        rows.notes.iter().for_each(|note| console.say(note));
        if rows.own && self.saved.vae.config().prior.is_exemplar() {
            console.say(
                "note: rows that the model was trained on are exemplars of its prior, each one's own encoding among them: what is said of \
                 log p(z) here is too good; rows that it has not seen tell",
            );
        }
    }
}

/// Which data, and which rows of them.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// Data: a known name (mnist, fashion-mnist, …) or a path; without it, the data that the model was trained on
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Rows: train, validation, test or all; without it, test, or all where there is one set
    #[arg(long, value_name = "SPLIT", value_parser = super::parse::<Split>)]
    pub split: Option<Split>,
    #[command(flatten)]
    memory: MemoryArgs,
}

/// Says where rows are, if not in memory.
fn streamed(view: &View) -> &'static str {
    if view.rows().is_streamed() { ", streamed" } else { "" }
}

/// One line about a data set: rows, columns, splits.
pub fn describe(data: &Dataset) -> String {
    let splits = [("train", Some(data.train())), ("validation", data.validation()), ("test", data.test())];
    let counts: Vec<String> =
        splits.iter().filter_map(|(name, view)| Some(format!("{name} {}", (*view)?.len()))).collect();
    let (rows, columns) = (count(data.all().len(), "row"), count(data.all().cols(), "column"));
    // Of pictures everybody expects it.
    let bytes = data.all().is_bytes() && data.all().image().is_none();
    let scaled = if bytes { ", numbers of 8 bits, divided by 255" } else { "" };
    format!("{}: {rows} of {columns} ({}){scaled}{}", data.name(), counts.join(", "), streamed(data.all()))
}

/// One line about a network: preset, widths, layers, likelihood, parameters.
pub fn describe_network(vae: &Vae) -> String {
    let config = vae.config();
    let hidden = config.hidden.iter().map(usize::to_string);
    let ends = |n: usize| std::iter::once(n.to_string());
    let widths = ends(config.inputs).chain(hidden.clone()).chain(ends(config.latent));
    let widths: Vec<String> = widths.chain(hidden.rev()).chain(ends(config.inputs)).collect();
    let layer = match config.layer {
        Hidden::Dense(activation) => activation_name(activation),
        Hidden::Gated => "gated".to_owned(),
    };
    let norm = match config.norm {
        Norm::None => "",
        Norm::Layer => ", layer norm",
        Norm::Batch => ", batch norm",
    };
    let residual = if config.residual { ", residual" } else { "" };
    let dropout = if config.dropout > 0.0 { format!(", dropout {}", config.dropout) } else { String::new() };
    let (parameters, widths) = (vae.layout().count(), widths.join("-"));
    let prior = match config.prior {
        PriorKind::StandardNormal if config.conditional_prior => "conditional prior, ".to_owned(),
        PriorKind::StandardNormal => String::new(),
        prior => format!("{prior} prior, "),
    };
    let posterior = match config.posterior {
        PosteriorKind::Diagonal => String::new(),
        posterior => format!("{posterior} posterior, "),
    };
    let lower = match config.lower {
        LowerKind::None => String::new(),
        lower => format!("{lower} below z, "),
    };
    let given = if config.condition > 0 { format!(" given {}", config.condition) } else { String::new() };
    let network = format!("{}: {widths}{given}, {layer}{norm}{residual}{dropout}", config.preset);
    format!("{network}, {} likelihood, {prior}{posterior}{lower}{parameters} parameters", config.likelihood)
}
