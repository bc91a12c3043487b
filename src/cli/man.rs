//! `stated man`: the manual, from the same definitions as the help.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::help::Heading;
use super::{Cli, help, output};
use crate::build;

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("a page can't be put together: {0}")]
    Render(#[from] io::Error),
}

pub(super) fn run(out: Option<&Path>) -> ExitCode {
    let done = match out {
        None => whole().and_then(|command| page(&command)).map(|page| output::print(&page)),
        Some(folder) => write_all(folder).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        output::complain(&format_args!("stated man: {error}"));
        ExitCode::FAILURE
    })
}

/// All commands. `help` needs no page: it is what the pages say.
fn whole() -> Result<Command, Error> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    Ok(command)
}

fn write_all(folder: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut left = vec![whole()?];
    while let Some(command) = left.pop() {
        let path = folder.join(format!("{}.1", name(&command)));
        fs::write(&path, page(&command)?).map_err(failed(&path))?;
        left.extend(shown(&command).cloned());
    }
    Ok(())
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set())
}

/// `stated-night-plan` for `stated night plan`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> Result<String, Error> {
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .date(build::COMMIT_DATE)
        .source(format!("stated {}", build::VERSION))
        .manual("Manual of stated");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    // What stands in these pages is to be copied: no word is broken, no gap widened.
    page.extend_from_slice(b".ad l\n.nh\n");
    let mut sections: Vec<u8> = Vec::new();
    let mut add = |section: Vec<u8>| sections.extend(without_preamble(&section));
    add(rendered(|out| man.render_name_section(out))?);
    add(rendered(|out| man.render_synopsis_section(out))?);
    add(rendered(|out| man.render_description_section(out))?);
    add(rendered(|out| man.render_options_section(out))?);
    if shown(command).next().is_some() {
        add(rendered(|out| man.render_subcommands_section(out))?);
    }
    add(rendered(|out| own_sections(command).to_writer(out))?);
    page.extend(sections);
    Ok(tidy(&in_ascii(&String::from_utf8_lossy(&page))))
}

fn rendered(
    render: impl FnOnce(&mut dyn io::Write) -> Result<(), io::Error>,
) -> Result<Vec<u8>, io::Error> {
    let mut text = Vec::new();
    render(&mut text)?;
    Ok(text)
}

/// Each part is rendered as if it were a page: with definitions that have to stand there once.
fn without_preamble(section: &[u8]) -> &[u8] {
    let head = b".SH";
    let at = section.windows(head.len()).position(|window| window == head);
    section.get(at.unwrap_or(0)..).unwrap_or_default()
}

/// What the long help says at its end, and where to read on.
fn own_sections(command: &Command) -> Roff {
    let mut roff = Roff::new();
    for section in help::sections(name(command)) {
        roff.control("SH", [section.heading.text().to_uppercase().as_str()]);
        for (at, (term, text)) in section.entries.iter().enumerate() {
            match section.heading {
                Heading::Examples => {
                    if at > 0 {
                        roff.control("PP", []);
                    }
                    example(&mut roff, term, text);
                }
                Heading::Signals | Heading::Environment | Heading::Files | Heading::ExitStatus => {
                    roff.control("TP", []);
                    roff.text([bold(*term)]);
                    roff.text([roman(*text)]);
                }
            }
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut others: Vec<String> = ancestors(name(command)).into_iter().collect();
    others.extend(shown(command).map(|one| name(one).to_owned()));
    let others: Vec<String> = others.into_iter().map(|one| format!("{one}(1)")).collect();
    roff.text([roman(others.join(", "))]);
    roff.control("PP", []);
    roff.text([roman("The rest of the documentation: /usr/share/doc/stated")]);
    roff
}

/// A command on one line, however long it is, and what it is for.
fn example(roff: &mut Roff, command: &str, text: &str) {
    roff.control("nf", []);
    roff.text([bold(command)]);
    roff.control("fi", []);
    roff.control("RS", []);
    roff.text([roman(text)]);
    roff.control("RE", []);
}

/// `stated` and `stated-night` for `stated-night-plan`, as long as these are commands.
fn ancestors(name: &str) -> Vec<String> {
    let ends = name.match_indices('-').map(|(at, _)| at);
    let names = ends.filter_map(|end| name.get(..end)).map(str::to_owned);
    names.filter(|name| !help::sections(name).is_empty()).collect()
}

/// Any other character by its number, so that a page reads the same whatever it is read with.
fn in_ascii(page: &str) -> String {
    page.chars().fold(String::with_capacity(page.len()), |mut all, one| {
        if one.is_ascii() {
            all.push(one);
        } else {
            all.push_str(&format!("\\[u{:04X}]", u32::from(one)));
        }
        all
    })
}

/// The page without what checkers of such pages object to: breaks beside empty lines, and spaces at
/// the end of a line.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_empty =
        |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|l| l.is_empty());
    let kept = lines.iter().enumerate().filter(|(at, line)| {
        **line != ".br" || !(is_empty(at.checked_sub(1)) || is_empty(at.checked_add(1)))
    });
    kept.map(|(_, line)| format!("{line}\n")).collect()
}
