//! Properties of sequence replay.

use super::*;
use crate::SeedStream;
use proptest::prelude::*;

fn config(capacity: usize, streams: usize, length: usize) -> SequenceConfig {
    SequenceConfig {
        capacity,
        streams,
        length,
        fields: vec![Field::f32("x", 2), Field::u8("image", 1), Field::f32("deter", 1)],
        cross_episodes: true,
        restart: true,
        online: false,
    }
}

/// Pushes a step that tells where it came from: x = (stream, number).
fn push(buffer: &mut SequenceBuffer, stream: usize, ends: StepEnds) -> u64 {
    let number = buffer.streams[stream].pushed;
    let x = [stream as f32, number as f32];
    let fields = [FieldRow::F32(&x), FieldRow::U8(&[number as u8]), FieldRow::F32(&[-1.0])];
    buffer.push(stream, ends, &fields).unwrap()
}

fn end(terminated: bool) -> StepEnds {
    StepEnds { terminated, ..StepEnds::default() }
}

proptest! {
    #[test]
    fn windows_are_consecutive_steps_of_one_stream(
        script in prop::collection::vec((0usize..3, prop::bool::weighted(0.15), prop::bool::weighted(0.1)), 1..120),
        capacity in 3usize..25, length in 1usize..4, cross_episodes: bool, online: bool, seed: u64,
    ) {
        let rules = SequenceConfig { cross_episodes, online, ..config(capacity, 3, length) };
        let mut buffer = SequenceBuffer::new(rules).unwrap();
        let mut first = [const { Vec::new() }; 3];
        let mut ended = [true; 3];
        for &(stream, terminated, truncated) in &script {
            push(&mut buffer, stream, StepEnds { terminated, truncated, is_first: false });
            first[stream].push(ended[stream]);
            ended[stream] = terminated || truncated;
        }
        // The slow twin: every start, checked step by step.
        let valid = |stream: usize, start: usize| {
            start + length <= first[stream].len()
                && start + capacity >= first[stream].len()
                && (cross_episodes || !first[stream][start + 1..start + length].contains(&true))
        };
        let expected: usize = (0..3).map(|s| (0..first[s].len()).filter(|&t| valid(s, t)).count()).sum();
        prop_assert_eq!(buffer.windows(), expected);
        let mut batch = SequenceBatch::default();
        let mut rng = SeedStream::new(seed).stream("replay", 0);
        if expected == 0 {
            prop_assert!(buffer.sample(1, &mut rng, &mut batch).is_err());
            return Ok(());
        }
        let size = 8;
        for _ in 0..3 {
            buffer.sample(size, &mut rng, &mut batch).unwrap();
            for (b, &(stream, start)) in batch.starts.iter().enumerate() {
                prop_assert!(valid(stream, start as usize));
                for t in 0..length {
                    let at = t * size + b;
                    let number = start as usize + t;
                    prop_assert_eq!(&batch.fields[0].f32()[2 * at..2 * at + 2], &[stream as f32, number as f32]);
                    prop_assert_eq!(batch.fields[1].u8()[at], number as u8);
                    prop_assert_eq!(batch.is_first[at], t == 0 || first[stream][number]);
                }
            }
        }
    }
}

#[test]
fn every_valid_start_is_equally_frequent() {
    let mut buffer = SequenceBuffer::new(config(40, 3, 5)).unwrap();
    for (stream, steps) in [(0, 100), (1, 12), (2, 4)] {
        (0..steps).for_each(|t| _ = push(&mut buffer, stream, end(t % 7 == 6)));
    }
    assert_eq!(buffer.windows(), 36 + 8);
    let mut rng = SeedStream::new(3).stream("replay", 0);
    let mut batch = SequenceBatch::default();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        buffer.sample(44, &mut rng, &mut batch).unwrap();
        batch.starts.iter().for_each(|&start| *counts.entry(start).or_insert(0.0) += 1.0);
    }
    assert_eq!(counts.len(), 44);
    let chi_square: f64 = counts.values().map(|count: &f64| (count - 1000.0).powi(2) / 1000.0).sum();
    // 43 degrees of freedom: mean 43, standard deviation 9.3.
    assert!((10.0..90.0).contains(&chi_square), "{chi_square}");
}

#[test]
fn fresh_windows_come_first_and_once() {
    let rules = SequenceConfig { online: true, ..config(12, 2, 3) };
    let mut buffer = SequenceBuffer::new(rules).unwrap();
    for _ in 0..7 {
        push(&mut buffer, 0, end(false));
        push(&mut buffer, 1, end(false));
    }
    let mut rng = SeedStream::new(3).stream("replay", 0);
    let mut batch = SequenceBatch::default();
    buffer.sample(4, &mut rng, &mut batch).unwrap();
    assert_eq!(batch.starts, [(0, 0), (1, 0), (0, 3), (1, 3)]);
    assert!(buffer.online.is_empty());
    // Without anybody sampling, the queue does not outgrow the ring.
    (0..500).for_each(|_| _ = push(&mut buffer, 0, end(false)));
    push(&mut buffer, 1, end(false));
    assert!(buffer.online.len() <= 2 * 4);
    buffer.sample(1, &mut rng, &mut batch).unwrap();
    assert!(batch.starts[0].1 >= 507 - 12);
}

#[test]
fn latents_are_written_back_where_they_came_from() {
    let mut buffer = SequenceBuffer::new(config(6, 1, 3)).unwrap();
    (0..6).for_each(|_| _ = push(&mut buffer, 0, end(false)));
    let mut batch = SequenceBatch { starts: vec![(0, 0), (0, 3)], ..SequenceBatch::default() };
    buffer.gather(&mut batch).unwrap();
    push(&mut buffer, 0, end(false)); // overwrites step 0
    let deter = buffer.field("deter").unwrap();
    assert_eq!(buffer.write_back(deter, &batch, &[10.0, 13.0, 11.0, 14.0, 12.0, 15.0]).unwrap(), 5);
    let mut after = SequenceBatch { starts: vec![(0, 1), (0, 4)], ..SequenceBatch::default() };
    buffer.gather(&mut after).unwrap();
    assert_eq!(after.fields[deter].f32(), [11.0, 14.0, 12.0, 15.0, 13.0, -1.0]);
    assert!(buffer.gather(&mut batch).unwrap_err().to_string().contains("start 0"));
    assert!(buffer.write_back(1, &after, &[0.0; 6]).is_err());
    assert!(buffer.write_back(deter, &after, &[0.0; 5]).is_err());
}

#[test]
fn without_restart_only_real_beginnings_are_marked() {
    let rules = SequenceConfig { restart: false, ..config(8, 1, 2) };
    let mut buffer = SequenceBuffer::new(rules).unwrap();
    for terminated in [false, false, true, false] {
        push(&mut buffer, 0, end(terminated));
    }
    let starts = vec![(0, 0), (0, 1), (0, 2)];
    let mut batch = SequenceBatch { starts, ..SequenceBatch::default() };
    buffer.gather(&mut batch).unwrap();
    assert_eq!(batch.is_first, [true, false, false, false, false, true]);
    assert_eq!(batch.terminated, [false, false, true, false, true, false]);
}

#[test]
fn saved_and_loaded_the_next_hundred_samples_are_equal() {
    let rules = SequenceConfig { online: true, cross_episodes: false, ..config(30, 2, 4) };
    let mut original = SequenceBuffer::new(rules.clone()).unwrap();
    for t in 0..90 {
        push(&mut original, t % 2, end(t % 19 == 18));
    }
    let mut state = TrainState::default();
    original.save("replay", &mut state).unwrap();
    let mut copy = SequenceBuffer::new(rules).unwrap();
    copy.load("replay", &state).unwrap();
    let mut rngs = [SeedStream::new(1).stream("replay", 0), SeedStream::new(1).stream("replay", 0)];
    let mut batches = [SequenceBatch::default(), SequenceBatch::default()];
    for t in 0..100 {
        for ((buffer, rng), batch) in [&mut original, &mut copy].into_iter().zip(&mut rngs).zip(&mut batches)
        {
            push(buffer, t % 2, end(t % 17 == 16));
            buffer.sample(3, rng, batch).unwrap();
        }
        assert_eq!(batches[0], batches[1]);
    }
    assert!(SequenceBuffer::new(config(30, 2, 5)).unwrap().load("replay", &state).is_err());
}

#[test]
fn bad_input_is_named() {
    assert!(SequenceBuffer::new(config(3, 1, 4)).unwrap_err().to_string().contains("capacity"));
    let twice = SequenceConfig { fields: vec![Field::f32("x", 1), Field::u8("x", 1)], ..config(4, 1, 2) };
    assert!(SequenceBuffer::new(twice).unwrap_err().to_string().contains("fields = x"));
    let mut buffer = SequenceBuffer::new(config(4, 1, 2)).unwrap();
    let fields = [FieldRow::F32(&[0.0]), FieldRow::U8(&[0]), FieldRow::F32(&[0.0])];
    assert!(buffer.push(0, end(false), &fields).unwrap_err().to_string().contains("`x`"));
    let mut rng = SeedStream::new(1).stream("replay", 0);
    let error = buffer.sample(1, &mut rng, &mut SequenceBatch::default()).unwrap_err();
    assert!(error.to_string().contains("2 consecutive steps"), "{error}");
}
