//! OpenQASM 2 in and out, and a useful subset of OpenQASM 3.
//!
//! Version 2 (Cross et al. 2017, arXiv:1707.03429): `qreg`, `creg`, gate definitions, broadcasting over registers,
//! `barrier`, `measure`, `reset`, `if`, `opaque` declarations, expressions with `pi + - * / ^` and the six functions. The gates of
//! `qelib1.inc` are built in, with or without the include, and so are the later additions `p, u, sx, sxdg, swap, cswap,
//! crx, cry, crz, cp, csx, cu, rxx, ryy, rzz, iswap, mcx`. `rz` is diag(e^{−iθ/2}, e^{iθ/2}) and `u3` has a real upper left element, as in Qiskit.
//!
//! Version 3: `qubit[n] q`, `bit[n] c`, `c = measure q`, `ctrl @`, `negctrl @`, `inv @`, `pow(k) @` with integer k,
//! `gphase`, and `input float name` (or `angle`) for named parameters that occur at most affinely.
//!
//! Text is never trusted: lengths, nesting, numbers and the size of the result are bounded, and every mistake is an
//! [`crate::Error::Parse`] with line and column.

mod angles;
mod expansion;
mod expression;
mod gates;
mod lexer;
mod parser;
mod writer;

pub use parser::parse;
pub use writer::write;

#[cfg(test)]
mod tests;
