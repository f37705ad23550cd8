//! Why a Dockerfile is refused, and how a person reads it.

use std::fmt;

use crate::domain::image::PinnedImage;
use crate::failure::{CLI_REFUSED, EXIT_DOCKERFILE_REFUSED, Failure, FailureKind};

/// One thing that a Dockerfile may not ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line it stands on, from 1; 0 where it concerns the whole file.
    pub line: u32,
    /// The instruction's name in capitals; empty where there is none.
    pub instruction: String,
    /// What is wrong; its `Display` is the message.
    pub reason: RefusalReason,
}

/// What a Dockerfile may not ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    #[error("the file has {found} bytes, at most {limit} are read")]
    TooLarge { found: usize, limit: usize },
    #[error("the file is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("a line has {0} bytes, at most 60000 are read")]
    LineTooLong(usize),
    #[error("the character U+{0:04X} is not allowed: engines and people may read it differently")]
    Character(u32),
    #[error("a carriage return without a line feed is not allowed")]
    LoneCarriageReturn,
    #[error(
        "the parser directive `{0}` is not allowed: it changes how, or by which program, the file is read"
    )]
    Directive(String),
    #[error(
        "the parser directive `{0}` behind `//` is not allowed: it changes how, or by which program, the file is read"
    )]
    DirectiveInSlashes(String),
    #[error("the file starts like JSON, in which BuildKit looks for a `syntax` key")]
    Json,
    #[error(
        "`escape` must be `\\` or a backtick, written once, on the first line: elsewhere engines differ on whether it counts"
    )]
    EscapeDirective,
    #[error("the line ends in two escape characters: engines differ on whether the next line belongs to it")]
    DoubleEscape,
    #[error("`{0}` is not an instruction")]
    UnknownInstruction(String),
    #[error("only `ARG` may stand before the first `FROM`")]
    BeforeFrom,
    #[error("there is no `FROM`")]
    NoStage,
    #[error("{0}")]
    Malformed(&'static str),
    #[error(
        "`{0}` is not a plain option: quotes, escapes and other than printable ASCII characters are not allowed in options"
    )]
    OddOption(String),
    #[error("the option `{0}` is not allowed")]
    OptionNotAllowed(String),
    #[error("the option `{0}` is given twice")]
    OptionTwice(String),
    #[error("instructions for later builds are not allowed")]
    OnBuild,
    #[error("`{0}` is not a path in the build context: nothing may be fetched")]
    AddRemote(String),
    #[error("`{0}` holds a variable: only a literal path in the build context may be added")]
    AddVariable(String),
    #[error(
        "`{0}` holds a quote or an escape character: only a plain path in the build context may be added"
    )]
    AddOdd(String),
    #[error("`{0}` holds a quote or an escape character: a base is written plainly")]
    OddReference(String),
    #[error(
        "`{reference}` takes the variable `{variable}`, which is not a global `ARG` with a constant default"
    )]
    Variable { reference: String, variable: String },
    #[error("`{0}` takes a variable: only a stage or an image written out may stand here")]
    VariableInOption(String),
    #[error("`{reference}` is neither an earlier stage nor a pinned image: {why}")]
    NotPinned { reference: String, why: String },
    #[error("`{0}` is not among the images that this host allows")]
    NotAllowed(PinnedImage),
    #[error(
        "the stage name `{0}` is not usable: a lower-case letter, then letters, digits, `.`, `_`, `-`; not `scratch` or `context`"
    )]
    StageName(String),
    #[error("the stage name `{0}` is used twice")]
    StageTwice(String),
    #[error("there is no stage `{0}` to build")]
    NoTarget(String),
    #[error("a mount of type `{0}` is not allowed: `bind` from the context or a stage, or `tmpfs`")]
    MountType(String),
    #[error("the mount option `{0}` is not allowed")]
    MountOption(String),
    #[error("`<<` stands where engines differ on whether a here-document starts: {0}")]
    HereDocument(&'static str),
    #[error("the here-document `{0}` has no end")]
    HereDocumentEnd(String),
    #[error("the here-document's text reads as instructions to engines that know no here-documents")]
    HereDocumentAsInstructions,
    #[error("two readers of this file do not agree: {0}")]
    ReadersDisagree(String),
}

impl RefusalReason {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AddRemote(_) | Self::AddVariable(_) | Self::AddOdd(_) => {
                Some("commit the file to the repository and `COPY` it by its path")
            }
            Self::Directive(_) | Self::DirectiveInSlashes(_) | Self::Json => {
                Some("remove the directive: the engine's own reader is used")
            }
            Self::Variable { .. } | Self::NotPinned { .. } | Self::VariableInOption(_) => {
                Some("write the image as `host/name@sha256:…`, or name an earlier stage")
            }
            Self::NotAllowed(_) => Some(
                "use an image that stands in `images.allow` of the host's settings, or ask its administrator to add this one",
            ),
            Self::MountType(_) => {
                Some("copy what the step needs into an earlier stage and bind it from there")
            }
            Self::TooLarge { .. }
            | Self::NotUtf8(_)
            | Self::LineTooLong(_)
            | Self::Character(_)
            | Self::LoneCarriageReturn
            | Self::EscapeDirective
            | Self::DoubleEscape
            | Self::UnknownInstruction(_)
            | Self::BeforeFrom
            | Self::NoStage
            | Self::Malformed(_)
            | Self::OddOption(_)
            | Self::OptionNotAllowed(_)
            | Self::OptionTwice(_)
            | Self::OnBuild
            | Self::OddReference(_)
            | Self::StageName(_)
            | Self::StageTwice(_)
            | Self::NoTarget(_)
            | Self::MountOption(_)
            | Self::HereDocument(_)
            | Self::HereDocumentEnd(_)
            | Self::HereDocumentAsInstructions
            | Self::ReadersDisagree(_) => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.instruction.is_empty() {
            write!(f, "{}: ", self.instruction)?;
        }
        write!(f, "{}", self.reason)
    }
}

/// How many refusals are written out; a hostile file could have a hundred thousand.
const SHOWN: usize = 20;

const KIND: FailureKind = FailureKind::Refused { stage: EXIT_DOCKERFILE_REFUSED, cli: CLI_REFUSED };

/// Returns the failure that names every refusal and where it stands.
pub fn refusals_to_failure(path: &str, refusals: &[Refusal]) -> Failure {
    let mut failure =
        Failure::new(KIND, format!("cannot build `{path}`: it asks for what a build may not have"));
    for refusal in refusals.iter().take(SHOWN) {
        failure = failure.because(refusal);
    }
    if refusals.len() > SHOWN {
        failure = failure.because(format!("and {} more", refusals.len() - SHOWN));
    }
    let mut hints: Vec<&str> = Vec::new();
    for hint in refusals.iter().filter_map(|refusal| refusal.reason.hint()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints.into_iter().fold(failure, Failure::hint)
}

/// Returns the failure for a base image that carries instructions for the builds upon it.
pub fn onbuild_refusal(image: &PinnedImage, triggers: &[String]) -> Failure {
    let what = format!(
        "cannot build upon `{}@sha256:{}…`: the image carries instructions for later builds (`ONBUILD`)",
        image.name(),
        image.digest().short()
    );
    let mut failure = Failure::new(KIND, what);
    for trigger in triggers.iter().take(SHOWN) {
        let shown: String = trigger.chars().filter(|c| !c.is_control()).take(200).collect();
        failure = failure.because(format!("ONBUILD {shown}"));
    }
    failure.hint("use a base image without `ONBUILD` and write these steps into the Dockerfile")
}

/// Returns at most 120 characters of `text` without control characters, for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
