//! Decoding with caches against the forward pass over all positions, which sees neither padding nor the future.

use super::device::{gpu, gpu_of_hardware};
use super::{Decoding, LONGEST, VOCABULARY, lines, options};
use seqloom::cpu::{Cpu, Mode};
use seqloom::device::Device;
use seqloom::recipe::Model;

/// Largest difference, relative to the largest logit of the row.
fn apart(have: &[f32], want: &[f32]) -> f64 {
    assert!(have.iter().chain(want).all(|v| v.is_finite()));
    let largest = want.iter().fold(0f32, |a, v| a.max(v.abs()));
    have.iter().zip(want).fold(0f64, |a, (h, w)| a.max(((h - w) / largest).abs() as f64))
}

fn remembers_what_it_would_compute(device: impl Fn() -> Device, options: &Model) {
    let [mut d, mut one_by_one] = [device(), device()].map(|device| Decoding::with(device, options));
    let lines = &lines(20)[17..];
    let (translations, _) = d.greedy(lines, LONGEST);
    let longest = translations.iter().map(Vec::len).max().expect("three lines");
    assert_eq!(longest, LONGEST, "no line is long enough to be looked at");
    let [_, logits] = d.forward(lines, 48, &translations);
    let mut worst: f64 = 0.0;
    for position in [0, 1, 2, 5, LONGEST - 1] {
        for i in (0..lines.len()).filter(|i| translations[*i].len() >= position) {
            let cached = one_by_one.last_logits(&lines[i], position + 1);
            let all_at_once = &logits.as_f32()[(i * (LONGEST + 1) + position) * VOCABULARY..][..VOCABULARY];
            let difference = apart(&cached, all_at_once);
            assert!(difference <= 1e-4, "line {i}, position {position}: {difference:.1e}");
            worst = worst.max(difference);
        }
    }
    println!("cached and full logits: largest relative difference {worst:.1e}");
}

#[test]
fn cached_decoding_is_the_full_forward_pass_on_the_cpu() {
    remembers_what_it_would_compute(|| Device::Cpu(Cpu::new(Mode::Definition)), &Model::default());
    for options in options() {
        remembers_what_it_would_compute(Device::cpu, &options);
    }
}

#[test]
fn cached_decoding_is_the_full_forward_pass_on_a_gpu() {
    for options in options() {
        remembers_what_it_would_compute(gpu, &options);
    }
}

fn sees_no_padding_and_no_future(device: Device, options: &Model) {
    let mut d = Decoding::with(device, options);
    let (lines, mut translations) = (lines(70), lines(40));
    let mut members: Vec<usize> = (0..3).collect();
    members.sort_by_key(|&i| lines[i].len());
    let line = &lines[members[0]];
    translations.truncate(3);
    translations.sort_by_key(Vec::len);
    let length = line.len() + 1;
    let [memory, logits] = d.forward(std::slice::from_ref(line), length, &translations[..1]);
    for width in [length + 1, 48, 64] {
        let batch: Vec<Vec<u32>> = members.iter().map(|&i| lines[i].clone()).collect();
        let rows = if width < 48 { 1 } else { 3 };
        let [padded, more] = d.forward(&batch[..rows], width, &translations[..rows]);
        assert!(padded.as_f32().starts_with(memory.as_f32()), "encoder states of {rows} lines in {width} positions");
        assert!(more.as_f32().starts_with(logits.as_f32()), "logits of {rows} lines in {width} positions");
    }
    let mut other = translations[0].clone();
    let last = other.len();
    other[last - 1] ^= 1;
    let [_, changed] = d.forward(std::slice::from_ref(line), length, &[other]);
    let seen = last * VOCABULARY;
    assert_eq!(changed.as_f32()[..seen], logits.as_f32()[..seen]);
    assert_ne!(changed.as_f32()[seen..], logits.as_f32()[seen..]);
}

#[test]
fn padding_and_future_tokens_are_not_seen_on_the_cpu() {
    for options in options() {
        sees_no_padding_and_no_future(Device::cpu(), &options);
    }
}

#[test]
fn padding_and_future_tokens_are_not_seen_on_a_gpu() {
    for options in options() {
        sees_no_padding_and_no_future(gpu(), &options);
    }
}

#[test]
fn padding_and_future_tokens_are_not_seen_by_the_kernels_of_hardware() {
    for options in options() {
        sees_no_padding_and_no_future(gpu_of_hardware(), &options);
    }
}
