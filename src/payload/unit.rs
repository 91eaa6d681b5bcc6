//! Whether a value is `()`, which stands for no arguments.

use std::fmt;

use serde::{
    Serialize,
    ser::{Error, Impossible, Serializer},
};

/// Whether a value is `()`. Nothing of it is read. JSON's null serializes as `()` does, and takes
/// memory.
pub(super) fn is_unit<T: Serialize + ?Sized>(value: &T) -> bool {
    size_of_val(value) == 0 && value.serialize(Probe).is_ok()
}

/// Takes `()` and refuses everything else at once.
struct Probe;

#[derive(Debug)]
struct Other;

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the unit")
    }
}

impl std::error::Error for Other {}

impl Error for Other {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! refused {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(self, _: $type) -> Result<(), Other> {
            Err(Other)
        }
    )*};
}

type None = Impossible<(), Other>;

impl Serializer for Probe {
    type Ok = ();
    type Error = Other;
    type SerializeSeq = None;
    type SerializeTuple = None;
    type SerializeTupleStruct = None;
    type SerializeTupleVariant = None;
    type SerializeMap = None;
    type SerializeStruct = None;
    type SerializeStructVariant = None;

    fn serialize_unit(self) -> Result<(), Other> {
        Ok(())
    }

    refused!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str
    );

    fn serialize_none(self) -> Result<(), Other> {
        Err(Other)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Other> {
        Err(Other)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Other> {
        Err(Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), Other> {
        Err(Other)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Other> {
        Err(Other)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_tuple(self, _: usize) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<None, Other> {
        Err(Other)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<None, Other> {
        Err(Other)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Other> {
        Err(Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unit_is_no_argument() {
        assert!(is_unit(&()));
        assert!(!is_unit(&Option::<u8>::None) && !is_unit(&serde_json::Value::Null));
        assert!(!is_unit("") && !is_unit(&((), ())) && !is_unit(&[(); 0]));
        let event = crate::Payload::event("a", &()).expect("no arguments");
        assert!(event.is_empty());
        assert_eq!(event, crate::Payload::event_with("a", [(); 0]).expect("no arguments"));
    }
}
