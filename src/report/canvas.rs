//! A small RGB canvas for pictures whose contract is PNG: rectangles, translucent discs, numbers on axes.

use std::io::Write;
use std::path::Path;

use super::picture;
use crate::Result;

pub(super) type Rgb = [u8; 3];

/// Pixels that one dot of a glyph takes, each way.
const DOT: usize = 2;
/// Glyphs are 3 dots wide and 5 high, with a dot of space.
pub(super) const TEXT_HEIGHT: usize = 5 * DOT;
const ADVANCE: usize = 4 * DOT;

/// The characters of printed numbers: five lines of three dots, the left dot the highest bit.
const GLYPHS: [(char, [u8; 5]); 13] = [
    ('0', [0b111, 0b101, 0b101, 0b101, 0b111]),
    ('1', [0b010, 0b110, 0b010, 0b010, 0b111]),
    ('2', [0b111, 0b001, 0b111, 0b100, 0b111]),
    ('3', [0b111, 0b001, 0b111, 0b001, 0b111]),
    ('4', [0b101, 0b101, 0b111, 0b001, 0b001]),
    ('5', [0b111, 0b100, 0b111, 0b001, 0b111]),
    ('6', [0b111, 0b100, 0b111, 0b101, 0b111]),
    ('7', [0b111, 0b001, 0b010, 0b010, 0b010]),
    ('8', [0b111, 0b101, 0b111, 0b101, 0b111]),
    ('9', [0b111, 0b101, 0b111, 0b001, 0b111]),
    ('-', [0b000, 0b000, 0b111, 0b000, 0b000]),
    ('.', [0b000, 0b000, 0b000, 0b000, 0b010]),
    ('e', [0b000, 0b111, 0b110, 0b100, 0b111]),
];

pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// A white canvas.
    pub fn new(width: usize, height: usize) -> Self {
        Canvas { width, height, pixels: vec![255; 3 * width * height] }
    }

    /// Lays `color` over a pixel, covering it by a share from 0 to 1; outside the canvas nothing happens.
    fn blend(&mut self, x: usize, y: usize, color: Rgb, cover: f32) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            for (old, new) in self.pixels[at..at + 3].iter_mut().zip(color) {
                *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * cover).round() as u8;
            }
        }
    }

    /// A filled rectangle with its upper left corner at (x, y).
    pub fn rectangle(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), color: Rgb) {
        for j in y..y + height {
            for i in x..x + width {
                self.blend(i, j, color, 1.0);
            }
        }
    }

    /// A disc with a soft edge, covering what is below it by `cover`.
    pub fn disc(&mut self, (x, y): (f32, f32), radius: f32, color: Rgb, cover: f32) {
        let reach = radius.ceil() + 1.0;
        let span = |c: f32| ((c - reach).max(0.0) as usize)..=((c + reach).max(0.0) as usize);
        for j in span(y) {
            for i in span(x) {
                let distance = (i as f32 - x).hypot(j as f32 - y);
                let edge = (radius + 0.5 - distance).clamp(0.0, 1.0);
                self.blend(i, j, color, cover * edge);
            }
        }
    }

    /// A printed number with its upper left corner at (x, y).
    pub fn number(&mut self, text: &str, (x, y): (usize, usize), color: Rgb) {
        for (n, c) in text.chars().enumerate() {
            let rows = GLYPHS.iter().find(|(g, _)| *g == c).map_or([0; 5], |(_, rows)| *rows);
            for (j, row) in rows.into_iter().enumerate() {
                for i in (0..3).filter(|i| row >> (2 - i) & 1 == 1) {
                    self.rectangle((x + n * ADVANCE + i * DOT, y + j * DOT), (DOT, DOT), color);
                }
            }
        }
    }

    /// The pixels that [`Canvas::number`] takes for `text` from left to right.
    pub fn number_width(text: &str) -> usize {
        (text.chars().count() * ADVANCE).saturating_sub(DOT)
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        picture::encode(path, (self.height, self.width, 3), |out: &mut dyn Write| out.write_all(&self.pixels))
    }
}
