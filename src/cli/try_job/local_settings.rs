//! Host settings of a developer's own machine, where there is no settings file: an OCI layout
//! directory as the store, no registry, no GitLab, every pinned image allowed.

use std::path::{Path, PathBuf};

use crate::domain::evidence::provenance::LOCAL_BUILDER_ID;
use crate::domain::image::{NamePattern, PinnedImage};
use crate::failure::{Failure, Outcome};
use crate::settings::{
    DEFAULT_COMPOSE, GitLabSettings, HelperSettings, ImageSettings, KeySettings, SandboxLimits, Settings,
    StorePlace, StoreSettings,
};

/// Returns the settings; `repository` is the working tree's top.
pub fn settings(
    layout: Option<&Path>,
    helper: Option<&PinnedImage>,
    compose: Option<&Path>,
    repository: &Path,
) -> Outcome<Settings> {
    let state_dir = state_dir()?;
    let layout = match layout {
        Some(path) => super::clean_absolute(path).map_err(|e| {
            Failure::usage(format!("cannot use the layout directory `{}`", path.display())).because(e)
        })?,
        None => state_dir.join("store"),
    };
    let helper = helper.cloned().ok_or_else(|| {
        Failure::usage(format!("cannot try `{}`: no helper image is named", repository.display()))
            .because("the tools that measure the sandbox and run its steps come from the helper image")
            .hint("give --helper-image HOST/NAME@sha256:… (the runner's `[helper] image`), or --settings")
    })?;
    Ok(Settings {
        engine_socket: "unix:///var/run/docker.sock".into(),
        store: StoreSettings { place: StorePlace::Layout(layout), prefix: None },
        keys: KeySettings {
            image: String::new(),
            attestation: String::new(),
            release: None,
            password_file: None,
        },
        gitlab: GitLabSettings {
            url: url::Url::parse("http://localhost")
                .map_err(|e| Failure::internal("the local address is no URL").because(e))?,
            ca: None,
            status_token_file: None,
        },
        // A developer's own machine has no administrator to list images; pinned they must be all the same.
        images: ImageSettings { allow: vec![NamePattern::new("**")], default: None },
        helper: HelperSettings { image: helper, gitlab_runner: None },
        sandbox: SandboxLimits::default(),
        publish: Vec::new(),
        hub: None,
        compose_program: match compose {
            Some(path) => super::clean_absolute(path).map_err(|e| {
                Failure::usage(format!("cannot use Docker Compose at `{}`", path.display())).because(e)
            })?,
            None => DEFAULT_COMPOSE.into(),
        },
        builder_id: LOCAL_BUILDER_ID.into(),
        trust: state_dir.join("keys").join("trust.toml"),
        state_dir,
    })
}

/// Returns where a developer's own state is kept.
pub fn state_dir() -> Outcome<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
    let variable =
        |name: &str| std::env::var(name).ok().filter(|value| value.starts_with('/')).map(PathBuf::from);
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("airlock"))
        .ok_or_else(|| {
            Failure::usage("cannot find a place for state: neither XDG_STATE_HOME nor HOME is set")
                .hint("set XDG_STATE_HOME to a directory of your own")
        })
}
