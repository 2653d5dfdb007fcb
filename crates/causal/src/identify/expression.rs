//! Formulas over the observed distribution: what identification returns, to print and to evaluate.

use crate::error::{Error, Result};
use crate::graph::Admg;
use std::collections::BTreeSet;
use std::fmt;

/// A formula over an observed joint distribution. Variables that are not summed out are free: the treatments,
/// the outcomes, and possibly variables on whose value the result does not depend.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// P(of | given).
    Probability {
        /// The variables left of the bar.
        of: BTreeSet<usize>,
        /// The variables right of the bar.
        given: BTreeSet<usize>,
    },
    /// ∏ of the factors.
    Product(Vec<Expression>),
    /// Σ over the values of some variables.
    Sum {
        /// The variables summed out.
        over: BTreeSet<usize>,
        /// What is summed.
        of: Box<Expression>,
    },
    /// A ratio of two expressions.
    Quotient(Box<Expression>, Box<Expression>),
}

impl Expression {
    /// Σ over `over`; nothing to sum leaves the expression as it is, and sums within sums become one.
    pub(super) fn sum(over: BTreeSet<usize>, of: Expression) -> Expression {
        match of {
            of if over.is_empty() => of,
            Expression::Sum { over: inner, of } => Expression::Sum { over: &over | &inner, of },
            Expression::Probability { of, given } if over.is_subset(&of) && of != over => {
                Expression::Probability { of: &of - &over, given }
            }
            of => Expression::Sum { over, of: Box::new(of) },
        }
    }

    /// ∏ of `factors`; products within products become one.
    pub(super) fn product(factors: Vec<Expression>) -> Expression {
        let mut flat = Vec::new();
        for factor in factors {
            match factor {
                Expression::Product(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.swap_remove(0) } else { Expression::Product(flat) }
    }

    /// The formula with the graph's names.
    pub fn display<'a>(&'a self, graph: &'a Admg) -> impl fmt::Display + 'a {
        Named { expression: self, graph }
    }

    /// The value as a table over the free variables, from a joint distribution of discrete variables.
    ///
    /// A conditional probability on an event of probability zero is undefined; it does no harm where it is
    /// multiplied by zero, and shows as NaN where it is needed.
    ///
    /// # Errors
    /// [`Error::Shape`] when the joint lacks a variable of the formula.
    pub fn evaluate(&self, joint: &Factor) -> Result<Factor> {
        match self {
            Self::Probability { of, given } => {
                let both = joint.marginal(&(of | given))?;
                if given.is_empty() { Ok(both) } else { both.divide(&joint.marginal(given)?) }
            }
            Self::Product(factors) => {
                let mut product = Factor::one();
                for factor in factors {
                    product = product.multiply(&factor.evaluate(joint)?)?;
                }
                Ok(product)
            }
            Self::Sum { over, of } => {
                let inner = of.evaluate(joint)?;
                let keep: BTreeSet<usize> =
                    inner.variables.iter().copied().filter(|v| !over.contains(v)).collect();
                inner.marginal(&keep)
            }
            Self::Quotient(top, bottom) => top.evaluate(joint)?.divide(&bottom.evaluate(joint)?),
        }
    }
}

struct Named<'a> {
    expression: &'a Expression,
    graph: &'a Admg,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |set: &BTreeSet<usize>| set.iter().map(|&v| self.graph.name(v)).collect::<Vec<_>>().join(", ");
        let inner = |expression| Named { expression, graph: self.graph };
        match self.expression {
            Expression::Probability { of, given } if given.is_empty() => write!(f, "P({})", names(of)),
            Expression::Probability { of, given } => write!(f, "P({} | {})", names(of), names(given)),
            Expression::Product(factors) if factors.is_empty() => write!(f, "1"),
            Expression::Product(factors) => {
                for (i, factor) in factors.iter().enumerate() {
                    let space = if i > 0 { " " } else { "" };
                    match factor {
                        Expression::Sum { .. } => write!(f, "{space}[{}]", inner(factor))?,
                        _ => write!(f, "{space}{}", inner(factor))?,
                    }
                }
                Ok(())
            }
            Expression::Sum { over, of } => write!(f, "Σ_{{{}}} {}", names(over), inner(of)),
            Expression::Quotient(top, bottom) => write!(f, "({}) / ({})", inner(top), inner(bottom)),
        }
    }
}

/// A non-negative table over discrete variables, row-major with the last variable fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    variables: Vec<usize>,
    cardinalities: Vec<usize>,
    values: Vec<f64>,
}

impl Factor {
    /// A table over `variables` (ascending) with the given numbers of states.
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes disagree or the variables are not ascending.
    pub fn new(variables: Vec<usize>, cardinalities: Vec<usize>, values: Vec<f64>) -> Result<Self> {
        let size: usize = cardinalities.iter().product();
        if variables.len() != cardinalities.len() || values.len() != size {
            let got = format!("{} variables, {} values", variables.len(), values.len());
            return Err(Error::shape(
                "Factor::new",
                format!("{} variables, {size} values", cardinalities.len()),
                got,
            ));
        }
        if !variables.is_sorted_by(|a, b| a < b) {
            return Err(Error::shape("Factor::new", "ascending variables", format!("{variables:?}")));
        }
        Ok(Self { variables, cardinalities, values })
    }

    /// The table without variables whose only value is 1.
    pub fn one() -> Self {
        Self { variables: Vec::new(), cardinalities: Vec::new(), values: vec![1.0] }
    }

    /// The variables, ascending.
    pub fn variables(&self) -> &[usize] {
        &self.variables
    }

    /// Number of states of each variable.
    pub fn cardinalities(&self) -> &[usize] {
        &self.cardinalities
    }

    /// The values, last variable fastest.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The value at an assignment of `(variable, state)` pairs; variables that are not mentioned are 0.
    ///
    /// # Errors
    /// [`Error::Shape`] for a state that the variable does not have.
    pub fn at(&self, assignment: &[(usize, usize)]) -> Result<f64> {
        let mut index = 0;
        for (&variable, &cardinality) in self.variables.iter().zip(&self.cardinalities) {
            let state = assignment.iter().find(|a| a.0 == variable).map_or(0, |a| a.1);
            if state >= cardinality {
                return Err(Error::shape("Factor::at", format!("a state below {cardinality}"), state));
            }
            index = index * cardinality + state;
        }
        Ok(self.values[index])
    }

    /// Sums out every variable outside `keep`.
    ///
    /// # Errors
    /// [`Error::Shape`] when a variable of `keep` is missing.
    pub fn marginal(&self, keep: &BTreeSet<usize>) -> Result<Self> {
        if let Some(missing) = keep.iter().find(|v| !self.variables.contains(v)) {
            return Err(Error::shape(
                "Factor::marginal",
                format!("variable {missing}"),
                format!("{:?}", self.variables),
            ));
        }
        let kept: Vec<usize> =
            (0..self.variables.len()).filter(|&i| keep.contains(&self.variables[i])).collect();
        let mut result = Self {
            variables: kept.iter().map(|&i| self.variables[i]).collect(),
            cardinalities: kept.iter().map(|&i| self.cardinalities[i]).collect(),
            values: Vec::new(),
        };
        result.values = vec![0.0; result.cardinalities.iter().product()];
        let strides = strides_in(&result, &self.variables);
        walk(&self.cardinalities, &[&strides], |i, offsets| result.values[offsets[0]] += self.values[i]);
        Ok(result)
    }

    /// The same table with sum 1.
    pub(super) fn normalized(&self) -> Self {
        let total: f64 = self.values.iter().sum();
        Self { values: self.values.iter().map(|v| v / total).collect(), ..self.clone() }
    }

    pub(super) fn multiply(&self, other: &Self) -> Result<Self> {
        // 0 · undefined = 0: an event that cannot happen needs no conditional probability.
        self.combine(other, |a, b| if a == 0.0 || b == 0.0 { 0.0 } else { a * b })
    }

    fn divide(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a / b)
    }

    fn combine(&self, other: &Self, operation: impl Fn(f64, f64) -> f64) -> Result<Self> {
        let mut joined: Vec<(usize, usize)> =
            self.variables.iter().copied().zip(self.cardinalities.iter().copied()).collect();
        joined.extend(other.variables.iter().copied().zip(other.cardinalities.iter().copied()));
        joined.sort_unstable();
        joined.dedup();
        let (variables, cardinalities): (Vec<usize>, Vec<usize>) = joined.into_iter().unzip();
        let mut result =
            Self::new(variables, cardinalities.clone(), vec![0.0; cardinalities.iter().product()])?;
        let (left, right) = (strides_in(self, &result.variables), strides_in(other, &result.variables));
        walk(&cardinalities, &[&left, &right], |i, at| {
            result.values[i] = operation(self.values[at[0]], other.values[at[1]]);
        });
        Ok(result)
    }
}

/// For each of `variables`, how far one step in it moves inside `factor` (0 when the factor lacks it).
fn strides_in(factor: &Factor, variables: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; variables.len()];
    let mut step = 1;
    for (variable, cardinality) in factor.variables.iter().zip(&factor.cardinalities).rev() {
        if let Some(i) = variables.iter().position(|v| v == variable) {
            strides[i] = step;
        }
        step *= cardinality;
    }
    strides
}

/// Calls `visit(row-major index, offsets)` for every cell of a table of the given sizes.
fn walk(cardinalities: &[usize], strides: &[&Vec<usize>], mut visit: impl FnMut(usize, &[usize])) {
    let total: usize = cardinalities.iter().product();
    let mut state = vec![0; cardinalities.len()];
    let mut offsets = vec![0; strides.len()];
    for index in 0..total {
        visit(index, &offsets);
        for axis in (0..cardinalities.len()).rev() {
            state[axis] += 1;
            let wrapped = state[axis] == cardinalities[axis];
            for (offset, stride) in offsets.iter_mut().zip(strides) {
                *offset += stride[axis];
                if wrapped {
                    *offset -= stride[axis] * cardinalities[axis];
                }
            }
            if !wrapped {
                break;
            }
            state[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marginals_products_and_quotients() {
        let joint = Factor::new(vec![0, 1], vec![2, 3], vec![0.1, 0.2, 0.1, 0.3, 0.0, 0.3]).unwrap();
        let of = |v: &[usize]| v.iter().copied().collect::<BTreeSet<_>>();
        let first = joint.marginal(&of(&[0])).unwrap();
        assert!((first.values()[1] - 0.6).abs() < 1e-15);
        let conditional = Expression::Probability { of: of(&[1]), given: of(&[0]) };
        assert!((conditional.evaluate(&joint).unwrap().at(&[(0, 1), (1, 2)]).unwrap() - 0.5).abs() < 1e-15);
        let back =
            Expression::product(vec![conditional, Expression::Probability { of: of(&[0]), given: of(&[]) }]);
        for (a, b) in back.evaluate(&joint).unwrap().values().iter().zip(joint.values()) {
            assert!((a - b).abs() < 1e-15);
        }
    }
}
