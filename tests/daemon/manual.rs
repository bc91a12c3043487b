//! The manual and the completions: both name every command and every flag that there is.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use clap::{Command, CommandFactory};
use stated::cli::Cli;
use tempfile::TempDir;

use crate::harness::command;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let output = command(dir).args(arguments).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// Every command that is not hidden, with the name of its page.
pub(crate) fn commands() -> Vec<(String, Command)> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let (mut all, mut left) = (Vec::new(), vec![root]);
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|one| !one.is_hide_set()).cloned());
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        all.push((name, command));
    }
    all
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}")).collect()
}

#[test]
fn the_manual_has_a_page_for_every_command_and_no_other() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), &["man", "--out", "man/man1"]);
    let pages = dir.path().join("man/man1");
    for (name, command) in commands() {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).expect(&name);
        assert!(page.is_ascii(), "{name}");
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "\"SEE ALSO\""]
        {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{name} has no {section}");
        }
        for flag in flags(&command) {
            let flag = flag.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB{flag}\\fR")), "{name} says nothing of {flag}");
        }
    }
    assert_eq!(fs::read_dir(&pages).unwrap().count(), commands().len());
    let main = run(dir.path(), &["man"]).stdout;
    assert_eq!(main, fs::read(pages.join("stated.1")).unwrap());
}

#[test]
fn every_argument_says_what_it_is_for() {
    for (name, command) in commands() {
        assert!(command.get_about().is_some(), "{name}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
        }
    }
}

#[test]
fn the_completions_of_each_shell_know_every_command_and_every_flag() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = String::from_utf8(run(dir.path(), &["completions", shell]).stdout).unwrap();
        for (name, command) in commands() {
            let words = [vec![command.get_name().to_owned()], flags(&command)].concat();
            for word in words {
                // fish names a flag by `-l`, without its hyphens.
                let word = word.trim_start_matches('-');
                assert!(script.contains(word), "{shell}: {word} of {name} is missing");
            }
        }
    }
    let wrong = command(dir.path()).args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
