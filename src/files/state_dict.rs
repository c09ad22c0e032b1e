//! PyTorch's state dicts in safetensors files: tensors by whatever names, of any floating type, without elbo's metadata.

use super::atomic;
use super::tensors::{Tensor, Values};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::HashMap;
use std::path::Path;

/// How a person makes such a file.
const SAVE: &str =
    "in Python: safetensors.torch.save_file(model.state_dict(), \"model.safetensors\") makes a file that elbo reads";

/// A state dict, as a file holds it.
#[derive(Debug)]
pub struct StateDict {
    bytes: Vec<u8>,
    header: Metadata,
    /// Where the tensors' bytes start.
    start: usize,
}

impl StateDict {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, that is no safetensors file (a pickle of `torch.save`, say) or is damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<StateDict> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
        Self::parse(bytes).map_err(|e| e.at(path.display().to_string()))
    }

    fn parse(bytes: Vec<u8>) -> Result<StateDict> {
        // torch.save writes a ZIP archive; before version 1.6, a bare pickle. A safetensors file starts with its header's
        // length, which may look like either: what can be read is no pickle.
        let pickle = bytes.starts_with(b"PK") || bytes.starts_with(&[0x80, 0x02]);
        let wrong = |e| match pickle {
            true => Error::input("a pickle of torch.save, expected a safetensors file").hint(SAVE),
            false => Error::input(format!("not a safetensors file, or a damaged one: {e}")).hint(SAVE),
        };
        // Checks offsets against types, shapes and the file's length.
        SafeTensors::deserialize(&bytes).map_err(wrong)?;
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
        Ok(StateDict { bytes, header, start: 8 + length })
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.header.tensors().into_keys().collect();
        names.sort_unstable();
        names
    }

    /// A tensor's shape, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|info| &info.shape[..])
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// A tensor's elements in C order; of F64, F16 and BF16, the nearest f32 (the last two are exact).
    ///
    /// # Errors
    /// No such tensor, another type, or a value that is not finite, in f32 at least.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let info = self.info(name).ok_or_else(|| Error::input(format!("there is no tensor {name}")))?;
        let (from, to) = info.data_offsets;
        let bytes = self.bytes.get(self.start + from..self.start + to).unwrap_or_default();
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            other => {
                let what = format!("tensor {name} holds {other}, expected F32, F64, F16 or BF16");
                return Err(Error::input(what).hint("model.float() makes all parameters F32"));
            }
        };
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::input(format!("tensor {name} holds a value that is no finite f32, at {at}"))),
            None => Ok(values),
        }
    }
}

/// Writes tensors of f32 as a state dict that `safetensors.torch.load_file` reads, [atomically](atomic::write). Equal
/// tensors make equal bytes.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// If a tensor is not of f32.
pub fn write(path: impl AsRef<Path>, tensors: &[Tensor<'_>]) -> Result<()> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|t| match &t.values {
            Values::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            _ => panic!("tensor {} is not of f32", t.name),
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|(t, bytes)| {
        (&t.name, TensorView::new(Dtype::F32, t.shape.clone(), bytes).expect("as many bytes as the shape says"))
    });
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = serialize(views, Some(about)).expect("a header of names and shapes");
    atomic::write(path, |w| w.write_all(&file))
}
