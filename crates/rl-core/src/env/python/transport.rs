//! A Python child process that answers one frame with one frame.
//!
//! A frame is two little-endian `u32` lengths, a JSON header and a raw body. The child begins with a greeting
//! whose header holds `protocol`; an answer whose header holds `error` ends it. Whatever happens, the child is
//! reaped: it stops when its input closes, and is killed if it does not.

use crate::{Error, Result};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// The version that both sides must speak.
pub const PROTOCOL: u64 = 1;
/// The Python side of the frames: class `Channel`, put before every script.
const FRAMES: &str = include_str!("frames.py");
/// A header longer than this is no header: something else was printed.
const LONGEST_HEADER: usize = 1 << 20;
/// How long a child may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines of the child's standard error that are kept for messages.
const LAST_WORDS: usize = 8;

/// A running child.
pub struct PythonProcess {
    peer: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    listener: JoinHandle<()>,
    body: Vec<u8>,
    failed: bool,
}

impl PythonProcess {
    /// Starts `script` under a Python interpreter and waits for its greeting, which is returned with its body.
    /// `peer` names it in messages.
    ///
    /// # Errors
    /// [`Error::Bridge`] if the interpreter cannot be started, the child reports an error or ends, or the greeting
    /// is of another protocol version.
    pub fn start(
        peer: &str,
        interpreter: &Path,
        script: &str,
        arguments: &[&str],
    ) -> Result<(Self, Value, Vec<u8>)> {
        let mut child = Command::new(interpreter)
            .arg("-c")
            .arg([FRAMES, script].join("\n\n"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| cannot_start(peer, interpreter, &e))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(output), Some(errors)) = (output, errors) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Bridge { peer: peer.into(), reason: "its pipes are missing".into() });
        };
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let heard = Arc::clone(&last_words);
        let listener = spawn(move || {
            for line in BufReader::new(errors).lines().map_while(std::result::Result::ok) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.len() == LAST_WORDS {
                    heard.pop_front();
                }
                heard.push_back(line);
            }
        });
        let mut process = Self {
            peer: peer.into(),
            child,
            input,
            output: BufReader::new(output),
            last_words,
            listener,
            body: Vec::new(),
            failed: false,
        };
        let greeting = process.receive("start")?;
        match greeting.get("protocol").and_then(Value::as_u64) {
            Some(PROTOCOL) => {}
            other => {
                let got = other.map_or("none".into(), |v| v.to_string());
                let reason = format!("its script speaks protocol {got}, this version needs {PROTOCOL}");
                return Err(process.fail(format!("{reason}; use the script that came with it")));
            }
        }
        let body = std::mem::take(&mut process.body);
        Ok((process, greeting, body))
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a frame and waits for the answer: its header and its body, valid until the next request. `what` says in
    /// messages what was asked.
    ///
    /// # Errors
    /// [`Error::Bridge`] if the child reports an error, ends, or did so before: a failed child stays failed.
    pub fn request(&mut self, what: &'static str, header: &Value, body: &[u8]) -> Result<(Value, &[u8])> {
        if self.failed {
            let reason = "the process has failed before; make the environment anew".into();
            return Err(Error::Bridge { peer: self.peer.clone(), reason });
        }
        let header = header.to_string();
        let Ok(body_length) = u32::try_from(body.len()) else {
            return Err(Error::shape("request", "a body below 4 GiB", format!("{} bytes", body.len())));
        };
        let lengths = [header.len() as u32, body_length].map(u32::to_le_bytes).concat();
        let sent = match &mut self.input {
            Some(input) => [&lengths[..], header.as_bytes(), body]
                .into_iter()
                .try_for_each(|part| input.write_all(part))
                .and_then(|()| input.flush()),
            None => Err(ErrorKind::BrokenPipe.into()),
        };
        // A child that is gone has often said why: its answer comes before the broken pipe.
        let answer = self.receive(what);
        match (sent, answer) {
            (_, Err(e)) => Err(e),
            (Err(e), Ok(_)) => Err(self.fail(format!("cannot be written to: {e}"))),
            (Ok(()), Ok(header)) => Ok((header, &self.body)),
        }
    }

    /// Reads a frame; the body goes into the buffer.
    fn receive(&mut self, what: &'static str) -> Result<Value> {
        let header = match self.read_frame() {
            Ok(header) => header,
            Err(e) => return Err(self.ended(what, &e)),
        };
        match header.get("error") {
            Some(error) => {
                let reason = error.as_str().map_or_else(|| error.to_string(), String::from);
                Err(self.fail(reason))
            }
            None => Ok(header),
        }
    }

    fn read_frame(&mut self) -> std::io::Result<Value> {
        let mut lengths = [[0u8; 4]; 2];
        self.output.read_exact(&mut lengths[0])?;
        self.output.read_exact(&mut lengths[1])?;
        let [header, body] = lengths.map(|l| u32::from_le_bytes(l) as usize);
        if header > LONGEST_HEADER {
            return Err(std::io::Error::new(ErrorKind::InvalidData, "what it sent is no frame"));
        }
        let mut text = vec![0; header];
        self.output.read_exact(&mut text)?;
        self.body.resize(body, 0);
        self.output.read_exact(&mut self.body)?;
        serde_json::from_slice(&text).map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))
    }

    /// The error for a child that ended or broke the protocol.
    fn ended(&mut self, what: &'static str, error: &std::io::Error) -> Error {
        let status = self.stop();
        self.hear_out();
        let words: Vec<String> = {
            let heard = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
            heard.iter().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect()
        };
        let last = if words.is_empty() { String::new() } else { format!("; it said: {}", words.join(" | ")) };
        let how = match error.kind() {
            ErrorKind::UnexpectedEof => format!("the Python process ended ({status}) when asked to {what}"),
            _ => format!("the answer to {what} cannot be read ({error})"),
        };
        self.failed = true;
        Error::Bridge { peer: self.peer.clone(), reason: format!("{how}{last}") }
    }

    /// Waits briefly for the rest of the child's standard error; a grandchild may hold it open for ever.
    fn hear_out(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(200);
        while !self.listener.is_finished() && Instant::now() < deadline {
            sleep(Duration::from_millis(2));
        }
    }

    fn fail(&mut self, reason: String) -> Error {
        self.failed = true;
        self.stop();
        Error::Bridge { peer: self.peer.clone(), reason }
    }

    /// Closes the child's input, waits, kills if need be, and reaps; says how it ended.
    fn stop(&mut self) -> String {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if Instant::now() < deadline => sleep(Duration::from_millis(2)),
                _ => break,
            }
        }
        let _ = self.child.kill();
        self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string())
    }
}

impl Drop for PythonProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

fn cannot_start(peer: &str, interpreter: &Path, error: &std::io::Error) -> Error {
    let mend = "install Python 3 or name another interpreter";
    let reason = format!("cannot start the Python interpreter `{}` ({error}): {mend}", interpreter.display());
    Error::Bridge { peer: peer.into(), reason }
}
