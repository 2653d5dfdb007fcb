//! Who trains against whom: self-play against past selves, prioritised opponents, and the roles of a league
//! (Vinyals et al. 2019, "Grandmaster level in StarCraft II using multi-agent reinforcement learning").
//!
//! The league keeps the books only: it knows scores and roles, not policies.

use super::meta_game::MetaGame;
use crate::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How hard opponents are preferred, as a weight of the probability x to beat them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// (1 − x)²: those one loses to.
    #[default]
    Hard,
    /// x (1 − x): those of equal strength.
    Even,
    /// All alike.
    Uniform,
}

impl Priority {
    /// The weight of an opponent one beats with probability `x`.
    pub fn weight(self, x: f64) -> f64 {
        match self {
            Self::Hard => (1.0 - x).powi(2),
            Self::Even => x * (1.0 - x),
            Self::Uniform => 1.0,
        }
    }
}

/// What a player is in the league for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Becomes as strong as possible against everyone.
    Main,
    /// Finds weaknesses of the present main players.
    MainExploiter,
    /// Finds weaknesses of the whole league.
    LeagueExploiter,
}

/// A player: learning, or a frozen copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// What it is for.
    pub role: Role,
    /// For frozen copies, the learner it was copied from.
    pub parent: Option<usize>,
    /// Training steps since its last snapshot.
    pub steps: u64,
}

/// Shares and thresholds; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Share of a main player's games against the present main players (0.35).
    pub self_play: f64,
    /// Share of a main player's games against prioritised past players (0.5); the rest goes to main players it has
    /// forgotten how to beat, if any.
    pub prioritised: f64,
    /// A main exploiter that beats a main player less often than this practises on the main player's past (0.2).
    pub hopeless: f64,
    /// A snapshot is taken when every opponent is beaten at least this often (0.7).
    pub strong: f64,
    /// And at the latest after this many steps (2·10⁹ in the paper; choose for the task).
    pub timeout: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { self_play: 0.35, prioritised: 0.5, hopeless: 0.2, strong: 0.7, timeout: 2_000_000_000 }
    }
}

/// The books of a league.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct League {
    config: Config,
    members: Vec<Member>,
    /// Scores between members.
    pub table: MetaGame,
}

impl League {
    /// A league of learners.
    ///
    /// # Errors
    /// [`Error::Config`] when shares are not probabilities or there is no main player.
    pub fn new(config: Config, roles: &[Role]) -> Result<Self> {
        let shares = config.self_play >= 0.0
            && config.prioritised >= 0.0
            && config.self_play + config.prioritised <= 1.0;
        if !shares {
            return Err(Error::config(
                "league",
                "self_play + prioritised",
                config.self_play + config.prioritised,
                "in [0, 1]",
            ));
        }
        if !roles.contains(&Role::Main) {
            return Err(Error::config(
                "league",
                "roles",
                format!("{roles:?}"),
                "with at least one main player",
            ));
        }
        let members = roles.iter().map(|&role| Member { role, parent: None, steps: 0 }).collect();
        Ok(Self { config, members, table: MetaGame::new(roles.len()) })
    }

    /// All members; learners and frozen copies.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn learners(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        let learning = move |m: &Member| m.role == role && m.parent.is_none();
        self.members.iter().enumerate().filter(move |(_, m)| learning(m)).map(|(i, _)| i)
    }

    fn frozen(&self, keep: impl Fn(&Member) -> bool) -> Vec<usize> {
        self.members
            .iter()
            .enumerate()
            .filter(|(_, m)| m.parent.is_some() && keep(m))
            .map(|(i, _)| i)
            .collect()
    }

    /// Draws an opponent for a learner.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such learner.
    pub fn opponent(&self, player: usize, rng: &mut impl Rng) -> Result<usize> {
        let Some(member) = self.members.get(player).filter(|m| m.parent.is_none()) else {
            return Err(Error::shape("league opponent", "a learner", player));
        };
        let mains: Vec<usize> = self.learners(Role::Main).collect();
        if mains.is_empty() {
            return Err(Error::shape("league opponent", "at least one main player", 0));
        }
        let present = mains[rng.random_range(0..mains.len())];
        let drawn = match member.role {
            Role::LeagueExploiter => self.prioritised(player, &self.frozen(|_| true), Priority::Hard, rng),
            Role::MainExploiter => match self.table.score(player, present) > self.config.hopeless {
                true => Some(present),
                false => {
                    let past = self.frozen(|m| m.parent == Some(present));
                    self.prioritised(player, &past, Priority::Even, rng)
                }
            },
            Role::Main => self.opponent_of_main(player, present, rng),
        };
        Ok(drawn.unwrap_or(present))
    }

    fn opponent_of_main(&self, player: usize, present: usize, rng: &mut impl Rng) -> Option<usize> {
        let draw = rng.random::<f64>();
        if draw < self.config.self_play {
            return Some(present);
        }
        if draw >= self.config.self_play + self.config.prioritised {
            let lost = |i: &usize| self.table.score(player, *i) < 0.3;
            let forgotten: Vec<usize> =
                self.frozen(|m| m.role == Role::Main).into_iter().filter(lost).collect();
            if !forgotten.is_empty() {
                return self.prioritised(player, &forgotten, Priority::Even, rng);
            }
        }
        self.prioritised(player, &self.frozen(|_| true), Priority::Hard, rng)
    }

    /// Draws one of the candidates in proportion to their priority (uniformly when all weigh nothing); `None` when
    /// there are none.
    pub fn prioritised(
        &self,
        player: usize,
        candidates: &[usize],
        priority: Priority,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let weights: Vec<f64> =
            candidates.iter().map(|&i| priority.weight(self.table.score(player, i))).collect();
        let total: f64 = weights.iter().sum();
        if candidates.is_empty() {
            return None;
        }
        if total <= 0.0 {
            return Some(candidates[rng.random_range(0..candidates.len())]);
        }
        let mut left = rng.random::<f64>() * total;
        let drawn = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        drawn.or(weights.iter().rposition(|&w| w > 0.0)).map(|k| candidates[k])
    }

    /// Books training steps; says whether it is time for a snapshot.
    pub fn train(&mut self, player: usize, steps: u64) -> bool {
        let Some(member) = self.members.get_mut(player) else { return false };
        member.steps += steps;
        let (parent, steps) = (member.parent, member.steps);
        let opponents = self.frozen(|_| true);
        let beaten =
            |&i: &usize| self.table.games(player, i) > 0 && self.table.score(player, i) >= self.config.strong;
        let strong = !opponents.is_empty() && opponents.iter().all(beaten);
        parent.is_none() && (strong || steps >= self.config.timeout)
    }

    /// Freezes a copy of a learner; returns the copy's index. It inherits no games.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such learner.
    pub fn snapshot(&mut self, player: usize) -> Result<usize> {
        let Some(member) = self.members.get_mut(player).filter(|m| m.parent.is_none()) else {
            return Err(Error::shape("league snapshot", "a learner", player));
        };
        member.steps = 0;
        let copy = Member { role: member.role, parent: Some(player), steps: 0 };
        self.members.push(copy);
        Ok(self.table.add())
    }
}

/// Self-play against past selves (Bansal et al. 2018): of `versions` saved ones, uniformly from the newest
/// 1 − δ share; δ = 0 is all of history, δ = 1 the last version only. `None` when nothing was saved.
pub fn past_self(versions: usize, delta: f64, rng: &mut impl Rng) -> Option<usize> {
    let last = versions.checked_sub(1)?;
    let oldest = (delta.clamp(0.0, 1.0) * last as f64).floor() as usize;
    Some(rng.random_range(oldest..=last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    #[test]
    fn hard_opponents_are_met_more_often() {
        let mut league =
            League::new(Config { self_play: 0.0, prioritised: 1.0, ..Config::default() }, &[Role::Main])
                .unwrap();
        let (easy, hard) = (league.snapshot(0).unwrap(), league.snapshot(0).unwrap());
        (0..10).for_each(|k| league.table.record(0, easy, f64::from(u8::from(k > 0))).unwrap());
        (0..10).for_each(|k| league.table.record(0, hard, f64::from(u8::from(k == 0))).unwrap());
        let mut rng = SeedStream::new(0).stream("league", 0);
        let met: Vec<usize> = (0..1000).map(|_| league.opponent(0, &mut rng).unwrap()).collect();
        // Weights 0.01 and 0.81.
        assert!(met.iter().filter(|&&m| m == hard).count() > 960);
        assert!(!league.train(0, 10));
        assert!(league.opponent(easy, &mut rng).is_err());
    }

    #[test]
    fn exploiters_meet_the_main_player_until_it_is_hopeless() {
        let mut league = League::new(Config::default(), &[Role::Main, Role::MainExploiter]).unwrap();
        let past = league.snapshot(0).unwrap();
        let mut rng = SeedStream::new(0).stream("league", 0);
        assert_eq!(league.opponent(1, &mut rng).unwrap(), 0);
        (0..10).for_each(|_| league.table.record(1, 0, 0.0).unwrap());
        assert_eq!(league.opponent(1, &mut rng).unwrap(), past);
    }

    #[test]
    fn past_selves() {
        let mut rng = SeedStream::new(0).stream("past", 0);
        assert_eq!(past_self(0, 0.5, &mut rng), None);
        assert!((0..100).all(|_| past_self(10, 0.5, &mut rng).unwrap() >= 4));
        assert_eq!(past_self(10, 1.0, &mut rng), Some(9));
    }
}
