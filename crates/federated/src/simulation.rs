//! The default engine: hundreds of clients in one process, over rounds, with failures and stragglers on demand.
//!
//! A round: sample clients, train them in parallel, lose some, wait for the others only as long as the deadline, let the
//! strategy aggregate, evaluate. Every client gets its own random stream per round and replies are put in the order of
//! the clients before they are summed, so a run has the same bits for every number of threads. Time is virtual: a
//! straggler costs no waiting.

use crate::client::Client;
use crate::compression::Compressed;
use crate::error::{Error, Result, check};
use crate::privacy::Sampling;
use crate::strategy::{Reply, Strategy};
use rand::RngExt;
use rand_distr::{Distribution, Exp1};
use rayon::prelude::*;
use rl_core::seed::SeedStream;
use serde::{Deserialize, Serialize};

/// Settings of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// Seed of everything.
    pub seed: u64,
    /// `q ∈ (0, 1]`: share of the clients in a round.
    pub sampling_rate: f64,
    /// How they are chosen; see [`Sampling`].
    pub sampling: Sampling,
    /// Probability that a chosen client fails in a round and sends nothing.
    pub failure_rate: f64,
    /// Mean extra time of a client, exponentially distributed, in units of its work (1).
    pub straggler_scale: f64,
    /// Time after which the server does not wait any more; `None` waits for all.
    pub deadline: Option<f64>,
    /// Replies without which a round is skipped.
    pub fewest_replies: usize,
    /// Evaluate on every client after each `n`-th round; 0 never does.
    pub evaluate_every: u64,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            sampling_rate: 1.0,
            sampling: Sampling::FixedSize,
            failure_rate: 0.0,
            straggler_scale: 0.0,
            deadline: None,
            fewest_replies: 1,
            evaluate_every: 1,
        }
    }
}

impl SimulationConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "simulation";
        let q = self.sampling_rate;
        check(q > 0.0 && q <= 1.0, NAME, "sampling_rate", q, "in (0, 1]")?;
        check(
            (0.0..=1.0).contains(&self.failure_rate),
            NAME,
            "failure_rate",
            self.failure_rate,
            "in [0, 1]",
        )?;
        let scale = self.straggler_scale;
        check(scale >= 0.0 && scale.is_finite(), NAME, "straggler_scale", scale, "≥ 0")?;
        check(
            self.deadline.is_none_or(|d| d >= 1.0),
            NAME,
            "deadline",
            format!("{:?}", self.deadline),
            "at least 1, the time of the work itself",
        )?;
        check(self.fewest_replies >= 1, NAME, "fewest_replies", self.fewest_replies, "≥ 1")
    }
}

/// What happened in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// Number, from 0.
    pub round: u64,
    /// Clients chosen.
    pub chosen: Vec<usize>,
    /// Clients whose replies were aggregated.
    pub replied: Vec<usize>,
    /// Clients that failed, with the reason.
    pub failed: Vec<(usize, String)>,
    /// Clients that were too late.
    pub late: Vec<usize>,
    /// Why the strategy refused the round, if it did; the parameters are then unchanged.
    pub skipped: Option<String>,
    /// Virtual time that the server waited.
    pub time: f64,
    /// Bytes down: dense f32 parameters to every chosen client.
    pub bytes_down: u64,
    /// Bytes up: as the wire format gives them.
    pub bytes_up: u64,
    /// Mean of the returns that the clients saw while training.
    pub training_return: Option<f64>,
    /// Return per client after the round, where it was evaluated.
    pub returns: Vec<Option<f64>>,
}

/// Compresses one client's movement; the server trains on what arrives.
pub trait Compressor: Send + Sync {
    /// The compressed movement of `client`.
    ///
    /// # Errors
    /// As the compressor says.
    fn compress(
        &self,
        client: usize,
        movement: &[f32],
        rng: &mut rl_core::seed::StreamRng,
    ) -> Result<Compressed>;
}

/// A client's number, its virtual time, and its reply with the bytes it took.
type Outcome = (usize, f64, Result<(Reply, u64)>);

/// Clients, parameters and a strategy.
pub struct Simulation<C, S> {
    config: SimulationConfig,
    clients: Vec<C>,
    strategy: S,
    global: Vec<f32>,
    round: u64,
    compressor: Option<Box<dyn Compressor>>,
}

impl<C: Client, S: Strategy> Simulation<C, S> {
    /// A simulation from the initial parameters `global: [D]`.
    ///
    /// # Errors
    /// A setting out of range, or no clients.
    pub fn new(config: SimulationConfig, clients: Vec<C>, strategy: S, global: Vec<f32>) -> Result<Self> {
        config.validate()?;
        if clients.is_empty() {
            return Err(Error::TooFew { operation: "simulation", needed: 1, got: 0 });
        }
        Ok(Self { config, clients, strategy, global, round: 0, compressor: None })
    }

    /// Sends movements through `compressor` from now on.
    pub fn compress_with(&mut self, compressor: Box<dyn Compressor>) {
        self.compressor = Some(compressor);
    }

    /// The global parameters, `[D]`.
    pub fn global(&self) -> &[f32] {
        &self.global
    }

    /// The clients.
    pub fn clients(&self) -> &[C] {
        &self.clients
    }

    /// The strategy.
    pub fn strategy(&self) -> &S {
        &self.strategy
    }

    /// Number of the next round.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Clients of a round, ascending: each with probability `q`, or `max(1, ⌊qN + 1/2⌋)` of them.
    fn sample(&self, seeds: &SeedStream) -> Vec<usize> {
        let (n, q) = (self.clients.len(), self.config.sampling_rate);
        let mut rng = seeds.stream("sampling", self.round);
        match self.config.sampling {
            Sampling::Poisson => (0..n).filter(|_| rng.random::<f64>() < q).collect(),
            Sampling::FixedSize => {
                let m = ((q * n as f64).round() as usize).clamp(1, n);
                let mut order: Vec<usize> = (0..n).collect();
                for i in 0..m {
                    order.swap(i, rng.random_range(i..n));
                }
                order.truncate(m);
                order.sort_unstable();
                order
            }
        }
    }

    /// Plays one round. Failures of clients and refusals of the strategy are in the report, not errors.
    ///
    /// # Errors
    /// Reserved: no engine error ends a simulation today.
    pub fn step(&mut self) -> Result<RoundReport> {
        let seeds = SeedStream::new(self.config.seed);
        let instruction = self.strategy.instruction(self.round);
        let chosen = self.sample(&seeds);
        let n = self.clients.len() as u64;
        let index = |i: usize| self.round * n + i as u64;
        let mut is_chosen = vec![false; self.clients.len()];
        chosen.iter().for_each(|&i| is_chosen[i] = true);

        let (config, global, compressor) = (&self.config, &self.global, self.compressor.as_deref());
        let outcomes: Vec<Outcome> = self
            .clients
            .par_iter_mut()
            .enumerate()
            .filter(|(i, _)| is_chosen[*i])
            .map(|(i, client)| {
                let mut fate = seeds.stream("fate", index(i));
                let fails = fate.random::<f64>() < config.failure_rate;
                let delay: f64 = Exp1.sample(&mut fate);
                let time = 1.0 + config.straggler_scale * delay;
                if fails {
                    let reason = "injected failure".to_string();
                    return (i, time, Err(Error::Transport { operation: format!("client {i}"), reason }));
                }
                let result = client
                    .train(global, &instruction, &mut seeds.stream("client", index(i)))
                    .and_then(|reply| {
                        over_the_wire(reply, i, global, compressor, &mut seeds.stream("wire", index(i)))
                    });
                (i, time, result)
            })
            .collect();

        let mut report = RoundReport {
            round: self.round,
            bytes_down: chosen.len() as u64 * 4 * global.len() as u64,
            chosen,
            replied: vec![],
            failed: vec![],
            late: vec![],
            skipped: None,
            time: 0.0,
            bytes_up: 0,
            training_return: None,
            returns: vec![],
        };
        let mut replies = Vec::new();
        for (i, time, result) in outcomes {
            match result {
                Err(error) => report.failed.push((i, error.to_string())),
                Ok(_) if config.deadline.is_some_and(|d| time > d) => report.late.push(i),
                Ok((reply, bytes)) => {
                    report.replied.push(i);
                    report.bytes_up += bytes;
                    report.time = report.time.max(time);
                    replies.push(reply);
                }
            }
        }
        if let Some(deadline) = config.deadline.filter(|_| report.replied.len() < report.chosen.len()) {
            report.time = deadline;
        }
        let returns: Vec<f64> = replies.iter().filter_map(|r| r.mean_return).collect();
        report.training_return =
            (!returns.is_empty()).then(|| returns.iter().sum::<f64>() / returns.len() as f64);
        let outcome = if replies.len() < config.fewest_replies {
            Err(Error::TooFew { operation: "round", needed: config.fewest_replies, got: replies.len() })
        } else {
            self.strategy.aggregate(&mut self.global, &replies)
        };
        report.skipped = outcome.err().map(|e| e.to_string());
        self.round += 1;
        if self.config.evaluate_every > 0 && self.round.is_multiple_of(self.config.evaluate_every) {
            report.returns = self.evaluate();
        }
        Ok(report)
    }

    /// The global parameters' return in every client's environment.
    pub fn evaluate(&mut self) -> Vec<Option<f64>> {
        let seeds = SeedStream::new(self.config.seed);
        let (global, round, n) = (&self.global, self.round, self.clients.len() as u64);
        let evaluate = |(i, client): (usize, &mut C)| {
            client.evaluate(global, &mut seeds.stream("evaluate", round * n + i as u64)).ok().flatten()
        };
        self.clients.par_iter_mut().enumerate().map(evaluate).collect()
    }
}

/// Sends a reply through the compressor, if there is one, and counts its bytes.
fn over_the_wire(
    mut reply: Reply,
    client: usize,
    global: &[f32],
    compressor: Option<&dyn Compressor>,
    rng: &mut rl_core::seed::StreamRng,
) -> Result<(Reply, u64)> {
    if reply.parameters.len() != global.len() {
        return Err(Error::shape(
            "simulation",
            global.len(),
            format!("{} from client {client}", reply.parameters.len()),
        ));
    }
    let control = reply.control_change.as_ref().map_or(0, |c| 4 * c.len() as u64);
    let Some(compressor) = compressor else {
        let bytes = 4 * global.len() as u64 + control;
        return Ok((reply, bytes));
    };
    let movement: Vec<f32> = reply.parameters.iter().zip(global).map(|(y, x)| y - x).collect();
    let bytes = compressor.compress(client, &movement, rng)?.encode();
    let arrived = Compressed::decode(&bytes, global.len())?.decompress();
    reply.parameters.iter_mut().zip(global).zip(arrived).for_each(|((y, x), d)| *y = x + d);
    Ok((reply, bytes.len() as u64 + control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Qsgd, QsgdConfig};
    use crate::strategy::{FedAvg, Instruction};
    use rand_distr::StandardNormal;
    use rl_core::seed::StreamRng;

    /// Noisy gradient steps on `½ ‖w − centre‖²`: the dynamics of clients differ by their centres.
    struct Quadratic {
        id: u64,
        centre: f32,
        noise: f32,
    }

    impl Client for Quadratic {
        fn train(&mut self, global: &[f32], _: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
            let mut parameters = global.to_vec();
            for w in &mut parameters {
                let noise: f32 = StandardNormal.sample(rng);
                *w -= 0.1 * (*w - self.centre + self.noise * noise);
            }
            Ok(Reply { client: self.id, parameters, weight: 1.0, local_steps: 1, ..Reply::default() })
        }

        fn evaluate(&mut self, global: &[f32], _: &mut StreamRng) -> Result<Option<f64>> {
            Ok(Some(-f64::from((global[0] - self.centre).powi(2))))
        }
    }

    fn clients(n: usize, noise: f32) -> Vec<Quadratic> {
        (0..n).map(|i| Quadratic { id: i as u64, centre: (i % 2) as f32 * 2.0, noise }).collect()
    }

    fn config() -> SimulationConfig {
        SimulationConfig {
            seed: 5,
            sampling_rate: 0.5,
            failure_rate: 0.1,
            straggler_scale: 0.5,
            deadline: Some(2.0),
            ..SimulationConfig::default()
        }
    }

    fn run(threads: usize, compress: bool) -> (Vec<f32>, Vec<RoundReport>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut s = Simulation::new(config(), clients(200, 1.0), FedAvg, vec![9.0; 30]).unwrap();
            if compress {
                struct Q(Qsgd);
                impl Compressor for Q {
                    fn compress(&self, _: usize, m: &[f32], rng: &mut StreamRng) -> Result<Compressed> {
                        self.0.compress(m, rng)
                    }
                }
                s.compress_with(Box::new(Q(Qsgd::new(QsgdConfig::default()).unwrap())));
            }
            let reports = (0..20).map(|_| s.step().unwrap()).collect();
            (s.global().to_vec(), reports)
        })
    }

    #[test]
    fn the_same_bits_for_every_number_of_threads() {
        assert_eq!(run(1, true), run(3, true));
    }

    #[test]
    fn failures_and_stragglers_happen_at_their_rates() {
        let (global, reports) = run(2, false);
        let sum = |f: fn(&RoundReport) -> usize| reports.iter().map(f).sum::<usize>() as f64;
        let chosen = sum(|r| r.chosen.len());
        assert_eq!(chosen, 2000.0);
        assert!((sum(|r| r.failed.len()) / chosen - 0.1).abs() < 0.03);
        // P(1 + E/2 > 2) = e^{−2} of those that do not fail
        assert!((sum(|r| r.late.len()) / chosen - 0.9 * (-2.0f64).exp()).abs() < 0.03);
        assert!(reports.iter().all(|r| r.time <= 2.0 && r.skipped.is_none()));
        assert!(reports.iter().all(|r| r.bytes_up == 120 * r.replied.len() as u64));
        assert!((global[0] - 1.0).abs() < 1.2, "{}", global[0]);
        assert!(reports[19].returns.iter().all(Option::is_some));
    }

    #[test]
    fn compressed_rounds_send_fewer_bytes() {
        let up = |r: &[RoundReport]| r.iter().map(|r| r.bytes_up).sum::<u64>();
        assert!(up(&run(2, true).1) * 3 < up(&run(2, false).1));
    }

    #[test]
    fn the_error_falls_with_the_number_of_clients() {
        // stationary variance of the mean ∝ 1/N: the linear speed-up
        let error = |n: usize| {
            let config = SimulationConfig { evaluate_every: 0, ..SimulationConfig::default() };
            let same: Vec<Quadratic> =
                (0..n).map(|i| Quadratic { id: i as u64, centre: 1.0, noise: 1.0 }).collect();
            let mut s = Simulation::new(config, same, FedAvg, vec![1.0; 2000]).unwrap();
            (0..60).for_each(|_| drop(s.step().unwrap()));
            s.global().iter().map(|w| f64::from(w - 1.0).powi(2)).sum::<f64>() / 2000.0
        };
        let (one, sixteen) = (error(1), error(16));
        assert!((one / sixteen / 16.0 - 1.0).abs() < 0.25, "{one} {sixteen}");
    }

    #[test]
    fn a_round_without_enough_replies_is_skipped() {
        let config = SimulationConfig { failure_rate: 1.0, ..SimulationConfig::default() };
        let mut s = Simulation::new(config, clients(4, 0.0), FedAvg, vec![3.0]).unwrap();
        let report = s.step().unwrap();
        assert!(report.skipped.is_some() && report.failed.len() == 4 && s.global() == [3.0]);
        assert!(Simulation::new(SimulationConfig::default(), clients(0, 0.0), FedAvg, vec![]).is_err());
    }

    #[test]
    fn poisson_sampling_varies_and_fixed_size_does_not() {
        let sizes = |sampling| {
            let config = SimulationConfig { sampling_rate: 0.3, sampling, ..SimulationConfig::default() };
            let mut s = Simulation::new(config, clients(50, 0.0), FedAvg, vec![0.0]).unwrap();
            (0..10).map(|_| s.step().unwrap().chosen.len()).collect::<Vec<_>>()
        };
        assert!(sizes(Sampling::FixedSize).iter().all(|n| *n == 15));
        assert!(sizes(Sampling::Poisson).windows(2).any(|w| w[0] != w[1]));
    }
}
