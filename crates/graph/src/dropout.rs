/// The factor by which dropout multiplies a value (or a sample), given 32 random bits: 0 with probability `rate`, else `1 / (1 - rate)`.
///
/// Bits and rate are compared as integers, so that equal seeds give equal masks on every device. If each value has bits of its own, they are
/// drawn sample by sample and channel by channel, in the order of a tensor that is channels-first.
pub fn dropout_factor(rate: f64, bits: u32) -> f32 {
    let threshold = (rate * (1_u64 << 32) as f64) as u64;
    if u64::from(bits) < threshold { 0.0 } else { (1.0 / (1.0 - rate)) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_dropped_where_its_bits_lie_below_the_rate() {
        assert_eq!(dropout_factor(0.25, (1 << 30) - 1), 0.0);
        assert_eq!(dropout_factor(0.25, 1 << 30), 4.0 / 3.0);
        assert_eq!(dropout_factor(0.0, 0), 1.0);
        assert_eq!(dropout_factor(0.5, u32::MAX), 2.0);
    }
}
