//! Private data of a shared object, as whoever opens it reads it.

use dxg_wire::shared_object::SharedObject;

/// What can be read can be written and read again.
pub fn shared_object(data: &[u8]) {
    if let Ok(object) = SharedObject::decode(data) {
        assert_eq!(SharedObject::decode(&object.encode()), Ok(object));
    }
}
