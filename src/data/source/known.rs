//! The data sets known by name, and the folder of four files that MNIST and its relatives come in.

use super::idx;
use super::input::Input;
use crate::data::rows::Store;
use crate::data::{Dataset, Labels, Rows, View};
use crate::tensor::{Noise, Stream};
use crate::{Error, Result};
use ndarray::Array2;
use ndarray_rand::RandomExt;
use rand_distr::StandardNormal;
use std::path::{Path, PathBuf};

/// Where Debian's package dataset-fashion-mnist puts its four files.
const DEBIAN_FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// The rows of `mnist` that are held out.
#[cfg(feature = "mnist")]
const MNIST_TEST_ROWS: usize = 1000;

/// The 10,000 embedded digits.
#[cfg(feature = "mnist")]
pub(super) fn mnist() -> Result<Dataset> {
    let images = include_bytes!("../../../datasets/mnist-10k/mnist-10k-images-idx3-ubyte.gz");
    let labels = include_bytes!("../../../datasets/mnist-10k/mnist-10k-labels-idx1-ubyte.gz");
    let rows = idx::rows(Input::embedded("embedded mnist images", images)?, u64::MAX)?;
    let labels = idx::labels(&mut Input::embedded("embedded mnist labels", labels)?)?;
    let view = View::with_labels(rows, Labels::from_numbers(&labels))?;
    Dataset::new("mnist", view).with_test(MNIST_TEST_ROWS)
}

#[cfg(not(feature = "mnist"))]
pub(super) fn mnist() -> Result<Dataset> {
    let error = Error::input("this build of elbo carries no digits").at("mnist");
    Err(error.hint("build with the feature `mnist`, or give the path of an IDX file"))
}

/// A standard normal in two dimensions: 1,000 rows to train on and 1,000 to test. One set for ever: the seed is 0.
pub(super) fn gaussian_2d() -> Result<Dataset> {
    let mut rng = Noise::new(0).rng(Stream::Data, 0, 0, 0);
    let data: Array2<f32> = Array2::random_using((2000, 2), StandardNormal, &mut rng);
    let rows = Rows::from_f32(data)?.with_names(vec!["x0".to_owned(), "x1".to_owned()])?;
    Dataset::new("gaussian-2d", View::new(rows)).with_test(1000)
}

/// Full MNIST: in `mnist-full` or `mnist` under the data folder, or the four files in the data folder itself.
pub(super) fn mnist_full(data: Option<&Path>, limit: u64) -> Result<Dataset> {
    let mut places: Vec<PathBuf> = data.iter().flat_map(|d| [d.join("mnist-full"), d.join("mnist")]).collect();
    places.extend(data.filter(|d| !names_fashion(d)).map(Path::to_path_buf));
    let hint = "set ELBO_DATA to a folder with MNIST's four files, or one whose folder `mnist` has them";
    first_folder("mnist-full", &places, hint, limit)
}

/// Fashion-MNIST: in `fashion-mnist` under the data folder, in the data folder itself if its name says fashion, or where
/// Debian installs it.
pub(super) fn fashion_mnist(data: Option<&Path>, limit: u64) -> Result<Dataset> {
    let mut places: Vec<PathBuf> = data.iter().map(|d| d.join("fashion-mnist")).collect();
    places.extend(data.filter(|d| names_fashion(d)).map(Path::to_path_buf));
    places.push(PathBuf::from(DEBIAN_FASHION_MNIST));
    let hint = "`apt install dataset-fashion-mnist`, or put its four files into `fashion-mnist` under $ELBO_DATA";
    first_folder("fashion-mnist", &places, hint, limit)
}

/// The two sets have files of the same names: a folder's own name must tell them apart.
fn names_fashion(folder: &Path) -> bool {
    // A path such as `.` has its name only once resolved.
    let resolved = folder.canonicalize().ok();
    let mut names = [Some(folder), resolved.as_deref()].into_iter().flatten().filter_map(Path::file_name);
    names.any(|name| name.to_string_lossy().to_lowercase().contains("fashion"))
}

fn first_folder(name: &str, places: &[PathBuf], hint: &str, limit: u64) -> Result<Dataset> {
    if let Some(folder) = places.iter().find(|place| is_four_files(place)) {
        return four_files(name, folder, limit);
    }
    let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let what = match looked.as_slice() {
        [] => "the data set is not here: ELBO_DATA is not set".to_owned(),
        _ => format!("the data set is not here; looked in {}", looked.join(", ")),
    };
    Err(Error::input(what).at(name).hint(hint))
}

const TRAIN: [&str; 2] = ["train-images", "train-labels"];
const TEST: [&str; 2] = ["t10k-images", "t10k-labels"];

/// The file of one of the four names, plain or gzip, with a dash or a point before `idx`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let dims = if name.ends_with("images") { 3 } else { 1 };
    let names = ["-", "."].map(|mark| format!("{name}{mark}idx{dims}-ubyte"));
    names.iter().flat_map(|n| [folder.join(n), folder.join(format!("{n}.gz"))]).find(|path| path.is_file())
}

/// Whether a folder has any of the four files.
pub(super) fn is_four_files(folder: &Path) -> bool {
    TRAIN.iter().chain(&TEST).any(|name| find(folder, name).is_some())
}

/// Reads the four files of a folder into one set, whose test split is the `t10k` files. Beyond `limit` bytes, pictures in
/// plain files stay there.
pub(super) fn four_files(name: &str, folder: &Path, limit: u64) -> Result<Dataset> {
    let open = |file: &str| {
        let path = find(folder, file).ok_or_else(|| {
            let what = format!("there is no file {file}-idx{}-ubyte", if file.ends_with("images") { 3 } else { 1 });
            let hint = "the folder needs train-images, train-labels, t10k-images and t10k-labels, each plain or .gz";
            Error::input(what).at(folder.display().to_string()).hint(hint)
        })?;
        Input::open(&path)
    };
    let mut images = open(TRAIN[0])?;
    let header = idx::header(&mut images)?;
    let cols = header.cols(&images)?;
    let mut test_images = open(TEST[0])?;
    let test_header = idx::header(&mut test_images)?;
    if (test_header.cols(&test_images)?, test_header.number) != (cols, header.number) {
        let (test, train) = (super::numbers::shape(&test_header.dims[1..]), super::numbers::shape(&header.dims[1..]));
        let what = format!("test rows of {test} do not fit training rows of {train}, or their types differ");
        return Err(test_images.error(what));
    }
    let mut labels = labels_of(open(TRAIN[1])?, header.rows())?;
    labels.extend(labels_of(open(TEST[1])?, test_header.rows())?);

    let mut parts = Vec::new();
    if header.kept_bytes().saturating_add(test_header.kept_bytes()) > limit {
        parts.extend(header.part(&images)?);
        parts.extend(test_header.part(&test_images)?);
    }
    let store: Store = if parts.len() == 2 {
        header.file(parts, cols).into()
    } else {
        let mut values = header.values();
        header.read_into(&mut images, &mut values)?;
        test_header.read_into(&mut test_images, &mut values)?;
        values.into()
    };
    let rows = idx::finish(Rows::new(store, cols), &header).map_err(|e| e.at(folder.display().to_string()))?;
    let view = View::with_labels(rows, Labels::from_numbers(&labels))?;
    Dataset::new(name, view).with_test(test_header.rows())
}

fn labels_of(mut input: Input, rows: usize) -> Result<Vec<f64>> {
    let labels = idx::labels(&mut input)?;
    if labels.len() != rows {
        return Err(input.error(format!("{} labels for {rows} rows", labels.len())));
    }
    Ok(labels)
}
