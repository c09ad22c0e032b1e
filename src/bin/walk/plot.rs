//! Plots as PNG files: curves over named axes, bars, and lines of small pictures.

use std::path::Path;

use elbo::Result;
use ndarray::Array2;

use super::canvas::{Align, Canvas, FAINT, GRID, INK, Point, Rgb};

/// The colours of curves, by their index; the last is for what others are measured by.
const COLORS: [Rgb; 8] = [
    [0.12, 0.47, 0.71],
    [0.93, 0.46, 0.05],
    [0.17, 0.60, 0.17],
    [0.84, 0.15, 0.16],
    [0.52, 0.35, 0.70],
    [0.55, 0.34, 0.29],
    [0.85, 0.42, 0.72],
    [0.35, 0.35, 0.35],
];
/// The index of that colour.
pub const GREY: usize = 7;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 100.0;
const TOP: f64 = 88.0;
const BELOW: f64 = 76.0;
const AROUND: f64 = 24.0;
/// Pixels of a text's line.
const TEXT: f32 = 17.0;

/// What an axis has equal steps of.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    Log,
}

struct Axis {
    name: String,
    scale: Scale,
    range: Option<(f64, f64)>,
}

impl Axis {
    fn new() -> Axis {
        Axis { name: String::new(), scale: Scale::Linear, range: None }
    }

    fn of(&self, value: f64) -> f64 {
        // What is not positive lies below every power of ten.
        if self.scale == Scale::Log { value.max(0.0).log10() } else { value }
    }

    /// Covers all finite values with a little room, if no range was given.
    fn cover(&mut self, values: impl Iterator<Item = f64>) {
        let (low, high) = self.range.map(|(low, high)| (self.of(low), self.of(high))).unwrap_or_else(|| {
            let finite = values.map(|v| self.of(v)).filter(|v| v.is_finite());
            let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let room = if high > low { 0.04 * (high - low) } else { 0.5 };
            if low > high { (0.0, 1.0) } else { (low - room, high + room) }
        });
        self.range = Some((low, high));
    }

    /// Where `value` lies between the axis's ends, 0 and 1; what is far outside, infinities too, just outside.
    fn share(&self, value: f64) -> f64 {
        let (low, high) = self.range.unwrap_or((0.0, 1.0));
        ((self.of(value) - low) / (high - low)).clamp(-1.0, 2.0)
    }

    /// Round values with their text, some six of them.
    fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range.unwrap_or((0.0, 1.0));
        let rough = (high - low) / 9.0;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
        if self.scale == Scale::Log {
            let step = step.max(1.0).round();
            let powers = (low / step).ceil() as i32..=(high / step).floor() as i32;
            return powers.map(|i| i * step as i32).map(|p| (10f64.powi(p), power_of_ten(p))).collect();
        }
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let text = |v: f64| format!("{v:.decimals$}").replace('-', "−");
        // A whole number times the step, so that zero is zero.
        let ticks = (low / step).ceil() as i64..=(high / step).floor() as i64;
        ticks.map(|i| i as f64 * step).map(|v| (v, text(v))).collect()
    }
}

/// "0.01", "1000", "10⁻⁷"
fn power_of_ten(power: i32) -> String {
    if (-2..=3).contains(&power) {
        return format!("{}", 10f64.powi(power));
    }
    let raised = |c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => char::from_u32(u32::from('⁰') + (u32::from(c) - u32::from('0'))).unwrap_or(c),
    };
    format!("10{}", power.to_string().chars().map(raised).collect::<String>())
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Line,
    Dashes,
    Dots,
}

struct Curve {
    mark: Mark,
    color: Rgb,
    name: String,
    points: Vec<[f64; 2]>,
}

/// Curves over two axes, with a title, a note under it, and names of the curves at the right.
pub struct Plot {
    title: String,
    note: String,
    x: Axis,
    y: Axis,
    curves: Vec<Curve>,
}

impl Plot {
    pub fn new(title: impl Into<String>, note: impl Into<String>) -> Plot {
        Plot { title: title.into(), note: note.into(), x: Axis::new(), y: Axis::new(), curves: Vec::new() }
    }
    pub fn x(mut self, name: &str, scale: Scale) -> Plot {
        (self.x.name, self.x.scale) = (name.to_owned(), scale);
        self
    }
    pub fn y(mut self, name: &str, scale: Scale) -> Plot {
        (self.y.name, self.y.scale) = (name.to_owned(), scale);
        self
    }
    /// The ends of the axes, where they should not be those of the points.
    pub fn x_range(mut self, low: f64, high: f64) -> Plot {
        self.x.range = Some((low, high));
        self
    }
    pub fn y_range(mut self, low: f64, high: f64) -> Plot {
        self.y.range = Some((low, high));
        self
    }
    fn curve(mut self, mark: Mark, color: usize, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Plot {
        let points = points.into_iter().filter(|p| p.iter().all(|v| !v.is_nan())).collect();
        self.curves.push(Curve { mark, color: COLORS[color % COLORS.len()], name: name.to_owned(), points });
        self
    }
    /// A curve without a name is not in the legend.
    pub fn line(self, color: usize, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Plot {
        self.curve(Mark::Line, color, name, points)
    }
    pub fn dashes(self, color: usize, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Plot {
        self.curve(Mark::Dashes, color, name, points)
    }
    pub fn dots(self, color: usize, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Plot {
        self.curve(Mark::Dots, color, name, points)
    }
    /// A line with a dot at each of its points.
    pub fn joined(self, color: usize, name: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Plot {
        let points: Vec<[f64; 2]> = points.into_iter().collect();
        self.line(color, name, points.clone()).dots(color, "", points)
    }
    /// A dashed line from end to end at a height.
    pub fn level(self, name: &str, y: f64) -> Plot {
        self.dashes(GREY, name, [[f64::NEG_INFINITY, y], [f64::INFINITY, y]])
    }
    /// A dashed line from bottom to top.
    pub fn upright(self, name: &str, x: f64) -> Plot {
        self.dashes(GREY, name, [[x, f64::NEG_INFINITY], [x, f64::INFINITY]])
    }

    /// Writes the plot as a PNG.
    pub fn save(mut self, path: impl AsRef<Path>) -> Result<()> {
        let all = |column: usize| self.curves.iter().flat_map(move |c| c.points.iter().map(move |p| p[column]));
        self.x.cover(all(0).collect::<Vec<_>>().into_iter());
        self.y.cover(all(1).collect::<Vec<_>>().into_iter());
        let mut canvas = Canvas::new(WIDTH as usize, HEIGHT as usize)?;
        let names = self.curves.iter().filter(|c| !c.name.is_empty());
        let legend = names.map(|c| canvas.text_width(&c.name, TEXT) + 52.0).fold(0.0, f64::max);
        let frame = [LEFT, TOP, WIDTH - AROUND - legend, HEIGHT - BELOW];
        heading(&mut canvas, &self.title, &self.note);
        self.axes(&mut canvas, frame);
        let place = |p: &[f64; 2]| -> Point {
            let [left, top, right, bottom] = frame;
            [left + self.x.share(p[0]) * (right - left), bottom - self.y.share(p[1]) * (bottom - top)]
        };
        canvas.within(frame, |canvas| {
            // Dots lie over all lines.
            let (dots, lines): (Vec<&Curve>, Vec<_>) = self.curves.iter().partition(|c| c.mark == Mark::Dots);
            for curve in lines.into_iter().chain(dots) {
                let points: Vec<Point> = curve.points.iter().map(place).collect();
                mark(canvas, curve.mark, &points, curve.color);
            }
        });
        for (i, curve) in self.curves.iter().filter(|c| !c.name.is_empty()).enumerate() {
            let (x, y) = (frame[2] + 18.0, frame[1] + 12.0 + 26.0 * i as f64);
            let sample = if curve.mark == Mark::Dots { vec![[x + 12.0, y]] } else { vec![[x, y], [x + 24.0, y]] };
            mark(&mut canvas, curve.mark, &sample, curve.color);
            canvas.text(&curve.name, [x + 33.0, y], TEXT, Align::Left, INK);
        }
        canvas.save(path.as_ref())
    }

    fn axes(&self, canvas: &mut Canvas, [left, top, right, bottom]: [f64; 4]) {
        for (value, text) in self.x.ticks() {
            let x = left + self.x.share(value) * (right - left);
            canvas.rectangle([x, top], [1.0, bottom - top], GRID);
            canvas.text(&text, [x, bottom + 17.0], TEXT - 1.0, Align::Middle, INK);
        }
        for (value, text) in self.y.ticks() {
            let y = bottom - self.y.share(value) * (bottom - top);
            canvas.rectangle([left, y], [right - left, 1.0], GRID);
            canvas.text(&text, [left - 9.0, y], TEXT - 1.0, Align::Right, INK);
        }
        canvas.rectangle([left, top], [1.0, bottom - top], INK);
        canvas.rectangle([left, bottom], [right - left, 1.0], INK);
        canvas.text(&self.x.name, [0.5 * (left + right), bottom + 48.0], TEXT, Align::Middle, INK);
        canvas.text(&self.y.name, [AROUND, 0.5 * (top + bottom)], TEXT, Align::Upward, INK);
    }
}

fn heading(canvas: &mut Canvas, title: &str, note: &str) {
    canvas.text(title, [AROUND, 30.0], 23.0, Align::Left, INK);
    canvas.text(note, [AROUND, 59.0], TEXT - 1.0, Align::Left, FAINT);
}

fn mark(canvas: &mut Canvas, mark: Mark, points: &[Point], color: Rgb) {
    let lines = points.windows(2).map(|p| [p[0], p[1]]);
    match mark {
        Mark::Line => canvas.strokes(lines, 2.4, color),
        Mark::Dashes => canvas.strokes(dashed(points), 1.8, color),
        Mark::Dots => canvas.strokes(points.iter().map(|p| [*p, *p]), 8.0, color),
    }
}

/// The line through `points` in dashes of 7 pixels, 7 pixels apart.
fn dashed(points: &[Point]) -> Vec<[Point; 2]> {
    const DASH: f64 = 7.0;
    let (mut dashes, mut run) = (Vec::new(), 0.0);
    for p in points.windows(2) {
        let (from, d) = (p[0], [p[1][0] - p[0][0], p[1][1] - p[0][1]]);
        let length = d[0].hypot(d[1]);
        let at = |along: f64| [from[0] + d[0] * along / length, from[1] + d[1] * along / length];
        let mut along = 0.0;
        while along < length {
            let left = DASH - (run + along) % DASH;
            let end = (along + left.max(1e-6)).min(length);
            if (run + 0.5 * (along + end)) % (2.0 * DASH) < DASH {
                dashes.push([at(along), at(end)]);
            }
            along = end;
        }
        run += length;
    }
    dashes
}

/// Bars from left to right, each with its name before and its value behind it, on an axis from 0 to `limit`.
pub fn bars([title, note, unit]: [&str; 3], limit: f64, bars: &[(String, f64)], path: impl AsRef<Path>) -> Result<()> {
    let (high, room) = (44.0, 92.0);
    let height = TOP + high * bars.len() as f64 + BELOW;
    let mut canvas = Canvas::new(WIDTH as usize, height as usize)?;
    let left = AROUND + 12.0 + bars.iter().map(|b| canvas.text_width(&b.0, TEXT)).fold(0.0, f64::max);
    let (right, bottom) = (WIDTH - room, height - BELOW);
    let axis = Axis { name: unit.to_owned(), scale: Scale::Linear, range: Some((0.0, limit)) };
    heading(&mut canvas, title, note);
    for (value, text) in axis.ticks() {
        let x = left + axis.share(value) * (right - left);
        canvas.rectangle([x, TOP], [1.0, bottom - TOP], GRID);
        canvas.text(&text, [x, bottom + 17.0], TEXT - 1.0, Align::Middle, INK);
    }
    for (i, (name, value)) in bars.iter().enumerate() {
        let (y, length) = (TOP + high * (i as f64 + 0.5), axis.share(*value) * (right - left));
        canvas.rectangle([left, y - 13.0], [length, 26.0], COLORS[0]);
        canvas.text(name, [left - 12.0, y], TEXT, Align::Right, INK);
        canvas.text(&format!("{value:.1}"), [left + length + 8.0, y], TEXT, Align::Left, INK);
    }
    canvas.rectangle([left, TOP], [1.0, bottom - TOP], INK);
    canvas.text(&axis.name, [0.5 * (left + right), bottom + 48.0], TEXT, Align::Middle, INK);
    canvas.save(path.as_ref())
}

/// Lines of grey pictures, (n, side·side) with values in [0, 1], each line behind its name.
pub fn strips(
    [title, note]: [&str; 2],
    side: usize,
    lines: &[(&str, &Array2<f32>)],
    path: impl AsRef<Path>,
) -> Result<()> {
    const SCALE: f64 = 4.0;
    let (step, count) = (side as f64 * SCALE + 8.0, lines.iter().map(|(_, p)| p.nrows()).max().unwrap_or(0));
    let measure = Canvas::new(1, 1)?;
    let names = lines.iter().map(|(name, _)| measure.text_width(name, TEXT)).fold(0.0, f64::max);
    let left = AROUND + names + 20.0;
    let width = (left + step * count as f64 + AROUND)
        .max(measure.text_width(title, 23.0) + 2.0 * AROUND)
        .max(measure.text_width(note, TEXT - 1.0) + 2.0 * AROUND);
    let height = TOP + step * lines.len() as f64 + AROUND;
    let mut canvas = Canvas::new(width as usize, height as usize)?;
    heading(&mut canvas, title, note);
    for (i, (name, pictures)) in lines.iter().enumerate() {
        let y = TOP + step * i as f64;
        canvas.text(name, [left - 20.0, y + 0.5 * step - 4.0], TEXT, Align::Right, INK);
        for (j, picture) in pictures.rows().into_iter().enumerate() {
            canvas.grey(&picture.to_vec(), side, [left + step * j as f64, y], SCALE);
        }
    }
    canvas.save(path.as_ref())
}
