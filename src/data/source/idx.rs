//! IDX, the format of MNIST: two zero bytes, a type, the number of dimensions, the dimensions as 32-bit numbers, then
//! the data; all big-endian, the first dimension counting rows. (LeCun, Cortes and Burges, "The MNIST database".)

use super::input::Input;
use super::numbers::{Header, Number};
use crate::Result;
use crate::data::rows::{ImageShape, Rows};
use byteorder::{BigEndian, ByteOrder};

/// Whether the first bytes can be those of an IDX file.
pub(super) fn is_idx(head: &[u8]) -> bool {
    head.starts_with(&[0, 0])
}

/// Reads the header.
pub(super) fn header(input: &mut Input) -> Result<Header> {
    let mut magic = [0; 4];
    let got = input.fill(&mut magic)?;
    let number = match magic {
        _ if got < 4 => return Err(input.error(format!("the header ends after {got} bytes: not an IDX file"))),
        [0, 0, 0x08, _] => Number::U8,
        [0, 0, 0x09, _] => Number::I8,
        [0, 0, 0x0B, _] => Number::I16,
        [0, 0, 0x0C, _] => Number::I32,
        [0, 0, 0x0D, _] => Number::F32,
        [0, 0, 0x0E, _] => Number::F64,
        [0, 0, other, _] => {
            let what = format!("unknown IDX type 0x{other:02x}: expected 08, 09, 0b, 0c, 0d or 0e");
            return Err(input.error(what));
        }
        [a, b, c, d] => {
            let what = format!("the magic number is {a:02x}{b:02x}{c:02x}{d:02x}: an IDX file starts with 0000");
            return Err(input.error(what).hint("is this an IDX file, and is it whole?"));
        }
    };
    let mut bytes = vec![0; 4 * usize::from(magic[3])];
    let got = input.fill(&mut bytes)?;
    if got < bytes.len() {
        return Err(input.error(format!("the header ends within the {} dimensions it announces", magic[3])));
    }
    let dims = bytes.chunks_exact(4).map(|b| BigEndian::read_u32(b) as usize).collect();
    Ok(Header { number, big_endian: true, dims })
}

/// Reads data rows, or leaves them in the file beyond `limit` bytes; three dimensions are pictures.
pub(super) fn rows(mut input: Input, limit: u64) -> Result<Rows> {
    let header = header(&mut input)?;
    let cols = header.cols(&input)?;
    let store = header.store_within(&mut input, limit)?;
    finish(Rows::new(store, cols), &header).map_err(|e| e.at(input.place()))
}

/// Gives rows the shape of pictures that the dimensions say.
pub(super) fn finish(rows: Result<Rows>, header: &Header) -> Result<Rows> {
    match ImageShape::from_dims(&header.dims[1..]) {
        Some(image) => rows?.with_image(image),
        None => rows,
    }
}

/// Reads labels: one dimension of numbers.
pub(super) fn labels(input: &mut Input) -> Result<Vec<f64>> {
    header(input)?.read_labels(input)
}
