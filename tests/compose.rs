//! Compose files, one per key and trick and named after it: resolved by the helper image's own Compose in a
//! sandbox on a real engine, then compiled. What is refused and in which words; what is compiled, to what.

mod compose {
    pub mod bench;
    pub mod checker;
    mod corpus;
    mod docs;
    mod hostile;
    mod ordinary;
    mod random;
}
mod support;
