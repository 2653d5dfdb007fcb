//! Who shares with whom. Bonawitz et al. 2017: everyone with everyone. Bell et al. 2020: a random `k`-regular graph
//! with `k = O(log n)`, whose degree and threshold are computed here from the tails of the distributions instead of
//! being read off a table.

use super::{ClientId, SessionId};
use crate::error::{Error, Result, check};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;

/// Neighbours of every client, sorted, without the client itself. `degree = None` is the complete graph; otherwise the
/// clients are put on a circle in an order drawn from the session's id, and each is joined with the `⌈degree/2⌉`
/// nearest on both sides (a Harary graph on permuted ids).
pub fn neighbours(
    clients: &[ClientId],
    degree: Option<usize>,
    session: &SessionId,
) -> BTreeMap<ClientId, Vec<ClientId>> {
    let n = clients.len();
    let others = |u: ClientId| clients.iter().copied().filter(|v| *v != u).collect::<Vec<_>>();
    let Some(reach) = degree.map(|k| k.div_ceil(2)).filter(|reach| 2 * reach + 1 < n) else {
        return clients.iter().map(|&u| (u, others(u))).collect();
    };
    let mut circle = clients.to_vec();
    let mut rng = ChaCha20Rng::from_seed(*session);
    for i in (1..n).rev() {
        // Fisher-Yates; the modulo's bias is below 2⁻³² for any number of clients
        circle.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    let around = |i: usize| {
        let mut list: Vec<ClientId> =
            (1..=reach).flat_map(|step| [circle[(i + step) % n], circle[(i + n - step) % n]]).collect();
        list.sort_unstable();
        list
    };
    (0..n).map(|i| (circle[i], around(i))).collect()
}

/// Degree and threshold of a sparse graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// `k`, even.
    pub degree: usize,
    /// `t`: shares (of `k + 1`, own share included) that recover a client's secrets.
    pub threshold: usize,
}

/// The least degree for `n` clients of which a share `corrupt = γ` colludes with the server and a share `dropping = δ`
/// drops out, with failure probabilities `2^{−security_bits}` (someone's neighbourhood holds `t` corrupt clients, or the
/// honest survivors' graph falls apart) and `2^{−correctness_bits}` (someone keeps fewer than `t` surviving neighbours).
///
/// Bell et al. 2020, theorem 3.10 and its three events: hypergeometric tails for both counts, union-bounded over
/// clients; connectivity by the union bound `n²/2 · (γ + δ)^k` over the pairs of runs of `k/2` consecutive lost clients
/// that cut the circle in two.
///
/// # Errors
/// Shares out of `[0, 1)`, `γ + δ ≥ 1`, or no degree below `n` that reaches the bounds: use the complete graph.
pub fn sparse(
    n: usize,
    corrupt: f64,
    dropping: f64,
    security_bits: f64,
    correctness_bits: f64,
) -> Result<Sparse> {
    const NAME: &str = "sparse_graph";
    check((0.0..1.0).contains(&corrupt), NAME, "corrupt", corrupt, "in [0, 1)")?;
    check((0.0..1.0).contains(&dropping), NAME, "dropping", dropping, "in [0, 1)")?;
    check(corrupt + dropping < 1.0, NAME, "corrupt + dropping", corrupt + dropping, "below 1")?;
    let count = |share: f64| (share * n as f64).floor() as usize;
    let (log_security, log_correctness) =
        (-security_bits * std::f64::consts::LN_2, -correctness_bits * std::f64::consts::LN_2);
    let log_n = (n.max(1) as f64).ln();
    for degree in (2..n.saturating_sub(1).min(254)).step_by(2) {
        let log_cut = 2.0 * log_n - std::f64::consts::LN_2 + degree as f64 * (corrupt + dropping).ln();
        if log_cut > log_security {
            continue;
        }
        // X corrupt among k of n−1, Y lost among k of n−1
        let corrupt_tail = upper_tails(n - 1, count(corrupt), degree);
        let lost_tail = upper_tails(n - 1, count(dropping), degree);
        for threshold in degree / 2 + 1..=degree {
            let private = log_n + corrupt_tail[threshold] <= log_security;
            // fewer than t of the k neighbours survive: more than k − t are lost
            let correct = log_n + lost_tail[degree - threshold + 1] <= log_correctness;
            if private && correct {
                return Ok(Sparse { degree, threshold });
            }
        }
    }
    Err(Error::config(NAME, "n", n, "larger for these shares: use the complete graph"))
}

/// `ln P(X ≥ i)` for `i = 0..=draws + 1`, `X` hypergeometric: `marked` of `total`, `draws` without replacement.
fn upper_tails(total: usize, marked: usize, draws: usize) -> Vec<f64> {
    let log_choose = |n: usize, k: usize| {
        let g = |x: usize| libm::lgamma(x as f64 + 1.0);
        if k > n { f64::NEG_INFINITY } else { g(n) - g(k) - g(n - k) }
    };
    let mut tails = vec![f64::NEG_INFINITY; draws + 2];
    for i in (0..=draws).rev() {
        let mass = if marked > total || draws - i > total - marked {
            f64::NEG_INFINITY
        } else {
            log_choose(marked, i) + log_choose(total - marked, draws - i) - log_choose(total, draws)
        };
        let (low, high) = (mass.min(tails[i + 1]), mass.max(tails[i + 1]));
        tails[i] = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
    }
    tails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_regular_symmetric_and_different_every_session() {
        let clients: Vec<ClientId> = (0..50).map(|i| i * 3).collect();
        let graph = neighbours(&clients, Some(10), &[1; 32]);
        for (u, list) in &graph {
            assert_eq!(list.len(), 10);
            assert!(list.iter().all(|v| v != u && graph[v].contains(u)));
        }
        assert_ne!(graph, neighbours(&clients, Some(10), &[2; 32]));
        assert_eq!(graph, neighbours(&clients, Some(10), &[1; 32]));
        let complete = neighbours(&clients, None, &[1; 32]);
        assert!(complete.values().all(|list| list.len() == 49));
        assert_eq!(neighbours(&clients[..5], Some(10), &[1; 32])[&0].len(), 4);
    }

    #[test]
    fn tails_sum_up() {
        let tails = upper_tails(10, 4, 3);
        assert!(tails[0].abs() < 1e-12);
        // P(X ≥ 3) = C(4,3) C(6,0) / C(10,3) = 4/120
        assert!((tails[3].exp() - 4.0 / 120.0).abs() < 1e-12);
    }

    #[test]
    fn degrees_grow_slowly_with_the_number_of_clients() {
        let at = |n| sparse(n, 0.05, 0.05, 40.0, 30.0).unwrap();
        let (small, large) = (at(1000), at(100_000));
        assert!(
            small.degree >= 20 && large.degree < small.degree + 40 && large.degree <= 150,
            "{small:?} {large:?}"
        );
        assert!(sparse(20, 0.3, 0.3, 40.0, 30.0).is_err());
        assert!(sparse(1000, 0.6, 0.6, 40.0, 30.0).is_err());
    }
}
