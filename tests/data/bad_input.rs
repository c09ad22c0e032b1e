//! Bad files: one clear error each, which names the file and the place; never a panic, never memory by a header's claim.

use crate::fixtures::{Folder, four_files, gzip, idx, message, says};
use elbo::data::{load, load_labels};
use elbo::{Error, ErrorKind};
use ndarray::array;
use ndarray_npy::WriteNpyExt;
use proptest::prelude::*;

fn npy_with(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&(header.len() as u16 + 1).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.push(b'\n');
    file.extend_from_slice(data);
    file
}

/// Writes each file, and asserts that its error names the file, holds the fragments, and means exit status 2.
fn all_fail(cases: &[(&str, Vec<u8>, &[&str])]) {
    let folder = Folder::new();
    for (name, bytes, fragments) in cases {
        let error: Error = folder.load(name, bytes).expect_err(name);
        assert_ne!(error.kind(), ErrorKind::Diverged);
        let text = error.to_string();
        assert!(text.starts_with(&folder.text(name)), "{text}");
        says(&text, fragments);
    }
}

#[test]
fn names_and_paths_that_are_not_there() {
    says(&message(load("mnsit")), &["`mnsit`", "did you mean `mnist`"]);
    says(&message(load("fashion")), &["did you mean `fashion-mnist`"]);
    says(&message(load("no/such/file.csv")), &["no/such/file.csv", "no such file", "mnist-full"]);
    says(&message(load("")), &["no such file"]);
    says(&message(load("a\0b")), &["no such file"]);
    says(&message(load(&"x".repeat(10_000))), &["no such file"]);
    says(&message(load_labels("no/labels.csv")), &["no/labels.csv", "cannot open"]);
    says(&message(load_labels(Folder::new().path(""))), &["folder"]);
}

#[test]
fn idx_files() {
    let whole = idx(8, &[2, 2, 2], &[0; 8]);
    let huge = u32::MAX;
    all_fail(&[
        ("empty-ubyte", vec![], &["empty"]),
        ("magic-ubyte", vec![8, 1, 2, 3, 4, 5], &["magic number is 08010203"]),
        ("short-ubyte", vec![0, 0], &["header ends after 2 bytes"]),
        ("type-ubyte", idx(0x0A, &[1], &[1]), &["unknown IDX type 0x0a", "08, 09"]),
        ("dims-ubyte", whole[..9].to_vec(), &["header ends within the 3 dimensions"]),
        ("scalar-ubyte", idx(8, &[], &[1]), &["without dimensions"]),
        ("rows-ubyte", idx(8, &[0, 28, 28], &[]), &["0 x 28 x 28", "no data"]),
        ("cols-ubyte", idx(8, &[5, 0], &[]), &["5 x 0", "no data"]),
        ("cut-ubyte", whole[..21].to_vec(), &["2 x 2 x 2", "ends in row 1", "5 of 8 bytes", "hint"]),
        ("claims-ubyte", idx(8, &[huge, 28, 28], &[0; 5]), &["4294967295 x 28 x 28", "ends in row 0"]),
        ("overflow-ubyte", idx(0x0E, &[huge, huge, huge], &[0; 5]), &["more than memory can address"]),
        ("many-ubyte", idx(8, &[2; 255], &[0; 5]), &["more than memory can address"]),
        ("trailing-ubyte", idx(8, &[1, 2], &[0; 3]), &["bytes follow"]),
        ("nan.idx", idx(0x0D, &[2, 1], &[0, 0, 0, 0, 0x7f, 0xc0, 0, 0]), &["row 1, column 0", "NaN", "hint"]),
        ("big.idx", idx(0x0E, &[1, 1], &1e300f64.to_be_bytes()), &["row 0, column 0", "finite 32-bit"]),
    ]);
}

#[test]
fn gzip_files() {
    // Bytes without a pattern, so that half a file is half the data.
    let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let packed = gzip(&idx(8, &[200, 100], &noise));
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 200].fill(0xA5);
    let mut checksum = packed.clone();
    let crc = checksum.len() - 8;
    checksum[crc] ^= 1;
    all_fail(&[
        ("cut-ubyte.gz", packed[..middle].to_vec(), &["gzip", "end early", "hint"]),
        ("head-ubyte.gz", packed[..5].to_vec(), &["gzip", "end early"]),
        ("damaged-ubyte.gz", damaged, &["gzip data are damaged"]),
        ("checksum-ubyte.gz", checksum, &["gzip data are damaged"]),
        ("empty.gz", gzip(&[]), &["empty once unpacked"]),
        ("inner-ubyte.gz", gzip(&idx(8, &[9, 9], &[0; 80])), &["9 x 9", "ends in row 8"]),
        ("trailing-ubyte.gz", gzip(&idx(8, &[9], &[0; 10])), &["bytes follow"]),
    ]);
}

#[test]
fn npy_files() {
    let header = |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    let f4 = |shape: &str, data: &[u8]| npy_with(&header("'<f4'", shape), data);
    let nan = f32::NAN.to_le_bytes();
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend_from_slice(&u32::MAX.to_le_bytes());
    all_fail(&[
        ("magic.npy", b"NUMPY and more".to_vec(), &["not an NPY file", "magic"]),
        ("short.npy", b"\x93NUMPY\x01".to_vec(), &["header ends early"]),
        ("version.npy", b"\x93NUMPY\x09\x00\x01\x00\x00\x00".to_vec(), &["version 9"]),
        ("long.npy", long, &["header claims 4294967295 bytes"]),
        ("cut.npy", f4("(2, 2)", &[0; 12]), &["2 x 2", "ends in row 1", "12 of 16 bytes"]),
        ("claims.npy", f4("(1000000000, 784)", &[0; 12]), &["1000000000 x 784", "ends in row 0"]),
        ("overflow.npy", f4("(9223372036854775807, 9223372036854775807)", &[]), &["more than memory can address"]),
        ("larger.npy", f4("(99999999999999999999999, 2)", &[]), &["header is damaged"]),
        ("negative.npy", f4("(-1, 2)", &[]), &["header is damaged"]),
        ("rows.npy", f4("(0, 2)", &[]), &["0 x 2", "no data"]),
        ("scalar.npy", f4("()", &[0; 4]), &["without dimensions"]),
        ("one.npy", f4("(1,)", &[0; 4]), &["one dimension", "reshape"]),
        ("trailing.npy", f4("(1, 1)", &[0; 5]), &["bytes follow"]),
        ("nan.npy", f4("(1, 2)", &[[0; 4], nan].concat()), &["row 0, column 1", "NaN"]),
        ("text.npy", npy_with(&header("'<U5'", "(1, 1)"), &[0; 20]), &["not plain numbers", "astype"]),
        ("complex.npy", npy_with(&header("'<c8'", "(1, 1)"), &[0; 8]), &["not plain numbers"]),
        ("records.npy", npy_with(&header("[('a', '<f4')]", "(1, 1)"), &[0; 4]), &["not plain numbers"]),
        ("garbage.npy", npy_with("{'descr'", &[]), &["header is damaged"]),
        ("deep.npy", npy_with(&"(".repeat(4000), &[]), &["not plain numbers"]),
    ]);
}

#[test]
fn csv_files() {
    all_fail(&[
        ("header.csv", b"a,b\n".to_vec(), &["no rows"]),
        ("blank.csv", b"\n\n".to_vec(), &["no column names"]),
        ("control.csv", b"\x0c\0\0\0\xbd\n14\n".to_vec(), &["name of column 0", "zero byte", "text"]),
        ("none.csv", b"1,2\n3,4\n".to_vec(), &["first line holds numbers", "names", "hint"]),
        ("semicolon.csv", b"a;b\n1;2\n".to_vec(), &["';'", "commas"]),
        ("few.csv", b"a,b\n1,2\n3\n".to_vec(), &["line 3 (row 1,", "1 fields", "header has 2"]),
        ("many.csv", b"a,b\n1,2,3\n".to_vec(), &["line 2 (row 0,", "3 fields", "header has 2"]),
        ("word.csv", b"a,b\n1,2\n\n3,x y\n".to_vec(), &["line 4 (row 1,", "column 1 (\"b\")", "\"x y\", not a number"]),
        ("crlf.csv", b"a,b\r\n1,2\r\n\r\n3,x".to_vec(), &["line 4 (row 1,", "\"x\""]),
        ("empty.csv", b"a,b\n,2\n".to_vec(), &["line 2 (row 0,", "column 0 (\"a\") is empty"]),
        ("nan.csv", b"a,b\n1,2\n1,nan\n".to_vec(), &["line 3 (row 1,", "\"b\"", "\"nan\", not a finite"]),
        ("inf.csv", b"a,b\n-inf,2\n".to_vec(), &["line 2 (row 0,", "\"a\"", "not a finite"]),
        ("big.csv", b"a\n1e39\n".to_vec(), &["\"1e39\", not a finite 32-bit"]),
        ("latin.csv", b"a\n1\n\xff\n".to_vec(), &["line 3 (row 1,", "not a number"]),
        ("hole.csv", b"a\n1\n\n3\n".to_vec(), &["line 3 (row 1,", "is empty", "fill in"]),
        ("quoted.csv", b"a\r\n1\r\n\"\"\r\n3\r\n".to_vec(), &["line 3 (row 1,", "is empty"]),
        ("returns.csv", b"a,b\r1,2\r3,4\r".to_vec(), &["carriage return", "line feeds"]),
        ("long.csv", format!("a\n{}\n", "y".repeat(9999)).into_bytes(), &["row 0", "not a number"]),
    ]);
    let folder = Folder::new();
    let long = message(folder.load("long.csv", format!("a\n{}\n", "y".repeat(9999))));
    assert!(long.len() < 500, "the cell is quoted in part: {long}");
}

#[test]
fn files_of_no_known_format() {
    all_fail(&[
        ("what.bin", vec![0xCA, 0xFE, 0xBA, 0xBE, 0], &["ca fe ba be", "neither IDX, NPY nor CSV"]),
        ("model.npz", b"PK\x03\x04rest".to_vec(), &["ZIP"]),
        ("one.png", b"\x89PNG\r\n\x1a\n".to_vec(), &["single picture", "folder"]),
    ]);
}

fn grey_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = png::Encoder::new(&mut file, width, height).write_header().expect("a header");
    writer.write_image_data(&vec![9; (width * height) as usize]).expect("the data");
    writer.finish().expect("the end");
    file
}

#[test]
fn png_folders() {
    let folder = Folder::new();
    says(&message(folder.load_all()), &["neither PNG pictures nor MNIST's four files", "hint"]);
    folder.write("a.png", grey_png(3, 2));
    folder.write("b.png", grey_png(2, 3));
    says(&message(folder.load_all()), &["b.png", "2 x 3 pixels", "3 x 2 pixels", "one size"]);
    let mut claims = grey_png(3, 2);
    claims[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
    claims[20..24].copy_from_slice(&0x0100_0000u32.to_be_bytes());
    let crc = flate2_crc(&claims[12..29]);
    claims[29..33].copy_from_slice(&crc.to_be_bytes());
    let whole = grey_png(3, 2);
    let cases: [(&[u8], &[&str]); 4] = [
        (b"GIF89a...", &["b.png", "cannot decode"]),
        (b"", &["b.png", "cannot decode"]),
        (&whole[..whole.len() - 20], &["b.png", "cannot decode"]),
        (&claims, &["b.png", "2147483647 x 16777216 pixels", "too many"]),
    ];
    for (bytes, fragments) in cases {
        folder.write("b.png", bytes);
        says(&message(folder.load_all()), fragments);
    }
    let mut colour = Vec::new();
    let mut encoder = png::Encoder::new(&mut colour, 3, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[0; 18]).unwrap();
    folder.write("b.png", colour);
    says(&message(folder.load_all()), &["b.png", "in colour", "in grey"]);
    std::fs::remove_file(folder.path("b.png")).unwrap();
    std::fs::create_dir(folder.path("c.png")).unwrap();
    says(&message(folder.load_all()), &["c.png"]);
}

fn flate2_crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn folders_of_the_four_files() {
    type Change<'a> = &'a dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>;
    let with = |change: Change| {
        let folder = Folder::new();
        for (name, bytes) in four_files(7, 3) {
            if let Some(bytes) = change(name, bytes) {
                folder.write(name, bytes);
            }
        }
        message(folder.load_all())
    };
    for (name, _) in four_files(1, 1) {
        says(&with(&|n, b| (n != name).then_some(b)), &["there is no file", name, "hint"]);
        let empty = with(&|n, b| Some(if n == name { vec![] } else { b }));
        says(&empty, &[name, "the file is empty"]);
        let cut = with(&|n, b| Some(if n == name { b[..b.len() - 1].to_vec() } else { b }));
        says(&cut, &[name, "the file ends in row"]);
    }
    let fewer = with(&|n, b| Some(if n.starts_with("t10k-l") { idx(8, &[2], &[0; 2]) } else { b }));
    says(&fewer, &["t10k-labels", "2 labels for 3 rows"]);
    let wider = with(&|n, b| Some(if n.starts_with("t10k-i") { idx(8, &[3, 2, 4], &[0; 24]) } else { b }));
    says(&wider, &["t10k-images", "2 x 4", "2 x 3"]);
}

#[test]
fn label_files() {
    let folder = Folder::new();
    let mut nan = Vec::new();
    array![1.0f32, f32::NAN].write_npy(&mut nan).unwrap();
    let mut wide = Vec::new();
    array![[1.0f32, 2.0]].write_npy(&mut wide).unwrap();
    let cases: [(&str, &[u8], &[&str]); 5] = [
        ("nan.npy", &nan, &["nan.npy", "label of row 1 is NaN"]),
        ("wide.npy", &wide, &["wide.npy", "one dimension", "1 x 2"]),
        ("two.csv", b"a,b\n1,2\n", &["two.csv", "one column", "has 2"]),
        ("numbers.csv", b"1\n0\n", &["first line holds numbers"]),
        ("latin.csv", b"label\n\xff\n", &["line 2 (row 0,", "UTF-8"]),
    ];
    for (name, bytes, fragments) in cases {
        says(&message(load_labels(folder.write(name, bytes))), fragments);
    }
    let labels = load_labels(folder.write("l.csv", "label\na\nb\n")).unwrap();
    says(&message(labels.expect_rows(3)), &["2 labels for 3 rows", "hint"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Files with any byte changed and any end cut off: data or an error, never a panic.
    #[test]
    fn damaged_files_never_panic(
        kind in 0usize..6, cut in 0.0f64..1.3, at in 0.0f64..1.0, with in any::<u8>(), second in 0.0f64..1.0,
    ) {
        let mut npy = Vec::new();
        array![[1.0f32, 2.0], [3.0, 4.0]].write_npy(&mut npy).unwrap();
        let (name, mut bytes) = match kind {
            0 => ("x-ubyte", idx(8, &[3, 2, 2], &[7; 12])),
            1 => ("x.idx", idx(0x0E, &[2, 2], &[0; 32])),
            2 => ("x-ubyte.gz", gzip(&idx(8, &[3, 2, 2], &[7; 12]))),
            3 => ("x.npy", npy),
            4 => ("x.csv", b"a,b\n1,2\n3,4\n".to_vec()),
            _ => ("x.png", grey_png(3, 2)),
        };
        let place = |share: f64| ((bytes.len() - 1) as f64 * share) as usize;
        let (first, other) = (place(at), place(second));
        bytes[first] = with;
        bytes[other] ^= with;
        bytes.truncate(((bytes.len() as f64 * cut) as usize).max(1));
        let folder = Folder::new();
        folder.write(name, &bytes);
        let loaded = if kind == 5 { folder.load_all() } else { load(&folder.text(name)) };
        match loaded {
            Ok(data) => prop_assert!(data.all().range().is_some_and(|(low, high)| low.is_finite() && high.is_finite())),
            Err(e) => prop_assert!(e.to_string().len() < 1000),
        }
        let _ = load_labels(folder.path(name));
    }
}
