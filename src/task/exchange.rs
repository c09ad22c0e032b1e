//! PyTorch's state dicts in and out: a model from the tensors of a network of the same shape, and back.
//!
//! PyTorch stores a weight as (out, in), and so do elbo's files, so an exchange is a matter of names. The network that
//! most VAE code shares, pytorch/examples' `vae/main.py` (the preset `mlp-400`), has these:
//!
//! | elbo | PyTorch |
//! |---|---|
//! | `encoder.0` | `fc1` |
//! | `encoder.mean` | `fc21` |
//! | `encoder.log_variance` | `fc22` |
//! | `decoder.0` | `fc3` |
//! | `decoder.1` | `fc4` |
//!
//! For other names there is a mapping in TOML, by layer or by parameter, on the left elbo's names (see
//! [`SavedModel`]), on the right PyTorch's. What it leaves out keeps elbo's name. A list stands for tensors whose rows
//! follow one another in one of elbo's, in equal parts: a joint head is the mean's rows, then the log-variance's; a
//! gated layer the values' rows, then the gates'.
//!
//! ```toml
//! "encoder.0" = "encoder.linear1"                # encoder.linear1.weight and .bias
//! "encoder.posterior" = ["to_mean", "to_logvar"]
//! "decoder.0.weight" = "decoder_weight"
//! "decoder.0.bias" = "decoder_bias"
//! ```

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::state_dict::StateDict;
use crate::files::tensors::Tensor;
use crate::model::Vae;
use crate::nearest::unknown;
use crate::tensor::{Entry, Layout, Par, Params};
use crate::train::{DataInfo, ModelInfo, SavedModel, Selected, Settings, check_mask, expect_variance};
use std::collections::HashSet;
use std::path::Path;

/// The layers of the published example.
const PUBLISHED: [(&str, &str); 5] = [
    ("encoder.0", "fc1"),
    ("encoder.mean", "fc21"),
    ("encoder.log_variance", "fc22"),
    ("decoder.0", "fc3"),
    ("decoder.1", "fc4"),
];

/// How to read a name that does not fit.
const CHOOSE: &str = "--preset, --hidden, --latent, --norm, --heads, --prior, --lower and --likelihood choose the network, \
                      --map names its tensors";

/// PyTorch's names for elbo's parameters: by layer or by parameter, one or several whose rows follow one another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TensorNames(Vec<(String, Vec<String>)>);

impl TensorNames {
    /// The published example's names where a network has its layers; else elbo's own.
    pub fn published(layout: &Layout) -> Self {
        let same = layout.entries().len() == 2 * PUBLISHED.len()
            && layout.entries().iter().all(|e| PUBLISHED.iter().any(|(layer, _)| *layer == layer_of(&e.name)));
        let pair = |(ours, theirs): &(&str, &str)| ((*ours).to_owned(), vec![(*theirs).to_owned()]);
        TensorNames(if same { PUBLISHED.iter().map(pair).collect() } else { Vec::new() })
    }

    /// A mapping from a TOML file: see the [module's page](self).
    ///
    /// # Errors
    /// A file that cannot be read, and as [`from_toml`](Self::from_toml).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        Self::from_toml(&text).map_err(|e| e.at(path.display().to_string()))
    }

    /// A mapping from TOML. Keys may stand in quotes or as TOML's dotted keys.
    ///
    /// # Errors
    /// Not TOML, or a value that is neither a name nor a list of names.
    pub fn from_toml(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| Error::input(e.to_string().trim_end()))?;
        let mut names = Vec::new();
        flatten("", &table, &mut names)?;
        Ok(TensorNames(names))
    }

    /// PyTorch's names of each parameter of a layout, in its order.
    ///
    /// # Errors
    /// A key that is no layer or parameter, and a tensor that two parameters claim.
    fn of(&self, layout: &Layout) -> Result<Vec<Vec<String>>> {
        let known: Vec<&str> = all(layout).flat_map(|e| [e.name.as_str(), layer_of(&e.name)]).collect();
        if let Some((key, _)) = self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            return Err(unknown("layer or parameter", key, &known));
        }
        let find = |name: &str| self.0.iter().find(|(key, _)| key == name).map(|(_, theirs)| theirs);
        let names = |e: &Entry| match (find(&e.name), find(layer_of(&e.name))) {
            (Some(theirs), _) => theirs.clone(),
            (None, Some(layers)) => {
                let last = &e.name[layer_of(&e.name).len()..];
                layers.iter().map(|layer| format!("{layer}{last}")).collect()
            }
            (None, None) => vec![e.name.clone()],
        };
        let all: Vec<Vec<String>> = all(layout).map(names).collect();
        let mut seen = HashSet::new();
        match all.iter().flatten().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(Error::input(format!("the mapping names tensor {twice} twice"))),
            None => Ok(all),
        }
    }
}

/// What a state dict has of a network: its parameters, then its statistics.
fn all(layout: &Layout) -> impl Iterator<Item = &Entry> {
    layout.entries().iter().chain(layout.statistics().map_or(&[][..], Layout::entries))
}

/// A parameter's name without its last part.
fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

fn flatten(prefix: &str, table: &toml::Table, names: &mut Vec<(String, Vec<String>)>) -> Result<()> {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        let wrong = || Error::input(format!("{key} is {value}, expected a tensor's name or a list of names"));
        let theirs = match value {
            toml::Value::Table(inner) => {
                flatten(&format!("{key}."), inner, names)?;
                continue;
            }
            toml::Value::String(name) => vec![name.clone()],
            toml::Value::Array(list) if !list.is_empty() => {
                let text = |v: &toml::Value| v.as_str().map(str::to_owned);
                list.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        names.push((key, theirs));
    }
    Ok(())
}

/// A model from a state dict: the network that `settings` describe, with the dict's numbers. Columns of x are those of
/// its first weight. `names` are the published example's, or elbo's own, if none are given; `data`, if given, are what
/// the model was trained on: it keeps their name, scale, columns and the shape of their pictures.
///
/// # Errors
/// Settings that make no network, or one whose prior is more than its parameters; a tensor that is missing, of another shape, of no floating type or not finite; tensors
/// that the network has no place for; data of other columns.
pub fn import(
    dict: &StateDict,
    settings: &Settings,
    names: Option<&TensorNames>,
    data: Option<&Dataset>,
) -> Result<SavedModel> {
    // Names do not depend on the number of columns.
    if settings.conditional_prior == Some(true) {
        return Err(given());
    }
    let narrow = Vae::new(&settings.network(1)?)?;
    check_exchange(&narrow)?;
    let names = names.map_or_else(|| TensorNames::published(narrow.layout()), TensorNames::clone).of(narrow.layout())?;
    check_names(dict, narrow.layout(), &names)?;
    let first = &names[0][0];
    let inputs = match dict.shape(first) {
        Some([_, inputs]) => *inputs,
        shape => {
            let what = format!("tensor {first} has shape {:?}, expected [width, columns of x]", shape.unwrap_or(&[]));
            return Err(Error::input(what));
        }
    };
    // The decoder's first weight sees what is given beside the latents.
    let decoder = narrow.layout().entries().iter().position(|e| e.name.starts_with("decoder."));
    let latents = decoder.and_then(|at| dict.shape(&names[at][0])).and_then(|shape| shape.get(1));
    if latents.zip(data).is_some_and(|(&codes, data)| {
        let more = codes.saturating_sub(narrow.config().latent);
        more > 0 && inputs == data.all().cols() + more
    }) {
        return Err(given());
    }
    if let Some(data) = data {
        data.all().expect_cols(inputs)?;
    }
    let vae = Vae::new(&settings.network(inputs)?)?;
    let plain: Vec<Vec<f32>> =
        all(vae.layout()).zip(&names).map(|(e, parts)| gather(dict, e, parts)).collect::<Result<_>>()?;
    // Every tensor is as large as the network says, so memory is asked for no more than the file has.
    let mut params = Params::zeros(vae.layout());
    let parameters = vae.layout().entries().len();
    for (i, (entry, plain)) in all(vae.layout()).zip(&plain).enumerate() {
        let slab = if i < parameters { params.values_mut() } else { params.statistics_mut() };
        slab.pack(&entry.slot, plain);
    }
    params.refresh(Par::Sequential);
    let info = ModelInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data: data.map_or_else(DataInfo::unknown, DataInfo::new),
        settings: Settings { data: data.map(|d| d.name().to_owned()), ..Settings::from_network(vae.config()) },
        epoch: 0,
        step: 0,
        selected: Selected::Last,
    };
    Ok(SavedModel { vae, params, info })
}

/// Why a conditional model cannot come in.
fn given() -> Error {
    Error::input("a state dict does not say what the condition of a conditional model is made of")
        .hint("model.safetensors, which elbo itself reads and writes, does")
}

/// Whether a network is all in its parameters.
fn check_exchange(vae: &Vae) -> Result<()> {
    let prior = vae.config().prior;
    if !prior.is_exemplar() {
        return Ok(());
    }
    Err(Error::input(format!(
        "a state dict has a network's parameters, and the prior {prior} is made of its training rows too"
    ))
    .hint("model.safetensors, which elbo itself reads and writes, has both"))
}

/// Whether the dict has the tensors that are named, and no others.
fn check_names(dict: &StateDict, layout: &Layout, names: &[Vec<String>]) -> Result<()> {
    let found = dict.names();
    for (entry, parts) in all(layout).zip(names) {
        if let Some(missing) = parts.iter().find(|name| dict.shape(name).is_none()) {
            let what =
                format!("there is no tensor {missing}, which is to be {}; there are {}", entry.name, list(&found));
            return Err(Error::input(what).hint(CHOOSE));
        }
    }
    // PyTorch counts the batches of a running average too, whether or not its decay asks for it.
    let counter = |name: &str| layout.statistics().is_some() && name.ends_with(".num_batches_tracked");
    let used = |name: &String| names.iter().flatten().any(|n| n == name) || counter(name);
    let unused: Vec<String> = found.into_iter().filter(|name| !used(name)).collect();
    match unused.is_empty() {
        true => Ok(()),
        false => Err(Error::input(format!("the network has no place for {}", list(&unused))).hint(CHOOSE)),
    }
}

/// The first names of many.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "no tensors".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

/// The shape of each of the `parts` tensors that share a parameter's rows.
fn share(entry: &Entry, parts: usize) -> Result<Vec<usize>> {
    let mut shape = entry.shape();
    if !shape[0].is_multiple_of(parts) {
        let what = format!("{} has {} rows, which {parts} tensors cannot share equally", entry.name, shape[0]);
        return Err(Error::input(what).hint(CHOOSE));
    }
    shape[0] /= parts;
    Ok(shape)
}

/// One parameter's elements from the tensors that it is made of.
fn gather(dict: &StateDict, entry: &Entry, parts: &[String]) -> Result<Vec<f32>> {
    let expected = share(entry, parts.len())?;
    let mut all = Vec::with_capacity(entry.slot.count().min(1 << 20));
    for name in parts {
        let shape = dict.shape(name).unwrap_or(&[]);
        if shape != expected {
            let what = format!("tensor {name} has shape {shape:?}, expected {expected:?} ({})", entry.name);
            return Err(Error::input(what).hint(CHOOSE));
        }
        all.extend(dict.values(name)?);
    }
    check_mask(entry, &parts.join(", "), &all)?;
    expect_variance(&entry.name, &all)?;
    Ok(all)
}

/// A model's parameters as the tensors of a state dict; `names` as for [`import`].
///
/// # Errors
/// Names that do not fit the network, and a prior that is more than its parameters.
pub fn export(model: &SavedModel, names: Option<&TensorNames>) -> Result<Vec<Tensor<'static>>> {
    let layout = model.vae.layout();
    check_exchange(&model.vae)?;
    let names = names.map_or_else(|| TensorNames::published(layout), TensorNames::clone).of(layout)?;
    let mut tensors = Vec::new();
    for (i, (entry, parts)) in all(layout).zip(&names).enumerate() {
        let shape = share(entry, parts.len())?;
        let slab = if i < layout.entries().len() { model.params.values() } else { model.params.statistics() };
        let plain = slab.unpack(&entry.slot).into_raw_vec_and_offset().0;
        let each = plain.len() / parts.len();
        for (name, part) in parts.iter().zip(plain.chunks(each)) {
            tensors.push(Tensor::new(name.clone(), &shape, part.to_vec()));
        }
    }
    Ok(tensors)
}
