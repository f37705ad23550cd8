//! The second reading, by the crate `parse-dockerfile`: it must find the same instructions in the same places.

use parse_dockerfile::Instruction;

use super::lines::Logical;
use super::refusal::{Refusal, RefusalReason, shown};

/// Refuses where the crate reads something else; `text` has no byte order mark.
pub(super) fn compare(text: &str, ours: &[Logical], refusals: &mut Vec<Refusal>) {
    let text = without_heredocs(text, ours);
    let theirs = match parse_dockerfile::parse(&text) {
        Ok(theirs) => theirs,
        Err(error) => {
            let line = u32::try_from(error.line()).unwrap_or(0);
            let why = shown(&error.to_string());
            return refusals.push(Refusal::at(line, "", RefusalReason::ReadersDisagree(why)));
        }
    };
    let mut found = theirs.instructions.iter().map(place);
    for logical in ours {
        let (keyword, _) = logical.keyword();
        let start = logical.in_file(&keyword).start;
        let same = found.next() == Some((logical.name().as_str(), start));
        if !same {
            let why = "one sees another instruction here".to_owned();
            let reason = RefusalReason::ReadersDisagree(why);
            return refusals.push(Refusal::at(logical.line, &logical.name(), reason));
        }
    }
    if found.next().is_some() {
        let why = "one sees more instructions at the end".to_owned();
        refusals.push(Refusal::at(0, "", RefusalReason::ReadersDisagree(why)));
    }
}

/// Blanks here-documents, of which the crate knows fewer forms, without moving a byte.
fn without_heredocs(text: &str, ours: &[Logical]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for logical in ours.iter().filter(|logical| !logical.heredocs.is_empty()) {
        for byte in &mut bytes[logical.bodies.clone()] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        for (at, _) in logical.text.match_indices('<') {
            bytes[logical.in_file(&(at..at + 1)).start] = b'x';
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn place<'a>(instruction: &Instruction<'a>) -> (&'static str, usize) {
    match instruction {
        Instruction::Add(i) => ("ADD", i.add.span.start),
        Instruction::Arg(i) => ("ARG", i.arg.span.start),
        Instruction::Cmd(i) => ("CMD", i.cmd.span.start),
        Instruction::Copy(i) => ("COPY", i.copy.span.start),
        Instruction::Entrypoint(i) => ("ENTRYPOINT", i.entrypoint.span.start),
        Instruction::Env(i) => ("ENV", i.env.span.start),
        Instruction::Expose(i) => ("EXPOSE", i.expose.span.start),
        Instruction::From(i) => ("FROM", i.from.span.start),
        Instruction::Healthcheck(i) => ("HEALTHCHECK", i.healthcheck.span.start),
        Instruction::Label(i) => ("LABEL", i.label.span.start),
        Instruction::Maintainer(i) => ("MAINTAINER", i.maintainer.span.start),
        Instruction::Onbuild(i) => ("ONBUILD", i.onbuild.span.start),
        Instruction::Run(i) => ("RUN", i.run.span.start),
        Instruction::Shell(i) => ("SHELL", i.shell.span.start),
        Instruction::Stopsignal(i) => ("STOPSIGNAL", i.stopsignal.span.start),
        Instruction::User(i) => ("USER", i.user.span.start),
        Instruction::Volume(i) => ("VOLUME", i.volume.span.start),
        Instruction::Workdir(i) => ("WORKDIR", i.workdir.span.start),
        _ => ("", 0),
    }
}
