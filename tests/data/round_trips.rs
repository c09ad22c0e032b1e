//! Any data, written in each format and read back: the same to the bit, in memory and streamed.

use crate::fixtures::{Folder, gzip, idx};
use elbo::data::{Batches, Dataset, Feed, Labels, Memory, load_labels, load_within};
use elbo::tensor::Noise;
use ndarray::{Array2, ShapeBuilder};
use ndarray_npy::WriteNpyExt;
use proptest::prelude::*;

/// A matrix of any finite numbers, with up to 12 rows and 6 columns.
fn matrix() -> impl Strategy<Value = Array2<f32>> {
    let finite = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite());
    (1usize..13, 1usize..7).prop_flat_map(move |shape| {
        let numbers = prop::collection::vec(finite.clone(), shape.0 * shape.1);
        numbers.prop_map(move |v| Array2::from_shape_vec(shape, v).unwrap())
    })
}

fn bits(x: &Array2<f32>) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Reads a file both ways.
fn read(folder: &Folder, name: &str, bytes: &[u8]) -> [Dataset; 2] {
    let path = folder.write(name, bytes);
    [u64::MAX, 0].map(|limit| load_within(&path, Memory::Bytes(limit)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn numbers_of_every_format(x in matrix()) {
        let folder = Folder::new();
        let dims = [x.nrows() as u32, x.ncols() as u32];
        let plain = idx(0x0D, &dims, &x.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>());
        let wide = idx(0x0E, &dims, &x.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect::<Vec<_>>());
        let (mut rows_first, mut columns_first) = (Vec::new(), Vec::new());
        x.write_npy(&mut rows_first).unwrap();
        let mut turned = Array2::zeros(x.dim().f());
        turned.assign(&x);
        turned.write_npy(&mut columns_first).unwrap();
        // Nine digits hold any f32.
        let line = |row: ndarray::ArrayView1<f32>| row.iter().map(|v| format!("{v:.8e}")).collect::<Vec<_>>().join(",");
        let names = (0..x.ncols()).map(|i| format!("\"c, {i}\"")).collect::<Vec<_>>().join(",");
        let csv = std::iter::once(names).chain(x.rows().into_iter().map(line)).collect::<Vec<_>>().join("\r\n");
        for (name, bytes) in [
            ("x.idx", plain.clone()), ("w.idx", wide), ("x.idx.gz", gzip(&plain)), ("x.npy", rows_first.clone()),
            ("x.npy.gz", gzip(&rows_first)), ("f.npy", columns_first), ("x.csv", csv.clone().into_bytes()), ("x.csv.gz", gzip(csv.as_bytes())),
        ] {
            for data in read(&folder, name, &bytes) {
                prop_assert_eq!(data.all().cols(), x.ncols(), "{}", name);
                prop_assert_eq!(bits(&data.all().to_array()), bits(&x), "{}", name);
            }
        }
    }

    #[test]
    fn pixels_of_every_format(pixels in prop::collection::vec(any::<u8>(), 1..60), colour: bool) {
        let folder = Folder::new();
        let channels = if colour { 3 } else { 1 };
        let width = pixels.len() / channels;
        prop_assume!(width > 0);
        let pixels = &pixels[..width * channels];
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, width as u32, 1);
        encoder.set_color(if colour { png::ColorType::Rgb } else { png::ColorType::Grayscale });
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        folder.write("0.png", &png);
        folder.write("1.png", &png);
        let pictures = folder.load_all().unwrap();
        let file = idx(8, &[2, 1, width as u32, channels as u32], &[pixels, pixels].concat());
        for data in read(&folder, "p-ubyte", &file) {
            prop_assert_eq!(data.all().image(), pictures.all().image());
            prop_assert_eq!(data.all().to_array::<f32>(), pictures.all().to_array::<f32>());
            let back: Vec<u8> = data.all().to_array::<f64>().iter().map(|v| (v * 255.0).round() as u8).collect();
            prop_assert_eq!(back, [pixels, pixels].concat());
        }
    }

    #[test]
    fn labels_of_any_text(texts in prop::collection::vec("[^\r\n]{0,6}[a-z0-9]", 1..20), numbers in prop::collection::vec(-1e9f64..1e9, 1..20)) {
        let folder = Folder::new();
        let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
        let csv = format!("label\n{}\n", texts.iter().map(quoted).collect::<Vec<_>>().join("\n"));
        prop_assert_eq!(load_labels(folder.write("l.csv", csv)).unwrap(), Labels::from_iter(&texts));
        let expected = Labels::from_iter(numbers.iter().map(|n| n.to_string()));
        let file = idx(0x0E, &[numbers.len() as u32], &numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
        prop_assert_eq!(load_labels(folder.write("l.idx", file)).unwrap(), expected);
    }

    /// Every batch of every epoch, streamed with any memory and batch size, is that of the rows in memory.
    #[test]
    fn batches_are_the_same_streamed(x in matrix(), size in 1usize..20, seed: u64, epoch in 0u64..4) {
        let folder = Folder::new();
        let mut npy = Vec::new();
        x.write_npy(&mut npy).unwrap();
        let [held, streamed] = read(&folder, "x.npy", &npy);
        let batches = || Batches::new(x.nrows(), size, Noise::new(seed)).unwrap();
        let mut feeds = [held.train(), streamed.train()].map(|view| Feed::new(view, batches()).unwrap());
        for number in 0..x.nrows().div_ceil(size) {
            let [a, b] = feeds.each_mut().map(|feed| {
                feed.load(epoch, number).unwrap();
                let batch = feed.batch();
                let mut row = vec![0f32; x.ncols()];
                (0..batch.len()).flat_map(|r| {
                    batch.gather(r, &mut row);
                    std::iter::once(batch.id(r) as u32).chain(row.iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
                }).collect::<Vec<u32>>()
            });
            prop_assert!(a.len() <= size * (x.ncols() + 1));
            prop_assert_eq!(a, b);
        }
    }
}
