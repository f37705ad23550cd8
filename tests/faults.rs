//! What a delivery leaves when it is interrupted or its store fails: no tag without complete evidence,
//! nothing on the host, and a retry that ends green (design §4, threats A7 and F12).

#[path = "reproducible/components.rs"]
mod components;
#[path = "support/site.rs"]
mod site;
mod support;

#[path = "faults/failing.rs"]
mod failing;
#[path = "faults/killed.rs"]
mod killed;
#[path = "faults/layout.rs"]
mod layout;
#[path = "faults/proxy.rs"]
mod proxy;
#[path = "faults/raced.rs"]
mod raced;
