//! Numbers in readable form.

/// A number with commas, as in 2,257,984.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured share with its 95 % interval and the number of images: `0.9740 (0.962 to 0.982, n = 1,000)`.
pub fn estimate(value: f64, interval: Option<[f64; 2]>, n: usize) -> String {
    match interval {
        Some([low, high]) => format!("{value:.4} ({low:.3} to {high:.3}, n = {})", grouped(n)),
        None => format!("{value:.4} (n = {})", grouped(n)),
    }
}

/// The same without the value, for a tile that shows the value large.
pub fn interval(interval: Option<[f64; 2]>, n: usize) -> String {
    match interval {
        Some([low, high]) => format!("{low:.3} to {high:.3}, n = {}", grouped(n)),
        None => format!("n = {}", grouped(n)),
    }
}

/// A change as a percentage with its sign, as in `+1.5 %`; a change that rounds to nothing is `0.0 %`.
pub fn change(share: f64) -> String {
    let text = format!("{:+.1}", share * 100.0);
    let text = if matches!(text.as_str(), "+0.0" | "-0.0") { "0.0" } else { &text };
    format!("{text} %")
}

/// A duration of `seconds` in hours, minutes or seconds, with at most two units.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor()),
        _ => format!("{:.0} h {:.0} min", (seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor()),
    }
}

/// A number of bytes in decimal units: 1 KB is 1000 bytes.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..10_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A number from 100,000 on in millions; a smaller one with commas.
pub fn millions(number: u64) -> String {
    if number < 100_000 { grouped(number as usize) } else { format!("{:.1} M", number as f64 / 1e6) }
}

/// A number with its noun in the singular or plural: `1 epoch`, `2,000 epochs`.
pub fn counted(number: usize, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1_000, 2_257_984].map(grouped), ["0", "999", "1,000", "2,257,984"]);
        assert_eq!((counted(1, "unit"), counted(1_281, "unit")), ("1 unit".to_owned(), "1,281 units".to_owned()));
    }

    #[test]
    fn no_share_stands_without_its_interval_and_number() {
        assert_eq!(estimate(0.974, Some([0.9622, 0.9821]), 1000), "0.9740 (0.962 to 0.982, n = 1,000)");
        assert_eq!((estimate(0.5, None, 2), interval(None, 2)), ("0.5000 (n = 2)".to_owned(), "n = 2".to_owned()));
    }

    #[test]
    fn a_change_that_rounds_to_nothing_has_no_sign() {
        assert_eq!([0.0149, -0.02, -0.0002, 0.0004].map(change), ["+1.5 %", "-2.0 %", "0.0 %", "0.0 %"]);
    }

    #[test]
    fn bytes_have_two_digits_at_least() {
        let cases = [(999, "999 B"), (1_152, "1.2 KB"), (37_632, "38 KB"), (268_912, "269 KB"), (5_200_000, "5.2 MB")];
        let cases = cases.into_iter().chain([(0, "0 B"), (12_000_000_000, "12.0 GB")]);
        for (number, words) in cases {
            assert_eq!(bytes(number), words);
        }
        assert_eq!((millions(99_999), millions(5_644_800)), ("99,999".to_owned(), "5.6 M".to_owned()));
    }

    #[test]
    fn a_duration_has_two_units_at_most() {
        assert_eq!([9.94, 42.4, 125.0, 7_325.0].map(duration), ["9.9 s", "42 s", "2 min 5 s", "2 h 2 min"]);
    }
}
