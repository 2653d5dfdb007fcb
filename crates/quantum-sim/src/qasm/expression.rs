//! Angles: arithmetic over numbers, gate arguments and at most one named parameter, which stays affine.

use crate::gate::{Angle, Parameter};
use std::collections::HashMap;

/// scale · p + offset, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) offset: f64,
    pub(super) parameter: Option<(Parameter, f64)>,
}

impl Affine {
    pub(super) fn number(offset: f64) -> Self {
        Self { offset, parameter: None }
    }

    pub(super) fn angle(self) -> Angle {
        match self.parameter {
            None => Angle::Fixed(self.offset),
            Some((Parameter(index), scale)) => Angle::Parameter { index, scale, offset: self.offset },
        }
    }

    fn constant(self, operation: &str) -> Result<f64, String> {
        match self.parameter {
            None => Ok(self.offset),
            Some(_) => Err(format!("`{operation}` of an input parameter is not affine")),
        }
    }

    fn add(self, other: Self) -> Result<Self, String> {
        let offset = self.offset + other.offset;
        let parameter = match (self.parameter, other.parameter) {
            (Some((p, a)), Some((q, b))) if p == q => Some((p, a + b)),
            (Some(_), Some(_)) => return Err("an angle can depend on one input parameter only".into()),
            (one, other) => one.or(other),
        };
        Ok(Self { offset, parameter })
    }

    fn times(self, factor: f64) -> Self {
        Self { offset: self.offset * factor, parameter: self.parameter.map(|(p, s)| (p, s * factor)) }
    }
}

/// An expression as written.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Number(f64),
    Name(String),
    Minus(Box<Expression>),
    Binary(char, Box<Expression>, Box<Expression>),
    Call(String, Box<Expression>),
}

/// Evaluates with gate arguments and named parameters.
pub(super) fn evaluate(e: &Expression, names: &HashMap<String, Affine>) -> Result<Affine, String> {
    let value = match e {
        Expression::Number(value) => Affine::number(*value),
        Expression::Name(name) => match (names.get(name), name.as_str()) {
            (Some(value), _) => *value,
            (None, "pi" | "π") => Affine::number(std::f64::consts::PI),
            (None, "tau" | "τ") => Affine::number(std::f64::consts::TAU),
            (None, "euler" | "ℇ") => Affine::number(std::f64::consts::E),
            _ => return Err(format!("`{name}` is not a known number or parameter")),
        },
        Expression::Minus(inner) => evaluate(inner, names)?.times(-1.0),
        Expression::Binary(operator, left, right) => {
            let (a, b) = (evaluate(left, names)?, evaluate(right, names)?);
            match operator {
                '+' => a.add(b)?,
                '-' => a.add(b.times(-1.0))?,
                '*' if a.parameter.is_none() => b.times(a.offset),
                '*' => a.times(b.constant("*")?),
                '/' => match b.constant("/")? {
                    0.0 => return Err("division by zero".into()),
                    divisor => Affine {
                        offset: a.offset / divisor,
                        parameter: a.parameter.map(|(p, s)| (p, s / divisor)),
                    },
                },
                _ => Affine::number(a.constant("^")?.powf(b.constant("^")?)),
            }
        }
        Expression::Call(name, inner) => {
            let x = evaluate(inner, names)?.constant(name)?;
            Affine::number(match name.as_str() {
                "sin" => x.sin(),
                "cos" => x.cos(),
                "tan" => x.tan(),
                "exp" => x.exp(),
                "ln" | "log" => x.ln(),
                "sqrt" => x.sqrt(),
                "arcsin" => x.asin(),
                "arccos" => x.acos(),
                "arctan" => x.atan(),
                _ => return Err(format!("`{name}` is not a known function")),
            })
        }
    };
    let finite = value.offset.is_finite() && value.parameter.is_none_or(|(_, s)| s.is_finite());
    if finite { Ok(value) } else { Err("this expression is not a finite number".into()) }
}
