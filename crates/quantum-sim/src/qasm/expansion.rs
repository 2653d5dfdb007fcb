//! From calls to gates: broadcasting over registers, modifiers, definitions.

use super::expression::{Affine, evaluate};
use super::gates::{Primitive, primitive};
use super::parser::{Call, Definition, MAX_NESTING, Modifier, Operand, Parser};
use crate::error::{Error, Result};
use crate::gate::Gate;
use std::collections::HashMap;

impl Parser<'_> {
    /// Applies a call to registers element by element.
    pub(super) fn broadcast(&mut self, call: &Call, condition: Option<(usize, usize, u64)>) -> Result<()> {
        let operands = call.operands.iter().map(|o| self.qubits_of(o)).collect::<Result<Vec<_>>>()?;
        let single = |o: &Operand| o.index.is_some();
        let mut length = None;
        for (operand, qubits) in call.operands.iter().zip(&operands) {
            if !single(operand) && qubits.len() > 1 {
                if length.is_some_and(|l| l != qubits.len()) {
                    return self.error("registers of different lengths cannot be combined");
                }
                length = Some(qubits.len());
            }
        }
        let arguments = call.arguments.iter().map(|e| self.value(e)).collect::<Result<Vec<Affine>>>()?;
        for k in 0..length.unwrap_or(1) {
            let qubits: Vec<usize> =
                operands.iter().map(|list| if list.len() == 1 { list[0] } else { list[k] }).collect();
            let mut primitives = vec![];
            self.expand(call, &arguments, &qubits, 0, &mut primitives)?;
            for Primitive { gate, targets, controls } in primitives {
                self.apply(|circuit| match condition {
                    None => circuit.push(gate, &targets, &controls).map(|_| ()),
                    Some(when) => circuit.push_if(when, gate, &targets, &controls).map(|_| ()),
                })?;
            }
        }
        Ok(())
    }

    /// A call as primitive gates.
    fn expand(
        &mut self,
        call: &Call,
        arguments: &[Affine],
        qubits: &[usize],
        depth: usize,
        out: &mut Vec<Primitive>,
    ) -> Result<()> {
        let fail = |message: String| Error::Parse { line: call.line, column: call.column, message };
        if depth > MAX_NESTING {
            return Err(fail("gate definitions are nested too deeply".into()));
        }
        let (mut controls, mut negative, mut rest) = (vec![], vec![], qubits);
        let mut inner: Vec<&Modifier> = vec![];
        for modifier in &call.modifiers {
            match modifier {
                Modifier::Control { count, positive } => {
                    if *count > rest.len() {
                        return Err(fail(format!("`{}` has too few qubits for its controls", call.name)));
                    }
                    let (taken, left) = rest.split_at(*count);
                    controls.extend_from_slice(taken);
                    if !positive {
                        negative.extend_from_slice(taken);
                    }
                    rest = left;
                }
                other => inner.push(other),
            }
        }
        let mut body = vec![];
        match self.gates.get(&call.name).cloned() {
            Some(definition) => {
                self.expand_definition(&definition, call, arguments, rest, depth, &mut body)?
            }
            None => body.extend(primitive(&call.name, arguments, rest).map_err(fail)?),
        }
        for modifier in inner.into_iter().rev() {
            let repeats = match modifier {
                Modifier::Power(k) => *k,
                _ => -1,
            };
            if repeats < 0 {
                body.reverse();
                body.iter_mut().for_each(|p| p.gate = p.gate.inverse());
            }
            let once = std::mem::take(&mut body);
            let repeats = repeats.unsigned_abs() as usize;
            self.spend(once.len().saturating_mul(repeats.max(1)))?;
            (0..repeats).for_each(|_| body.extend_from_slice(&once));
        }
        self.spend(body.len() + 1)?;
        let flips = negative.iter().map(|&q| Primitive { gate: Gate::X, targets: vec![q], controls: vec![] });
        out.extend(flips.clone());
        for mut p in body {
            p.controls.extend_from_slice(&controls);
            out.push(p);
        }
        out.extend(flips);
        Ok(())
    }

    fn expand_definition(
        &mut self,
        definition: &Definition,
        call: &Call,
        arguments: &[Affine],
        qubits: &[usize],
        depth: usize,
        out: &mut Vec<Primitive>,
    ) -> Result<()> {
        let fail = |message: String| Error::Parse { line: call.line, column: call.column, message };
        if arguments.len() != definition.arguments.len() || qubits.len() != definition.qubits.len() {
            let (a, q) = (definition.arguments.len(), definition.qubits.len());
            return Err(fail(format!("gate `{}` takes {a} arguments and {q} qubits", call.name)));
        }
        let names: HashMap<String, Affine> =
            definition.arguments.iter().cloned().zip(arguments.iter().copied()).collect();
        let places: HashMap<&str, usize> =
            definition.qubits.iter().map(String::as_str).zip(qubits.iter().copied()).collect();
        for inner in &definition.body {
            let values = inner.arguments.iter().map(|e| evaluate(e, &names)).collect::<Result<Vec<_>, _>>();
            let values = values.map_err(fail)?;
            let targets: Vec<usize> =
                inner.operands.iter().filter_map(|o| places.get(o.name.as_str()).copied()).collect();
            self.expand(inner, &values, &targets, depth + 1, out)?;
        }
        Ok(())
    }
}
