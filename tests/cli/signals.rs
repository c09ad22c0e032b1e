//! Interrupted and terminated.

use crate::support::*;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};

/// Waits for a line of the standard error with some words, sends a signal, and returns exit status and the rest.
fn signal_after(child: &mut Child, words: &str, signal: &str) -> (Option<i32>, String) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the program ended before it said {words}");
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

const EPOCHS: u64 = 25;

fn train(at: &Path, out: &str) -> Child {
    command(at, &format!("train mnist {SMALL} --epochs {EPOCHS} --validation 0.1 --out {out}")).spawn().unwrap()
}

#[test]
fn interrupted_and_resumed_is_the_same_run() {
    let folder = folder();
    let at = folder.path();
    let (code, rest) = signal_after(&mut train(at, "a"), "epoch  2/", "-INT");
    assert_eq!(code, Some(130), "{rest}");
    assert!(rest.contains("elbo train --resume a"), "{rest}");
    let lines = fs::read_to_string(at.join("a/metrics.jsonl")).unwrap().lines().count() as u64;
    assert!((2..EPOCHS).contains(&lines), "{lines}");

    let ran = elbo(at, "train --resume a --json --threads 1").ok();
    assert_eq!(ran.json_lines().len() as u64, EPOCHS - lines);
    let whole: Ran = train(at, "b").wait_with_output().unwrap().into();
    whole.ok();
    for file in ["model.safetensors", "checkpoint", "samples.png", "reconstructions.png"] {
        let [a, b] = ["a", "b"].map(|run| fs::read(at.join(run).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let last = |run: &str| {
        let text = fs::read_to_string(at.join(run).join("metrics.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (line["epoch"].clone(), line["train"].clone(), line["validation"].clone(), line["heldout"].clone())
    };
    assert_eq!(last("a"), last("b"));
}

#[test]
fn terminated_writes_a_checkpoint() {
    let folder = folder();
    let (code, rest) = signal_after(&mut train(folder.path(), "t"), "run folder", "-TERM");
    assert_eq!(code, Some(143), "{rest}");
    assert!(rest.contains("terminated") && rest.contains("--resume t"), "{rest}");
    // However early it came, the run can be gone on with.
    elbo(folder.path(), "train --resume t --quiet").ok();
}

#[test]
fn other_verbs_end_at_once() {
    for (signal, expected) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = command(digits(), "evaluate . mnist --split all --samples 100000").spawn().unwrap();
        let (code, _) = signal_after(&mut child, "10000 rows", signal);
        assert_eq!(code, Some(expected));
    }
}
