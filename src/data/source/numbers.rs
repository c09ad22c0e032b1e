//! Binary numbers, streamed: memory grows with what was read, never with what a header claims.

use super::input::Input;
use crate::data::memory::expect_memory;
use crate::data::row_file::{Part, RowFile};
use crate::data::rows::{Store, Values};
use crate::{Error, Result};
use byteorder::{BigEndian, ByteOrder, LittleEndian};
use elbo_kernels::Element;

/// The type of stored numbers; IDX has no wide unsigned ones, NPY has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::data) enum Number {
    U8,
    I8,
    #[cfg(feature = "files")]
    U16,
    I16,
    #[cfg(feature = "files")]
    U32,
    I32,
    #[cfg(feature = "files")]
    U64,
    #[cfg(feature = "files")]
    I64,
    F32,
    F64,
}

impl Number {
    /// Bytes of one number.
    pub(in crate::data) fn size(self) -> usize {
        match self {
            Number::U8 | Number::I8 => 1,
            Number::I16 => 2,
            Number::I32 | Number::F32 => 4,
            Number::F64 => 8,
            #[cfg(feature = "files")]
            Number::U16 => 2,
            #[cfg(feature = "files")]
            Number::U32 => 4,
            #[cfg(feature = "files")]
            Number::U64 | Number::I64 => 8,
        }
    }

    /// Reads one number of this type from the start of a slice. Beyond 2⁵³, the nearest `f64`.
    pub(in crate::data) fn decoder(self, big_endian: bool) -> fn(&[u8]) -> f64 {
        if big_endian { self.decoder_in::<BigEndian>() } else { self.decoder_in::<LittleEndian>() }
    }

    fn decoder_in<B: ByteOrder>(self) -> fn(&[u8]) -> f64 {
        match self {
            Number::U8 => |b| f64::from(b[0]),
            Number::I8 => |b| f64::from(b[0] as i8),
            #[cfg(feature = "files")]
            Number::U16 => |b| f64::from(B::read_u16(b)),
            Number::I16 => |b| f64::from(B::read_i16(b)),
            #[cfg(feature = "files")]
            Number::U32 => |b| f64::from(B::read_u32(b)),
            Number::I32 => |b| f64::from(B::read_i32(b)),
            #[cfg(feature = "files")]
            Number::U64 => |b| B::read_u64(b) as f64,
            #[cfg(feature = "files")]
            Number::I64 => |b| B::read_i64(b) as f64,
            Number::F32 => |b| f64::from(B::read_f32(b)),
            Number::F64 => |b| B::read_f64(b),
        }
    }

    /// Turns bytes into the numbers that [`Header::read_into`] would keep of them. Floats have loops of their own, which
    /// become vector code.
    pub(in crate::data) fn decode_into<F: Element>(self, big_endian: bool, bytes: &[u8], out: &mut [F]) {
        fn each<F: Element, const N: usize>(bytes: &[u8], out: &mut [F], read: impl Fn([u8; N]) -> f32) {
            for (o, word) in out.iter_mut().zip(bytes.as_chunks().0) {
                *o = F::from_f64(f64::from(read(*word)));
            }
        }
        match (self, big_endian) {
            (Number::F32, false) => each(bytes, out, f32::from_le_bytes),
            (Number::F32, true) => each(bytes, out, f32::from_be_bytes),
            (Number::F64, false) => each(bytes, out, |word| f64::from_le_bytes(word) as f32),
            (Number::F64, true) => each(bytes, out, |word| f64::from_be_bytes(word) as f32),
            _ => {
                let decode = self.decoder(big_endian);
                for (o, word) in out.iter_mut().zip(bytes.chunks_exact(self.size())) {
                    *o = F::from_f64(f64::from(decode(word) as f32));
                }
            }
        }
    }
}

/// What a header says follows it: `rows × cols` numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) number: Number,
    pub(super) big_endian: bool,
    /// All dimensions, rows first.
    pub(super) dims: Vec<usize>,
}

impl Header {
    pub(super) fn rows(&self) -> usize {
        self.dims[0]
    }

    /// Numbers in a row: the product of the dimensions after the first.
    ///
    /// # Errors
    /// No dimension, a dimension of 0, or a size in bytes beyond what memory can address.
    pub(super) fn cols(&self, input: &Input) -> Result<usize> {
        let dims = &self.dims;
        if dims.is_empty() {
            return Err(input.error("a single number without dimensions").hint("data have rows and columns"));
        }
        if dims.contains(&0) {
            return Err(input.error(format!("the header claims {}: there are no data", shape(dims))));
        }
        let bytes = dims.iter().try_fold(self.number.size(), |n, &d| n.checked_mul(d));
        match bytes {
            Some(n) if isize::try_from(n).is_ok() => Ok(dims[1..].iter().product()),
            _ => Err(input.error(format!("the header claims {}, more than memory can address", shape(dims)))),
        }
    }

    /// The data in memory, or left in their file where they would take more than `limit` bytes and the file is plain.
    pub(super) fn store_within(&self, input: &mut Input, limit: u64) -> Result<Store> {
        if self.kept_bytes() > limit
            && let Some(part) = self.part(input)?
        {
            return Ok(self.file(vec![part], self.cols(input)?).into());
        }
        let mut values = self.values();
        self.read_into(input, &mut values)?;
        Ok(values.into())
    }

    /// Bytes that the data take in memory.
    pub(super) fn kept_bytes(&self) -> u64 {
        let size = if self.number == Number::U8 { 1 } else { size_of::<f32>() };
        self.dims.iter().fold(size as u64, |n, &d| n.saturating_mul(d as u64))
    }

    /// The data that lie ahead in a plain file, for later; nothing if it is packed, or no file.
    pub(super) fn part(&self, input: &Input) -> Result<Option<Part>> {
        let Some((file, start, len)) = input.plain_file()? else { return Ok(None) };
        let total = (self.rows() * self.cols(input)? * self.number.size()) as u64;
        match len.saturating_sub(start) {
            found if found < total => Err(self.cut_short(input, found as usize)?),
            found if found > total => Err(input.bytes_follow()),
            _ => Ok(Some(Part::new(file, input.place().to_owned(), start, self.rows()))),
        }
    }

    /// Data that stay in files, which this header describes but for the number of rows.
    pub(super) fn file(&self, parts: Vec<Part>, cols: usize) -> RowFile {
        RowFile::new(parts, self.number, self.big_endian, cols)
    }

    /// Reads the data into `values`, behind what is there: bytes to bytes, all other types to `f32`.
    pub(super) fn read_into(&self, input: &mut Input, values: &mut Values) -> Result<()> {
        match values {
            Values::Bytes(bytes) => self.each_chunk(input, bytes, |chunk, bytes| bytes.extend_from_slice(chunk)),
            Values::Floats(floats) => {
                let (decode, size) = (self.number.decoder(self.big_endian), self.number.size());
                self.each_chunk(input, floats, |chunk, floats| {
                    floats.extend(chunk.chunks_exact(size).map(|b| decode(b) as f32));
                })
            }
        }
    }

    /// Reads the data as labels, each a finite number.
    pub(super) fn read_labels(&self, input: &mut Input) -> Result<Vec<f64>> {
        if self.cols(input)? != 1 {
            let error = input.error(format!("labels have one dimension, and this file has {}", shape(&self.dims)));
            return Err(error.hint("is this the file of the data themselves?"));
        }
        let (decode, size) = (self.number.decoder(self.big_endian), self.number.size());
        let mut labels = Vec::new();
        self.each_chunk(input, &mut labels, |chunk, labels| labels.extend(chunk.chunks_exact(size).map(decode)))?;
        match labels.iter().position(|x| !x.is_finite()) {
            Some(row) => Err(input.error(format!("the label of row {row} is {}, not a finite number", labels[row]))),
            None => Ok(labels),
        }
    }

    /// An empty store of the type that the numbers are kept in.
    pub(super) fn values(&self) -> Values {
        if self.number == Number::U8 { Values::Bytes(Vec::new()) } else { Values::Floats(Vec::new()) }
    }

    /// Reads all data in chunks of whole numbers and checks that nothing follows.
    fn each_chunk<T>(&self, input: &mut Input, out: &mut Vec<T>, add: impl Fn(&[u8], &mut Vec<T>)) -> Result<()> {
        let size = self.number.size();
        let row_bytes = self.cols(input)? * size;
        let total = self.rows() * row_bytes;
        let mut chunk = vec![0; total.min(1 << 16)];
        let mut done = 0;
        while done < total {
            let want = chunk.len().min(total - done);
            let got = input.fill(&mut chunk[..want])?;
            done += got;
            if got < want {
                return Err(self.cut_short(input, done)?);
            }
            reserve(out, want / size, (total - done) / size).map_err(|e| e.at(input.place()))?;
            add(&chunk[..want], out);
        }
        input.expect_end()
    }

    /// The error of a file that ends after `done` bytes of data.
    fn cut_short(&self, input: &Input, done: usize) -> Result<Error> {
        let row_bytes = self.cols(input)? * self.number.size();
        let (promised, row, total) = (shape(&self.dims), done / row_bytes, self.rows() * row_bytes);
        let what =
            format!("the header claims {promised}, but the file ends in row {row} ({done} of {total} bytes of data)");
        Ok(input.error(what).hint("rows count from 0; the file is cut short or its header is wrong"))
    }
}

/// Makes room for `more` numbers. Room doubles, as it does in any `Vec`, but never beyond the `later` ones still to come,
/// so that a whole file sits in memory of exactly its size.
///
/// # Errors
/// More than there is: data packed small may unpack to any size.
pub(super) fn reserve<T>(out: &mut Vec<T>, more: usize, later: usize) -> Result<()> {
    if out.capacity() - out.len() >= more {
        return Ok(());
    }
    let extra = more + out.len().min(later);
    let bytes = (out.len() + extra) as u64 * size_of::<T>() as u64;
    // Below this, asking the system takes longer than the data are worth.
    if bytes >= 1 << 26 {
        expect_memory(extra as u64 * size_of::<T>() as u64, "the rest of the data")?;
    }
    out.try_reserve_exact(extra).map_err(|_| Error::input("there is not enough memory for the data"))
}

/// Dimensions as people write them: `60000 x 28 x 28`; the first few of very many.
pub(super) fn shape(dims: &[usize]) -> String {
    const MOST: usize = 8;
    let shown = dims.iter().take(MOST).map(usize::to_string).collect::<Vec<_>>().join(" x ");
    if dims.len() > MOST { format!("{shown} x … ({} dimensions)", dims.len()) } else { shown }
}
