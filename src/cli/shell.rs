//! Shell completions and man pages, made of the command line itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

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
pub fn man(args: &ManArgs, command: Command) -> Result<Exit> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| failed(dir, &e))?;
            clap_mangen::generate_to(command, dir).map_err(|e| failed(dir, &e))?;
            Ok(Exit::Done)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(|e| failed(Path::new("stdout"), &e))?;
            print(&page)
        }
    }
}

fn print(bytes: &[u8]) -> Result<Exit> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map(|()| Exit::Done).map_err(|e| failed(Path::new("stdout"), &e))
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error::Store { doing: "write to", path: path.to_owned(), cause: e.to_string() }
}
