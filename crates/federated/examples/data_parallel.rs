//! Data-parallel gradient descent on a quadratic, checked against the closed form: `mpirun -np 2 data_parallel`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use federated::mpi::Ranks;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ranks = Ranks::join()?;
    let (rank, count) = (ranks.rank() as f32, ranks.count() as f32);
    // rank r pulls towards r; all together towards the mean (n − 1)/2
    let mut parameters = vec![rank + 7.0; 1000];
    ranks.broadcast(&mut parameters);
    for _ in 0..200 {
        let mut gradient: Vec<f32> = parameters.iter().map(|w| w - rank).collect();
        ranks.mean(&mut gradient)?;
        parameters.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= 0.1 * g);
    }
    let target = (count - 1.0) / 2.0;
    if parameters.iter().any(|w| (w - target).abs() > 1e-4) {
        return Err(format!("rank {rank}: {} instead of {target}", parameters[0]).into());
    }
    let mut uneven = vec![0.0; 10 + ranks.rank()];
    let refused = ranks.mean(&mut uneven).is_err();
    if refused != (ranks.count() > 1) {
        return Err("uneven lengths were not refused".into());
    }
    println!("rank {rank} of {count}: agreed on {}", parameters[0]);
    Ok(())
}
