//! Personalisation: what clients share and what each keeps for itself.
//!
//! FedPer (Arivazhagan et al. 2019) shares the lower layers and keeps the head local; the personalised federated
//! RL of Jin et al. 2022 (section 5) gives each client a learned embedding of its environment, which is
//! concatenated to the state, and shares the rest. Both are a split of the flat vector into groups.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// One named layer of a flat parameter vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Name, such as `actor.0.weight`.
    pub name: String,
    /// Shape, row-major; an empty shape is a scalar.
    pub shape: Vec<usize>,
}

/// The layers of a flat vector, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout(pub Vec<Layer>);

impl Layout {
    /// Numbers in all layers together.
    pub fn dimension(&self) -> usize {
        self.0.iter().map(|l| l.shape.iter().product::<usize>()).sum()
    }

    /// Each layer's name and place in the flat vector.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.0.iter().scan(0, |start, layer| {
            let range = *start..*start + layer.shape.iter().product::<usize>();
            *start = range.end;
            Some((layer.name.as_str(), range))
        })
    }
}

/// Which parameters travel. The others stay with each client, and the server never sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    dimension: usize,
    shared: Vec<Range<usize>>,
}

impl Sharing {
    /// Shares the layers whose names do not start with any of `private_prefixes` (FedPer: the head; environment
    /// embeddings: the embedding).
    ///
    /// # Errors
    /// A prefix that no layer has, or nothing left to share.
    pub fn all_but(layout: &Layout, private_prefixes: &[&str]) -> Result<Self> {
        for prefix in private_prefixes {
            if !layout.0.iter().any(|l| l.name.starts_with(prefix)) {
                return Err(Error::shape("sharing", format!("a layer named {prefix}…"), "none of that name"));
            }
        }
        let keep = |name: &str| !private_prefixes.iter().any(|p| name.starts_with(p));
        let shared: Vec<_> = layout.ranges().filter(|(name, _)| keep(name)).map(|(_, range)| range).collect();
        if shared.is_empty() {
            return Err(Error::shape("sharing", "at least one shared layer", "only private ones"));
        }
        Ok(Self { dimension: layout.dimension(), shared })
    }

    /// Numbers that travel.
    pub fn shared_dimension(&self) -> usize {
        self.shared.iter().map(|r| r.len()).sum()
    }

    /// The shared part of a client's full vector.
    ///
    /// # Errors
    /// A vector of another length than the layout's.
    pub fn extract(&self, full: &[f32]) -> Result<Vec<f32>> {
        self.check_full(full.len())?;
        Ok(self.shared.iter().flat_map(|r| &full[r.clone()]).copied().collect())
    }

    /// Overwrites the shared part of a client's full vector, leaving its private part alone.
    ///
    /// # Errors
    /// Lengths that do not fit the layout.
    pub fn insert(&self, full: &mut [f32], shared: &[f32]) -> Result<()> {
        self.check_full(full.len())?;
        if shared.len() != self.shared_dimension() {
            return Err(Error::shape(
                "sharing",
                format!("{} shared numbers", self.shared_dimension()),
                shared.len(),
            ));
        }
        let mut rest = shared;
        for range in &self.shared {
            let (now, later) = rest.split_at(range.len());
            full[range.clone()].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    fn check_full(&self, length: usize) -> Result<()> {
        if length == self.dimension {
            return Ok(());
        }
        Err(Error::shape("sharing", format!("{} parameters", self.dimension), length))
    }
}

/// The environment embeddings that clients have learned (Jin et al. 2022): a client seen before starts from its
/// own, an unseen environment from the mean of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Embeddings(BTreeMap<u64, Vec<f32>>);

impl Embeddings {
    /// Remembers the embedding of a client.
    ///
    /// # Errors
    /// Another length than the embeddings known already.
    pub fn remember(&mut self, client: u64, embedding: Vec<f32>) -> Result<()> {
        if let Some(other) = self.0.values().next().filter(|e| e.len() != embedding.len()) {
            return Err(Error::shape("embeddings", format!("{} numbers", other.len()), embedding.len()));
        }
        self.0.insert(client, embedding);
        Ok(())
    }

    /// The client's own embedding, else the mean of all; `None` when none is known.
    pub fn of(&self, client: u64) -> Option<Vec<f32>> {
        if let Some(own) = self.0.get(&client) {
            return Some(own.clone());
        }
        let mut mean = vec![0.0f32; self.0.values().next()?.len()];
        for embedding in self.0.values() {
            mean.iter_mut().zip(embedding).for_each(|(m, e)| *m += e / self.0.len() as f32);
        }
        Some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let layer = |name: &str, shape: &[usize]| Layer { name: name.into(), shape: shape.to_vec() };
        Layout(vec![
            layer("body.weight", &[2, 2]),
            layer("embedding", &[1]),
            layer("body.bias", &[2]),
            layer("head", &[2]),
        ])
    }

    #[test]
    fn only_the_shared_part_travels() {
        let sharing = Sharing::all_but(&layout(), &["head", "embedding"]).unwrap();
        let mut full: Vec<f32> = (0..9).map(|x| x as f32).collect();
        assert_eq!(sharing.extract(&full).unwrap(), [0.0, 1.0, 2.0, 3.0, 5.0, 6.0]);
        sharing.insert(&mut full, &[9.0; 6]).unwrap();
        assert_eq!(full, [9.0, 9.0, 9.0, 9.0, 4.0, 9.0, 9.0, 7.0, 8.0]);
        assert!(sharing.insert(&mut full, &[9.0; 5]).is_err());
        assert!(Sharing::all_but(&layout(), &["neck"]).is_err());
        assert!(Sharing::all_but(&layout(), &["body", "head", "embedding"]).is_err());
    }

    #[test]
    fn an_unseen_environment_starts_from_the_mean_embedding() {
        let mut e = Embeddings::default();
        assert_eq!(e.of(1), None);
        e.remember(1, vec![1.0, 3.0]).unwrap();
        e.remember(2, vec![3.0, 5.0]).unwrap();
        assert_eq!((e.of(1).unwrap(), e.of(9).unwrap()), (vec![1.0, 3.0], vec![2.0, 4.0]));
        assert!(e.remember(3, vec![1.0]).is_err());
    }
}
