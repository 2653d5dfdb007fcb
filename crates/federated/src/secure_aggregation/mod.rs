//! stub
/// party
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// s
    Server,
    /// c
    Client(u32),
}
impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Client(i) => write!(f, "client {i}"),
        }
    }
}
pub(crate) mod vectors {
    pub(crate) fn check(_: &serde_json::Value, _: &mut rl_core::conformance::Checker) -> Result<(), String> {
        Ok(())
    }
}
