//! The loss by epoch, as SVG.

use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::files::atomic;

const SIZE: (u32, u32) = (800, 500);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(255, 127, 14), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];
const INK: RGBColor = RGBColor(60, 60, 60);
/// Series of up to so many epochs show each as a dot; a single epoch is nothing but its dot.
const DOTS: usize = 50;
/// Losses up to so many times the spread of the better three quarters above the best are all shown;
const SHOWN: f64 = 10.0;
/// if there are higher ones, the axis ends here.
const REACH: f64 = 5.0;
/// As many epochs as there is room to name.
const TICKS: usize = 15;

/// A named loss by epoch.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend: "train", "validation", "held-out".
    pub name: String,
    /// Epoch, counted from 1, and −ELBO in nats per example. Values that are not finite are left out.
    pub points: Vec<(u64, f64)>,
}

impl Series {
    /// A series from its name and its (epoch, −ELBO) points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        Series { name: name.into(), points: points.into_iter().collect() }
    }

    fn finite(&self) -> Vec<(f64, f64)> {
        self.points.iter().filter(|p| p.1.is_finite()).map(|&(epoch, loss)| (epoch as f64, loss)).collect()
    }
}

/// Draws each series as a line of its own colour to an SVG, with a legend.
///
/// First values far above the rest would flatten everything that matters: the axis stops short of them, the lines
/// leave through the top, and a note gives the largest.
///
/// # Errors
/// When `path` cannot be written.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use elbo::report::curve::{self, Series};
/// let train = Series::new("train", [(1, 163.2), (2, 121.0), (3, 114.6)]);
/// let heldout = Series::new("held-out", [(1, 127.3), (2, 115.8), (3, 112.2)]);
/// curve::loss("mnist, mlp-400", &[train, heldout], folder.path().join("loss.svg"))?;
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn loss(title: &str, series: &[Series], path: impl AsRef<Path>) -> Result<()> {
    let mut svg = String::new();
    let drawn = draw(title, series, &mut svg).map_err(|e| io::Error::other(e.to_string()));
    atomic::write(path, |w| drawn.and_then(|()| w.write_all(svg.as_bytes())))
}

fn draw(title: &str, series: &[Series], svg: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<Vec<(f64, f64)>> = series.iter().map(Series::finite).collect();
    let (epochs, losses) = (epoch_range(&lines), loss_range(&lines));
    let digits = decimals(&losses);
    // No more names than epochs, or those between two would be named too.
    let names = ((epochs.end - epochs.start) as usize + 1).min(TICKS);

    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(epochs, losses.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(228, 228, 228))
        .axis_style(INK)
        .x_labels(names)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .x_desc("epoch")
        .y_desc("−ELBO, nats per example")
        .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .draw()?;
    for (i, (one, points)) in series.iter().zip(&lines).enumerate().filter(|(_, (_, points))| !points.is_empty()) {
        let color = COLORS[i % COLORS.len()];
        chart
            .draw_series(LineSeries::new(below(points, losses.end), color.stroke_width(2)))?
            .label(&one.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], color.stroke_width(2)));
        let dots = points.iter().filter(|p| points.len() <= DOTS && p.1 <= losses.end);
        chart.draw_series(dots.map(|&p| Circle::new(p, 3, color.filled())))?;
    }
    if lines.iter().any(|points| !points.is_empty()) {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(12)
            .legend_area_size(30)
            .label_font(("sans-serif", 15).into_font().color(&INK))
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
    }
    let largest = lines.iter().flatten().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    if largest > losses.end {
        let note = format!("values above are cut off, up to {largest:.digits$}");
        root.draw(&Text::new(note, (24, 474), ("sans-serif", 13).into_font().color(&INK)))?;
    }
    root.present()?;
    Ok(())
}

/// The epochs shown: a single one lies in the middle.
fn epoch_range(lines: &[Vec<(f64, f64)>]) -> Range<f64> {
    let (low, high) = bounds(lines.iter().flatten().map(|p| p.0));
    if high > low { low..high } else { low - 0.4..high + 0.4 }
}

/// The losses shown: all of them, unless a few lie far above the better three quarters.
fn loss_range(lines: &[Vec<(f64, f64)>]) -> Range<f64> {
    let mut losses: Vec<f64> = lines.iter().flatten().map(|p| p.1).collect();
    losses.sort_by(f64::total_cmp);
    let (low, high) = bounds(losses.iter().copied());
    let quarter = losses.get(losses.len() * 3 / 4).map_or(high, |&v| v);
    let spread = quarter - low;
    let high = if spread > 0.0 && high - low > SHOWN * spread { low + REACH * spread } else { high };
    // Losses that agree to nine digits are one loss: an axis cannot tell them apart.
    let flat = high - low <= 1e-9 * low.abs();
    let margin = if flat { 0.5f64.max(0.01 * low.abs()) } else { 0.05 * (high - low) };
    low - margin..high + margin
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// Decimals that tell the axis's labels, about ten, apart.
fn decimals(range: &Range<f64>) -> usize {
    (1.0 - (range.end - range.start).log10().floor()).clamp(0.0, 9.0) as usize
}

/// The line through `points` where it is no higher than `top`, cut where it crosses; a stretch above runs along `top`.
fn below(points: &[(f64, f64)], top: f64) -> Vec<(f64, f64)> {
    let mut line = Vec::with_capacity(points.len());
    for (i, &(x, y)) in points.iter().enumerate() {
        if let Some(&(x0, y0)) = i.checked_sub(1).map(|before| &points[before])
            && (y0 > top) != (y > top)
        {
            line.push((x0 + (x - x0) * (top - y0) / (y - y0), top));
        }
        if y <= top {
            line.push((x, y));
        }
    }
    line
}
