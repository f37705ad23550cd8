//! Up, ready, tested, down; and every way in which a stack does not get there.

use airlock::cancel::Cancel;
use airlock::compose::DependencyCondition::{CompletedSuccessfully, Healthy};
use airlock::domain::sandbox::{Limits, Sandbox, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile};
use airlock::engine::ExecRequest;
use airlock::hub::records;
use airlock::hub::stack::{Stack, down};
use airlock::tools::compose::Compose;

use crate::bench::{Bench, SOCKET, Service, compose_program};
use crate::engine_words::engine_words;

const SERVE: &str = "cd /tmp && echo hello >index.html && exec python3 -m http.server 8080";
const ASK: &str = "python3 -c 'import urllib.request as u; u.urlopen(\"http://localhost:8080/\", timeout=1)'";

/// Brings up what must not come up; returns what a person reads.
async fn refused(bench: &Bench, services: &[Service]) -> String {
    let (parts, compiled) = (bench.parts(), bench.stack(services));
    let failure = match Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await {
        Ok(_) => panic!("the stack came up"),
        Err(failure) => failure,
    };
    let files = records::collect(&bench.engine, &compiled, None).await.unwrap();
    assert!(files.iter().any(|(name, _)| name == "services.json"), "{files:?}");
    down(&bench.engine, &compiled.project).await.unwrap();
    assert_eq!(bench.left().await, Vec::<String>::new());
    bench.redact(&failure.to_string())
}

#[tokio::test]
async fn a_stack_comes_up_in_order_is_reached_by_name_and_leaves_nothing() {
    let bench = Bench::new().await;
    let parts = bench.parts();
    let compiled = bench.stack(&[
        Service::new("store", SERVE).health(ASK),
        Service::new("migrate", "python3 -c 'import urllib.request as u; u.urlopen(\"http://store:8080/\")'")
            .one_shot()
            .after("store", Healthy),
        Service::new("api", SERVE).health(ASK).after("migrate", CompletedSuccessfully),
    ]);
    let stack = Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await.unwrap();
    assert!(stack.closed_world().holds());

    let sandbox = Sandbox::seal(SandboxSpec {
        image: bench.python.clone(),
        user: SandboxUser::new(1000, 1000).unwrap(),
        network: SandboxNetwork::Only(stack.test_network()),
        tools_volume: parts.tools_volume.clone(),
        mounts: Vec::new(),
        limits: Limits::default(),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: 0,
        env: Default::default(),
        labels: bench.labels.clone(),
    })
    .unwrap();
    let container = bench.engine.create_container(&format!("{}-job", bench.name), &sandbox).await.unwrap();
    bench.engine.start_container(&container).await.unwrap();
    let script = "import urllib.request as u\nfor name in ('store', 'api'): print(name, u.urlopen(f'http://{name}:8080/').read().decode().strip())\n\
                  import socket\ntry: print('outside', socket.gethostbyname('example.com'))\nexcept OSError as e: print('outside unknown')\n";
    let request = ExecRequest::new(sandbox.user(), ["python3", "-c", script]);
    let mut said = Vec::new();
    let status =
        bench.engine.exec(&container, request, &mut |_, bytes| said.extend_from_slice(bytes)).await.unwrap();
    assert_eq!(
        (String::from_utf8_lossy(&said).as_ref(), status),
        ("store hello\napi hello\noutside unknown\n", 0)
    );

    stack.check_still_ready().await.unwrap();
    let files = records::collect(&bench.engine, &compiled, Some(stack.closed_world())).await.unwrap();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "compose.json",
            "closed-world.json",
            "services.json",
            "logs/api-1.log",
            "logs/migrate-1.log",
            "logs/store-1.log"
        ]
    );
    // The job's container is still on the network: it must not keep the network there.
    down(&bench.engine, &compiled.project).await.unwrap();
    assert_eq!(bench.left().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_ends_while_it_is_tested_is_found() {
    let bench = Bench::new().await;
    let parts = bench.parts();
    let compiled = bench
        .stack(&[Service::new("api", "while [ ! -e /tmp/end ]; do sleep 0.1; done; echo giving up; exit 7")]);
    let stack = Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await.unwrap();
    let observed = bench.engine.observe_project(&compiled.project).await.unwrap();
    let ended =
        std::process::Command::new("docker").args(["exec", &observed[0].id, "touch", "/tmp/end"]).status();
    assert!(ended.unwrap().success());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    insta::assert_snapshot!(bench.redact(&stack.check_still_ready().await.unwrap_err().to_string()));
}

#[tokio::test]
async fn a_service_that_never_gets_healthy_is_named_with_its_health_check() {
    let bench = Bench::new().await;
    let api = Service::new("api", "echo starting; exec sleep 600").health("echo no answer on 8080; exit 1");
    insta::assert_snapshot!(refused(&bench, &[api]).await);
}

#[tokio::test]
async fn a_service_that_exits_is_named_with_its_code_and_last_words() {
    let bench = Bench::new().await;
    let api = Service::new("api", "echo cannot read settings >&2; exit 3");
    insta::assert_snapshot!(refused(&bench, &[api, Service::new("other", "exec sleep 600")]).await);
}

#[tokio::test]
async fn a_migration_that_fails_half_way_stops_the_stack() {
    let bench = Bench::new().await;
    let services = [
        // Two pipes lead to the engine: what is written at the same moment comes in any order.
        Service::new("migrate", "echo 0001 applied; sleep 0.3; echo 0002: relation exists >&2; exit 1")
            .one_shot(),
        Service::new("api", "exec sleep 600").after("migrate", CompletedSuccessfully),
    ];
    insta::assert_snapshot!(refused(&bench, &services).await);
}

#[tokio::test]
async fn a_service_that_floods_its_log_is_told_in_its_last_lines() {
    let bench = Bench::new().await;
    let flood = "i=0; while [ $i -lt 60000 ]; do echo line $i of a flood of words without an end; i=$((i+1)); done; exit 9";
    insta::assert_snapshot!(refused(&bench, &[Service::new("api", flood)]).await);
}

#[tokio::test]
async fn a_stack_that_is_too_slow_says_what_it_waited_for() {
    let bench = Bench::new().await;
    let (mut parts, compiled) =
        (bench.parts(), bench.stack(&[Service::new("slow", "echo warming up; exec sleep 600").one_shot()]));
    parts.ready_timeout = std::time::Duration::from_secs(4);
    let failure = match Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await {
        Ok(_) => panic!("the stack came up"),
        Err(failure) => failure,
    };
    insta::assert_snapshot!(bench.redact(&failure.to_string()));
}

#[tokio::test]
async fn a_service_that_was_started_again_while_it_is_tested_is_found() {
    let bench = Bench::new().await;
    let parts = bench.parts();
    let api = Service::new(
        "api",
        "[ -e /tmp/end ] && exec sleep 600; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo giving up; exit 7",
    );
    let compiled = bench.stack(&[api.restart("always")]);
    let stack = Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await.unwrap();
    stack.check_still_ready().await.unwrap();
    let observed = bench.engine.observe_project(&compiled.project).await.unwrap();
    let ended =
        std::process::Command::new("docker").args(["exec", &observed[0].id, "touch", "/tmp/end"]).status();
    assert!(ended.unwrap().success());
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    insta::assert_snapshot!(bench.redact(&stack.check_still_ready().await.unwrap_err().to_string()));
}

#[tokio::test]
async fn an_image_that_the_engine_lacks_is_told_in_composes_words() {
    let bench = Bench::new().await;
    let (parts, mut compiled) = (bench.parts(), bench.stack(&[Service::new("api", "exec sleep 600")]));
    let text = String::from_utf8(compiled.json).unwrap();
    compiled.json = text.replace(bench.python.as_str(), &format!("sha256:{:064}", 7)).into_bytes();
    let failure = match Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await {
        Ok(_) => panic!("the stack came up"),
        Err(failure) => failure,
    };
    insta::assert_snapshot!(engine_words(&bench.redact(&failure.to_string())));
}

#[tokio::test]
async fn a_compose_that_does_not_end_is_no_reason_to_wait_for_ever() {
    let mut bench = Bench::new().await;
    let program = bench.directory.path().join("compose-that-hangs");
    let script = format!(
        "#!/bin/sh\n{} \"$@\" || exit\ncase \" $* \" in *\" up \"*) exec sleep 600 ;; esac\n",
        compose_program().display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.compose = Compose::open(&program, SOCKET).await.unwrap();
    let (mut parts, compiled) = (bench.parts(), bench.stack(&[Service::new("api", "exec sleep 600")]));
    parts.ready_timeout = std::time::Duration::from_secs(5);
    let failure = match Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await {
        Ok(_) => panic!("the stack came up"),
        Err(failure) => failure,
    };
    insta::assert_snapshot!(bench.redact(&failure.to_string()));
}

#[tokio::test]
async fn a_line_without_an_end_and_without_sense_does_not_flood_the_job() {
    let bench = Bench::new().await;
    let flood =
        "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\n\\033[2J section_start:1:x\\r\\033[0K'; exit 4";
    insta::assert_snapshot!(refused(&bench, &[Service::new("api", flood)]).await);
}
