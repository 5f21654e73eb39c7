// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of the samples: medians, quartiles, tails, and ratios taken round by round.
//!
//! The machine is shared and noisy, so nothing here averages over noise. A round yields a handful of
//! samples and is represented by their median; a figure is the median over the rounds. Two systems are
//! compared within each round first (both sides saw the same weather) and the median of those ratios counts.

/// Which end of the scale is the bad one, and so where the tail lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    Less,
    More,
}

/// All samples of one row: of one system doing one thing.
#[derive(Clone, Debug)]
pub struct Measured {
    better: Better,
    rounds: Vec<f64>,
    samples: Vec<f64>,
    tail: Vec<f64>,
}

impl Measured {
    pub fn new(better: Better) -> Measured {
        Measured { better, rounds: Vec::new(), samples: Vec::new(), tail: Vec::new() }
    }

    /// Adds a round by its samples. A round without samples is a bug of the scenario.
    pub fn round(&mut self, samples: &[f64]) {
        assert!(!samples.is_empty(), "a round without samples");
        self.rounds.push(median(samples));
        self.samples.extend_from_slice(samples);
    }

    /// Adds single operations that were timed one by one: where there are any, p99 is theirs alone.
    pub fn singles(&mut self, samples: &[f64]) {
        self.tail.extend_from_slice(samples);
    }

    pub fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// The quartiles of the rounds: what a repetition of the run could have said as well.
    pub fn quartiles(&self) -> (f64, f64) {
        (quantile(&self.rounds, 0.25), quantile(&self.rounds, 0.75))
    }

    /// What 99 of 100 samples are at least as good as.
    pub fn p99(&self) -> f64 {
        let samples = if self.tail.is_empty() { &self.samples } else { &self.tail };
        match self.better {
            Better::Less => quantile(samples, 0.99),
            Better::More => quantile(samples, 0.01),
        }
    }

    /// This over `base`, round by round, then the median.
    pub fn ratio_to(&self, base: &Measured) -> f64 {
        assert_eq!(self.rounds.len(), base.rounds.len(), "sides of a comparison ran in different rounds");
        let ratios: Vec<f64> = self.rounds.iter().zip(&base.rounds).map(|(a, b)| a / b).collect();
        median(&ratios)
    }

    /// This minus `base`, round by round, then the median.
    pub fn excess_over(&self, base: &Measured) -> f64 {
        assert_eq!(self.rounds.len(), base.rounds.len(), "sides of a comparison ran in different rounds");
        let excess: Vec<f64> = self.rounds.iter().zip(&base.rounds).map(|(a, b)| a - b).collect();
        median(&excess)
    }
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The `q`-quantile, linear between the neighbouring ranks.
pub fn quantile(samples: &[f64], q: f64) -> f64 {
    assert!(!samples.is_empty() && (0.0..=1.0).contains(&q));
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = q * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = rank.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(better: Better, rounds: &[&[f64]]) -> Measured {
        let mut measured = Measured::new(better);
        rounds.iter().for_each(|round| measured.round(round));
        measured
    }

    #[test]
    fn quantiles_lie_between_ranks() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[5.0], 0.99), 5.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&hundred, 1.0), 100.0);
    }

    #[test]
    fn an_outlier_moves_neither_the_round_nor_the_figure() {
        let figure = measured(Better::Less, &[&[1.0, 1.0, 900.0], &[500.0, 500.0, 500.0], &[1.0, 2.0, 1.0]]);
        assert_eq!(figure.median(), 1.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let base = measured(Better::Less, &[&[10.0], &[100.0], &[10.0]]);
        let twice = measured(Better::Less, &[&[20.0], &[200.0], &[21.0]]);
        assert_eq!(twice.ratio_to(&base), 2.0);
        assert_eq!(twice.excess_over(&base), 11.0);
    }

    #[test]
    fn the_tail_is_at_the_bad_end() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(measured(Better::Less, &[&samples]).p99(), 99.0);
        assert_eq!(measured(Better::More, &[&samples]).p99(), 1.0);
        let mut timed_singly = measured(Better::Less, &[&samples]);
        timed_singly.singles(&[7.0]);
        assert_eq!(timed_singly.p99(), 7.0);
        assert_eq!(timed_singly.median(), 50.0);
    }

    #[test]
    #[should_panic(expected = "different rounds")]
    fn unequal_rounds_do_not_compare() {
        let one = measured(Better::Less, &[&[1.0]]);
        one.ratio_to(&measured(Better::Less, &[&[1.0], &[1.0]]));
    }
}
