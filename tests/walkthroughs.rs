//! The course is whole: its programs are behind their feature and in order, and the deliberate faults that they must
//! catch still fit the sources. The programs themselves, which assert what they print, are run by `.ci/course`, and
//! `tests/faults/run` shows that each fault ends one of them.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../src/bin/walk/mod.rs"]
mod walk;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == ending)).collect();
    found.sort();
    found
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

#[test]
fn walkthroughs_are_in_order_behind_their_feature_and_claim_things() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let walkthroughs = files("src/bin", "rs");
    assert!(walkthroughs.len() >= 8, "{walkthroughs:?}");
    for (i, path) in walkthroughs.iter().enumerate() {
        let (name, number) = (stem(path), i + 1);
        assert!(name.starts_with(&format!("walk_{number:02}_")), "{name} is number {number}");
        let entry = format!("[[bin]]\nname = \"{name}\"\nrequired-features = [\"walk\"]\n");
        assert!(manifest.contains(&entry), "Cargo.toml builds {name} without its feature, or not at all");
        let code = fs::read_to_string(path).unwrap();
        assert!(code.starts_with(&format!("//! {number:02}: ")), "{name} opens with another number");
        assert!(code.contains("walk.end()"), "{name} does not say how many claims it checked");
        let claims = code.matches(".claim(").count();
        assert!(claims >= 5, "{name} asserts {claims} claims");
    }
}

/// The file of a patch, and for each of its hunks the lines before and after.
fn hunks(patch: &str) -> (PathBuf, Vec<[String; 2]>) {
    let file = patch.lines().find_map(|l| l.strip_prefix("--- a/")).expect("a file to change");
    let mut hunks: Vec<[String; 2]> = Vec::new();
    for line in patch.lines().skip_while(|l| !l.starts_with("@@")) {
        let (mark, text) = line.split_at(line.len().min(1));
        let Some(sides) = hunks.last_mut().filter(|_| mark != "@") else {
            hunks.push(Default::default());
            continue;
        };
        for (side, other) in sides.iter_mut().zip(["+", "-"]) {
            if mark != other {
                *side += text;
                side.push('\n');
            }
        }
    }
    (root().join(file), hunks)
}

#[test]
fn faults_fit_the_sources_and_name_a_walkthrough() {
    let faults = files("tests/faults", "patch");
    assert!(faults.len() >= 8, "{faults:?}");
    for path in &faults {
        let (fault, patch) = (stem(path), fs::read_to_string(path).unwrap());
        let walk = patch.lines().find_map(|l| l.strip_prefix("Caught by: ")).expect("a walkthrough that catches it");
        assert!(root().join(format!("src/bin/{walk}.rs")).exists(), "{fault} names {walk}");
        let (file, hunks) = hunks(&patch);
        let code = fs::read_to_string(&file).unwrap();
        assert!(!hunks.is_empty());
        for [before, after] in hunks {
            let found = code.matches(&before).count();
            assert_eq!(found, 1, "{fault}: these lines are in {} {found} times:\n{before}", file.display());
            assert_ne!(before, after, "{fault}");
        }
    }
}

#[test]
fn pictures_are_halved_to_means_and_printed_two_pixels_a_character() {
    let picture = [0.0, 1.0, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0];
    assert_eq!(walk::halved(&picture, 4), [0.5, 1.0]);
    assert_eq!(walk::grey(&[&[0.0, 1.0, 0.0, 0.5], &[0.25; 4]], 2, 2), " ▓  ░░  \n");
    assert_eq!(
        (walk::bar(2.4, 5).chars().count(), walk::bar(9.0, 5).chars().count(), walk::bar(-1.0, 5).len()),
        (2, 5, 0)
    );
    let (mean, error) = walk::mean_and_error(&[1.0, 2.0, 3.0, 4.0]);
    assert!(mean == 2.5 && (error - (5.0f64 / 12.0).sqrt()).abs() < 1e-15, "{mean} ± {error}");
}
