//! Fetches an image's evidence and judges it: the same code for the delivery and for a client.
