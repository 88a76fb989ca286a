//! JSON with something else in place of its texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// A value of JSON whose texts are of another kind. Members are in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Json<T> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// What stands for a text.
    Text(T),
    /// `[...]`
    List(Vec<Self>),
    /// `{...}`
    Object(JsonObject<T>),
}

/// The members of an object.
pub type JsonObject<T> = BTreeMap<Arc<str>, Json<T>>;

impl<T> Json<T> {
    /// The same with what `make` makes of each text.
    ///
    /// # Errors
    /// The first that `make` yields.
    pub fn try_map<U, E>(&self, make: &impl Fn(&T) -> Result<U, E>) -> Result<Json<U>, E> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Text(text) => Json::Text(make(text)?),
            Self::List(values) => Json::List(values.iter().map(|value| value.try_map(make)).collect::<Result<_, _>>()?),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| Ok((Arc::clone(name), value.try_map(make)?)));
                Json::Object(members.collect::<Result<_, _>>()?)
            }
        })
    }

    /// Shows every text to `look`.
    pub fn for_each_text<'j>(&'j self, look: &mut impl FnMut(&'j T)) {
        match self {
            Self::Text(text) => look(text),
            Self::List(values) => values.iter().for_each(|value| value.for_each_text(look)),
            Self::Object(members) => members.values().for_each(|value| value.for_each_text(look)),
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}
