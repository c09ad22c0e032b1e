//! A canvas with soft edges for plots: strokes, grey pictures and text, saved by the library's own writer.

use std::path::Path;

use ab_glyph::{Font, FontRef, ScaleFont, point};
use elbo::{Error, Result};
use ndarray::Array2;

/// Red, green and blue, each in [0, 1].
pub type Rgb = [f32; 3];
/// Right and down, in pixels.
pub type Point = [f64; 2];

pub const INK: Rgb = [0.16; 3];
pub const FAINT: Rgb = [0.42; 3];
pub const GRID: Rgb = [0.9; 3];

/// Where a text has its point.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    /// At its left end.
    Left,
    Middle,
    /// At its right end.
    Right,
    /// In its middle, and the text runs upward.
    Upward,
}

pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
    /// Left, top, right, bottom: outside nothing is drawn.
    window: [f64; 4],
    font: FontRef<'static>,
}

impl Canvas {
    /// A white canvas.
    pub fn new(width: usize, height: usize) -> Result<Canvas> {
        let font = FontRef::try_from_slice(dejavu::sans::regular()).map_err(|e| Error::input(e.to_string()))?;
        let window = [0.0, 0.0, width as f64, height as f64];
        Ok(Canvas { width, height, pixels: vec![[1.0; 3]; width * height], window, font })
    }

    /// Draws on the part from (left, top) to (right, bottom) alone.
    pub fn within<T>(&mut self, window: [f64; 4], draw: impl FnOnce(&mut Canvas) -> T) -> T {
        let before = std::mem::replace(&mut self.window, window);
        let result = draw(self);
        self.window = before;
        result
    }

    /// Lays `color` over the pixel of a point, covering it by a share from 0 to 1.
    fn blend(&mut self, [x, y]: Point, color: Rgb, cover: f32) {
        let [left, top, right, bottom] = self.window;
        if (left..right).contains(&x) && (top..bottom).contains(&y) && x < self.width as f64 && y < self.height as f64 {
            let pixel = &mut self.pixels[y as usize * self.width + x as usize];
            pixel.iter_mut().zip(color).for_each(|(old, new)| *old += (new - *old) * cover.clamp(0.0, 1.0));
        }
    }

    pub fn rectangle(&mut self, [x, y]: Point, [width, height]: [f64; 2], color: Rgb) {
        for j in 0..height.round() as usize {
            for i in 0..width.round() as usize {
                self.blend([x.round() + i as f64, y.round() + j as f64], color, 1.0);
            }
        }
    }

    /// Strokes with round ends, `width` pixels wide. Where they overlap, colour is laid once.
    pub fn strokes(&mut self, strokes: impl IntoIterator<Item = [Point; 2]>, width: f64, color: Rgb) {
        let mut cover = vec![0.0f32; self.pixels.len()];
        let reach = 0.5 * width + 0.5;
        let span = |a: f64, b: f64, end: usize| {
            ((a.min(b) - reach).clamp(0.0, end as f64) as usize)
                ..((a.max(b) + reach + 1.0).clamp(0.0, end as f64) as usize)
        };
        for [a, b] in strokes {
            let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
            let square = (dx * dx + dy * dy).max(1e-12);
            for row in span(a[1], b[1], self.height) {
                for col in span(a[0], b[0], self.width) {
                    let (x, y) = (col as f64 + 0.5 - a[0], row as f64 + 0.5 - a[1]);
                    let along = ((x * dx + y * dy) / square).clamp(0.0, 1.0);
                    let share = reach - (x - along * dx).hypot(y - along * dy);
                    let cell = &mut cover[row * self.width + col];
                    *cell = cell.max(share.clamp(0.0, 1.0) as f32);
                }
            }
        }
        for (i, share) in cover.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            self.blend([(i % self.width) as f64, (i / self.width) as f64], color, share);
        }
    }

    /// A grey picture with values in [0, 1], 1 black, `scale` pixels a pixel.
    pub fn grey(&mut self, picture: &[f32], width: usize, [x, y]: Point, scale: f64) {
        for (i, value) in picture.iter().enumerate() {
            let corner = [x + (i % width) as f64 * scale, y + (i / width) as f64 * scale];
            self.rectangle(corner, [scale, scale], [1.0 - value.clamp(0.0, 1.0); 3]);
        }
    }

    /// The pixels that `text` takes from left to right.
    pub fn text_width(&self, text: &str, size: f32) -> f64 {
        let font = self.font.as_scaled(size);
        text.chars().map(|c| f64::from(font.h_advance(font.glyph_id(c)))).sum()
    }

    /// `text` with its line of writing centred on the point.
    pub fn text(&mut self, text: &str, [x, y]: Point, size: f32, align: Align, color: Rgb) {
        let share = match align {
            Align::Left => 0.0,
            Align::Middle | Align::Upward => 0.5,
            Align::Right => 1.0,
        };
        let mut pen = (-share * self.text_width(text, size)).round() as f32;
        for c in text.chars() {
            let id = self.font.glyph_id(c);
            // Capitals are some six tenths of a line high: this puts their middle on the point.
            let glyph = id.with_scale_and_position(size, point(pen, (0.31 * size).round()));
            pen += self.font.as_scaled(size).h_advance(id);
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|i, j, cover| {
                    let (right, down) = (f64::from(corner.x) + f64::from(i), f64::from(corner.y) + f64::from(j));
                    let turned = if align == Align::Upward { [down, -right] } else { [right, down] };
                    self.blend([x.round() + turned[0], y.round() + turned[1]], color, cover);
                });
            }
        }
    }

    /// Writes a PNG.
    pub fn save(&self, path: &Path) -> Result<()> {
        let values = self.pixels.iter().flatten().copied();
        let image = Array2::from_shape_vec((1, 3 * self.pixels.len()), values.collect());
        let image = image.map_err(|e| Error::input(e.to_string()))?;
        elbo::report::grid::grid(image.view(), (self.height, self.width, 3), 1, path)
    }
}
