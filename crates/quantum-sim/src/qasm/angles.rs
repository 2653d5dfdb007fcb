//! Parsing of angles: precedence climbing with bounded nesting.

use super::expression::Expression;
use super::lexer::Kind;
use super::parser::{MAX_NESTING, Parser};
use crate::error::Result;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expression> {
        self.binary(0)
    }

    /// Precedence climbing: + −, then * /, then unary minus, then ^ (to the right).
    fn binary(&mut self, level: usize) -> Result<Expression> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return self.error("this expression is nested too deeply");
        }
        let operators: &[(&str, char)] = match level {
            0 => &[("+", '+'), ("-", '-')],
            1 => &[("*", '*'), ("/", '/')],
            _ => &[],
        };
        let mut left = if level < 2 { self.binary(level + 1)? } else { self.unary()? };
        let mut terms = 0;
        while let Some(&(symbol, operator)) = operators.iter().find(|(s, _)| self.is_symbol(s)) {
            self.accept(symbol);
            let right = self.binary(level + 1)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
            terms += 1;
            if terms > MAX_NESTING {
                return self.error("this expression has too many terms");
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression> {
        if self.accept("-") {
            self.depth += 1;
            if self.depth > MAX_NESTING {
                return self.error("this expression is nested too deeply");
            }
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expression::Minus(Box::new(inner)));
        }
        self.accept("+");
        let base = self.atom()?;
        if self.accept("^") || self.accept("**") {
            let exponent = self.binary(2)?;
            return Ok(Expression::Binary('^', Box::new(base), Box::new(exponent)));
        }
        Ok(base)
    }

    fn atom(&mut self) -> Result<Expression> {
        match self.peek().clone() {
            Kind::Integer(value) => {
                self.at += 1;
                Ok(Expression::Number(value as f64))
            }
            Kind::Real(value) => {
                self.at += 1;
                Ok(Expression::Number(value))
            }
            Kind::Symbol("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Word(name) => {
                self.at += 1;
                if !self.accept("(") {
                    return Ok(Expression::Name(name));
                }
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(Expression::Call(name, Box::new(inner)))
            }
            _ => self.error("expected a number here"),
        }
    }
}
