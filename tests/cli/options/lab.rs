//! Small runs of the program, each made once, and what is measured on them.

use crate::support::*;
use elbo::tensor::{Noise, Params, Slab};
use elbo::train::{METRICS_FILE, MetricsLine, SavedModel};
use ndarray::Array2;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::TempDir;

/// Rows of the training and of the test split, and their columns.
pub const TRAIN: usize = 200;
pub const TEST: usize = 60;
pub const COLS: usize = 64;

/// Five epochs of five steps.
const BASE: &str = "--hidden 16 --latent 3 --batch-size 40 --epochs 5 --learning-rate 0.01";

/// One step on all training rows.
pub const ONE_STEP: &str = "--batch-size 200 --epochs 1";

/// A finished run.
pub struct Run {
    pub path: PathBuf,
    pub model: SavedModel,
    pub digest: String,
    pub lines: Vec<MetricsLine>,
    pub stderr: String,
    pub stdout: String,
}

impl Run {
    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.lines.last().unwrap().step
    }
    /// The KL of the last epoch, on the training rows.
    pub fn kl(&self) -> f64 {
        self.lines.last().unwrap().train.kl.unwrap()
    }
    /// The parameters.
    pub fn parameters(&self) -> Vec<f64> {
        self.model.params.values().data().iter().map(|&x| f64::from(x)).collect()
    }
    /// The parameters that it began with.
    pub fn initial(&self) -> Vec<f64> {
        let noise = Noise::new(self.model.info.settings.seed.unwrap());
        let start: Params<f32> = Params::init(self.model.vae.layout(), &noise);
        start.values().data().iter().map(|&x| f64::from(x)).collect()
    }
    /// How far each parameter moved from there.
    pub fn moves(&self) -> Vec<f64> {
        self.parameters().iter().zip(self.initial()).map(|(after, before)| after - before).collect()
    }
    /// A tensor, as its layer has it: (in, out).
    pub fn tensor(&self, name: &str) -> Array2<f32> {
        let slab: &Slab<f32> = self.model.params.values();
        slab.unpack(&self.model.vae.layout().find(name).unwrap_or_else(|| panic!("no tensor {name}")).slot)
    }
    /// A tensor's shape in a file: (out, in).
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.model.vae.layout().find(name).unwrap_or_else(|| panic!("no tensor {name}")).shape()
    }
}

/// The Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
/// The largest magnitude.
pub fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| x.abs().max(most))
}
/// Asserts that numbers agree to a share of the second.
#[track_caller]
pub fn near(found: f64, expected: f64, share: f64, what: &str) {
    assert!((found - expected).abs() <= share * expected.abs(), "{what}: {found}, expected {expected}");
}
/// Asserts that each number is less than the next.
#[track_caller]
pub fn ascending(numbers: &[f64], what: &str) {
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{what}: {numbers:?}");
}

/// A folder with data, and the runs that were asked for.
pub struct Lab {
    folder: TempDir,
    runs: RefCell<HashMap<String, Rc<Run>>>,
}

impl Lab {
    /// With the data sets `set`, pictures of bars on grey noise in four classes, and `binary`, the same in black and white.
    pub fn new() -> Lab {
        let lab = Lab { folder: folder(), runs: RefCell::default() };
        lab.four_files("set", |grey| grey);
        lab.four_files("binary", |grey| if grey >= 128 { 255 } else { 0 });
        lab
    }

    fn four_files(&self, name: &str, value: impl Fn(u8) -> u8) {
        let at = self.at().join(name);
        fs::create_dir(&at).unwrap();
        for (split, first, rows) in [("train", 0, TRAIN), ("t10k", TRAIN, TEST)] {
            let pixel = |row: usize, i: usize| {
                let noise = (row * 131 + i * 71 + row * i * 17) % 97;
                value(if i / 16 == row % 4 { 255 - noise as u8 } else { noise as u8 })
            };
            let mut images = [0, 0, 8, 3].to_vec();
            [rows, 8, 8].iter().for_each(|&n| images.extend((n as u32).to_be_bytes()));
            images.extend((first..first + rows).flat_map(|row| (0..COLS).map(move |i| pixel(row, i))));
            fs::write(at.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
            let mut labels = [0, 0, 8, 1].to_vec();
            labels.extend((rows as u32).to_be_bytes());
            labels.extend((first..first + rows).map(|row| (row % 4) as u8));
            fs::write(at.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
        }
    }

    pub fn at(&self) -> &Path {
        self.folder.path()
    }
    /// Runs the program to its end, which must be a good one.
    #[track_caller]
    pub fn elbo(&self, args: &str) -> Ran {
        elbo(self.at(), args).ok()
    }
    /// A run on `set` with these flags in the place of the base's.
    #[track_caller]
    pub fn train(&self, flags: &str) -> Rc<Run> {
        self.run(&format!("set {}", merge(BASE, flags)))
    }
    /// The same on `binary`.
    #[track_caller]
    pub fn train_binary(&self, flags: &str) -> Rc<Run> {
        self.run(&format!("binary {}", merge(BASE, flags)))
    }
    /// A run of exactly these arguments.
    #[track_caller]
    pub fn run(&self, args: &str) -> Rc<Run> {
        if let Some(run) = self.runs.borrow().get(args) {
            return Rc::clone(run);
        }
        let path = self.at().join(format!("run{}", self.runs.borrow().len()));
        let ran = self.elbo(&format!("train {args} --out {}", path.display()));
        let run = Rc::new(self.read(&path, ran));
        self.runs.borrow_mut().insert(args.to_owned(), Rc::clone(&run));
        run
    }
    /// What a run left.
    pub fn read(&self, path: &Path, ran: Ran) -> Run {
        let model = SavedModel::load(path).unwrap();
        let lines = MetricsLine::read(path.join(METRICS_FILE)).unwrap();
        let digest = model.digest();
        Run { path: path.to_owned(), model, digest, lines, stderr: ran.stderr, stdout: ran.stdout }
    }
    /// A file in the folder.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.at().join(name)).unwrap()
    }
    /// The pictures of a split of one of its data sets, 0 to 1.
    pub fn rows(&self, set: &str, split: &str) -> Array2<f32> {
        let pixels = self.bytes(&format!("{set}/{split}-images-idx3-ubyte"));
        let pixels: Vec<f32> = pixels[16..].iter().map(|&p| f32::from(p) / 255.0).collect();
        Array2::from_shape_vec((pixels.len() / COLS, COLS), pixels).unwrap()
    }
    /// The rows of an NPY file in the folder.
    pub fn npy(&self, name: &str) -> Array2<f32> {
        ndarray_npy::read_npy(self.at().join(name)).unwrap()
    }
}

/// Arguments with flags added, or replaced if they are there; each flag but the last has a value.
pub fn merge(args: &str, flags: &str) -> String {
    let mut words: Vec<&str> = args.split_whitespace().collect();
    for name in flags.split_whitespace().filter(|word| word.starts_with("--")) {
        if let Some(i) = words.iter().position(|w| *w == name) {
            words.drain(i..i + 2);
        }
    }
    words.extend(flags.split_whitespace());
    words.join(" ")
}
