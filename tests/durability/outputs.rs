//! Places that cannot be written to: what has been done stays, and what does not matter ends nothing.

use crate::support::{Job, succeed};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const FLAGS: &str = "--hidden 16 --latent 2 --batch-size 100 --epochs 2";

/// A limit on the size of files fails as a full disk does: after some of the bytes.
#[test]
fn a_file_that_cannot_grow_is_named_and_the_run_goes_on_later() {
    let job = Job::new("--hidden 256 --latent 4 --batch-size 100 --epochs 2");
    let (run, start) =
        (job.path("run").display().to_string(), "train bars.idx --hidden 256 --latent 4 --batch-size 100");
    // A configuration takes less than 64 blocks of 512 or 1,024 bytes, a checkpoint more.
    let limited = |args: &str| {
        let mut sh = Command::new("sh");
        let line = format!("trap '' XFSZ; ulimit -f 64; exec {} {args}", env!("CARGO_BIN_EXE_elbo"));
        let output = sh.current_dir(job.folder()).stdin(Stdio::null()).arg("-c").arg(line).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = limited(&format!("{start} --epochs 2 --out {run}"));
    assert!(code == Some(2) && said.contains(&format!("{run}: cannot write: File too large")), "{said}");
    assert_eq!(fs::read_dir(job.runs()).unwrap().count(), 1, "a run that could not begin leaves nothing");

    succeed(&mut job.call("run", &format!("{start} --epochs 1 --out RUN")));
    let before = job.contents("run");
    let (code, said) = limited(&format!("train --resume {run} --epochs 2"));
    assert!(code == Some(2) && said.contains("cannot write: File too large"), "{said}");
    assert!(said.contains(&format!("the last good checkpoint, after epoch 1, is kept in {run}")), "{said}");
    assert!(said.contains(&format!("elbo train --resume {run}")), "{said}");
    let after = job.contents("run");
    for file in ["model.safetensors", "checkpoint"] {
        assert!(before[file] == after[file], "{file} is what it was");
    }
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    succeed(&mut job.call("run", "train --resume RUN --epochs 2"));
    assert!(job.contents("run") == job.whole);
}

#[test]
fn a_picture_that_cannot_be_drawn_costs_nothing_else() {
    let job = Job::new(FLAGS);
    let picture = job.path("whole/samples.png");
    fs::remove_file(&picture).unwrap();
    fs::create_dir(&picture).unwrap();
    let said = succeed(&mut job.go_on("whole"));
    assert!(said.contains(&format!("warning: {}: cannot write", picture.display())), "{said}");
    assert!(said.contains("-ELBO") && said.contains("elbo evaluate"), "the run has ended well: {said}");
    fs::remove_dir(picture).unwrap();
    job.assert_ends_the_same("whole", "pictures again");
}

#[test]
fn a_standard_output_that_is_full_or_gone_ends_no_training() {
    let job = Job::new(FLAGS);
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let output = job.start("full").arg("--json").stdout(full()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(job.contents("full") == job.whole, "{said}");
    // Once, and it counts: what was asked for on the standard output is not there.
    let warning = "warning: standard output: cannot write: No space left on device (os error 28); training goes on";
    assert!(output.status.code() == Some(2) && said.matches(warning).count() == 1, "{said}");

    let mut child = job.start("gone").arg("--json").spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0), "a reader that goes away is no error");
    assert!(job.contents("gone") == job.whole);

    for (args, code) in [("info RUN", 2), ("score RUN bars.idx", 2), ("--help", 0)] {
        let output = job.call("full", args).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && !said.contains("panicked"), "{args}: {:?} {said}", output.status);
        let mut child = job.call("full", args).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let job = Job::new(FLAGS);
    let locked = job.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere, but not below a file.
    let free = File::create(locked.join("try")).is_ok();
    let below = if free { "../bars.idx/run" } else { "locked/run" };
    let output = job.start(below).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains(&format!("{below}: cannot make the folder")), "{said}");
}

#[test]
fn one_program_at_a_time_trains_a_run() {
    let job = Job::new(FLAGS);
    // As a trainer holds it.
    let held = File::open(job.path("whole")).unwrap();
    held.lock().unwrap();
    for args in ["train --resume RUN --epochs 3", "train bars.idx --out RUN --overwrite"] {
        let output = job.call("whole", args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("this run is being trained by another"), "{said}");
    }
    assert!(job.contents("whole") == job.whole);
    drop(held);
    succeed(&mut job.go_on("whole"));
}
