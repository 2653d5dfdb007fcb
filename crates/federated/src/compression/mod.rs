//! Fewer bytes on the wire: top-k with error feedback, QSGD, PowerSGD.
//!
//! A compressed update is a value with a byte encoding; [`Compressed::encode`] is what travels and its length is
//! what reports count. Under secure aggregation only what is linear and the same for all clients may run: the
//! ring quantisation itself, or a mask of coordinates drawn from a shared seed. Top-k positions differ between
//! clients and QSGD's norms are secret, so both stay outside it.

pub mod power_sgd;
pub mod qsgd;
pub mod top_k;

use crate::error::{Error, Result};

pub use power_sgd::PowerSgd;
pub use qsgd::{Qsgd, QsgdConfig};
pub use top_k::TopK;

/// A compressed update.
#[derive(Clone, Debug, PartialEq)]
pub enum Compressed {
    /// All numbers as they are.
    Dense(Vec<f32>),
    /// Some coordinates of a vector of `dimension` numbers; positions ascend.
    Sparse {
        /// Length of the full vector.
        dimension: u32,
        /// Positions.
        positions: Vec<u32>,
        /// Values there.
        values: Vec<f32>,
    },
    /// QSGD levels: `x_j = bucket norm · level_j / s`.
    Quantised {
        /// `s`.
        levels: u8,
        /// Numbers per bucket.
        bucket: u32,
        /// Norm of each bucket.
        norms: Vec<f32>,
        /// Signed levels, `−s..=s`.
        codes: Vec<i8>,
    },
}

impl Compressed {
    /// The vector that the receiver uses.
    pub fn decompress(&self) -> Vec<f32> {
        match self {
            Self::Dense(values) => values.clone(),
            Self::Sparse { dimension, positions, values } => {
                let mut full = vec![0.0; *dimension as usize];
                for (&position, &value) in positions.iter().zip(values) {
                    if let Some(slot) = full.get_mut(position as usize) {
                        *slot = value;
                    }
                }
                full
            }
            Self::Quantised { levels, bucket, norms, codes } => codes
                .chunks((*bucket).max(1) as usize)
                .zip(norms)
                .flat_map(|(codes, norm)| {
                    let step = norm / f32::from(*levels);
                    codes.iter().map(move |&c| step * f32::from(c))
                })
                .collect(),
        }
    }

    /// The bytes that travel: a tag, lengths as u32, numbers little-endian. Levels take the fewest whole bits that
    /// hold `2s + 1` values.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let length = |out: &mut Vec<u8>, n: usize| out.extend((n as u32).to_le_bytes());
        match self {
            Self::Dense(values) => {
                out.push(0);
                length(&mut out, values.len());
                out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::Sparse { dimension, positions, values } => {
                out.push(1);
                length(&mut out, *dimension as usize);
                length(&mut out, positions.len());
                out.extend(positions.iter().flat_map(|p| p.to_le_bytes()));
                out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::Quantised { levels, bucket, norms, codes } => {
                out.push(2);
                out.push(*levels);
                length(&mut out, *bucket as usize);
                length(&mut out, codes.len());
                out.extend(norms.iter().flat_map(|v| v.to_le_bytes()));
                qsgd::pack(codes, *levels, &mut out);
            }
        }
        out
    }

    /// Reads what [`Compressed::encode`] wrote. `dimension` is what the receiver expects: nothing larger is
    /// allocated, whatever the bytes say.
    ///
    /// # Errors
    /// Bytes that are short, long, of another dimension, or out of range anywhere.
    pub fn decode(bytes: &[u8], dimension: usize) -> Result<Self> {
        let mut reader = Reader(bytes);
        let value = match reader.take(1)?[0] {
            0 => {
                reader.expect_dimension(dimension)?;
                Self::Dense(reader.floats(dimension)?)
            }
            1 => {
                reader.expect_dimension(dimension)?;
                let count = reader.length()?;
                if count > dimension {
                    return Err(Error::malformed(
                        "sparse update",
                        format!("{count} of {dimension} positions"),
                    ));
                }
                let positions: Vec<u32> = reader.take(4 * count)?.chunks_exact(4).map(le_u32).collect();
                let ascending = positions.windows(2).all(|w| w[0] < w[1]);
                if !ascending || positions.last().is_some_and(|p| *p as usize >= dimension) {
                    return Err(Error::malformed(
                        "sparse update",
                        "positions do not ascend within the vector",
                    ));
                }
                Self::Sparse { dimension: dimension as u32, positions, values: reader.floats(count)? }
            }
            2 => {
                let levels = reader.take(1)?[0];
                let bucket = reader.length()?;
                if !(1..=127).contains(&levels) || bucket == 0 {
                    return Err(Error::malformed("quantised update", "levels or bucket out of range"));
                }
                reader.expect_dimension(dimension)?;
                let norms = reader.floats(dimension.div_ceil(bucket))?;
                let packed = reader.take(qsgd::packed_length(dimension, levels))?;
                let codes = qsgd::unpack(packed, dimension, levels)?;
                Self::Quantised { levels, bucket: bucket as u32, norms, codes }
            }
            tag => return Err(Error::malformed("compressed update", format!("unknown kind {tag}"))),
        };
        if reader.0.is_empty() {
            Ok(value)
        } else {
            Err(Error::malformed("compressed update", "bytes left over"))
        }
    }
}

fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Takes bytes off the front, never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let short =
            || Error::malformed("compressed update", format!("needs {n} more bytes, has {}", self.0.len()));
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }

    fn length(&mut self) -> Result<usize> {
        Ok(le_u32(self.take(4)?) as usize)
    }

    fn expect_dimension(&mut self, dimension: usize) -> Result<()> {
        let got = self.length()?;
        if got == dimension {
            return Ok(());
        }
        Err(Error::malformed("compressed update", format!("{got} parameters where {dimension} are expected")))
    }

    fn floats(&mut self, n: usize) -> Result<Vec<f32>> {
        let values: Vec<f32> = self.take(4 * n)?.chunks_exact(4).map(|b| f32::from_bits(le_u32(b))).collect();
        match values.iter().position(|v| !v.is_finite()) {
            Some(j) => Err(Error::malformed("compressed update", format!("number {j} is not finite"))),
            None => Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dense_update_costs_four_bytes_a_number() {
        assert_eq!(Compressed::Dense(vec![0.0; 100]).encode().len(), 405);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), d in 0usize..20) {
            if let Ok(value) = Compressed::decode(&bytes, d) {
                prop_assert_eq!(value.decompress().len(), d);
            }
        }

        #[test]
        fn a_flipped_byte_never_panics(position in 0usize..64, to in any::<u8>()) {
            let update = Compressed::Sparse { dimension: 50, positions: vec![3, 7, 49], values: vec![1.0, -2.0, 0.5] };
            let mut bytes = update.encode();
            prop_assert_eq!(&Compressed::decode(&bytes, 50).unwrap(), &update);
            let position = position % bytes.len();
            bytes[position] = to;
            if let Ok(value) = Compressed::decode(&bytes, 50) {
                prop_assert_eq!(value.decompress().len(), 50);
            }
        }
    }
}
