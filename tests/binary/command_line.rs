//! What the command line answers by itself.

use crate::binary::Launch;

#[tokio::test]
async fn help_names_every_command_and_flag() {
    let ended = Launch::bare(&["--help"]).until_it_ends().await;
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stderr, "");
    for word in [
        "run",
        "demo",
        "check-config",
        "--config.file",
        "--web.listen-address",
        "--log.level",
        "--log.format",
        "--version",
        "help",
        "OPENAI_ADMIN_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_CERT_EXPORTER__SECTION__KEY",
    ] {
        assert!(
            ended.stdout.contains(&format!(" {word} "))
                || ended.stdout.contains(&format!(" {word}\n")),
            "{word}:\n{}",
            ended.stdout
        );
    }
    let demo = Launch::bare(&["demo", "--help"]).until_it_ends().await;
    assert_eq!(demo.code(), Some(0));
    assert!(demo.stdout.contains("--api.listen-address"), "{}", demo.stdout);
}

#[tokio::test]
async fn help_is_a_command_and_of_each_command() {
    let help = async |arguments: &[&str]| {
        let ended = Launch::bare(arguments).until_it_ends().await;
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        ended.stdout
    };
    assert_eq!(help(&["help"]).await, help(&["--help"]).await);
    for command in ["run", "demo", "check", "check-config"] {
        let text = help(&["help", command]).await;
        assert_eq!(text, help(&[command, "--help"]).await);
        // The flags of the server do nothing for a check.
        assert_eq!(text.contains("--web."), command != "check", "{text}");
    }
    assert!(help(&["help"]).await.contains("\nExamples:\n  openai-cert-exporter demo\n"));
    assert!(help(&["help", "check"]).await.contains("\n  openai-cert-exporter check --demo\n"));
    let unknown = Launch::bare(&["help", "nonsense"]).until_it_ends().await;
    assert_eq!((unknown.code(), unknown.stdout.as_str()), (Some(2), ""));
}

#[tokio::test]
async fn version_says_what_was_built() {
    let ended = Launch::bare(&["--version"]).until_it_ends().await;
    assert_eq!(ended.code(), Some(0));
    let start = concat!("openai-cert-exporter ", env!("CARGO_PKG_VERSION"), " (revision ");
    assert!(
        ended.stdout.starts_with(start) && ended.stdout.contains(", rustc 1."),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stdout.lines().count(), 1);
}

#[tokio::test]
async fn command_line_that_is_not_understood_is_refused() {
    for arguments in [
        &["--nonsense"][..],
        &["nonsense"],
        &["run", "more"],
        &["--web.listen-adress=:1"],
        &["--config.file"],
        &["run", "--api.listen-address=:1"],
        &["demo", "--api.listen-address=x"],
        // The value of a flag is no command, for which 3 would be returned.
        &["--nonsense", "--config.file", "check"],
    ] {
        let ended = Launch::bare(arguments).until_it_ends().await;
        assert_eq!(ended.code(), Some(2), "{arguments:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(ended.stderr.starts_with("error: "), "{arguments:?}: {}", ended.stderr);
    }
}
