//! What keeps components out of a snapshot: all of it, one failure.

use crate::failure::{CLI_REFUSED, EXIT_REFUSED_BEFORE_SCRIPT, Failure, FailureKind};

/// Why one component cannot be taken.
#[derive(Debug)]
pub(super) enum Problem {
    /// Everything that is wrong with its images, at least one failure.
    Unusable(Vec<Failure>),
    /// What stands there is older than what the candidate has.
    Superseded(Failure),
}

impl Problem {
    fn failures(&self) -> &[Failure] {
        match self {
            Self::Unusable(failures) => failures,
            Self::Superseded(failure) => std::slice::from_ref(failure),
        }
    }

    /// Returns what the log's one line says.
    pub(super) fn headline(&self) -> String {
        let texts: Vec<&str> = self.failures().iter().map(Failure::what).collect();
        texts.join("; ")
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Unusable(vec![failure])
    }
}

/// Returns the one failure that tells all problems, each line with its component's name.
pub(super) fn failure(platform: &str, components: usize, problems: Vec<(&str, Problem)>) -> Failure {
    let all =
        || problems.iter().flat_map(|(name, problem)| problem.failures().iter().map(move |f| (name, f)));
    let superseded = problems.iter().all(|(_, problem)| matches!(problem, Problem::Superseded(_)));
    let what = if superseded {
        format!("superseded: the snapshot of `{platform}` would go back behind the present candidate")
    } else {
        let count = problems.len();
        format!("cannot take the snapshot of `{platform}`: {count} of {components} components cannot be used")
    };
    // A store that did not answer may answer later; then a retry helps, whatever else was refused.
    let kind = all()
        .map(|(_, failure)| failure.kind())
        .find(|kind| !matches!(kind, FailureKind::Refused { .. }))
        .unwrap_or_else(|| {
            let cli = all().find_map(|(_, failure)| match failure.kind() {
                FailureKind::Refused { cli, .. } => Some(cli),
                _ => None,
            });
            FailureKind::Refused { stage: EXIT_REFUSED_BEFORE_SCRIPT, cli: cli.unwrap_or(CLI_REFUSED) }
        });
    let mut told = Failure::new(kind, what);
    // The same advice for several components is given once, with all their names.
    let mut hints: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, failure) in all() {
        told = told.because(format!("{name}: {}", failure.what()));
        for cause in failure.causes() {
            told = told.because(format!("  {cause}"));
        }
        for hint in failure.hints() {
            match hints.iter_mut().find(|(known, _)| *known == hint) {
                Some((_, names)) if names.contains(name) => {}
                Some((_, names)) => names.push(name),
                None => hints.push((hint, vec![name])),
            }
        }
    }
    hints.into_iter().fold(told, |told, (hint, names)| told.hint(format!("{}: {hint}", names.join(", "))))
}
