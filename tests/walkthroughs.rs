//! The course is whole: its programs are behind their feature and in order, and the deliberate faults that they must
//! catch still fit the sources. The programs themselves, which assert what they print, are run by `.ci/course`, and
//! `tests/faults/run` shows that each fault ends one of them.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, array};
use walk::plot::{Plot, Scale, bars, strips};

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
        // With --out, `Walk::end` reads each picture back.
        let pictures = code.matches("walk.picture(").count();
        assert!(pictures >= 1, "{name} keeps no picture");
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
            // With fewer lines on one side, `patch` takes the hunk for an end of the file.
            let same = |(a, b): &(&str, &str)| a == b;
            let above = before.lines().zip(after.lines()).take_while(same).count();
            let below = before.lines().rev().zip(after.lines().rev()).take_while(same).count();
            assert_eq!(above, below, "{fault}: lines above and below the change");
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

/// What a picture's file holds: its width and its pixels.
fn drawn(draw: impl FnOnce(&Path) -> elbo::Result<()>) -> (usize, Vec<[u8; 3]>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    draw(&path).unwrap();
    let (width, bytes) = walk::decode(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(walk::decode(&path).is_err(), "half a picture is none");
    (width, bytes.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
}

/// The first two curves' colours.
const BLUE: [u8; 3] = [31, 120, 181];
const ORANGE: [u8; 3] = [237, 117, 13];

/// (right, down) of each pixel of a colour, to a rounding.
fn places(width: usize, pixels: &[[u8; 3]], color: [u8; 3]) -> Vec<[usize; 2]> {
    let same = |p: &[u8; 3]| p.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 1);
    (0..pixels.len()).filter(|i| same(&pixels[*i])).map(|i| [i % width, i / width]).collect()
}

/// The least and the greatest.
fn span(values: impl Iterator<Item = usize> + Clone) -> (usize, usize) {
    (values.clone().min().unwrap(), values.max().unwrap())
}

#[test]
fn a_plot_has_equal_steps_for_equal_factors_on_log_axes_and_draws_levels_from_end_to_end() {
    let (width, pixels) = drawn(|path| {
        Plot::new("", "")
            .x("", Scale::Log)
            .y("", Scale::Log)
            .dots(0, "", [[1.0, 1e-4], [10.0, 1e-2], [100.0, 1.0]])
            .line(1, "", [[1.0, 1e-2], [100.0, 1e-2]])
            .level("", 1e-3)
            .save(path)
    });
    let (blue, orange) = (places(width, &pixels, BLUE), places(width, &pixels, ORANGE));
    // Three dots of 8 pixels, at the left below, in the middle, at the right above; the line runs through the middle one.
    let (left, right) = span(blue.iter().map(|p| p[0]));
    let (top, bottom) = span(blue.iter().map(|p| p[1]));
    let centre = |low: usize, high: usize| 0.5 * (low + high) as f64;
    let near = |x: f64, y: f64| blue.iter().filter(|p| (p[0] as f64 - x).hypot(p[1] as f64 - y) < 7.0).count();
    let low = near(left as f64 + 3.0, bottom as f64 - 3.0);
    let middle = near(centre(left, right), centre(top, bottom));
    let high = near(right as f64 - 3.0, top as f64 + 3.0);
    // A disc of 8 has 50 pixels, of which its soft edge, wherever it falls between pixels, takes fewer than half.
    assert!([low, middle, high].iter().all(|dot| (26..=52).contains(dot)), "{low}, {middle} and {high} pixels");
    assert_eq!(blue.len(), low + middle + high, "one at either end, and a hundredfold from both is the middle");
    let line = span(orange.iter().map(|p| p[0]));
    assert!(line.0.abs_diff(left + 3) <= 2 && line.1.abs_diff(right - 3) <= 2, "{line:?} between {left} and {right}");
    assert!(orange.iter().all(|p| (p[1] as f64 - centre(top, bottom)).abs() <= 2.0));
    // 1e-3 is a quarter of the way up from 1e-4 to 1; its dashes are half of the frame, which is wider than the dots.
    let row = bottom as f64 - 3.0 - 0.25 * (bottom - top - 6) as f64;
    // A soft edge may take a tenth of its ink, grey 89. Left of the frame, at 102, the axis has its numbers.
    let grey: Vec<[usize; 2]> = (88..=110).flat_map(|v| places(width, &pixels, [v; 3])).collect();
    let level: std::collections::BTreeSet<usize> =
        grey.iter().filter(|p| p[0] > 104 && (p[1] as f64 - row).abs() <= 1.5).map(|p| p[0]).collect();
    let (from, to) = span(level.iter().copied());
    assert!(from < left && to > right && level.len() > (to - from) / 3, "{} from {from} to {to}", level.len());
}

#[test]
fn bars_are_as_long_as_their_values_and_strips_show_each_pixel() {
    let (width, pixels) = drawn(|path| bars([""; 3], 4.0, &[("a".into(), 3.0), ("a".into(), 1.0)], path));
    let blue = places(width, &pixels, BLUE);
    let (top, bottom) = span(blue.iter().map(|p| p[1]));
    let length = |row: usize| blue.iter().filter(|p| p[1] == row).count() as f64;
    // To half a pixel each.
    assert!((length(top) / length(bottom) - 3.0).abs() < 0.02, "{} and {}", length(top), length(bottom));

    let picture: Array2<f32> = array![[1.0, 0.0, 0.6, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let (width, pixels) = drawn(|path| strips(["", ""], 2, &[("", &picture)], path));
    let (black, grey) = (places(width, &pixels, [0; 3]), places(width, &pixels, [102; 3]));
    assert_eq!((black.len(), grey.len()), (32, 16), "four pixels a pixel, each way");
    // 0.6 is below the first picture's 1, and the second picture's 1 is below and right of that.
    let ([x, y], below) = (black[0], grey[0]);
    assert_eq!(below, [x, y + 4]);
    assert_eq!(black[16..].iter().map(|p| p[1]).min(), Some(y + 4));
    assert!(black[16..].iter().all(|p| p[0] > x + 8));
}
