//! Noise tensors from a seeded generator.

use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// Independent N(0, 1) numbers, drawn in order of the elements.
///
/// # Errors
/// [`Error::Shape`] for an element type other than f32 and f64, [`Error::Tensor`] from the device.
pub fn standard_normal(
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
    rng: &mut impl Rng,
) -> Result<Tensor> {
    filled(shape.into(), dtype, device, || rng.sample(StandardNormal))
}

/// Independent numbers uniform on [0, 1), drawn in order of the elements.
///
/// # Errors
/// As [`standard_normal`].
pub fn uniform(shape: impl Into<Shape>, dtype: DType, device: &Device, rng: &mut impl Rng) -> Result<Tensor> {
    filled(shape.into(), dtype, device, || rng.random())
}

/// Draws in f64 whatever the element type, so that both types see the same noise.
fn filled(shape: Shape, dtype: DType, device: &Device, mut draw: impl FnMut() -> f64) -> Result<Tensor> {
    let count = shape.elem_count();
    Ok(match dtype {
        DType::F32 => {
            // Rounding must not reach 1 from below.
            let below = |x: f64| if x < 1.0 { (x as f32).min(1.0 - f32::EPSILON / 2.0) } else { x as f32 };
            Tensor::from_vec((0..count).map(|_| below(draw())).collect::<Vec<f32>>(), shape, device)?
        }
        DType::F64 => Tensor::from_vec((0..count).map(|_| draw()).collect::<Vec<f64>>(), shape, device)?,
        other => return Err(Error::shape("noise", "f32 or f64", other.as_str())),
    })
}

/// The elements on the host in f64.
pub(super) fn host(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    #[test]
    fn both_types_see_the_same_noise() {
        let draw = |dtype| {
            let mut rng = SeedStream::new(1).stream("noise", 0);
            let normal = standard_normal((50, 40), dtype, &Device::Cpu, &mut rng).unwrap();
            let uniform = uniform((50, 40), dtype, &Device::Cpu, &mut rng).unwrap();
            [host(&normal).unwrap(), host(&uniform).unwrap()].concat()
        };
        let (narrow, wide) = (draw(DType::F32), draw(DType::F64));
        assert!(narrow.iter().zip(&wide).all(|(a, b)| (a - b).abs() < 1e-6));
        let mean = wide[..2000].iter().sum::<f64>() / 2000.0;
        let var = wide[..2000].iter().map(|x| x * x).sum::<f64>() / 2000.0;
        assert!(mean.abs() < 0.1 && (var - 1.0).abs() < 0.15);
        assert!(narrow[2000..].iter().all(|u| (0.0..1.0).contains(u)));
    }
}
