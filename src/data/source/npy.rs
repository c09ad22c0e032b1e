//! NPY, NumPy's format: a header in Python's notation, then the numbers.

use super::idx::finish;
use super::input::Input;
use super::numbers::{Header, Number};
use crate::Result;
use crate::data::rows::{Rows, Store, Values};
use crate::error::start_of;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header as npy;

/// NumPy writes 128 bytes for an array of numbers; more than this is something else.
const LONGEST_HEADER: usize = 1 << 12;

/// Reads the header, and whether columns come before rows (Fortran's order).
fn header(input: &mut Input) -> Result<(Header, bool)> {
    let text = header_bytes(input)?;
    let parsed = npy::Header::from_reader(&mut text.as_slice());
    let parsed = parsed.map_err(|e| input.error(format!("the NPY header is damaged: {e}")))?;
    let descriptor = parsed.type_descriptor.as_string().map_or("", String::as_str);
    let (order, kind) = descriptor.split_at_checked(1).unwrap_or(("", ""));
    let number = match kind {
        "u1" => Number::U8,
        "i1" | "b1" => Number::I8,
        "u2" => Number::U16,
        "i2" => Number::I16,
        "u4" => Number::U32,
        "i4" => Number::I32,
        "u8" => Number::U64,
        "i8" => Number::I64,
        "f4" => Number::F32,
        "f8" => Number::F64,
        _ => {
            let kind = parsed.type_descriptor.to_string();
            let what = format!("the NPY array holds {}, not plain numbers", start_of(&kind));
            return Err(input.error(what).hint("save it as float32: `numpy.save(path, x.astype('float32'))`"));
        }
    };
    let fortran = parsed.layout.is_fortran() && parsed.shape.len() > 1;
    Ok((Header { number, big_endian: order == ">", dims: parsed.shape }, fortran))
}

/// The header's bytes, after a look at its length and depth: a parser must not be sent into memory that does not exist,
/// nor down a thousand brackets.
fn header_bytes(input: &mut Input) -> Result<Vec<u8>> {
    let head = input.head();
    let version = head.get(6).copied().unwrap_or(0);
    let (start, len) = match (version, head) {
        (1, [.., _, _]) if head.len() >= 10 => (10, usize::from(u16::from_le_bytes([head[8], head[9]]))),
        (2 | 3, [.., a, b, c, d]) if head.len() >= 12 => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        (1..=3, _) => return Err(input.error("the NPY header ends early")),
        _ => return Err(input.error(format!("NPY version {version} is unknown: expected 1, 2 or 3"))),
    };
    if len > LONGEST_HEADER {
        return Err(input.error(format!("the NPY header claims {len} bytes: not a plain array of numbers")));
    }
    let mut bytes = vec![0; start + len];
    let got = input.fill(&mut bytes)?;
    if got < bytes.len() {
        return Err(input.error(format!("the NPY header claims {len} bytes, but the file ends after {got}")));
    }
    if bytes[start..].iter().filter(|b| b"([{".contains(b)).count() > 8 {
        return Err(input.error("the NPY array holds records, not plain numbers"));
    }
    Ok(bytes)
}

/// Reads data rows: two dimensions or more, rows first; three are pictures. Beyond `limit` bytes they are left in the
/// file, if rows come before columns there.
pub(super) fn rows(mut input: Input, limit: u64) -> Result<Rows> {
    let (header, fortran) = header(&mut input)?;
    if header.dims.len() == 1 {
        let error = input.error(format!("an array of one dimension ({}): data have rows and columns", header.dims[0]));
        return Err(error.hint("reshape it: `x.reshape(-1, 1)` for one column, `x.reshape(1, -1)` for one row"));
    }
    let cols = header.cols(&input)?;
    let store = if fortran {
        let mut values = header.values();
        header.read_into(&mut input, &mut values)?;
        Store::Memory(match values {
            Values::Bytes(v) => Values::Bytes(row_major(v, &header.dims)),
            Values::Floats(v) => Values::Floats(row_major(v, &header.dims)),
        })
    } else {
        header.store_within(&mut input, limit)?
    };
    finish(Rows::new(store, cols), &header).map_err(|e| e.at(input.place()))
}

/// Reads labels: one dimension of numbers (or one column).
pub(super) fn labels(input: &mut Input) -> Result<Vec<f64>> {
    header(input)?.0.read_labels(input)
}

fn row_major<T: Clone>(values: Vec<T>, dims: &[usize]) -> Vec<T> {
    let array = ArrayD::from_shape_vec(IxDyn(dims).f(), values).expect("as many values as the header claims");
    array.iter().cloned().collect()
}
