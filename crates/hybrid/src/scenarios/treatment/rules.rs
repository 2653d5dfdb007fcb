//! Scripted clinicians.

use super::LETHAL;
use rl_core::env::Action;
use rl_core::env::scripted::Policy;

/// What a scripted clinician does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Watches.
    Nothing,
    /// A fraction of radiation on weekdays for six weeks and chemotherapy once a week, whatever happens: conventional fractionation.
    Protocol,
    /// Both while the diameter exceeds this many cm.
    Threshold(f64),
    /// The expert: both while the diameter exceeds this many cm, but radiation only as long as a fraction still shrinks the tumour by 5 %.
    Adaptive(f64),
}

/// A scripted clinician.
#[derive(Clone, Copy, Debug)]
pub struct Scripted {
    rule: Rule,
    days: u32,
    /// Whether a fraction was given and did little.
    resistant: bool,
}

impl Scripted {
    /// For episodes of so many days.
    pub fn new(rule: Rule, days: u32) -> Self {
        Self { rule, days, resistant: false }
    }

    /// The choice for an observation.
    fn choose(&mut self, observation: &[f32]) -> usize {
        let value = |k: usize| observation.get(k).copied().map_or(0.0, f64::from);
        let (size, change, concentration) = (value(0) * LETHAL, value(1), value(2) * 10.0);
        let day = ((1.0 - value(4)) * f64::from(self.days)).round() as u32;
        if day == 0 {
            self.resistant = false;
        }
        match self.rule {
            Rule::Nothing => 0,
            Rule::Protocol => {
                let radiation = day < 42 && day % 7 < 5;
                usize::from(day.is_multiple_of(7)) + 2 * usize::from(radiation)
            }
            Rule::Threshold(least) => 3 * usize::from(size > least),
            Rule::Adaptive(least) => {
                // What the drug is known to do is taken away first; a single noisy answer is no proof, so the tumour is tried again weekly.
                if value(3) > 0.5 {
                    self.resistant = change + 0.028 * concentration > -0.05;
                }
                let radiation = !self.resistant || day.is_multiple_of(7);
                if size > least { 1 + 2 * usize::from(radiation) } else { 0 }
            }
        }
    }
}

impl Policy for Scripted {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        Action::Discrete(self.choose(observation))
    }
}
