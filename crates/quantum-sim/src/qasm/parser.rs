//! The parser: tokens to a circuit, gate definitions expanded on the way.

use super::expression::{Affine, Expression, evaluate};
use super::gates::builtin;
use super::lexer::{Kind, Token, tokens};
use crate::circuit::{Circuit, MAX_QUBITS};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::rc::Rc;

/// Bounds on what a text may ask for.
const MAX_INSTRUCTIONS: usize = 1 << 20;
pub(super) const MAX_NESTING: usize = 64;
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
pub(super) struct Definition {
    pub(super) arguments: Vec<String>,
    pub(super) qubits: Vec<String>,
    pub(super) body: Vec<Call>,
}

/// A gate call as written.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) modifiers: Vec<Modifier>,
    pub(super) name: String,
    pub(super) arguments: Vec<Expression>,
    pub(super) operands: Vec<Operand>,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone)]
pub(super) enum Modifier {
    Control { count: usize, positive: bool },
    Inverse,
    Power(i64),
}

#[derive(Clone)]
pub(super) struct Operand {
    pub(super) name: String,
    pub(super) index: Option<u64>,
}

pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    pub(super) at: usize,
    /// Where the present statement begins.
    begun: usize,
    pub(super) depth: usize,
    circuit: Circuit,
    qubits: HashMap<String, (usize, usize)>,
    bits: HashMap<String, (usize, usize)>,
    names: HashMap<String, Affine>,
    pub(super) gates: HashMap<String, Rc<Definition>>,
    next_qubit: usize,
    next_bit: usize,
    work: usize,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |t| &t.kind)
    }

    /// Where a mistake is: at the present token or, once a statement has been read to its semicolon, at its beginning.
    fn place(&self) -> (usize, usize) {
        let read = self.at > self.begun
            && matches!(self.tokens.get(self.at - 1), Some(Token { kind: Kind::Symbol(";"), .. }));
        let at = if read { self.begun } else { self.at };
        self.tokens.get(at).or(self.tokens.last()).map_or((1, 1), |t| (t.line, t.column))
    }

    pub(super) fn error<T>(&self, message: impl ToString) -> Result<T> {
        let (line, column) = self.place();
        Err(Error::Parse { line, column, message: message.to_string() })
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(s) if *s == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(w) if w == word)
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &'static str) -> Result<()> {
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
        while let Kind::Word(word) = self.peek().clone() {
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

    pub(super) fn qubits_of(&self, operand: &Operand) -> Result<Vec<usize>> {
        match (self.qubits.get(&operand.name), operand.index) {
            (Some(&(first, size)), None) => Ok((first..first + size).collect()),
            (Some(&(first, size)), Some(k)) if k < size as u64 => Ok(vec![first + k as usize]),
            (Some(&(_, size)), Some(k)) => {
                self.error(format!("`{}[{k}]` is outside the register of {size} qubits", operand.name))
            }
            (None, _) => self.error(format!("`{}` is not a qubit register", operand.name)),
        }
    }

    /// Counts the gates made so far: nested definitions and powers grow exponentially.
    pub(super) fn spend(&mut self, gates: usize) -> Result<()> {
        self.work = self.work.saturating_add(gates);
        match self.work <= MAX_INSTRUCTIONS {
            true => Ok(()),
            false => self.error(format!("the program expands to more than {MAX_INSTRUCTIONS} gates")),
        }
    }

    /// Changes the circuit; its errors get this place.
    pub(super) fn apply(&mut self, change: impl FnOnce(&mut Circuit) -> Result<()>) -> Result<()> {
        self.spend(1)?;
        let (line, column) = self.place();
        change(&mut self.circuit).map_err(|e| Error::Parse { line, column, message: e.to_string() })
    }

    pub(super) fn value(&self, expression: &Expression) -> Result<Affine> {
        evaluate(expression, &self.names).or_else(|message| self.error(message))
    }
}
