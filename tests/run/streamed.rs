//! Runs on data that stay in their file: the same bytes as from memory, and an error when the file changes.

use crate::support::{At, assert_same, small};
use elbo::data::{Dataset, Memory, load_within};
use elbo::task::{self, Examples};
use elbo::tensor::Exec;
use elbo::train::{
    EpochReport, Flow, METRICS_FILE, MetricsLine, Observer, Outcome, Place, RunFolder, SavedModel, Settings,
    StepReport, Trainer,
};
use elbo::{Error, ErrorKind, Result};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

const NOTHING: Memory = Memory::Bytes(0);
const EVERYTHING: Memory = Memory::Bytes(u64::MAX);

/// Writes pictures of a bright bar, 6 × 6, as IDX or, as floats, as NPY.
fn write(folder: &Path, rows: usize, floats: bool) -> PathBuf {
    let pixel = |row: usize, at: usize| if at / 6 == row % 6 { 155 + (row * 7 + at) % 100 } else { (row + at) % 40 };
    if floats {
        let values = ndarray::Array2::from_shape_fn((rows, 36), |(row, at)| pixel(row, at) as f64 / 255.0);
        let path = folder.join("bars.npy");
        ndarray_npy::write_npy(&path, &values).unwrap();
        return path;
    }
    let mut file = vec![0, 0, 8, 3];
    file.extend([rows as u32, 6, 6].iter().flat_map(|d| d.to_be_bytes()));
    file.extend((0..rows).flat_map(|row| (0..36).map(move |at| pixel(row, at) as u8)));
    let path = folder.join("bars.idx");
    std::fs::write(&path, file).unwrap();
    path
}

fn open(path: &Path, memory: Memory) -> Dataset {
    let data = load_within(path.to_str().unwrap(), memory).unwrap();
    assert_eq!(data.all().rows().is_streamed(), memory == NOTHING);
    data.with_test(13).unwrap()
}

fn trainer(settings: &Settings, data: Dataset, threads: usize) -> Trainer {
    let data = settings.split(data).unwrap();
    let (config, _) = settings.resolve(&data).unwrap();
    Trainer::new(config, data, Exec::new(threads).unwrap()).unwrap()
}

/// A run, to its end or until the observer stops it.
fn run(trainer: &mut Trainer, out: &Path, observer: &mut dyn Observer) -> Result<Outcome> {
    let mut run = RunFolder::create(&Place::New(out.into()), trainer, "bars").unwrap();
    run.train(trainer, observer, &false.into())
}

#[test]
fn a_streamed_run_writes_the_bytes_of_one_from_memory() {
    let scratch = tempdir().unwrap();
    let at = |name: String| scratch.path().join(name);
    for (i, variant) in ["", "validation = 11\nbinarize = \"dynamic\"\nclip = 1", "batch-size = 7\nvalidation = 0.3"]
        .into_iter()
        .enumerate()
    {
        for floats in [false, true] {
            let (settings, path) = (small(variant), write(scratch.path(), 83, floats));
            let memory = at(format!("{i}-{floats}-memory"));
            run(&mut trainer(&settings, open(&path, EVERYTHING), 1), &memory, &mut ()).unwrap();
            for threads in [1, 3] {
                let streamed = at(format!("{i}-{floats}-{threads}"));
                run(&mut trainer(&settings, open(&path, NOTHING), threads), &streamed, &mut ()).unwrap();
                assert_same(&memory, &streamed, &format!("{variant:?}, floats {floats}, {threads} threads"));
            }
        }
    }
}

/// From memory or from the file, one run goes on where the other stopped.
#[test]
fn a_run_resumes_streamed_and_from_memory() {
    let scratch = tempdir().unwrap();
    let (settings, path) = (small("validation = 5"), write(scratch.path(), 83, false));
    let whole = scratch.path().join("whole");
    run(&mut trainer(&settings, open(&path, EVERYTHING), 1), &whole, &mut ()).unwrap();
    for step in [1, 5, 7, 18] {
        for (first, second) in [(NOTHING, EVERYTHING), (EVERYTHING, NOTHING), (NOTHING, NOTHING)] {
            let out = scratch.path().join(format!("{step}-{first}-{second}"));
            let stop = &mut At { step, crash: false };
            let outcome = run(&mut trainer(&settings, open(&path, first), 1), &out, stop).unwrap();
            assert_eq!(outcome, Outcome::Interrupted);
            let (mut run, mut trainer, _) =
                RunFolder::resume_with(&out, &Settings::default(), open(&path, second), Exec::sequential().unwrap())
                    .unwrap();
            assert_eq!(run.train(&mut trainer, &mut (), &false.into()).unwrap(), Outcome::Finished);
            assert_same(&whole, &out, &format!("stopped at {step}, {first} then {second}"));
        }
    }
}

/// Cuts the file short, at a step or after an epoch.
struct Cut {
    path: PathBuf,
    bytes: u64,
    step: u64,
    epoch: u64,
    /// Steps seen.
    seen: u64,
}

impl Cut {
    fn cut(&self) {
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(self.bytes).unwrap();
    }
}

impl Observer for Cut {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> Result<Flow> {
        self.seen = report.step;
        if report.step == self.step {
            self.cut();
        }
        Ok(Flow::Continue)
    }
    fn epoch(&mut self, _: &Trainer, report: &EpochReport) -> Result<Flow> {
        if report.epoch == self.epoch {
            self.cut();
        }
        Ok(Flow::Continue)
    }
}

fn assert_cut(error: &Error, path: &Path, row: usize) {
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = error.to_string();
    for part in [path.to_str().unwrap(), &format!("ends in row {row}"), "cut short since it was opened", "hint"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn a_file_cut_short_while_training_is_an_error_and_the_checkpoint_stays() {
    let scratch = tempdir().unwrap();
    // Larger than what is read ahead: 4.3 MB in groups of 1 MB.
    let rows = 120_000;
    let settings = small("batch-size = 1000\nepochs = 3");
    for (name, step, epoch) in [("within", 10, 0), ("between", 0, 1)] {
        let path = write(scratch.path(), rows, false);
        let out = scratch.path().join(name);
        let mut trainer = trainer(&settings, open(&path, NOTHING), 2);
        let mut cut = Cut { path: path.clone(), bytes: 16 + 36 * 70_000 + 5, step, epoch, seen: 0 };
        let error = run(&mut trainer, &out, &mut cut).unwrap_err();
        assert_cut(&error, &path, 70_000);
        // Training ended within the batches that had been read before: three groups of 29.
        let begun = step + epoch * trainer.steps_per_epoch();
        assert!((begun..=begun + 3 * 29).contains(&cut.seen), "{} of {begun}", cut.seen);
        assert_eq!(trainer.bad_parameter(), None);
        // The run goes on once the file is whole again, from what it had saved.
        write(scratch.path(), rows, false);
        let (mut run, mut trainer, _) =
            RunFolder::resume_with(&out, &Settings::default(), open(&path, NOTHING), Exec::new(2).unwrap()).unwrap();
        assert_eq!(run.train(&mut trainer, &mut (), &false.into()).unwrap(), Outcome::Finished);
    }
}

/// The training rows are read ahead as a whole; then the evaluation after the epoch finds the test rows missing, which are
/// more than are ever kept (4 MB).
#[test]
fn a_file_cut_short_before_an_evaluation_leaves_no_line_in_the_record() {
    let scratch = tempdir().unwrap();
    let path = write(scratch.path(), 200_000, false);
    let out = scratch.path().join("run");
    let settings = small("batch-size = 1000\nepochs = 3");
    let data = load_within(path.to_str().unwrap(), NOTHING).unwrap().with_test(185_000).unwrap();
    let mut trainer = trainer(&settings, data, 1);
    let mut cut = Cut { path: path.clone(), bytes: 16 + 36 * 60_000, step: 2, epoch: 0, seen: 0 };
    assert_cut(&run(&mut trainer, &out, &mut cut).unwrap_err(), &path, 60_000);
    assert_eq!(MetricsLine::read(out.join(METRICS_FILE)).map_or(0, |lines| lines.len()), 0);
}

#[test]
fn tasks_on_streamed_rows_find_what_they_find_in_memory() {
    let scratch = tempdir().unwrap();
    let (settings, path) = (small(""), write(scratch.path(), 20_000, true));
    let out = scratch.path().join("run");
    run(&mut trainer(&settings, open(&path, EVERYTHING), 1), &out, &mut ()).unwrap();
    let model = SavedModel::load(&out).unwrap();
    let ex = Exec::new(2).unwrap();
    let tasks = |data: &Dataset| -> Result<_> {
        let examples = Examples::new(&model.vae, data.train(), elbo::data::Binarize::None, 0)?;
        let mut inference = elbo::model::Inference::new(&model.vae, &model.params, &ex);
        Ok((
            task::evaluate(&mut inference, &examples, 3, Some(4))?,
            task::encode(&mut inference, &examples)?,
            task::reconstruct(&mut inference, &examples)?,
            task::originals(&examples)?,
            task::scores(&mut inference, &examples, None)?,
            task::scores(&mut inference, &examples, Some((3, 1)))?,
        ))
    };
    let streamed = open(&path, NOTHING);
    assert!(tasks(&open(&path, EVERYTHING)).unwrap() == tasks(&streamed).unwrap());

    // Each by itself notices a file that is cut short.
    let len = std::fs::metadata(&path).unwrap().len();
    type Task<'a> = Box<dyn Fn(&mut elbo::model::Inference<f32>, &Examples) -> Result<()> + 'a>;
    let each: [Task; 5] = [
        Box::new(|inference, rows| task::evaluate(inference, rows, 3, None).map(drop)),
        Box::new(|inference, rows| task::encode(inference, rows).map(drop)),
        Box::new(|inference, rows| task::reconstruct(inference, rows).map(drop)),
        Box::new(|_, rows| task::originals(rows).map(drop)),
        Box::new(|inference, rows| task::scores(inference, rows, None).map(drop)),
    ];
    for task in each {
        write(scratch.path(), 20_000, true);
        let data = open(&path, NOTHING);
        let examples = Examples::new(&model.vae, data.all(), elbo::data::Binarize::None, 0).unwrap();
        let mut inference = elbo::model::Inference::new(&model.vae, &model.params, &ex);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 288 * 16_000).unwrap();
        assert_cut(&task(&mut inference, &examples).unwrap_err(), &path, 4000);
    }
}
