//! The form of `tahoe.cfg`: what Python's `configparser` makes of it.
//!
//! Sections in brackets; `key = value` or `key: value`, keys in any case; a line that is indented deeper goes on with the
//! value of the one above; comments are whole lines. What comes twice counts the second time. `[DEFAULT]` holds for all
//! sections. A comment behind a value is part of the value.

use std::collections::HashMap;

/// The section that holds for all others.
const DEFAULT: &str = "DEFAULT";

type Section = HashMap<String, String>;

/// A file, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ini {
    sections: HashMap<String, Section>,
}

/// The option that the next line may go on with.
struct Open {
    section: String,
    key: String,
    indent: usize,
}

impl Ini {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Ini, String> {
        let (mut ini, mut section, mut open) = (Ini::default(), None::<String>, None::<Open>);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            let value = line.trim();
            if value.starts_with(['#', ';']) {
                continue;
            }
            if value.is_empty() {
                ini.go_on(open.as_ref(), "");
                continue;
            }
            let indent = line.chars().take_while(|c| c.is_whitespace()).count();
            if open.as_ref().is_some_and(|open| indent > open.indent) {
                ini.go_on(open.as_ref(), value);
            } else if let Some(name) = header(value) {
                ini.sections.entry(name.to_owned()).or_default();
                (section, open) = (Some(name.to_owned()), None);
            } else {
                let section =
                    section.clone().ok_or_else(|| format!("line {number} stands before the first section"))?;
                let (key, value) = value
                    .split_once(['=', ':'])
                    .filter(|(key, _)| !key.trim().is_empty())
                    .ok_or_else(|| format!("line {number} is no option: {value:?}"))?;
                let key = key.trim().to_lowercase();
                ini.sections.entry(section.clone()).or_default().insert(key.clone(), value.trim().to_owned());
                open = Some(Open { section, key, indent });
            }
        }
        ini.sections
            .values_mut()
            .flat_map(HashMap::values_mut)
            .for_each(|value| value.truncate(value.trim_end().len()));
        Ok(ini)
    }

    /// The value of an option, or `None` if it is not given.
    ///
    /// # Errors
    /// Where Python refuses its percent signs, or puts another option in their place, which is not done here.
    pub(super) fn get(&self, section: &str, key: &str) -> Result<Option<String>, String> {
        let Some(own) = self.sections.get(section) else { return Ok(None) };
        let inherited = || self.sections.get(DEFAULT).and_then(|default| default.get(key));
        let Some(value) = own.get(key).or_else(inherited) else { return Ok(None) };
        let plain = value.replace("%%", "");
        match plain.find('%') {
            None => Ok(Some(value.replace("%%", "%"))),
            Some(at) if plain[at..].starts_with("%(") => {
                Err(format!("{key} = {value}: a value made of other options (%(..)s) has to be written out here"))
            }
            Some(_) => Err(format!("{key} = {value}: a percent sign has to be written %%, or Tahoe does not start")),
        }
    }

    fn go_on(&mut self, open: Option<&Open>, value: &str) {
        let of = |open: &Open| Some((open.section.clone(), open.key.clone()));
        let Some((section, key)) = open.and_then(of) else { return };
        if let Some(so_far) = self.sections.get_mut(&section).and_then(|section| section.get_mut(&key)) {
            so_far.push('\n');
            so_far.push_str(value);
        }
    }
}

/// The name in a section's header.
fn header(line: &str) -> Option<&str> {
    let inside = line.strip_prefix('[')?;
    inside.rfind(']').filter(|end| *end > 0).map(|end| &inside[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, key: &str) -> Option<String> {
        Ini::parse(text).unwrap().get("a", key).unwrap()
    }

    // What Python 3.11's ConfigParser(strict=False) gives for the same texts.
    #[test]
    fn values_are_those_of_python() {
        let text =
            "\u{feff}[DEFAULT]\nd=9\n[a]\nK : v = w\n  more\n\n  again\n# c\nk2=%%a\n[b] x\nq=\n[a]\nz==1\r\nx=1 ; c\n";
        for (key, value) in [("k", "v = w\nmore\n\nagain"), ("k2", "%a"), ("z", "=1"), ("x", "1 ; c"), ("d", "9")] {
            assert_eq!(get(text, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(Ini::parse(text).unwrap().get("b", "q").unwrap().as_deref(), Some(""));
        assert_eq!(get(text, "q"), None);
        assert_eq!(get("[a]\n  k=1\n  j=2\n m=3\n", "m").as_deref(), Some("3"));
        assert_eq!(get("[a]\nk=1\nk=2\n", "k").as_deref(), Some("2"));
        assert_eq!(get("[b]\nk=1\n", "k"), None);
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in ["k=1\n", "[a]\nk\n", "[a]\n=1\n", "[]\n"] {
            assert!(Ini::parse(text).is_err(), "{text}");
        }
        for value in ["5%", "%(home)s", "%%%"] {
            assert!(Ini::parse(&format!("[a]\nk={value}\n")).unwrap().get("a", "k").is_err(), "{value}");
        }
    }
}
