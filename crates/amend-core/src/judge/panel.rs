//! A panel: several judges' verdicts on the same two answers, as one verdict.
//!
//! Judges differ in how sure they sound, so each is corrected by its own calibration
//! before the log-odds are averaged. A judge without enough mass has no vote.

use super::{Poll, Reading, SampleCombination, Verdict, VerdictSettings};
use crate::stats::sigmoid;

/// The verdict of one judge of a panel.
#[derive(Debug, Clone, Copy)]
pub struct PanelVote<'a> {
    /// The judge's name, unique in the panel.
    pub judge: &'a str,
    /// Its verdict.
    pub verdict: &'a Verdict,
    /// Its calibration, and the mass that it needs to have a vote.
    pub settings: &'a VerdictSettings,
}

impl PanelVote<'_> {
    fn counts(&self) -> bool {
        self.verdict.mass() >= self.settings.mass_floor
    }

    /// The calibrated verdict as one poll, named after the judge. The calibration's offset
    /// is for answer A in both orders.
    fn poll(&self) -> Poll {
        let VerdictSettings { calibration, samples, .. } = *self.settings;
        let odds = self.verdict.odds(samples);
        // The mean of both orders is the verdict, also where it is not (with votes).
        let shift = odds.log_odds - (odds.orders[0] + odds.orders[1]) / 2.0;
        let [shown_first, shown_second] = odds.orders.map(|order| calibration.apply(order + shift));
        let tie = odds.tie.map(|tie| calibration.apply_to_tie(tie));
        let mass = self.verdict.mass();
        Poll {
            template: self.judge.to_owned(),
            forward: vec![reading(shown_first, tie, mass)],
            backward: vec![reading(-shown_second, tie, mass)],
            opposite: None,
        }
    }
}

/// The verdict of a panel, with one poll for each judge that has a vote. Its log-odds are
/// the mean of the judges' calibrated log-odds, so it needs no further calibration. If no
/// judge has enough mass, all are in it, and the verdict is undecided.
#[must_use]
pub fn panel(votes: &[PanelVote<'_>]) -> Verdict {
    let all_abstain = !votes.iter().any(PanelVote::counts);
    let counted = votes.iter().filter(|vote| all_abstain || vote.counts());
    Verdict { polls: counted.map(PanelVote::poll).collect() }
}

/// How far the judges of a panel disagree: the standard deviation of their probabilities
/// for answer A, from 0 (all the same) to ½ (half of them certain of A, half of B).
/// Verdicts under several principles are weighted. A poll with less mass than `mass_floor` is
/// no vote. `None` with fewer than two votes.
#[must_use]
pub fn disagreement(verdicts: &[(&Verdict, f64)], mass_floor: f64) -> Option<f64> {
    // The judge, the weighted sum of its log-odds, and the sum of the weights.
    let mut judges: Vec<(&str, f64, f64)> = Vec::new();
    for &(verdict, weight) in verdicts {
        for poll in verdict.polls.iter().filter(|poll| poll.mass() >= mass_floor) {
            let log_odds = weight * poll.odds(SampleCombination::Probabilities).log_odds;
            match judges.iter_mut().find(|(judge, ..)| *judge == poll.template) {
                Some((_, sum, total)) => {
                    *sum += log_odds;
                    *total += weight;
                }
                None => judges.push((&poll.template, log_odds, weight)),
            }
        }
    }
    if judges.len() < 2 {
        return None;
    }
    let count = judges.len() as f64;
    let shares: Vec<f64> = judges.iter().map(|(_, sum, total)| sigmoid(sum / total)).collect();
    let mean = shares.iter().sum::<f64>() / count;
    let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count;
    Some(variance.sqrt())
}

/// The reading with these log-odds of the answer shown first, and of a tie.
fn reading(log_odds: f64, tie: Option<f64>, mass: f64) -> Reading {
    let [first, second] = [log_odds / 2.0, -log_odds / 2.0];
    // ln Σ e^x, without overflow.
    let most = first.max(second).max(tie.unwrap_or(f64::NEG_INFINITY));
    let parts = [Some(first), Some(second), tie].into_iter().flatten();
    let all = most + parts.map(|part| (part - most).exp()).sum::<f64>().ln();
    let log = |part: f64| mass.ln() + part - all;
    Reading { first: log(first), second: log(second), tie: tie.map(log) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Calibration, Mode, combine};

    fn settings(temperature: f64, offset: f64) -> VerdictSettings {
        VerdictSettings {
            mode: Mode::Soft,
            clamp: [0.4, 0.6],
            mass_floor: 0.5,
            min_margin: 0.0,
            samples: SampleCombination::Probabilities,
            calibration: Calibration { temperature, offset },
        }
    }

    /// A verdict with these log-odds of A shown first, and of B shown first.
    fn verdict(forward: f64, backward: f64, mass: f64) -> Verdict {
        let poll = Poll {
            template: "judge".to_owned(),
            forward: vec![reading(forward, None, mass)],
            backward: vec![reading(backward, None, mass)],
            opposite: None,
        };
        Verdict { polls: vec![poll] }
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
    }

    #[test]
    fn calibrated_log_odds_are_averaged_and_keep_their_mass() {
        let (sure, shy) = (verdict(5.0, -3.0, 0.9), verdict(-1.0, 2.0, 0.8));
        let (cool, plain) = (settings(2.0, 1.0), settings(1.0, 0.0));
        let own = |verdict, settings| combine(&[(verdict, 1.0)], settings).unwrap().margin;
        let expected = (own(&sure, &cool) + own(&shy, &plain)) / 2.0;
        let votes = [
            PanelVote { judge: "one", verdict: &sure, settings: &cool },
            PanelVote { judge: "two", verdict: &shy, settings: &plain },
        ];
        let together = combine(&[(&panel(&votes), 1.0)], &plain).unwrap();
        assert_near(together.margin, expected);
        assert_near(together.mass, 0.8);
        // (4 + 1) / 2 = 2.5 and −1.5
        assert_near(expected, 0.5);
    }

    #[test]
    fn a_judge_without_mass_has_no_vote_unless_all_lack_it() {
        let (sound, thin) = (verdict(2.0, -2.0, 0.9), verdict(-6.0, 6.0, 0.1));
        let settings = settings(1.0, 0.0);
        let vote = |judge, verdict| PanelVote { judge, verdict, settings: &settings };
        let both = panel(&[vote("one", &sound), vote("two", &thin)]);
        assert_eq!(both.polls.len(), 1);
        assert_near(both.odds(settings.samples).log_odds, 2.0);
        let none = panel(&[vote("one", &thin), vote("two", &thin)]);
        assert!(combine(&[(&none, 1.0)], &settings).unwrap().undecided);
        assert_eq!(disagreement(&[(&none, 1.0)], settings.mass_floor), None);
    }

    #[test]
    fn disagreement_is_the_deviation_of_probabilities() {
        let settings = settings(1.0, 0.0);
        let of = |log_odds: &[f64]| {
            let verdicts: Vec<Verdict> =
                log_odds.iter().map(|&odds| verdict(odds, -odds, 0.9)).collect();
            let names = ["one", "two", "three"];
            let votes: Vec<PanelVote<'_>> = names
                .iter()
                .zip(&verdicts)
                .map(|(judge, verdict)| PanelVote { judge, verdict, settings: &settings })
                .collect();
            disagreement(&[(&panel(&votes), 1.0)], 0.0)
        };
        assert_eq!(of(&[1.0]), None);
        assert_near(of(&[1.5, 1.5, 1.5]).unwrap(), 0.0);
        assert_near(of(&[800.0, -800.0]).unwrap(), 0.5);
        // σ(ln 3) = ¾ and σ(−ln 3) = ¼
        assert_near(of(&[3.0_f64.ln(), -(3.0_f64.ln())]).unwrap(), 0.25);
    }

    #[test]
    fn disagreement_weighs_the_verdicts_of_each_judge_under_several_principles() {
        let settings = settings(1.0, 0.0);
        let of = |one: f64, two: f64| {
            let (one, two) = (verdict(one, -one, 0.9), verdict(two, -two, 0.9));
            panel(&[
                PanelVote { judge: "one", verdict: &one, settings: &settings },
                PanelVote { judge: "two", verdict: &two, settings: &settings },
            ])
        };
        // The judges swap opinions, so that they agree with equal weights.
        let (first, second) = (of(2.0, -2.0), of(-2.0, 2.0));
        assert_near(disagreement(&[(&first, 1.0), (&second, 1.0)], 0.0).unwrap(), 0.0);
        let expected = (sigmoid(1.0) - sigmoid(-1.0)) / 2.0;
        assert_near(disagreement(&[(&first, 3.0), (&second, 1.0)], 0.0).unwrap(), expected);
    }

    #[test]
    fn a_panel_averages_ties_and_the_verdicts_of_votes() {
        // Each judge: the votes of two orders, in which a tie wins once.
        let ln = |[first, second, tie]: [f64; 3]| Reading {
            first: f64::ln(first),
            second: f64::ln(second),
            tie: Some(f64::ln(tie)),
        };
        let poll = Poll {
            template: "judge".to_owned(),
            forward: vec![ln([0.7, 0.1, 0.1]); 3],
            backward: vec![ln([0.1, 0.1, 0.7]), ln([0.1, 0.7, 0.1]), ln([0.1, 0.7, 0.1])],
            opposite: None,
        };
        let verdict = Verdict { polls: vec![poll] };
        let votes = VerdictSettings { samples: SampleCombination::Counts, ..settings(2.0, 0.5) };
        let own = combine(&[(&verdict, 1.0)], &votes).unwrap();
        let vote = |judge| PanelVote { judge, verdict: &verdict, settings: &votes };
        let both = panel(&[vote("one"), vote("two")]);
        let together = combine(&[(&both, 1.0)], &settings(1.0, 0.0)).unwrap();
        assert_near(together.margin, own.margin);
        assert_near(together.mass, own.mass);
        assert_near(together.p_tie.unwrap(), own.p_tie.unwrap());
        // Five votes for A and one for a tie.
        assert_near(own.margin, (11_f64.ln() + 0.5) / 2.0);
    }
}
