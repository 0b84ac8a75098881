//! As much of Rust's grammar as the rules of dependency need: tokens, `use` trees, and what is for tests only.

/// A word or a mark; strings, characters, numbers and comments are none.
pub type Token = String;

/// The tokens of a source text.
pub fn code(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut i) = (Vec::new(), 0);
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        let c = chars[i];
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            i = after_block_comment(&chars, i);
        } else if c == '"' {
            i = after_string(&chars, i);
        } else if c == '\'' {
            // A lifetime, unless it is closed.
            let escaped = at(i + 1) == '\\';
            let closed = if escaped { (i + 3..chars.len()).find(|j| chars[*j] == '\'') } else { Some(i + 2) };
            i = closed.filter(|j| at(*j) == '\'').unwrap_or(i) + 1;
        } else if c.is_alphanumeric() || c == '_' {
            let end =
                (i..chars.len()).find(|j| !chars[*j].is_alphanumeric() && chars[*j] != '_').unwrap_or(chars.len());
            let word: String = chars[i..end].iter().collect();
            i = end;
            match raw_string_hashes(&chars, end) {
                Some(hashes) if ["r", "br", "cr"].contains(&word.as_str()) => i = after_raw_string(&chars, end, hashes),
                _ => tokens.push(word),
            }
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}

/// They nest.
fn after_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        let pair = (chars[i], chars.get(i + 1).copied());
        match pair {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            break;
        }
    }
    i
}

fn after_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn raw_string_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

fn after_raw_string(chars: &[char], at: usize, hashes: usize) -> usize {
    let closes =
        |i: &usize| chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (at + hashes + 1..chars.len()).find(closes).map_or(chars.len(), |end| end + 1 + hashes)
}

fn starts(tokens: &[Token], with: &[&str]) -> bool {
    tokens.len() >= with.len() && tokens.iter().zip(with).all(|(a, b)| a == b)
}

const FOR_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// Where an item ends: behind its `;`, or behind its last brace.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_i32;
    for (i, token) in tokens.iter().enumerate().skip(start) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
        if depth == 0 && token == "}" {
            return i + 1;
        }
    }
    tokens.len()
}

/// Leaves out the items under `#[cfg(test)]`.
pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        if starts(&tokens[i..], &FOR_TESTS) {
            i = item_end(&tokens, i + FOR_TESTS.len());
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// The modules that a module declares for tests only, in files of their own.
pub fn test_modules(module: &str, tokens: &[Token]) -> Vec<String> {
    let marks = (0..tokens.len()).filter(|i| starts(&tokens[*i..], &FOR_TESTS));
    let items = marks.map(|i| &tokens[i + FOR_TESTS.len()..item_end(tokens, i + FOR_TESTS.len())]);
    let names = items.filter_map(|item| {
        let at = item.iter().position(|t| t == "mod")?;
        (item.get(at + 2).map(String::as_str) == Some(";")).then(|| format!("{module}::{}", item[at + 1]))
    });
    names.collect()
}

/// Every path in the code, absolute where it begins with `crate`, `self`, `super` or a module declared there; `use` trees
/// one by one.
pub fn paths(module: &str, tokens: &[Token]) -> Vec<String> {
    let (mut found, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        if tokens[i] == "use" {
            i = use_tree(tokens, i + 1, "", &mut found);
        } else if is_word(&tokens[i]) {
            let mut path = tokens[i].clone();
            i += 1;
            while starts(&tokens[i..], &[":", ":"]) && tokens.get(i + 2).is_some_and(|t| is_word(t)) {
                path = format!("{path}::{}", tokens[i + 2]);
                i += 3;
            }
            found.extend(path.contains("::").then_some(path));
        } else {
            i += 1;
        }
    }
    let children: Vec<&Token> = tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| &pair[1]).collect();
    let first = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
    let whole = |path: &String| {
        let child = children.iter().any(|child| **child == first(path));
        if child { format!("{module}::{path}") } else { absolute(module, path) }
    };
    found.iter().map(whole).collect()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// One branch of a `use` tree; gives the position behind it.
fn use_tree(tokens: &[Token], start: usize, before: &str, found: &mut Vec<String>) -> usize {
    let (mut path, mut i) = (before.to_owned(), start);
    let join = |path: &str, name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
    while let Some(token) = tokens.get(i) {
        match token.as_str() {
            ":" => i += 1,
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|t| t != "}") {
                    i = use_tree(tokens, i, &path, found);
                    i += usize::from(tokens.get(i).is_some_and(|t| t == ","));
                }
                return i + 1;
            }
            "as" => i += 2,
            // The module itself, within braces.
            "self" if !path.is_empty() => i += 1,
            word if is_word(word) || word == "*" => {
                path = join(&path, word);
                i += 1;
            }
            _ => break,
        }
    }
    found.push(path);
    i
}

fn absolute(module: &str, path: &str) -> String {
    let mut outer: Vec<&str> = module.split("::").collect();
    let mut names = path.split("::").peekable();
    match names.peek() {
        Some(&"self" | &"super") => {}
        _ => return path.to_owned(),
    }
    while let Some(name) = names.next_if(|name| ["self", "super"].contains(name)) {
        if name == "super" {
            outer.pop();
        }
    }
    outer.into_iter().chain(names).collect::<Vec<_>>().join("::")
}
