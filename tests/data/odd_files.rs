//! Files that are whole and odd, and places that are no files: data or an error that fits a screen, in little memory.

use crate::fixtures::{Folder, gzip, idx, message, says};
use elbo::data::{Memory, load, load_labels, load_within};
use std::fmt::Write;

/// An error quotes the start of what it found, however much that is, and no character that a terminal would obey.
#[test]
fn errors_fit_a_screen_whatever_they_quote() {
    let folder = Folder::new();
    let many = idx(8, &[u32::MAX; 255], &[0; 5]);
    says(&message(folder.load("many-ubyte", many)), &["4294967295 x 4294967295", "… (255 dimensions)"]);
    let name = "name\u{1b}[2J".repeat(1000);
    let long = |error: String| {
        assert!(error.len() < 1000, "{} bytes: {error}", error.len());
        assert!(!error.contains('\u{1b}'), "{error:?}");
    };
    long(message(folder.load("names.csv", format!("{name},b\nx,1\n"))));
    long(message(folder.load("cells.csv", format!("a,b\n{name},1\n"))));
    long(message(folder.load("one.csv", format!("{name};b\n1,1\n"))));
    let far = folder.load("far.csv", format!("{name},b\n-5,1\n")).unwrap();
    long(message(far.all().check_unit_interval()));
    let descr = format!("{{'descr': '{}', 'fortran_order': False, 'shape': (1, 1), }}", "U".repeat(3000));
    let header = [b"\x93NUMPY\x01\x00".as_slice(), &(descr.len() as u16).to_le_bytes(), descr.as_bytes()].concat();
    long(message(folder.load("type.npy", header)));
}

#[test]
fn numbers_at_the_ends_of_their_range() {
    let folder = Folder::new();
    let csv = folder.load("ends.csv", "a,b,c\n3.4028234e38,-3.4028234e38,1e-45\n-0,1e-400,-1e-45\n").unwrap();
    let expected = [f32::MAX, f32::MIN, f32::from_bits(1), -0.0, 0.0, -f32::from_bits(1)];
    assert!(csv.all().to_array::<f32>().iter().zip(expected).all(|(x, y)| x.to_bits() == y.to_bits()));
    // Halfway to the next power of two rounds to infinity, which is no number to train on.
    says(&message(folder.load("over.csv", "a\n3.4028236e38\n")), &["line 2", "not a finite 32-bit number"]);
    let f64s = |values: &[f64]| {
        idx(0x0E, &[1, values.len() as u32], &values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>())
    };
    let held = folder.load("held.idx", f64s(&[1e-300, -0.0, 3.4028234e38])).unwrap();
    assert_eq!(
        held.all().to_array::<f32>().iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        [0, 1 << 31, f32::MAX.to_bits()]
    );
    for bad in [1e39, f64::NAN, f64::NEG_INFINITY] {
        for memory in [Memory::Bytes(0), Memory::Bytes(u64::MAX)] {
            let path = folder.write("bad.idx", f64s(&[0.5, bad]));
            says(&message(load_within(&path, memory)), &["row 0, column 1", "not a finite 32-bit number"]);
        }
    }
}

#[test]
fn a_table_of_very_many_columns_and_a_very_long_line() {
    let folder = Folder::new();
    let cols = 200_000;
    let mut wide = (0..cols).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    write!(wide, "\n{}", "0.5,".repeat(cols)).unwrap();
    wide.pop();
    let data = folder.load("wide.csv", &wide).unwrap();
    assert_eq!((data.all().len(), data.all().cols()), (1, cols));
    wide.truncate(wide.len() - 4);
    says(&message(folder.load("short.csv", &wide)), &["199999 fields", "200000"]);
    let line = format!("a\n{}1\n", " ".repeat(1 << 20));
    assert_eq!(folder.load("blank.csv", line).unwrap().all().to_array::<f32>()[[0, 0]], 1.0);
    says(&message(folder.load("long.csv", format!("a\n{}\n", "1".repeat(1 << 20)))), &["line 2", "not a finite"]);
}

/// A kilobyte that claims, or unpacks to, very much more.
#[test]
fn small_files_of_large_claims_cost_little_memory() {
    let folder = Folder::new();
    let inner = idx(8, &[1 << 30, 28, 28], &vec![0; 1 << 20]);
    let used = allocation_counter::measure(|| {
        let packed = folder.write("claims-ubyte.gz", gzip(&inner));
        says(&message(load(&packed)), &["1073741824 x 28 x 28", "ends in row 1337"]);
    });
    // What it unpacks to, doubled while it grows, and the files themselves.
    assert!(used.bytes_max < 8 << 20, "{} bytes", used.bytes_max);

    // Sixteen-bit colour of 700 × 700 is 2.9 MB: more than deflate can hold in these bytes, though one-bit grey would fit.
    let mut header = [0, 0, 2, 188, 0, 0, 2, 188, 16, 6, 0, 0, 0].to_vec();
    header.splice(0..0, *b"IHDR");
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\x0d".as_slice(), &header, &crc.sum().to_be_bytes()].concat();
    folder.write("x.png", &png);
    let used = allocation_counter::measure(|| says(&message(folder.load_all()), &["700 x 700 pixels", "too many"]));
    assert!(used.bytes_max < 1 << 20, "{} bytes", used.bytes_max);
}

#[cfg(unix)]
mod places {
    use super::*;
    use elbo::files::tensors::TensorFile;
    use elbo::train::{SavedModel, Settings};
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    /// Fails instead of hanging.
    fn soon<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(what()));
        receiver.recv_timeout(Duration::from_secs(30)).expect("an answer, and no waiting for a writer")
    }

    #[test]
    fn pipes_where_files_belong_are_refused_and_not_waited_for() {
        let folder = Folder::new();
        pipe(&folder.path("a.png"));
        pipe(&folder.path("model"));
        let whole = folder.text("");
        says(&message(soon(move || load(&whole))), &["a.png", "no regular file"]);
        let model = folder.path("model");
        says(&soon(move || SavedModel::load(model).unwrap_err().to_string()), &["model", "not a regular file"]);
        let model = folder.path("model");
        says(&soon(move || TensorFile::read(model).unwrap_err().to_string()), &["not a regular file"]);
    }

    #[test]
    fn a_pipe_with_a_writer_is_read_as_a_file_is() {
        let folder = Folder::new();
        pipe(&folder.path("x"));
        let (path, text) = (folder.path("x"), folder.text("x"));
        let writer = std::thread::spawn(move || std::fs::write(path, "a,b\n1,2\n"));
        assert_eq!(load_within(&text, Memory::Bytes(0)).unwrap().all().cols(), 2);
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn devices_are_read_no_further_than_makes_sense() {
        for device in ["/dev/zero", "/dev/null"] {
            says(&message(soon(move || load(device))), &[device]);
            says(&message(soon(move || load_labels(device))), &[device]);
            says(&soon(move || SavedModel::load(device).unwrap_err().to_string()), &[device, "not a regular file"]);
        }
        says(&soon(|| Settings::load("/dev/zero").unwrap_err().to_string()), &["/dev/zero", "no file of settings"]);
        assert_eq!(soon(|| Settings::load("/dev/null")), Ok(Settings::default()));
    }
}
