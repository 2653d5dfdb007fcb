//! A figure as data: what exercises hand in, plots draw and the report shows.

use serde::{Deserialize, Serialize};

/// Lines over a common x axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// File name and identity over seeds: letters, digits and dashes.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
}

/// One line of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Ascending positions; a line that goes back is a path in the plane, and the first seed's is shown.
    pub x: Vec<f64>,
    /// Values, as many as positions.
    pub y: Vec<f64>,
}
