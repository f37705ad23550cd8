//! With which credentials the engine may fetch an image.

use crate::domain::image::PinnedImage;
use crate::engine::Credentials;
use crate::failure::Outcome;
use crate::registry::remote::credentials;
use crate::settings::StorePlace;

/// Returns the host's own credentials, for an image of the very registry that they are for; an image
/// of any other registry is fetched without any.
pub fn host_credentials(place: &StorePlace, image: &PinnedImage) -> Outcome<Option<Credentials>> {
    match place {
        StorePlace::Registry { host, auth_file: Some(file), .. } if host == image.host() => {
            let found = credentials::read(file, host)?;
            Ok(Some(Credentials { username: found.user, password: found.password }))
        }
        StorePlace::Registry { .. } | StorePlace::Layout(_) => Ok(None),
    }
}
