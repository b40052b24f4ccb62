//! Tests of each flag and each environment variable.

use std::process;

use super::*;

fn read(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::read(std::iter::once(&OPERATOR_NAME).chain(args))
}

fn run(args: &[&str]) -> Run {
    match read(&[&["run"], args].concat()).unwrap().command {
        Command::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn error(args: &[&str]) -> String {
    read(&[&["run"], args].concat()).unwrap_err().to_string()
}

/// Reads these arguments with these variables in a child process, since a process cannot safely change its own
/// environment. Returns the parsed command line or the error.
fn read_with(variables: &[(&str, &str)], args: &[&str]) -> String {
    let output = process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cli::tests::reads_in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env("TEST_ARGS", args.join("\n"))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("READ "), "{text}");
    text
}

#[test]
#[ignore = "the other tests start it with an environment"]
fn reads_in_a_process_of_its_own() {
    let args = std::env::var("TEST_ARGS").unwrap_or_default();
    let args: Vec<&str> = args.lines().collect();
    match read(&args) {
        Ok(cli) => println!("READ {cli:?}"),
        Err(error) => println!("READ {error}"),
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_its_variable() {
    for command in [Cli::command(), Cli::command().find_subcommand("run").unwrap().clone()] {
        for arg in command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        {
            let name = format!("CRBO_{}", arg.get_long().unwrap().to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().unwrap(), name.as_str());
        }
    }
}

#[test]
fn has_the_documented_defaults() {
    let text = read_with(
        &[
            ("CRBO_WATCH_NAMESPACE", ""),
            ("CRBO_OPERATOR_NAMESPACE", ""),
            ("CRBO_ALLOWED_ENDPOINT", ""),
            ("CRBO_HTTP_ADDRESS", ""),
            ("CRBO_LEADER_ELECT", ""),
            ("CRBO_READ_ONLY", ""),
            ("CRBO_CONCURRENCY", ""),
            ("CRBO_RESYNC_INTERVAL_OVERRIDE", ""),
            ("CRBO_LOG_FORMAT", ""),
            ("CRBO_LOG_LEVEL", ""),
        ],
        &["run"],
    );
    assert!(
        text.contains(
            "READ Cli { global: Global { allowed_endpoint: [], log_format: None, \
             log_level: Filter { directives: \"warn,cross_region_backup_operator=info,\
             kube_client::client=off,kube_runtime=off,kube_client::client::tls=warn\" } }, \
             command: Run(Run { watch_namespace: [], operator_namespace: None, http_address: [::]:8080, \
             leader_elect: true, read_only: false, concurrency: 256, resync_interval_override: None }) }"
        ),
        "{text}"
    );
}

#[test]
fn reads_each_variable_and_flags_win() {
    let variables = [
        ("CRBO_WATCH_NAMESPACE", "payments,team-7"),
        ("CRBO_OPERATOR_NAMESPACE", "backup"),
        ("CRBO_ALLOWED_ENDPOINT", "*.example.com,http://127.0.0.1:9443"),
        ("CRBO_HTTP_ADDRESS", "127.0.0.1:0"),
        ("CRBO_LEADER_ELECT", "false"),
        ("CRBO_READ_ONLY", "true"),
        ("CRBO_CONCURRENCY", "8"),
        ("CRBO_RESYNC_INTERVAL_OVERRIDE", "2s"),
        ("CRBO_LOG_FORMAT", "text"),
        ("CRBO_LOG_LEVEL", "debug"),
    ];
    let text = read_with(&variables, &["run"]);
    for part in [
        "watch_namespace: [\"payments\", \"team-7\"]",
        "operator_namespace: Some(\"backup\")",
        "allowed_endpoint: [\"*.example.com\", \"http://127.0.0.1:9443\"]",
        "http_address: 127.0.0.1:0",
        "leader_elect: false",
        "read_only: true",
        "concurrency: 8",
        "resync_interval_override: Some(2s)",
        "log_format: Some(Text)",
        "cross_region_backup_operator=debug",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let text = read_with(
        &variables,
        &[
            "run",
            "--concurrency",
            "9",
            "--watch-namespace=other",
            "--log-level=warn",
            "--allowed-endpoint=a.b",
        ],
    );
    for part in [
        "concurrency: 9",
        "watch_namespace: [\"other\"]",
        "cross_region_backup_operator=warn",
        "allowed_endpoint: [\"a.b\"]",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_wrong_variable_names_its_flag() {
    let text = read_with(&[("CRBO_CONCURRENCY", "many")], &["run"]);
    assert!(text.contains("'many' for '--concurrency <N>'"), "{text}");
    let text = read_with(&[("CRBO_LOG_LEVEL", "verbose")], &["crds"]);
    assert!(text.contains("'verbose' for '--log-level <FILTER>'"), "{text}");
}

#[test]
fn reads_each_flag() {
    let run = run(&[
        "--watch-namespace",
        "payments",
        "--watch-namespace=team-7",
        "--operator-namespace",
        "backup",
        "--http-address",
        "[::1]:9090",
        "--concurrency=10000",
        "--resync-interval-override",
        "1m30s",
    ]);
    assert_eq!(run.watch_namespace, ["payments", "team-7"]);
    assert_eq!(run.operator_namespace(), "backup");
    assert_eq!(run.http_address, "[::1]:9090".parse().unwrap());
    assert_eq!(run.concurrency, 10_000);
    assert_eq!(run.resync_interval_override, Some(Duration::from_secs(90)));
}

#[test]
fn booleans_take_their_value_either_way() {
    assert!(!run(&["--leader-elect", "false"]).leader_elect);
    assert!(!run(&["--leader-elect=false"]).leader_elect);
    assert!(run(&["--leader-elect=true", "--read-only", "true"]).read_only);
    assert!(error(&["--leader-elect", "maybe"]).contains("'maybe' for '--leader-elect <BOOL>'"));
}

#[test]
fn global_flags_hold_for_every_command_on_either_side_of_it() {
    for args in [
        [
            "crds",
            "--log-format=json",
            "--log-level=kube=debug",
            "--allowed-endpoint=a",
            "--allowed-endpoint=b",
        ],
        [
            "--log-format=json",
            "--log-level=kube=debug",
            "--allowed-endpoint=a",
            "--allowed-endpoint=b",
            "run",
        ],
    ] {
        let global = read(&args).unwrap().global;
        assert_eq!(global.log_format(), Format::Json);
        assert_eq!(global.log_level, "kube=debug".parse().unwrap());
        assert_eq!(global.allowed_endpoint, ["a", "b"]);
    }
}

#[test]
fn errors_name_the_flag() {
    for (args, flag) in [
        (["--watch-namespace", "Team"], "--watch-namespace <NS>"),
        (["--watch-namespace", "a,,b"], "--watch-namespace <NS>"),
        (["--operator-namespace", "a.b"], "--operator-namespace <NS>"),
        (["--allowed-endpoint", " "], "--allowed-endpoint <E>"),
        (["--http-address", "8080"], "--http-address <A>"),
        (["--read-only", "no-no"], "--read-only <BOOL>"),
        (["--concurrency", "0"], "--concurrency <N>"),
        (["--concurrency", "10001"], "--concurrency <N>"),
        (["--resync-interval-override", "0s"], "--resync-interval-override <D>"),
        (["--resync-interval-override", "1d"], "--resync-interval-override <D>"),
        (["--log-format", "yaml"], "--log-format <FORMAT>"),
        (["--log-level", "kube"], "--log-level <FILTER>"),
        (["--log-level", "kube=loud"], "--log-level <FILTER>"),
    ] {
        let text = error(&args);
        assert!(text.contains(flag), "{args:?} gave {text}");
    }
}

#[test]
fn tells_its_version_and_asks_for_a_command() {
    let version = read(&["--version"]).unwrap_err();
    assert_eq!(version.to_string(), format!("{OPERATOR_NAME} {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!version.use_stderr());
    assert!(read(&[]).unwrap_err().use_stderr());
    assert!(read(&["walk"]).unwrap_err().use_stderr());
}

#[test]
fn the_operator_s_namespace_is_the_pod_s_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("namespace");
    assert_eq!(run(&[]).operator_namespace_or(&file), OPERATOR_NAME);
    std::fs::write(&file, "backup-system\n").unwrap();
    assert_eq!(run(&[]).operator_namespace_or(&file), "backup-system");
    assert_eq!(run(&["--operator-namespace=other"]).operator_namespace_or(&file), "other");
}

#[test]
fn as_a_plugin_of_kubectl_it_says_what_a_person_types() {
    for (name, typed) in [
        ("/usr/local/bin/kubectl-crossregionbackup", "kubectl crossregionbackup"),
        ("/usr/local/bin/cross-region-backup-operator", "cross-region-backup-operator"),
    ] {
        let usage = |args: &[&str]| {
            Cli::read([&[name], args].concat())
                .unwrap_err()
                .to_string()
                .lines()
                .find(|l| l.contains("Usage:"))
                .unwrap()
                .to_owned()
        };
        assert_eq!(usage(&["status"]), format!("Usage: {typed} status <NAMESPACE/NAME>"));
        assert_eq!(usage(&["walk"]), format!("Usage: {typed} [OPTIONS] <COMMAND>"));
        assert!(usage(&["status", "--help"]).starts_with(&format!("Usage: {typed} status ")));
    }
}
