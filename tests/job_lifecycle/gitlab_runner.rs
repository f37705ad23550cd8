//! Artifacts, cache and dependencies through a configured `gitlab-runner` program in the helper.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::Plain;
use crate::support::lifecycle::assert_nothing_left;
use crate::support::staging::Host;

/// Speaks GitLab's artifact endpoints as the real program does, for one plain file, with bash alone.
const STAND_IN: &str = r#"#!/usr/bin/env bash
set -eu
verb=$1; shift
case $verb in --version) echo "stand-in"; exit 0 ;; esac
paths=(); file= type=archive format=zip
while [ $# -gt 0 ]; do
  case $1 in
    --url) url=${2#http://} ;; --token) token=$2 ;; --id) id=$2 ;; --path) paths+=("$2") ;; --file) file=$2 ;;
    --artifact-type) type=$2 ;; --artifact-format) format=$2 ;;
  esac
  shift 2
done
request() { # method, target, content type, body file
  exec 3<>"/dev/tcp/${url%:*}/${url##*:}"
  printf '%s %s HTTP/1.1\r\nHost: %s\r\nJOB-TOKEN: %s\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %s\r\n\r\n' \
    "$1" "$2" "$url" "$token" "$3" "$(wc -c < "$4")" >&3
  cat "$4" >&3
  tr -d '\r' <&3 > /tmp/answer
  read -r _ status _ < /tmp/answer
  case $status in 2*) ;; *) echo "GitLab answered $status" >&2; exit 1 ;; esac
}
case $verb in
  artifacts-uploader)
    for path in "${paths[@]}"; do
      [ -f "$path" ] || { echo "no file $path" >&2; continue; }
      { printf -- '--xx\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' "${path##*/}"
        cat "$path"; printf '\r\n--xx--\r\n'; } > /tmp/body
      request POST "/api/v4/jobs/$id/artifacts?artifact_type=$type&artifact_format=$format" 'multipart/form-data; boundary=xx' /tmp/body
    done ;;
  artifacts-downloader) request GET "/api/v4/jobs/$id/artifacts" text/plain /dev/null; sed '1,/^$/d' /tmp/answer > downloaded.txt ;;
  cache-extractor) [ -f "$file" ] && cp "$file" . ;;
  cache-archiver) mkdir -p "${file%/*}"; cp "${paths[0]}" "$file" ;;
  *) echo "stand-in: no verb $verb" >&2; exit 1 ;;
esac
"#;

/// Writes the program and returns settings that name it.
pub fn configured(directory: &std::path::Path, settings: String) -> String {
    let program = directory.join("gitlab-runner");
    fs::write(&program, STAND_IN).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    settings.replace("[helper]\n", &format!("[helper]\ngitlab_runner = \"{}\"\n", program.display()))
}

#[test]
fn a_job_with_cache_artifacts_and_dependencies_works_with_a_configured_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let plain = Plain::with(|settings| configured(directory.path(), settings));
    let host: &Host = &plain.host;
    host.gitlab.serve_artifact(77, "token-of-77", b"made by the job before\n".to_vec());
    let job = plain
        .job(&["cat downloaded.txt", "mkdir -p out; echo result > out/result.txt; echo kept > kept.txt"])
        .dependency(77, "token-of-77", "compile")
        .artifact_paths(&["out/result.txt"], "on_success")
        .cache_paths("deps", &["kept.txt"]);
    let id = host.gitlab.enqueue(&job);
    let outcome = host.runner().run_one().expect_success();
    for text in ["made by the job before", "Created cache"] {
        assert!(outcome.trace.contains(text), "no `{text}` in\n{}", outcome.trace);
    }
    let artifacts = host.gitlab.record(id).artifacts;
    assert_eq!(artifacts.len(), 1, "{}", outcome.trace);
    assert_eq!(
        (artifacts[0].filename.as_str(), artifacts[0].bytes.as_slice()),
        ("result.txt", &b"result\n"[..])
    );
    assert_nothing_left(host, id);
}

#[test]
fn a_configured_program_that_is_not_there_is_the_administrators_to_mend() {
    let plain = Plain::with(|settings| {
        settings.replace("[helper]\n", "[helper]\ngitlab_runner = \"/nonexistent/gitlab-runner\"\n")
    });
    let id = plain.host.gitlab.enqueue(&plain.job(&["true"]));
    let outcome = plain.host.runner().run_one();
    assert_eq!(outcome.state, crate::system_failure(), "{}", outcome.trace);
    insta::assert_snapshot!(crate::support::lifecycle::said(&outcome.call("prepare").stderr));
    assert_nothing_left(&plain.host, id);
}
