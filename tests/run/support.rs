//! A small data set, and runs on it.

use elbo::data::{Dataset, ImageShape, Labels, Rows, View};
use elbo::tensor::Exec;
use elbo::train::{Flow, Observer, Outcome, Place, RunFolder, Settings, StepReport, Trainer};
use elbo::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Pictures of a bright bar on a dark ground, labelled by its place: 83 rows of 6 × 6, the last 13 for testing.
pub fn bars() -> Dataset {
    let pixel = |row: usize, at: usize| if at / 6 == row % 6 { 155 + (row * 7 + at) % 100 } else { (row + at) % 40 };
    let bytes = (0..83).flat_map(|row| (0..36).map(move |at| pixel(row, at) as u8)).collect();
    let rows = Rows::from_u8(bytes, 36).unwrap().with_image(ImageShape { height: 6, width: 6, channels: 1 }).unwrap();
    let labels = (0..83).map(|row| (row % 6).to_string()).collect::<Labels>();
    Dataset::new("bars", View::with_labels(rows, labels).unwrap()).with_test(13).unwrap()
}

/// Settings of a run of seconds' fractions: 70 rows, 4 epochs of 5 steps, with `more` TOML.
pub fn small(more: &str) -> Settings {
    let base = Settings::from_toml("hidden = [10]\nlatent = 3\nepochs = 4\nbatch-size = 16\nlearning-rate = 0.01");
    base.unwrap().merge(Settings::from_toml(more).unwrap())
}

/// In f32 where the processor has no bf16, as the program trains, and as a run goes on.
pub fn trainer(settings: &Settings, threads: usize) -> Trainer {
    let (data, ex) = (settings.split(bars()).unwrap(), Exec::new(threads).unwrap());
    let (mut config, _) = settings.resolve(&data).unwrap();
    config.fit_precision(ex.isa());
    Trainer::new(config, data, ex).unwrap()
}

pub fn start(settings: &Settings, out: &Path) -> (RunFolder, Trainer) {
    let trainer = trainer(settings, 1);
    (RunFolder::create(&Place::New(out.into()), &trainer, "bars").unwrap(), trainer)
}

/// A run from beginning to end.
pub fn whole(settings: &Settings, out: &Path) -> Outcome {
    let (mut run, mut trainer) = start(settings, out);
    run.train(&mut trainer, &mut (), &false.into()).unwrap()
}

/// Resumes a run and goes on to the end, or until the observer says stop.
pub fn go_on(out: &Path, changes: &Settings, observer: &mut dyn Observer) -> Outcome {
    let (mut run, mut trainer, _) = RunFolder::resume_with(out, changes, bars(), Exec::sequential().unwrap()).unwrap();
    run.train(&mut trainer, observer, &false.into()).unwrap()
}

/// Stops after a step, or fails there as a crash would.
pub struct At {
    pub step: u64,
    pub crash: bool,
}

impl Observer for At {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> Result<Flow> {
        match report.step == self.step {
            true if self.crash => Err(Error::input("crash")),
            true => Ok(Flow::Stop),
            false => Ok(Flow::Continue),
        }
    }
}

/// The bytes of every file of a run; the record without the keys that time it.
pub fn contents(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(out).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let (name, bytes) = (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        let bytes = if name == "metrics.jsonl" { untimed(&bytes) } else { bytes };
        (name, bytes)
    });
    files.collect()
}

fn untimed(record: &[u8]) -> Vec<u8> {
    let lines = std::str::from_utf8(record).unwrap().lines().map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = value.as_object_mut().unwrap();
        assert!(line.remove("samples_per_second").unwrap().as_f64().unwrap() > 0.0);
        assert!(line.remove("seconds").unwrap().as_f64().unwrap() > 0.0);
        format!("{value}\n")
    });
    lines.collect::<String>().into_bytes()
}

#[track_caller]
pub fn assert_same(a: &Path, b: &Path, what: &str) {
    let (a, b) = (contents(a), contents(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}: files");
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{what}: {name} differs");
    }
}
