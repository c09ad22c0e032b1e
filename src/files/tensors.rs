//! Models and checkpoints: safetensors files that PyTorch and numpy read, the same bytes for the same content.
//!
//! The format is described in [`format`](super::format). Nothing in it depends on a hash map's order, and
//! [`TensorFile::read`] gives the tensors back in the file's order.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use byteorder::{LittleEndian, ReadBytesExt};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::atomic;
use crate::{Error, Result};

/// The version of the format that this crate writes, and the newest that it reads.
pub const FORMAT: u64 = 1;

/// The format's own limit on its header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// The key of the one metadata entry.
const KEY: &str = "elbo";

/// The elements of a tensor, borrowed for writing, owned after reading.
#[derive(Clone, PartialEq, Debug)]
pub enum Values<'a> {
    /// Single precision: parameters and their moments.
    F32(Cow<'a, [f32]>),
    /// Double precision: accumulators.
    F64(Cow<'a, [f64]>),
    /// Whole numbers: counters and seeds.
    U64(Cow<'a, [u64]>),
}

impl Values<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
            Values::U64(_) => Dtype::U64,
        }
    }

    fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::U64(v) => v.len(),
        }
    }

    fn write(&self, w: &mut dyn Write) -> io::Result<()> {
        match self {
            Values::F32(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes())),
            Values::F64(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes())),
            Values::U64(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes())),
        }
    }

    /// Reads `len` elements; `None` for a type that elbo does not write.
    fn read(dtype: Dtype, len: usize, r: &mut impl Read) -> Option<io::Result<Values<'static>>> {
        Some(match dtype {
            Dtype::F32 => {
                let mut v = vec![0.0; len];
                r.read_f32_into::<LittleEndian>(&mut v).map(|()| v.into())
            }
            Dtype::F64 => {
                let mut v = vec![0.0; len];
                r.read_f64_into::<LittleEndian>(&mut v).map(|()| v.into())
            }
            Dtype::U64 => {
                let mut v = vec![0; len];
                r.read_u64_into::<LittleEndian>(&mut v).map(|()| v.into())
            }
            _ => return None,
        })
    }
}

/// What a tensor can hold: `f32`, `f64` and `u64`.
pub trait Element: Sized + Copy {
    /// The elements, if they are of this type.
    fn of<'v>(values: &'v Values<'_>) -> Option<&'v [Self]>;
    /// The type's name in the format.
    const NAME: &'static str;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn of<'v>(values: &'v Values<'_>) -> Option<&'v [Self]> {
                if let Values::$variant(v) = values { Some(v) } else { None }
            }
            const NAME: &'static str = stringify!($variant);
        }
        impl<'a> From<&'a [$type]> for Values<'a> {
            fn from(v: &'a [$type]) -> Self {
                Values::$variant(Cow::Borrowed(v))
            }
        }
        impl From<Vec<$type>> for Values<'_> {
            fn from(v: Vec<$type>) -> Self {
                Values::$variant(Cow::Owned(v))
            }
        }
    };
}
element!(f32, F32);
element!(f64, F64);
element!(u64, U64);

/// A named array in C order.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor<'a> {
    /// For instance `encoder.0.weight`.
    pub name: Cow<'a, str>,
    /// The extent of each axis; `(out, in)` for a weight, as in PyTorch.
    pub shape: Vec<usize>,
    /// The elements, as many as the product of the shape.
    pub values: Values<'a>,
}

impl<'a> Tensor<'a> {
    /// A tensor over borrowed (`&[f32]`, …) or owned (`Vec<f32>`, …) elements.
    ///
    /// # Panics
    /// If the shape does not multiply to the number of elements.
    pub fn new(name: impl Into<Cow<'a, str>>, shape: &[usize], values: impl Into<Values<'a>>) -> Self {
        let (name, values) = (name.into(), values.into());
        let elements: usize = shape.iter().product();
        assert!(elements == values.len(), "tensor {name}: shape {shape:?} of {} elements", values.len());
        Tensor { name, shape: shape.to_vec(), values }
    }
}

/// Writes `metadata` (a JSON object) and `tensors` to `path`, [atomically](atomic::write).
///
/// The order of `tensors` is kept among those of the same width; give parameters in canonical order.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// If `metadata` is not an object, or two tensors share a name.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("model.safetensors");
/// use elbo::files::tensors::{self, Tensor, TensorFile};
/// let weight = vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// tensors::write(&path, &serde_json::json!({"preset": "tiny"}), &[Tensor::new("w", &[2, 3], &weight[..])])?;
/// let file = TensorFile::read(&path)?;
/// assert_eq!(file.metadata["preset"], "tiny");
/// assert_eq!(file.get::<f32>("w", &[2, 3])?, weight);
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn write(path: impl AsRef<Path>, metadata: &Value, tensors: &[Tensor<'_>]) -> Result<()> {
    let mut ordered: Vec<&Tensor<'_>> = tensors.iter().collect();
    ordered.sort_by_key(|t| std::cmp::Reverse(t.values.dtype().bitsize())); // stable: the order given, within a width
    let header = header(metadata, &ordered);
    atomic::write(path, |w| {
        w.write_all(&(header.len() as u64).to_le_bytes())?;
        w.write_all(&header)?;
        ordered.iter().try_for_each(|t| t.values.write(w))
    })
}

/// The header, padded with spaces so that the tensors start at a multiple of eight bytes.
fn header(metadata: &Value, tensors: &[&Tensor<'_>]) -> Vec<u8> {
    let mut metadata = metadata.as_object().expect("the metadata of a tensor file is a JSON object").clone();
    metadata.insert("format".into(), FORMAT.into());
    let entry = HashMap::from([(KEY.to_string(), canonical_json(&Value::Object(metadata)))]);

    let (mut names, mut infos, mut start) = (HashSet::from(["__metadata__"]), Vec::new(), 0);
    for t in tensors {
        assert!(names.insert(&t.name), "two tensors named {}", t.name);
        let end = start + t.values.len() * t.values.dtype().bitsize() / 8;
        let info = TensorInfo { dtype: t.values.dtype(), shape: t.shape.clone(), data_offsets: (start, end) };
        infos.push((t.name.to_string(), info));
        start = end;
    }
    let header = Metadata::new(Some(entry), infos).expect("shapes match lengths, offsets follow each other");
    let mut header = serde_json::to_vec(&header).expect("names and numbers are JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

/// A file of tensors in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorFile {
    /// The object given to [`write()`].
    pub metadata: Value,
    /// The tensors in the file's order.
    pub tensors: Vec<Tensor<'static>>,
    /// Where it was read, for errors.
    path: String,
}

impl TensorFile {
    /// Reads a file that elbo wrote. Every size in the header is checked against the length of the file before
    /// memory is asked for.
    ///
    /// # Errors
    /// When the file is missing, is not safetensors, is cut short or longer than its header says, contradicts itself,
    /// was not written by elbo or by a newer one, or holds a type that elbo does not write.
    pub fn read(path: impl AsRef<Path>) -> Result<TensorFile> {
        let path = path.as_ref();
        let at = |e: Error| e.at(path.display().to_string());
        let io = |e: io::Error| Error::io("read", path, &e);
        // Looked at first: to open a pipe is to wait for a writer.
        let info = std::fs::metadata(path).map_err(io)?;
        if !info.is_file() {
            return Err(at(Error::input("not a regular file, expected a model file")));
        }
        let file = File::open(path).map_err(io)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let (header, body) = read_header(&mut reader, info.len()).map_err(at)?;
        let metadata = elbo_entry(&header).map_err(at)?;
        let found = header.data_len() as u64;
        if found != body {
            let what = if found > body { "the file is cut short" } else { "the file is longer than its header says" };
            return Err(at(Error::input(format!("{what}: {found} bytes of tensors expected, {body} found"))));
        }
        let tensors = read_tensors(&header, &mut reader).map_err(at)?;
        Ok(TensorFile { metadata, tensors, path: path.display().to_string() })
    }

    /// The elements of the tensor `name`, which must have this type and shape.
    ///
    /// # Errors
    /// When there is no such tensor, or its type or shape differs.
    pub fn get<T: Element>(&self, name: &str, shape: &[usize]) -> Result<&[T]> {
        let fail = |what: String| Error::input(what).at(self.path.as_str());
        let tensor = self.tensors.iter().find(|t| t.name == name);
        let tensor = tensor.ok_or_else(|| fail(format!("there is no tensor {name}")))?;
        if tensor.shape != shape {
            return Err(fail(format!("tensor {name} has shape {:?}, expected {shape:?}", tensor.shape)));
        }
        T::of(&tensor.values)
            .ok_or_else(|| fail(format!("tensor {name} holds {}, expected {}", tensor.values.dtype(), T::NAME)))
    }
}

/// The header and how many bytes follow it, in a file of `len` bytes.
fn read_header(reader: &mut impl Read, len: u64) -> Result<(Metadata, u64)> {
    let not_safetensors = |why: &str| {
        Error::input(format!("not a safetensors file: {why}"))
            .hint("give the model.safetensors or the checkpoint of a run folder")
    };
    let cut = |e: io::Error| Error::input(format!("the file ends within its header: {e}"));
    if len < 10 {
        return Err(not_safetensors(&format!("it has {len} bytes")));
    }
    let size = reader.read_u64::<LittleEndian>().map_err(cut)?;
    let brace = reader.read_u8().map_err(cut)?;
    if brace != b'{' {
        return Err(not_safetensors("its header is not JSON"));
    }
    if size > MAX_HEADER {
        return Err(Error::input(format!("the header claims {size} bytes, the format allows {MAX_HEADER}")));
    }
    if size > len - 8 {
        let what = format!("the file is cut short: its header claims {size} bytes, {} follow", len - 8);
        return Err(Error::input(what));
    }
    let mut text = vec![brace];
    reader.take(size.saturating_sub(1)).read_to_end(&mut text).map_err(cut)?;
    // Parsing also checks that types, shapes and offsets agree and leave no gap.
    let header = serde_json::from_slice(&text).map_err(|e| Error::input(format!("the header is damaged: {e}")))?;
    Ok((header, len - 8 - size))
}

/// The parsed metadata, without the format's version.
fn elbo_entry(header: &Metadata) -> Result<Value> {
    let entry = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let text = entry.ok_or_else(|| Error::input("not an elbo model: its metadata has no entry \"elbo\""))?;
    let damaged = |why: &str| Error::input(format!("the metadata entry \"elbo\" is damaged: {why}"));
    let mut value: Value = serde_json::from_str(text).map_err(|e| damaged(&e.to_string()))?;
    let object = value.as_object_mut().ok_or_else(|| damaged("it is not a JSON object"))?;
    let format = object.remove("format").and_then(|f| f.as_u64()).filter(|&f| f > 0);
    match format.ok_or_else(|| damaged("it has no format number"))? {
        format if format > FORMAT => {
            Err(Error::input(format!("written by a newer elbo: format {format}, this one reads up to {FORMAT}"))
                .hint("update elbo"))
        }
        _ => Ok(value),
    }
}

fn read_tensors(header: &Metadata, reader: &mut impl Read) -> Result<Vec<Tensor<'static>>> {
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    // By name where an empty tensor shares its offset, so that the order never depends on a hash.
    infos.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then_with(|| a.cmp(b)));
    let read = |(name, info): (String, &TensorInfo)| {
        let len = info.shape.iter().product();
        let values = Values::read(info.dtype, len, reader)
            .ok_or_else(|| Error::input(format!("tensor {name} holds {}, expected F32, F64 or U64", info.dtype)))?;
        let values = values.map_err(|e| Error::input(format!("tensor {name}: the file changed while read: {e}")))?;
        Ok(Tensor { name: Cow::Owned(name), shape: info.shape.clone(), values })
    };
    infos.into_iter().map(read).collect()
}

/// Compact JSON with the keys of every object sorted, whatever map serde_json was built with.
///
/// ```
/// let value = serde_json::json!({"b": [{"d": 1, "c": 2.5}], "a": null});
/// assert_eq!(elbo::files::tensors::canonical_json(&value), r#"{"a":null,"b":[{"c":2.5,"d":1}]}"#);
/// ```
pub fn canonical_json(value: &Value) -> String {
    struct Sorted<'a>(&'a Value);
    impl Serialize for Sorted<'_> {
        fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
            match self.0 {
                Value::Object(map) => {
                    s.collect_map(map.iter().map(|(k, v)| (k, Sorted(v))).collect::<BTreeMap<_, _>>())
                }
                Value::Array(list) => s.collect_seq(list.iter().map(Sorted)),
                plain => plain.serialize(s),
            }
        }
    }
    serde_json::to_string(&Sorted(value)).expect("a JSON value is JSON")
}

/// SHA-256, in lower-case hexadecimal, of the parameters' little-endian f32 bytes, one tensor after another in the
/// order given: canonical order, weights as plain (out, in) rows. Names and shapes do not enter.
///
/// ```
/// // The same as Python's hashlib.sha256(numpy.array([1, 2, 3], "<f4").tobytes()).hexdigest()
/// let digest = elbo::files::tensors::digest([&[1.0f32, 2.0][..], &[3.0]]);
/// assert_eq!(digest, "8e628779e6a74ee0b36991c10158f63cafec7d340ad4e075592502c8708524dd");
/// ```
pub fn digest<'a>(tensors: impl IntoIterator<Item = &'a [f32]>) -> String {
    let mut hash = Sha256::new();
    let mut block = Vec::with_capacity(1 << 12);
    for values in tensors {
        for part in values.chunks(1 << 10) {
            block.clear();
            block.extend(part.iter().flat_map(|x| x.to_le_bytes()));
            hash.update(&block);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
