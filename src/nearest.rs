//! "Did you mean …?": the known name closest to a mistyped one.

use crate::Error;

/// The candidate closest to `name`, if one is close enough to be a slip of the keyboard or a shortened form.
///
/// Closeness is the edit distance (insertions, deletions, substitutions, swapped neighbours), upper and lower case
/// alike; at most one edit, and one more for every three letters. A beginning of three letters or more counts too.
/// Of equally close candidates the first wins.
///
/// ```
/// use elbo::nearest::nearest;
/// let names = ["mnist", "fashion-mnist"];
/// assert_eq!(nearest("mnsit", &names), Some("mnist"));
/// assert_eq!(nearest("fashion", &names), Some("fashion-mnist"));
/// assert_eq!(nearest("census", &names), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    // Nobody mistypes a name this long; the bound keeps the table small.
    if name.is_empty() || name.len() > 64 {
        return None;
    }
    let score = |candidate: &str| {
        let other: Vec<char> = candidate.to_lowercase().chars().collect();
        if name.len() >= 3 && other.starts_with(&name) { 1 } else { distance(&name, &other) }
    };
    let (best, edits) = candidates.iter().map(|&c| (c, score(c))).min_by_key(|&(_, edits)| edits)?;
    (edits <= 1 + name.len() / 3 && edits < name.len()).then_some(best)
}

/// The error for a name that is not among the candidates: it lists them and suggests the nearest.
/// `what` completes "unknown …", as in `data set`.
///
/// ```
/// let e = elbo::nearest::unknown("split", "tets", &["train", "test"]);
/// assert_eq!(e.to_string(), "unknown split `tets`: expected train or test\n  hint: did you mean `test`?");
/// ```
pub fn unknown(what: &str, name: &str, candidates: &[&str]) -> Error {
    let expected = match candidates {
        [] => String::from("nothing"),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    };
    let error = Error::input(format!("unknown {what} `{name}`: expected {expected}"));
    match nearest(name, candidates) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// Optimal string alignment distance, with three rows of the table.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = above.clone();
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_known_pairs() {
        let d = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("mnist", "mnsit", 1),
            ("a", "", 1),
        ] {
            assert_eq!(d(a, b), edits, "{a} {b}");
            assert_eq!(d(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn far_names_suggest_nothing() {
        assert_eq!(nearest("", &["all"]), None);
        assert_eq!(nearest("xyz", &["all", "test"]), None);
        assert_eq!(nearest(&"m".repeat(1000), &["mnist"]), None);
    }
}
