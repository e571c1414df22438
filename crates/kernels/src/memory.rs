//! Memory whose size comes from a network: asked for so that a refusal is an error.

/// Memory that this machine does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for {length} values of {what}; a smaller batch or smaller images take less")]
pub struct OutOfMemory {
    /// How many values were asked for.
    pub length: usize,
    /// What they are, such as `the values between layers`.
    pub what: &'static str,
}

/// `count` times `element`.
pub(crate) fn filled<T: Clone>(element: T, count: usize, what: &'static str) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    grow(&mut values, element, count, what)?;
    Ok(values)
}

/// Makes `values` at least `count` long; new ones are `element`.
pub(crate) fn grow<T: Clone>(
    values: &mut Vec<T>,
    element: T,
    count: usize,
    what: &'static str,
) -> Result<(), OutOfMemory> {
    let more = count.saturating_sub(values.len());
    if values.try_reserve_exact(more).is_err() {
        let length = count.saturating_mul(size_of::<T>() / size_of::<f32>());
        return Err(OutOfMemory { length, what });
    }
    values.resize(count.max(values.len()), element);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_no_machine_has_is_an_error() {
        let error = filled(0.0_f32, 1 << 60, "an arena").expect_err("too much").to_string();
        assert!(error.starts_with("there is no memory for 1152921504606846976 values of an arena"), "{error}");
        assert_eq!(filled(1.0_f32, 3, "an arena").expect("a little"), [1.0; 3]);
    }
}
