//! The closed stack of a hub's run on the real engine with the real Docker Compose.

#[path = "hub_stack/bench.rs"]
mod bench;
#[path = "hub_stack/closed.rs"]
mod closed;
#[path = "support/engine_words.rs"]
mod engine_words;
#[path = "hub_stack/leftovers.rs"]
mod leftovers;
#[path = "hub_stack/life.rs"]
mod life;
#[path = "hub_stack/load.rs"]
mod load;
