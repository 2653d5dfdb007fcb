//! Aligned columns for the terminal.

/// Rows of cells under a header; columns whose cells are numbers are aligned to the right.
pub(crate) fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_number = |column: usize| rows.iter().all(|row| row[column].parse::<f64>().is_ok());
    let numeric: Vec<bool> = (0..header.len()).map(is_number).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.enumerate().map(|(i, cell)| {
            let width = widths[i];
            if numeric[i] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A number for people: four significant digits, plain where that stays short.
pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 || !x.is_finite() {
        return format!("{x}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{x:.3e}");
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    format!("{x:.decimals$}")
}

/// Seconds for people: `45 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_short() {
        let rows = [vec!["sac".into(), number(-149.96)], vec!["random".into(), number(-1200.4)]];
        let text = aligned(&["method", "mean"], &rows);
        assert_eq!(text, "method    mean\nsac     -150.0\nrandom   -1200");
        assert_eq!([number(0.0), number(0.123456), number(1e-9)], ["0", "0.1235", "1.000e-9"]);
        assert_eq!(
            [duration(3.21), duration(200.0), duration(7500.0)],
            ["3.2 s", "3 min 20 s", "2 h 05 min"]
        );
    }
}
