//! Clients that share a part of their parameters and keep the rest: FedPer (Arivazhagan et al. 2019) with a private head,
//! or the environment embeddings of Jin et al. 2022 (section 5) with a private embedding.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::strategy::personal::Sharing;
use crate::strategy::{Instruction, Reply};
use rl_core::seed::StreamRng;

/// A client behind a split of its vector: what travels, and what the server averages, is the shared part.
///
/// FedProx's penalty pulls the private part to where it stood when the round began. SCAFFOLD is refused: its control
/// variates would be those of parameters that no server knows.
pub struct Personal<C> {
    client: C,
    sharing: Sharing,
    full: Vec<f32>,
}

impl<C> Personal<C> {
    /// A client that starts with `full: [D]`.
    ///
    /// # Errors
    /// Another length than that of the sharing's layout.
    pub fn new(client: C, sharing: Sharing, full: Vec<f32>) -> Result<Self> {
        sharing.extract(&full)?;
        Ok(Self { client, sharing, full })
    }

    /// All parameters, shared and private, `[D]`.
    pub fn parameters(&self) -> &[f32] {
        &self.full
    }

    /// The shared part: where the server starts.
    ///
    /// # Errors
    /// None after [`Personal::new`].
    pub fn shared(&self) -> Result<Vec<f32>> {
        self.sharing.extract(&self.full)
    }
}

impl<C: Client> Client for Personal<C> {
    fn train(&mut self, global: &[f32], instruction: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
        if instruction.control.is_some() {
            return Err(Error::shape("personal client", "no control variate", "SCAFFOLD's"));
        }
        self.sharing.insert(&mut self.full, global)?;
        let mut reply = self.client.train(&self.full, instruction, rng)?;
        self.full.clone_from(&reply.parameters);
        reply.parameters = self.shared()?;
        Ok(reply)
    }

    fn evaluate(&mut self, global: &[f32], rng: &mut StreamRng) -> Result<Option<f64>> {
        self.sharing.insert(&mut self.full, global)?;
        self.client.evaluate(&self.full, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::environment::Dynamics;
    use crate::rl::policy::PolicyConfig;
    use crate::rl::ppo::{PpoClient, PpoConfig};
    use crate::simulation::{Simulation, SimulationConfig};
    use crate::strategy::FedAvg;
    use rl_core::SeedStream;

    #[test]
    fn heads_and_embeddings_stay_at_home() {
        let policy = PolicyConfig { hidden: vec![8], embedding: 2, ..PolicyConfig::default() };
        let config = PpoConfig { policy, evaluation_episodes: 1, ..PpoConfig::default() };
        let dynamics = Dynamics::point_control().spread(2, 1.0).unwrap();
        let clients: Vec<Personal<PpoClient>> = (0..2)
            .map(|i| {
                let client = PpoClient::new(i, &config, &dynamics[i as usize], SeedStream::new(0)).unwrap();
                let sharing = Sharing::all_but(&client.policy().layout(), &["embedding", "log_std"]).unwrap();
                let full = client.initial_parameters().unwrap();
                Personal::new(client, sharing, full).unwrap()
            })
            .collect();
        let shared = clients[0].shared().unwrap();
        assert_eq!(shared.len() + 4, clients[0].parameters().len());
        let mut simulation = Simulation::new(SimulationConfig::default(), clients, FedAvg, shared).unwrap();
        for _ in 0..3 {
            assert!(simulation.step().unwrap().failed.is_empty());
        }
        let [a, b] = simulation.clients() else { panic!("two clients") };
        assert_ne!(a.parameters()[..2], [0.0, 0.0], "the embedding is trained");
        assert_ne!(a.parameters()[..2], b.parameters()[..2], "and differs");
        assert_eq!(a.parameters()[2..20], b.parameters()[2..20], "what is shared was set by the server");
    }
}
