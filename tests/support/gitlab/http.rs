//! Requests read whole, answers built as values: the thin layer over the HTTP server.

use std::collections::HashMap;
use std::io::Cursor;

use serde_json::Value;

/// A request with its body.
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns a query parameter, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Returns the body as JSON, `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        let answer = Self { status, headers: Vec::new(), body: body.to_string().into_bytes() };
        answer.header("Content-Type", "application/json")
    }

    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &serde_json::json!({"message": message}))
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Reads a request, answers it, and forgets a client that hung up.
pub fn serve(mut request: tiny_http::Request, answer: impl FnOnce(&Request) -> Answer) {
    let (path, query) = match request.url().split_once('?') {
        Some((path, query)) => (path.to_owned(), query.to_owned()),
        None => (request.url().to_owned(), String::new()),
    };
    let headers = request
        .headers()
        .iter()
        .map(|header| (header.field.to_string().to_lowercase(), header.value.to_string()))
        .collect();
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let read = Request { method: request.method().to_string(), path, query, headers, body };
    let answer = answer(&read);
    let length = answer.body.len();
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| {
            tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).expect("a header in ASCII")
        })
        .collect();
    let response = tiny_http::Response::new(
        tiny_http::StatusCode(answer.status),
        headers,
        Cursor::new(answer.body),
        Some(length),
        None,
    );
    let _ = request.respond(response.with_chunked_threshold(usize::MAX));
}
