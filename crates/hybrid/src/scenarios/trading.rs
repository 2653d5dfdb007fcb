//! Trading: one index and cash, in a market whose regime nobody sees, with proportional costs.
//!
//! Daily log returns follow a hidden Markov chain with Student-t laws, as estimated for the German index DAX from 2000 to 2022 (Oelschläger,
//! Adam & Michels 2024): a bear, a quiet and a bull market. Costs are charged exactly, and no wealth appears or vanishes. The investor sees
//! the probability of each regime given the past (Hamilton 1989), so the expert can do what Merton (1969) would do if regimes never changed.

use crate::error::{Result, within};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StudentT};
use rl_core::env::scripted::Policy;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Number of regimes.
pub const REGIMES: usize = 3;

/// How dear it is to trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// Free.
    Easy,
    /// 0.2 % of what is bought or sold.
    Medium,
    /// 1 %.
    Hard,
}

/// The law of daily log returns in a regime: μ + σ T with Student's T of ν degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// μ per day.
    pub mean: f64,
    /// σ per day.
    pub scale: f64,
    /// ν > 2.
    pub freedom: f64,
}

impl Regime {
    /// σ² ν / (ν − 2).
    pub fn variance(&self) -> f64 {
        self.scale * self.scale * self.freedom / (self.freedom - 2.0)
    }

    /// The density of a log return.
    pub fn density(&self, x: f64) -> f64 {
        let nu = self.freedom;
        let z = (x - self.mean) / self.scale;
        let constant = (ln_gamma(0.5 * (nu + 1.0)) - ln_gamma(0.5 * nu)).exp() / (nu * PI).sqrt();
        constant / self.scale * (1.0 + z * z / nu).powf(-0.5 * (nu + 1.0))
    }
}

/// ln Γ(x) for x > 0: Stirling's series after a shift above 10.
fn ln_gamma(x: f64) -> f64 {
    let (mut shift, mut x) = (0.0, x);
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let i = 1.0 / (x * x);
    let series = (1.0 / 12.0 - i * (1.0 / 360.0 - i * (1.0 / 1260.0 - i / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series
}

/// Market, costs and episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradingConfig {
    /// Bear, quiet, bull (Oelschläger et al. 2024, the three-state t model of the DAX).
    pub regimes: [Regime; REGIMES],
    /// Probabilities per day of going from a regime (row) to another, as estimated there.
    pub transition: [[f64; REGIMES]; REGIMES],
    /// Part of what is bought or sold that is lost: 0.002. Ours.
    pub cost: f64,
    /// Trading days of an episode: 252.
    pub days: u32,
    /// Days that were watched before the first decision: 60.
    pub watched: u32,
}

impl Default for TradingConfig {
    fn default() -> Self {
        let regime = |mean, scale, freedom| Regime { mean, scale, freedom };
        Self {
            regimes: [
                regime(-1.793e-3, 2.586e-2, 10.84),
                regime(-2.649e-4, 1.300e-2, 48.66),
                regime(1.272e-3, 5.833e-3, 5.248),
            ],
            transition: [
                [1.0 - 1.839e-2, 1.839e-2, 0.0],
                [5.024e-3, 1.0 - 5.024e-3 - 1.898e-2, 1.898e-2],
                [0.0, 2.446e-2, 1.0 - 2.446e-2],
            ],
            cost: 0.002,
            days: 252,
            watched: 60,
        }
    }
}

impl TradingConfig {
    /// The estimated market at a difficulty.
    pub fn of(difficulty: Difficulty) -> Self {
        let cost = match difficulty {
            Difficulty::Easy => 0.0,
            Difficulty::Medium => 0.002,
            Difficulty::Hard => 0.01,
        };
        Self { cost, ..Self::default() }
    }

    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn validate(&self) -> Result<()> {
        for regime in &self.regimes {
            within("mean", regime.mean, (-0.1, 0.1), "in [-0.1, 0.1]")?;
            within("scale", regime.scale, (1e-6, 0.2), "in (0, 0.2]")?;
            within("freedom", regime.freedom, (2.1, 1e4), "above 2.1")?;
        }
        for row in &self.transition {
            for p in row {
                within("transition", *p, (0.0, 1.0), "a probability")?;
            }
            within("sum of a row of transition", row.iter().sum(), (1.0 - 1e-9, 1.0 + 1e-9), "1")?;
        }
        within("cost", self.cost, (0.0, 0.5), "in [0, 0.5]")?;
        within("days", f64::from(self.days), (1.0, 1e5), "at least 1")?;
        within("watched", f64::from(self.watched), (0.0, 1e5), "0 or more")
    }
}

/// The accounts at the end of a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accounts {
    /// Cash in units of the first wealth.
    pub cash: f64,
    /// Value of the index held, in the same.
    pub index: f64,
    /// Costs paid so far.
    pub paid: f64,
    /// The regime of the day; not observed.
    pub regime: usize,
    /// Probability of each regime given all returns so far.
    pub belief: [f64; REGIMES],
    /// Log return of the day.
    pub log_return: f64,
}

impl Accounts {
    /// Cash and index together.
    pub fn wealth(&self) -> f64 {
        self.cash + self.index
    }

    /// Part of the wealth that is in the index.
    pub fn weight(&self) -> f64 {
        self.index / self.wealth()
    }
}

/// A market and an investor.
///
/// The action is the part of the wealth that shall be in the index for the next day, in [0, 1]. The observation is
/// `[P(bear), P(quiet), P(bull), weight, last log return / 0.01]`. The reward is the day's log growth of the wealth in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    config: TradingConfig,
    /// The share of days spent in each regime.
    stationary: [f64; REGIMES],
}

impl Market {
    /// The simulator of a configuration.
    ///
    /// # Errors
    /// As [`TradingConfig::validate`].
    pub fn new(config: TradingConfig) -> Result<Self> {
        config.validate()?;
        let mut market = Self { config, stationary: [1.0 / REGIMES as f64; REGIMES] };
        // By repeated transition: the slowest mode of the estimated chain halves in about 20 days.
        for _ in 0..10_000 {
            market.stationary = market.tomorrow(&market.stationary);
        }
        Ok(market)
    }

    /// Its configuration.
    pub fn config(&self) -> &TradingConfig {
        &self.config
    }

    /// The share of days spent in each regime.
    pub fn stationary(&self) -> [f64; REGIMES] {
        self.stationary
    }

    /// P(regime tomorrow), from P(regime today).
    pub fn tomorrow(&self, belief: &[f64; REGIMES]) -> [f64; REGIMES] {
        std::array::from_fn(|j| (0..REGIMES).map(|i| belief[i] * self.config.transition[i][j]).sum())
    }

    /// Merton's share for log utility: `E[return] / Var[return]` of the mixture, in [0, 1].
    pub fn merton(&self, belief: &[f64; REGIMES]) -> f64 {
        let mean = |f: &dyn Fn(&Regime) -> f64| -> f64 {
            belief.iter().zip(&self.config.regimes).map(|(p, r)| p * f(r)).sum()
        };
        let m = mean(&|r| r.mean);
        let v = mean(&|r| r.variance() + r.mean * r.mean) - m * m;
        ((m + 0.5 * v) / v).clamp(0.0, 1.0)
    }

    /// Buys or sells until the index is `weight` of the wealth that is left after costs κ |bought or sold|; returns the costs.
    pub fn rebalance(&self, accounts: &mut Accounts, weight: f64) -> f64 {
        let (cost, wealth, held) = (self.config.cost, accounts.wealth(), accounts.index);
        // x = w (W − κ |x − h|), solved on the side on which x lies.
        let bought = weight * (wealth + cost * held) / (1.0 + weight * cost);
        let sold = weight * (wealth - cost * held) / (1.0 - weight * cost);
        let index = if bought >= held { bought } else { sold.min(held) };
        let paid = cost * (index - held).abs();
        accounts.cash += held - index - paid;
        accounts.index = index;
        accounts.paid += paid;
        paid
    }

    /// One day of the market: the regime moves, the index follows, and the belief is updated (Hamilton 1989, eqs. 4 to 8).
    pub fn day(&self, accounts: &mut Accounts, rng: &mut impl Rng) {
        let mut left = rng.random::<f64>();
        let row = self.config.transition[accounts.regime];
        let next = row.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        accounts.regime = next.unwrap_or(accounts.regime);
        let regime = &self.config.regimes[accounts.regime];
        // ν is validated; a law that cannot be made stands for its normal limit of no noise.
        let t = StudentT::new(regime.freedom).map_or(0.0, |law| law.sample(rng));
        accounts.log_return = regime.mean + regime.scale * t;
        accounts.index *= accounts.log_return.exp();
        let predicted = self.tomorrow(&accounts.belief);
        let joint: [f64; REGIMES] =
            std::array::from_fn(|k| predicted[k] * self.config.regimes[k].density(accounts.log_return));
        let total: f64 = joint.iter().sum();
        accounts.belief = if total > 0.0 { joint.map(|p| p / total) } else { predicted };
    }
}

impl Simulator for Market {
    type State = Accounts;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: format!("Trading-{}bp", (self.config.cost * 1e4).round()),
            observation: Space::uniform_box(5, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::uniform_box(1, 0.0, 1.0),
            max_episode_steps: Some(self.config.days),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> Accounts {
        let belief = self.stationary;
        let mut left = rng.random::<f64>();
        let regime = belief.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        let mut accounts = Accounts {
            cash: 1.0,
            index: 0.0,
            paid: 0.0,
            regime: regime.unwrap_or(1),
            belief,
            log_return: 0.0,
        };
        for _ in 0..self.config.watched {
            self.day(&mut accounts, rng);
        }
        accounts
    }

    fn transition(&self, accounts: &mut Accounts, action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let before = accounts.wealth();
        self.rebalance(accounts, f64::from(action.first().clamp(0.0, 1.0)));
        self.day(accounts, rng);
        (100.0 * (accounts.wealth() / before).ln(), false)
    }

    fn observe(&self, accounts: &Accounts, observation: &mut [f32]) {
        let [bear, quiet, bull] = accounts.belief;
        let values = [bear, quiet, bull, accounts.weight(), accounts.log_return / 0.01];
        for (o, v) in observation.iter_mut().zip(values) {
            *o = v as f32;
        }
    }
}

/// What a scripted investor does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stays in cash.
    Cash,
    /// Buys the index once.
    Hold,
    /// Keeps Merton's share for the mean over all regimes.
    ConstantMix,
    /// The expert: Merton's share (m + v / 2) / v for the mean m and variance v of tomorrow's log return given the belief, in [0, 1].
    Filtered,
    /// The same, but trades only when it is off by more than this (no-trade region: Davis & Norman 1990).
    Band(f64),
}

/// A scripted investor.
#[derive(Clone, Debug)]
pub struct Scripted {
    rule: Rule,
    market: Market,
    average: f64,
    action: [f32; 1],
}

impl Scripted {
    /// For a market, whose parameters it knows.
    pub fn new(rule: Rule, market: Market) -> Self {
        let average = market.merton(&market.stationary());
        Self { rule, market, average, action: [0.0] }
    }
}

impl Policy for Scripted {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let value = |k: usize| observation.get(k).copied().map_or(0.0, f64::from);
        let weight = value(3);
        let filtered = || self.market.merton(&self.market.tomorrow(&[value(0), value(1), value(2)]));
        let share = match self.rule {
            Rule::Cash => 0.0,
            Rule::Hold => 1.0,
            Rule::ConstantMix => self.average,
            Rule::Filtered => filtered(),
            Rule::Band(width) => {
                let share = filtered();
                if (share - weight).abs() > width { share } else { weight }
            }
        };
        self.action = [share as f32];
        Action::Continuous(&self.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rl_core::StreamRng;
    use rl_core::env::Episode;
    use rl_core::testing::env_contract;

    fn market(difficulty: Difficulty) -> Market {
        Market::new(TradingConfig::of(difficulty)).unwrap()
    }

    /// Mean return over episodes.
    fn mean_return(market: &Market, rule: Rule, seeds: std::ops::Range<u64>) -> f64 {
        let mut policy = Scripted::new(rule, market.clone());
        let n = (seeds.end - seeds.start) as f64;
        let mut total = 0.0;
        for seed in seeds {
            let mut rng = StreamRng::seed_from_u64(seed);
            let mut accounts = market.initial_state(&mut rng);
            let mut observation = [0.0; 5];
            for _ in 0..market.config.days {
                market.observe(&accounts, &mut observation);
                total += market.transition(&mut accounts, policy.act(&observation), &mut rng).0;
            }
        }
        total / n
    }

    #[test]
    fn it_keeps_the_contract() {
        for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
            env_contract(|| Episode::<Market, StreamRng>::new(market(difficulty), 0));
        }
    }

    #[test]
    fn densities_are_densities() {
        // Γ(1/2) = √π, Γ(5) = 24; the t density with 5 degrees of freedom is 0.37960669 at 0.
        assert!((ln_gamma(0.5) - PI.sqrt().ln()).abs() < 1e-12);
        assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-12);
        let t = Regime { mean: 0.0, scale: 1.0, freedom: 5.0 };
        assert!((t.density(0.0) - 0.379_606_689_822_494).abs() < 1e-12);
        for regime in TradingConfig::default().regimes {
            let step = regime.scale / 50.0;
            let sum: f64 = (-20_000..20_000).map(|k| regime.density(f64::from(k) * step) * step).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        }
    }

    #[test]
    fn the_chain_is_stationary_and_returns_have_the_stated_moments() {
        let market = market(Difficulty::Easy);
        let share = market.stationary();
        let next = market.tomorrow(&share);
        assert!(share.iter().zip(next).all(|(a, b)| (a - b).abs() < 1e-12));
        let mut rng = StreamRng::seed_from_u64(1);
        let mut accounts = market.initial_state(&mut rng);
        let n = 300_000;
        let mut returns = Vec::with_capacity(n);
        let (mut days, mut credited) = ([0.0; REGIMES], [0.0; REGIMES]);
        for _ in 0..n {
            market.day(&mut accounts, &mut rng);
            returns.push(accounts.log_return);
            days[accounts.regime] += 1.0 / n as f64;
            (0..REGIMES).for_each(|k| credited[k] += accounts.belief[k] / n as f64);
        }
        for k in 0..REGIMES {
            assert!((days[k] - share[k]).abs() < 0.03, "{days:?} {share:?}");
            // A right filter is right on average.
            assert!((credited[k] - days[k]).abs() < 0.01, "{credited:?} {days:?}");
        }
        let variance = returns.iter().map(|r| r * r).sum::<f64>() / n as f64;
        let regimes = &market.config.regimes;
        let expected: f64 =
            (0..REGIMES).map(|k| share[k] * (regimes[k].variance() + regimes[k].mean.powi(2))).sum();
        assert!((variance / expected - 1.0).abs() < 0.1, "{variance} {expected}");
    }

    #[test]
    fn rebalancing_by_hand() {
        let market = Market::new(TradingConfig { cost: 0.01, ..TradingConfig::default() }).unwrap();
        let mut accounts = market.initial_state(&mut StreamRng::seed_from_u64(1));
        // All of it: x = 1 − 0.01 x.
        let paid = market.rebalance(&mut accounts, 1.0);
        assert!((accounts.index - 1.0 / 1.01).abs() < 1e-12 && accounts.cash.abs() < 1e-12);
        assert!((paid - 0.01 / 1.01).abs() < 1e-12);
        // And back: 1 % of what is sold.
        let held = accounts.index;
        assert!((market.rebalance(&mut accounts, 0.0) - 0.01 * held).abs() < 1e-12);
        assert!((accounts.cash - 0.99 * held).abs() < 1e-12);
    }

    #[test]
    fn the_filter_is_worth_its_trades_where_they_are_free() {
        let free = market(Difficulty::Easy);
        let play = |market: &Market, rule| mean_return(market, rule, 100..600);
        let (hold, mix, expert) =
            (play(&free, Rule::Hold), play(&free, Rule::ConstantMix), play(&free, Rule::Filtered));
        assert!(expert > hold && expert > mix, "{expert} {hold} {mix}");
        let dear = market(Difficulty::Hard);
        assert!(play(&dear, Rule::Band(0.5)) > play(&dear, Rule::Filtered));
    }

    #[test]
    fn bad_configurations_are_refused() {
        let d = TradingConfig::default;
        for config in [
            TradingConfig { cost: 0.9, ..d() },
            TradingConfig { days: 0, ..d() },
            TradingConfig { transition: [[0.5; 3]; 3], ..d() },
            TradingConfig { cost: f64::NAN, ..d() },
        ] {
            assert!(Market::new(config).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_wealth_appears_or_vanishes(seed: u64, cost in 0.0..0.05f64, weights in prop::collection::vec(0.0..=1.0f64, 1..100)) {
            let market = Market::new(TradingConfig { cost, ..TradingConfig::default() }).unwrap();
            let mut rng = StreamRng::seed_from_u64(seed);
            let mut accounts = market.initial_state(&mut rng);
            for weight in weights {
                let before = accounts.clone();
                let paid = market.rebalance(&mut accounts, weight);
                let traded = (accounts.index - before.index).abs();
                prop_assert!((paid - cost * traded).abs() < 1e-12 * before.wealth());
                prop_assert!((accounts.wealth() + paid - before.wealth()).abs() < 1e-12 * before.wealth());
                prop_assert!((accounts.weight() - weight).abs() < 1e-9);
                prop_assert!((accounts.paid - before.paid - paid).abs() < 1e-12 * before.wealth());
                let held = accounts.clone();
                market.day(&mut accounts, &mut rng);
                let gain = held.index * (accounts.log_return.exp() - 1.0);
                prop_assert!((accounts.wealth() - held.wealth() - gain).abs() < 1e-12 * held.wealth());
                prop_assert!((accounts.belief.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
        }
    }
}
