//! Writes families of metrics: a name, a help text, and a value for each label.

use std::fmt::Result;

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::telemetry::durations::Durations;

/// Families on their way into the text of a scrape. Names of counters are given without `_total`,
/// which the format adds.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        write_counter(self.family(name, help, MetricType::Counter)?, value)
    }

    /// One counter for each value of a label.
    pub(super) fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (value, count) in values {
            write_counter(family.encode_family(&[(label, value)])?, count)?;
        }
        Ok(())
    }

    /// One counter for each combination of labels.
    pub(super) fn counters_by<'v, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'v str; N], u64)>,
    ) -> Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (of, count) in values {
            let of = std::array::from_fn::<_, N, _>(|n| (labels[n], of[n]));
            write_counter(family.encode_family(&of)?, count)?;
        }
        Ok(())
    }

    /// A counter with fractions, such as seconds.
    pub(super) fn counter_of(&mut self, name: &str, help: &str, value: f64) -> Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result {
        self.family(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// One gauge for each value of a label.
    pub(super) fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, f64)>,
    ) -> Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for (value, gauge) in values {
            family.encode_family(&[(label, value)])?.encode_gauge(&gauge)?;
        }
        Ok(())
    }

    /// A gauge that is always 1. Its labels carry the information.
    pub(super) fn fact(&mut self, name: &str, help: &str, labels: &[(&str, &str); 2]) -> Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        family.encode_family(labels)?.encode_gauge(&1_u64)
    }

    /// A histogram of seconds.
    pub(super) fn histogram(&mut self, name: &str, help: &str, durations: &Durations) -> Result {
        let (sum, count, buckets) = durations.read();
        let mut family = self.family(name, help, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// A histogram of seconds for each combination of labels.
    pub(super) fn durations<'v, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'v str; N], &'v Durations)>,
    ) -> Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        for (of, durations) in values {
            let (sum, count, buckets) = durations.read();
            family
                .encode_family(&std::array::from_fn::<_, N, _>(|n| (labels[n], of[n])))?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> std::result::Result<MetricEncoder<'s>, std::fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

fn write_counter(mut metric: MetricEncoder<'_>, value: u64) -> Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}
