//! The sealed description of one hermetic container.
