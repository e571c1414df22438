//! How much each token contributes to the output of a transformer: attention rollout (Abnar and Zuidema, "Quantifying Attention
//! Flow in Transformers", ACL 2020), computed from queries and keys, because executors keep no scores.

/// Queries and keys of one attention for one image. Head `h` of token `t` begins at `t * step + h * width` in each of them.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// The queries, beginning with the first value of the first query.
    pub queries: &'a [f32],
    /// The keys, beginning with the first value of the first key.
    pub keys: &'a [f32],
    /// Number of values from one token to the next.
    pub step: usize,
    /// Number of heads.
    pub heads: usize,
    /// Number of values of one head's query.
    pub width: usize,
}

impl Heads<'_> {
    /// Traces contributions back through one attention: from the shares that the tokens after it contribute to an output, it computes the shares
    /// of the tokens before it. Half of a token's new value comes through the residual connection, and half from all tokens in proportion to
    /// their attention weights, the mean over heads.
    ///
    /// # Panics
    /// If there are fewer queries or keys than shares.
    pub fn carried_back(&self, shares: &[f64]) -> Vec<f64> {
        let tokens = shares.len();
        let mut before: Vec<f64> = shares.iter().map(|share| share / 2.0).collect();
        for (&share, scores) in shares.iter().zip(self.scores(shares).chunks_exact(tokens.max(1))) {
            if share != 0.0 {
                before.iter_mut().zip(scores).for_each(|(before, score)| *before += share / 2.0 * f64::from(*score));
            }
        }
        before
    }

    /// The attention weights `[tokens, tokens]`, the mean over heads: each row says how much a token takes from each token. Rows of tokens whose
    /// share is 0 stay 0.
    fn scores(&self, shares: &[f64]) -> Vec<f32> {
        let (tokens, width) = (shares.len(), self.width);
        let scale = 1.0 / (width as f32).sqrt();
        let (mut mean, mut row) = (vec![0.0_f32; tokens * tokens], vec![0.0_f32; tokens]);
        // The keys of one head, transposed, so that a row of scores is a weighted sum of rows.
        let mut channels = vec![0.0_f32; width * tokens];
        for head in 0..self.heads {
            for token in 0..tokens {
                let key = &self.keys[token * self.step + head * width..][..width];
                key.iter().enumerate().for_each(|(channel, &value)| channels[channel * tokens + token] = value);
            }
            for query in (0..tokens).filter(|&query| shares[query] != 0.0) {
                let values = &self.queries[query * self.step + head * width..][..width];
                row.fill(0.0);
                for (value, channel) in values.iter().zip(channels.chunks_exact(tokens)) {
                    row.iter_mut().zip(channel).for_each(|(score, key)| *score += value * key);
                }
                row.iter_mut().for_each(|score| *score *= scale);
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter_mut().for_each(|score| *score = (*score - largest).exp());
                let sum = row.iter().sum::<f32>() * self.heads as f32;
                let mean = &mut mean[query * tokens..][..tokens];
                mean.iter_mut().zip(&row).for_each(|(mean, score)| *mean += score / sum);
            }
        }
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_token_comes_around_an_attention_and_half_by_its_scores() {
        // There are two heads of one value. In both, the first token attends to the second one; the second one attends to all equally.
        let (queries, keys) = ([3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]);
        let heads = Heads { queries: &queries, keys: &keys, step: 2, heads: 2, width: 1 };
        let of = |score: f64| score.exp() / (1.0 + score.exp());
        let second = f64::midpoint(of(3.0), of(2.0));
        let check = |shares: [f64; 2], expected: [f64; 2]| {
            let found = heads.carried_back(&shares);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} is not {expected:?}");
        };
        check([1.0, 0.0], [0.5 + (1.0 - second) / 2.0, second / 2.0]);
        check([0.0, 1.0], [0.25, 0.75]);
        check([0.5, 0.5], [0.25 + (1.0 - second) / 4.0 + 0.125, 0.25 + second / 4.0 + 0.125]);
    }

    #[test]
    fn heads_may_stand_beside_other_values() {
        // Queries, keys and values of a token are side by side, as many networks compute them.
        let joint = [1.0, 0.5, 9.0, -1.0, 2.0, 9.0];
        let beside = Heads { queries: &joint, keys: &joint[1..], step: 3, heads: 1, width: 1 };
        let alone = Heads { queries: &[1.0, -1.0], keys: &[0.5, 2.0], step: 1, heads: 1, width: 1 };
        assert_eq!(beside.carried_back(&[0.25, 0.75]), alone.carried_back(&[0.25, 0.75]));
    }
}
