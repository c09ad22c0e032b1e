//! What the Rust programs share: the flags, the data, the clock and the report. The Python programs' twin is `common.py`.

use flate2::read::GzDecoder;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Anything that went wrong; the message ends the program.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What to train, and how long.
#[derive(Debug)]
pub struct Flags {
    /// A folder with MNIST's four files, or an NPY of f32.
    pub data: String,
    /// Widths of the encoder's hidden layers.
    pub hidden: Vec<usize>,
    /// Number of latents.
    pub latent: usize,
    /// p(x|z): Bernoulli, or else a Gaussian of unit variance.
    pub bernoulli: bool,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Adam's ε.
    pub epsilon: f64,
    /// Rows of a step.
    pub batch_size: usize,
    /// Threads, which the frameworks read from the environment.
    pub threads: usize,
    epochs: usize,
    seconds: f64,
}

impl Flags {
    /// Parses the process's arguments and passes the threads on to the frameworks.
    ///
    /// # Errors
    /// A flag that is unknown, or asks for what these programs do not have.
    pub fn parse() -> Result<Flags> {
        let mut flags = Flags {
            data: String::new(),
            hidden: vec![400],
            latent: 20,
            bernoulli: true,
            learning_rate: 1e-3,
            epsilon: 1e-8,
            batch_size: 128,
            threads: 1,
            epochs: 3,
            seconds: 3.0,
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match (flag.as_str(), value.as_str()) {
                ("--data", _) => flags.data = value,
                ("--hidden", _) => {
                    flags.hidden = value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?
                }
                ("--latent", _) => flags.latent = value.parse()?,
                ("--likelihood", "bernoulli" | "gaussian") => flags.bernoulli = value == "bernoulli",
                ("--learning-rate", _) => flags.learning_rate = value.parse()?,
                ("--epsilon", _) => flags.epsilon = value.parse()?,
                ("--batch-size", _) => flags.batch_size = value.parse()?,
                ("--threads", _) => flags.threads = value.parse()?,
                ("--epochs", _) => flags.epochs = value.parse()?,
                ("--seconds", _) => flags.seconds = value.parse()?,
                ("--mode", "eager") | ("--precision", "f32") | ("--layer", "relu") | ("--init", "torch") => {}
                _ => return Err(format!("no {flag} {value} here").into()),
            }
        }
        // SAFETY: nothing has started a thread yet.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", flags.threads.to_string()) };
        Ok(flags)
    }
    /// Widths from x to the last hidden layer, and from z to x.
    pub fn widths(&self, inputs: usize) -> (Vec<usize>, Vec<usize>) {
        let down = [inputs].into_iter().chain(self.hidden.iter().copied());
        let up = [self.latent].into_iter().chain(self.hidden.iter().rev().copied());
        (down.collect(), up.chain([inputs]).collect())
    }
    /// What −log p(x|z) of a row has besides the sum of squares or cross-entropies, in nats.
    pub fn constant(&self, inputs: usize) -> f64 {
        if self.bernoulli { 0.0 } else { 0.5 * inputs as f64 * std::f64::consts::TAU.ln() }
    }
    /// The training rows and their number of columns, pixels scaled to 0 … 1.
    ///
    /// # Errors
    /// Files that are missing, or are no IDX and no NPY.
    pub fn load(&self) -> Result<(Vec<f32>, usize)> {
        let path = Path::new(&self.data);
        if path.is_dir() { idx(path) } else { npy(path) }
    }
}

/// The training images of a folder.
fn idx(folder: &Path) -> Result<(Vec<f32>, usize)> {
    let (plain, gzip) = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    if folder.join(plain).is_file() {
        File::open(folder.join(plain))?.read_to_end(&mut bytes)?;
    } else {
        GzDecoder::new(File::open(folder.join(gzip))?).read_to_end(&mut bytes)?;
    }
    let dim = |i: usize| bytes.get(4 + 4 * i..8 + 4 * i)?.try_into().ok().map(|b| u32::from_be_bytes(b) as usize);
    let (Some(height), Some(width)) = (dim(1), dim(2)) else { return Err("not an IDX file of images".into()) };
    let pixels = bytes.get(16..).unwrap_or_default();
    Ok((pixels.iter().map(|&v| f32::from(v) / 255.0).collect(), height * width))
}

/// An NPY of f32 with two dimensions, rows first, as `run` writes it.
fn npy(path: &Path) -> Result<(Vec<f32>, usize)> {
    let bytes = fs::read(path)?;
    let length = bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).ok_or("not an NPY file")?;
    let header = String::from_utf8_lossy(bytes.get(10..10 + length).ok_or("not an NPY file")?).into_owned();
    let shape =
        header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or("an NPY without a shape")?.0;
    let columns = shape.split(',').nth(1).ok_or("an NPY of one dimension")?.trim().parse()?;
    let values = bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Ok((values.collect(), columns))
}

/// Takes the time of each epoch, from before its shuffle to after its loss has been read.
#[derive(Debug)]
pub struct Run {
    program: &'static str,
    version: &'static str,
    steps: usize,
    batch_size: usize,
    least: (usize, f64),
    first: Option<f64>,
}

impl Run {
    /// For `rows` rows.
    pub fn new(program: &'static str, version: &'static str, flags: &Flags, rows: usize) -> Run {
        let (steps, batch_size) = (rows / flags.batch_size, flags.batch_size);
        Run { program, version, steps, batch_size, least: (flags.epochs, flags.seconds), first: None }
    }
    /// Calls `step` with the rows of each batch until there are enough epochs, and prints the report. A step returns its
    /// batch's mean −ELBO; reading it costs nothing, for these frameworks' operations are done when they return.
    ///
    /// # Errors
    /// Those of `step`, and a loss that is not finite.
    pub fn report(mut self, rows: usize, mut step: impl FnMut(&[u32]) -> Result<f64>) -> Result<()> {
        let mut order: Vec<u32> = (0..rows as u32).collect();
        let (mut rng, mut seconds, mut losses) = (StdRng::seed_from_u64(0), Vec::new(), Vec::new());
        while seconds.len() < self.least.0 || seconds[1..].iter().sum::<f64>() < self.least.1 {
            let (start, mut total) = (Instant::now(), 0.0);
            order.shuffle(&mut rng);
            for batch in order.chunks_exact(self.batch_size) {
                total += step(batch)?;
                self.first = self.first.or_else(since_start);
            }
            seconds.push(start.elapsed().as_secs_f64());
            losses.push(total / self.steps as f64);
            if !total.is_finite() {
                return Err(format!("the loss is {total} in epoch {}", losses.len()).into());
            }
        }
        let mut measured = seconds[1..].to_vec();
        measured.sort_unstable_by(f64::total_cmp);
        let (used, half) = (self.steps * self.batch_size, measured.len() / 2);
        let median = if measured.len() % 2 == 1 { measured[half] } else { (measured[half - 1] + measured[half]) / 2.0 };
        let speed = |seconds: f64| used as f64 / seconds;
        let report = json!({
            "program": self.program,
            "version": self.version,
            "mode": "eager",
            "precision": "f32",
            "samples_per_second": speed(median),
            "slowest_epoch": speed(measured[measured.len() - 1]),
            "fastest_epoch": speed(measured[0]),
            "epochs": measured.len(),
            "rows": used,
            "neg_elbo": losses[..losses.len().min(2)],
            "first_step_seconds": self.first,
        });
        println!("{report}");
        Ok(())
    }
}

/// Seconds since `run` started this process.
fn since_start() -> Option<f64> {
    let started: f64 = std::env::var("BENCH_STARTED").ok()?.parse().ok()?;
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64() - started)
}
