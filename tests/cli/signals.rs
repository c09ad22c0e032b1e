//! Interrupted and terminated: at any moment, once and twice, and what is left to go on from.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SIGNALS: [(&str, i32, &str); 2] = [("-INT", 130, "interrupted"), ("-TERM", 143, "terminated")];

/// A second is promised, beside one step, which here takes less than a hundredth; as much again is for machines on which
/// other tests run.
const AT_ONCE: Duration = Duration::from_secs(2);

type Stderr = BufReader<std::process::ChildStderr>;

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Reads the standard error up to a line with some words.
fn wait_for(child: &mut Child, words: &str) -> Stderr {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while !line.contains(words) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the program ended before it said {words}: {all}");
        all += &line;
    }
    stderr
}

/// Sends a signal and returns the exit status, how long it took to end, and the rest of the standard error.
fn end(child: &mut Child, stderr: &mut Stderr, signal: &str) -> (Option<i32>, Duration, String) {
    let sent = Instant::now();
    send(child, signal);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), sent.elapsed(), rest)
}

/// A pipe that nobody reads or writes: who opens it waits.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Few steps, and an evaluation that takes several times as long: 1,000 rows to train on, 9,000 to evaluate.
const RUN: &str = "train mnist --hidden 400 --latent 3 --batch-size 50 --validation 8000 --epochs 2";
const STEPS: u64 = 20;

fn train(at: &Path, out: &str) -> Child {
    command(at, &format!("{RUN} --out {out}")).spawn().unwrap()
}

/// The folder of that run without a signal, and what it took: once for all tests.
fn whole() -> &'static (PathBuf, Duration) {
    static WHOLE: OnceLock<(PathBuf, Duration)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let (path, start) = (Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole"), Instant::now());
        elbo(Path::new("."), &format!("{RUN} --quiet --out {} --overwrite", path.display())).ok();
        (path, start.elapsed())
    })
}

/// Whether a run has ended in the bytes of the whole one; of the record, but for the keys that time it.
#[track_caller]
fn assert_whole(run: &Path) {
    for file in ["model.safetensors", "checkpoint", "samples.png", "reconstructions.png", "loss.svg"] {
        let [x, y] = [&whole().0, run].map(|run| fs::read(run.join(file)).unwrap());
        assert!(x == y, "{file} of {} differs", run.display());
    }
    let record = |run: &Path| {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let untimed = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().retain(|key, _| key != "samples_per_second" && key != "seconds");
            line
        };
        text.lines().map(untimed).collect::<Vec<Value>>()
    };
    assert_eq!(record(&whole().0), record(run));
}

#[test]
fn a_run_ends_at_once_at_any_moment_and_goes_on_to_the_same_bytes() {
    let folder = folder();
    let at = folder.path();
    // What the whole run took is a guess at what the next one takes: other tests may have begun or ended meanwhile.
    let mut takes = whole().1;
    // Where the signals found the run.
    let (mut stepping, mut evaluating, mut ended) = (0, 0, 0);
    while stepping + evaluating < 5 || evaluating == 0 {
        assert!(
            stepping + evaluating + ended < 50,
            "{stepping} in training, {evaluating} in an evaluation, {ended} too late"
        );
        let i = stepping + evaluating;
        let (signal, code, name) = SIGNALS[i % 2];
        let (run, mut child) = (format!("run-{i}"), train(at, &format!("run-{i}")));
        let mut stderr = wait_for(&mut child, "run folder");
        sleep(takes.mul_f64((i % 5) as f64 * 0.15));
        let (found, took, rest) = end(&mut child, &mut stderr, signal);
        if found == Some(0) {
            // Done before the signal came: once more, sooner.
            assert_whole(&at.join(&run));
            fs::remove_dir_all(at.join(&run)).unwrap();
            (takes, ended) = (takes.mul_f64(0.7), ended + 1);
            continue;
        }
        assert_eq!(found, Some(code), "{rest}");
        assert!(took < AT_ONCE, "{took:?}: {rest}");
        // It may have been at its pictures, which end in silence.
        let trained = rest.contains("epoch 2/2 ");
        assert!(trained || rest.contains(name) && rest.contains(&format!("elbo train --resume {run}")), "{rest}");
        let stands = elbo(at, &format!("info {run}/checkpoint --json")).ok().json();
        match stands["batch"].as_u64().unwrap() {
            STEPS => evaluating += 1,
            _ => stepping += 1,
        }
        if i % 5 == 4 && evaluating == 0 {
            takes *= 2;
        }
        let went_on = elbo(at, &format!("train --resume {run} --json --threads {}", 1 + i % 2)).ok();
        let lines = fs::read_to_string(at.join(&run).join("metrics.jsonl")).unwrap();
        assert!(lines.ends_with(&went_on.stdout), "what is resumed is said, and nothing twice");
        assert_whole(&at.join(run));
    }
}

/// As long as data are read, there is nothing to be kept.
#[test]
fn a_run_that_reads_its_data_ends_at_once() {
    for (signal, code, _) in SIGNALS {
        let folder = folder();
        let at = folder.path();
        let data = at.join("data.csv");
        pipe(&data);
        let mut child = command(at, "train data.csv --out run").spawn().unwrap();
        // Opened for writing, once the program has opened it for reading.
        let writer = fs::File::options().write(true).open(&data).unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, took, rest) = end(&mut child, &mut stderr, signal);
        drop(writer);
        assert!(found == Some(code) && took < AT_ONCE, "{found:?} after {took:?}: {rest}");
        assert_eq!(fs::read_dir(at).unwrap().count(), 1, "nothing but the data");
    }
}

/// The run is done when its pictures are drawn: nothing is waited for.
#[test]
fn a_run_that_draws_ends_at_once_and_draws_when_it_goes_on() {
    let folder = folder();
    let at = folder.path();
    elbo(at, &format!("train mnist {SMALL} --epochs 1 --out a")).ok();
    for (signal, code, _) in SIGNALS {
        let (before, picture) = (at.join("a/loss.svg"), at.join("a/samples.png"));
        let drawn = fs::read(&picture).unwrap();
        fs::remove_file(&before).unwrap();
        fs::remove_file(&picture).unwrap();
        pipe(&picture);
        let mut child = command(at, "train --resume a").spawn().unwrap();
        let mut stderr = wait_for(&mut child, "run folder");
        while !before.exists() {
            sleep(Duration::from_millis(1));
        }
        let (found, took, rest) = end(&mut child, &mut stderr, signal);
        assert!(found == Some(code) && took < AT_ONCE, "{found:?} after {took:?}: {rest}");
        fs::remove_file(&picture).unwrap();
        elbo(at, "train --resume a").ok();
        assert!(fs::read(&picture).unwrap() == drawn);
    }
}

/// The record is a pipe that nobody reads, so that the first signal cannot be obeyed.
#[test]
fn the_second_signal_ends_a_run_at_once() {
    let folder = folder();
    let at = folder.path();
    for (signal, code, _) in SIGNALS {
        // Long enough for an epoch, on any machine.
        let (mut child, mut stderr) =
            (500..).step_by(1500).find_map(|wait| asked(at, signal, Duration::from_millis(wait))).unwrap();
        let (found, took, rest) = end(&mut child, &mut stderr, signal);
        assert!(found == Some(code) && took < AT_ONCE, "{found:?} after {took:?}: {rest}");
        fs::remove_file(at.join("a/metrics.jsonl")).unwrap();
        elbo(at, "train --resume a").ok();
        assert_whole(&at.join("a"));
        fs::remove_dir_all(at.join("a")).unwrap();
    }
}

/// A run that has been sent one signal where it waits for its record to be read; `None` if it had not come to that.
fn asked(at: &Path, signal: &str, wait: Duration) -> Option<(Child, Stderr)> {
    let mut child = train(at, "a");
    let stderr = wait_for(&mut child, "run folder");
    pipe(&at.join("a/metrics.jsonl"));
    sleep(wait);
    send(&child, signal);
    sleep(Duration::from_millis(500));
    if child.try_wait().unwrap().is_none() {
        return Some((child, stderr));
    }
    fs::remove_dir_all(at.join("a")).unwrap();
    None
}

/// On 60,000 pictures and the published network: steps, evaluations, checkpoints.
#[test]
#[ignore = "full-size training, half a minute: cargo test --release --test cli signals -- --ignored --nocapture"]
fn full_size_training_ends_within_a_second() {
    let folder = folder();
    let at = folder.path();
    let mut latencies: Vec<Duration> = (0..20)
        .map(|i| {
            let (signal, code, _) = SIGNALS[i % 2];
            let args = format!("train fashion-mnist --preset mlp-400 --epochs 50 --validation 10000 --out run-{i}");
            let mut child = command(at, &args).spawn().unwrap();
            let mut stderr = wait_for(&mut child, "run folder");
            sleep(Duration::from_millis(170 * i as u64));
            let (found, took, rest) = end(&mut child, &mut stderr, signal);
            assert_eq!(found, Some(code), "{rest}");
            fs::remove_dir_all(at.join(format!("run-{i}"))).unwrap();
            took
        })
        .collect();
    latencies.sort();
    println!(
        "{} signals, median {:?}, longest {:?}",
        latencies.len(),
        latencies[latencies.len() / 2],
        latencies.last().unwrap()
    );
    assert!(latencies.iter().all(|took| *took < Duration::from_secs(1)), "{latencies:?}");
}

#[test]
fn other_verbs_end_at_once() {
    for (signal, expected, _) in SIGNALS {
        let mut child = command(digits(), "evaluate . mnist --split all --samples 100000").spawn().unwrap();
        let mut stderr = wait_for(&mut child, "10000 rows");
        let (code, took, _) = end(&mut child, &mut stderr, signal);
        assert!(code == Some(expected) && took < AT_ONCE, "{code:?} after {took:?}");
    }
}
