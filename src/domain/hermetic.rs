//! The hermetic level that was measured, and what kept it from being higher.
