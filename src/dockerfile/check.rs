//! The rules: instruction by instruction, all refusals collected.

use std::ops::Range;

use super::constants::Constants;
use super::flags::{self, Flag};
use super::lines::{self, HereDocuments, Logical};
use super::refusal::{Refusal, RefusalReason, shown};
use super::{CheckedDockerfile, ImageUse, MAX_DOCKERFILE_BYTES, directives, second_reader};
use crate::domain::image::PinnedImage;

const BYTE_ORDER_MARK: char = '\u{feff}';

const INSTRUCTIONS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a stage starts from.
#[derive(Clone)]
enum Base {
    Scratch,
    Stage(usize),
    Image(PinnedImage),
    /// It was refused; the rest of the file is still read.
    Unknown,
}

struct Stage {
    name: Option<String>,
    base: Base,
}

struct Checker<'a> {
    allowed: &'a dyn Fn(&PinnedImage) -> bool,
    /// Bytes of the byte order mark, by which places in the file are shifted.
    shift: usize,
    constants: Constants,
    stages: Vec<Stage>,
    uses: Vec<ImageUse>,
    refusals: Vec<Refusal>,
}

/// Checks the whole file.
pub(super) fn check(
    bytes: &[u8],
    path: &str,
    target: Option<&str>,
    allowed: &dyn Fn(&PinnedImage) -> bool,
) -> Result<CheckedDockerfile, Vec<Refusal>> {
    if bytes.len() > MAX_DOCKERFILE_BYTES {
        let reason = RefusalReason::TooLarge { found: bytes.len(), limit: MAX_DOCKERFILE_BYTES };
        return Err(vec![Refusal::at(0, "", reason)]);
    }
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let reason = RefusalReason::NotUtf8(error.valid_up_to());
            return Err(vec![Refusal::at(0, "", reason)]);
        }
    };
    let text = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(whole);
    let mut refusals = Vec::new();
    lines::check_characters(text, &mut refusals);
    let escape = directives::read(text, &mut refusals);
    let instructions = lines::read(text, escape, HereDocuments::Honoured, &mut refusals);
    check_old_reading(text, escape, &instructions, &mut refusals);

    let shift = whole.len() - text.len();
    let (constants, stages, uses) = Default::default();
    let mut checker = Checker { allowed, shift, constants, stages, uses, refusals };
    for instruction in &instructions {
        checker.instruction(instruction);
    }
    let last = checker.target(target);
    if checker.refusals.is_empty() {
        second_reader::compare(text, &instructions, &mut checker.refusals);
    }
    if !checker.refusals.is_empty() {
        checker.refusals.sort_by_key(|refusal| refusal.line);
        return Err(checker.refusals);
    }
    let final_base = last.and_then(|last| checker.base_of(last));
    let mut bases: Vec<PinnedImage> = Vec::new();
    for used in &checker.uses {
        if !bases.contains(&used.image) {
            bases.push(used.image.clone());
        }
    }
    Ok(CheckedDockerfile {
        path: path.to_owned(),
        text: whole.to_owned(),
        bases,
        uses: checker.uses,
        final_base,
    })
}

/// Engines before 23.0 know no here-documents and read their texts as instructions. That is harmless
/// where one of them is no instruction at all: such an engine then refuses the file before it acts.
fn check_old_reading(text: &str, escape: char, instructions: &[Logical], refusals: &mut Vec<Refusal>) {
    let Some(first) = instructions.iter().find(|instruction| !instruction.heredocs.is_empty()) else {
        return;
    };
    let mut uncertain = Vec::new();
    let old = lines::read(text, escape, HereDocuments::Ignored, &mut uncertain);
    let certain_until = uncertain.first().map_or(u32::MAX, |refusal| refusal.line);
    let stops = old.iter().any(|instruction| {
        let name = instruction.name();
        instruction.line < certain_until && name.is_ascii() && !INSTRUCTIONS.contains(&name.as_str())
    });
    if !stops {
        refusals.push(Refusal::at(first.line, &first.name(), RefusalReason::HereDocumentAsInstructions));
    }
}

impl Checker<'_> {
    fn instruction(&mut self, logical: &Logical) {
        let name = logical.name();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let reason = RefusalReason::UnknownInstruction(shown(&logical.text[logical.keyword().0]));
            return self.refusals.push(Refusal::at(logical.line, "", reason));
        }
        if self.stages.is_empty() && !matches!(name.as_str(), "ARG" | "FROM") {
            self.refuse(logical, RefusalReason::BeforeFrom);
        }
        let (_, rest) = logical.keyword();
        let allowed: &[&str] = match name.as_str() {
            "ADD" => &["chown", "chmod", "link"],
            "COPY" => &["from", "chown", "chmod", "link"],
            "RUN" => &["mount"],
            "HEALTHCHECK" => &["interval", "timeout", "start-period", "start-interval", "retries"],
            _ => &[],
        };
        let text = &logical.text[rest..];
        let mut refused = Vec::new();
        let flags = flags::read(text, allowed, |reason| refused.push(reason));
        for reason in refused {
            self.refuse(logical, reason);
        }
        let arguments = rest + flags::end(text)..logical.text.trim_end_matches([' ', '\t']).len();
        let arguments = arguments.start.min(arguments.end)..arguments.end;
        match name.as_str() {
            "FROM" => self.from(logical, arguments),
            "ARG" if self.stages.is_empty() => self.constants.define(&logical.text[arguments]),
            "ADD" => self.add(logical, &logical.text[arguments]),
            "COPY" => self.copy(logical, &flags, rest),
            "RUN" => {
                for flag in &flags {
                    self.mount(logical, flag, rest);
                }
            }
            "ONBUILD" => self.refuse(logical, RefusalReason::OnBuild),
            _ => {}
        }
    }

    fn from(&mut self, logical: &Logical, arguments: Range<usize>) {
        let words = words(&logical.text, arguments);
        let current = self.stages.len();
        let mut stage = Stage { name: None, base: Base::Unknown };
        match words.as_slice() {
            [_] => {}
            [_, (_, word), (_, name)] if word.eq_ignore_ascii_case("as") => {
                let name = name.to_ascii_lowercase();
                if !is_stage_name(&name) {
                    self.refuse(logical, RefusalReason::StageName(shown(&name)));
                } else if self.stages.iter().any(|stage| stage.name.as_ref() == Some(&name)) {
                    self.refuse(logical, RefusalReason::StageTwice(name.clone()));
                }
                stage.name = Some(name);
            }
            _ => self.refuse(
                logical,
                RefusalReason::Malformed("expected `FROM <image>` or `FROM <image> AS <name>`"),
            ),
        }
        if let Some((at, reference)) = words.first() {
            if reference.contains(['"', '\'', '\\', '`']) {
                self.refuse(logical, RefusalReason::OddReference(shown(reference)));
            } else {
                match self.constants.resolve(reference) {
                    Ok(resolved) => stage.base = self.base(logical, at.clone(), &resolved, current),
                    Err(reason) => self.refuse(logical, reason),
                }
            }
        }
        self.stages.push(stage);
    }

    /// Finds what `reference` names: scratch, a stage before `current`, or an allowed image.
    fn base(&mut self, logical: &Logical, at: Range<usize>, reference: &str, current: usize) -> Base {
        let lower = reference.to_ascii_lowercase();
        if let Some(index) =
            self.stages[..current].iter().position(|stage| stage.name.as_ref() == Some(&lower))
        {
            return Base::Stage(index);
        }
        if reference == "scratch" {
            return Base::Scratch;
        }
        match reference.parse::<PinnedImage>() {
            Ok(image) if (self.allowed)(&image) => {
                let at = logical.in_file(&at);
                self.uses
                    .push(ImageUse { at: at.start + self.shift..at.end + self.shift, image: image.clone() });
                Base::Image(image)
            }
            Ok(image) => {
                self.refuse(logical, RefusalReason::NotAllowed(image));
                Base::Unknown
            }
            Err(why) => {
                let why = why.to_string();
                self.refuse(logical, RefusalReason::NotPinned { reference: shown(reference), why });
                Base::Unknown
            }
        }
    }

    fn add(&mut self, logical: &Logical, arguments: &str) {
        let list: Vec<String> = if arguments.starts_with('[') {
            match serde_json::from_str(arguments) {
                Ok(list) => list,
                Err(_) => {
                    let reason =
                        RefusalReason::Malformed("the list of paths starts with `[` and is not a JSON array");
                    return self.refuse(logical, reason);
                }
            }
        } else {
            arguments.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let Some((_, sources)) = list.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            return self.refuse(logical, RefusalReason::Malformed("expected a source and a destination"));
        };
        for source in sources {
            if logical.heredocs.iter().any(|announced| announced.word == *source) {
                continue;
            }
            let git_without_scheme = source.to_ascii_lowercase().starts_with("github.com/");
            // A scheme, `user@host:path` and a Windows drive all need a colon; a path here does not.
            if source.contains(':') || git_without_scheme {
                self.refuse(logical, RefusalReason::AddRemote(shown(source)));
            } else if source.contains('$') {
                self.refuse(logical, RefusalReason::AddVariable(shown(source)));
            } else if source.contains(['"', '\'', '\\', '`']) || source.chars().any(char::is_control) {
                self.refuse(logical, RefusalReason::AddOdd(shown(source)));
            }
        }
    }

    fn copy(&mut self, logical: &Logical, flags: &[Flag<'_>], offset: usize) {
        let Some(flag) = flags.iter().find(|flag| flag.name == "from") else { return };
        let value = flag.value.unwrap_or_default();
        // Only `COPY` takes a stage's number; elsewhere BuildKit takes it for an image's name.
        let plain_number = value == "0" || (!value.starts_with('0') && !value.is_empty());
        if plain_number && value.bytes().all(|b| b.is_ascii_digit()) {
            let earlier = self.stages.len().saturating_sub(1);
            if !value.parse::<usize>().is_ok_and(|index| index < earlier) {
                let why = "there is no earlier stage of this number".to_owned();
                self.refuse(logical, RefusalReason::NotPinned { reference: shown(value), why });
            }
            return;
        }
        self.option_base(logical, value, flag.at.start + offset..flag.at.end + offset);
    }

    fn option_base(&mut self, logical: &Logical, value: &str, at: Range<usize>) {
        if value.contains('$') {
            return self.refuse(logical, RefusalReason::VariableInOption(shown(value)));
        }
        let current = self.stages.len().saturating_sub(1);
        self.base(logical, at, value, current);
    }

    fn mount(&mut self, logical: &Logical, flag: &Flag<'_>, offset: usize) {
        let value = flag.value.unwrap_or_default();
        let mut seen: Vec<&str> = Vec::new();
        let mut kind = "bind";
        let mut from = None;
        let mut at = flag.at.start + offset;
        for field in value.split(',') {
            let (key, text) = field.split_once('=').unwrap_or((field, ""));
            // One spelling per meaning, so that a repeated option is seen.
            let key = match key {
                "type" => "type",
                "from" => "from",
                "target" | "dst" | "destination" => "target",
                "source" | "src" => "source",
                "readonly" | "ro" | "rw" | "readwrite" => "access",
                "size" => "size",
                _ => {
                    self.refuse(logical, RefusalReason::MountOption(shown(field)));
                    at += field.len() + 1;
                    continue;
                }
            };
            if seen.contains(&key) || (text.contains('$') && key != "from") {
                self.refuse(logical, RefusalReason::MountOption(shown(field)));
            }
            seen.push(key);
            let text_start = at + field.len() - text.len();
            match key {
                "type" => kind = text,
                "from" => from = Some((text, text_start..at + field.len())),
                _ => {}
            }
            at += field.len() + 1;
        }
        match (kind, from) {
            ("bind", Some((value, at))) => self.option_base(logical, value, at),
            ("bind" | "tmpfs", None) => {}
            ("tmpfs", Some((value, _))) => {
                self.refuse(logical, RefusalReason::MountOption(shown(&format!("from={value}"))));
            }
            (kind, _) => self.refuse(logical, RefusalReason::MountType(shown(kind))),
        }
    }

    /// Returns the stage that is built.
    fn target(&mut self, target: Option<&str>) -> Option<usize> {
        if self.stages.is_empty() {
            self.refusals.push(Refusal::at(0, "", RefusalReason::NoStage));
            return None;
        }
        let Some(target) = target else { return Some(self.stages.len() - 1) };
        let lower = target.to_ascii_lowercase();
        let found = self.stages.iter().position(|stage| stage.name.as_ref() == Some(&lower));
        if found.is_none() {
            self.refusals.push(Refusal::at(0, "", RefusalReason::NoTarget(shown(target))));
        }
        found
    }

    fn base_of(&self, mut stage: usize) -> Option<PinnedImage> {
        loop {
            match &self.stages[stage].base {
                // Only earlier stages can be named, so this ends.
                Base::Stage(earlier) => stage = *earlier,
                Base::Image(image) => return Some(image.clone()),
                Base::Scratch | Base::Unknown => return None,
            }
        }
    }

    fn refuse(&mut self, logical: &Logical, reason: RefusalReason) {
        self.refusals.push(Refusal::at(logical.line, &logical.name(), reason));
    }
}

/// Splits at white space and keeps where each word stands.
fn words(text: &str, range: Range<usize>) -> Vec<(Range<usize>, &str)> {
    let base = range.start;
    let text = &text[range];
    text.split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let start = base + (word.as_ptr() as usize - text.as_ptr() as usize);
            (start..start + word.len(), word)
        })
        .collect()
}

fn is_stage_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && name != "scratch"
        && name != "context"
}
