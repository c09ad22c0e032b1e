//! A run of a second, and what it must end in.

use elbo::train::SavedModel;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A call of the program in a folder, its arguments separated by blanks.
pub fn program(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.current_dir(folder).args(args.split_whitespace()).env_remove("ELBO_ISA").env_remove("ELBO_DATA");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The standard error of a call that succeeds.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{status}: {stderr}");
    stderr
}

/// A run to be repeated, its data, and the bytes that it must end in.
pub struct Job {
    _scratch: TempDir,
    folder: PathBuf,
    flags: &'static str,
    pub whole: BTreeMap<String, Vec<u8>>,
}

impl Job {
    pub fn new(flags: &'static str) -> Job {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = fs::canonicalize(&scratch).unwrap();
        fs::create_dir(folder.join("runs")).unwrap();
        // Pictures of a bright bar, 8 × 8.
        let pixel =
            |row: usize, at: usize| if at / 8 == row % 8 { 155 + (row * 7 + at) % 100 } else { (row + at) % 40 };
        let mut file = vec![0, 0, 8, 3];
        file.extend([400, 8, 8u32].iter().flat_map(|d| d.to_be_bytes()));
        file.extend((0..400).flat_map(|row| (0..64).map(move |at| pixel(row, at) as u8)));
        fs::write(folder.join("bars.idx"), file).unwrap();
        let mut job = Job { _scratch: scratch, folder, flags, whole: BTreeMap::new() };
        succeed(&mut job.start("whole"));
        job.whole = job.contents("whole");
        job
    }
    /// Where the data are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// Where the runs are.
    pub fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }
    pub fn path(&self, run: &str) -> PathBuf {
        self.runs().join(run)
    }
    /// The call that starts a run.
    pub fn start(&self, run: &str) -> Command {
        program(&self.folder, &format!("train bars.idx {} --out {}", self.flags, self.path(run).display()))
    }
    /// A call with `RUN` for the path of a run.
    pub fn call(&self, run: &str, args: &str) -> Command {
        program(&self.folder, &args.replace("RUN", &self.path(run).display().to_string()))
    }
    /// The call that goes on with a run, or starts it if its folder has not come into being.
    pub fn go_on(&self, run: &str) -> Command {
        match self.path(run).exists() {
            true => self.call(run, "train --resume RUN"),
            false => self.start(run),
        }
    }
    /// The bytes of every file of a run; the record without the keys that time it.
    pub fn contents(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.path(run)).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let (name, bytes) = (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
            let bytes = if name == "metrics.jsonl" { untimed(&bytes) } else { bytes };
            (name, bytes)
        });
        files.collect()
    }
    /// Goes on with a run to its end, which must be that of the one that nothing happened to.
    #[track_caller]
    pub fn assert_ends_the_same(&self, run: &str, what: &str) {
        succeed(&mut self.go_on(run));
        let (expected, found) = (&self.whole, self.contents(run));
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}: files of {run}");
        for (name, bytes) in expected {
            assert!(*bytes == found[name], "{what}: {name} of {run} differs");
        }
    }
    /// Whether a run has a model; if so, one that can be loaded.
    #[track_caller]
    pub fn has_model(&self, run: &str, what: &str) -> bool {
        let exists = self.path(run).join("model.safetensors").exists();
        if exists {
            SavedModel::load(self.path(run)).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        exists
    }
    /// Removes a run and whatever lies about.
    pub fn clear(&self, run: &str) {
        let _ = fs::remove_dir_all(self.path(run));
        for folder in leftovers(&self.runs()) {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

fn untimed(record: &[u8]) -> Vec<u8> {
    let lines = std::str::from_utf8(record).unwrap().lines().map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = value.as_object_mut().unwrap();
        assert!(line.remove("samples_per_second").is_some() && line.remove("seconds").is_some());
        format!("{value}\n")
    });
    lines.collect::<String>().into_bytes()
}

/// What is left in a folder by writers that were killed.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let temporary = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".elbo-");
    // Entries may go away while they are listed.
    entries.flatten().map(|entry| entry.path()).filter(temporary).collect()
}
