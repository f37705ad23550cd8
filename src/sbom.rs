//! Packages of an image: one cataloger a file, the fold over layers, SPDX and CycloneDX writers.
