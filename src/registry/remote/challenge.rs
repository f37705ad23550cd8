//! `WWW-Authenticate` (RFC 9110 §11, Distribution's token specification) as untrusted bytes.

/// What a registry asks for before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// Returns the strongest challenge that is understood among the header's values: a token before a
/// password.
pub(super) fn strongest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for value in values {
        match parse(value) {
            Some(Challenge::Basic) => basic = Some(Challenge::Basic),
            Some(bearer) => return Some(bearer),
            None => {}
        }
    }
    basic
}

fn parse(value: &str) -> Option<Challenge> {
    let value = value.trim();
    let (scheme, parameters) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = parameters;
    while let Some((name, after)) = rest.split_once('=') {
        let (text, after) = value_of(after)?;
        match name.trim_matches([' ', ',', '\t']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(text),
            "service" => service = Some(text),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// Reads a token or a quoted string; returns it and what follows.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_forms_that_registries_send() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        let read = |value: &str| strongest(std::iter::once(value));
        assert_eq!(read("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(
            read("Bearer realm=\"https://a/token?x=1,2\",service=\"s\",scope=\"repository:a:pull,push\""),
            bearer("https://a/token?x=1,2", Some("s"))
        );
        assert_eq!(read("bearer  service=s, realm=https://a/t"), bearer("https://a/t", Some("s")));
        assert_eq!(read("Bearer realm=\"open"), None);
        assert_eq!(read("Negotiate"), None);
    }

    #[test]
    fn takes_a_token_before_a_password() {
        let values = ["Basic realm=x", "Bearer realm=\"https://a/t\""];
        assert!(matches!(strongest(values.into_iter()), Some(Challenge::Bearer { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(value in "\\PC{0,80}") {
            let _ = parse(&value);
            let _ = parse(&format!("Bearer realm={value}"));
        }

        #[test]
        fn any_realm_survives_quoting(realm in "\\PC{0,40}", service in "[ -~]{0,20}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("Bearer realm=\"{}\",service=\"{}\"", quoted(&realm), quoted(&service));
            prop_assert_eq!(parse(&value), Some(Challenge::Bearer { realm, service: Some(service) }));
        }
    }
}
