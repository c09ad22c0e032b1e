//! Pictures of numbers in the terminal.

/// A bar of `share` of `width` columns, in eighths.
pub fn bar(share: f64, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * width as f64).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(PARTS[eighths % 8]);
    }
    text
}

/// A window of the plane: from (left, bottom) to (right, top).
#[derive(Clone, Copy)]
pub struct Window {
    pub x: (f64, f64),
    pub y: (f64, f64),
}

/// Points in a window, `columns` wide and `lines` high: more ink where more points fall.
pub fn cloud(points: impl IntoIterator<Item = [f64; 2]>, window: Window, columns: usize, lines: usize) -> String {
    const INK: [char; 5] = [' ', '·', '+', '*', '#'];
    let mut counts = vec![0usize; columns * lines];
    let share = |v: f64, (low, high): (f64, f64)| (v - low) / (high - low);
    for [x, y] in points {
        let (x, y) = (share(x, window.x), 1.0 - share(y, window.y));
        if (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y) {
            counts[(y * lines as f64) as usize * columns + (x * columns as f64) as usize] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let ink = |n: usize| if n == 0 { ' ' } else { INK[1 + ((n as f64 / most).sqrt() * 3.0).round() as usize] };
    lines_of(&counts.iter().map(|&n| ink(n)).collect::<Vec<_>>(), columns)
}

/// Curves of marked points: (mark, points). Later ones are drawn over earlier ones.
pub fn plot(curves: &[(char, Vec<[f64; 2]>)], window: Window, columns: usize, lines: usize) -> String {
    let mut cells = vec![' '; columns * lines];
    let place = |v: f64, (low, high): (f64, f64), n: usize| ((v - low) / (high - low) * (n - 1) as f64).round();
    for (mark, points) in curves {
        for [x, y] in points {
            let (col, row) = (place(*x, window.x, columns), (lines - 1) as f64 - place(*y, window.y, lines));
            if (0.0..columns as f64).contains(&col) && (0.0..lines as f64).contains(&row) {
                cells[row as usize * columns + col as usize] = *mark;
            }
        }
    }
    lines_of(&cells, columns)
}

/// Pictures side by side, each under its title.
pub fn beside(pictures: &[(&str, String)], width: usize) -> String {
    let lines = pictures.iter().map(|(_, p)| p.lines().count()).max().unwrap_or(0);
    let row = |cells: Vec<&str>| {
        let text: String = cells.iter().map(|c| format!("{c:<width$}  ")).collect();
        text.trim_end().to_owned() + "\n"
    };
    let mut text = row(pictures.iter().map(|(title, _)| *title).collect());
    for i in 0..lines {
        text += &row(pictures.iter().map(|(_, p)| p.lines().nth(i).unwrap_or("")).collect());
    }
    text
}

fn lines_of(cells: &[char], columns: usize) -> String {
    cells.chunks(columns).map(|line| line.iter().collect::<String>() + "\n").collect()
}
