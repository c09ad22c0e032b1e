//! What works without any feature: plain IDX, arrays, views and their checks.

use crate::fixtures::{Folder, idx, message, says};
use elbo::data::{Dataset, ImageShape, Labels, Rows, Split, Validation, View, load, load_labels};
use ndarray::{Array2, array};

#[test]
fn plain_idx_loads_with_its_pictures_and_name() {
    let folder = Folder::new();
    let path = folder.write("some-images-idx3-ubyte", idx(8, &[2, 1, 2], &[0, 255, 255, 0]));
    let data = load(&path).unwrap();
    assert_eq!(data.name(), "some-images-idx3-ubyte");
    assert_eq!(data.all().to_array::<f32>(), array![[0.0, 1.0], [1.0, 0.0]]);
    assert_eq!(data.all().image(), Some(ImageShape { height: 1, width: 2, channels: 1 }));
    assert_eq!(data.default_split(), Split::All);
    says(&message(data.split(Split::Test)), &["some-images", "no test split", "--split all"]);
    says(&message(data.split(Split::Validation)), &["no validation split", "--validation"]);
}

#[test]
fn labels_of_plain_idx() {
    let folder = Folder::new();
    let labels = load_labels(folder.write("labels-idx1-ubyte", idx(8, &[3], &[7, 0, 7]))).unwrap();
    assert_eq!((labels.get(0), labels.get(1), labels.codes()), ("7", "0", &[0, 1, 0][..]));
    let wrong = folder.write("images-idx3-ubyte", idx(8, &[1, 2, 2], &[0; 4]));
    says(&message(load_labels(wrong)), &["images-idx3", "one dimension", "1 x 2 x 2"]);
}

/// Each of the 256 bytes is converted as stated, in both types, and 255 is 1 exactly: a Bernoulli target may not pass 1.
#[test]
fn bytes_are_scaled_as_stated() {
    let rows = Rows::from_u8((0..=255).collect(), 256).unwrap();
    let (mut single, mut double) = ([0.0f32; 256], [0.0f64; 256]);
    rows.gather(0, &mut single);
    rows.gather(0, &mut double);
    for b in 0..256 {
        assert_eq!(single[b], b as f32 * (1.0f32 / 255.0));
        assert_eq!(double[b], b as f64 * (1.0f64 / 255.0));
        assert_eq!(rows.value(0, b), double[b]);
    }
    assert_eq!((single[255], double[255]), (1.0, 1.0));
    assert_eq!(rows.scale(), 1.0 / 255.0);
}

#[test]
fn arrays_become_data_sets_whatever_their_layout() {
    let x = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
    for data in [x.view(), x.t(), x.slice(ndarray::s![..;-1, 1..])] {
        let set = Dataset::from_array(data).unwrap();
        assert_eq!(set.train().to_array::<f32>(), data);
        assert_eq!(Rows::from_f32(data.to_owned()).unwrap(), Rows::try_from(data).unwrap());
    }
    let tail = x.slice_move(ndarray::s![1.., ..]);
    assert_eq!(View::new(Rows::from_f32(tail).unwrap()).to_array::<f32>(), array![[4.0, 5.0, 6.0]]);
}

#[test]
fn what_is_no_data_is_an_error() {
    says(&message(Dataset::from_array(Array2::zeros((0, 3)).view())), &["no rows"]);
    says(&message(Dataset::from_array(Array2::zeros((3, 0)).view())), &["no columns"]);
    says(&message(Rows::from_u8(vec![1, 2, 3], 2)), &["3 values", "2 columns"]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        says(&message(Dataset::from_array(array![[1.0], [bad]].view())), &["row 1, column 0", "finite", "hint"]);
    }
    let rows = || Rows::from_u8(vec![0; 6], 6).unwrap();
    says(&message(rows().with_image(ImageShape { height: 2, width: 2, channels: 1 })), &["2 x 2 x 1", "6 columns"]);
    let huge = ImageShape { height: usize::MAX, width: 2, channels: 1 };
    says(&message(rows().with_image(huge)), &["does not fit"]);
    says(&message(rows().with_names(vec!["a".into()])), &["1 names for 6 columns"]);
    says(&message(View::with_labels(rows(), Labels::from_iter(["a", "b"]))), &["2 labels for 1 rows"]);
}

#[test]
fn bernoulli_targets_are_checked_by_row_and_column() {
    let rows = Rows::from_f32(array![[0.0, 1.0], [0.5, 1.0], [0.2, -0.25]]).unwrap();
    let view = View::new(rows.with_names(vec!["a".into(), "b".into()]).unwrap());
    let hints = ["row 2", "column 1 (\"b\")", "-0.25", "[0, 1]", "--likelihood gaussian", "scal"];
    says(&message(view.check_unit_interval()), &hints);
    // Of a selection, the message still names the row of the whole set, and positions count in the selection.
    says(&message(view.select(&[2, 0]).check_unit_interval()), &hints);
    assert_eq!(view.select(&[0, 2]).first_outside(0.0, 1.0), Some((1, 1, -0.25)));
    assert_eq!(view.first_fractional(), Some((1, 0, 0.5)));
    assert_eq!(view.slice(0..2).check_unit_interval(), Ok(()));
    assert_eq!(view.range(), Some((-0.25, 1.0)));
    assert!(!view.is_binary() && view.slice(0..1).is_binary());

    let bytes = View::new(Rows::from_u8(vec![0, 255, 128], 1).unwrap());
    assert_eq!(bytes.check_unit_interval(), Ok(()));
    assert!(!bytes.is_binary() && bytes.slice(0..2).is_binary());
    assert_eq!(bytes.range(), Some((0.0, 1.0)));
    assert_eq!(bytes.slice(0..0).range(), None);
    assert_eq!(bytes.first_outside(0.25, 1.0), Some((0, 0, 0.0)));
    says(&message(bytes.expect_cols(784)), &["1 columns", "784"]);
}

#[test]
fn labels_follow_their_rows() {
    let labels = Labels::from_iter(["cat", "2", "cat", " 2.0", "-0", "0"]);
    let view = View::with_labels(Rows::from_u8((0..6).collect(), 1).unwrap(), labels).unwrap();
    let data = Dataset::new("animals", view).with_test(2).unwrap().with_validation(Validation::Rows(1), 3).unwrap();
    for split in [Split::Train, Split::Validation, Split::Test, Split::All] {
        let view = data.split(split).unwrap();
        for position in 0..view.len() {
            let row = (view.rows().value(view.id(position), 0) * 255.0).round() as usize;
            assert_eq!(view.label(position), Some(["cat", "2", "cat", "2", "0", "0"][row]));
        }
    }
    assert_eq!(data.all().positions_of("2.00").unwrap(), [1, 3]);
    assert_eq!(data.test().unwrap().positions_of("0").unwrap(), [0, 1]);
    assert_eq!(data.all().labels().unwrap().matches("cat").unwrap(), [true, false, true, false, false, false]);
    says(&message(data.all().positions_of("cta")), &["no row has the label `cta`", "`cat`"]);
    says(&message(View::new(Rows::from_u8(vec![1], 1).unwrap()).positions_of("3")), &["no labels"]);
}

/// A set of one gigabyte that a header claims costs no memory, and a set takes what its bytes take, once.
#[test]
fn memory_is_what_the_data_take() {
    let folder = Folder::new();
    let claims = folder.write("claims-ubyte", idx(8, &[1 << 20, 32, 32], &[0; 100]));
    let info = allocation_counter::measure(|| drop(load(&claims)));
    assert!(info.bytes_max < 1 << 20, "{} bytes at most", info.bytes_max);

    let (rows, cols) = (20_000, 784);
    let path = folder.write("zeros-ubyte", idx(8, &[rows, 28, 28], &vec![0; (rows * cols) as usize]));
    let info = allocation_counter::measure(|| {
        load(&path).unwrap();
    });
    // The counter sees a growing vector as a second allocation, though large ones are moved by the page table; the
    // step before the last holds at most as much again.
    let bytes = u64::from(rows * cols);
    assert!(info.bytes_max <= 2 * bytes, "{} bytes at most for {bytes}", info.bytes_max);
}
