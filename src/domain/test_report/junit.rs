//! One JUnit file to its counts (the form that Ant wrote first and GitLab reads).

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::TestCounts;

const MAX_DEPTH: usize = 64;
const MAX_ATTRIBUTES: usize = 64;

/// What is wrong, and at which byte.
pub(super) struct Fault {
    pub at: usize,
    pub why: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Suites,
    Suite,
    Case,
    Other,
}

#[derive(Default)]
struct Reading {
    open: Vec<Element>,
    has_root: bool,
    /// Counted from test cases.
    cases: TestCounts,
    /// What the present test case told so far.
    case: TestCounts,
    /// Summed over the outermost suites' attributes.
    suites: Option<TestCounts>,
    /// The root's attributes.
    root: TestCounts,
}

/// Counts test cases; where there are none, the attributes of the outermost suites count.
pub(super) fn counts(bytes: &[u8]) -> Result<TestCounts, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault { at: error.valid_up_to(), why: "it is not UTF-8".into() })?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().allow_dangling_amp = false;
    let mut reading = Reading::default();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(bytes.len());
        let event = reader.read_event();
        let result = match event {
            Ok(Event::Start(start)) => reading.open(&start),
            Ok(Event::Empty(start)) => reading.open(&start).map(|()| reading.close()),
            Ok(Event::End(_)) => {
                reading.close();
                Ok(())
            }
            Ok(Event::DocType(_)) => Err("a document type is not allowed".to_owned()),
            Ok(Event::GeneralRef(name)) => match name.is_char_ref() || is_predefined(&name) {
                true => Ok(()),
                false => Err("an entity that XML does not define itself is not allowed".to_owned()),
            },
            Ok(Event::Text(text)) if reading.open.is_empty() && !text.trim_ascii().is_empty() => {
                Err("text stands outside the root element".to_owned())
            }
            Ok(Event::Eof) => break,
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        result.map_err(|why| Fault { at, why: shown(&why) })?;
    }
    let fault = |why: &str| Err(Fault { at: bytes.len(), why: why.to_owned() });
    if !reading.open.is_empty() {
        return fault("an element is not closed");
    }
    if !reading.has_root {
        return fault("expected `testsuites` or `testsuite`");
    }
    if reading.cases.tests > 0 {
        return Ok(reading.cases);
    }
    Ok(reading.suites.unwrap_or(reading.root))
}

impl Reading {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("elements are nested more than {MAX_DEPTH} deep"));
        }
        let element = match start.local_name().as_ref() {
            b"testsuites" => Element::Suites,
            b"testsuite" => Element::Suite,
            b"testcase" => Element::Case,
            _ => Element::Other,
        };
        let attributes = attributes(start)?;
        match (self.open.last(), element) {
            (None, Element::Suites | Element::Suite) if !self.has_root => {
                self.has_root = true;
                match element {
                    Element::Suite => self.suites = Some(attributes),
                    _ => self.root = attributes,
                }
            }
            (None, _) => return Err("expected one root element, `testsuites` or `testsuite`".into()),
            (Some(Element::Suites), Element::Suite) => {
                self.suites = Some(self.suites.unwrap_or_default().plus(attributes));
            }
            (Some(_), Element::Case) => {
                if self.open.contains(&Element::Case) {
                    return Err("a test case stands inside another".into());
                }
                self.case = TestCounts { tests: 1, ..TestCounts::default() };
            }
            (Some(Element::Case), _) => match start.local_name().as_ref() {
                b"failure" => self.case.failures = 1,
                b"error" => self.case.errors = 1,
                b"skipped" => self.case.skipped = 1,
                _ => {}
            },
            (Some(_), _) => {}
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) {
        if self.open.pop() == Some(Element::Case) {
            if self.case.has_failures() {
                self.case.skipped = 0;
            }
            self.cases = self.cases.plus(self.case);
        }
    }
}

/// Reads the four counts; every other attribute is only looked at for its form.
fn attributes(start: &BytesStart<'_>) -> Result<TestCounts, String> {
    let mut counts = TestCounts::default();
    let is_suite = matches!(start.local_name().as_ref(), b"testsuites" | b"testsuite");
    for (number, attribute) in start.attributes().enumerate() {
        if number >= MAX_ATTRIBUTES {
            return Err(format!("an element has more than {MAX_ATTRIBUTES} attributes"));
        }
        let attribute = attribute.map_err(|error| error.to_string())?;
        let slot = match attribute.key.as_ref() {
            b"tests" => &mut counts.tests,
            b"failures" => &mut counts.failures,
            b"errors" => &mut counts.errors,
            b"skipped" | b"disabled" => &mut counts.skipped,
            _ => continue,
        };
        if !is_suite {
            continue;
        }
        let text = String::from_utf8_lossy(&attribute.value);
        let key = String::from_utf8_lossy(attribute.key.as_ref());
        let value: u64 = match text.trim() {
            "" => 0,
            text => text.parse().map_err(|_| format!("`{key}` is `{text}`: expected a number"))?,
        };
        *slot = slot.saturating_add(value);
    }
    Ok(counts)
}

fn is_predefined(name: &[u8]) -> bool {
    matches!(name, b"lt" | b"gt" | b"amp" | b"apos" | b"quot")
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
