use std::collections::BTreeMap;

use injerto_graph::{Activation, ParameterDoc};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

/// The parameters of a backbone. [`parameters!`](crate::parameters) implements this trait.
pub trait Parameters: Default {
    /// Default, documentation and choices of each parameter, by name.
    fn documents() -> BTreeMap<String, ParameterDoc>;

    /// Reads the values. A parameter that is left out takes its default.
    ///
    /// # Errors
    /// A message that names the parameter whose value does not fit, and says which values do.
    fn read(values: &Map<String, Value>) -> Result<Self, String>;
}

/// A type that a parameter may have.
pub trait Parameter: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// A text that follows "must be" and says which values are allowed.
    fn read(value: &Value) -> Result<Self, String>;

    /// The value in JSON, as the descriptor documents it.
    fn value(&self) -> Value;

    /// The possible words, if the type has only a few values.
    fn choices() -> Vec<String> {
        Vec::new()
    }
}

/// Implements [`Parameter`] for types of JSON, with the text that says what a value must be.
macro_rules! plain {
    ($($type:ty: $must:literal),* $(,)?) => {
        $(impl Parameter for $type {
            fn read(value: &Value) -> Result<Self, String> {
                Self::deserialize(value).map_err(|_| $must.to_owned())
            }

            fn value(&self) -> Value {
                json!(self)
            }
        })*
    };
}

plain! {
    bool: "true or false",
    usize: "a whole number",
    f64: "a number",
    String: "a string",
    [usize; 2]: "a list of two whole numbers",
    Vec<usize>: "a list of whole numbers",
}

/// A parameter whose default depends on others: `null` in JSON.
impl<P: Parameter> Parameter for Option<P> {
    fn read(value: &Value) -> Result<Self, String> {
        if value.is_null() { Ok(None) } else { P::read(value).map(Some) }
    }

    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Parameter::value)
    }

    fn choices() -> Vec<String> {
        P::choices()
    }
}

impl Parameter for Activation {
    fn read(value: &Value) -> Result<Self, String> {
        Self::deserialize(value).map_err(|_| one_of(&Self::choices()))
    }

    fn value(&self) -> Value {
        Value::from(self.name())
    }

    fn choices() -> Vec<String> {
        Self::ALL.iter().map(|activation| activation.name().to_owned()).collect()
    }
}

/// The choices as a text that follows "must be", such as `"keras" or "torch"`.
#[doc(hidden)]
pub fn one_of(choices: &[String]) -> String {
    let quoted: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    match &quoted[..] {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        all => all.concat(),
    }
}

/// Reads the value of `key`, which is `default` if it is left out.
#[doc(hidden)]
pub fn read_one<P: Parameter>(values: &Map<String, Value>, key: &str, default: P) -> Result<P, String> {
    let Some(value) = values.get(key) else { return Ok(default) };
    P::read(value).map_err(|must| format!("parameter '{key}' must be {must}, not {value}"))
}

/// The documentation of a parameter in a descriptor.
#[doc(hidden)]
pub fn document<P: Parameter>(default: &P, doc: &str) -> ParameterDoc {
    ParameterDoc { default: default.value(), doc: doc.trim().to_owned(), choices: P::choices() }
}

/// Refuses an image size with a side below `least`.
///
/// # Errors
/// A message that names the parameter.
pub fn at_least(name: &str, size: [usize; 2], least: usize) -> Result<(), String> {
    match size.iter().any(|side| *side < least) {
        true => Err(format!("{name} must be at least {:?}, not {size:?}", [least; 2])),
        false => Ok(()),
    }
}

/// Defines the parameters of a backbone: each with its documentation, its type and its default.
///
/// The struct implements [`Default`] and [`Parameters`](trait@crate::Parameters). The comment above a field becomes the
/// documentation of the parameter in the plugin's descriptor.
///
/// ```
/// injerto_plugin_sdk::parameters! {
///     struct Parameters {
///         /// height and width of the images
///         input_shape: [usize; 2] = [224, 224],
///         /// width multiplier of the filters of every layer
///         alpha: f64 = 1.0,
///     }
/// }
/// assert_eq!(Parameters::default().alpha, 1.0);
/// assert_eq!(Parameters::default().input_shape, [224, 224]);
/// ```
#[macro_export]
macro_rules! parameters {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])+ $field_vis:vis $field:ident: $type:ty = $default:expr),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $($(#[doc = $doc])+ $field_vis $field: $type,)*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $crate::Parameters for $name {
            fn documents() -> ::std::collections::BTreeMap<String, $crate::ParameterDoc> {
                let default = <Self as ::core::default::Default>::default();
                [$((
                    stringify!($field).to_owned(),
                    $crate::macros::document(&default.$field, concat!($($doc),+)),
                )),*].into()
            }

            fn read(values: &$crate::Map<String, $crate::Value>) -> Result<Self, String> {
                let default = <Self as ::core::default::Default>::default();
                Ok(Self { $($field: $crate::macros::read_one(values, stringify!($field), default.$field)?),* })
            }
        }
    };
}

/// Defines a parameter that is one of a few words.
///
/// ```
/// injerto_plugin_sdk::choice! {
///     /// The framework whose padding the network has.
///     enum Variant { Keras = "keras", Torch = "torch" }
/// }
/// use injerto_plugin_sdk::{Parameter, json};
///
/// assert_eq!(Variant::read(&json!("torch")), Ok(Variant::Torch));
/// assert_eq!(Variant::read(&json!("tf")), Err("\"keras\" or \"torch\"".to_owned()));
/// assert_eq!(Variant::Keras.value(), json!("keras"));
/// assert_eq!(Variant::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name { $($(#[$of])* $variant),+ }

        #[allow(dead_code, reason = "not every plugin asks for them")]
        impl $name {
            /// All choices.
            $vis const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word that users write.
            $vis const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::Parameter for $name {
            fn read(value: &$crate::Value) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    _ => Err($crate::macros::one_of(&<Self as $crate::Parameter>::choices())),
                }
            }

            fn value(&self) -> $crate::Value {
                $crate::Value::from(self.name())
            }

            fn choices() -> Vec<String> {
                [$($word),+].map(str::to_owned).to_vec()
            }
        }
    };
}

choice! {
    /// The framework whose details a network has, such as padding and epsilon. A plugin's parameter says which details these are.
    pub enum Variant {
        /// Keras.
        Keras = "keras",
        /// PyTorch with torchvision.
        Torch = "torch",
    }
}
