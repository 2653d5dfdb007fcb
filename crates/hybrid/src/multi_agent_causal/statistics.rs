//! Sufficient statistics of linear Gaussian structure learning, and their sum under secure aggregation.

use crate::error::{Error, Result};
use causal::data::Table;
use causal::discovery::{Knowledge, PcConfig, pc};
use causal::graph::MixedGraph;
use causal::independence::FisherZ;
use federated::secure_aggregation::SessionConfig;
use federated::secure_aggregation::session::{Member, play, simulated_identities};
use rl_core::SeedStream;

/// n, Σ xᵢ and Σ xᵢ xⱼ over the rows of one agent or of many.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    names: Vec<String>,
    rows: u64,
    /// `[p]`
    sums: Vec<f64>,
    /// `[p (p + 1) / 2]`: Σ xᵢ xⱼ for i ≤ j, row by row.
    products: Vec<f64>,
}

/// Bytes that a secure sum took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From all agents together.
    pub bytes_up: u64,
    /// To all agents together.
    pub bytes_down: u64,
}

/// Fixed point: 20 binary digits after the point, 64 altogether.
const UNIT: f64 = (1u64 << 20) as f64;
/// Statistics are below this, so that the sum over 65,536 agents fits.
const LARGEST: f64 = (1u64 << 26) as f64;
/// A number travels as four limbs of 16 bits in words of 32: sums over 65,536 agents do not overflow a word.
const LIMBS: usize = 4;

impl Statistics {
    /// Those of a table.
    pub fn of(table: &Table) -> Self {
        let (p, columns) = (table.len(), table.columns());
        let dot = |i: usize, j: usize| columns[i].iter().zip(&columns[j]).map(|(a, b)| a * b).sum();
        Self {
            names: table.names().to_vec(),
            rows: table.rows() as u64,
            sums: columns.iter().map(|c| c.iter().sum()).collect(),
            products: (0..p).flat_map(|i| (i..p).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect(),
        }
    }

    /// Rows that are in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The names of the variables.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The sum of agents' statistics in the open.
    ///
    /// # Errors
    /// [`Error::Shape`] without agents, or for agents with other variables than the first.
    pub fn sum(all: &[Self]) -> Result<Self> {
        let mut total =
            all.first().cloned().ok_or_else(|| Error::shape("Statistics::sum", "at least one agent", 0))?;
        for other in &all[1..] {
            if other.names != total.names {
                let (want, got) = (format!("{:?}", total.names), format!("{:?}", other.names));
                return Err(Error::shape("Statistics::sum", want, got));
            }
            total.rows += other.rows;
            total.sums.iter_mut().zip(&other.sums).for_each(|(t, x)| *t += x);
            total.products.iter_mut().zip(&other.products).for_each(|(t, x)| *t += x);
        }
        Ok(total)
    }

    /// Σ̂ᵢⱼ = (Σ xᵢ xⱼ − Σ xᵢ Σ xⱼ / n) / n, row-major `[p, p]`.
    pub fn covariance(&self) -> Vec<f64> {
        let (p, n) = (self.names.len(), self.rows as f64);
        let mut all = vec![0.0; p * p];
        let mut products = self.products.iter();
        for i in 0..p {
            for j in i..p {
                let product = products.next().copied().unwrap_or(0.0);
                let value = (product - self.sums[i] * self.sums[j] / n) / n;
                (all[i * p + j], all[j * p + i]) = (value, value);
            }
        }
        all
    }

    /// The PC algorithm with Fisher's z on these statistics.
    ///
    /// # Errors
    /// As [`pc`]: too few rows, a constant variable, settings out of range.
    pub fn discover(&self, config: &PcConfig, knowledge: &Knowledge) -> Result<MixedGraph> {
        let test = FisherZ::from_covariance(self.names.clone(), &self.covariance(), self.rows as usize)?;
        Ok(pc(&test, &self.names, config, knowledge)?.graph)
    }

    /// Words for the protocol: every number rounded to 2⁻²⁰, in limbs.
    fn encode(&self) -> Result<Vec<u32>> {
        let numbers = [self.rows as f64].into_iter().chain(self.sums.iter().chain(&self.products).copied());
        let mut words = Vec::with_capacity(LIMBS * (1 + self.sums.len() + self.products.len()));
        for x in numbers {
            crate::error::within("a statistic", x, (-LARGEST, LARGEST), "below 2²⁶: standardise the data")?;
            let fixed = (x * UNIT).round() as i64 as u64;
            words.extend((0..LIMBS).map(|k| (fixed >> (16 * k)) as u32 & 0xffff));
        }
        Ok(words)
    }

    /// From summed words; carries between limbs happen here.
    fn decode(names: Vec<String>, words: &[u32]) -> Self {
        let number = |limbs: &[u32]| {
            let join = |sum: u64, (k, &limb): (usize, &u32)| sum.wrapping_add(u64::from(limb) << (16 * k));
            limbs.iter().enumerate().fold(0, join) as i64 as f64 / UNIT
        };
        let mut numbers = words.chunks_exact(LIMBS).map(number);
        let rows = numbers.next().unwrap_or(0.0) as u64;
        let sums = numbers.by_ref().take(names.len()).collect();
        Self { names, rows, sums, products: numbers.collect() }
    }
}

/// The sum of the agents' statistics by secure aggregation on the complete graph: exact to 2⁻²⁰ per agent and number, and nobody
/// learns anything but the sum.
///
/// # Errors
/// [`Error::Shape`] for fewer than two agents or different variables; [`Error::Range`] for numbers of 2²⁶ and more; what the protocol
/// reports.
pub fn secure_sum(agents: &[Statistics], seeds: SeedStream) -> Result<(Statistics, Traffic)> {
    let first = agents.first().filter(|_| agents.len() >= 2);
    let first = first.ok_or_else(|| Error::shape("secure_sum", "at least two agents", agents.len()))?;
    if let Some(odd) = agents.iter().find(|a| a.names != first.names) {
        let (want, got) = (format!("{:?}", first.names), format!("{:?}", odd.names));
        return Err(Error::shape("secure_sum", want, got));
    }
    let identities = simulated_identities(agents.len(), seeds);
    let member = |(id, (agent, identity)): (usize, (&Statistics, _))| -> Result<Member> {
        Ok(Member { id: id as u32, identity, input: agent.encode()?, silent_from: None })
    };
    let members: Vec<Member> =
        agents.iter().zip(identities).enumerate().map(member).collect::<Result<_>>()?;
    let config = SessionConfig::complete(agents.len(), members[0].input.len());
    let mut session = [0; 32];
    rand::Rng::fill_bytes(&mut seeds.stream("session", 0), &mut session);
    let played = play(config, session, members, seeds)?;
    let total = Statistics::decode(first.names.clone(), &played.aggregate.sum);
    Ok((total, Traffic { bytes_up: played.bytes_up, bytes_down: played.bytes_down }))
}
