//! Somebody else publishes the same commit while a delivery is under way.

use crate::components::clockwork;
use crate::proxy::{FaultySite, Write};
use crate::support::faulty_registry::Answer;
use crate::support::staging::{REPOSITORY, redact};

#[test]
fn an_image_that_was_published_meanwhile_from_the_same_commit_is_kept() {
    let faulty = FaultySite::with(clockwork(), |settings| settings);
    faulty.site.run(7).expect_success();
    let tags = faulty.image_tags();
    let first = faulty.site.complete_digest("staged");

    // The next job sees no tag when it looks, and pushes; by then the other job's tags are there.
    let (folder, aside) = (faulty.tags_folder(REPOSITORY), faulty.site.host.path("tags-aside"));
    std::fs::create_dir(&aside).expect("a folder");
    for tag in &tags {
        std::fs::rename(folder.join(tag), aside.join(tag)).expect("take the tag away");
    }
    let back = tags.clone();
    faulty.behave(move |_, write| {
        if write == Some(&Write::Manifest) {
            for tag in &back {
                std::fs::rename(aside.join(tag), folder.join(tag)).expect("put the tag back");
            }
        }
        Answer::Forward
    });
    let outcome = faulty.site.run(7).expect_success();
    faulty.behave_well();
    assert_eq!(faulty.image_tags(), tags);
    for tag in &tags {
        assert_eq!(faulty.site.complete_digest(tag), first, "`{tag}` was moved\n{}", outcome.trace);
    }
    let lines =
        outcome.trace.lines().filter(|line| ["not rep", "kept ", "tag "].iter().any(|w| line.starts_with(w)));
    insta::assert_snapshot!(redact(&lines.collect::<Vec<_>>().join("\n")));
}
