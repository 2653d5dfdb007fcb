//! A grid puzzle in which looking ahead pays: an ice rink where every push slides on until something stops it.
//!
//! Where a slide ends depends on the whole line of cells; falling into a hole on the way ends the episode. The rink is drawn anew
//! for every episode, and kept only if it can be solved, in two pushes at least, so no memorised path helps.

use rand::{Rng, RngExt};
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What can stand on a cell.
pub const KINDS: usize = 5;
const FLOOR: u8 = 0;
const WALL: u8 = 1;
const HOLE: u8 = 2;
const GOAL: u8 = 3;
const SKATER: u8 = 4;

/// The rewards that there are: a fall, a push, the goal.
pub const REWARDS: [f32; 3] = [-1.0, -0.05, 1.0];

/// The rink: `size` × `size` cells. The observation is one-hot, `[cells, KINDS]`; the actions push up, right, down, left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IceRink {
    /// Cells along an edge.
    pub size: usize,
    /// Walls.
    pub walls: usize,
    /// Holes.
    pub holes: usize,
    /// Pushes after which the episode is truncated.
    pub limit: u32,
}

impl Default for IceRink {
    fn default() -> Self {
        Self { size: 5, walls: 4, holes: 3, limit: 15 }
    }
}

/// The cells without the skater, and where the skater stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rink {
    cells: Vec<u8>,
    skater: usize,
}

/// How a slide ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slide {
    Stop(usize),
    Fall(usize),
    Goal(usize),
}

impl IceRink {
    /// Cells in all.
    pub fn cells(&self) -> usize {
        self.size * self.size
    }

    fn next(&self, cell: usize, action: usize) -> Option<usize> {
        let (row, column, last) = (cell / self.size, cell % self.size, self.size - 1);
        match action {
            0 if row > 0 => Some(cell - self.size),
            1 if column < last => Some(cell + 1),
            2 if row < last => Some(cell + self.size),
            3 if column > 0 => Some(cell - 1),
            _ => None,
        }
    }

    fn slide(&self, cells: &[u8], mut cell: usize, action: usize) -> Slide {
        while let Some(next) = self.next(cell, action) {
            match cells[next] {
                WALL => break,
                HOLE => return Slide::Fall(next),
                GOAL => return Slide::Goal(next),
                _ => cell = next,
            }
        }
        Slide::Stop(cell)
    }

    /// The fewest pushes to the goal from every cell where the skater can stand; `None` where there is no way.
    fn distances(&self, rink: &Rink) -> Option<u32> {
        let mut distance = vec![u32::MAX; rink.cells.len()];
        let mut queue = VecDeque::from([rink.skater]);
        distance[rink.skater] = 0;
        while let Some(cell) = queue.pop_front() {
            for action in 0..4 {
                match self.slide(&rink.cells, cell, action) {
                    Slide::Goal(_) => return Some(distance[cell] + 1),
                    Slide::Stop(stop) if distance[stop] == u32::MAX => {
                        distance[stop] = distance[cell] + 1;
                        queue.push_back(stop);
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// The first push of a shortest way to the goal: the reference that knows the rules.
    pub fn solve(&self, rink: &Rink) -> Option<usize> {
        let rest = |action| match self.slide(&rink.cells, rink.skater, action) {
            Slide::Goal(_) => Some(0),
            Slide::Stop(stop) => self.distances(&Rink { cells: rink.cells.clone(), skater: stop }),
            Slide::Fall(_) => None,
        };
        (0..4).filter_map(|action| rest(action).map(|d| (d, action))).min().map(|(_, action)| action)
    }

    /// The rink that an observation shows; `None` if it shows no skater. Where it shows several, the first counts.
    pub fn read(&self, observation: &[f32]) -> Option<Rink> {
        let kind = |cell: &[f32]| cell.iter().position(|&x| x > 0.5).unwrap_or(0) as u8;
        let mut cells: Vec<u8> = observation.chunks_exact(KINDS).map(kind).collect();
        let skater = cells.iter().position(|&c| c == SKATER)?;
        for cell in &mut cells {
            *cell = if *cell == SKATER { FLOOR } else { *cell };
        }
        Some(Rink { cells, skater })
    }

    fn draw(&self, rng: &mut impl Rng) -> Rink {
        let n = self.cells();
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n {
            order.swap(i, rng.random_range(i..n));
        }
        let mut cells = vec![FLOOR; n];
        let (walls, holes) = (self.walls.min(n - 2), self.holes.min(n - 2 - self.walls.min(n - 2)));
        order[2..2 + walls].iter().for_each(|&i| cells[i] = WALL);
        order[2 + walls..2 + walls + holes].iter().for_each(|&i| cells[i] = HOLE);
        cells[order[1]] = GOAL;
        Rink { cells, skater: order[0] }
    }
}

/// Rinks drawn before one without a solution is taken as it is: only a setting that leaves no room gets there.
const DRAWS: usize = 1000;

impl Simulator for IceRink {
    type State = Rink;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "IceRink".into(),
            observation: Space::uniform_box(self.cells() * KINDS, 0.0, 1.0),
            action: Space::Discrete(4),
            max_episode_steps: Some(self.limit),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> Rink {
        let mut rink = self.draw(rng);
        for _ in 0..DRAWS {
            if self.distances(&rink).is_some_and(|pushes| pushes >= 2) {
                break;
            }
            rink = self.draw(rng);
        }
        rink
    }

    fn transition(&self, rink: &mut Rink, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let (class, cell) = match self.slide(&rink.cells, rink.skater, action.index()) {
            Slide::Fall(cell) => (0, cell),
            Slide::Stop(cell) => (1, cell),
            Slide::Goal(cell) => (2, cell),
        };
        rink.skater = cell;
        (f64::from(REWARDS[class]), class != 1)
    }

    fn observe(&self, rink: &Rink, observation: &mut [f32]) {
        observation.fill(0.0);
        for (i, (cell, &kind)) in observation.chunks_exact_mut(KINDS).zip(&rink.cells).enumerate() {
            let kind = if i == rink.skater { SKATER } else { kind };
            cell[usize::from(kind)] = 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    /// ```text
    /// S . . #
    /// . . . .
    /// . O . .
    /// . . G .
    /// ```
    fn rink() -> (IceRink, Rink) {
        let rules = IceRink { size: 4, ..IceRink::default() };
        let mut cells = vec![FLOOR; 16];
        (cells[3], cells[9], cells[14]) = (WALL, HOLE, GOAL);
        (rules, Rink { cells, skater: 0 })
    }

    #[test]
    fn slides_stop_at_walls_fall_into_holes_and_end_at_the_goal() {
        let (rules, mut rink) = rink();
        let mut rng = SeedStream::new(0).stream("env", 0);
        let mut push = |rink: &mut Rink, action| rules.transition(rink, Action::Discrete(action), &mut rng);
        assert_eq!(push(&mut rink, 1), (f64::from(REWARDS[1]), false));
        assert_eq!(rink.skater, 2);
        assert_eq!(push(&mut rink.clone(), 2), (1.0, true));
        let mut beside = Rink { skater: 1, ..rink.clone() };
        assert_eq!(push(&mut beside, 2), (-1.0, true));
        assert_eq!(
            (rules.solve(&Rink { skater: 0, ..rink.clone() }), rules.solve(&rink)),
            (Some(1), Some(2))
        );
    }

    #[test]
    fn every_rink_can_be_solved_by_its_solver_in_two_pushes_or_more() {
        let rules = IceRink::default();
        let mut rng = SeedStream::new(1).stream("env", 0);
        let mut o = vec![0.0; rules.cells() * KINDS];
        for _ in 0..50 {
            let mut rink = rules.initial_state(&mut rng);
            rules.observe(&rink, &mut o);
            assert_eq!(rules.read(&o).unwrap(), rink);
            let mut pushes = 0;
            loop {
                let action = rules.solve(&rink).unwrap();
                pushes += 1;
                let (reward, over) = rules.transition(&mut rink, Action::Discrete(action), &mut rng);
                if over {
                    assert!(reward == 1.0 && pushes >= 2);
                    break;
                }
                assert!(pushes < 25);
            }
        }
    }
}
