//! Declarations of messages and enums: one list of fields makes the type, its decoding and its JSON form.

/// Declares a message: `object! { /// Doc. Name { /// Doc. field: Type = "jsonName", ... } }`. A field marked `later` is read
/// and checked, and its presence gives a warning that it is not honoured yet. A field with a second name is
/// `"jsonName" / "json_name"`. `Name (Ignore)` accepts unknown fields, `Name (Warn)` warns of them.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($body:tt)* }) => {
        $crate::decode::object! { $(#[$meta])* $name (Refuse) { $($body)* } }
    };
    (
        $(#[$meta:meta])* $name:ident ($unknown:ident) {
            $($(#[$field_meta:meta])* $field:ident : $type:ty = $key:literal $(/ $other:literal)? $($flag:ident)?),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            /// Where the message begins.
            pub position: $crate::origin::Position,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::document::Node<'_>,
                at: &$crate::decode::Path<'_>,
                report: &mut $crate::decode::Report,
            ) -> Option<Self> {
                let fields = report.mapping(node, at)?;
                let mut message = Self { position: node.position, ..Self::default() };
                for (key, value) in fields {
                    match &*key.name {
                        $($key $(| $other)? => {
                            let at = at.field($key);
                            let later = false $(|| stringify!($flag) == "later")?;
                            message.$field = report.field(key, value, &at, later);
                        })*
                        _ => report.unknown_field(key, at, &[$($key),*], $crate::decode::Unknown::$unknown),
                    }
                }
                Some(message)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if !$crate::decode::Field::is_absent(&self.$field) {
                    serde::ser::SerializeMap::serialize_entry(&mut map, $key, &self.$field)?;
                })*
                serde::ser::SerializeMap::end(map)
            }
        }
    };
}

/// Declares an enum of the API: `choice! { /// Doc. Name { /// Doc. Variant = "WRITTEN", ... } }`. The first variant is the
/// default, as in protobuf.
macro_rules! choice {
    (
        $(#[$meta:meta])* $name:ident {
            $(#[$first_meta:meta])* $first:ident = $first_text:literal
            $(, $(#[$variant_meta:meta])* $variant:ident = $text:literal)* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name {
            $(#[$first_meta])*
            #[default]
            $first,
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_text,
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::decode::Decode for $crate::decode::Located<$name> {
            fn decode(
                node: &$crate::document::Node<'_>,
                at: &$crate::decode::Path<'_>,
                report: &mut $crate::decode::Report,
            ) -> Option<Self> {
                const ALL: &[$name] = &[$name::$first $(, $name::$variant)*];
                const NAMES: &[&str] = &[$first_text $(, $text)*];
                let index = report.choose(node, at, NAMES)?;
                Some(Self { value: *ALL.get(index)?, position: node.position })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use {choice, object};
