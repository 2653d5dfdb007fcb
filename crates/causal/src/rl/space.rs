//! States made of named variables: how each is encoded and where it stands in the flat vector.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a variable is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One of k values, as a unit vector of width k.
    Categorical(usize),
    /// k real numbers of about unit scale, as they are.
    Real(usize),
}

impl Kind {
    /// Numbers it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Categorical(k) | Self::Real(k) => k,
        }
    }
}

/// A named variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its encoding.
    pub kind: Kind,
}

/// The variables of a state, encoded one after the other, and the action.
///
/// Inputs of a mechanism are numbered: the variables from 0, then the action ([`FactoredSpace::action_input`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoredSpace {
    variables: Vec<Variable>,
    action: Kind,
    offsets: Vec<usize>,
}

impl FactoredSpace {
    /// A space of these variables.
    ///
    /// # Errors
    /// [`Error::Data`] without variables, for an encoding of width 0, or two variables of one name.
    pub fn new(variables: Vec<Variable>, action: Kind) -> Result<Self> {
        if variables.is_empty() {
            return Err(Error::data("factored space", "has no variable"));
        }
        for (i, variable) in variables.iter().enumerate() {
            if variable.kind.width() == 0 {
                return Err(Error::data(format!("variable `{}`", variable.name), "has width 0"));
            }
            if variables[..i].iter().any(|v| v.name == variable.name) {
                return Err(Error::data(format!("variable `{}`", variable.name), "occurs twice"));
            }
        }
        if action.width() == 0 {
            return Err(Error::data("action", "has width 0"));
        }
        let mut offsets = vec![0];
        for variable in &variables {
            offsets.push(offsets[offsets.len() - 1] + variable.kind.width());
        }
        Ok(Self { variables, action, offsets })
    }

    /// The variables.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Whether there is none; never true.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// The action's encoding.
    pub fn action(&self) -> Kind {
        self.action
    }

    /// The number of the action among the inputs: that of variables.
    pub fn action_input(&self) -> usize {
        self.variables.len()
    }

    /// Width of an encoded state.
    pub fn width(&self) -> usize {
        self.offsets[self.variables.len()]
    }

    /// Where a variable stands in an encoded state.
    pub fn block(&self, variable: usize) -> Range<usize> {
        self.offsets[variable]..self.offsets[variable + 1]
    }

    /// The index of the variable of this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.variables.iter().position(|v| v.name == name).ok_or_else(|| Error::UnknownName {
            operation: "FactoredSpace::index_of",
            name: name.into(),
            known: self.variables.iter().map(|v| v.name.clone()).collect::<Vec<_>>().join(", "),
        })
    }
}
