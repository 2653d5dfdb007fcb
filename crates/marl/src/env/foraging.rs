//! Level-Based Foraging (Albrecht and Ramamoorthy 2013; Papoudakis et al. 2021): players with levels collect food
//! that only a group of sufficient level can lift.
//!
//! Rules of lbforaging 2.0.0, exactly. Actions: 0 stay, 1 row − 1, 2 row + 1, 3 column − 1, 4 column + 1, 5 load;
//! an action that is not possible counts as 0. A player moves if nobody else has the same target cell; one that is
//! held back stays although another may enter its cell, so two players can share a cell. Food is lifted when the
//! levels of the loading players beside it reach its own; player i then gets
//! levelᵢ · food / (Σ levels · total food of the episode), so an episode's returns sum to at most 1.

use super::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const LOAD: usize = 5;
const ACTIONS: usize = 6;
const NEIGHBOURS: [(isize, isize); 4] = [(-1, 0), (1, 0), (0, -1), (0, 1)];

/// A foraging task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rows of the grid.
    pub rows: usize,
    /// Columns of the grid.
    pub cols: usize,
    /// Number of players, at most 16.
    pub players: usize,
    /// Number of food items to place.
    pub food: usize,
    /// How far a player sees in each direction; the longer side of the grid for full sight.
    pub sight: usize,
    /// Every item needs the three weakest players (or all, when there are fewer).
    pub coop: bool,
    /// Levels are drawn from `1..=max_player_level`.
    pub max_player_level: usize,
    /// What a vain attempt to load costs.
    pub penalty: f64,
    /// Divide rewards so that an episode sums to 1.
    pub normalize_reward: bool,
    /// Whether observations tell levels of players.
    pub observe_agent_levels: bool,
    /// Observations as three planes `[3, 1 + 2·sight, 1 + 2·sight]` (players, food, free cells).
    pub grid_observation: bool,
    /// Steps until the episode ends.
    pub max_episode_steps: usize,
    /// Report the time limit as termination, as the Python package does, instead of truncation.
    pub limit_terminates: bool,
    /// Learners have to leave out impossible actions; the Python package lets everything be tried.
    pub masked: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rows: 8,
            cols: 8,
            players: 2,
            food: 2,
            sight: 8,
            coop: true,
            max_player_level: 2,
            penalty: 0.0,
            normalize_reward: true,
            observe_agent_levels: true,
            grid_observation: false,
            max_episode_steps: 50,
            limit_terminates: false,
            masked: false,
        }
    }
}

impl Config {
    /// The task of a name such as `Foraging-2s-8x8-2p-2f-coop-v3` (partial sight comes before the size).
    ///
    /// # Errors
    /// [`Error::Config`] when the name is not of that form.
    pub fn named(name: &str) -> Result<Self> {
        let parse = || -> Option<Self> {
            let mut parts = name.strip_prefix("Foraging-")?.split('-').peekable();
            let sight = parts.next_if(|p| p.ends_with('s')).map(|p| p.trim_end_matches('s').parse::<usize>());
            let (rows, cols) = parts.next()?.split_once('x')?;
            let (rows, cols) = (rows.parse().ok()?, cols.parse::<usize>().ok()?);
            let players = parts.next()?.strip_suffix('p')?.parse().ok()?;
            let food = parts.next()?.strip_suffix('f')?.parse().ok()?;
            let coop = parts.next_if_eq(&"coop").is_some();
            let sight = sight.transpose().ok()?.unwrap_or(std::cmp::max(rows, cols));
            parts.next()?.strip_prefix('v')?;
            Some(Self { rows, cols, players, food, sight, coop, ..Self::default() })
        };
        parse().ok_or_else(|| {
            Error::config("foraging", "name", name, "of the form Foraging[-2s]-8x8-2p-2f[-coop]-v3")
        })
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let check = |ok, field, value: usize, allowed| match ok {
            true => Ok(()),
            false => Err(Error::config("foraging", field, value, allowed)),
        };
        check((3..=100).contains(&self.rows), "rows", self.rows, "in 3..=100")?;
        check((3..=100).contains(&self.cols), "cols", self.cols, "in 3..=100")?;
        let room = self.rows * self.cols / 2;
        check(
            (1..=16.min(room)).contains(&self.players),
            "players",
            self.players,
            "in 1..=16 and half the grid",
        )?;
        check((1..=room).contains(&self.food), "food", self.food, "at least 1 and at most half the grid")?;
        check(self.sight >= 1, "sight", self.sight, "at least 1")?;
        check(
            (1..=50).contains(&self.max_player_level),
            "max_player_level",
            self.max_player_level,
            "in 1..=50",
        )?;
        check(self.max_episode_steps >= 1, "max_episode_steps", self.max_episode_steps, "at least 1")
    }
}

/// A player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    /// Row, from the top.
    pub row: usize,
    /// Column, from the left.
    pub col: usize,
    /// Level.
    pub level: usize,
}

/// Row, column and level of an item.
type Food = (usize, usize, usize);

/// One foraging grid.
#[derive(Clone, Debug)]
pub struct Foraging {
    config: Config,
    /// Shared by copies, so that thousands of them stay in the cache.
    layout: Arc<Layout>,
    players: Vec<Player>,
    /// What is left, row by row.
    food: Vec<Food>,
    food_spawned: usize,
    live: Vec<bool>,
    t: usize,
}

impl Foraging {
    /// Builds a grid; reset it before the first step.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let side = 1 + 2 * config.sight;
        let player = if config.observe_agent_levels { 3 } else { 2 };
        let observation = match config.grid_observation {
            true => 3 * side * side,
            false => 3 * config.food + player * config.players,
        };
        let agent = |i| AgentSpec {
            name: format!("player_{i}"),
            group: 0,
            observation,
            actions: ActionSpace::Discrete(ACTIONS),
        };
        let layout = Layout::new("foraging", &["player"], (0..config.players).map(agent).collect());
        Ok(Self {
            layout: Arc::new(Layout { masked: config.masked, ..layout }),
            players: vec![Player::default(); config.players],
            food: Vec::with_capacity(config.food),
            food_spawned: 0,
            live: vec![false; config.players],
            t: 0,
            config,
        })
    }

    /// Starts an episode from given players and food `(row, col, level)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when counts differ, something lies outside the grid, or two things are in one place that cannot be.
    pub fn place(&mut self, players: &[Player], food: &[Food]) -> Result<()> {
        let inside = |r, c| r < self.config.rows && c < self.config.cols;
        let fits = players.len() == self.config.players
            && food.len() <= self.config.food
            && players.iter().all(|p| inside(p.row, p.col))
            && food.iter().all(|&(r, c, level)| inside(r, c) && level > 0 && level < 256)
            && players.iter().all(|p| food.iter().all(|f| (p.row, p.col) != (f.0, f.1)))
            && food.iter().enumerate().all(|(k, f)| food[..k].iter().all(|g| (f.0, f.1) != (g.0, g.1)));
        if !fits {
            let want =
                format!("{} players and at most {} food on the grid", self.config.players, self.config.food);
            return Err(Error::shape("foraging place", want, format!("{players:?}, {food:?}")));
        }
        self.players.copy_from_slice(players);
        self.food.clear();
        self.food.extend_from_slice(food);
        self.begin();
        Ok(())
    }

    fn begin(&mut self) {
        self.food.sort_unstable();
        self.food_spawned = self.food.iter().map(|f| f.2).sum();
        self.live.fill(true);
        self.t = 0;
    }

    /// The players.
    pub fn players(&self) -> &[Player] {
        &self.players
    }

    /// The food that is left, `(row, col, level)`, row by row.
    pub fn food(&self) -> impl Iterator<Item = Food> + '_ {
        self.food.iter().copied()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The cell one step away, if it is on the grid.
    fn beside(&self, row: usize, col: usize, (dr, dc): (isize, isize)) -> Option<(usize, usize)> {
        let (row, col) = (row.checked_add_signed(dr)?, col.checked_add_signed(dc)?);
        (row < self.config.rows && col < self.config.cols).then_some((row, col))
    }

    fn level(&self, row: usize, col: usize) -> usize {
        self.food.iter().find(|f| (f.0, f.1) == (row, col)).map_or(0, |f| f.2)
    }

    /// The food beside a cell, looked for in the order up, down, left, right.
    fn food_beside(&self, row: usize, col: usize) -> Option<Food> {
        let near = |f: &&Food| f.0.abs_diff(row) + f.1.abs_diff(col) == 1;
        let order =
            |f: &&Food| NEIGHBOURS.iter().position(|&step| self.beside(row, col, step) == Some((f.0, f.1)));
        self.food.iter().filter(near).min_by_key(order).copied()
    }

    /// Whether the action would do something.
    pub fn possible(&self, player: AgentId, action: usize) -> bool {
        let Some(p) = self.players.get(player.0) else { return false };
        match action {
            0 => true,
            LOAD => self.food_beside(p.row, p.col).is_some(),
            1..LOAD => {
                self.beside(p.row, p.col, NEIGHBOURS[action - 1]).is_some_and(|(r, c)| self.level(r, c) == 0)
            }
            _ => false,
        }
    }

    /// Players whose target cell is theirs alone move.
    fn travel(&mut self, actions: &[usize; 16]) {
        let n = self.players.len();
        let target = |(p, &action): (&Player, &usize)| match action {
            move_ @ 1..LOAD => self.beside(p.row, p.col, NEIGHBOURS[move_ - 1]).unwrap_or((p.row, p.col)),
            _ => (p.row, p.col),
        };
        let mut targets = [(0, 0); 16];
        targets
            .iter_mut()
            .zip(self.players.iter().zip(actions).map(target))
            .for_each(|(to, cell)| *to = cell);
        for i in 0..n {
            if (0..n).all(|j| j == i || targets[j] != targets[i]) {
                (self.players[i].row, self.players[i].col) = targets[i];
            }
        }
    }

    /// Groups of loading players lift food or pay.
    fn load(&mut self, actions: &[usize; 16], rewards: &mut [f64]) {
        let n = self.players.len();
        let mut loading: [bool; 16] = std::array::from_fn(|i| i < n && actions[i] == LOAD);
        for i in 0..n {
            let p = self.players[i];
            let food = if loading[i] { self.food_beside(p.row, p.col) } else { None };
            let Some((row, col, food)) = food else { continue };
            let beside = |q: &Player| q.row.abs_diff(row) + q.col.abs_diff(col) == 1;
            let group: [bool; 16] = std::array::from_fn(|j| loading[j] && beside(&self.players[j]));
            let levels: usize = (0..n).filter(|&j| group[j]).map(|j| self.players[j].level).sum();
            for j in (0..n).filter(|&j| group[j]) {
                loading[j] = false;
                if levels < food {
                    rewards[j] -= self.config.penalty;
                    continue;
                }
                let share = (self.players[j].level * food) as f64;
                let total = (levels * self.food_spawned) as f64;
                rewards[j] = if self.config.normalize_reward { share / total } else { share };
            }
            if levels >= food {
                self.food.retain(|f| (f.0, f.1) != (row, col));
            }
        }
    }

    fn spawn_players(&mut self, rng: &mut dyn Rng) {
        for i in 0..self.players.len() {
            // At most half the grid is taken, so this ends.
            let (row, col) = loop {
                let cell = (rng.random_range(0..self.config.rows), rng.random_range(0..self.config.cols));
                if self.players[..i].iter().all(|p| (p.row, p.col) != cell) {
                    break cell;
                }
            };
            self.players[i] = Player { row, col, level: rng.random_range(1..=self.config.max_player_level) };
        }
    }

    /// Food goes to inner cells with no other food in the 3×3 around and none two cells away in a straight line;
    /// when 1,000 draws do not find room, there is less of it.
    fn spawn_food(&mut self, rng: &mut dyn Rng) {
        let mut levels = [usize::MAX; 16];
        levels.iter_mut().zip(&self.players).for_each(|(l, p)| *l = p.level);
        levels.sort_unstable();
        let most: usize = levels[..self.players.len().min(3)].iter().sum();
        for _ in 0..1000 {
            if self.food.len() == self.config.food {
                break;
            }
            let row = rng.random_range(1..self.config.rows - 1);
            let col = rng.random_range(1..self.config.cols - 1);
            if self.crowded(row, col) {
                continue;
            }
            let level = if self.config.coop { most } else { rng.random_range(1..=most) };
            self.food.push((row, col, level.min(255)));
        }
    }

    fn crowded(&self, row: usize, col: usize) -> bool {
        let food = self.food().any(|(r, c, _)| {
            let (dr, dc) = (r.abs_diff(row), c.abs_diff(col));
            dr.max(dc) <= 1 || (dr.min(dc) == 0 && dr.max(dc) == 2)
        });
        food || self.players.iter().any(|p| (p.row, p.col) == (row, col))
    }

    fn observe_vector(&self, me: usize, into: &mut [f32]) {
        let (sight, p) = (self.config.sight, self.players[me]);
        let (top, left) = (p.row.saturating_sub(sight), p.col.saturating_sub(sight));
        let mut out = into.iter_mut();
        let mut write = |x: f32| {
            if let Some(cell) = out.next() {
                *cell = x;
            }
        };
        let mut seen = 0;
        let near = |r: usize, c: usize| r.abs_diff(p.row) <= sight && c.abs_diff(p.col) <= sight;
        for (row, col, level) in self.food().filter(|&(r, c, _)| near(r, c)) {
            [row - top, col - left, level].iter().for_each(|&x| write(x as f32));
            seen += 1;
        }
        (seen..self.config.food).for_each(|_| [-1.0, -1.0, 0.0].into_iter().for_each(&mut write));
        // Near the upper and left border this filter lets farther players through, as the original does.
        let visible = |q: &Player| {
            q.row >= top && q.col >= left && q.row - top <= 2 * sight && q.col - left <= 2 * sight
        };
        let levels = self.config.observe_agent_levels;
        let mut hidden = 0;
        for i in std::iter::once(me).chain((0..self.players.len()).filter(|&i| i != me)) {
            let q = self.players[i];
            if !visible(&q) {
                hidden += 1;
                continue;
            }
            write((q.row - top) as f32);
            write((q.col - left) as f32);
            if levels {
                write(q.level as f32);
            }
        }
        for _ in 0..hidden {
            write(-1.0);
            write(-1.0);
            if levels {
                write(0.0);
            }
        }
    }

    fn observe_grid(&self, me: usize, into: &mut [f32]) {
        let (sight, p) = (self.config.sight as isize, self.players[me]);
        let side = (2 * sight + 1) as usize;
        if into.len() != 3 * side * side {
            return;
        }
        into.fill(0.0);
        let (players, rest) = into.split_at_mut(side * side);
        let (food, free) = rest.split_at_mut(side * side);
        for r in 0..side {
            for c in 0..side {
                let step = (r as isize - sight, c as isize - sight);
                let Some((row, col)) = self.beside(p.row, p.col, step) else { continue };
                let level = self.level(row, col);
                food[r * side + c] = level as f32;
                let here = self.players.iter().rfind(|q| (q.row, q.col) == (row, col));
                let shown = |q: &Player| if self.config.observe_agent_levels { q.level as f32 } else { 1.0 };
                players[r * side + c] = here.map_or(0.0, shown);
                free[r * side + c] = f32::from(level == 0 && here.is_none());
            }
        }
    }
}

impl MultiAgentEnv for Foraging {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reset(&mut self, rng: &mut dyn Rng) {
        self.food.clear();
        self.spawn_players(rng);
        self.spawn_food(rng);
        self.begin();
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        _rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.layout.check(&self.live, actions)?;
        if !self.live[0] {
            return Err(Error::State { operation: "step", reason: "the episode is over: call reset".into() });
        }
        let mut chosen = [0; 16];
        for (i, action) in actions.iter().enumerate() {
            if let Some(Action::Discrete(a)) = action
                && self.possible(AgentId(i), *a)
            {
                chosen[i] = *a;
            }
        }
        outcome.restart(self.players.len());
        self.travel(&chosen);
        self.load(&chosen, &mut outcome.rewards);
        self.t += 1;
        let (empty, late) = (self.food.is_empty(), self.t >= self.config.max_episode_steps);
        outcome.terminated.fill(empty || (late && self.config.limit_terminates));
        outcome.truncated.fill(late && !empty && !self.config.limit_terminates);
        self.live.fill(!(empty || late));
        Ok(())
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        match self.config.grid_observation {
            _ if agent.0 >= self.players.len() => {}
            true => self.observe_grid(agent.0, into),
            false => self.observe_vector(agent.0, into),
        }
    }

    fn mask(&self, agent: AgentId, into: &mut [bool]) {
        into.iter_mut().enumerate().for_each(|(a, m)| *m = self.possible(agent, a));
    }
}

impl Persist for Foraging {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(
            format!("{prefix}/state"),
            &(&self.players, &self.food, &self.food_spawned, &self.live, &self.t),
        )
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        (self.players, self.food, self.food_spawned, self.live, self.t) =
            state.get(&format!("{prefix}/state"))?;
        Ok(())
    }
}

/// The heuristic of the reference traces: walk to the food nearest to the team's centroid and load it.
pub fn scripted(env: &Foraging, agent: AgentId, rng: &mut dyn Rng) -> usize {
    let players = env.players();
    let n = players.len() as f64;
    let centre = (
        players.iter().map(|p| p.row as f64).sum::<f64>() / n,
        players.iter().map(|p| p.col as f64).sum::<f64>() / n,
    );
    let gap = |f: &Food| (f.0 as f64 - centre.0).abs() + (f.1 as f64 - centre.1).abs();
    let nearest = env.food().min_by(|a, b| gap(a).total_cmp(&gap(b)));
    let (Some(p), Some((row, col, _))) = (players.get(agent.0), nearest) else { return 0 };
    if p.row.abs_diff(row) + p.col.abs_diff(col) == 1 {
        return LOAD;
    }
    let wishes = [(1, row < p.row), (2, row > p.row), (3, col < p.col), (4, col > p.col)];
    let count = wishes.iter().filter(|w| w.1).count();
    match count {
        0 => 0,
        _ => {
            let pick = rng.random_range(0..count);
            wishes.iter().filter(|w| w.1).nth(pick).map_or(0, |w| w.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    fn grid(players: &[(usize, usize, usize)], food: &[(usize, usize, usize)]) -> Foraging {
        let config =
            Config { rows: 5, cols: 5, players: players.len(), food: 1, sight: 5, ..Config::default() };
        let mut env = Foraging::new(config).unwrap();
        let players: Vec<_> = players.iter().map(|&(row, col, level)| Player { row, col, level }).collect();
        env.place(&players, food).unwrap();
        env
    }

    fn step(env: &mut Foraging, actions: &[usize]) -> Outcome {
        let actions: Vec<_> = actions.iter().map(|&a| Some(Action::Discrete(a))).collect();
        let mut outcome = Outcome::new(actions.len());
        env.step(&actions, &mut SeedStream::new(0).stream("", 0), &mut outcome).unwrap();
        outcome
    }

    #[test]
    fn food_is_shared_by_level_and_normalised() {
        let mut env = grid(&[(1, 2, 1), (3, 2, 2)], &[(2, 2, 3)]);
        let outcome = step(&mut env, &[LOAD, LOAD]);
        assert_eq!(outcome.rewards, [1.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(outcome.terminated, [true, true]);
    }

    #[test]
    fn a_weak_group_gets_nothing() {
        let mut env = grid(&[(1, 2, 1), (3, 2, 2)], &[(2, 2, 3)]);
        assert_eq!(step(&mut env, &[LOAD, 0]).rewards, [0.0, 0.0]);
        assert_eq!(env.food().count(), 1);
    }

    #[test]
    fn conflicts_stop_both_swaps_pass_and_a_held_back_player_can_be_joined() {
        let mut env = grid(&[(0, 0, 1), (0, 2, 1), (0, 1, 1)], &[(3, 3, 1)]);
        step(&mut env, &[0, 3, 4]); // 1 and 2 swap
        assert_eq!((env.players[1].col, env.players[2].col), (1, 2));
        let mut env = grid(&[(0, 0, 1), (0, 2, 1), (1, 2, 1)], &[(3, 3, 1)]);
        step(&mut env, &[4, 3, 1]); // 0 and 1 both want (0, 1) and stay; 2 enters 1's cell
        assert_eq!(env.players.iter().map(|p| (p.row, p.col)).collect::<Vec<_>>(), [(0, 0), (0, 2), (0, 2)]);
    }

    #[test]
    fn names_are_read() {
        let c = Config::named("Foraging-2s-10x10-3p-3f-v3").unwrap();
        assert_eq!((c.rows, c.players, c.food, c.sight, c.coop), (10, 3, 3, 2, false));
        assert!(Config::named("Foraging-8x8-2p-2f-coop-v3").unwrap().coop);
        assert!(Config::named("Foraging-8x8").is_err());
    }
}
