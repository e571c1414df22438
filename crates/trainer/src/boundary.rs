use std::borrow::Cow;

use injerto_backbones::network::Value;

/// Values of the boundary for a batch.
#[derive(Debug)]
pub(crate) enum Boundary {
    /// On the host, with one vector per tensor, channels last.
    Host(Vec<Vec<f32>>),
    /// On the device of the executor that computed them. If the tail follows at once, they never leave it.
    Device(Vec<Value>),
}

impl Boundary {
    /// The values on the host. This waits for the device.
    pub(crate) fn on_host(&self) -> Cow<'_, [Vec<f32>]> {
        match self {
            Self::Host(values) => Cow::Borrowed(values),
            Self::Device(values) => Cow::Owned(values.iter().map(Value::to_host).collect()),
        }
    }
}
