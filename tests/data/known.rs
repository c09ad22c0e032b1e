//! The data sets known by name.

use crate::fixtures::{Folder, message, says};
#[cfg(any(feature = "files", feature = "mnist"))]
use elbo::data::ImageShape;
use elbo::data::{Dataset, Split, load, load_in};

/// Mean and standard deviation of all values of a split.
fn moments(data: &Dataset, split: Split) -> (f64, f64) {
    let view = data.split(split).unwrap();
    let mut row = vec![0.0f64; view.cols()];
    let (mut sum, mut squares) = (0.0, 0.0);
    for position in 0..view.len() {
        view.gather(position, &mut row);
        sum += row.iter().sum::<f64>();
        squares += row.iter().map(|x| x * x).sum::<f64>();
    }
    let n = (view.len() * view.cols()) as f64;
    (sum / n, (squares / n - (sum / n).powi(2)).sqrt())
}

/// Asserts that a set is 60,000 + 10,000 pictures with the published mean, deviation and first labels.
#[cfg(any(feature = "files", feature = "mnist"))]
fn is_full_set(data: &Dataset, mean: f64, deviation: f64, first_labels: [&str; 3]) {
    let sizes = [Split::Train, Split::Test, Split::All].map(|s| data.split(s).unwrap().len());
    assert_eq!(sizes, [60_000, 10_000, 70_000]);
    assert_eq!(data.default_split(), Split::Test);
    assert_eq!(data.all().image(), Some(ImageShape { height: 28, width: 28, channels: 1 }));
    let found = moments(data, Split::Train);
    // The published figures have four decimals.
    assert!((found.0 - mean).abs() < 5e-5 && (found.1 - deviation).abs() < 5e-5, "{found:?}");
    for (position, label) in first_labels.iter().enumerate() {
        assert_eq!(data.train().label(position), Some(*label));
    }
    assert_eq!(data.all().labels().unwrap().distinct().len(), 10);
}

/// The set, or nothing where it is not installed and need not be.
#[cfg(any(feature = "files", feature = "mnist"))]
fn installed(name: &str, required: bool) -> Option<Dataset> {
    match load(name) {
        Ok(data) => Some(data),
        Err(e) if required => panic!("{e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            None
        }
    }
}

#[test]
#[cfg(any(feature = "files", feature = "mnist"))]
fn fashion_mnist_where_it_is_installed() {
    let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
    let Some(data) = installed("fashion-mnist", ci) else { return };
    is_full_set(&data, 0.2860, 0.3530, ["9", "0", "0"]);
    assert_eq!(data.test().unwrap().positions_of("9").unwrap().len(), 1000);
}

#[test]
#[cfg(any(feature = "files", feature = "mnist"))]
fn full_mnist_where_it_is_installed() {
    let Some(data) = installed("mnist-full", false) else { return };
    is_full_set(&data, 0.1307, 0.3081, ["5", "0", "4"]);
}

#[test]
#[cfg(feature = "mnist")]
fn embedded_mnist() {
    let data = load("mnist").unwrap();
    assert_eq!(
        (data.name(), data.train().len(), data.test().unwrap().len(), data.all().len()),
        ("mnist", 9000, 1000, 10_000)
    );
    assert_eq!(data.test().unwrap().id(0), 9000);
    assert_eq!(data.all().image(), Some(ImageShape { height: 28, width: 28, channels: 1 }));
    assert_eq!(data.all().check_unit_interval(), Ok(()));
    assert!(!data.all().is_binary());
    // A sample of MNIST has about its mean and deviation, 0.1307 and 0.3081: digits' mean grey varies by 0.04, so that
    // of 10,000 by 0.0004.
    let (mean, deviation) = moments(&data, Split::All);
    assert!((mean - 0.1307).abs() < 0.002 && (deviation - 0.3081).abs() < 0.002, "{mean} {deviation}");
    let labels = data.all().labels().unwrap();
    let mut distinct = labels.distinct().to_vec();
    distinct.sort();
    assert_eq!(distinct, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    // A "1" has the least ink of all digits: labels and pictures go together.
    let ink = |label: &str| {
        let rows = data.all().select(&data.all().positions_of(label).unwrap());
        rows.to_array::<f64>().mean().unwrap()
    };
    let ones = ink("1");
    assert!(["0", "2", "3", "4", "5", "6", "7", "8", "9"].iter().all(|other| ink(other) > 1.2 * ones));
}

#[test]
#[cfg(not(feature = "mnist"))]
fn without_embedded_mnist() {
    says(&message(load("mnist")), &["carries no digits", "feature `mnist`"]);
}

/// 2,000 values per split: the mean has standard deviation 1/√2000 = 0.022, the deviation 1/√4000 = 0.016; four of each.
#[test]
fn gaussian_is_standard_normal_and_always_the_same() {
    let data = load("gaussian-2d").unwrap();
    assert_eq!((data.train().len(), data.test().unwrap().len(), data.all().cols()), (1000, 1000, 2));
    for split in [Split::Train, Split::Test] {
        let (mean, deviation) = moments(&data, split);
        assert!(mean.abs() < 0.09 && (deviation - 1.0).abs() < 0.064, "{mean} {deviation}");
    }
    assert_eq!(load("gaussian-2d").unwrap().all().to_array::<f32>(), data.all().to_array::<f32>());
    says(&message(data.all().check_unit_interval()), &["row", "column", "(\"x", "--likelihood gaussian"]);
}

#[test]
fn sets_that_are_not_installed_say_how_to_get_them() {
    let folder = Folder::new();
    let data = folder.path("");
    says(&message(load_in("mnist-full", None)), &["mnist-full", "ELBO_DATA", "hint"]);
    says(&message(load_in("mnist-full", Some(&data))), &[&folder.text("mnist"), "looked in", "four files"]);
    if !std::path::Path::new("/usr/share/datasets/fashion-mnist").exists() {
        let text = message(load_in("fashion-mnist", Some(&data)));
        says(&text, &[&folder.text("fashion-mnist"), "/usr/share/datasets", "apt install dataset-fashion-mnist"]);
    }
}

/// The four files have the same names in both sets: a folder's name decides, and one set never passes for the other.
#[test]
#[cfg(feature = "files")]
fn data_folder_holds_sets_by_name() {
    let write = |folder: &std::path::Path, train| {
        std::fs::create_dir_all(folder).unwrap();
        for (name, bytes) in crate::fixtures::four_files(train, 3) {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    };
    let rows = |name: &str, data: &std::path::Path| load_in(name, Some(data)).map(|d| d.train().len());

    let both = Folder::new();
    write(&both.path("mnist"), 4);
    write(&both.path("fashion-mnist"), 5);
    let root = both.path("");
    assert_eq!((rows("mnist-full", &root), rows("fashion-mnist", &root)), (Ok(4), Ok(5)));
    assert_eq!(load_in("fashion-mnist", Some(&root)).unwrap().name(), "fashion-mnist");

    // The data folder is itself the set.
    assert_eq!(rows("mnist-full", &both.path("mnist")), Ok(4));
    assert_ne!(rows("fashion-mnist", &both.path("mnist")), Ok(4));
    assert_eq!(rows("fashion-mnist", &both.path("fashion-mnist")), Ok(5));
    assert!(rows("mnist-full", &both.path("fashion-mnist")).is_err());
    assert!(rows("mnist-full", &both.path("mnist/../fashion-mnist/.")).is_err());
    write(&both.path("mnist-full"), 6);
    assert_eq!(rows("mnist-full", &root), Ok(6));
}

#[test]
#[cfg(feature = "files")]
fn the_table_of_data_sets_has_the_files_checksums() {
    use sha2::{Digest, Sha256};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    let table = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(folder.join("mnist-10k")).unwrap() {
        let path = entry.unwrap().path();
        let sum: String = Sha256::digest(std::fs::read(&path).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
        let name = path.file_name().unwrap().to_str().unwrap();
        let line = table.lines().find(|l| l.starts_with(&format!("| `mnist-10k/{name}`"))).expect(name);
        assert!(line.contains(&sum), "{name}: {sum}");
        files += 1;
    }
    assert_eq!(files, 2);
}
