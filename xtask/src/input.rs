//! What the user got wrong: reported as such, with exit status 2.

use std::fmt;

/// Bad usage or bad input. The message names what, where, and the mend.
#[derive(Debug)]
pub struct BadInput(pub String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BadInput {}

/// A [`BadInput`] as the error of any function.
pub(crate) fn bad(message: impl Into<String>) -> anyhow::Error {
    BadInput(message.into()).into()
}

/// The candidate most like `word`, in whole or in its last part (`gamma` finds `sac.gamma`), if any is alike;
/// capitals make no difference.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let likeness = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let last = candidate.rsplit('.').next().unwrap_or(&candidate);
        strsim::jaro_winkler(&word, &candidate).max(strsim::jaro_winkler(&word, last))
    };
    let rated = candidates.into_iter().map(|candidate| (likeness(candidate), candidate));
    rated.filter(|(likeness, _)| *likeness > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_is_what_a_reader_would_say() {
        assert_eq!(nearest("baseline", ["world-model-planning", "baselines"]), Some("baselines"));
        assert_eq!(nearest("gama", ["sac.tau", "sac.gamma"]), Some("sac.gamma"));
        assert_eq!(nearest("smoking", ["Smoking", "Tar"]), Some("Smoking"));
        assert_eq!(nearest("qqq", ["sac.tau"]), None);
    }
}
