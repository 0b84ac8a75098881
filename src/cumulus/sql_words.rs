//! The words of a statement in a schema, as far as it takes to see what kind of table or index it makes.
//!
//! SQLite has read the same text before; what it would not read never gets here. Knows comments and all ways to quote,
//! so that nothing is taken for a keyword that is none.

/// One word, number or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SqlToken {
    /// A keyword or a plain name, in lower case.
    Plain(String),
    /// A name in quotes, without them, in lower case. In some places a text in quotes is one, too.
    Quoted(String),
    /// A single sign.
    Sign(char),
}

impl SqlToken {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, SqlToken::Plain(word) if word == keyword)
    }

    /// The name, if it may be one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            SqlToken::Plain(name) | SqlToken::Quoted(name) => Some(name),
            SqlToken::Sign(_) => None,
        }
    }
}

/// Takes a statement apart.
pub(super) fn words(sql: &str) -> Vec<SqlToken> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            c if c.is_ascii_whitespace() => (None, 1),
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, rest[2..].find("*/").map_or(rest.len(), |end| end + 4)),
            '"' | '\'' | '`' => quoted(rest, first),
            '[' => {
                let end = rest.find(']').unwrap_or(rest.len());
                (Some(SqlToken::Quoted(rest[1..end].to_ascii_lowercase())), (end + 1).min(rest.len()))
            }
            c if is_in_word(c) => {
                let end = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
                (Some(SqlToken::Plain(rest[..end].to_ascii_lowercase())), end)
            }
            c => (Some(SqlToken::Sign(c)), c.len_utf8()),
        };
        words.extend(word);
        rest = &rest[length..];
    }
    words
}

/// What stands in quotes, in which a doubled quote stands for one.
fn quoted(text: &str, quote: char) -> (Option<SqlToken>, usize) {
    let mut inside = String::new();
    let mut end = 1;
    while let Some(length) = text[end..].find(quote) {
        inside.push_str(&text[end..end + length]);
        end += length + 1;
        if !text[end..].starts_with(quote) {
            return (Some(SqlToken::Quoted(inside.to_ascii_lowercase())), end);
        }
        inside.push(quote);
        end += 1;
    }
    (Some(SqlToken::Quoted(inside.to_ascii_lowercase())), text.len())
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Whether these keywords follow one another.
pub(super) fn has(words: &[SqlToken], keywords: &[&str]) -> bool {
    let follow = |window: &[SqlToken]| window.iter().zip(keywords).all(|(word, keyword)| word.is(keyword));
    words.windows(keywords.len()).any(follow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keywords_in_comments_and_quotes_are_none() {
        let hidden = "CREATE TABLE t (\"ON CONFLICT\" text /* on conflict */, [on conflict] x -- on conflict\n \
            , `on conflict` y default 'on conflict it''s', z)";
        let found = words(hidden);
        assert!(!has(&found, &["on", "conflict"]), "{found:?}");
        assert!(found.contains(&SqlToken::Quoted("on conflict it's".to_owned())), "{found:?}");
        assert!(has(&words("x UNIQUE ON/**/CONFLICT REPLACE"), &["on", "conflict"]));
        assert!(has(&words("x unique on--\nconflict replace"), &["on", "conflict"]));
    }

    #[test]
    fn names_come_without_quotes_and_in_lower_case() {
        let found = words("CREATE TABLE \"Block\"\"Index\" ([Ü x] int)");
        let names: Vec<_> = found.iter().filter_map(SqlToken::name).collect();
        assert_eq!(names, ["create", "table", "block\"index", "Ü x", "int"]);
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in ".*", cut in "[-/*'\"`\\[\\]x é]*") {
            words(&text);
            words(&cut);
        }
    }
}
