//! Values of a program, found by their type.

use std::any::{Any, TypeId, type_name};

/// Values of different types, one of each.
///
/// A program has a handful of them, so they are looked for one after the other.
#[derive(Default)]
pub(crate) struct States(Vec<(TypeId, &'static str, Box<dyn Any + Send + Sync>)>);

impl States {
    /// Keeps a value. Returns false if there is one of this type already, which stays.
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        let is_new = self.get::<T>().is_none();
        if is_new {
            self.0.push((TypeId::of::<T>(), type_name::<T>(), Box::new(value)));
        }
        is_new
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        let wanted = TypeId::of::<T>();
        let (_, _, value) = self.0.iter().find(|(kind, _, _)| *kind == wanted)?;
        value.downcast_ref()
    }

    /// The names of the types that there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(_, name, _)| *name)
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be secrets.
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut states = States::default();
        assert!(states.add(7_u32) && states.add("text"));
        assert!(!states.add(8_u32), "there is one already");
        assert_eq!((states.get::<u32>(), states.get::<&str>()), (Some(&7), Some(&"text")));
        assert_eq!(states.get::<u64>(), None);
        assert_eq!(format!("{states:?}"), r#"["u32", "&str"]"#);
    }
}
