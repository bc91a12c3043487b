//! What `--help` and the manual say beyond arguments: examples, signals, files, exit statuses.

mod sections;

use clap::builder::{StyledStr, Styles};

use self::sections::COMMANDS;
use super::screen::COLUMNS;

/// A heading, and terms with their meaning.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) heading: Heading,
    pub(super) entries: &'static [(&'static str, &'static str)],
}

/// What a section is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    Examples,
    Signals,
    Environment,
    Files,
    ExitStatus,
}

impl Heading {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Examples => "Examples",
            Self::Signals => "Signals",
            Self::Environment => "Environment",
            Self::Files => "Files",
            Self::ExitStatus => "Exit status",
        }
    }
}

/// What is said of the command whose page has this name; empty if it has none.
pub(super) fn sections(name: &str) -> &'static [Section] {
    let found = COMMANDS.iter().find(|(command, _)| *command == name);
    found.map(|(_, sections)| *sections).unwrap_or_default()
}

/// The end of the long help of the command whose page has this name.
pub(super) fn after(name: &str) -> StyledStr {
    let styles = Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = String::new();
    for section in sections(name) {
        let gap = if text.is_empty() { "" } else { "\n\n" };
        text.push_str(&format!("{gap}{header}{}:{header:#}", section.heading.text()));
        for (term, meaning) in section.entries {
            text.push_str(&format!("\n  {literal}{term}{literal:#}"));
            match section.heading {
                // Numbers of one digit: their meaning has place beside them.
                Heading::ExitStatus => text.push_str(&format!("  {}", indented(meaning, 5))),
                Heading::Examples | Heading::Signals | Heading::Environment | Heading::Files => {
                    text.push_str(&format!("\n      {}", indented(meaning, 6)));
                }
            }
        }
    }
    StyledStr::from(text)
}

/// A text that begins in this column, on as many lines as it needs.
fn indented(text: &str, column: usize) -> String {
    let mut lines = String::new();
    let mut at = column;
    for word in text.split_whitespace() {
        if at + word.len() > COLUMNS {
            lines.truncate(lines.trim_end().len());
            lines.push_str(&format!("\n{:column$}", ""));
            at = column;
        }
        lines.push_str(word);
        lines.push(' ');
        at += word.len() + 1;
    }
    lines.truncate(lines.trim_end().len());
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_says_how_it_ends_and_nothing_is_said_of_others() {
        let mut root = crate::cli::Cli::command().disable_help_subcommand(true);
        root.build();
        let mut names = Vec::new();
        let mut left = vec![&root];
        while let Some(command) = left.pop() {
            names.push(command.get_display_name().unwrap_or_else(|| command.get_name()));
            left.extend(command.get_subcommands().filter(|one| !one.is_hide_set()));
        }
        for name in &names {
            let ends = sections(name).iter().any(|section| section.heading == Heading::ExitStatus);
            assert!(ends, "{name} does not say how it ends");
        }
        for (name, _) in COMMANDS {
            assert!(names.contains(name), "{name} is no command");
        }
    }
}
