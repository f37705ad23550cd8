//! Promotions on a real layout directory: the order of writes, deaths between them, forks, repairs, and what a
//! release must be to be trusted.

mod bench;
mod evidence;
mod meddling;
mod order;
mod place;
mod repoint;
mod same_content;
