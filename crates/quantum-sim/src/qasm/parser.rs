//! The parser: tokens to a circuit, gate definitions expanded on the way.

use super::expression::{Affine, Expression, evaluate};
use super::lexer::{Kind, Token, tokens};
use crate::circuit::{Circuit, MAX_QUBITS};
use crate::error::{Error, Result};
use crate::gate::{Angle, Gate, Pauli};
use std::collections::HashMap;
use std::rc::Rc;

/// Bounds on what a text may ask for.
const MAX_INSTRUCTIONS: usize = 1 << 20;
const MAX_NESTING: usize = 64;
const MAX_POWER: i64 = 1 << 12;

/// Reads an OpenQASM program.
///
/// # Errors
/// An [`Error::Parse`] with line and column, whatever the text is.
pub fn parse(text: &str) -> Result<Circuit> {
    let tokens = tokens(text)?;
    let registers = Declared::scan(&tokens)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        begun: 0,
        depth: 0,
        circuit: registers,
        qubits: HashMap::new(),
        bits: HashMap::new(),
        names: HashMap::new(),
        gates: HashMap::new(),
        next_qubit: 0,
        next_bit: 0,
        work: 0,
    };
    parser.program()?;
    Ok(parser.circuit)
}

/// The sizes of all registers have to be known before the first gate.
struct Declared;

impl Declared {
    fn scan(tokens: &[Token]) -> Result<Circuit> {
        let (mut qubits, mut bits) = (0usize, 0usize);
        let word = |k: usize| match tokens.get(k).map(|t| &t.kind) {
            Some(Kind::Word(word)) => word.as_str(),
            _ => "",
        };
        let symbol =
            |k: usize, s: &str| matches!(tokens.get(k), Some(Token { kind: Kind::Symbol(x), .. }) if *x == s);
        let integer = |k: usize| match tokens.get(k).map(|t| &t.kind) {
            Some(Kind::Integer(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
            _ => 0,
        };
        for k in 0..tokens.len() {
            let count = match word(k) {
                "qreg" | "creg" if symbol(k + 2, "[") => integer(k + 3),
                "qubit" | "bit" if symbol(k + 1, "[") => integer(k + 2),
                "qubit" | "bit" if !word(k + 1).is_empty() => 1,
                _ => continue,
            };
            let total = if word(k).starts_with('q') { &mut qubits } else { &mut bits };
            *total = total.saturating_add(count);
            if *total > MAX_QUBITS {
                let message = format!("registers hold more than {MAX_QUBITS} qubits or bits");
                return Err(Error::Parse { line: tokens[k].line, column: tokens[k].column, message });
            }
        }
        let mut circuit = Circuit::new(qubits.max(1))?;
        circuit.add_bits(bits)?;
        Ok(circuit)
    }
}

/// A gate definition.
struct Definition {
    arguments: Vec<String>,
    qubits: Vec<String>,
    body: Vec<Call>,
}

/// A gate call as written.
#[derive(Clone)]
struct Call {
    modifiers: Vec<Modifier>,
    name: String,
    arguments: Vec<Expression>,
    operands: Vec<Operand>,
    line: usize,
    column: usize,
}

#[derive(Clone)]
enum Modifier {
    Control { count: usize, positive: bool },
    Inverse,
    Power(i64),
}

#[derive(Clone)]
struct Operand {
    name: String,
    index: Option<u64>,
}

/// A gate ready to be applied.
#[derive(Clone)]
struct Primitive {
    gate: Gate,
    targets: Vec<usize>,
    controls: Vec<usize>,
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Where the present statement begins.
    begun: usize,
    depth: usize,
    circuit: Circuit,
    qubits: HashMap<String, (usize, usize)>,
    bits: HashMap<String, (usize, usize)>,
    names: HashMap<String, Affine>,
    gates: HashMap<String, Rc<Definition>>,
    next_qubit: usize,
    next_bit: usize,
    work: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |t| &t.kind)
    }

    /// Where a mistake is: at the present token or, once a statement has been read to its semicolon, at its beginning.
    fn place(&self) -> (usize, usize) {
        let read = self.at > self.begun
            && matches!(self.tokens.get(self.at - 1), Some(Token { kind: Kind::Symbol(";"), .. }));
        let at = if read { self.begun } else { self.at };
        self.tokens.get(at).or(self.tokens.last()).map_or((1, 1), |t| (t.line, t.column))
    }

    fn error<T>(&self, message: impl ToString) -> Result<T> {
        let (line, column) = self.place();
        Err(Error::Parse { line, column, message: message.to_string() })
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(s) if *s == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(w) if w == word)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<()> {
        match self.accept(symbol) {
            true => Ok(()),
            false => self.error(format!("expected `{symbol}` here")),
        }
    }

    fn word(&mut self) -> Result<String> {
        match self.peek().clone() {
            Kind::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.error("expected a name here"),
        }
    }

    fn integer(&mut self) -> Result<u64> {
        match *self.peek() {
            Kind::Integer(value) => {
                self.at += 1;
                Ok(value)
            }
            _ => self.error("expected an integer here"),
        }
    }

    fn program(&mut self) -> Result<()> {
        if self.is_word("OPENQASM") {
            self.at += 1;
            let version = match *self.peek() {
                Kind::Real(version) => version,
                Kind::Integer(version) => version as f64,
                _ => return self.error("expected a version such as `2.0`"),
            };
            if !(2.0..4.0).contains(&version) {
                return self.error("only OpenQASM 2 and 3 are read");
            }
            self.at += 1;
            self.expect(";")?;
        }
        while *self.peek() != Kind::End {
            self.statement()?;
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<()> {
        self.begun = self.at;
        if self.accept(";") {
            return Ok(());
        }
        let Kind::Word(word) = self.peek().clone() else { return self.error("expected a statement here") };
        match word.as_str() {
            "include" => {
                self.at += 1;
                if *self.peek() != Kind::Text {
                    return self.error("expected a file name in quotation marks");
                }
                self.at += 1;
                self.expect(";")
            }
            "qreg" | "creg" => {
                self.at += 1;
                let name = self.word()?;
                self.expect("[")?;
                let size = self.integer()?;
                self.expect("]")?;
                self.declare(&name, size, word == "qreg")
            }
            "qubit" | "bit" => {
                self.at += 1;
                let mut size = 1;
                if self.accept("[") {
                    size = self.integer()?;
                    self.expect("]")?;
                }
                let name = self.word()?;
                if self.is_symbol("=") {
                    return self
                        .error("declare the bit first and assign the measurement in a second statement");
                }
                self.declare(&name, size, word == "qubit")
            }
            "input" => self.input(),
            "gate" => self.definition(),
            "opaque" => {
                while *self.peek() != Kind::End && !self.is_symbol(";") {
                    self.at += 1;
                }
                self.expect(";")
            }
            "barrier" => {
                self.at += 1;
                let mut qubits = vec![];
                if !self.is_symbol(";") {
                    for operand in self.operands()? {
                        qubits.extend(self.qubits_of(&operand)?);
                    }
                }
                self.expect(";")?;
                self.apply(|circuit| circuit.barrier(&qubits).map(|_| ()))
            }
            "reset" => {
                self.at += 1;
                let operand = self.operand()?;
                self.expect(";")?;
                for qubit in self.qubits_of(&operand)? {
                    self.apply(|circuit| circuit.reset(qubit).map(|_| ()))?;
                }
                Ok(())
            }
            "measure" => {
                self.at += 1;
                let from = self.operand()?;
                self.expect("->")?;
                let to = self.operand()?;
                self.expect(";")?;
                self.measure(&from, &to)
            }
            "if" => self.condition(),
            name if self.bits.contains_key(name) => {
                let to = self.operand()?;
                self.expect("=")?;
                if !self.is_word("measure") {
                    return self.error("only `= measure` can be assigned to bits");
                }
                self.at += 1;
                let from = self.operand()?;
                self.expect(";")?;
                self.measure(&from, &to)
            }
            _ => {
                let call = self.call()?;
                self.broadcast(&call, None)
            }
        }
    }

    fn declare(&mut self, name: &str, size: u64, quantum: bool) -> Result<()> {
        self.expect(";")?;
        if self.qubits.contains_key(name) || self.bits.contains_key(name) {
            return self.error(format!("`{name}` is declared twice"));
        }
        // The scan has bounded the sum of all sizes.
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_QUBITS);
        if size == 0 {
            return self.error(format!("register `{name}` is empty"));
        }
        let (map, next, room) = match quantum {
            true => (&mut self.qubits, &mut self.next_qubit, self.circuit.qubits()),
            false => (&mut self.bits, &mut self.next_bit, self.circuit.bits()),
        };
        if *next + size > room {
            return self.error(format!("register `{name}` does not fit"));
        }
        map.insert(name.to_string(), (*next, size));
        *next += size;
        Ok(())
    }

    /// `input float[64] theta;`
    fn input(&mut self) -> Result<()> {
        self.at += 1;
        let kind = self.word()?;
        if !["float", "angle"].contains(&kind.as_str()) {
            return self.error("only `input float` and `input angle` are read");
        }
        if self.accept("[") {
            self.integer()?;
            self.expect("]")?;
        }
        let name = self.word()?;
        self.expect(";")?;
        let parameter = self.circuit.parameter(name.clone());
        self.names.insert(name, Affine { offset: 0.0, parameter: Some((parameter, 1.0)) });
        Ok(())
    }

    fn definition(&mut self) -> Result<()> {
        self.at += 1;
        let name = self.word()?;
        let mut arguments = vec![];
        if self.accept("(") {
            while !self.accept(")") {
                arguments.push(self.word()?);
                if !self.is_symbol(")") {
                    self.expect(",")?;
                }
            }
        }
        let mut qubits = vec![self.word()?];
        while self.accept(",") {
            qubits.push(self.word()?);
        }
        self.expect("{")?;
        let mut body = vec![];
        while !self.accept("}") {
            if self.is_word("barrier") {
                while *self.peek() != Kind::End && !self.accept(";") {
                    self.at += 1;
                }
                continue;
            }
            let call = self.call()?;
            // A gate can only use gates that are complete, so that definitions cannot be circular.
            if !self.gates.contains_key(&call.name) && builtin(&call.name).is_none() {
                return self.error(format!("gate `{}` is not defined", call.name));
            }
            if let Some(bad) = call.operands.iter().find(|o| o.index.is_some() || !qubits.contains(&o.name)) {
                return self.error(format!("`{}` is not a qubit of gate `{name}`", bad.name));
            }
            body.push(call);
        }
        self.gates.insert(name, Rc::new(Definition { arguments, qubits, body }));
        Ok(())
    }

    /// `if (c == 3) x q[0];`, with or without braces; in version 3 also `if (c[1] == 1)` and `if (c[1])`.
    fn condition(&mut self) -> Result<()> {
        self.at += 1;
        self.expect("(")?;
        let operand = self.operand()?;
        let value = if self.accept("==") { self.integer()? } else { 1 };
        self.expect(")")?;
        let (first, length) = match self.bits.get(&operand.name) {
            Some(&(first, size)) => match operand.index {
                None => (first, size),
                Some(k) if (k as usize) < size => (first + k as usize, 1),
                Some(k) => return self.error(format!("`{}[{k}]` is outside its register", operand.name)),
            },
            None => return self.error(format!("`{}` is not a bit register", operand.name)),
        };
        let braces = self.accept("{");
        loop {
            let call = self.call()?;
            self.broadcast(&call, Some((first, length, value)))?;
            if !braces || self.accept("}") {
                return Ok(());
            }
        }
    }

    fn measure(&mut self, from: &Operand, to: &Operand) -> Result<()> {
        let qubits = self.qubits_of(from)?;
        let bits = match (self.bits.get(&to.name), to.index) {
            (Some(&(first, size)), None) => (first..first + size).collect(),
            (Some(&(first, size)), Some(k)) if (k as usize) < size => vec![first + k as usize],
            _ => return self.error(format!("`{}` is not a bit", to.name)),
        };
        if qubits.len() != bits.len() {
            return self.error(format!(
                "{} qubits cannot be measured into {} bits",
                qubits.len(),
                bits.len()
            ));
        }
        for (qubit, bit) in qubits.into_iter().zip(bits) {
            self.apply(|circuit| circuit.measure(qubit, bit).map(|_| ()))?;
        }
        Ok(())
    }

    /// `ctrl(2) @ inv @ rx(pi/2) q[0], q[1], q[2];`
    fn call(&mut self) -> Result<Call> {
        self.begun = self.at;
        let (line, column) = self.place();
        let mut modifiers = vec![];
        loop {
            let Kind::Word(word) = self.peek().clone() else { break };
            if !["ctrl", "negctrl", "inv", "pow"].contains(&word.as_str()) {
                break;
            }
            self.at += 1;
            let mut argument = None;
            if self.accept("(") {
                let expression = self.expression()?;
                argument = Some(self.value(&expression)?);
                self.expect(")")?;
            }
            self.expect("@")?;
            let number = argument.map_or(1.0, |a| a.offset);
            let whole = number.fract() == 0.0 && number.abs() <= MAX_POWER as f64;
            if !whole || argument.is_some_and(|a| a.parameter.is_some()) {
                return self.error("a modifier takes an integer of moderate size");
            }
            modifiers.push(match word.as_str() {
                "inv" => Modifier::Inverse,
                "pow" => Modifier::Power(number as i64),
                _ if number < 1.0 => return self.error("a gate needs at least one control"),
                _ => Modifier::Control { count: number as usize, positive: word == "ctrl" },
            });
            if modifiers.len() > MAX_NESTING {
                return self.error("too many modifiers");
            }
        }
        let name = self.word()?;
        let mut arguments = vec![];
        if self.accept("(") {
            while !self.accept(")") {
                arguments.push(self.expression()?);
                if !self.is_symbol(")") {
                    self.expect(",")?;
                }
            }
        }
        let operands = if self.is_symbol(";") { vec![] } else { self.operands()? };
        self.expect(";")?;
        Ok(Call { modifiers, name, arguments, operands, line, column })
    }

    fn operands(&mut self) -> Result<Vec<Operand>> {
        let mut operands = vec![self.operand()?];
        while self.accept(",") {
            operands.push(self.operand()?);
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Operand> {
        let name = self.word()?;
        let mut index = None;
        if self.accept("[") {
            index = Some(self.integer()?);
            self.expect("]")?;
        }
        Ok(Operand { name, index })
    }

    fn qubits_of(&self, operand: &Operand) -> Result<Vec<usize>> {
        match (self.qubits.get(&operand.name), operand.index) {
            (Some(&(first, size)), None) => Ok((first..first + size).collect()),
            (Some(&(first, size)), Some(k)) if k < size as u64 => Ok(vec![first + k as usize]),
            (Some(&(_, size)), Some(k)) => {
                self.error(format!("`{}[{k}]` is outside the register of {size} qubits", operand.name))
            }
            (None, _) => self.error(format!("`{}` is not a qubit register", operand.name)),
        }
    }

    /// Applies a call to registers element by element.
    fn broadcast(&mut self, call: &Call, condition: Option<(usize, usize, u64)>) -> Result<()> {
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

    /// Counts the gates made so far: nested definitions and powers grow exponentially.
    fn spend(&mut self, gates: usize) -> Result<()> {
        self.work = self.work.saturating_add(gates);
        match self.work <= MAX_INSTRUCTIONS {
            true => Ok(()),
            false => self.error(format!("the program expands to more than {MAX_INSTRUCTIONS} gates")),
        }
    }

    /// Changes the circuit; its errors get this place.
    fn apply(&mut self, change: impl FnOnce(&mut Circuit) -> Result<()>) -> Result<()> {
        self.spend(1)?;
        let (line, column) = self.place();
        change(&mut self.circuit).map_err(|e| Error::Parse { line, column, message: e.to_string() })
    }

    fn value(&self, expression: &Expression) -> Result<Affine> {
        evaluate(expression, &self.names).or_else(|message| self.error(message))
    }

    fn expression(&mut self) -> Result<Expression> {
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

/// A built-in gate: arguments, controls, targets (0 controls for any number, as in `mcx`).
fn builtin(name: &str) -> Option<(usize, usize, usize)> {
    Some(match name {
        "id" | "x" | "y" | "z" | "h" | "s" | "sdg" | "t" | "tdg" | "sx" | "sxdg" => (0, 0, 1),
        "rx" | "ry" | "rz" | "p" | "phase" | "u1" | "u0" => (1, 0, 1),
        "u2" => (2, 0, 1),
        "u3" | "u" | "U" => (3, 0, 1),
        "cx" | "CX" | "cy" | "cz" | "ch" | "csx" | "cs" | "csdg" => (0, 1, 1),
        "crx" | "cry" | "crz" | "cp" | "cphase" | "cu1" => (1, 1, 1),
        "cu3" => (3, 1, 1),
        "cu" => (4, 1, 1),
        "ccx" | "ccz" => (0, 2, 1),
        "c3x" => (0, 3, 1),
        "c4x" => (0, 4, 1),
        "mcx" => (0, usize::MAX, 1),
        "swap" | "iswap" => (0, 0, 2),
        "cswap" => (0, 1, 2),
        "rxx" | "ryy" | "rzz" => (1, 0, 2),
        "gphase" => (1, 0, 0),
        _ => return None,
    })
}

fn primitive(name: &str, arguments: &[Affine], qubits: &[usize]) -> Result<Vec<Primitive>, String> {
    let Some((count, controls, targets)) = builtin(name) else {
        return Err(format!("gate `{name}` is not defined"));
    };
    let controls = if controls == usize::MAX { qubits.len().saturating_sub(targets) } else { controls };
    if arguments.len() != count || qubits.len() != controls + targets {
        return Err(format!("gate `{name}` takes {count} arguments and {} qubits", controls + targets));
    }
    let a: Vec<Angle> = arguments.iter().map(|a| a.angle()).collect();
    let half_pi = Angle::Fixed(std::f64::consts::FRAC_PI_2);
    let (control, target) = qubits.split_at(controls);
    let gate = match name.trim_start_matches("mc").trim_start_matches("cc") {
        _ if name == "gphase" => Gate::GlobalPhase(a[0]),
        "id" | "u0" => Gate::I,
        "x" | "cx" | "CX" | "c3x" | "c4x" => Gate::X,
        "y" | "cy" => Gate::Y,
        "z" | "cz" => Gate::Z,
        "h" | "ch" => Gate::H,
        "s" | "cs" => Gate::S,
        "sdg" | "csdg" => Gate::Sdg,
        "t" => Gate::T,
        "tdg" => Gate::Tdg,
        "sx" | "csx" => Gate::Sx,
        "sxdg" => Gate::Sxdg,
        "rx" | "crx" => Gate::Rx(a[0]),
        "ry" | "cry" => Gate::Ry(a[0]),
        "rz" | "crz" => Gate::Rz(a[0]),
        "p" | "phase" | "u1" | "cp" | "cphase" | "cu1" => Gate::Phase(a[0]),
        "u2" => Gate::U(half_pi, a[0], a[1]),
        "u3" | "u" | "U" | "cu3" | "cu" => Gate::U(a[0], a[1], a[2]),
        "swap" | "cswap" => Gate::Swap,
        "iswap" => Gate::ISwap,
        "rxx" => Gate::PauliRotation(vec![Pauli::X; 2], a[0]),
        "ryy" => Gate::PauliRotation(vec![Pauli::Y; 2], a[0]),
        "rzz" => Gate::PauliRotation(vec![Pauli::Z; 2], a[0]),
        _ => return Err(format!("gate `{name}` is not defined")),
    };
    let mut out = vec![Primitive { gate, targets: target.to_vec(), controls: control.to_vec() }];
    if name == "cu" {
        // cu(θ, φ, λ, γ) is the controlled e^{iγ} u3.
        out.push(Primitive { gate: Gate::Phase(a[3]), targets: control.to_vec(), controls: vec![] });
    }
    Ok(out)
}
