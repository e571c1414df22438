use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What an image shows, as positions of classes in [`Dataset::classes`](crate::Dataset::classes).
///
/// All images of a dataset have labels of one kind ([`Dataset::is_multi_label`](crate::Dataset::is_multi_label)). In JSON a label is a number, or a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// Exactly one class.
    Class(u32),
    /// Any number of classes, each once and in ascending order. An image may have none.
    Classes(Box<[u32]>),
}

/// The separator between the names of several classes of one image.
pub const SEPARATOR: &str = "|";

impl Label {
    /// Several classes, or none, in any order.
    pub fn several(classes: impl IntoIterator<Item = u32>) -> Self {
        Self::Classes(classes.into_iter().collect::<BTreeSet<u32>>().into_iter().collect())
    }

    /// The classes, in ascending order.
    pub fn classes(&self) -> &[u32] {
        match self {
            Self::Class(class) => std::slice::from_ref(class),
            Self::Classes(classes) => classes,
        }
    }

    /// The class, if images have exactly one each.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
            Self::Classes(_) => None,
        }
    }

    /// Whether the image has this class.
    pub fn has(&self, class: u32) -> bool {
        self.classes().contains(&class)
    }

    /// The names of the classes, with [`SEPARATOR`] between them.
    ///
    /// # Panics
    /// If there are fewer names than the label needs.
    pub fn name<'n>(&self, names: &'n [String]) -> Cow<'n, str> {
        match self {
            Self::Class(class) => Cow::Borrowed(&names[*class as usize]),
            Self::Classes(classes) => {
                let names: Vec<&str> = classes.iter().map(|&class| names[class as usize].as_str()).collect();
                Cow::Owned(names.join(SEPARATOR))
            }
        }
    }

    /// The same label where the class in each position has the position `places[position]`.
    ///
    /// # Panics
    /// If there are fewer places than the label needs.
    #[must_use]
    pub fn moved(&self, places: &[u32]) -> Self {
        match self {
            Self::Class(class) => Self::Class(places[*class as usize]),
            Self::Classes(classes) => Self::several(classes.iter().map(|&class| places[class as usize])),
        }
    }
}

impl From<u32> for Label {
    fn from(class: u32) -> Self {
        Self::Class(class)
    }
}

impl PartialEq<u32> for Label {
    fn eq(&self, class: &u32) -> bool {
        self.class() == Some(*class)
    }
}
