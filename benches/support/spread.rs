//! Figures of several repetitions, summed up.

/// Median, lowest and highest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The one in the middle, or between the two in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// None without values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

/// How `value` compares with `base`; empty without one.
#[must_use]
pub fn ratio(value: f64, base: Option<f64>) -> String {
    base.map_or_else(String::new, |base| format!("{:.2}", value / base))
}

/// A count with commas.
#[must_use]
pub fn thousands(count: usize) -> String {
    match count / 1000 {
        0 => count.to_string(),
        more => format!("{},{:03}", thousands(more), count % 1000),
    }
}
