//! GitLab's workspace is the author's: hooks, checkouts, caches and `.git` change nothing of the image.

use serde_json::json;

use crate::attack::Attack;
use crate::published_image::PublishedImage;
use crate::support::gitlab::JobPayload;
use crate::trap::Trap;

const APP: &[u8] = b"def add(a, b):\n    return a + b\n";

/// What the small component's context holds.
const FILES: [&str; 4] = ["srv/.dockerignore", "srv/Dockerfile", "srv/VERSION", "srv/app.py"];

/// Lines that run in the helper container before or after get_sources.
fn hook(job: JobPayload, name: &str, lines: &[&str]) -> JobPayload {
    job.set("/hooks", json!([{"name": name, "script": lines}]))
}

#[test]
fn a_workspace_that_a_hook_filled_is_seen_by_neither_test_nor_build() {
    let attack = Attack::with(|repository| {
        let test = "stage-unit-test:\n\t@echo '<<<'; ls -A; cat app.py; echo '>>>'\n";
        repository.write("Makefile", test);
    });
    let trap = Trap::beside(&attack.host);
    // The one connection that must arrive: it shows that the trap can be reached at all.
    let touch =
        format!("exec 3<>/dev/tcp/{}/{} && echo x >&3 && exec 3>&-", trap.gateway.ip(), trap.gateway.port());
    let lines = [
        touch.as_str(),
        "mkdir -p /builds/acme/billing /cache/acme && cd /builds/acme/billing",
        "echo 'planted = 1' > app.py; echo 'FROM scratch' > Dockerfile; echo 9.9.9 > VERSION; echo planted > extra",
        "printf 'stage-unit-test:\\n\\techo planted\\n' > Makefile; cp -r . /cache/acme",
    ];
    let job = hook(attack.job().variable("GIT_STRATEGY", "none"), "pre_get_sources_script", &lines);
    let ended = attack.published(&job);
    assert_eq!(
        ended.said(),
        format!(".dockerignore\nDockerfile\nMakefile\nVERSION\napp.py\n{}", String::from_utf8_lossy(APP))
    );
    let image = PublishedImage::staged(&attack.host);
    assert_eq!(image.file("srv/app.py"), APP);
    assert_eq!(image.paths(), FILES);
    assert!(attack.host.image_tags().iter().any(|tag| tag.starts_with("1.4.0-")));
    trap.was_touched(1);
}

#[test]
fn a_changed_git_directory_changes_nothing() {
    let attack = Attack::new();
    let lines = [
        "cd /builds/acme/billing",
        "printf '#!/bin/sh\\ntouch /builds/hook-ran\\n' | tee .git/hooks/post-checkout > .git/hooks/pre-commit; chmod +x .git/hooks/*",
        "git config core.hooksPath .git/hooks; git config core.fsmonitor 'touch /builds/hook-ran; false'",
        "git config url.http://mallory.test/.insteadOf http://; git config core.worktree /etc; git config core.attributesFile /builds/attributes",
        "git config --global url.http://mallory.test/.insteadOf http:// || true",
        "echo /builds/other/objects > .git/objects/info/alternates; echo 'ref: refs/heads/other' > .git/HEAD",
        "other=$(git hash-object -w -t blob --stdin <<< planted); head=$(git rev-parse origin/staging)",
        "git update-ref refs/replace/$(git rev-parse $head:app.py) $other; rm -f app.py; echo planted > app.py",
    ];
    let ended = attack.published(&hook(attack.job(), "post_get_sources_script", &lines));
    assert!(!ended.outcome.trace.contains("hook-ran"), "{}", ended.outcome.trace);
    assert_eq!(PublishedImage::staged(&attack.host).file("srv/app.py"), APP);
}

#[test]
fn a_test_that_rewrites_the_sources_is_not_what_is_built() {
    let attack = Attack::with(|repository| {
        repository.write(
            "Makefile",
            "stage-unit-test:\n\techo 'FROM scratch' > Dockerfile\n\techo planted > app.py\n\techo 9.9.9 > VERSION\n\
             \techo planted > extra\n\tprintf 'schema = 1\\n[[image]]\\nrepository = \"other\"\\n' > airlock.toml\n\trm .dockerignore\n",
        );
    });
    attack.published(&attack.job());
    let image = PublishedImage::staged(&attack.host);
    assert_eq!(image.file("srv/app.py"), APP);
    assert_eq!(image.paths(), FILES);
    assert!(attack.host.image_tags().iter().any(|tag| tag.starts_with("1.4.0-")));
}

#[test]
fn processes_that_a_test_leaves_behind_are_gone_before_the_build() {
    let attack = Attack::with(|repository| {
        repository.write(
            "leave.py",
            "import os, signal, sys\n\
             for name in ('SIGTERM', 'SIGHUP', 'SIGINT'):\n    signal.signal(getattr(signal, name), signal.SIG_IGN)\n\
             for n in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        while True:\n            \
             [open(f'/builds/acme/billing/{f}', 'w').write('planted') for f in ('app.py', 'Dockerfile', 'extra')]\n",
        );
        // One of them keeps the output open, which must not hold the job.
        repository.write(
            "Makefile",
            "stage-unit-test:\n\tpython3 leave.py &\n\tsetsid sh -c 'while :; do :; done' &\n",
        );
        repository.write(".dockerignore", "Makefile\nleave.py\n");
    });
    attack.published(&attack.job());
    let image = PublishedImage::staged(&attack.host);
    assert_eq!(image.file("srv/app.py"), APP);
    assert_eq!(image.paths(), FILES);
}

#[test]
fn git_attributes_do_not_touch_a_byte_of_the_image() {
    const NAMES: [&str; 7] = ["ignored", "subst", "filtered", "text", "ident", "utf16", "eol.sh"];
    let crlf = b"one\r\ntwo\n$Id$ $Format:%H$\r\n".to_vec();
    let attack = Attack::with(|repository| {
        for name in NAMES {
            repository.write(name, &crlf);
        }
        repository.commit("the files");
        repository.write(
            ".gitattributes",
            "ignored export-ignore\nsubst export-subst\nfiltered filter=evil\ntext text eol=lf\nident ident\n\
             utf16 working-tree-encoding=UTF-16\neol.sh text eol=crlf\n*.none -text\n",
        );
        // The rules come alone: adding the files again would apply them.
        for arguments in
            [["add", ".gitattributes"].as_slice(), &["commit", "--quiet", "--message", "the rules"]]
        {
            repository.git(arguments);
        }
    });
    let lines = ["git config --global filter.evil.smudge 'echo planted' || true"];
    attack.published(&hook(attack.job(), "pre_get_sources_script", &lines));
    let image = PublishedImage::staged(&attack.host);
    for name in NAMES {
        assert_eq!(image.file(&format!("srv/{name}")), crlf, "{name}");
    }
}
