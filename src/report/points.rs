//! Pictures of tables: two columns are points in the plane, any other number a heat map.

use std::path::Path;

use ndarray::ArrayView2;

use super::canvas::{Canvas, Rgb, TEXT_HEIGHT};
use super::picture;
use crate::Result;

const FIRST: Rgb = [31, 119, 180];
const SECOND: Rgb = [255, 127, 14];
const INK: Rgb = [60, 60, 60];
const GRID: Rgb = [228, 228, 228];

/// Side of the square that points are drawn in, and the margins left of and below it for numbers.
const SIDE: usize = 600;
const LEFT: usize = 80;
const BELOW: usize = 40;
const AROUND: usize = 20;

/// Draws the rows of a table as a PNG: [`scatter`] for two columns, [`heat_map`] for any other number.
///
/// # Errors
/// When there are no rows or columns to draw, or `path` cannot be written.
///
/// # Panics
/// If `second` has other columns than `first`.
pub fn table(first: ArrayView2<'_, f32>, second: Option<ArrayView2<'_, f32>>, path: impl AsRef<Path>) -> Result<()> {
    if first.ncols() == 2 { scatter(first, second, path) } else { heat_map(first, second, path) }
}

/// Draws `points` (n, 2) in blue and `second` (m, 2), for instance their reconstructions, over them in orange.
///
/// The first column goes to the right, the second up; the axes cover all finite points. Others are left out.
///
/// # Errors
/// When `path` cannot be written.
///
/// # Panics
/// If either has not two columns.
pub fn scatter(points: ArrayView2<'_, f32>, second: Option<ArrayView2<'_, f32>>, path: impl AsRef<Path>) -> Result<()> {
    let sets: Vec<(ArrayView2<'_, f32>, Rgb)> =
        [(Some(points), FIRST), (second, SECOND)].into_iter().filter_map(|(p, c)| Some((p?, c))).collect();
    for (set, _) in &sets {
        assert!(set.ncols() == 2, "scatter: points of shape {:?}", set.dim());
    }
    let finite = || sets.iter().flat_map(|(set, _)| set.rows()).filter(|r| r.iter().all(|v| v.is_finite()));
    let axis = |column: usize| Axis::over(finite().map(|r| f64::from(r[column])));
    let (right, up) = (axis(0), axis(1));

    let mut canvas = Canvas::new(LEFT + SIDE + AROUND, AROUND + SIDE + BELOW);
    draw_axes(&mut canvas, &right, &up);
    // Dense clouds stay readable when single points fade.
    let count = finite().count().max(1) as f32;
    let cover = (40.0 / count.sqrt()).clamp(0.25, 0.8);
    for (set, color) in &sets {
        for row in set.rows().into_iter().filter(|r| r.iter().all(|v| v.is_finite())) {
            let x = LEFT as f64 + right.place(f64::from(row[0]));
            let y = (AROUND + SIDE) as f64 - up.place(f64::from(row[1]));
            canvas.disc((x as f32, y as f32), 3.0, *color, cover);
        }
    }
    canvas.save(path.as_ref())
}

/// An axis of [`SIDE`] pixels.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Covers all values with a margin of 5 %; a single value lies in the middle of one unit.
    fn over(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let margin = if high > low { 0.05 * (high - low) } else { 0.5f64.max(low.abs() * 0.5) };
        Axis { low: low - margin, high: high + margin }
    }

    /// Pixels from the low end.
    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low) * SIDE as f64
    }

    /// Round numbers an eighth of the axis or more apart, with their text.
    fn ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / 8.0;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough).unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let plain = decimals <= 4 && self.low.abs().max(self.high.abs()) < 1e6;
        let text = |v: f64| if plain { format!("{v:.decimals$}") } else { format!("{v:.1e}") };
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        // A whole number times the step, so that zero is zero and never "-0".
        (first..=last).map(|i| i as f64 * step).map(|v| (v, text(v))).collect()
    }
}

fn draw_axes(canvas: &mut Canvas, right: &Axis, up: &Axis) {
    for (value, text) in right.ticks() {
        let x = LEFT + right.place(value).round() as usize;
        canvas.rectangle((x, AROUND), (1, SIDE), GRID);
        canvas.number(&text, (x - Canvas::number_width(&text) / 2, AROUND + SIDE + 12), INK);
    }
    for (value, text) in up.ticks() {
        let y = AROUND + SIDE - up.place(value).round() as usize;
        canvas.rectangle((LEFT, y), (SIDE, 1), GRID);
        let left = LEFT.saturating_sub(10 + Canvas::number_width(&text));
        canvas.number(&text, (left, y - TEXT_HEIGHT / 2), INK);
    }
    canvas.rectangle((LEFT, AROUND), (1, SIDE + 1), INK);
    canvas.rectangle((LEFT, AROUND + SIDE), (SIDE, 1), INK);
}

/// Draws `values` (n, d) as a heat map, a line for each row: dark is the column's smallest value in `values`, bright
/// its largest. `second`, for instance reconstructions, goes below a white line in the same colours. What is not
/// finite is grey.
///
/// # Errors
/// When there are no rows or columns to draw, or `path` cannot be written.
///
/// # Panics
/// If `second` has other columns than `values`.
pub fn heat_map(
    values: ArrayView2<'_, f32>,
    second: Option<ArrayView2<'_, f32>>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let columns = values.ncols();
    let blocks: Vec<ArrayView2<'_, f32>> = [Some(values), second].into_iter().flatten().collect();
    assert!(blocks.iter().all(|b| b.ncols() == columns), "heat_map: blocks of different columns");
    let ranges: Vec<(f32, f32)> = values.columns().into_iter().map(|c| range(c.iter())).collect();
    let rows: usize = blocks.iter().map(|b| b.nrows()).sum();
    let cell_width = (SIDE / columns.max(1)).clamp(1, 48);
    let cell_height = (SIDE / rows.max(1)).clamp(1, 16);
    let width = columns * cell_width;
    let gap = 8 * (blocks.len() - 1);
    let height = if rows == 0 { 0 } else { rows * cell_height + gap };
    picture::encode(path.as_ref(), (height, width, 3), |out| {
        for (i, block) in blocks.iter().enumerate() {
            let white = vec![255; 3 * width];
            (0..if i > 0 { gap } else { 0 }).try_for_each(|_| out.write_all(&white))?;
            for row in block.rows() {
                let colors = row.iter().zip(&ranges).map(|(&v, &range)| color(share(v, range)));
                let line: Vec<u8> = colors.flat_map(|c| c.repeat(cell_width)).collect();
                (0..cell_height).try_for_each(|_| out.write_all(&line))?;
            }
        }
        Ok(())
    })
}

/// The smallest and largest finite value.
fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    let finite = values.filter(|v| v.is_finite());
    finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)))
}

/// Where `value` lies between `low` (0) and `high` (1); a constant column lies in the middle.
fn share(value: f32, (low, high): (f32, f32)) -> f32 {
    match value.is_finite() {
        false => f32::NAN,
        // In f64, where the difference of two f32 cannot overflow.
        true if high > low => ((f64::from(value) - f64::from(low)) / (f64::from(high) - f64::from(low))) as f32,
        true => 0.5,
    }
}

/// matplotlib's viridis through five of its colours: as readable in grey, and to those who confuse red and green.
fn color(share: f32) -> Rgb {
    const STOPS: [[f32; 3]; 5] =
        [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];
    if share.is_nan() {
        return [160, 160, 160];
    }
    let place = share.clamp(0.0, 1.0) * 4.0;
    let below = (place as usize).min(3);
    let part = place - below as f32;
    std::array::from_fn(|k| (STOPS[below][k] + (STOPS[below + 1][k] - STOPS[below][k]) * part).round() as u8)
}
