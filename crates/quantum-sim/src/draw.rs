//! Circuits drawn as text and as SVG, outcome histograms as SVG.
//!
//! Instructions are placed in the earliest column in which their qubits, and all between them, are free.

use crate::circuit::{Circuit, Instruction, Operation};
use crate::gate::{Angle, Gate, Pauli};
use crate::state_vector::bit_string;
use std::fmt::Write;

/// What stands on a qubit in a column.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    /// The wire goes on.
    Wire,
    /// A line between two symbols crosses the wire.
    Crossing,
    Control,
    /// ⊕ of a controlled X.
    Plus,
    Cross,
    Barrier,
    Box(String),
}

/// Columns of one cell per qubit, with the vertical line's extent.
struct Column {
    cells: Vec<Cell>,
    lines: Vec<(usize, usize)>,
}

fn number(value: f64) -> String {
    let over_pi = value / std::f64::consts::PI;
    for denominator in [1.0, 2.0, 3.0, 4.0, 6.0, 8.0] {
        let numerator = over_pi * denominator;
        if value != 0.0 && (numerator - numerator.round()).abs() < 1e-9 && numerator.abs() < 17.0 {
            let (sign, size) = (if numerator < 0.0 { "-" } else { "" }, numerator.abs().round());
            let top = if size == 1.0 { String::new() } else { size.to_string() };
            let bottom = if denominator == 1.0 { String::new() } else { format!("/{denominator}") };
            return format!("{sign}{top}π{bottom}");
        }
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn angle(circuit: &Circuit, a: Angle) -> String {
    let name = |k: usize| circuit.parameter_names()[k].clone();
    let factor = |s: f64| if s == 1.0 { String::new() } else { format!("{}·", number(s)) };
    match a {
        Angle::Fixed(value) => number(value),
        Angle::Parameter { index, scale, offset } => {
            let shift = if offset == 0.0 { String::new() } else { format!("+{}", number(offset)) };
            format!("{}{}{shift}", factor(scale), name(index))
        }
        Angle::Input { index, weight, scale, .. } => {
            let weight = weight.map_or(String::new(), |w| format!("{}·", name(w)));
            format!("{}a({weight}x{index})", factor(scale))
        }
    }
}

fn label(circuit: &Circuit, gate: &Gate) -> String {
    let name = match gate {
        Gate::Phase(_) => "P".to_string(),
        Gate::U(..) => "U".into(),
        Gate::Unitary1(_) | Gate::Unitary2(_) => "U".into(),
        Gate::PauliRotation(paulis, _) => {
            format!("R{}", paulis.iter().map(|p| format!("{p:?}")).collect::<String>())
        }
        other => other.name().to_uppercase(),
    };
    let angles: Vec<String> = gate.angles().into_iter().map(|a| angle(circuit, a)).collect();
    if angles.is_empty() { name } else { format!("{name}({})", angles.join(",")) }
}

fn place_operation(circuit: &Circuit, operation: &Operation, prefix: &str) -> Vec<(usize, Cell)> {
    let Operation { gate, targets, controls } = operation;
    let mut cells: Vec<(usize, Cell)> = controls.iter().map(|&q| (q, Cell::Control)).collect();
    match gate {
        Gate::X if !controls.is_empty() && prefix.is_empty() => {
            cells.extend(targets.iter().map(|&q| (q, Cell::Plus)))
        }
        Gate::Z if !controls.is_empty() && prefix.is_empty() => {
            cells.extend(targets.iter().map(|&q| (q, Cell::Control)))
        }
        Gate::Swap if prefix.is_empty() => cells.extend(targets.iter().map(|&q| (q, Cell::Cross))),
        Gate::PauliRotation(paulis, a) if paulis.len() > 1 => {
            let letter = |p: &Pauli| format!("{prefix}{p:?}({})", angle(circuit, *a));
            cells.extend(targets.iter().zip(paulis).map(|(&q, p)| (q, Cell::Box(letter(p)))));
        }
        gate => {
            let text = format!("{prefix}{}", label(circuit, gate));
            cells.extend(targets.iter().map(|&q| (q, Cell::Box(text.clone()))));
        }
    }
    cells
}

fn columns(circuit: &Circuit) -> Vec<Column> {
    let n = circuit.qubits();
    let mut free = vec![0; n];
    let mut columns: Vec<Column> = vec![];
    for instruction in circuit.instructions() {
        let cells = match instruction {
            Instruction::Gate(operation) => place_operation(circuit, operation, ""),
            Instruction::If { first, length, value, then } => {
                place_operation(circuit, then, &format!("c[{first}+{length}]={value}? "))
            }
            Instruction::Measure { qubit, bit } => vec![(*qubit, Cell::Box(format!("M→c{bit}")))],
            Instruction::Reset(qubit) => vec![(*qubit, Cell::Box("|0⟩".into()))],
            Instruction::Barrier(qubits) => qubits.iter().map(|&q| (q, Cell::Barrier)).collect(),
            Instruction::Noise { qubits, .. } => {
                qubits.iter().map(|&q| (q, Cell::Box("noise".into()))).collect()
            }
        };
        let Some(low) = cells.iter().map(|(q, _)| *q).min() else { continue };
        let high = cells.iter().map(|(q, _)| *q).max().unwrap_or(low);
        let at = free[low..=high].iter().copied().max().unwrap_or(0);
        while columns.len() <= at {
            columns.push(Column { cells: vec![Cell::Wire; n], lines: vec![] });
        }
        let barrier = matches!(instruction, Instruction::Barrier(_));
        for q in low..=high {
            free[q] = at + 1;
            if !barrier {
                columns[at].cells[q] = Cell::Crossing;
            }
        }
        for (q, cell) in cells {
            columns[at].cells[q] = cell;
        }
        if high > low && !barrier {
            columns[at].lines.push((low, high));
        }
    }
    columns
}

/// The circuit as text, one wire per line, in characters of the box-drawing set.
///
/// ```
/// # fn main() -> quantum_sim::Result<()> {
/// let mut circuit = quantum_sim::Circuit::new(2)?;
/// circuit.h(0)?.cx(0, 1)?;
/// assert_eq!(quantum_sim::draw::text(&circuit), "q0: ─H─●─\n       │\nq1: ───⊕─\n");
/// # Ok(()) }
/// ```
pub fn text(circuit: &Circuit) -> String {
    let n = circuit.qubits();
    let columns = columns(circuit);
    let margin = format!("q{}: ", n - 1).len();
    let mut wires: Vec<String> = (0..n).map(|q| format!("{:<margin$}─", format!("q{q}:"))).collect();
    let mut gaps: Vec<String> = vec![" ".repeat(margin + 1); n];
    for column in &columns {
        let symbol = |cell: &Cell| match cell {
            Cell::Wire => "─".to_string(),
            Cell::Crossing => "┼".into(),
            Cell::Control => "●".into(),
            Cell::Plus => "⊕".into(),
            Cell::Cross => "×".into(),
            Cell::Barrier => "░".into(),
            Cell::Box(text) => text.clone(),
        };
        let width = column.cells.iter().map(|c| symbol(c).chars().count()).max().unwrap_or(1);
        for q in 0..n {
            let symbol = symbol(&column.cells[q]);
            let rest = width - symbol.chars().count();
            let (left, right) = (rest / 2, rest - rest / 2);
            wires[q] += &format!("{}{symbol}{}─", "─".repeat(left), "─".repeat(right));
            let joined = column.lines.iter().any(|(low, high)| (*low..*high).contains(&q));
            let middle = (width - 1) / 2;
            gaps[q] += &format!(
                "{}{}{}",
                " ".repeat(middle),
                if joined { "│" } else { " " },
                " ".repeat(width - middle)
            );
        }
    }
    let mut out = String::new();
    for q in 0..n {
        out += wires[q].trim_end();
        out.push('\n');
        if q + 1 < n {
            out += gaps[q].trim_end();
            out.push('\n');
        }
    }
    out
}

/// The circuit as a self-contained SVG document.
pub fn svg(circuit: &Circuit) -> String {
    let n = circuit.qubits();
    let columns = columns(circuit);
    let width_of = |column: &Column| -> usize {
        let length = |cell: &Cell| if let Cell::Box(text) = cell { text.chars().count() } else { 1 };
        column.cells.iter().map(length).max().unwrap_or(1) * 8 + 20
    };
    let total: usize = 60 + columns.iter().map(|c| width_of(c) + 10).sum::<usize>();
    let y = |q: usize| 30 + 44 * q;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"{}\" font-family=\"monospace\" \
         font-size=\"13\" text-anchor=\"middle\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        44 * n + 16
    );
    // Writing to a String cannot fail.
    for q in 0..n {
        let y = y(q);
        _ = writeln!(out, "<text x=\"22\" y=\"{}\">q{q}</text>", y + 4);
        _ = writeln!(out, "<path d=\"M40 {y}H{}\" stroke=\"black\"/>", total - 10);
    }
    let mut x = 50;
    for column in &columns {
        let width = width_of(column);
        let middle = x + width / 2;
        for (low, high) in &column.lines {
            _ = writeln!(out, "<path d=\"M{middle} {}V{}\" stroke=\"black\"/>", y(*low), y(*high));
        }
        for (q, cell) in column.cells.iter().enumerate() {
            symbol_svg(&mut out, cell, (middle, y(q)), width);
        }
        x += width + 10;
    }
    out + "</svg>\n"
}

fn symbol_svg(out: &mut String, cell: &Cell, (x, y): (usize, usize), width: usize) {
    match cell {
        Cell::Wire | Cell::Crossing => {}
        Cell::Control => _ = writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\"/>"),
        Cell::Plus => {
            _ = writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"9\" fill=\"none\" stroke=\"black\"/>");
            _ = writeln!(
                out,
                "<path d=\"M{x} {}V{}M{} {y}H{}\" stroke=\"black\"/>",
                y - 9,
                y + 9,
                x - 9,
                x + 9
            );
        }
        Cell::Cross => {
            let (l, r, t, b) = (x - 6, x + 6, y - 6, y + 6);
            _ = writeln!(out, "<path d=\"M{l} {t}L{r} {b}M{l} {b}L{r} {t}\" stroke=\"black\"/>");
        }
        Cell::Barrier => {
            _ = writeln!(
                out,
                "<path d=\"M{x} {}V{}\" stroke=\"gray\" stroke-dasharray=\"4\"/>",
                y - 20,
                y + 20
            );
        }
        Cell::Box(text) => {
            let (left, top) = (x - width / 2, y - 14);
            _ = writeln!(
                out,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"28\" fill=\"#eef3fb\" stroke=\"black\"/>"
            );
            _ = writeln!(out, "<text x=\"{x}\" y=\"{}\">{}</text>", y + 4, escaped(text));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A bar chart of outcome probabilities, the `most` largest in the order of their outcomes.
pub fn histogram_svg(probabilities: &[f64], qubits: usize, most: usize) -> String {
    let mut bars: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
    bars.sort_by(|a, b| b.1.total_cmp(&a.1));
    bars.truncate(most);
    bars.sort_by_key(|(k, _)| *k);
    let top = bars.iter().map(|(_, p)| *p).fold(1e-12, f64::max);
    let step = 16 + 8 * qubits;
    let (width, height) = (40 + step * bars.len(), 200);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"11\" text-anchor=\"middle\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (slot, (k, p)) in bars.iter().enumerate() {
        let (x, h) = (20 + step * slot + step / 2, 140.0 * p / top);
        let y = 170.0 - h;
        _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{y:.1}\" width=\"{}\" height=\"{h:.1}\" fill=\"#4a78b5\"/>",
            x - step / 3,
            2 * step / 3
        );
        _ = writeln!(out, "<text x=\"{x}\" y=\"{:.1}\">{p:.3}</text>", y - 4.0);
        _ = writeln!(out, "<text x=\"{x}\" y=\"186\">{}</text>", bit_string(*k, qubits));
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn a_circuit_of_every_kind_is_drawn() {
        let mut c = Circuit::new(3).unwrap();
        let theta = c.parameter("theta");
        c.add_bits(1).unwrap();
        c.rx(0, theta * 0.5)
            .unwrap()
            .swap(0, 2)
            .unwrap()
            .rzz(0, 1, PI / 4.0)
            .unwrap()
            .barrier(&[0, 1, 2])
            .unwrap();
        c.ccx(0, 1, 2).unwrap().measure(1, 0).unwrap().reset(0).unwrap();
        c.push_if((0, 1, 1), Gate::X, &[2], &[]).unwrap();
        let text = text(&c);
        for piece in ["RX(0.5·theta)", "×", "┼", "Z(π/4)", "░", "●", "⊕", "M→c0", "|0⟩", "c[0+1]=1? X"]
        {
            assert!(text.contains(piece), "{piece} in\n{text}");
        }
        assert_eq!(text.lines().count(), 5);
        let svg = svg(&c);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("RX(0.5·theta)"));
        let bars = histogram_svg(&[0.25, 0.0, 0.5, 0.25], 2, 3);
        assert!(bars.contains(">10<") && !bars.contains(">01<"));
    }
}
