//! Files made for a test, in a folder of its own.

#[cfg(feature = "files")]
use elbo::data::{Dataset, load};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder that goes when the test ends.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Writes a file and returns its path as text.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).expect("a file in the temporary folder");
        self.text(name)
    }
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path of UTF-8").to_owned()
    }
    /// Writes a file and loads it.
    #[cfg(feature = "files")]
    pub fn load(&self, name: &str, bytes: impl AsRef<[u8]>) -> elbo::Result<Dataset> {
        load(&self.write(name, bytes))
    }
    /// Loads the folder itself.
    #[cfg(feature = "files")]
    pub fn load_all(&self) -> elbo::Result<Dataset> {
        load(self.0.path().to_str().expect("a path of UTF-8"))
    }
}

/// An IDX file of a type, dimensions and data.
pub fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, kind, dims.len() as u8];
    file.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    file.extend_from_slice(data);
    file
}

#[cfg(feature = "files")]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The four files of MNIST: `train` and `test` pictures of 2 × 3 whose bytes count up, labels the row modulo 10.
#[cfg(feature = "files")]
pub fn four_files(train: u32, test: u32) -> Vec<(&'static str, Vec<u8>)> {
    let images = |rows: u32, first: u32| {
        let bytes: Vec<u8> = (first * 6..(first + rows) * 6).map(|b| b as u8).collect();
        idx(8, &[rows, 2, 3], &bytes)
    };
    let labels = |rows: u32, first: u32| {
        let bytes: Vec<u8> = (first..first + rows).map(|r| (r % 10) as u8).collect();
        idx(8, &[rows], &bytes)
    };
    vec![
        ("train-images-idx3-ubyte", images(train, 0)),
        ("train-labels-idx1-ubyte", labels(train, 0)),
        ("t10k-images-idx3-ubyte", images(test, train)),
        ("t10k-labels-idx1-ubyte", labels(test, train)),
    ]
}

/// The message of an error; a panic if there was none.
pub fn message<T: std::fmt::Debug>(result: elbo::Result<T>) -> String {
    result.expect_err("this must be an error").to_string()
}

/// Asserts that a message holds every fragment.
#[track_caller]
pub fn says(message: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(message.contains(fragment), "`{fragment}` is missing in: {message}");
    }
}
