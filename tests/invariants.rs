//! The promises of the design, each with the test that breaks when it does.
//!
//! | promise | where it is shown |
//! |---|---|
//! | *who trusts whom* | |
//! | facts come from the job response alone; a null fact is no match | `src/domain/job.rs` |
//! | the script of a publishing job is the rule's, to the byte | `src/executor/prepare.rs`, `tests/attacks.rs` |
//! | the test sees no CI variable and exactly the commit's files | `order::…` here |
//! | a report turns passed into failed, never the reverse | `src/domain/evidence/test_result.rs`, `src/domain/test_report/tests.rs` |
//! | no container carries a key, a password or a registry credential | `order::…` and `plain_job::…` here |
//! | the job's token reaches the fetch container on standard input alone | `order::…` here |
//! | only a delivery opens keys, policy and store | `plain_job::…` here |
//! | three uses of keys, never one key for two of them | `src/delivery/sign/tests.rs`, `src/domain/trust/tests.rs` |
//! | nothing that failed is signed or sent | `order::…` here (its second job) |
//! | commit and tree ids are recomputed; submodules and LFS pointers are refused | `src/domain/commit.rs`, fuzz target `cat_file` |
//! | registry content is checked, bounded and never trusted by itself | `tests/registry/hostile.rs`, fuzz targets `judge`, `verify_store` |
//! | a repository's own file cannot widen the host's settings | `src/domain/component/tests.rs`, `src/delivery/build.rs` |
//! | *a staging job* | |
//! | state is a 0700 directory with 0600 files, and goes with the job | `plain_job::…` here |
//! | no host path is mounted, no device, no privilege | `order::…`, `plain_job::…` here, `tests/engine/sealed.rs` |
//! | the sealed container has no network and a read-only root | `tests/engine/sealed.rs`, `tests/engine/probe.rs` |
//! | GitLab is asked before signing and again before tagging | `confirmation::…` here |
//! | cleanup needs no record, never stops, removes all by label | `tests/engine/lifecycle.rs` |
//! | a level is what was measured, never what was configured | `src/domain/hermetic/tests.rs`, fuzz target `probe` |
//! | *publishing* | |
//! | an image without signed evidence cannot be pushed (does not compile) | `src/delivery/push.rs`, its header |
//! | an image that was not read back and verified cannot be tagged (does not compile) | `src/delivery/tag.rs`, its header |
//! | blobs < manifest < attestations < signature < version tags < `:staged` | `order::…` here, on a real registry |
//! | all images of a component are complete before the first `:staged` moves | `order::…` here, with two images |
//! | the version tag has the documented form and the commit's own time and id | `order::…` here |
//! | `:staged` moves only forward | `confirmation::…` here |
//! | a retry of the same commit changes nothing | `confirmation::…` here, `src/delivery/push/tests.rs` |
//! | layers of the base image pass unchanged; the same build gives the same digest | `src/delivery/describe/tests.rs`, `tests/describe.rs` |
//! | the provenance has the documented fields and no other; documents agree with the code | `confirmation::…`, `documents::…` here |

mod support;

#[path = "support/faulty_registry.rs"]
mod faulty_registry;

#[path = "invariants/confirmation.rs"]
mod confirmation;
#[path = "invariants/containers.rs"]
mod containers;
#[path = "invariants/documents.rs"]
mod documents;
#[path = "invariants/order.rs"]
mod order;
#[path = "invariants/plain_job.rs"]
mod plain_job;
