//! Packages of an image: one cataloger a file, the fold over layers, SPDX and CycloneDX writers.
//!
//! Two steps. [`scan_layer`] turns the bytes of one uncompressed layer into a [`LayerFragment`], in any
//! order, on any thread, from a cache. [`fold`] puts the fragments on top of each other in manifest
//! order and asks each cataloger what it sees; only then is anything a package. Image content is
//! hostile: everything is bounded, and what could not be read is named in the documents.
//!
//! Nothing here knows an engine, a registry or a clock.

mod catalog;
mod cyclonedx_document;
mod fold;
mod fragment;
mod inventory;
mod layer;
mod licence;
mod path;
mod spdx_document;
mod subject;
#[cfg(test)]
mod tests;

pub use cyclonedx_document::cyclonedx;
pub use fold::{Layer, LayerOrigin, fold};
pub use fragment::{LayerFragment, SCANNER_VERSION};
pub use inventory::{Distro, Inventory, OwnFile, OwnFiles, Package, Source, Supplier};
pub use layer::{ScanError, scan_layer};
pub use licence::Licence;
pub use spdx_document::spdx;
pub use subject::Subject;
