//! What every walkthrough shares: prose, formulas, small pictures in the terminal, and claims that are asserted.
//!
//! A walkthrough prints nothing that it has not checked: numbers come from the run, and each statement about them goes
//! through [`Walk::claim`], which ends the program with status 1 when it does not hold.
#![allow(dead_code, reason = "each walkthrough uses the parts that its lesson needs")]

pub mod canvas;
pub mod digits;
pub mod draw;
pub mod flow;
pub mod net;
pub mod plot;

use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Columns of printed prose.
const WIDTH: usize = 80;

/// One walkthrough while it runs.
pub struct Walk {
    claims: usize,
    out: Option<PathBuf>,
    pictures: RefCell<Vec<PathBuf>>,
}

impl Walk {
    /// Prints the title and reads the command line: `--out DIR` keeps the pictures as PNG files.
    pub fn start(number: u32, title: &str, will_know: &str) -> Walk {
        let mut out = None;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match (arg.as_str(), args.next()) {
                ("--out", Some(dir)) => out = Some(PathBuf::from(dir)),
                _ => stop(&format!("unknown argument `{arg}`: only --out DIR, a folder for the pictures, is taken")),
            }
        }
        if let Some(dir) = &out
            && let Err(e) = std::fs::create_dir_all(dir)
        {
            stop(&format!("{}: {e}; name a folder that can be written", dir.display()));
        }
        let head = format!("{number:02} · {title}");
        println!("{head}\n{}\n", "═".repeat(head.chars().count()));
        let walk = Walk { claims: 0, out, pictures: RefCell::default() };
        walk.say(&format!("After this you will know {will_know}"));
        walk
    }

    /// A heading.
    pub fn part(&self, title: &str) {
        println!("── {title} ──\n");
    }

    /// A paragraph, wrapped.
    pub fn say(&self, text: &str) {
        println!("{}\n", wrapped(text, "", ""));
    }

    /// Lines as they stand, set in: formulas, tables, pictures.
    pub fn show(&self, text: &str) {
        for line in text.lines() {
            println!("{}", format!("    {line}").trim_end());
        }
        println!();
    }

    /// A statement about what was just computed. Ends the program with status 1 when it is false.
    pub fn claim(&mut self, holds: bool, text: &str) {
        if !holds {
            println!("{}", wrapped(text, "  ✗ ", "    "));
            stop("this claim does not hold: the library or the walkthrough is wrong");
        }
        self.claims += 1;
        println!("{}\n", wrapped(text, "  ✓ ", "    "));
    }

    /// Where to write the picture `name`, if pictures are kept.
    pub fn picture(&self, name: &str) -> Option<PathBuf> {
        let path = self.out.as_deref()?.join(name);
        self.pictures.borrow_mut().push(path.clone());
        Some(path)
    }

    /// The last line: how many claims were checked. Where pictures are kept there is one, and each can be read.
    pub fn end(self) {
        let pictures = self.pictures.take();
        if self.out.is_some() && pictures.is_empty() {
            stop("no picture was drawn");
        }
        for path in pictures {
            if let Err(e) = decode(&path) {
                stop(&format!("{}: {e}", path.display()));
            }
        }
        println!("{} claims checked.", self.claims);
    }
}

/// Words in lines of at most [`WIDTH`] characters, the first line after `first`, the others after `rest`.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let (mut lines, mut line, mut words) = (String::new(), first.to_owned(), 0);
    for word in text.split_whitespace() {
        if words > 0 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &(std::mem::replace(&mut line, rest.to_owned()) + "\n");
            words = 0;
        }
        if words > 0 {
            line.push(' ');
        }
        line += word;
        words += 1;
    }
    lines + &line
}

/// Rows of grey pictures of `height` by `width`, values in [0, 1], side by side: two pixels a character.
pub fn grey(pictures: &[&[f32]], height: usize, width: usize) -> String {
    const INK: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let mut text = String::new();
    for row in (0..height).step_by(2) {
        for picture in pictures {
            for col in 0..width {
                let above = picture[row * width + col];
                let below = if row + 1 < height { picture[(row + 1) * width + col] } else { above };
                let ink = ((above + below) / 2.0).clamp(0.0, 1.0);
                text.push(INK[(ink * 4.0).round() as usize]);
            }
            text.push_str("  ");
        }
        text.push('\n');
    }
    text
}

/// Every second pixel each way, as the mean of four: digits of 28 by 28 fit five to a line of the terminal.
pub fn halved(picture: &[f32], width: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = picture.chunks_exact(width).collect();
    let mean = |two: &[&[f32]], col: usize| (two[0][col] + two[0][col + 1] + two[1][col] + two[1][col + 1]) / 4.0;
    rows.chunks_exact(2).flat_map(|two| (0..width - 1).step_by(2).map(move |col| mean(two, col))).collect()
}

/// `length` characters of ink, at most `most`.
pub fn bar(length: f64, most: usize) -> String {
    "█".repeat(length.round().clamp(0.0, most as f64) as usize)
}

/// The mean of independent values and its standard error: what a Monte Carlo estimate is worth.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// Reads a PNG to its last pixel: its width, and its pixels' bytes.
pub fn decode(path: &Path) -> Result<(usize, Vec<u8>), png::DecodingError> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or(0)];
    let info = reader.next_frame(&mut pixels)?;
    Ok((info.width as usize, pixels))
}

fn stop(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1)
}
