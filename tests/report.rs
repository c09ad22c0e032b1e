//! Pictures show the pixels they were given, tables parse back to the same numbers, and both are the same bytes twice.
#![cfg(feature = "files")]

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use elbo::report::curve::{self, Series};
use elbo::report::matrix::{Format, write_matrix};
use elbo::report::{grid, points};
use ndarray::{Array2, array, s};
use tempfile::tempdir;

/// A decoded PNG.
struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    fn open(path: &Path) -> Picture {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        let (width, height) = (info.width as usize, info.height as usize);
        Picture { width, height, channels: info.color_type.samples(), bytes }
    }

    fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let at = (y * self.width + x) * self.channels;
        &self.bytes[at..at + self.channels]
    }

    fn count(&self, wanted: impl Fn(&[u8]) -> bool) -> usize {
        self.bytes.chunks_exact(self.channels).filter(|p| wanted(p)).count()
    }
}

/// n images whose every value differs from its neighbours in row, column and image.
fn images(n: usize, (h, w, c): (usize, usize, usize)) -> Array2<f32> {
    Array2::from_shape_fn((n, h * w * c), |(i, j)| ((i * 31 + j * 7) % 251) as f32 / 255.0)
}

#[test]
fn a_grid_decodes_to_the_pixels_it_was_given() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("samples.png");
    // Grey and colour, doubled and not; five images in lines of three leave one place free.
    for (shape, scale) in [((4, 3, 1), 2), ((2, 5, 3), 2), ((70, 3, 1), 1)] {
        let (h, w, c) = shape;
        let images = images(5, shape);
        grid::grid(images.view(), shape, 3, &path).unwrap();
        let picture = Picture::open(&path);
        assert_eq!((picture.width, picture.height), (2 + 3 * (w * scale + 2), 2 + 2 * (h * scale + 2)));
        assert_eq!(picture.channels, c);
        let mut white = vec![true; picture.width * picture.height];
        for i in 0..5 {
            let (left, top) = (2 + (i % 3) * (w * scale + 2), 2 + (i / 3) * (h * scale + 2));
            for (y, x) in (0..h * scale).flat_map(|y| (0..w * scale).map(move |x| (y, x))) {
                let start = ((y / scale) * w + x / scale) * c;
                let expected: Vec<u8> =
                    images.slice(s![i, start..start + c]).iter().map(|v| (v * 255.0).round() as u8).collect();
                assert_eq!(picture.pixel(left + x, top + y), expected, "image {i} at {y}, {x} of {shape:?}");
                white[(top + y) * picture.width + left + x] = false;
            }
        }
        for (i, _) in white.iter().enumerate().filter(|(_, free)| **free) {
            assert!(picture.pixel(i % picture.width, i / picture.width).iter().all(|&b| b == 255));
        }
    }
}

#[test]
fn originals_stand_above_their_reconstructions() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("reconstructions.png");
    let originals = Array2::from_shape_fn((5, 4), |(i, _)| i as f32 / 255.0);
    let reconstructions = originals.mapv(|v| v + 100.0 / 255.0);
    grid::pairs(originals.view(), reconstructions.view(), (2, 2, 1), 3, &path).unwrap();
    let picture = Picture::open(&path);
    // Two pairs of lines: 2 + 4 + 2 + 4 pixels, then the wider gap of 8, 4 + 2 + 4, and 2 below.
    assert_eq!((picture.width, picture.height), (2 + 3 * 6, 12 + 8 + 10 + 2));
    for i in 0..5u8 {
        let (left, top) = (2 + (usize::from(i) % 3) * 6, if i < 3 { 2 } else { 20 });
        assert_eq!(picture.pixel(left, top), [i]);
        assert_eq!(picture.pixel(left, top + 6), [i + 100]);
    }
    assert_eq!(picture.pixel(14, 20), [255], "the free place");
}

#[test]
fn values_outside_the_unit_interval_are_cut_off() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.png");
    let wild = array![[-1.0f32, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5]];
    grid::grid(wild.view(), (1, 6, 1), 1, &path).unwrap();
    let picture = Picture::open(&path);
    let seen: Vec<u8> = (0..6).map(|x| picture.pixel(2 + 2 * x, 2)[0]).collect();
    assert_eq!(seen, [0, 255, 0, 255, 0, 128]);
}

#[test]
fn pictures_that_cannot_be_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.png");
    let said = |r: elbo::Result<()>| r.unwrap_err().to_string();
    assert!(said(grid::grid(images(2, (2, 2, 2)).view(), (2, 2, 2), 2, &path)).contains("an image of 2 channels"));
    assert!(said(grid::grid(images(0, (2, 2, 1)).view(), (2, 2, 1), 2, &path)).contains("by 0 pixels"));
    assert!(said(points::heat_map(Array2::zeros((0, 3)).view(), None, &path)).contains("by 0 pixels"));
    assert!(said(points::heat_map(Array2::zeros((3, 0)).view(), None, &path)).contains("0 by"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_same_numbers_are_the_same_picture() {
    let folder = tempdir().unwrap();
    let images = images(100, (28, 28, 1));
    let table = images.slice(s![.., ..2]);
    let losses = [Series::new("train", (1..9).map(|e| (e, 100.0 + 60.0 / e as f64)))];
    let twice = |name: &str, draw: &dyn Fn(&Path)| {
        let bytes = [1, 2].map(|i| {
            let path = folder.path().join(format!("{i}-{name}"));
            draw(&path);
            fs::read(path).unwrap()
        });
        assert_eq!(bytes[0], bytes[1], "{name}");
    };
    twice("grid.png", &|p| grid::grid(images.view(), (28, 28, 1), 10, p).unwrap());
    twice("scatter.png", &|p| points::table(table, None, p).unwrap());
    twice("heat.png", &|p| points::table(images.view(), None, p).unwrap());
    twice("loss.svg", &|p| curve::loss("a run", &losses, p).unwrap());
}

#[test]
fn points_are_drawn_where_they_lie() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("samples.png");
    let blue = |p: &[u8]| p[2].saturating_sub(p[0]) > 30;
    let orange = |p: &[u8]| p[0].saturating_sub(p[2]) > 30;
    let first = array![[0.0f32, 0.0], [f32::NAN, 1.0]];
    let second = array![[10.0f32, -10.0], [f32::INFINITY, 0.0]];
    points::table(first.view(), Some(second.view()), &path).unwrap();
    let picture = Picture::open(&path);
    let centre = |wanted: &dyn Fn(&[u8]) -> bool| {
        let (mut n, mut sum) = (0, (0, 0));
        for (x, y) in (0..picture.height).flat_map(|y| (0..picture.width).map(move |x| (x, y))) {
            if wanted(picture.pixel(x, y)) {
                (n, sum) = (n + 1, (sum.0 + x, sum.1 + y));
            }
        }
        assert!((20..60).contains(&n), "a disc of radius 3, found {n} pixels");
        (sum.0 / n, sum.1 / n)
    };
    // A square of 600 from (80, 20), its outermost points 5 % of their distance away from the edge.
    let near = 600.0 * 0.05 / 1.1;
    let (left, right) = ((80.0 + near) as usize, (680.0 - near) as usize);
    let (top, bottom) = ((20.0 + near) as usize, (620.0 - near) as usize);
    let close = |(x, y): (usize, usize), (u, v): (usize, usize)| x.abs_diff(u) <= 1 && y.abs_diff(v) <= 1;
    assert!(close(centre(&blue), (left, top)));
    assert!(close(centre(&orange), (right, bottom)));

    // Nothing to scale by is no reason to fail.
    for odd in [array![[f32::NAN, 1.0]], array![[3e38f32, -3e38]], array![[1e-45f32, 0.0], [0.0, 0.0]]] {
        points::scatter(odd.view(), None, &path).unwrap();
        Picture::open(&path);
    }
}

#[test]
fn a_heat_map_scales_each_column_by_itself() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("samples.png");
    let values = array![[0.0f32, -1e6, 7.0], [1.0, 1e6, 7.0], [f32::NAN, 0.0, 7.0]];
    points::table(values.view(), Some(values.slice(s![..1, ..])), &path).unwrap();
    let picture = Picture::open(&path);
    assert_eq!((picture.width, picture.height), (3 * 48, 4 * 16 + 8));
    let cell = |row: usize, column: usize| picture.pixel(column * 48, row * 16).to_vec();
    let (dark, middle, bright, grey) = ([68, 1, 84], [33, 145, 140], [253, 231, 37], [160, 160, 160]);
    assert_eq!([cell(0, 0), cell(0, 1), cell(0, 2)], [dark, dark, middle]);
    assert_eq!([cell(1, 0), cell(1, 1), cell(1, 2)], [bright, bright, middle]);
    assert_eq!([cell(2, 0), cell(2, 1), cell(2, 2)], [grey, middle, middle]);
    assert_eq!(picture.pixel(0, 3 * 16 + 4), [255, 255, 255], "the line between the blocks");
    assert_eq!(picture.pixel(0, 3 * 16 + 8), dark);
    assert_eq!(picture.count(|p| p == grey), 48 * 16);
}

#[test]
fn a_loss_curve_names_its_axes_and_series_and_stays_in_its_frame() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("loss.svg");
    let draw = |series: &[Series]| {
        curve::loss("mnist <mlp-400> & more", series, &path).unwrap();
        fs::read_to_string(&path).unwrap()
    };
    let train = || Series::new("train", (1..=10).map(|e| (e, 104.0 + 60.0 / e as f64)));
    let svg = draw(&[train(), Series::new("validation", []), Series::new("held-out", [(1, 127.3), (10, 105.6)])]);
    for words in ["epoch", "−ELBO, nats per example", "train", "held-out", "mnist &lt;mlp-400&gt; &amp; more"] {
        assert!(svg.contains(words), "{words}");
    }
    assert!(!svg.contains("validation"), "an empty series has no legend");
    assert_eq!(svg.matches("<circle").count(), 12);
    assert!(!svg.contains("cut off"));

    // A first value far away is cut off and said.
    let huge = |first: f64| {
        Series::new("train", [(1, first)].into_iter().chain((2..=10).map(|e| (e, 104.0 + 60.0 / e as f64))))
    };
    let svg = draw(&[huge(9e5)]);
    assert!(svg.contains("values above are cut off, up to 900000"), "{svg}");
    assert_eq!(svg.matches("<circle").count(), 9);
    assert!(svg.lines().any(|line| line == "120"), "the axis shows where the curve is");

    // One epoch, equal values, negative ones, ones that are not finite, and none at all.
    let one = draw(&[Series::new("train", [(1, 250.0)])]);
    assert_eq!(one.matches("<circle").count(), 1);
    let three = draw(&[Series::new("train", [(1, 3.0), (2, 2.5), (3, 2.25)])]);
    // The text of the epoch axis is what is centred, after the title and before its name.
    let centred = three.split("text-anchor=\"middle\"").map(|t| t.lines().nth(1).unwrap_or_default());
    let epochs: Vec<&str> = centred.filter(|t| t.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(epochs, ["1", "2", "3"], "whole epochs, each once");
    draw(&[Series::new("train", [(1, -3.5), (2, -3.5)])]);
    let gaps = draw(&[Series::new("train", [(1, f64::NAN), (2, 5.0), (3, f64::INFINITY)])]);
    assert_eq!(gaps.matches("<circle").count(), 1);
    draw(&[]);
    for text in [one, gaps] {
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }
}

/// Values whose printed form is easily wrong.
fn numbers() -> Array2<f32> {
    let mut values =
        vec![0.0, -0.0, 1.0, 0.1, 1.0 / 3.0, 16_777_216.0, 1e16, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY];
    values.extend((0..289u32).map(|i| f32::from_bits(0x0100_0000 + i * 0x006f_1234)));
    Array2::from_shape_vec((100, 3), values).unwrap()
}

fn header() -> Vec<String> {
    ["z0", "a, b", "say \"c\""].map(String::from).to_vec()
}

fn same_bits(a: &Array2<f32>, b: &Array2<f32>) -> bool {
    a.dim() == b.dim() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

#[test]
fn csv_and_npy_give_the_same_numbers_back() {
    let folder = tempdir().unwrap();
    let (csv, npy) = (folder.path().join("z.csv"), folder.path().join("z.NPY"));
    // In either storage order.
    for matrix in [numbers(), numbers().reversed_axes().as_standard_layout().into_owned().reversed_axes()] {
        write_matrix(&csv, matrix.view(), &header(), None).unwrap();
        let mut reader = csv::Reader::from_path(&csv).unwrap();
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), header());
        let read: Vec<f32> = reader
            .records()
            .flat_map(|r| r.unwrap().iter().map(|t| t.parse().unwrap()).collect::<Vec<f32>>())
            .collect();
        assert!(same_bits(&matrix, &Array2::from_shape_vec((100, 3), read).unwrap()));

        write_matrix(&npy, matrix.view(), &header(), None).unwrap();
        assert!(same_bits(&matrix, &ndarray_npy::read_npy(&npy).unwrap()));
    }
    let text = fs::read_to_string(&csv).unwrap();
    assert!(
        text.starts_with("z0,\"a, b\",\"say \"\"c\"\"\"\n0,-0,1\n0.1,0.33333334,16777216\n1e16,"),
        "{}",
        &text[..80]
    );
    assert!(text.lines().all(|line| line.len() < 60), "no number is written out with forty zeros");
}

#[test]
fn the_ending_decides_and_a_wrong_one_is_named() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let said = |name: &str, image| {
        let text = write_matrix(path(name), images(3, (2, 2, 3)).view(), &vec!["x".into(); 12], image)
            .unwrap_err()
            .to_string();
        assert!(text.starts_with(&format!("{}: ", path(name).display())), "{text}");
        text
    };
    assert!(said("x.txt", None).contains("unknown ending .txt, expected .npy, .csv or .png"));
    assert!(said("x", None).contains("without an ending, expected .npy, .csv or .png"));
    assert!(said("x.png", None).contains("not images"));
    assert!(said("x.png", Some((2, 3, 2))).contains("2 channels"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(Format::of("A.CSV", None).unwrap(), Format::Csv);
    write_matrix(path("x.png"), images(5, (2, 2, 3)).view(), &vec!["x".into(); 12], Some((2, 2, 3))).unwrap();
    let picture = Picture::open(&path("x.png"));
    assert_eq!((picture.width, picture.height), (2 + 3 * 6, 2 + 2 * 6), "five images in lines of three");
}
