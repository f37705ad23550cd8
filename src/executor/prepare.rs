//! The prepare stage: decides whether the job may run and may publish, resolves its image, starts the
//! containers and leaves the job record.
//!
//! A refusal exits as a build failure, so that GitLab Runner does not try again; everything that a
//! retry may mend exits as a system failure, and the runner tries up to three times.

use time::OffsetDateTime;

use crate::cancel::Cancel;
use crate::delivery::heartbeat::{Progress, beating, beating_with};
use crate::delivery::pull::host_credentials;
use crate::domain::hub::HubRule;
use crate::domain::image::PinnedImage;
use crate::domain::job::{HubDecision, JobFacts, PublishDecision, PublishRule};
use crate::engine::{Credentials, Engine, ResolvedImage};
use crate::executor::containers;
use crate::executor::job_record::{JobDirectory, JobKey, JobRecord};
use crate::failure::{Failure, Outcome};
use crate::gitlab::job_response::{JobResponse, Step};
use crate::job_log::{JobLog, printable};
use crate::settings::Settings;

const REFUSED: &str = "the runner refused this job; retrying will not help";

/// Prepares one job.
pub async fn prepare(
    settings: &Settings,
    response: &JobResponse,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let facts = &response.facts;
    let purpose = decide(settings, response, log)?;
    refuse_what_is_not_supported(settings, response)?;
    let image = job_image(settings, response)?;

    let key = JobKey::of(facts);
    let directory = JobDirectory::new(&settings.state_dir, &key);
    directory.create()?;
    cancel
        .or("cannot prepare the job", async {
            let engine = Engine::connect(&settings.engine_socket).await?;
            let credentials = match credentials(response, &image) {
                Some(of_the_job) => Some(of_the_job),
                None => host_credentials(&settings.store.place, &image)?,
            };
            let helper_credentials = host_credentials(&settings.store.place, &settings.helper.image)?;
            let resolved = resolve(&engine, &image, credentials, log).await?;
            let helper = resolve(&engine, &settings.helper.image, helper_credentials, log).await?;
            log.line(format!(
                "image   {}@sha256:{}…",
                resolved.pinned.name(),
                resolved.pinned.digest().short()
            ));
            log.line(format!("helper  {}@sha256:{}…", helper.pinned.name(), helper.pinned.digest().short()));
            log.line("helper network: open");

            let started = OffsetDateTime::now_utc().unix_timestamp();
            let mut record = JobRecord::new(facts, image.clone(), resolved.id.clone(), started);
            match purpose {
                Purpose::Publish(rule) => record.publish = Some(rule.clone()),
                Purpose::Promote(rule) => record.hub = Some(rule.clone()),
                Purpose::Neither => {}
            }
            let labels = containers::labels(&key, facts, started);
            let starting = containers::start_helper(&engine, settings, &helper, &key, labels.clone());
            record.helper_container = beating(log, "starting", starting).await?;
            if matches!(purpose, Purpose::Neither) {
                let container =
                    containers::start_plain_job(&engine, settings, &resolved, &key, labels).await?;
                record.job_container = Some(container);
            }
            directory.save(&record)
        })
        .await
}

/// What a job is for, by the host's settings.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    Publish(&'a PublishRule),
    Promote(&'a HubRule),
    Neither,
}

/// Decides whether the job publishes or promotes, and says why it doesn't when a rule is near.
fn decide<'a>(settings: &'a Settings, response: &JobResponse, log: &JobLog) -> Outcome<Purpose<'a>> {
    let facts = &response.facts;
    match HubDecision::decide(settings.hub.as_ref(), facts) {
        HubDecision::Hub(rule) => {
            check_script(&response.steps, &rule.job, &rule.script)?;
            check_repository_url(settings, facts)?;
            log.line("promotes the platform's release when its test passes");
            return Ok(Purpose::Promote(rule));
        }
        HubDecision::Other(near) => {
            if let Some(reason) = near {
                log.line(format!("promotes nothing: {reason}"));
            }
        }
    }
    let rule = match PublishDecision::decide(&settings.publish, facts) {
        PublishDecision::Publish(rule) => rule,
        PublishDecision::Nothing(near) => {
            for reason in near {
                log.line(format!("publishes nothing: {reason}"));
            }
            return Ok(Purpose::Neither);
        }
    };
    check_script(&response.steps, &rule.job, &rule.script)?;
    check_repository_url(settings, facts)?;
    let repositories: Vec<&str> = rule.repositories.iter().map(|r| r.as_str()).collect();
    log.line(format!("publishes `{}` when its test passes", repositories.join("`, `")));
    Ok(Purpose::Publish(rule))
}

/// The test that counts is Airlock's: the job's script must be the rule's, to the byte.
fn check_script(steps: &[Step], job: &str, script: &[String]) -> Outcome<()> {
    let refused = |why: String| {
        Failure::refused_to_publish(format!(
            "cannot run job `{job}`: its script is not the one that the host's publish rule demands"
        ))
        .because(why)
        .hint(format!(
            "set `script: {}` in `.gitlab-ci.yml`, without `before_script`; what the test does belongs into the Makefile",
            shown(script)
        ))
        .note(REFUSED)
    };
    let mut user_steps = steps.iter().filter(|step| step.name != "after_script");
    let Some(step) = user_steps.next().filter(|step| step.name == "script") else {
        return Err(refused("the job has no step `script`".to_owned()));
    };
    if let Some(other) = user_steps.next() {
        return Err(refused(format!("the job has a further step `{}`", printable(&other.name))));
    }
    if step.script != script {
        return Err(refused(format!("expected {}, found {}", shown(script), shown(&step.script))));
    }
    Ok(())
}

fn shown(lines: &[String]) -> String {
    let mut text = String::from("[");
    for (i, line) in lines.iter().take(5).enumerate() {
        let line: String = printable(line).chars().take(120).collect();
        text.push_str(if i > 0 { ", " } else { "" });
        text.push_str(&format!("`{line}`"));
    }
    if lines.len() > 5 {
        text.push_str(&format!(", … {} more", lines.len() - 5));
    }
    text + "]"
}

/// The job's token goes to the GitLab that the host settings name, and nowhere else.
fn check_repository_url(settings: &Settings, facts: &JobFacts) -> Outcome<()> {
    let (expected, found) = (settings.gitlab.url.origin(), facts.repository_url.origin());
    if expected == found {
        return Ok(());
    }
    Err(Failure::refused_to_publish("cannot take the commit: the repository is not on the host's GitLab")
        .because(format!("expected {}, found {}", expected.ascii_serialization(), found.ascii_serialization()))
        .hint("for the runner's administrator: `gitlab.url` in the host settings must be the URL that GitLab puts into repository URLs")
        .note(REFUSED))
}

fn refuse_what_is_not_supported(settings: &Settings, response: &JobResponse) -> Outcome<()> {
    if !response.services.is_empty() {
        let names: Vec<String> = response.services.iter().take(10).map(|name| printable(name)).collect();
        return Err(Failure::refused(format!(
            "cannot run the job: it declares services `{}`",
            names.join("`, `")
        ))
        .because("jobs run without any network, and services are not supported yet")
        .hint(
            "remove `services` from the job; tests that need other programs belong into the integration hub",
        )
        .note(REFUSED));
    }
    let needs = &response.needs_gitlab_runner;
    if !needs.is_empty() && settings.helper.gitlab_runner.is_none() {
        return Err(Failure::refused(format!("cannot run the job: it declares {}", needs.join(", ")))
            .because("the helper container has no `gitlab-runner` program, so they would be skipped in silence")
            .hint("for the runner's administrator: set `helper.gitlab_runner` in the host settings to the path of the program")
            .hint("for the job's author: or remove them from the job")
            .note(REFUSED));
    }
    Ok(())
}

fn job_image(settings: &Settings, response: &JobResponse) -> Outcome<PinnedImage> {
    let image = match (&response.image, &settings.images.default) {
        (Some(name), _) => name.parse::<PinnedImage>().map_err(|error| {
            Failure::refused(format!("cannot run the job: its image `{}` is not usable", printable(name)))
                .because(error)
                .because("hermetic jobs need `name@sha256:…`, because a tag can point elsewhere at the next run")
                .hint("write `image: HOST/NAME@sha256:…` in `.gitlab-ci.yml`; `docker buildx imagetools inspect` or `skopeo inspect` show the digest")
                .note(REFUSED)
        })?,
        (None, Some(default)) => default.clone(),
        (None, None) => {
            return Err(Failure::refused("cannot run the job: it names no image and the host has no default")
                .hint("write `image: HOST/NAME@sha256:…` in `.gitlab-ci.yml`")
                .note(REFUSED));
        }
    };
    if settings.images.allows(&image) {
        return Ok(image);
    }
    let allowed: Vec<&str> = settings.images.allow.iter().map(|pattern| pattern.as_str()).collect();
    let allowed = if allowed.is_empty() { "none".to_owned() } else { format!("`{}`", allowed.join("`, `")) };
    Err(Failure::refused(format!(
        "cannot run the job: its image `{}` is not allowed on this host",
        image.name()
    ))
    .because(format!("allowed are {allowed}"))
    .hint("use an allowed image, or ask the runner's administrator to add this one to `images.allow`")
    .note(REFUSED))
}

/// Has the engine resolve an image, which may take a pull.
pub async fn resolve(
    engine: &Engine,
    image: &PinnedImage,
    credentials: Option<Credentials>,
    log: &JobLog,
) -> Outcome<ResolvedImage> {
    let progress = Progress::default();
    let mut said = |state: &str| progress.set(printable(state));
    let what = format!("pulling {}", image.name());
    Ok(beating_with(log, &what, &progress, engine.resolve_image(image, credentials, &mut said)).await?)
}

/// Credentials that GitLab gave for exactly the image's registry.
fn credentials(response: &JobResponse, image: &PinnedImage) -> Option<Credentials> {
    response
        .registry_credentials
        .iter()
        .find(|c| c.host == image.host().as_str())
        .map(|c| Credentials { username: c.username.clone(), password: c.password.to_string() })
}
