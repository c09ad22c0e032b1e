//! PNG files, written line by line: a picture of a whole data set needs the memory of one line.

use std::io::{self, Write};
use std::path::Path;

use png::{BitDepth, ColorType, Compression, Encoder};

use crate::files::atomic;
use crate::{Error, Result};

/// The format's limit on either side.
const MAX_SIDE: usize = i32::MAX as usize;

/// Writes an 8-bit PNG of `height` lines of `width` pixels with `channels` (1 grey, 3 RGB) to `path`, atomically.
/// `lines` must write exactly that many bytes, top line first.
pub(super) fn encode(
    path: &Path,
    (height, width, channels): (usize, usize, usize),
    lines: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let color = match channels {
        1 => ColorType::Grayscale,
        3 => ColorType::Rgb,
        _ => {
            let what = format!("an image of {channels} channels cannot be drawn, expected 1 (grey) or 3 (RGB)");
            return Err(Error::input(what).at(path.display().to_string()));
        }
    };
    let side = |n: usize| (1..=MAX_SIDE).contains(&n).then_some(n as u32);
    let (Some(w), Some(h)) = (side(width), side(height)) else {
        let what = format!("a picture of {width} by {height} pixels cannot be written");
        return Err(Error::input(what).at(path.display().to_string()).hint("draw fewer rows, or write .npy"));
    };
    atomic::write(path, |file| {
        let mut encoder = Encoder::new(file, w, h);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Balanced);
        let mut writer = encoder.write_header()?;
        let mut stream = writer.stream_writer()?;
        lines(&mut stream)?;
        stream.finish()?;
        Ok(writer.finish()?)
    })
}
