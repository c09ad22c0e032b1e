//! The order of the rooms: imports point downward only (but for the scalar, which lends itself to layers and densities), unsafe code stays in the cellar, and the light build is light.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use.
const ROOMS: [(&str, &[&str]); 14] = [
    ("tensor", &["layer", "density"]), // `Real` names the traits that it lends its scalar to
    ("layer", &["tensor"]),
    ("density", &["tensor", "layer"]), // a likelihood's memory and parameters are kept as a layer's are
    ("flow", &["tensor", "layer"]),
    ("optim", &["tensor"]),
    ("data", &["tensor"]),
    ("estimator", &["tensor"]),
    ("model", &["tensor", "layer", "density", "flow", "estimator"]),
    ("gradcheck", &["tensor", "layer", "density", "estimator", "model"]),
    ("files", &[]),
    ("report", &["files"]),
    ("train", &["tensor", "layer", "density", "optim", "data", "estimator", "model", "files", "report"]),
    ("task", &["tensor", "layer", "density", "optim", "data", "estimator", "model", "files", "report", "train"]),
    (
        "cli",
        &[
            "tensor",
            "layer",
            "density",
            "optim",
            "data",
            "estimator",
            "model",
            "files",
            "report",
            "train",
            "task",
            "gradcheck",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Code without comments, tests and doc examples.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code += line;
            code.push('\n');
            continue;
        }
        // The item that follows, to its semicolon or its closing brace.
        let mut depth = 0;
        for line in lines.by_ref() {
            depth += line.matches('{').count() as i64 - line.matches('}').count() as i64;
            if depth == 0 && !line.trim_start().starts_with("#[") {
                break;
            }
        }
    }
    code
}

/// The modules that code names after `crate::`, each by itself or in braces.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    code.split("crate::")
        .skip(1)
        .flat_map(|after| -> Vec<String> {
            let Some(list) = after.strip_prefix('{') else { return vec![word(after)] };
            let (mut depth, mut names) = (0, vec![word(list)]);
            for (i, c) in list.char_indices() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(word(&list[i + 1..])),
                    _ => {}
                }
            }
            names
        })
        .collect()
}

#[test]
fn names_are_found_wherever_they_stand() {
    let code = "use crate::{Error, data::{View, Rows}, train};\nfn f() -> crate::model::Vae {}";
    assert_eq!(named(code), ["Error", "data", "train", "model"]);
}

#[test]
fn imports_point_downward() {
    for (room, allowed) in ROOMS {
        let mut files = Vec::new();
        sources(&root().join("src").join(room), &mut files);
        assert!(!files.is_empty(), "there is no room {room}");
        for file in files {
            let named = named(&code(&file));
            for (other, _) in ROOMS.iter().filter(|(other, _)| *other != room && !allowed.contains(other)) {
                assert!(!named.iter().any(|name| name == other), "{} uses {other}", file.display());
            }
        }
    }
}

#[test]
fn every_room_is_on_the_plan() {
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            // Programs use the library as anyone else does: `src/bin` has the walkthroughs.
            let planned = name == "bin" || ROOMS.iter().any(|(room, _)| *room == name);
            assert!(planned, "src/{name} is not on the plan");
        }
    }
}

#[test]
fn unsafe_code_is_in_the_kernels_and_says_why_it_is_safe() {
    let mut files = Vec::new();
    sources(&root().join("kernels/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.contains("unsafe impl");
            if opens && !line.trim_start().starts_with("//") {
                // Chained lines of one statement, or a macro's whole body, may share the line above them.
                let near = lines[i.saturating_sub(6)..=i].iter().any(|l| l.contains("SAFETY"));
                assert!(near, "{}:{}: unsafe without a SAFETY line", file.display(), i + 1);
            }
        }
    }
}

#[test]
fn the_light_build_stays_light() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = std::process::Command::new(cargo)
        .args([
            "tree",
            "--package",
            "elbo",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tree = String::from_utf8(out.stdout).unwrap();
    let crates: std::collections::BTreeSet<&str> = tree.lines().filter_map(|l| l.split_whitespace().next()).collect();
    // The README states this number; elbo and elbo-kernels are two of them.
    let stated = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        stated.contains(&format!("{} crates", crates.len())),
        "the light build has {} crates: {crates:?}",
        crates.len()
    );
}

#[test]
fn documents_are_finished_and_name_files_that_exist() {
    for document in [
        "README.md",
        "COURSE.md",
        "TESTING.md",
        "CONTRIBUTING.md",
        "benches/RESULTS.md",
        "datasets/README.md",
        "CHANGELOG.md",
    ] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        assert!(!text.contains("@@"), "{document} has a place to fill in");
        for word in text.split('`').skip(1).step_by(2) {
            let ours =
                ["tests/", "benches/", "src/", "kernels/", "datasets/", ".ci/"].iter().any(|f| word.starts_with(f));
            if ours && !word.contains(' ') {
                assert!(root().join(word).exists(), "{document} names {word}");
            }
        }
    }
}
