use std::any::Any;
use std::sync::{Arc, Weak};

/// A cache of one value: the last one, and the key that it was made from.
pub(crate) struct Memo<K, V>(Option<(K, V)>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: PartialEq, V: Clone> Memo<K, V> {
    /// The value of `key`, made anew if the cached value has another key. The cached value is dropped first: there are never
    /// two.
    pub(crate) fn get_or_make<E>(
        &mut self,
        key: K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        if let Some((last, value)) = &self.0
            && *last == key
        {
            return Ok(value.clone());
        }
        self.0 = None;
        let value = make()?;
        self.0 = Some((key, value.clone()));
        Ok(value)
    }
}

/// The identity of an object behind an `Arc`, compared by address. It keeps the address from being used again, but does
/// not keep the object's content.
pub(crate) struct Identity(Weak<dyn Any + Send + Sync>);

impl Identity {
    pub(crate) fn of<T: Any + Send + Sync>(object: &Arc<T>) -> Self {
        let object = Arc::downgrade(object);
        Self(object)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn value_is_made_once_for_a_key() {
        let mut memo = Memo::default();
        let mut made = Vec::new();
        for key in [1, 1, 2, 2, 1] {
            let value = memo.get_or_make(key, || {
                made.push(key);
                Ok::<_, Infallible>(key * 10)
            });
            assert_eq!(value, Ok(key * 10));
        }
        assert_eq!(made, [1, 2, 1]);
    }

    #[test]
    fn failure_is_not_remembered() {
        let mut memo = Memo::default();
        assert_eq!(memo.get_or_make(1, || Err(())), Err(()));
        assert_eq!(memo.get_or_make(1, || Ok::<_, ()>(10)), Ok(10));
    }

    #[test]
    fn last_value_is_dropped_before_the_next_is_made() {
        let (mut memo, first) = (Memo::default(), Arc::new(1));
        memo.get_or_make(1, || Ok::<_, Infallible>(Arc::clone(&first))).unwrap();
        let holders =
            memo.get_or_make(2, || Ok::<_, Infallible>(Arc::new(Arc::strong_count(&first))));
        assert_eq!(holders, Ok(Arc::new(1)));
    }

    #[test]
    fn identity_is_of_the_object_and_holds_none_of_it() {
        let object = Arc::new("equal".to_owned());
        let identity = Identity::of(&object);
        assert!(identity == Identity::of(&Arc::clone(&object)));
        assert!(identity != Identity::of(&Arc::new("equal".to_owned())));
        assert_eq!(Arc::into_inner(object).as_deref(), Some("equal"));
        assert!(
            identity != Identity::of(&Arc::new("equal".to_owned())),
            "its address is not used again"
        );
    }
}
