//! `man`: one manual page for the program and all its commands.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Arguments, Failure, Outcome};

pub(super) fn run() -> Result<Outcome, Failure> {
    let page = page().map_err(|error| Failure::new(format!("could not write the manual page: {error}")))?;
    Ok(Outcome::done(String::from_utf8_lossy(&page)))
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    // Gives each command its full name and the options that all commands share.
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend(b".SH COMMANDS\n");
    for command in command.get_subcommands() {
        let mut section = Vec::new();
        let man = Man::new(command.clone());
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        man.render_extra_section(&mut section)?;
        // Its sections become paragraphs of this one. Those that every command has need no title.
        let mut section = String::from_utf8_lossy(&section).into_owned();
        for title in ["SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXTRA"] {
            section = section.replace(&format!(".SH {title}\n"), ".PP\n");
        }
        let section = section.replace(".SH ", ".PP\n.B ");
        page.extend(format!(".SS {}\n{section}", command.get_name()).into_bytes());
    }
    man.render_version_section(&mut page)?;
    Ok(page)
}
