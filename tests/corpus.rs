//! The fuzz targets on their committed corpus: what is whole, what is cut or odd, and what a fuzzer once broke.
#![cfg(feature = "files")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// Runs a target on every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = corpus(name);
    let mut ran = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let used = allocation_counter::measure(|| target(&bytes));
        // Twice the fuzzer's scratch of 1 MiB, its copies, and what a small run takes: nothing near a header's claims.
        assert!(used.bytes_max < 16 << 20, "{}: {} bytes at once", path.display(), used.bytes_max);
        ran += 1;
    }
    assert!(ran >= 5, "{} has {ran} files", folder.display());
}

/// Where a target's files are.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

macro_rules! replay {
    ($($target:ident)*) => {
        $(#[test] fn $target() { replay(stringify!($target), targets::$target); })*
    };
}
replay!(checkpoint csv four_files gzip idx labels model npy png settings);

/// Damage that no longer gets past the first check tests nothing: what it was made of must still be whole.
#[test]
fn the_whole_files_are_whole() {
    let read = |name| fs::read(corpus(name).join("whole")).unwrap();
    assert!(targets::resumes(&read("checkpoint")), "see write_the_whole_files");
    assert!(targets::loads(&read("model")), "see write_the_whole_files");
}

#[test]
#[ignore = "writes the corpus's checkpoint and model, whole and damaged, after a change of the formats"]
fn write_the_whole_files() {
    let (checkpoint, model) = targets::whole_files();
    for (name, whole) in [("checkpoint", checkpoint), ("model", model)] {
        let write = |file: &str, bytes: &[u8]| fs::write(corpus(name).join(file), bytes).unwrap();
        write("whole", &whole);
        write("cut-in-tensors", &whole[..whole.len() - 9]);
        write("cut-in-header", &whole[..100]);
        write("longer", &[&whole[..], b"12345678"].concat());
        write("length-that-lies", &[&[0xff; 8], &whole[8..]].concat());
        write("length-just-too-large", &[&(whole.len() as u64 - 7).to_le_bytes(), &whole[8..]].concat());
        let replaced = |from: &str, to: &str| {
            let text: String = whole.iter().map(|&b| char::from(b)).collect();
            assert!(text.contains(from), "{from}");
            text.replace(from, to).chars().map(|c| c as u8).collect::<Vec<u8>>()
        };
        write("newer", &replaced(r#"\"format\":1"#, r#"\"format\":2"#));
        write("other-kind", &replaced(r#"\"kind\":\""#, r#"\"kind\":\"x"#));
        write("huge-step", &replaced(r#"\"step\":"#, r#"\"step\":900719925474099"#));
        write("shape", &replaced(r#""shape":[3,4]"#, r#""shape":[4,3]"#));
        write("type", &replaced(r#""dtype":"F32""#, r#""dtype":"I32""#));
    }
}
