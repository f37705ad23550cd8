//! Lists that a registry cuts into pages (`Link`), read as far as they are wanted and no further.

use ::http::HeaderMap;
use ::http::header::LINK;
use bytes::Bytes;
use serde_json::Value;
use url::Url;

use super::RemoteRegistry;
use super::http::{Answer, Question};
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::{MAX_MANIFEST_BYTES, StoreError, referrers};

/// Most pages of one list that are read: a registry could send empty ones for ever.
const MAX_PAGES: usize = 64;
/// Largest page of tags, in bytes: some registries send all tags in one.
const MAX_TAGS_BYTES: u64 = 16 * 1024 * 1024;
/// Most entries that are searched for one of our own.
const MAX_REFERRERS: usize = 20_000;

impl RemoteRegistry {
    /// Returns at least `limit` referrers, or all; `None` where the registry has no referrers API.
    pub(super) async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let first = self.http.url(repository, &format!("referrers/{subject}"));
        let what = format!("{repository}/referrers/{subject}");
        let pages = self.pages(repository, first, Some(referrers::INDEX), MAX_MANIFEST_BYTES, &what);
        let mut all = Vec::new();
        let take = &mut |body: &Bytes| {
            let entries = referrers::entries(body)?;
            let count = entries.len();
            all.extend(entries);
            Some(count)
        };
        Ok(match pages.read(limit, take).await? {
            Pages::Some => Some(all),
            Pages::None => None,
        })
    }

    /// Returns whether the referrers API knows `referrer`.
    pub(super) async fn api_lists(
        &self,
        repository: &Repository,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<bool, StoreError> {
        let all = self.referrers_by_api(repository, subject, MAX_REFERRERS).await?.unwrap_or_default();
        Ok(all.iter().any(|entry| entry.get("digest").and_then(Value::as_str) == Some(referrer.as_str())))
    }

    /// Returns at most `limit` tags in byte order; what is no tag is passed over.
    pub(super) async fn list_tags(
        &self,
        repository: &Repository,
        limit: usize,
    ) -> Result<Vec<Tag>, StoreError> {
        let mut first = self.http.url(repository, "tags/list");
        first.query_pairs_mut().append_pair("n", &limit.clamp(1, 1000).to_string());
        let what = format!("{repository}/tags/list");
        let mut tags: Vec<Tag> = Vec::new();
        let pages = self.pages(repository, first, None, MAX_TAGS_BYTES, &what);
        let take = &mut |body: &Bytes| {
            let document: Value = serde_json::from_slice(body).ok()?;
            // A repository whose last tag was removed has `null` here.
            let list = document.as_object()?.get("tags").and_then(Value::as_array);
            let names = list.into_iter().flatten().filter_map(Value::as_str);
            let before = tags.len();
            tags.extend(names.filter_map(|name| name.parse::<Tag>().ok()));
            Some(tags.len() - before)
        };
        if let Pages::None = pages.read(limit, take).await? {
            return Ok(Vec::new());
        }
        tags.sort();
        tags.dedup();
        tags.truncate(limit);
        Ok(tags)
    }

    fn pages<'a>(
        &'a self,
        repository: &'a Repository,
        first: Url,
        accept: Option<&'a str>,
        limit: u64,
        what: &'a str,
    ) -> PageReader<'a> {
        PageReader { registry: self, question: Question { repository, url: first, accept, limit, what } }
    }
}

enum Pages {
    Some,
    None,
}

struct PageReader<'a> {
    registry: &'a RemoteRegistry,
    question: Question<'a>,
}

impl PageReader<'_> {
    /// Gives page after page to `take`, which returns how many entries it found, until there are `limit`
    /// of them. A first page that is absent or unreadable is no list.
    async fn read(
        mut self,
        limit: usize,
        take: &mut (dyn FnMut(&Bytes) -> Option<usize> + Send),
    ) -> Result<Pages, StoreError> {
        let http = &self.registry.http;
        let mut count = 0;
        for page in 0..MAX_PAGES {
            let answer = match http.get(&self.registry.auth, &self.question).await {
                // Registries without the API answer this too.
                Err(StoreError::Answered { status: 400 | 405 | 406 | 501, .. }) if page == 0 => {
                    return Ok(Pages::None);
                }
                other => other?,
            };
            match answer.found.then(|| take(&answer.body)).flatten() {
                Some(found) => count += found,
                None if page == 0 => return Ok(Pages::None),
                None => break,
            }
            if count >= limit {
                break;
            }
            match next_page(&answer) {
                Some(next) if http.is_ours(&next) => self.question.url = next,
                Some(_) => {
                    return Err(StoreError::Malformed {
                        place: http.place.clone(),
                        what: format!("the next page of `{}` is at another host", self.question.what),
                        expected: "a list of its own",
                    });
                }
                None => break,
            }
        }
        Ok(Pages::Some)
    }
}

/// Returns where the next page is (RFC 8288, the form that the distribution specification uses).
fn next_page(answer: &Answer) -> Option<Url> {
    answer.url.join(&next_target(&answer.headers)?).ok()
}

fn next_target(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=next") || parameter.eq_ignore_ascii_case("rel=\"next\"")
        });
        next.then(|| target.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, value.parse().ok()?);
        next_target(&headers)
    }

    #[test]
    fn finds_the_next_page_and_nothing_else() {
        let next = "/v2/a/tags/list?last=x&n=2".to_owned();
        assert_eq!(target("</v2/a/tags/list?last=x&n=2>; rel=\"next\""), Some(next));
        assert_eq!(target("</v2/a>; rel=\"prev\""), None);
        assert_eq!(target("</v2/a"), None);
    }

    proptest! {
        #[test]
        fn never_panics(value in "[ -~]{0,60}") {
            let _ = target(&value);
            prop_assert_eq!(target(&format!("<a?{value}>; rel=next")).is_some(), true);
        }
    }
}
