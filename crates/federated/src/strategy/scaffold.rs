//! SCAFFOLD (Karimireddy et al. 2020, algorithm 1, option II): control variates remove the drift of clients
//! whose environments differ. Each local step uses `g − c_i + c`.

use super::{Instruction, Reply, Strategy, mean_of};
use crate::error::{Error, Result, check};
use crate::kernel::weighted_sum;

/// The drift-corrected gradient of a local step: `g ← g − c_i + c`, all `[D]`.
///
/// # Errors
/// Unequal lengths.
pub fn correct_gradient(gradient: &mut [f32], client_control: &[f32], server_control: &[f32]) -> Result<()> {
    if gradient.len() != client_control.len() || gradient.len() != server_control.len() {
        let got = format!("controls of {} and {}", client_control.len(), server_control.len());
        return Err(Error::shape("scaffold correction", gradient.len(), got));
    }
    for ((g, own), server) in gradient.iter_mut().zip(client_control).zip(server_control) {
        *g += server - own;
    }
    Ok(())
}

/// Updates the client's control after `K` local steps of rate `η_l` from `global` to `local` and returns
/// `c_i⁺ − c_i` for the server: `c_i⁺ = c_i − c + (x − y_i) / (K η_l)`.
///
/// # Errors
/// Unequal lengths, no steps, or a rate that is not positive.
pub fn update_client_control(
    client_control: &mut [f32],
    server_control: &[f32],
    global: &[f32],
    local: &[f32],
    local_steps: u32,
    learning_rate: f64,
) -> Result<Vec<f32>> {
    let dimension = client_control.len();
    if [server_control.len(), global.len(), local.len()] != [dimension; 3] {
        return Err(Error::shape(
            "scaffold control update",
            dimension,
            format!("{} parameters", local.len()),
        ));
    }
    check(local_steps > 0, "scaffold", "local_steps", local_steps, "≥ 1")?;
    check(learning_rate > 0.0, "scaffold", "learning_rate", learning_rate, "> 0")?;
    let scale = 1.0 / (f64::from(local_steps) * learning_rate);
    let mut change = Vec::with_capacity(dimension);
    for (j, own) in client_control.iter_mut().enumerate() {
        let difference = (scale * f64::from(global[j] - local[j])) as f32 - server_control[j];
        *own += difference;
        change.push(difference);
    }
    Ok(change)
}

/// The server: `x ← x + η_g mean(y_i − x)`, `c ← c + |S|/N · mean(c_i⁺ − c_i)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaffold {
    control: Vec<f32>,
    clients: usize,
    global_rate: f64,
}

impl Scaffold {
    /// For `dimension` parameters, `clients = N` in all, and the global rate `η_g` (the paper uses 1).
    ///
    /// # Errors
    /// No clients, or a rate that is not positive.
    pub fn new(dimension: usize, clients: usize, global_rate: f64) -> Result<Self> {
        check(clients > 0, "scaffold", "clients", clients, "≥ 1")?;
        check(global_rate > 0.0 && global_rate.is_finite(), "scaffold", "global_rate", global_rate, "> 0")?;
        Ok(Self { control: vec![0.0; dimension], clients, global_rate })
    }
}

impl Strategy for Scaffold {
    fn instruction(&self, round: u64) -> Instruction {
        Instruction { round, control: Some(self.control.clone()), ..Instruction::default() }
    }

    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let changes = replies
            .iter()
            .map(|r| match &r.control_change {
                Some(change) if change.len() == self.control.len() => Ok(change.as_slice()),
                other => Err(Error::shape(
                    "scaffold",
                    format!("a control change of {} numbers", self.control.len()),
                    format!("{} from client {}", other.as_ref().map_or(0, Vec::len), r.client),
                )),
            })
            .collect::<Result<Vec<_>>>()?;
        // the paper averages clients equally; weights, if given, are honoured
        let mean = mean_of("scaffold", global, replies)?;
        for (x, y) in global.iter_mut().zip(mean) {
            *x += self.global_rate as f32 * (y - *x);
        }
        let mut sum = vec![0.0f32; self.control.len()];
        weighted_sum(&changes, &vec![1.0 / self.clients as f64; changes.len()], &mut sum);
        self.control.iter_mut().zip(sum).for_each(|(c, s)| *c += s);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{FedAvg, reply};

    /// Two clients with losses `a_i/2 (w − b_i)²` of different curvature: the optimum of the sum is known, and
    /// FedAvg with several local steps converges elsewhere.
    #[test]
    fn it_removes_the_drift_of_heterogeneous_quadratics() {
        let (curvature, centre, rate, steps) = ([1.0f32, 4.0], [0.0f32, 1.0], 0.05f32, 10);
        let optimum = (curvature[0] * centre[0] + curvature[1] * centre[1]) / (curvature[0] + curvature[1]);
        let train = |scaffold: bool| {
            let mut server = Scaffold::new(1, 2, 1.0).unwrap();
            let (mut x, mut controls) = ([5.0f32], [[0.0f32], [0.0]]);
            for round in 0..300 {
                let c = server.instruction(round).control.unwrap();
                let replies: Vec<Reply> = (0..2)
                    .map(|i| {
                        let mut y = x;
                        for _ in 0..steps {
                            let mut g = [curvature[i] * (y[0] - centre[i])];
                            if scaffold {
                                correct_gradient(&mut g, &controls[i], &c).unwrap();
                            }
                            y[0] -= rate * g[0];
                        }
                        let mut r = reply(i as u64, &y, 1.0);
                        let change =
                            update_client_control(&mut controls[i], &c, &x, &y, steps, f64::from(rate));
                        r.control_change = Some(change.unwrap());
                        r
                    })
                    .collect();
                if scaffold {
                    server.aggregate(&mut x, &replies).unwrap();
                } else {
                    FedAvg.aggregate(&mut x, &replies).unwrap();
                }
            }
            (x[0] - optimum).abs()
        };
        let (plain, corrected) = (train(false), train(true));
        assert!(corrected < 1e-4 && plain > 0.02, "FedAvg is off by {plain}, SCAFFOLD by {corrected}");
    }
}
