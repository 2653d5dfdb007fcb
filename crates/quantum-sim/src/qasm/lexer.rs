//! Tokens with their places.

use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Word(String),
    Integer(u64),
    Real(f64),
    Text,
    /// One of `( ) [ ] { } ; , + - * / ^ = @ < > ! & | : .`, or `->`, `==`, `**`.
    Symbol(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) column: usize,
}

const SYMBOLS: [&str; 24] = [
    "->", "==", "**", "(", ")", "[", "]", "{", "}", ";", ",", "+", "-", "*", "/", "^", "=", "@", "<", ">",
    "!", "&", ":", ".",
];

/// The largest program.
const MAX_BYTES: usize = 16 << 20;

pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    if text.len() > MAX_BYTES {
        let message = format!("the program has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(Error::Parse { line: 1, column: 1, message });
    }
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut tokens = vec![];
    loop {
        lexer.skip_space()?;
        let (line, column) = (lexer.line, lexer.column);
        let kind = lexer.next()?;
        let end = kind == Kind::End;
        tokens.push(Token { kind, line, column });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn error(&self, message: impl ToString) -> Error {
        Error::Parse { line: self.line, column: self.column, message: message.to_string() }
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    /// The length of the longest prefix whose characters all satisfy the predicate.
    fn span(&self, keep: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len())
    }

    fn skip_space(&mut self) -> Result<()> {
        loop {
            let space = self.span(char::is_whitespace);
            if space > 0 {
                self.advance(space);
            } else if self.rest.starts_with("//") {
                self.advance(self.span(|c| c != '\n'));
            } else if self.rest.starts_with("/*") {
                let Some(end) = self.rest.find("*/") else {
                    return Err(self.error("this comment is never closed; add `*/`"));
                };
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Kind> {
        let Some(first) = self.rest.chars().next() else { return Ok(Kind::End) };
        if first.is_alphabetic() || first == '_' || first == '$' {
            let word = self.advance(self.span(|c| c.is_alphanumeric() || c == '_' || c == '$'));
            return Ok(Kind::Word(word.to_string()));
        }
        let digit_next = self.rest[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || (first == '.' && digit_next) {
            return self.number();
        }
        if first == '"' || first == '\'' {
            let Some(length) = self.rest[1..].find(first) else {
                return Err(self.error("this text is never closed; add a quotation mark"));
            };
            self.advance(length + 2);
            return Ok(Kind::Text);
        }
        match SYMBOLS.iter().find(|s| self.rest.starts_with(**s)) {
            Some(symbol) => {
                self.advance(symbol.len());
                Ok(Kind::Symbol(symbol))
            }
            None => Err(self.error(format!("`{}` has no meaning here", first.escape_default()))),
        }
    }

    fn number(&mut self) -> Result<Kind> {
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let mut length = digits(self.rest);
        let mut real = false;
        if self.rest[length..].starts_with('.') {
            real = true;
            length += 1 + digits(&self.rest[length + 1..]);
        }
        if self.rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(self.rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(&self.rest[length + 1 + sign..]);
            if exponent > 0 {
                real = true;
                length += 1 + sign + exponent;
            }
        }
        let (line, column) = (self.line, self.column);
        let text = self.advance(length);
        let wrong = |what: &str| Error::Parse { line, column, message: format!("`{text}` {what}") };
        if real {
            let value: f64 = text.parse().map_err(|_| wrong("is not a number"))?;
            return match value.is_finite() {
                true => Ok(Kind::Real(value)),
                false => Err(wrong("is too large")),
            };
        }
        text.parse().map(Kind::Integer).map_err(|_| wrong("is too large an integer"))
    }
}
