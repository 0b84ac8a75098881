//! Shell completions and man pages, made of the command line itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Exit;
use crate::error::{Error, Result};

/// What `sexton completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to print them for
    #[arg(value_enum)]
    shell: Shell,
}

/// What `sexton man` takes.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write a page for each command into [default: print the first page]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints completions.
///
/// # Errors
/// If standard output is closed.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sexton", &mut script);
    print(&script)
}

/// Writes man pages.
///
/// # Errors
/// If they cannot be written.
pub fn man(args: &ManArgs, mut command: Command) -> Result<Exit> {
    let Some(dir) = &args.dir else { return print(&page(&Man::new(command), Path::new("stdout"))?) };
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, &e))?;
    command = command.disable_help_subcommand(true);
    command.build();
    pages(command, dir)
}

/// Writes the pages of a command and of those below it.
fn pages(command: Command, dir: &Path) -> Result<Exit> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below.clone(), dir)?;
    }
    let man = Man::new(command);
    let path = dir.join(man.get_filename());
    std::fs::write(&path, page(&man, &path)?).map_err(|e| failed(&path, &e))?;
    Ok(Exit::Well)
}

/// A man page. Lists that are aligned by hand stay as they are: without a word, man(1) fills and justifies them.
fn page(man: &Man, path: &Path) -> Result<Vec<u8>> {
    let mut made = Vec::new();
    man.render(&mut made).map_err(|e| failed(path, &e))?;
    let (mut kept, mut in_list) = (Vec::with_capacity(made.len()), false);
    for line in made.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"  ") != in_list {
            in_list = !in_list;
            kept.extend_from_slice(if in_list { b".nf\n" } else { b".fi\n" });
        }
        kept.extend_from_slice(line);
    }
    Ok(kept)
}

fn print(bytes: &[u8]) -> Result<Exit> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map(|()| Exit::Well).map_err(|e| failed(Path::new("stdout"), &e))
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error::Store { doing: "write to", path: path.to_owned(), cause: e.to_string() }
}
