//! Data larger than memory: rows that stay in their file, and what happens when the file changes.

use crate::fixtures::{Folder, idx, message, says};
use elbo::data::{Batches, Dataset, Feed, Memory, Split, Validation, load, load_within};
use elbo::tensor::Noise;
use elbo::{ErrorKind, Result};
use std::fs::OpenOptions;
use std::path::Path;

const NOTHING: Memory = Memory::Bytes(0);

/// Loads a file twice: into memory, and streamed.
fn both(path: &str) -> (Dataset, Dataset) {
    let (memory, streamed) = (load(path).unwrap(), load_within(path, NOTHING).unwrap());
    assert!(!memory.all().rows().is_streamed() && streamed.all().rows().is_streamed(), "{path}");
    (memory, streamed)
}

fn pixels(rows: usize, cols: usize) -> Vec<u8> {
    (0..rows * cols).map(|i| (i * 31 + i / cols * 7) as u8).collect()
}

/// A file of `rows` pictures of 4 × 5.
fn pictures(folder: &Folder, rows: usize) -> String {
    folder.write("p-idx3-ubyte", idx(8, &[rows as u32, 4, 5], &pixels(rows, 20)))
}

fn cut(path: impl AsRef<Path>, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Everything that a view says of its rows is the same.
fn assert_same(a: &Dataset, b: &Dataset) {
    let (x, y) = (a.all(), b.all());
    assert_eq!((x.len(), x.cols(), x.image(), x.names()), (y.len(), y.cols(), y.image(), y.names()));
    assert_eq!(x.rows().scale(), y.rows().scale());
    assert_eq!(x.to_array::<f32>(), y.to_array::<f32>());
    assert_eq!(x.to_array::<f64>(), y.to_array::<f64>());
    assert_eq!(x.range(), y.range());
    assert_eq!(x.first_fractional(), y.first_fractional());
    for (low, high) in [(0.0, 1.0), (-1e9, 1e9), (0.0, 0.5), (-1.0, 20.0)] {
        assert_eq!(x.first_outside(low, high), y.first_outside(low, high), "[{low}, {high}]");
    }
    assert_eq!(x.is_binary(), y.is_binary());
    assert_eq!(x.rows().value(x.len() - 1, x.cols() - 1), y.rows().value(x.len() - 1, x.cols() - 1));
    y.check_read().unwrap();
}

#[test]
fn every_type_of_idx_reads_as_in_memory() {
    let folder = Folder::new();
    let values: Vec<f64> = (0..60).map(|i| f64::from(i * i % 97) - 40.0).collect();
    let bytes = |f: &dyn Fn(f64) -> Vec<u8>| values.iter().flat_map(|&x| f(x)).collect::<Vec<u8>>();
    for (kind, data) in [
        (0x08, bytes(&|x| vec![(x + 40.0) as u8])),
        (0x09, bytes(&|x| vec![x as i8 as u8])),
        (0x0B, bytes(&|x| (x as i16).to_be_bytes().to_vec())),
        (0x0C, bytes(&|x| (x as i32).to_be_bytes().to_vec())),
        (0x0D, bytes(&|x| (x as f32 / 3.0).to_be_bytes().to_vec())),
        (0x0E, bytes(&|x| (x / 3.0).to_be_bytes().to_vec())),
    ] {
        for dims in [&[12, 5][..], &[10, 2, 3], &[60]] {
            let (memory, streamed) = both(&folder.write("t.idx", idx(kind, dims, &data)));
            assert_same(&memory, &streamed);
        }
    }
}

#[test]
fn splits_and_their_rows_are_the_same() {
    let folder = Folder::new();
    let (memory, streamed) = both(&pictures(&folder, 5000));
    let split = |data: Dataset| {
        let data = data.with_test(1500).unwrap().with_validation(Validation::Fraction(0.1), 7).unwrap();
        [Split::Train, Split::Validation, Split::Test].map(|s| data.split(s).unwrap().to_array::<f32>())
    };
    assert_eq!(split(memory), split(streamed));
}

/// A feed gives each batch's rows, whatever the order it is asked in.
fn assert_feeds(memory: &Dataset, streamed: &Dataset, size: usize, asked: impl Iterator<Item = (u64, usize)>) {
    let batches = || Batches::new(memory.train().len(), size, Noise::new(3)).unwrap();
    let mut feeds = [memory, streamed].map(|data| Feed::new(data.train(), batches()).unwrap());
    for (epoch, number) in asked {
        let [expected, found] = feeds.each_mut().map(|feed| {
            feed.load(epoch, number).unwrap();
            let batch = feed.batch();
            let mut x = vec![0.0f32; batch.len() * memory.all().cols()];
            for (r, x) in x.chunks_exact_mut(memory.all().cols()).enumerate() {
                batch.gather(r, x);
            }
            ((0..batch.len()).map(|r| batch.id(r)).collect::<Vec<_>>(), x)
        });
        assert!(expected == found, "epoch {epoch}, batch {number}");
    }
}

#[test]
fn a_feed_gives_the_rows_of_every_batch_in_any_order() {
    let folder = Folder::new();
    let (memory, streamed) = both(&pictures(&folder, 1003));
    let [memory, streamed] = [memory, streamed].map(|d| d.with_validation(Validation::Rows(100), 1).unwrap());
    // Groups of many batches, of a few, and batches that are whole epochs.
    for size in [1, 4, 64, 900, 903] {
        let len = 903usize.div_ceil(size);
        assert_feeds(&memory, &streamed, size, (0..3).flat_map(|epoch| (0..len).map(move |n| (epoch, n))));
        // The same batch twice, back, forward, another epoch and back.
        let jumps = [(0, len / 2), (0, len / 2), (0, 0), (5, len - 1), (6, 0), (2, len / 3), (0, len - 1), (0, 0)];
        assert_feeds(&memory, &streamed, size, jumps.into_iter());
    }
}

#[test]
fn rows_that_stand_twice_in_a_view_are_fed_twice() {
    let folder = Folder::new();
    let (memory, streamed) = both(&pictures(&folder, 50));
    let twice: Vec<u32> = (0..200).map(|i| i * 7 % 50).collect();
    let [memory, streamed] = [memory, streamed].map(|d| Dataset::new("twice", d.all().select(&twice)));
    assert_feeds(&memory, &streamed, 16, (0..2).flat_map(|epoch| (0..13).map(move |n| (epoch, n))));
}

/// A feed dropped while its thread reads, or before it has read anything, ends its thread.
#[test]
fn a_feed_may_be_dropped_at_any_time() {
    let folder = Folder::new();
    let data = load_within(&pictures(&folder, 3000), NOTHING).unwrap();
    for loads in [0, 1, 2, 5] {
        let mut feed = Feed::new(data.train(), Batches::new(3000, 10, Noise::new(0)).unwrap()).unwrap();
        (0..loads).for_each(|n| feed.load(0, 61 * n).unwrap());
    }
}

/// The first failure, if one comes within some epochs.
fn feed_all(feed: &mut Feed, epochs: std::ops::Range<u64>, len: usize) -> Result<()> {
    epochs.into_iter().try_for_each(|epoch| (0..len).try_for_each(|n| feed.load(epoch, n)))
}

#[test]
fn a_file_cut_short_is_an_error_of_the_feed_and_mended_feeds_again() {
    let folder = Folder::new();
    let path = pictures(&folder, 5000);
    let data = load_within(&path, NOTHING).unwrap();
    let mut feed = Feed::new(data.train(), Batches::new(5000, 500, Noise::new(0)).unwrap()).unwrap();
    feed_all(&mut feed, 0..2, 10).unwrap();
    // In the middle of row 2999.
    cut(&path, 16 + 2999 * 20 + 7);
    // What was read ahead is good; then comes the error.
    let error = feed_all(&mut feed, 2..6, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let whole = error.to_string();
    says(&whole, &[&path, "ends in row 2999", "byte 60003", "59987 of 100000 bytes", "cut short since", "hint"]);
    // Again, and from another place; then with the file as it was.
    assert_eq!(feed.load(9, 3).unwrap_err().to_string(), whole);
    assert_eq!(feed.load(9, 3).unwrap_err().to_string(), whole);
    std::fs::write(&path, idx(8, &[5000, 4, 5], &pixels(5000, 20))).unwrap();
    feed_all(&mut feed, 9..11, 10).unwrap();
}

#[test]
fn rows_that_cannot_be_read_are_not_numbers_and_the_reason_is_kept() {
    let folder = Folder::new();
    let path = pictures(&folder, 20_000);
    let (memory, data) = both(&path);
    cut(&path, 16 + 15_000 * 20);
    let (mut row, mut expected) = ([0.0f32; 20], [0.0f32; 20]);
    data.all().gather(100, &mut row);
    memory.all().gather(100, &mut expected);
    assert_eq!(row, expected);
    data.all().check_read().unwrap();
    data.all().gather(19_999, &mut row);
    assert!(row.iter().all(|x| x.is_nan()), "{row:?}");
    assert!(data.all().rows().value(19_999, 3).is_nan());
    for _ in 0..2 {
        says(&message(data.train().check_read()), &[&path, "ends in row 15000", "300000 of 400000 bytes"]);
    }
    // Checks of the values say so rather than that all is well.
    assert!(data.all().check_unit_interval().is_err());
}

#[test]
fn a_bad_file_is_refused_as_in_memory() {
    let folder = Folder::new();
    let float = |x: f32| x.to_be_bytes();
    let floats = |values: &[f32]| values.iter().flat_map(|&x| float(x)).collect::<Vec<u8>>();
    for (name, file) in [
        ("short", idx(8, &[4, 3], &[1; 11])),
        ("empty", idx(8, &[4, 3], &[])),
        ("long", idx(8, &[4, 3], &[1; 13])),
        ("huge", idx(8, &[u32::MAX, u32::MAX, 2], &[1; 13])),
        ("infinite", idx(0x0D, &[2, 3], &floats(&[0.0, 1.0, 2.0, 3.0, f32::INFINITY, 5.0]))),
        ("not a number", idx(0x0D, &[3, 1], &floats(&[0.0, 1.0, f32::NAN]))),
        ("beyond f32", idx(0x0E, &[1, 2], &[1.0f64, 1e300].map(f64::to_be_bytes).concat())),
    ] {
        let path = folder.write(name, file);
        assert_eq!(message(load_within(&path, NOTHING)), message(load(&path)), "{name}");
    }
}

#[test]
fn the_limit_decides_and_is_exact() {
    let folder = Folder::new();
    let path = pictures(&folder, 100);
    for (limit, streamed) in [(1999, true), (2000, false)] {
        let data = load_within(&path, Memory::Bytes(limit)).unwrap();
        assert_eq!((data.all().rows().is_streamed(), data.note()), (streamed, None), "{limit}");
    }
    // What is generated stays in memory, and says so.
    let data = load_within("gaussian-2d", Memory::Bytes(10_000)).unwrap();
    assert!(!data.all().rows().is_streamed());
    says(data.note().unwrap(), &["gaussian-2d takes 15.6 KiB", "the limit is 9.8 KiB", "plain IDX and NPY"]);
}

#[test]
fn threads_may_read_at_once() {
    let folder = Folder::new();
    let (memory, streamed) = both(&pictures(&folder, 30_000));
    let expected = memory.all().to_array::<f32>();
    std::thread::scope(|scope| {
        for thread in 0..5 {
            let (view, expected) = (streamed.all(), &expected);
            scope.spawn(move || {
                let mut row = [0.0; 20];
                for i in 0..20_000 {
                    let at = (i * (thread * 331 + 1) + thread * 6000) % 30_000;
                    view.gather(at, &mut row);
                    assert_eq!(expected.row(at).as_slice(), Some(&row[..]), "row {at}");
                }
            });
        }
    });
}

#[cfg(feature = "files")]
mod files {
    use super::*;
    use crate::fixtures::{four_files, gzip};
    use ndarray::{Array2, Array3, ShapeBuilder};
    use ndarray_npy::{WritableElement, WriteNpyExt};

    fn npy<A: WritableElement, D: ndarray::Dimension>(array: &ndarray::Array<A, D>) -> Vec<u8> {
        let mut file = Vec::new();
        array.write_npy(&mut file).expect("memory");
        file
    }

    #[test]
    fn npy_reads_as_in_memory() {
        let folder = Folder::new();
        let at = |(i, j): (usize, usize)| (i * 13 + j * 5) % 41;
        let float = Array2::from_shape_fn((200, 7), |ij| at(ij) as f64 / 3.0 - 2.0);
        for file in [
            npy(&Array2::from_shape_fn((200, 7), |ij| at(ij) as u8)),
            npy(&Array3::from_shape_fn((9, 4, 5), |(i, j, k)| (i * 50 + j * 9 + k) as u8)),
            npy(&Array2::from_shape_fn((200, 7), |ij| at(ij) as u64)),
            npy(&Array2::from_shape_fn((200, 7), |ij| at(ij) as i16 - 20)),
            npy(&float.mapv(|x| x as f32)),
            npy(&float),
        ] {
            let (memory, streamed) = both(&folder.write("t.npy", file));
            assert_same(&memory, &streamed);
        }
    }

    #[test]
    fn four_plain_files_are_streamed_as_one_set() {
        let (folder, memory) = (Folder::new(), Folder::new());
        for (name, bytes) in four_files(300, 70) {
            folder.write(name, &bytes);
            memory.write(name, bytes);
        }
        let path = folder.text("");
        let (memory, streamed) = both(&path);
        assert_same(&memory, &streamed);
        assert_eq!(streamed.test().unwrap().to_array::<f32>(), memory.test().unwrap().to_array::<f32>());
        assert_eq!(streamed.all().label(305), memory.all().label(305));
        // Rows of both files, in one batch.
        let [memory, streamed] = [memory, streamed].map(|d| Dataset::new("all", d.all().clone()));
        assert_feeds(&memory, &streamed, 370, (0..2).map(|epoch| (epoch, 0)));
        // The error names the file that is short.
        cut(folder.path("t10k-images-idx3-ubyte"), 16 + 10 * 6);
        let mut feed = Feed::new(streamed.all(), Batches::new(370, 37, Noise::new(0)).unwrap()).unwrap();
        says(&message(feed_all(&mut feed, 0..1, 10)), &["t10k-images-idx3-ubyte", "ends in row 10"]);
    }

    #[test]
    fn packed_and_tabular_data_stay_in_memory_and_say_so() {
        let folder = Folder::new();
        let column_major = Array2::from_shape_fn((6, 4).f(), |(i, j)| (i * 4 + j) as f32);
        folder.write("packed.gz", gzip(&idx(8, &[6, 4], &pixels(6, 4))));
        folder.write("table.csv", "a,b\n1,2\n3,4\n");
        folder.write("fortran.npy", npy(&column_major));
        for name in ["packed.gz", "table.csv", "fortran.npy"] {
            let data = load_within(&folder.text(name), NOTHING).unwrap();
            assert!(!data.all().rows().is_streamed(), "{name}");
            says(data.note().unwrap(), &["note: ", "the limit is 0 bytes", "only plain IDX and NPY"]);
            assert_same(&load(&folder.text(name)).unwrap(), &data);
        }
        // A set of which one file is packed.
        let mixed = Folder::new();
        for (name, bytes) in four_files(20, 5) {
            match name.starts_with("t10k-images") {
                true => mixed.write(&format!("{name}.gz"), gzip(&bytes)),
                false => mixed.write(name, bytes),
            };
        }
        let data = load_within(&mixed.text(""), NOTHING).unwrap();
        assert!(!data.all().rows().is_streamed() && data.note().is_some());
    }
}
