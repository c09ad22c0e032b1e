//! Every operation on a run's files made to fail, or to be the last before the process is killed.
//!
//! `faults.c` stands between the program as it is and the C library. Which operation fails is counted over the whole
//! process, so that each one that the program performs has its turn, in whatever order it performs them.

use crate::support::{Job, leftovers};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Ways to fail: the kind as `faults.c` knows it, the errno, and its words.
const FAILURES: [(&str, i32, &str); 4] = [
    ("error", 5, "Input/output error"),
    ("half", 28, "No space left on device"),
    ("full", 28, "No space left on device"),
    ("full", 30, "Read-only file system"),
];
/// Ways to be killed.
const KILLS: [&str; 2] = ["kill", "torn"];

/// Long enough for a checkpoint, several of its writes and all pictures; short, because it is repeated for each fault.
const FLAGS: &str = "--hidden 128 --latent 4 --batch-size 100 --epochs 3 --threads 1 --validation 0.2";

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let shim = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).args(["-ldl", "-lpthread"]);
        let made = cc.output().expect("a C compiler, which linking Rust needs too");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        shim
    })
}

/// One fault: the operation's number, the kind, the errno and its words.
#[derive(Clone, Copy, Debug)]
struct Fault {
    at: usize,
    kind: &'static str,
    errno: i32,
    words: &'static str,
}

/// Runs a command with a fault, and returns how it ended and the operations that it came to.
fn run(job: &Job, mut command: Command, fault: Option<Fault>) -> (Output, Vec<String>) {
    let log = job.folder().join("operations");
    let _ = fs::remove_file(&log);
    // A folder that is still to be named lies beside the run's.
    command.env("LD_PRELOAD", shim()).env("FAULT_UNDER", job.runs()).env("FAULT_LOG", &log);
    if let Some(fault) = fault {
        command.env("FAULT_AT", fault.at.to_string()).env("FAULT_KIND", fault.kind);
        command.env("FAULT_ERRNO", fault.errno.to_string());
    }
    let output = command.output().unwrap();
    (output, fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect())
}

/// How a run is before a fault is tried on it.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// Files of a run that was killed half-way.
    Killed,
}

struct Trial {
    job: Job,
    before: Before,
}

impl Trial {
    fn new(before: Before) -> Trial {
        let job = Job::new(FLAGS);
        if let Before::Killed = before {
            // In the middle of the second half of what it does.
            let (_, operations) = run(&job, job.start("killed"), None);
            job.clear("killed");
            let fault = Fault { at: operations.len() * 2 / 3, kind: "torn", errno: 0, words: "" };
            run(&job, job.start("killed"), Some(fault));
            assert!(job.path("killed").exists());
        }
        Trial { job, before }
    }
    fn prepare(&self) {
        self.job.clear("faulty");
        if let Before::Killed = self.before {
            fs::create_dir(self.job.path("faulty")).unwrap();
            for entry in fs::read_dir(self.job.path("killed")).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), self.job.path("faulty").join(entry.file_name())).unwrap();
            }
        }
    }
    /// The number of operations when none fails.
    fn operations(&self) -> usize {
        self.prepare();
        let (output, operations) = run(&self.job, self.job.go_on("faulty"), None);
        assert!(output.status.success());
        operations.len()
    }
    /// Tries a fault, and says whether the program came to it.
    fn meet(&self, fault: Fault) -> bool {
        let job = &self.job;
        self.prepare();
        let (output, operations) = run(job, job.go_on("faulty"), Some(fault));
        let Some(operation) = operations.get(fault.at - 1) else { return false };
        let stderr = String::from_utf8(output.stderr).unwrap();
        let what = format!("{:?}, {fault:?}: {operation}: {}: {stderr}", self.before, output.status);
        match output.status.code() {
            None => assert!(KILLS.contains(&fault.kind), "{what}"),
            Some(0) => {
                // Only pictures may be missing, and only a lock be done without; a folder that is there need not be made.
                let (doing, path) = operation.split_once(' ').unwrap();
                let needless = ["open", "mkdir"].contains(&doing) && Path::new(path).is_dir();
                let picture = stderr.contains("warning: ") && stderr.contains("complete but for its pictures");
                assert!(needless || (picture && stderr.contains(fault.words)), "{what}");
            }
            Some(2) => assert!(stderr.contains(fault.words) && stderr.contains("faulty"), "{what}"),
            Some(_) => panic!("{what}"),
        }
        if !KILLS.contains(&fault.kind) {
            let left = [leftovers(&job.runs()), leftovers(&job.path("faulty"))].concat();
            // A file that a killed writer left goes when the run goes on; what this one wrote, at once.
            let mine = |path: &&PathBuf| !job.path("killed").join(path.file_name().unwrap()).exists();
            assert!(!left.iter().any(|path| mine(&path)), "{left:?} left, {what}");
        }
        let renamed = |line: &String| line.starts_with("rename ") && line.ends_with("model.safetensors");
        let had_model = operations[..fault.at - 1].iter().any(renamed) || job.path("killed/model.safetensors").exists();
        assert!(job.has_model("faulty", &what) || !had_model, "no model, {what}");
        job.assert_ends_the_same("faulty", &what);
        true
    }
}

/// Tries every `stride`th operation with each kind of fault, a different one each time.
fn sweep(stride: usize) {
    for before in [Before::Nothing, Before::Killed] {
        let (start, trial) = (std::time::Instant::now(), Trial::new(before));
        let operations = trial.operations();
        assert!(operations > 20, "{operations}: is the library between at all?");
        let kills = KILLS.map(|kind| (kind, 0, ""));
        let (mut failed, mut killed) = (0, 0);
        for (i, &(kind, errno, words)) in FAILURES.iter().chain(&kills).enumerate() {
            for at in (1 + i * stride / (FAILURES.len() + KILLS.len())..=operations).step_by(stride) {
                let met = usize::from(trial.meet(Fault { at, kind, errno, words }));
                if KILLS.contains(&kind) { killed += met } else { failed += met }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{before:?}: {operations} operations, {failed} faults, {killed} kills, {seconds:.1} s");
        assert!(failed + killed > 0);
    }
}

#[test]
fn operations_that_fail_lose_nothing() {
    sweep(23);
}

#[test]
#[ignore = "every operation in every way takes minutes"]
fn every_operation_that_fails_loses_nothing() {
    sweep(1);
}
