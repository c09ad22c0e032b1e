//! Grids of images: samples, interpolations, originals above their reconstructions.

use std::io::{self, Write};
use std::path::Path;

use ndarray::{ArrayView1, ArrayView2, Axis};

use super::{ImageShape, picture};
use crate::Result;

/// Pixels between images, and around them.
const GAP: usize = 2;
/// Pixels between one pair of lines (originals, reconstructions) and the next.
const GROUP_GAP: usize = 8;
/// The grey of the gaps.
const BACKGROUND: u8 = 255;
/// Images up to this side are drawn at twice their size.
const SMALL: usize = 64;

/// Draws the rows of `images`, (n, height·width·channels) with values in [0, 1], as a PNG with `columns` images a line.
///
/// Values outside [0, 1] are cut off there and NaN is black. Images of up to 64 pixels a side are drawn at twice their size.
///
/// # Errors
/// When the channels are neither 1 nor 3, there are no rows, or `path` cannot be written.
///
/// # Panics
/// If the rows are not as long as the shape says, or `columns` is zero.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let images = ndarray::Array2::from_shape_fn((6, 4 * 4), |(row, pixel)| (row + pixel) as f32 / 20.0);
/// elbo::report::grid::grid(images.view(), (4, 4, 1), 3, folder.path().join("samples.png"))?;
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn grid(images: ArrayView2<'_, f32>, shape: ImageShape, columns: usize, path: impl AsRef<Path>) -> Result<()> {
    assert!(columns > 0, "grid: no columns");
    let columns = columns.min(images.nrows().max(1));
    let lines: Vec<Line<'_>> = images.axis_chunks_iter(Axis(0), columns).map(|chunk| Line::new(chunk, GAP)).collect();
    draw(&lines, shape, columns, path.as_ref())
}

/// Draws lines of `columns` originals, each above the line of their reconstructions; otherwise as [`grid`].
///
/// # Errors
/// As [`grid`].
///
/// # Panics
/// As [`grid`], and if the two differ in shape.
pub fn pairs(
    originals: ArrayView2<'_, f32>,
    reconstructions: ArrayView2<'_, f32>,
    shape: ImageShape,
    columns: usize,
    path: impl AsRef<Path>,
) -> Result<()> {
    assert!(columns > 0, "pairs: no columns");
    let (above, below) = (originals.dim(), reconstructions.dim());
    assert!(above == below, "pairs: originals {above:?}, reconstructions {below:?}");
    let columns = columns.min(originals.nrows().max(1));
    let chunks = originals.axis_chunks_iter(Axis(0), columns).zip(reconstructions.axis_chunks_iter(Axis(0), columns));
    let lines: Vec<Line<'_>> = chunks
        .enumerate()
        .flat_map(|(i, (a, b))| [Line::new(a, if i == 0 { GAP } else { GROUP_GAP }), Line::new(b, GAP)])
        .collect();
    draw(&lines, shape, columns, path.as_ref())
}

/// A line of images and the pixels left free above it.
struct Line<'a> {
    images: ArrayView2<'a, f32>,
    gap: usize,
}

impl<'a> Line<'a> {
    fn new(images: ArrayView2<'a, f32>, gap: usize) -> Self {
        Line { images, gap }
    }
}

fn draw(lines: &[Line<'_>], shape: ImageShape, columns: usize, path: &Path) -> Result<()> {
    let (height, width, channels) = shape;
    for line in lines {
        let found = line.images.ncols();
        assert!(found == height * width * channels, "grid: rows of {found} values, images of {shape:?}");
    }
    let scale = if height.max(width) <= SMALL { 2 } else { 1 };
    let total_width = GAP + columns * (width * scale + GAP);
    let total_height: usize = lines.iter().map(|l| l.gap + height * scale).sum::<usize>() + GAP;
    // No lines would be a strip of gap: refused as a picture without height.
    let total_height = if lines.is_empty() { 0 } else { total_height };
    picture::encode(path, (total_height, total_width, channels), |out| {
        let empty = vec![BACKGROUND; total_width * channels];
        let blank = |out: &mut dyn Write, n: usize| (0..n).try_for_each(|_| out.write_all(&empty));
        for line in lines {
            blank(out, line.gap)?;
            draw_line(out, line.images, shape, scale, &empty)?;
        }
        blank(out, GAP)
    })
}

fn draw_line(
    out: &mut dyn Write,
    images: ArrayView2<'_, f32>,
    (height, width, channels): ImageShape,
    scale: usize,
    empty: &[u8],
) -> io::Result<()> {
    let mut pixels = empty.to_vec();
    for y in 0..height {
        for (i, image) in images.rows().into_iter().enumerate() {
            let left = GAP + i * (width * scale + GAP);
            let to = &mut pixels[left * channels..(left + width * scale) * channels];
            stretch(image, y * width * channels, channels, scale, to);
        }
        (0..scale).try_for_each(|_| out.write_all(&pixels))?;
    }
    Ok(())
}

/// One line of one image, each pixel `scale` times.
fn stretch(image: ArrayView1<'_, f32>, start: usize, channels: usize, scale: usize, to: &mut [u8]) {
    for (x, pixel) in to.chunks_exact_mut(channels * scale).enumerate() {
        for (k, byte) in pixel.iter_mut().enumerate() {
            *byte = to_byte(image[start + x * channels + k % channels]);
        }
    }
}

/// [0, 1] to the nearest of 0 to 255; the cast cuts off what lies outside and makes NaN 0.
fn to_byte(value: f32) -> u8 {
    (value * 255.0).round() as u8
}
