//! What must hold for any bytes, a function for each reader: data or an error in words, never a panic, and what was read
//! is whole. The fuzzers call these on what they make up, `tests/corpus.rs` on the committed corpus.

use elbo::data::{Dataset, Labels, Memory, Rows, View, load_labels, load_within};
use elbo::files::tensors::{self, TensorFile};
use elbo::model::{Inference, Vae};
use elbo::tensor::Exec;
use elbo::train::{Flow, Observer, Place, RunFolder, SavedModel, Settings, StepReport, Trainer};
use elbo::{Error, ErrorKind, Result};
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use std::cell::OnceCell;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of these bytes in the thread's own folder `room`, which is made when it is first asked for.
fn file(room: &str, name: &str, bytes: &[u8]) -> PathBuf {
    thread_local!(static SCRATCH: TempDir = tempfile::tempdir().expect("a temporary folder"));
    let folder = SCRATCH.with(|scratch| scratch.path().join(room));
    let path = folder.join(name);
    if fs::write(&path, bytes).is_err() {
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(&path, bytes).expect("a file");
    }
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// An error of a user's making: in words that fit a screen, and that name the file.
fn expect_words(error: &Error, path: &Path) {
    let words = error.to_string();
    assert_ne!(error.kind(), ErrorKind::Diverged, "{words}");
    assert!(words.contains(text(path)), "no file is named: {words}");
    assert!(words.len() < 2000, "{} bytes of error: {words}", words.len());
}

/// Loads rows into memory and as a stream: the same rows, or an error from both.
fn load_both(path: &Path) -> Option<Dataset> {
    let load = |limit| load_within(text(path), Memory::Bytes(limit));
    match (load(u64::MAX), load(0)) {
        (Ok(held), Ok(streamed)) => {
            expect_same(held.all(), streamed.all());
            Some(held)
        }
        (Err(held), Err(streamed)) => {
            expect_words(&held, path);
            expect_words(&streamed, path);
            None
        }
        (held, streamed) => panic!("in memory {:?}, streamed {:?}", held.err(), streamed.err()),
    }
}

/// The same shape and the same numbers, bit for bit, all finite.
fn expect_same(a: &View, b: &View) {
    assert_eq!((a.len(), a.cols(), a.image(), a.names()), (b.len(), b.cols(), b.image(), b.names()));
    assert!(!a.is_empty() && a.cols() > 0);
    assert!(a.image().is_none_or(|image| image.values() == Some(a.cols())));
    let (mut x, mut y) = (vec![0f32; a.cols()], vec![0f32; a.cols()]);
    for row in 0..a.len() {
        a.gather(row, &mut x);
        b.gather(row, &mut y);
        assert!(x.iter().all(|v| v.is_finite()), "row {row}");
        assert!(x.iter().zip(&y).all(|(x, y)| x.to_bits() == y.to_bits()), "row {row} differs");
    }
    b.check_read().expect("rows that can be read");
}

/// The rows as numbers of their own, which pixels are no longer.
fn numbers(view: &View) -> Array2<f32> {
    view.to_array()
}

/// Rows written in a format come back the same.
fn expect_round_trip(room: &str, name: &str, bytes: &[u8], rows: Rows) {
    let again = load_both(&file(room, name, bytes)).expect("what was written can be read");
    expect_same(&View::new(rows), again.all());
}

/// Bytes as an IDX file.
pub fn idx(bytes: &[u8]) {
    let Some(data) = load_both(&file("idx", "x-ubyte", bytes)) else { return };
    let x = numbers(data.all());
    let dims = [x.nrows() as u32, x.ncols() as u32].map(u32::to_be_bytes).concat();
    let written = [&[0, 0, 0x0D, 2][..], &dims, &x.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>()].concat();
    expect_round_trip("idx", "y-ubyte", &written, Rows::from_f32(x).expect("rows"));
}

/// Bytes as a gzip file, and as the packed data within one whose checksum is right.
pub fn gzip(bytes: &[u8]) {
    load_both(&file("gzip", "x.gz", bytes));
    let mut unpacked = Vec::new();
    let mut inflate = flate2::read::DeflateDecoder::new(bytes);
    if inflate.by_ref().take(1 << 20).read_to_end(&mut unpacked).is_err() || unpacked.len() == 1 << 20 {
        return;
    }
    let mut sum = flate2::Crc::new();
    sum.update(&unpacked);
    let packed = &bytes[..inflate.total_in() as usize];
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let sealed = [&head, packed, &sum.sum().to_le_bytes(), &sum.amount().to_le_bytes()].concat();
    let (packed, plain) = (file("gzip", "y.gz", &sealed), file("gzip", "y", &unpacked));
    match (load_both(&packed), load_both(&plain)) {
        (Some(packed), Some(plain)) => expect_same(packed.all(), plain.all()),
        (packed, plain) => assert!(packed.is_none() && plain.is_none(), "packed and plain differ"),
    }
}

/// Bytes as an NPY file.
pub fn npy(bytes: &[u8]) {
    let Some(data) = load_both(&file("npy", "x.npy", bytes)) else { return };
    let x = numbers(data.all());
    let mut written = Vec::new();
    x.write_npy(&mut written).expect("memory");
    expect_round_trip("npy", "y.npy", &written, Rows::from_f32(x).expect("rows"));
}

/// Bytes as a CSV file.
pub fn csv(bytes: &[u8]) {
    let Some(data) = load_both(&file("csv", "x.csv", bytes)) else { return };
    // Formats go by what a file begins with: this one may have been an IDX file.
    let Some(names) = data.all().names().map(<[String]>::to_vec) else { return };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&names).expect("memory");
    let x = numbers(data.all());
    for row in x.rows() {
        writer.write_record(row.iter().map(|v| format!("{v:?}"))).expect("memory");
    }
    let written = writer.into_inner().expect("memory");
    let rows = Rows::from_f32(x).and_then(|rows| rows.with_names(names)).expect("rows");
    expect_round_trip("csv", "y.csv", &written, rows);
}

/// Bytes as the one picture of a folder.
pub fn png(bytes: &[u8]) {
    let path = file("png", "x.png", bytes);
    let Some(data) = load_both(path.parent().expect("a folder")) else { return };
    let (all, image) = (data.all(), data.all().image().expect("a picture"));
    assert_eq!(all.len(), 1);
    let pixels: Vec<u8> = numbers(all).iter().map(|v| (v * 255.0).round() as u8).collect();
    let mut written = Vec::new();
    let mut encoder = png::Encoder::new(&mut written, image.width as u32, image.height as u32);
    encoder.set_color(if image.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.write_header().and_then(|mut w| w.write_image_data(&pixels)).expect("memory");
    let path = file("png2", "y.png", &written);
    let again = load_both(path.parent().expect("a folder")).expect("what was written can be read");
    expect_same(all, again.all());
}

/// Bytes as a file of labels, of a format that they tell themselves.
pub fn labels(bytes: &[u8]) {
    let path = file("labels", "labels", bytes);
    match load_labels(&path) {
        Ok(labels) => {
            assert_eq!(labels.len(), labels.codes().len());
            let texts: Vec<&str> = (0..labels.len()).map(|row| labels.get(row)).collect();
            assert_eq!(Labels::from_iter(&texts), labels, "one spelling for each label");
            assert!(labels.distinct().iter().all(|label| labels.code(label).is_ok()));
        }
        Err(error) => expect_words(&error, &path),
    }
}

/// Bytes as one of the four files of a folder such as MNIST's; the first byte says which.
pub fn four_files(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let images =
        |rows: u8| [&[0, 0, 8, 3, 0, 0, 0, rows, 0, 0, 0, 2, 0, 0, 0, 2][..], &vec![rows; 4 * rows as usize]].concat();
    let labels = |rows: u8| [&[0, 0, 8, 1, 0, 0, 0, rows][..], &vec![1; rows as usize]].concat();
    let files = [
        ("train-images-idx3-ubyte", images(3)),
        ("train-labels-idx1-ubyte", labels(3)),
        ("t10k-images-idx3-ubyte", images(2)),
        ("t10k-labels-idx1-ubyte", labels(2)),
    ];
    let mut folder = PathBuf::new();
    for (i, (name, whole)) in files.iter().enumerate() {
        let changed = usize::from(*which) % files.len() == i;
        folder = file("four", name, if changed { bytes } else { whole }).with_file_name("");
    }
    if let Some(data) = load_both(&folder) {
        let labels = data.all().labels().expect("labels");
        assert_eq!(labels.len(), data.all().len());
        assert_eq!(data.train().len() + data.test().map_or(0, View::len), data.all().len());
    }
}

/// Ten rows of four numbers in [0, 1], labelled.
fn small() -> Dataset {
    let x = Array2::from_shape_fn((10, 4), |(i, j)| ((i * 7 + j * 3) % 11) as f32 / 10.0);
    let labels = (0..10).map(|row| ["a", "b", "7"][row % 3]).collect();
    let view = Rows::from_f32(x).and_then(|rows| View::with_labels(rows, labels)).expect("rows");
    Dataset::new("array", view)
}

/// Stops after a few steps, each of which must have finite terms.
struct Few(u64);

impl Observer for Few {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> Result<Flow> {
        assert!(report.train.neg_elbo.is_finite(), "{report:?}");
        self.0 -= 1;
        Ok(if self.0 == 0 { Flow::Stop } else { Flow::Continue })
    }
}

/// A few steps: finite terms, or a cause in words.
fn train(trainer: &mut Trainer) {
    match trainer.run(&mut Few(3)) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Diverged, "{error}"),
    }
}

/// A network that is quick to run.
fn is_small(vae: &Vae) -> bool {
    vae.layout().entries().len() < 50 && vae.layout().len() < 100_000
}

/// Bytes as settings: written out, they are read back; in full, they mean the same; and the run that they ask for goes
/// well or says why not.
pub fn settings(bytes: &[u8]) {
    let Ok(toml) = std::str::from_utf8(bytes) else { return };
    let Ok(settings) = Settings::from_toml(toml) else { return };
    let written = settings.to_toml();
    assert_eq!(Settings::from_toml(&written).expect(&written).to_toml(), written);
    let Ok(data) = settings.split(small()) else { return };
    let Ok((config, _)) = settings.resolve(&data) else { return };
    let full = Settings::from_config(&config, &data);
    let again = Settings::from_toml(&full.to_toml()).and_then(|full| full.resolve(&data)).expect("a full spelling").0;
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    let Ok(vae) = Vae::new(&config.vae) else { return };
    if is_small(&vae) {
        let trainer = Trainer::new(config, data, Exec::sequential().expect("a processor"));
        trainer.into_iter().for_each(|mut trainer| train(&mut trainer));
    }
}

/// A tensor file whose lengths agree with its header, if there is a header to be read: what is wrong with the rest then
/// comes to light.
fn agreeing(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.get(8..)?;
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<safetensors::tensor::Metadata>();
    let header = values.next()?.ok()?;
    let (len, data) = (values.byte_offset(), header.data_len());
    if data > 1 << 20 {
        return None;
    }
    let mut file = [&(len as u64).to_le_bytes(), text].concat();
    file.resize(8 + len + data, 0);
    Some(file)
}

/// Bytes as a model's file.
pub fn model(bytes: &[u8]) {
    loads(bytes);
    agreeing(bytes).iter().for_each(|bytes| {
        loads(bytes);
    });
}

/// Bytes as a model's file, just as they are; whether there is a model in it.
pub fn loads(bytes: &[u8]) -> bool {
    let path = file("model", "x.safetensors", bytes);
    let copies = [path.with_file_name("y.safetensors"), path.with_file_name("z.safetensors")];
    match TensorFile::read(&path) {
        Ok(read) => {
            tensors::write(&copies[0], &read.metadata, &read.tensors).expect("a file");
            let again = TensorFile::read(&copies[0]).expect("what was written can be read");
            tensors::write(&copies[1], &again.metadata, &again.tensors).expect("a file");
            assert!(fs::read(&copies[0]).ok() == fs::read(&copies[1]).ok(), "written twice, two files");
        }
        Err(error) => expect_words(&error, &path),
    }
    match SavedModel::load(&path) {
        Ok(model) => {
            model.save(&copies[0]).expect("a file");
            let again = SavedModel::load(&copies[0]).expect("what was saved can be loaded");
            assert_eq!((again.digest(), again.info), (model.digest(), model.info.clone()));
            use_model(&model);
            true
        }
        Err(error) => {
            expect_words(&error, &path);
            false
        }
    }
}

/// Encodes and decodes a row, if that is quick.
fn use_model(model: &SavedModel) {
    if is_small(&model.vae) {
        let exec = Exec::sequential().expect("a processor");
        let mut inference = Inference::new(&model.vae, &model.params, &exec);
        let mut z = Array2::zeros((1, model.vae.config().latent));
        inference.encode_into(Array2::zeros((1, model.vae.config().row_cols())).view(), z.view_mut());
        let codes = Array2::zeros((1, model.vae.config().code_cols()));
        inference.decode_into(codes.view(), Array2::zeros((1, model.vae.config().inputs)).view_mut());
    }
}

/// The folder of a run of two epochs on [`small`] data.
fn run_folder() -> PathBuf {
    let settings = "hidden = [3]\nlatent = 2\nepochs = 9\nbatch-size = 4\npatience = 3\nvalidation = 2";
    let settings = Settings::from_toml(settings).expect("settings");
    let data = settings.split(small()).expect("splits");
    let (config, _) = settings.resolve(&data).expect("a configuration");
    let mut trainer = Trainer::new(config, data, Exec::sequential().expect("a processor")).expect("a run");
    let place = file("run", "seed", b"").with_file_name("run");
    let mut run = RunFolder::create(&Place::Overwrite(place.clone()), &trainer, "small").expect("a folder");
    run.train(&mut trainer, &mut Few(5), &false.into()).expect("five steps");
    place
}

/// A checkpoint that the run of [`checkpoint`] can be resumed from, and its model: what a corpus begins with.
#[allow(dead_code, reason = "the fuzzers find them in the corpus")]
pub fn whole_files() -> (Vec<u8>, Vec<u8>) {
    let folder = run_folder();
    let read = |name| fs::read(folder.join(name)).expect("a file of the run");
    (read("checkpoint"), read("model.safetensors"))
}

/// Bytes as the checkpoint of a run that is resumed.
pub fn checkpoint(bytes: &[u8]) {
    resumes(bytes);
    agreeing(bytes).iter().for_each(|bytes| {
        resumes(bytes);
    });
}

/// Bytes as a checkpoint, just as they are; whether the run goes on from it.
pub fn resumes(bytes: &[u8]) -> bool {
    thread_local!(static RUN: OnceCell<(PathBuf, [Vec<u8>; 2])> = const { OnceCell::new() });
    let make = || {
        let path = run_folder();
        let read = |name: &str| fs::read(path.join(name)).expect("a file of the run");
        // As many lines as a checkpoint of this run can want.
        let files = [read("config.toml"), read("metrics.jsonl").repeat(9)];
        (path, files)
    };
    let folder = RUN.with(|run| {
        let (path, [config, metrics]) = run.get_or_init(make);
        fs::write(path.join("config.toml"), config).expect("a file");
        fs::write(path.join("metrics.jsonl"), metrics).expect("a file");
        path.clone()
    });
    fs::write(folder.join("checkpoint"), bytes).expect("a file");
    match RunFolder::resume_with(&folder, &Settings::default(), small(), Exec::sequential().expect("a processor")) {
        Ok((_, mut trainer, _)) => {
            train(&mut trainer);
            true
        }
        Err(error) => {
            expect_words(&error, &folder);
            false
        }
    }
}
