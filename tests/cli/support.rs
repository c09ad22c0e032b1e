//! Running the program.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// How a call of the program ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
    /// The standard output as one JSON object a line, and nothing else.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let lines: Vec<Value> = self.stdout.lines().map(parse).collect();
        assert!(lines.iter().all(Value::is_object), "{}", self.stdout);
        lines
    }
    /// The standard output as one JSON object.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "{}", self.stdout);
        lines.remove(0)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("an exit status, not a signal");
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A call of the program in a folder, its arguments separated by blanks.
pub fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.current_dir(folder).args(args.split_whitespace()).env_remove("ELBO_ISA").env_remove("ELBO_DATA");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub fn elbo(folder: &Path, args: &str) -> Ran {
    command(folder, args).output().expect("the program starts").into()
}

/// A folder for one test.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

/// A small network that learns in a fraction of a second.
pub const SMALL: &str = "--hidden 16 --latent 3 --batch-size 500";

/// The folder of a finished run on digits: made once, read by many tests, which write elsewhere.
pub fn digits() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("digits");
        let place = path.display();
        elbo(Path::new("."), &format!("train mnist {SMALL} --epochs 2 --quiet --out {place} --overwrite")).ok();
        path
    })
}

/// What `elbo info --json` says of a run.
pub fn info(run: &Path) -> Value {
    elbo(Path::new("."), &format!("info {} --json", run.display())).ok().json()
}
