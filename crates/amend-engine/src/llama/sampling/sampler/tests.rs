use std::time::Instant;

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use super::*;
use amend_core::random::Stream;

fn settings(temperature: f32) -> Sampling {
    Sampling {
        temperature,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        repeat_last_n: 64,
        max_tokens: 1,
        ..Sampling::default()
    }
}

fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// Which tokens can be sampled, over a fine grid of uniform numbers.
fn support(row: &[f32], settings: &Sampling, recent: &[Token], banned: &[Token]) -> Vec<Token> {
    let mut sampler = Sampler::default();
    let mut seen: Vec<Token> = (0..4096)
        .filter_map(|i| sampler.sample(row, settings, recent, banned, f64::from(i) / 4096.0))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn truncation_keeps_the_expected_tokens() {
    let row = logits(&[0.1, 0.4, 0.05, 0.25, 0.2]);
    let base = settings(1.0);
    let cases: &[(&str, Sampling, &[Token])] = &[
        ("all", base.clone(), &[0, 1, 2, 3, 4]),
        ("top-k 2", Sampling { top_k: 2, ..base.clone() }, &[1, 3]),
        ("top-p reaches 0.65 with two", Sampling { top_p: 0.649, ..base.clone() }, &[1, 3]),
        ("top-p just past two", Sampling { top_p: 0.66, ..base.clone() }, &[1, 3, 4]),
        ("min-p half the best", Sampling { min_p: 0.5, ..base.clone() }, &[1, 3, 4]),
        // Within the top 2, 0.4 is 0.4 / 0.65 = 0.615 of the mass.
        ("top-p counts within top-k", Sampling { top_k: 2, top_p: 0.6, ..base.clone() }, &[1]),
        ("greedy", Sampling { temperature: 0.0, ..base.clone() }, &[1]),
    ];
    for (name, settings, expected) in cases {
        assert_eq!(&support(&row, settings, &[], &[]), expected, "{name}");
    }
}

#[test]
fn banned_tokens_are_never_sampled_even_if_penalised() {
    let row = logits(&[0.1, 0.9]);
    let penal = Sampling { repeat_penalty: 1.5, ..settings(1.0) };
    assert_eq!(support(&row, &penal, &[1], &[1]), [0]);
    assert_eq!(support(&row, &settings(0.0), &[], &[1]), [0]);
}

#[test]
fn the_penalty_lowers_positive_and_negative_logits() {
    let greedy = Sampling { repeat_penalty: 2.0, ..settings(0.0) };
    let mut sampler = Sampler::default();
    assert_eq!(sampler.sample(&[3.0, 2.0], &greedy, &[0], &[], 0.0), Some(1));
    assert_eq!(sampler.sample(&[-1.0, -1.5], &greedy, &[0], &[], 0.0), Some(1));
}

#[test]
fn the_lower_token_wins_a_tie() {
    let mut sampler = Sampler::default();
    assert_eq!(sampler.sample(&[1.0, 5.0, 5.0], &settings(0.0), &[], &[], 0.5), Some(1));
    assert_eq!(sampler.sample(&[1.0, 5.0, 5.0], &settings(0.0), &[], &[0], 0.5), Some(1));
}

#[test]
fn rows_that_are_not_finite_give_no_token() {
    let mut sampler = Sampler::default();
    for row in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY; 3]] {
        for temperature in [0.0, 1.0] {
            assert_eq!(sampler.sample(&row, &settings(temperature), &[], &[], 0.5), None);
        }
    }
}

#[test]
fn samples_follow_the_softmax() {
    let row = logits(&[0.5, 0.3, 0.15, 0.05]);
    let warm = settings(2.0);
    let stream = Stream::new(3);
    let mut sampler = Sampler::default();
    let mut counts = [0.0_f64; 4];
    let draws = 40_000;
    for at in 0..draws {
        let token = sampler.sample(&row, &warm, &[], &[], stream.uniform(at)).unwrap();
        counts[token as usize] += 1.0;
    }
    let weights = [0.5_f64, 0.3, 0.15, 0.05].map(f64::sqrt);
    let mass: f64 = weights.iter().sum();
    let chi2: f64 = counts
        .iter()
        .zip(weights)
        .map(|(count, weight)| {
            let expected = draws as f64 * weight / mass;
            (count - expected).powi(2) / expected
        })
        .sum();
    // χ² with 3 degrees of freedom exceeds 21.1 with probability 1e-4.
    assert!(chi2 < 21.1, "χ² = {chi2}");
}

/// Random logits like those of a model: approximately normal, with a few much larger ones
/// if `peaked`.
fn random_row(size: u64, peaked: bool, seed: u64) -> Vec<f32> {
    let stream = Stream::new(seed);
    (0..size)
        .map(|at| {
            let draw = |part: u64| stream.uniform(at * 8 + part) - 0.5;
            let normal: f64 = (0..6).map(draw).sum();
            let ahead = if peaked && draw(6) > 0.499 { 10.0 + 8.0 * draw(7) } else { 0.0 };
            (normal * 3.0 + ahead) as f32
        })
        .collect()
}

/// The tokens that llama.cpp's chain keeps of a row, and their probabilities.
fn llama_keeps(row: &[f32], settings: &Sampling, recent: &[Token]) -> Vec<(Token, f64)> {
    let mut chain = LlamaSampler::chain_simple([
        LlamaSampler::penalties(
            row.len() as i32,
            settings.repeat_last_n as i32,
            settings.repeat_penalty,
            0.0,
            0.0,
        ),
        LlamaSampler::top_k(settings.top_k as i32),
        LlamaSampler::top_p(settings.top_p, 1),
        LlamaSampler::min_p(settings.min_p, 1),
        LlamaSampler::temp(settings.temperature),
    ]);
    // llama.cpp expects the most recent tokens last.
    chain.accept_many(recent.iter().rev().map(|&token| LlamaToken(token)));
    let data =
        (0..).zip(row).map(|(token, &logit)| LlamaTokenData::new(LlamaToken(token), logit, 0.0));
    let mut data = LlamaTokenDataArray::from_iter(data, false);
    chain.apply(&mut data);
    let max = data.data.iter().map(|d| d.logit()).fold(f32::NEG_INFINITY, f32::max);
    let weight = |d: &LlamaTokenData| (f64::from(d.logit()) - f64::from(max)).exp();
    let mass: f64 = data.data.iter().map(weight).sum();
    let mut kept: Vec<_> = data.data.iter().map(|d| (d.id().0, weight(d) / mass)).collect();
    kept.sort_by_key(|&(token, _)| token);
    kept
}

/// The tokens that this sampler keeps, and their probabilities.
fn we_keep(row: &[f32], settings: &Sampling, recent: &[Token]) -> Vec<(Token, f64)> {
    let mut changed = Vec::new();
    let row = if change(&mut changed, row, settings.repeat_penalty, recent, &[]) {
        &changed
    } else {
        row
    };
    let mut sampler = Sampler::default();
    let weights = sampler.truncate(row, settings).unwrap();
    let kept: Vec<(Token, f32)> = match weights.0 {
        Kept::All => (0..).zip(row).map(|(token, &logit)| (token, logit)).collect(),
        Kept::Candidates => sampler.candidates.iter().map(|c| (c.token, c.logit)).collect(),
    };
    let weight = |logit: f32| f64::from(weights.1.weight(logit));
    let mass: f64 = kept.iter().map(|&(_, logit)| weight(logit)).sum();
    kept.into_iter().map(|(token, logit)| (token, weight(logit) / mass)).collect()
}

/// Settings for every truncation, alone and combined.
fn chains() -> Vec<Sampling> {
    let mut chains = Vec::new();
    for top_k in [0, 1, 40, 700] {
        for top_p in [1.0, 0.95, 0.5] {
            for min_p in [0.0, 0.05] {
                for (temperature, repeat_penalty) in [(1.0, 1.0), (0.7, 1.3), (1.5, 0.8)] {
                    chains.push(Sampling {
                        temperature,
                        top_k,
                        top_p,
                        min_p,
                        repeat_penalty,
                        repeat_last_n: 64,
                        max_tokens: 1,
                        ..Sampling::default()
                    });
                }
            }
        }
    }
    chains
}

/// Recent tokens, some of which are likely and some repeated.
fn random_recent(row: &[f32], seed: u64) -> Vec<Token> {
    let stream = Stream::new(seed).child("recent");
    let best = (0..).zip(row).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token);
    let any = |at| (stream.uniform(at) * row.len() as f64) as Token;
    (0..64).map(|at| if at % 9 == 0 { best } else { any(at / 2) }).collect()
}

/// llama.cpp sums probabilities in single precision, so that with thousands of candidates
/// the end of its nucleus is inexact. Otherwise the kept tokens and their probabilities
/// are the same.
#[test]
fn truncation_and_probabilities_agree_with_llama_cpp() {
    const TOLERANCE: f64 = 1e-4;
    for (seed, (size, peaked)) in
        (0..).zip([(1_000, false), (1_000, true), (8_191, true), (50_000, false), (50_000, true)])
    {
        let row = random_row(size, peaked, seed);
        let recent = random_recent(&row, seed);
        for settings in chains() {
            let case = format!("{size} {peaked} {settings:?}");
            let (llama, ours) =
                (llama_keeps(&row, &settings, &recent), we_keep(&row, &settings, &recent));
            let tokens = |kept: &[(Token, f64)]| kept.iter().map(|k| k.0).collect::<Vec<_>>();
            if tokens(&llama) != tokens(&ours) {
                assert!(settings.top_p < 1.0 && ours.len() > 1000, "{case}");
                let differing = |a: &[(Token, f64)], b: &[(Token, f64)]| -> f64 {
                    a.iter()
                        .filter(|k| b.binary_search_by_key(&k.0, |k| k.0).is_err())
                        .map(|k| k.1)
                        .sum()
                };
                let off = differing(&llama, &ours) + differing(&ours, &llama);
                assert!(off < TOLERANCE, "{case}: {off}");
                continue;
            }
            for (a, b) in llama.iter().zip(&ours) {
                assert!((a.1 - b.1).abs() < TOLERANCE * a.1.max(1e-3), "{case}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn greedy_sampling_agrees_with_llama_cpp() {
    for seed in 0..20 {
        let row = random_row(5_000, seed % 2 == 0, seed);
        let recent = random_recent(&row, seed);
        let greedy = Sampling { repeat_penalty: 1.4, ..settings(0.0) };
        let llama = llama_keeps(&row, &greedy, &recent);
        let best = llama.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
        let ours = Sampler::default().sample(&row, &greedy, &recent, &[], 0.5);
        assert_eq!(ours, Some(best));
    }
}

/// A χ² test of the samples against llama.cpp's probabilities. Cells with fewer than 10
/// expected samples are merged. A correct sampler fails a case with probability 1e-5; the
/// seeds are fixed, so the result never changes.
#[test]
fn samples_follow_the_probabilities_of_llama_cpp() {
    const DRAWS: u64 = 20_000;
    let base = Sampling { temperature: 0.9, ..settings(1.0) };
    let cases = [
        base.clone(),
        Sampling { top_k: 40, ..base.clone() },
        Sampling { top_p: 0.8, repeat_penalty: 1.3, ..base.clone() },
        Sampling { min_p: 0.02, temperature: 1.8, ..base.clone() },
        Sampling { top_k: 200, top_p: 0.9, min_p: 0.01, repeat_penalty: 1.1, ..base },
    ];
    for (seed, settings) in (0..).zip(cases) {
        let row = random_row(500, seed == 0, seed);
        let recent = random_recent(&row, seed);
        let expected = llama_keeps(&row, &settings, &recent);
        let mut counts = vec![0_u32; row.len()];
        let mut sampler = Sampler::default();
        let stream = Stream::new(seed).child("draws");
        for at in 0..DRAWS {
            let token = sampler.sample(&row, &settings, &recent, &[], stream.uniform(at)).unwrap();
            counts[token as usize] += 1;
        }
        let drawn: u32 = expected.iter().map(|&(token, _)| counts[token as usize]).sum();
        assert_eq!(u64::from(drawn), DRAWS, "{settings:?}: sampled a token that is not kept");
        let mut cells: Vec<(f64, f64)> = Vec::new();
        let mut rest = (0.0, 0.0);
        for (token, probability) in expected {
            let cell = (f64::from(counts[token as usize]), probability * DRAWS as f64);
            if cell.1 >= 10.0 {
                cells.push(cell);
            } else {
                rest = (rest.0 + cell.0, rest.1 + cell.1);
            }
        }
        if rest.1 > 0.0 {
            cells.push(rest);
        }
        let chi2: f64 = cells.iter().map(|(seen, mean)| (seen - mean).powi(2) / mean).sum();
        // Wilson and Hilferty: the cube root is approximately normal; 4.265 is the normal
        // quantile for 1e-5.
        let freedom = (cells.len() - 1) as f64;
        let spread = 2.0 / (9.0 * freedom);
        let limit = freedom * (1.0 - spread + 4.265 * spread.sqrt()).powi(3);
        assert!(cells.len() > 5, "{settings:?}: {} cells", cells.len());
        assert!(chi2 < limit, "{settings:?}: χ² = {chi2}, limit {limit}");
    }
}

/// Prints the time per row: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn time_per_row() {
    let base = settings(0.8);
    let cases = [
        ("greedy", settings(0.0)),
        ("no truncation", base.clone()),
        ("top-p 0.95", Sampling { top_p: 0.95, ..base.clone() }),
        ("top-p 0.95, penalty", Sampling { top_p: 0.95, repeat_penalty: 1.1, ..base.clone() }),
        ("min-p 0.05", Sampling { min_p: 0.05, ..base.clone() }),
        (
            "top-k 40, top-p 0.95, min-p 0.05",
            Sampling { top_k: 40, top_p: 0.95, min_p: 0.05, ..base },
        ),
    ];
    for peaked in [true, false] {
        let row = random_row(49_152, peaked, 1);
        let recent = random_recent(&row, 1);
        for (name, settings) in &cases {
            let mut sampler = Sampler::default();
            let stream = Stream::new(1);
            let rows = 300;
            let start = Instant::now();
            for at in 0..rows {
                assert!(sampler.sample(&row, settings, &recent, &[], stream.uniform(at)).is_some());
            }
            let each = start.elapsed().as_nanos() / u128::from(rows);
            println!("{each:>9} ns  {name} ({})", if peaked { "peaked" } else { "flat" });
        }
    }
}
