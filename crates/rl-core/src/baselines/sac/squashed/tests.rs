use super::*;
use crate::SeedStream;
use candle_core::{Device, Var};
use rand::RngExt;
use rand_distr::StandardNormal;

const A: usize = 2;

/// Outputs of an actor that reach both limits of ln σ, and noise.
fn data(b: usize) -> (Vec<f64>, Vec<f64>) {
    let mut rng = SeedStream::new(5).stream("numbers", 0);
    let mut outputs: Vec<f64> = (0..b * 2 * A).map(|_| 1.5 * rng.sample::<f64, _>(StandardNormal)).collect();
    (outputs[2], outputs[7]) = (2.5, -21.0);
    (outputs, (0..b * A).map(|_| rng.sample(StandardNormal)).collect())
}

#[test]
fn values_and_gradients_equal_the_slow_twin() {
    let b = 6;
    let (outputs, noise) = data(b);
    let x = Var::from_tensor(&Tensor::from_vec(outputs, (b, 2 * A), &Device::Cpu).unwrap()).unwrap();
    let weights = Tensor::arange(1f64, 1.0 + (b * (A + 1)) as f64, &Device::Cpu).unwrap();
    let weights = weights.reshape((b, A + 1)).unwrap();
    let run = |samples: Tensor| {
        let grads = (&samples * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (flat(&samples), flat(grads.get(&x).unwrap()))
    };
    let fast = run(x.apply_op1(SampleSquashed { noise: noise.clone(), actions: A }).unwrap());
    let noise = Tensor::from_vec(noise, (b, A), &Device::Cpu).unwrap();
    let slow = run(sample_squashed_composed(&x, &noise, A).unwrap());
    for (f, s) in fast.0.iter().zip(&slow.0).chain(fast.1.iter().zip(&slow.1)) {
        assert!((f - s).abs() < 1e-9 * (1.0 + s.abs()), "{f} {s}");
    }
    assert_eq!((fast.1[2], fast.1[7]), (0.0, 0.0), "beyond its limits ln σ gets no gradient");
}

#[test]
fn the_gradient_equals_finite_differences() {
    let (outputs, noise) = data(3);
    let d: Vec<f64> = (0..3 * (A + 1)).map(|i| (i as f64 * 0.7).sin()).collect();
    let loss = |outputs: &[f64]| -> f64 {
        sample_squashed(outputs, &noise, A).iter().zip(&d).map(|(s, d)| s * d).sum()
    };
    let op = SampleSquashed { noise: noise.clone(), actions: A };
    let gradient = op.backward(&outputs, &sample_squashed(&outputs, &noise, A), &d);
    for (i, g) in gradient.iter().enumerate() {
        let at = |h: f64| {
            let mut moved = outputs.clone();
            moved[i] += h;
            loss(&moved)
        };
        let want = (at(1e-6) - at(-1e-6)) / 2e-6;
        assert!((g - want).abs() < 1e-6 * (1.0 + want.abs()), "{i}: {g} {want}");
    }
}

#[test]
fn the_density_integrates_to_one_and_far_out_everything_is_finite() {
    // ∫ p(a) da over a grid of ε: p(a) da = p(a) (1 − a²) σ dε.
    let (mean, log_std, n) = (0.4, -0.3f64, 40_000);
    let step = 16.0 / f64::from(n);
    let integral: f64 = (0..n)
        .map(|i| {
            let noise = -8.0 + (f64::from(i) + 0.5) * step;
            let sample = sample_squashed(&[mean, log_std], &[noise], 1);
            sample[1].exp() * (1.0 - sample[0] * sample[0]) * log_std.exp() * step
        })
        .sum();
    assert!((integral - 1.0).abs() < 1e-6, "{integral}");
    for mean in [-1e3f32, -30.0, 30.0, 1e3] {
        let outputs = [mean, 1e3];
        let samples = sample_squashed(&outputs, &[1.0], 1);
        let op = SampleSquashed { noise: vec![1.0], actions: 1 };
        let gradient = op.backward(&outputs, &samples, &[1.0, 1.0]);
        assert!(samples.iter().chain(&gradient).all(|x| x.is_finite()), "{mean}: {samples:?} {gradient:?}");
    }
}
