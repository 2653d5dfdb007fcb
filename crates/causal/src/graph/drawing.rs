//! Graphs as self-contained SVG, for reports: nodes on a circle, marks at both ends of every edge.

use super::mixed::{Mark, MixedGraph};
use std::f64::consts::TAU;
use std::fmt::Write;

/// Half of the height of a node's box, in pixels.
const HALF_HEIGHT: f64 = 13.0;

impl MixedGraph {
    /// The graph as an SVG image: arrowheads, circles and tails as in the text form. Nodes stand on a circle in their
    /// order, so that two graphs over the same variables can be compared at a glance.
    pub fn to_svg(&self) -> String {
        let p = self.len().max(1);
        let widths: Vec<f64> = self.names().map(|n| 14.0 + 7.5 * n.chars().count() as f64).collect();
        let widest = widths.iter().copied().fold(40.0, f64::max);
        let radius = (p as f64 * (widest + 12.0) / TAU).max(80.0);
        let size = 2.0 * radius + widest + 20.0;
        let place = |v: usize| {
            let angle = TAU * v as f64 / p as f64 - TAU / 4.0;
            (size / 2.0 + radius * angle.cos(), size / 2.0 + radius * angle.sin())
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size:.0} {size:.0}\" width=\"{size:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\" stroke=\"black\" fill=\"none\">\n"
        );
        for (a, at_a, at_b, b) in self.edges() {
            let (from, to) = (place(a), place(b));
            let (start, end) = (border(from, to, widths[a]), border(to, from, widths[b]));
            let _ = writeln!(svg, "{}", line(start, end));
            svg.push_str(&end_mark(at_a, start, end));
            svg.push_str(&end_mark(at_b, end, start));
        }
        for (v, name) in self.names().enumerate() {
            let (x, y) = place(v);
            let (left, top, width, height) =
                (x - widths[v] / 2.0, y - HALF_HEIGHT, widths[v], 2.0 * HALF_HEIGHT);
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"6\" fill=\"white\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" stroke=\"none\" fill=\"black\">{}</text>",
                y + 4.0,
                escaped(name)
            );
        }
        svg + "</svg>\n"
    }
}

/// Where the line from the centre of a box towards `to` leaves the box.
fn border(centre: (f64, f64), to: (f64, f64), width: f64) -> (f64, f64) {
    let (dx, dy) = (to.0 - centre.0, to.1 - centre.1);
    let scale = (width / 2.0 / dx.abs().max(1e-9)).min(HALF_HEIGHT / dy.abs().max(1e-9));
    (centre.0 + scale * dx, centre.1 + scale * dy)
}

fn line(from: (f64, f64), to: (f64, f64)) -> String {
    format!("<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>", from.0, from.1, to.0, to.1)
}

/// The mark at `end` of an edge that comes from `other`.
fn end_mark(mark: Mark, end: (f64, f64), other: (f64, f64)) -> String {
    let length = (end.0 - other.0).hypot(end.1 - other.1).max(1e-9);
    let (ux, uy) = ((end.0 - other.0) / length, (end.1 - other.1) / length);
    match mark {
        Mark::Tail => String::new(),
        Mark::Circle => {
            let (x, y) = (end.0 - 4.0 * ux, end.1 - 4.0 * uy);
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"white\"/>\n")
        }
        Mark::Arrow => {
            let corner = |side: f64| (end.0 - 9.0 * ux - side * 4.0 * uy, end.1 - 9.0 * uy + side * 4.0 * ux);
            let (left, right) = (corner(1.0), corner(-1.0));
            format!(
                "<polygon points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"black\"/>\n",
                end.0, end.1, left.0, left.1, right.0, right.1
            )
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_edge_and_mark_is_drawn() {
        let mut graph = MixedGraph::new(["a<b", "c", "d"].map(String::from).to_vec()).unwrap();
        graph.orient(0, 1).unwrap();
        graph.set_edge(1, Mark::Circle, Mark::Arrow, 2).unwrap();
        let svg = graph.to_svg();
        let count = |what: &str| svg.matches(what).count();
        assert_eq!((count("<rect"), count("<line"), count("<polygon"), count("<circle")), (3, 2, 2, 1));
        assert!(svg.contains("a&lt;b"));
    }
}
