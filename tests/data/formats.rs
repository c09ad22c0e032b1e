//! Every format, written by an independent writer and read back.

use crate::fixtures::{Folder, four_files, gzip, idx};
use elbo::data::{ImageShape, Labels, Split, load, load_labels};
use ndarray::{Array1, Array2, Array3, Array4, ShapeBuilder, array};
use ndarray_npy::{WritableElement, WriteNpyExt};
use png::{BitDepth, ColorType};

fn npy<A: WritableElement, D: ndarray::Dimension>(array: &ndarray::Array<A, D>) -> Vec<u8> {
    let mut file = Vec::new();
    array.write_npy(&mut file).expect("memory");
    file
}

#[test]
fn idx_of_every_type_plain_and_gzip() {
    let values = [[0.0f32, 1.0, -2.0], [100.0, -128.0, 127.0]];
    let flat = || values.iter().flatten();
    let big_endian: [(u8, Vec<u8>); 5] = [
        (0x09, flat().map(|&x| x as i8 as u8).collect()),
        (0x0B, flat().flat_map(|&x| (x as i16).to_be_bytes()).collect()),
        (0x0C, flat().flat_map(|&x| (x as i32).to_be_bytes()).collect()),
        (0x0D, flat().flat_map(|&x| x.to_be_bytes()).collect()),
        (0x0E, flat().flat_map(|&x| f64::from(x).to_be_bytes()).collect()),
    ];
    let folder = Folder::new();
    for (kind, bytes) in big_endian {
        let file = idx(kind, &[2, 3], &bytes);
        for (name, file) in [("t.idx", file.clone()), ("t.idx.gz", gzip(&file)), ("t", file.clone())] {
            let data = folder.load(name, file).unwrap();
            assert_eq!(data.name(), "t");
            assert_eq!(data.all().to_array::<f32>(), Array2::from(values.to_vec()), "type {kind:#x} in {name}");
            assert_eq!(data.all().rows().scale(), 1.0);
        }
    }
}

#[test]
fn idx_of_any_dimensions() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..12).collect();
    type Picture = Option<[usize; 3]>;
    let cases: [(&[u32], (usize, usize), Picture); 6] = [
        (&[12], (12, 1), None),
        (&[4, 3], (4, 3), None),
        (&[3, 2, 2], (3, 4), Some([2, 2, 1])),
        (&[2, 2, 1, 3], (2, 6), Some([2, 1, 3])),
        (&[1, 2, 3, 2], (1, 12), None),
        (&[1, 2, 3, 2, 1], (1, 12), None),
    ];
    for (dims, (rows, cols), image) in cases {
        let data = folder.load("d-ubyte", gzip(&idx(8, dims, &bytes))).unwrap();
        assert_eq!((data.all().len(), data.all().cols()), (rows, cols), "{dims:?}");
        let image = image.map(|[height, width, channels]| ImageShape { height, width, channels });
        assert_eq!(data.all().image(), image, "{dims:?}");
        assert_eq!(data.all().rows().value(rows - 1, cols - 1), 11.0 / 255.0);
    }
}

/// Gzip files may be several members one after the other, as `cat a.gz b.gz` makes them.
#[test]
fn gzip_of_several_members() {
    let file = idx(8, &[4, 1], &[0, 255, 0, 255]);
    let joined = [gzip(&file[..7]), gzip(&file[7..])].concat();
    assert_eq!(Folder::new().load("joined", joined).unwrap().all().to_array::<f32>(), array![[0.], [1.], [0.], [1.]]);
}

#[test]
fn the_four_files_in_every_spelling() {
    for spelling in 0..3 {
        let folder = Folder::new();
        for (number, (name, bytes)) in four_files(7, 3).into_iter().enumerate() {
            match (spelling + number) % 3 {
                0 => folder.write(name, bytes),
                1 => folder.write(&format!("{name}.gz"), gzip(&bytes)),
                _ => folder.write(&name.replace("-idx", ".idx"), bytes),
            };
        }
        let data = folder.load_all().unwrap();
        assert_eq!(data.default_split(), Split::Test);
        let sizes = [Split::Train, Split::Test, Split::All].map(|s| data.split(s).unwrap().len());
        assert_eq!(sizes, [7, 3, 10]);
        assert_eq!(data.all().image(), Some(ImageShape { height: 2, width: 3, channels: 1 }));
        let test = data.test().unwrap();
        assert_eq!((test.id(1), test.label(1)), (8, Some("8")));
        assert_eq!(test.rows().value(test.id(1), 5), f64::from(8 * 6 + 5) * (1.0 / 255.0));
    }
}

#[test]
fn npy_of_every_type_and_order() {
    let folder = Folder::new();
    let x = array![[0.5f32, -1.0, 2.0], [3.0, 4.0, 5.25]];
    let mut fortran = Array2::zeros((2, 3).f());
    fortran.assign(&x);
    let double = x.mapv(f64::from);
    for (name, file) in [("x.npy", npy(&x)), ("y.npy", npy(&double)), ("z.npy", npy(&fortran)), ("x", gzip(&npy(&x)))] {
        let data = folder.load(name, file).unwrap();
        assert_eq!(data.all().to_array::<f32>(), x, "{name}");
    }
    let whole = x.mapv(f32::trunc);
    for file in [npy(&whole.mapv(|v| v as i64)), npy(&whole.mapv(|v| v as i16)), npy(&whole.mapv(|v| v as i8))] {
        assert_eq!(folder.load("i.npy", file).unwrap().all().to_array::<f32>(), whole);
    }
    let bytes = Array3::from_shape_fn((2, 2, 3), |(n, h, w)| (100 * n + 10 * h + w) as u8);
    let mut columns_first = Array3::zeros((2, 2, 3).f());
    columns_first.assign(&bytes);
    for file in [npy(&bytes), npy(&columns_first)] {
        let data = folder.load("pictures.npy", file).unwrap();
        assert_eq!((data.name(), data.all().cols(), data.all().rows().scale()), ("pictures", 6, 1.0 / 255.0));
        assert_eq!(data.all().image(), Some(ImageShape { height: 2, width: 3, channels: 1 }));
        assert_eq!(data.all().rows().value(1, 4), 111.0 * (1.0 / 255.0));
    }
    let flags = array![[true], [false]];
    assert_eq!(folder.load("flags.npy", npy(&flags)).unwrap().all().to_array::<f64>(), array![[1.0], [0.0]]);
    let colour = folder.load("colour.npy", npy(&Array4::<f32>::zeros((1, 5, 4, 3)))).unwrap();
    assert_eq!(colour.all().image(), Some(ImageShape { height: 5, width: 4, channels: 3 }));
}

#[test]
fn npy_of_big_endian_numbers() {
    let header = b"{'descr': '>f8', 'fortran_order': False, 'shape': (1, 2), }\n";
    for version in [1, 2] {
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        file.extend_from_slice(&(header.len() as u32).to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
        file.extend_from_slice(header);
        file.extend([1.5f64, -2.0].iter().flat_map(|x| x.to_be_bytes()));
        let data = Folder::new().load("b.npy", file).unwrap();
        assert_eq!(data.all().to_array::<f64>(), array![[1.5, -2.0]], "version {version}");
    }
}

#[test]
fn csv_with_names_quotes_blanks_and_windows_lines() {
    let folder = Folder::new();
    let text = "\u{feff}height,\"width, cm\" , z\r\n1,2.5,-3e2\r\n\r\n\"4\", .5 ,+6\r\n";
    for (name, file) in [("t.csv", text.as_bytes().to_vec()), ("t.csv.gz", gzip(text.as_bytes()))] {
        let data = folder.load(name, file).unwrap();
        assert_eq!(data.name(), "t");
        assert_eq!(data.all().names().unwrap(), ["height", "width, cm", "z"]);
        assert_eq!(data.all().to_array::<f32>(), array![[1.0, 2.5, -300.0], [4.0, 0.5, 6.0]]);
        assert_eq!(data.all().image(), None);
    }
    let blanks = folder.load("blanks.csv", "a\n1\n\"2\"\n\n \n\n").unwrap();
    assert_eq!(blanks.all().to_array::<f32>(), array![[1.0], [2.0]], "at the end of a column they are no cells");
    let inside = folder.load("inside.csv", "a\n\"1\n\"\n2\n\"\n3\"\n").unwrap();
    assert_eq!(inside.all().to_array::<f32>(), array![[1.0], [2.0], [3.0]], "line feeds in quotes");
    let unended = folder.load("table.txt", "a\n1\n2").unwrap();
    assert_eq!(unended.all().to_array::<f32>(), array![[1.0], [2.0]]);
}

fn picture(size: (u32, u32), colour: ColorType, depth: BitDepth, palette: Option<&[u8]>, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(data).expect("the data");
    writer.finish().expect("the end");
    file
}

#[test]
fn png_folder_of_grey_pictures_sorted_by_name() {
    let folder = Folder::new();
    let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
    folder.write("c.png", picture((2, 1), ColorType::Grayscale, eight, None, &[5, 6]));
    folder.write("a.PNG", picture((2, 1), ColorType::GrayscaleAlpha, eight, None, &[1, 77, 2, 88]));
    folder.write("b.png", picture((2, 1), ColorType::Grayscale, sixteen, None, &[3, 200, 4, 0]));
    folder.write("d.png", picture((2, 1), ColorType::Grayscale, BitDepth::One, None, &[0b0100_0000]));
    folder.write("notes.txt", "not a picture");
    let data = folder.load_all().unwrap();
    assert_eq!(data.all().image(), Some(ImageShape { height: 1, width: 2, channels: 1 }));
    let expected = array![[1.0f64, 2.0], [3.0, 4.0], [5.0, 6.0], [0.0, 255.0]] * (1.0 / 255.0);
    assert_eq!(data.all().to_array::<f64>(), expected);
    assert_eq!(data.name(), folder.path("").file_name().unwrap().to_str().unwrap());
}

#[test]
fn png_folder_of_colour_pictures() {
    let folder = Folder::new();
    let eight = BitDepth::Eight;
    folder.write("1.png", picture((1, 2), ColorType::Rgb, eight, None, &[1, 2, 3, 4, 5, 6]));
    folder.write("2.png", picture((1, 2), ColorType::Rgba, eight, None, &[1, 2, 3, 99, 4, 5, 6, 99]));
    folder.write("3.png", picture((1, 2), ColorType::Indexed, eight, Some(&[4, 5, 6, 1, 2, 3]), &[1, 0]));
    let data = folder.load_all().unwrap();
    assert_eq!(data.all().image(), Some(ImageShape { height: 2, width: 1, channels: 3 }));
    for row in 0..3 {
        for col in 0..6 {
            assert_eq!(data.all().rows().value(row, col), (col + 1) as f64 * (1.0 / 255.0), "({row}, {col})");
        }
    }
}

#[test]
fn labels_of_every_format_are_the_same_labels() {
    let folder = Folder::new();
    let expected = Labels::from_iter(["3", "0", "3"]);
    let files = [
        ("a-idx1-ubyte", idx(8, &[3], &[3, 0, 3])),
        ("a.idx.gz", gzip(&idx(0x0C, &[3], &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3]))),
        ("a.npy", npy(&array![3i64, 0, 3])),
        ("b.npy", npy(&array![3.0f64, -0.0, 3.0])),
        ("c.npy", npy(&array![[3u8], [0], [3]])),
        ("a.csv", b"label\n3\n 0.0\n3.00\n".to_vec()),
    ];
    for (name, file) in files {
        assert_eq!(load_labels(folder.write(name, file)).unwrap(), expected, "{name}");
    }
    let words = load_labels(folder.write("w.csv", "label\nnormal\n\"odd, very\"\nnormal\n")).unwrap();
    assert_eq!((words.get(1), words.codes()), ("odd, very", &[0, 1, 0][..]));
}

#[test]
fn an_array_written_and_loaded_is_the_same_to_the_bit() {
    let folder = Folder::new();
    let x = Array1::from_iter((0..64u32).map(|i| f32::from_bits(0x3c00_0001 + i * 0x012_3457)));
    let x = x.into_shape_with_order((16, 4)).unwrap();
    let back = load(&folder.write("x.npy", npy(&x))).unwrap().all().to_array::<f32>();
    let bits = |a: &Array2<f32>| a.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&x));
    let text: String = x.rows().into_iter().map(|r| format!("{},{},{},{}\n", r[0], r[1], r[2], r[3])).collect();
    let back = load(&folder.write("x.csv", format!("a,b,c,d\n{text}"))).unwrap().all().to_array::<f32>();
    assert_eq!(bits(&back), bits(&x));
}
