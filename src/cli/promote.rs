//! `airlock promote`: points `:candidate` at a release that stands there, after everything is verified again.

use clap::Args;
use time::OffsetDateTime;

use super::releases::{Source, reference};
use crate::failure::Outcome;
use crate::job_log::{JobLog, LogStyle};
use crate::release::repoint::{Plan, Repointing, plan, repoint};
use crate::release::store::Standing;

/// Point `:candidate` at a release and repair the component tags; says what it would do unless told --yes
#[derive(Args)]
pub struct PromoteArguments {
    #[command(flatten)]
    source: Source,
    /// Platform, as the hub's manifest names it
    platform: String,
    /// Version or digest of a release; an older one is a rollback
    #[arg(default_value = "candidate")]
    release: String,
    /// Write the tags
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub fn run(arguments: PromoteArguments) -> Outcome<()> {
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(promote(&arguments));
    runtime.shutdown_background();
    outcome
}

async fn promote(arguments: &PromoteArguments) -> Outcome<()> {
    let log = JobLog::new(Box::new(std::io::stdout()), LogStyle::Terminal);
    let opened = arguments.source.open()?;
    let parts = Repointing {
        store: opened.store.as_ref(),
        policy: &opened.policy,
        prefix: opened.prefix.as_ref(),
        state_dir: &opened.state_dir,
        now: OffsetDateTime::now_utc(),
    };
    let planned = plan(&parts, &arguments.platform, &reference(&arguments.release)?).await?;
    tell(&planned, &log);
    let nothing = !planned.moves_candidate() && planned.component_tags.is_empty();
    if nothing {
        log.line("nothing is to be written: every tag stands as the release says");
        return Ok(());
    }
    if !arguments.yes {
        log.line("dry run: nothing was written; the same command with --yes writes it");
        return Ok(());
    }
    repoint(&parts, planned, &log, &|_| ()).await?;
    Ok(())
}

fn tell(planned: &Plan, log: &JobLog) {
    let release = planned.target.release();
    log.line(format!(
        "verified release {} ({}), signed by {}, and its {} images",
        release.release().version,
        release.digest(),
        release.key(),
        planned.target.images().len()
    ));
    if planned.moves_candidate() {
        let from = match &planned.present {
            Standing::Nothing => "no release".to_owned(),
            Standing::Release(present) => present.release().version.clone(),
            Standing::Untrusted { digest, why } => {
                log.line(format!("untrusted {digest} stands there: {}", why.what()));
                format!("sha256:{}…", digest.short())
            }
        };
        let word = if planned.is_rollback() { "rollback" } else { "promote" };
        log.line(format!(
            "{word:<8} {}:candidate from {from} to {}",
            release.repository(),
            release.release().version
        ));
    }
    for repository in &planned.component_tags {
        log.line(format!("repair   {repository}:candidate"));
    }
}
