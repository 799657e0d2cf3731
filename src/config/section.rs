//! The two macros by which a key is defined once: `section!` for the keys of a section, `choice!` for a key's named values.

/// Defines a section: its keys, and the struct of their values.
///
/// ```text
/// section! {
///     /// What the struct is.
///     pub struct RefreshConfig in "refresh." {
///         /// The key's meaning, in the documentation of the struct and in the users' documentation.
///         margin: Margin = text("what is accepted").default("20%").grants(CALLS_TOKEN_ENDPOINT) => parse(quantity::margin);
///         …
///     }
///     with { … }      fields that no single key gives; parameters of `read`
///     keys { … }      keys that no single field takes; the section reads them by hand
/// }
/// ```
///
/// A field is read by its type ([`Value`](super::value::Value)), or after `=>` by a method of the reader that gets the key's name and
/// these arguments. `read` reads every field before it gives up, so that all errors are reported at once.
macro_rules! section {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident in $prefix:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:expr $(=> $method:ident($($argument:expr),*))?; )*
        }
        $(with { $( $(#[$with_about:meta])* $with:ident: $with_type:ty; )* })?
        $(keys { $( $(#[doc = $own_doc:literal])+ $own:ident = $own_key:expr; )* })?
    ) => {
        $(#[$about])*
        $vis struct $name {
            $( $( $(#[$with_about])* pub $with: $with_type, )* )?
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl $name {
            pub(in crate::config) const KEYS: &[$crate::config::key::Key] = &[
                $( $( $own_key.named(concat!($prefix, stringify!($own)), concat!($($own_doc),+)), )* )?
                $( $key.named(concat!($prefix, stringify!($field)), concat!($($doc),+)), )*
            ];

            /// `None`: the reader has noted why.
            pub(in crate::config) fn read(
                reader: &mut $crate::config::reader::Reader
                $( $(, $with: Option<$with_type>)* )?
            ) -> Option<Self> {
                $( let $field: Option<$type> = $crate::config::section::section!(
                    @read reader, concat!($prefix, stringify!($field)) $(, $method $(, $argument)*)?
                ); )*
                Some(Self { $( $( $with: $with?, )* )? $( $field: $field?, )* })
            }
        }
    };
    (@read $reader:ident, $name:expr) => { $crate::config::value::Value::read($reader, $name) };
    (@read $reader:ident, $name:expr, $method:ident $(, $argument:expr)*) => { $reader.$method($name $(, $argument)*) };
}

/// Defines the named values of a key as an enum.
macro_rules! choice {
    (
        $(#[$about:meta])*
        $vis:vis enum $name:ident { $( $(#[$variant_about:meta])* $variant:ident = $text:literal, )+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $( $(#[$variant_about])* $variant, )+ }

        impl $name {
            pub(in crate::config) const NAMES: &[&str] = &[$($text),+];
        }

        impl $crate::config::value::Value for $name {
            fn read(reader: &mut $crate::config::reader::Reader, name: &'static str) -> Option<Self> {
                reader.choice(name, |text| match text {
                    $( $text => Some(Self::$variant), )+
                    _ => None,
                })
            }
        }
    };
}

pub(super) use {choice, section};
