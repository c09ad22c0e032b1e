//! A folder of PNG pictures of one size, in the order of their file names.

use super::numbers::reserve;
use crate::data::rows::{ImageShape, Rows, Values};
use crate::{Error, Result};
use png::{Decoder, DecodingError, Transformations};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A PNG file packs at most this many times (deflate's limit), so a larger claim is false.
const PACKING_LIMIT: u128 = 1032;

/// The pictures of a folder, sorted by name, byte by byte. Other files are passed over.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e: std::io::Error| Error::io("list the folder", folder, &e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads data rows, one a picture: 8 bits a channel, grey or colour (channels last), an alpha channel dropped, 16 bits
/// rounded down to 8, palettes and fewer bits expanded.
pub(super) fn rows(pictures: &[PathBuf]) -> Result<Rows> {
    let mut values = Vec::new();
    let mut first: Option<ImageShape> = None;
    for path in pictures {
        let (shape, mut pixels) = picture(path)?;
        let expected = *first.get_or_insert(shape);
        if shape != expected {
            let error = Error::input(format!("a picture of {}, but {} before it", says(shape), says(expected)));
            return Err(error.at(path.display().to_string()).hint("all pictures need one size and one colour mode"));
        }
        reserve(&mut values, pixels.len(), usize::MAX).map_err(|e| e.at(path.display().to_string()))?;
        values.append(&mut pixels);
    }
    let Some(image) = first else { return Err(Error::input("there are no pictures")) };
    values.shrink_to_fit();
    Rows::new(Values::Bytes(values), image.values().unwrap_or(0))?.with_image(image)
}

fn says(shape: ImageShape) -> String {
    let ImageShape { height, width, channels } = shape;
    format!("{width} x {height} pixels in {}", if channels == 1 { "grey" } else { "colour" })
}

/// Decodes one picture.
fn picture(path: &Path) -> Result<(ImageShape, Vec<u8>)> {
    let error = |what: String| Error::input(what).at(path.display().to_string());
    // Looked at first: to open a pipe is to wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|e| Error::io("look at the picture", path, &e))?;
    if !metadata.is_file() {
        return Err(error("a picture is needed here, and this is no regular file".to_owned()));
    }
    let size = metadata.len();
    let file = File::open(path).map_err(|e| Error::io("open the picture", path, &e))?;
    let damaged = |e: DecodingError| error(format!("cannot decode the PNG: {e}"));

    let mut decoder = Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let info = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (info.width, info.height);
    let bits = u128::from(width) * u128::from(height) * info.bits_per_pixel() as u128;
    if bits / 8 > u128::from(size) * PACKING_LIMIT {
        return Err(error(format!("the header claims {width} x {height} pixels, too many for a file of {size} bytes")));
    }
    let mut reader = decoder.read_info().map_err(damaged)?;
    let samples = reader.output_color_type().0.samples();
    let len = reader.output_buffer_size().ok_or_else(|| error("the picture is too large".to_owned()))?;
    let mut pixels = Vec::new();
    reserve(&mut pixels, len, 0).map_err(|e| e.at(path.display().to_string()))?;
    pixels.resize(len, 0);
    reader.next_frame(&mut pixels).map_err(damaged)?;
    // Grey with alpha has 2 samples, colour with alpha 4: the last is alpha.
    let channels = if samples < 3 { 1 } else { 3 };
    if samples > channels {
        pixels = pixels.chunks_exact(samples).flat_map(|pixel| pixel[..channels].iter().copied()).collect();
    }
    Ok((ImageShape { height: height as usize, width: width as usize, channels }, pixels))
}
