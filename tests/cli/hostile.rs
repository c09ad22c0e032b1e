//! Odd places, and sizes beyond the machine: one error, exit status 2, no panic, no hang, and memory only for what is there.
#![cfg(unix)]

use crate::support::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs the program; fails if it is not done soon.
fn soon(at: &Path, args: &str) -> Ran {
    let mut child = command(at, args).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{args}: still running");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

#[test]
fn places_that_are_no_files_are_explained() {
    let folder = folder();
    let (at, run) = (folder.path(), digits().display());
    fs::create_dir(at.join("pictures")).unwrap();
    for pipe in ["pipe", "pictures/a.png"] {
        assert!(Command::new("mkfifo").arg(at.join(pipe)).status().unwrap().success());
    }
    for (args, expected) in [
        ("train /dev/null", ["/dev/null", "empty"]),
        ("train /dev/zero", ["/dev/zero", "IDX type"]),
        ("train mnist --config /dev/zero", ["/dev/zero", "no file of settings"]),
        ("train mnist --config /", ["/", "cannot read"]),
        ("train mnist --out /dev/null", ["/dev/null", "exists"]),
        ("train mnist --out /dev/null --overwrite", ["/dev/null", "folder"]),
        ("train pictures", ["a.png", "no regular file"]),
        ("train --resume pipe", ["pipe", "no run here"]),
        ("info pipe", ["pipe", "not a regular file"]),
        ("info /dev/zero", ["/dev/zero", "not a regular file"]),
        ("evaluate /dev/null", ["/dev/null", "not a regular file"]),
        ("score RUN --labels / --positive 1", ["/", "folder"]),
        ("encode RUN / --out z.npy", ["/", "neither PNG"]),
        ("sample RUN --out pipe/x.npy", ["pipe", "x.npy"]),
    ] {
        let ran = soon(at, &args.replace("RUN", &run.to_string()));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}\n{}", ran.stderr);
        for word in expected {
            assert!(ran.stderr.contains(word), "{args}: {word} in\n{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{args}\n{}", ran.stderr);
    }
    assert!(!at.join("runs").exists() && !at.join("z.npy").exists());
}

#[test]
fn sizes_beyond_the_machine_are_explained() {
    let (folder, run) = (folder(), digits().display());
    for (args, expected) in [
        // The parameters alone: 32 GB and more; with the activations, more than a hundred.
        ("train mnist --hidden 1300000 --batch-size 9000", ["takes at least", "GiB of memory", "--hidden"]),
        ("bench --hidden 1300000 --batch-size 9000", ["takes at least", "GiB of memory", "--hidden"]),
        ("train mnist --hidden 40000,40000", ["memory", "2^31", "--hidden"]),
        ("train mnist --hidden 99999999999999999999", ["99999999999999999999", "--hidden", "invalid"]),
        ("train mnist --hidden 0", ["hidden", "at least 1", "0"]),
        ("train mnist --latent 9223372036854775807", ["2^31", "--latent", "parameters"]),
        ("train mnist --threads 10000", ["10000", "--threads", "1024"]),
        ("train mnist --epochs 18446744073709551615", ["18446744073709551615", "epochs", "steps"]),
        ("train mnist --likelihood categorical:99999999", ["categorical", "65536", "99999999"]),
        ("gradcheck --batch-size 1000000000", ["1000000000", "batch", "4096"]),
        ("interpolate RUN --from 3 --to 4 --steps 99999999999 --out x.npy", ["99999999999", "2^31", "fewer"]),
    ] {
        let ran = soon(folder.path(), &args.replace("RUN", &run.to_string()));
        let more_than_memory = ran.code == 2 && ran.stdout.is_empty() && !ran.stderr.contains("panicked");
        assert!(more_than_memory, "{args}: {}\n{}", ran.code, ran.stderr);
        // Forty thousand squared is more than the machine has, or than is taken for meant: either is said.
        let said = expected.iter().filter(|word| ran.stderr.contains(**word)).count();
        let enough = if args.ends_with("40000,40000") { 2 } else { 3 };
        assert!(said >= enough, "{args}: {expected:?} in\n{}", ran.stderr);
    }
    assert!(!folder.path().join("runs").exists());
}

/// A path is any bytes: what is not UTF-8 is read, written and named as well as can be.
#[test]
fn paths_that_are_not_utf_8() {
    let folder = folder();
    let name = OsStr::from_bytes(b"r\xff\xfe");
    let at = folder.path().join(name);
    if fs::create_dir(&at).is_err() {
        return; // a file system that has no such names
    }
    for entry in fs::read_dir(digits()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, at.join(path.file_name().unwrap())).unwrap();
    }
    let run = |args: &[&OsStr]| -> Ran { command(folder.path(), "").args(args).output().unwrap().into() };
    let os = OsStr::new;
    run(&[os("info"), name]).ok();
    let out = OsStr::from_bytes(b"x\xff.csv");
    run(&[os("sample"), name, os("--count"), os("3"), os("--out"), out]).ok();
    assert_eq!(fs::read_to_string(folder.path().join(out)).unwrap().lines().count(), 4);
    // Data are named in files of text, so that their names must be text.
    let ran = run(&[os("train"), OsStr::from_bytes(b"d\xff.csv")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked") && ran.stderr.contains("UTF-8"), "{}", ran.stderr);
}

/// A name that no choice has is explained alike for all choices: the setting, what is known, and the nearest.
#[test]
fn unknown_names_have_one_form() {
    let folder = folder();
    for (setting, name) in [
        ("preset", "mlp-401"),
        ("layer", "dens"),
        ("activation", "reluu"),
        ("heads", "join"),
        ("likelihood", "bernouli"),
        ("init", "torhc"),
        ("binarize", "threshhold"),
        ("optimizer", "adan"),
        ("schedule", "cosin"),
        ("precision", "f23"),
    ] {
        let ran = elbo(folder.path(), &format!("train mnist --{setting} {name}"));
        let mut lines = ran.stderr.lines();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with(&format!("error: {setting}: unknown ")), "{}", ran.stderr);
        assert!(first.contains(&format!(" `{name}`: expected ")), "{}", ran.stderr);
        assert!(lines.next().is_some_and(|hint| hint.starts_with("  hint: did you mean `")), "{}", ran.stderr);
        assert_eq!(ran.code, 2);
    }
}

/// A batch larger than the data is all of them, in a bench as in training.
#[test]
fn a_bench_takes_what_rows_there_are() {
    let folder = folder();
    fs::write(folder.path().join("t.csv"), format!("a,b\n{}", "1,2\n0,1\n".repeat(10))).unwrap();
    for (size, met) in [("7", 7), ("19", 19), ("20", 19), ("100000", 19)] {
        let ran = elbo(folder.path(), &format!("bench --data t.csv --epochs 1 --json --quiet --batch-size {size}"));
        assert_eq!(ran.ok().json()["batch_size"], met, "{size}");
    }
    fs::write(folder.path().join("one.csv"), "a,b\n1,2\n").unwrap();
    let ran = elbo(folder.path(), "bench --data one.csv --epochs 1");
    assert!(ran.code == 2 && ran.stderr.contains("two training rows"), "{}", ran.stderr);
}
