//! Perfect independence information: separation in a known graph, for theory and for tests of discovery.

use super::{IndependenceTest, TestResult};
use crate::error::Result;
use crate::graph::{DirectedMixed, d_connected, node_set};

/// Answers by separation among the `observed` nodes of a graph: p = 1 when separated, 0 when not.
pub struct SeparationOracle<'a, G> {
    graph: &'a G,
    observed: Vec<usize>,
}

impl<'a, G: DirectedMixed> SeparationOracle<'a, G> {
    /// Variable `i` of the test is node `observed[i]` of the graph.
    ///
    /// # Errors
    /// [`Error::Node`](crate::Error::Node) for an index out of range.
    pub fn new(graph: &'a G, observed: &[usize]) -> Result<Self> {
        node_set("SeparationOracle::new", graph.node_count(), observed)?;
        Ok(Self { graph, observed: observed.to_vec() })
    }
}

impl<G: DirectedMixed + Sync> IndependenceTest for SeparationOracle<'_, G> {
    type Scratch = Vec<usize>;

    fn variables(&self) -> usize {
        self.observed.len()
    }

    fn scratch(&self) -> Vec<usize> {
        Vec::new()
    }

    fn test(&self, x: usize, y: usize, z: &[usize], given: &mut Vec<usize>) -> Result<TestResult> {
        given.clear();
        given.extend(z.iter().map(|&v| self.observed[v]));
        let separated = !d_connected(self.graph, &[self.observed[x]], given).contains(self.observed[y]);
        Ok(TestResult { statistic: 0.0, p_value: f64::from(u8::from(separated)), degrees_of_freedom: 0.0 })
    }
}
