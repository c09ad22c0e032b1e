//! Files: replaced whole or not at all, the same bytes for the same content, and plain words about damaged ones.
#![cfg(feature = "files")]

use std::fs;
use std::io;
use std::path::Path;

use elbo::ErrorKind;
use elbo::files::atomic;
use elbo::files::tensors::{self, Tensor, TensorFile};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

fn names(folder: &TempDir) -> Vec<String> {
    let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model");
    atomic::write(&path, |w| w.write_all(b"old")).unwrap();
    let long = vec![b'x'; 1 << 20]; // more than any buffer, so that some of it has reached the disk
    let error = atomic::write(&path, |w| {
        w.write_all(&long)?;
        Err(io::Error::other("the well is dry"))
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.to_string(), format!("{}: cannot write: the well is dry", path.display()));
    let panicked = std::panic::catch_unwind(|| atomic::write(&path, |_| panic!("a bug in the writer")));
    assert!(panicked.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(&folder), ["model"]);
    atomic::write(&path, |w| w.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(&folder), ["model"]);
}

#[test]
fn an_impossible_place_is_named() {
    let folder = tempdir().unwrap();
    let write = |path: &Path| atomic::write(path, |w| w.write_all(b"x")).unwrap_err().to_string();
    let file = folder.path().join("file");
    fs::write(&file, "a file").unwrap();

    let below = file.join("out.npy");
    let said = write(&below);
    assert!(said.starts_with(&format!("{}: cannot write", below.display())), "{said}");
    assert!(said.contains("is a file, not a folder") && !said.contains(".elbo-"), "{said}");

    let said = write(&folder.path().join("no/such/out.npy"));
    assert!(said.contains("no/such does not exist") && !said.contains(".elbo-"), "{said}");

    let said = write(folder.path());
    assert!(said.contains("directory"), "{said}");
    assert_eq!(names(&folder), ["file"]);
    assert_eq!(fs::read(&file).unwrap(), b"a file");
}

#[cfg(unix)]
#[test]
fn permissions_links_and_devices_are_treated_as_any_program_would() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;

    fs::write(at("plain"), "").unwrap();
    atomic::write(at("ours"), |w| w.write_all(b"1")).unwrap();
    assert_eq!(mode("ours"), mode("plain"), "a new file has the permissions of any new file");
    fs::set_permissions(at("ours"), fs::Permissions::from_mode(0o640)).unwrap();
    atomic::write(at("ours"), |w| w.write_all(b"2")).unwrap();
    assert_eq!(mode("ours"), 0o640, "a replaced file keeps its own");

    symlink(at("ours"), at("link")).unwrap();
    atomic::write(at("link"), |w| w.write_all(b"3")).unwrap();
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    assert_eq!(fs::read(at("ours")).unwrap(), b"3");

    atomic::write("/dev/null", |w| w.write_all(b"4")).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device is never replaced");
    if Path::new("/dev/full").exists() {
        let said = atomic::write("/dev/full", |w| w.write_all(b"5")).unwrap_err().to_string();
        assert!(said.starts_with("/dev/full: cannot write: No space left"), "{said}");
    }
}

#[test]
fn lines_are_appended_and_cut_back_to_complete_ones() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    assert_eq!(atomic::truncate_lines(&path, 3).unwrap(), 0);
    assert!(!path.exists());
    for epoch in 1..=3 {
        atomic::append_line(&path, &json!({ "epoch": epoch }).to_string()).unwrap();
    }
    let three = "{\"epoch\":1}\n{\"epoch\":2}\n{\"epoch\":3}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), three);
    assert_eq!(atomic::truncate_lines(&path, 3).unwrap(), 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), three);

    fs::write(&path, format!("{three}{{\"epo")).unwrap(); // as a crash leaves it
    assert_eq!(atomic::truncate_lines(&path, 9).unwrap(), 3, "a torn line is no line");
    assert_eq!(fs::read_to_string(&path).unwrap(), three);
    assert_eq!(atomic::truncate_lines(&path, 2).unwrap(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"epoch\":1}\n{\"epoch\":2}\n");
    assert_eq!(atomic::truncate_lines(&path, 0).unwrap(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(names(&folder), ["metrics.jsonl"]);
}

/// Tensors of every type, among them an empty one, a scalar and values that text would lose.
fn some_tensors() -> Vec<Tensor<'static>> {
    let odd = vec![-0.0f32, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::INFINITY, 0.1];
    vec![
        Tensor::new("encoder.10.weight", &[2, 3], odd),
        Tensor::new("encoder.2.bias", &[2], vec![1.5f32, -2.5]),
        Tensor::new("empty", &[0, 7], Vec::<f32>::new()),
        Tensor::new("step", &[], vec![u64::MAX]),
        Tensor::new("sums", &[3], vec![0.1f64, f64::MIN_POSITIVE, -1e300]),
    ]
}

#[test]
fn tensors_and_metadata_come_back_to_the_bit_and_in_order() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    // Numbers whose shortest decimal form a careless parser gets wrong in the last place.
    let numbers: Vec<f64> =
        (1..2000u64).map(|i| f64::from_bits(0x3f50_0000_0000_0000 + i * 0x9e37_79b9_7f4a)).collect();
    let metadata = json!({"preset": "mlp-400", "hidden": [512, 256], "numbers": numbers, "né": {"b": 1, "a": 0.1f32}});
    tensors::write(&path, &metadata, &some_tensors()).unwrap();
    let file = TensorFile::read(&path).unwrap();
    assert_eq!(file.metadata, metadata);
    let order: Vec<&str> = file.tensors.iter().map(|t| &*t.name).collect();
    // Eight-byte tensors first; otherwise as given (the empty one shares its offset with none that follows).
    assert_eq!(order, ["step", "sums", "encoder.10.weight", "encoder.2.bias", "empty"]);
    let find = |name: &str| some_tensors().into_iter().find(|t| t.name == name).unwrap();
    for tensor in &file.tensors {
        assert_eq!(*tensor, find(&tensor.name));
    }
    let zero = file.get::<f32>("encoder.10.weight", &[2, 3]).unwrap()[0];
    assert!(zero == 0.0 && zero.is_sign_negative());
    let said = |r: elbo::Result<&[f32]>| r.unwrap_err().to_string();
    assert!(said(file.get("encoder.2.bias", &[3])).ends_with("tensor encoder.2.bias has shape [2], expected [3]"));
    assert!(said(file.get("sums", &[3])).ends_with("tensor sums holds F64, expected F32"));
    assert!(said(file.get("decoder.0.bias", &[3])).ends_with("there is no tensor decoder.0.bias"));
}

#[test]
fn the_same_content_is_the_same_bytes() {
    let folder = tempdir().unwrap();
    let bytes = |name: &str, metadata: Value| {
        let path = folder.path().join(name);
        tensors::write(&path, &metadata, &some_tensors()).unwrap();
        fs::read(path).unwrap()
    };
    let keys = ["likelihood", "latent", "seed", "beta", "activation", "hidden", "data", "scale"];
    let forward: Value =
        keys.iter().map(|&k| (k.to_string(), json!({"y": k, "x": 1}))).collect::<serde_json::Map<_, _>>().into();
    let backward: Value =
        keys.iter().rev().map(|&k| (k.to_string(), json!({"x": 1, "y": k}))).collect::<serde_json::Map<_, _>>().into();
    let first = bytes("a", forward.clone());
    for i in 0..20 {
        assert_eq!(first, bytes(&format!("b{i}"), if i % 2 == 0 { backward.clone() } else { forward.clone() }));
    }
    let header_len = u64::from_le_bytes(first[..8].try_into().unwrap()) as usize;
    assert_eq!(header_len % 8, 0, "tensors are aligned");
    assert_ne!(first, bytes("c", json!({})));
}

#[test]
fn the_official_reader_accepts_the_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    tensors::write(&path, &json!({"preset": "tiny"}), &some_tensors()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata.len(), 1);
    assert_eq!(metadata["elbo"], r#"{"format":1,"preset":"tiny"}"#);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = file.tensor("encoder.2.bias").unwrap();
    assert_eq!((bias.shape(), bias.data()), (&[2][..], &[1.5f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat()[..]));
}

/// A file with this header text, this length claimed for it (`None`: its own), and these bytes behind it.
fn raw(header: &str, claimed: Option<u64>, body: &[u8]) -> Vec<u8> {
    [&claimed.unwrap_or(header.len() as u64).to_le_bytes()[..], header.as_bytes(), body].concat()
}

/// A header with elbo's entry and the given text of one tensor.
fn with_tensor(entry: &str, tensor: &str) -> String {
    format!(r#"{{"__metadata__":{{"elbo":{}}},"w":{tensor}}}"#, Value::from(entry))
}

#[test]
fn damaged_files_are_named_and_cost_nothing() {
    const F: &str = r#"{"format":1}"#;
    let two = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let huge = r#"{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}"#;
    let overflow = r#"{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,8]}"#;
    let lies = r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#;
    let gap = r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#;
    let half = r#"{"dtype":"F16","shape":[4],"data_offsets":[0,8]}"#;
    let unknown = r#"{"dtype":"F33","shape":[2],"data_offsets":[0,8]}"#;
    let ok = with_tensor(F, two);
    let entry = |text: &str| raw(&with_tensor(text, two), None, &[0; 8]);
    let tensor = |text: &str| raw(&with_tensor(F, text), None, &[0; 8]);
    let deep = format!("{{\"format\":{}", "[".repeat(100_000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "not a safetensors file: it has 0 bytes"),
        ("short", vec![1, 2, 3], "not a safetensors file: it has 3 bytes"),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "not a safetensors file: its header is not JSON"),
        ("zip", b"PK\x03\x04\0\0\x08\x08\0\0\0\0".to_vec(), "not a safetensors file: its header is not JSON"),
        (
            "header beyond the limit",
            raw("{}", Some(u64::MAX), &[0; 8]),
            "the header claims 18446744073709551615 bytes, the format allows",
        ),
        (
            "header beyond the file",
            raw("{}", Some(99_000_000), &[0; 8]),
            "cut short: its header claims 99000000 bytes, 10 follow",
        ),
        ("header of no bytes", raw("{}", Some(0), &[0; 8]), "the header is damaged"),
        ("header cut", raw(&ok, Some(ok.len() as u64 - 1), &[0; 8]), "the header is damaged"),
        ("header not JSON", raw("{]", None, &[0; 8]), "the header is damaged"),
        ("header not UTF-8", [&2u64.to_le_bytes()[..], b"{\xff"].concat(), "the header is damaged"),
        ("nested without end", entry(&deep), "\"elbo\" is damaged: recursion limit"),
        ("another program's", raw(r#"{"__metadata__":{"format":"pt"}}"#, None, &[]), "not an elbo model"),
        ("no metadata", raw(&format!("{{\"w\":{two}}}"), None, &[0; 8]), "not an elbo model"),
        ("entry not JSON", entry("pt"), "\"elbo\" is damaged: expected"),
        ("entry not an object", entry("[1]"), "\"elbo\" is damaged: it is not a JSON object"),
        ("entry without format", entry("{}"), "\"elbo\" is damaged: it has no format number"),
        ("format not a number", entry(r#"{"format":"1"}"#), "it has no format number"),
        ("format zero", entry(r#"{"format":0}"#), "it has no format number"),
        ("format of the future", entry(r#"{"format":2}"#), "written by a newer elbo: format 2, this one reads up to 1"),
        ("body missing", raw(&ok, None, &[0; 4]), "cut short: 8 bytes of tensors expected, 4 found"),
        ("body too long", raw(&ok, None, &[0; 9]), "longer than its header says: 8 bytes of tensors expected, 9 found"),
        ("four terabytes", tensor(huge), "cut short: 4398046511104 bytes of tensors expected, 8 found"),
        ("shape overflows", tensor(overflow), "the header is damaged: overflow"),
        ("shape lies", tensor(lies), "the header is damaged: invalid shape"),
        ("offsets leave a gap", tensor(gap), "the header is damaged: invalid offset for tensor `w`"),
        ("half precision", tensor(half), "tensor w holds F16, expected F32, F64 or U64"),
        ("unknown type", tensor(unknown), "the header is damaged"),
    ];
    let folder = tempdir().unwrap();
    for (name, bytes, expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let mut said = String::new();
        let memory = allocation_counter::measure(|| {
            let error = TensorFile::read(&path).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Input, "{name}");
            said = error.to_string();
        });
        assert!(said.starts_with(&format!("{}: ", path.display())), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
        // The reader's buffer (64 KiB) and what parsing the bytes that are there takes.
        let bound = (1 << 17) + 8 * bytes.len() as u64;
        assert!(memory.bytes_max < bound, "{name}: {} bytes in memory, file of {}", memory.bytes_max, bytes.len());
    }
    let missing = TensorFile::read(folder.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Io);
    assert!(TensorFile::read(folder.path()).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_file_is_survived() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model");
    tensors::write(&path, &json!({"preset": "tiny"}), &some_tensors()).unwrap();
    let whole = fs::read(&path).unwrap();
    let header_end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        TensorFile::read(&path).expect_err("a cut file is an error");
    }
    for i in 0..header_end {
        for flip in [0x01, 0x10, 0x80] {
            let mut damaged = whole.clone();
            damaged[i] ^= flip;
            fs::write(&path, &damaged).unwrap();
            // A flipped letter of a name or of the padding can be valid; it must only never panic.
            let _ = TensorFile::read(&path);
        }
    }
}
