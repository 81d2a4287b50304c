//! Finds which paths a crate's source names: `use` trees and paths in code, resolved to `crate::...` or `other_crate::...`.
//!
//! Comments, strings and test code (`#[cfg(test)]` items and the files of such modules) do not count. `self`, `super`,
//! renamed imports, inline modules and the crate's own re-exports are followed. What only a compiler could know (names
//! that come in through a glob, paths that macros of other crates write) is not seen; a glob itself is.

mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use tokens::{Kind, Token, tokens};

/// A file: its path below `src` with forward slashes, and its text.
pub type SourceFile = (String, String);

/// One place that names a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// File below `src`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The path, resolved: starts with `crate` or with the name of another crate.
    pub path: Vec<String>,
    /// Where the path leads when a module of the crate re-exports it from elsewhere; otherwise the same.
    pub target: Vec<String>,
}

/// Every path that the non-test code of `files` names, in order of file and line. `own_name` is the crate's name, by
/// which its binary calls the library.
pub fn mentions(files: &[SourceFile], own_name: &str) -> Vec<Mention> {
    let parsed: Vec<ParsedFile> =
        files.iter().map(|(path, text)| parse(path, without_tests(tokens(text)))).collect();
    let test_files: BTreeSet<String> = parsed.iter().flat_map(|file| file.test_files.clone()).collect();
    let live: Vec<&ParsedFile> = parsed.iter().filter(|file| !is_below(&file.path, &test_files)).collect();
    let modules: BTreeSet<Vec<String>> = live.iter().flat_map(|file| file.modules.clone()).collect();

    let world = World { modules, own_name };
    let mut re_exports = BTreeMap::new();
    for file in &live {
        for import in file.imports.iter().filter(|import| import.public) {
            let Some(name) = &import.name else { continue };
            let mut exported = import.module.clone();
            exported.push(name.clone());
            re_exports.insert(exported, world.resolve(file, &import.module, &import.path));
        }
    }

    let mut found = Vec::new();
    for file in live {
        let imported = file.imports.iter().map(|import| (&import.module, import.line, &import.path));
        let named = file.named.iter().map(|named| (&named.module, named.line, &named.path));
        for (module, line, path) in imported.chain(named) {
            let path = world.resolve(file, module, path);
            let target = follow(&re_exports, path.clone());
            found.push(Mention { file: file.path.clone(), line, path, target });
        }
    }
    found.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
    found
}

/// A `use`, one leaf of its tree.
#[derive(Debug)]
struct Import {
    module: Vec<String>,
    line: usize,
    path: Vec<String>,
    /// The name it brings in; a glob and `as _` bring none.
    name: Option<String>,
    public: bool,
}

/// A path in code.
#[derive(Debug)]
struct Named {
    module: Vec<String>,
    line: usize,
    path: Vec<String>,
}

#[derive(Debug)]
struct ParsedFile {
    path: String,
    imports: Vec<Import>,
    named: Vec<Named>,
    /// Modules that live here: the file's own and its inline ones.
    modules: Vec<Vec<String>>,
    /// Files and folders (without `.rs`) of modules that only tests see.
    test_files: Vec<String>,
}

struct World<'a> {
    modules: BTreeSet<Vec<String>>,
    own_name: &'a str,
}

impl World<'_> {
    fn resolve(&self, file: &ParsedFile, module: &[String], path: &[String]) -> Vec<String> {
        let mut path = path.to_vec();
        // A chain of renamed imports is short; the bound ends `use a::b as a`.
        for _ in 0..8 {
            let Some(first) = path.first().cloned() else { return path };
            let rest = path[1..].to_vec();
            match first.as_str() {
                "crate" => return path,
                "self" => return join(module, &rest),
                "super" => {
                    let mut base = module.to_vec();
                    base.pop();
                    let mut rest = rest.as_slice();
                    while rest.first().is_some_and(|segment| segment == "super") {
                        base.pop();
                        rest = &rest[1..];
                    }
                    return join(&base, rest);
                }
                own if own == self.own_name => return join(&["crate".to_owned()], &rest),
                _ => {}
            }
            let import = file
                .imports
                .iter()
                .find(|import| import.module == module && import.name.as_ref() == Some(&first))
                .map(|import| join(&import.path, &rest))
                .filter(|longer| *longer != path);
            match import {
                Some(longer) => path = longer,
                None if self.modules.contains(&join(module, std::slice::from_ref(&first))) => {
                    return join(module, &path);
                }
                None => return path,
            }
        }
        path
    }
}

fn follow(re_exports: &BTreeMap<Vec<String>, Vec<String>>, path: Vec<String>) -> Vec<String> {
    let mut target = path;
    for _ in 0..8 {
        let longest = (1..=target.len()).rev().find(|length| re_exports.contains_key(&target[..*length]));
        let Some(length) = longest else { break };
        let next = join(&re_exports[&target[..length]], &target[length..]);
        if next == target {
            break;
        }
        target = next;
    }
    target
}

fn join(base: &[String], rest: &[String]) -> Vec<String> {
    base.iter().chain(rest).cloned().collect()
}

fn is_below(file: &str, test_files: &BTreeSet<String>) -> bool {
    let stem = file.trim_end_matches(".rs");
    test_files
        .iter()
        .any(|test| stem == test || stem.strip_prefix(test).is_some_and(|rest| rest.starts_with('/')))
}

/// The module a file is: `store/cache.rs` is `crate::store::cache`.
fn module_of(file: &str) -> Vec<String> {
    let mut module = vec!["crate".to_owned()];
    let stem = file.trim_end_matches(".rs");
    if stem != "lib" && stem != "main" {
        module.extend(stem.split('/').map(str::to_owned));
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
    }
    module
}

/// A token, or a mark that test code stood there which declares a module in a file of its own.
#[derive(Debug)]
enum Piece {
    Token(Token),
    TestModule { name: String, path: Option<String> },
}

/// Takes out the items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is_sign('#') && is_inner_test_attribute(&tokens[at..]) {
            return pieces;
        }
        if !is_test_attribute(&tokens[at..]) {
            pieces.push(Piece::Token(tokens[at].clone()));
            at += 1;
            continue;
        }
        let mut path = None;
        while at < tokens.len() && tokens[at].is_sign('#') {
            let end = closing(&tokens, at + 1);
            let attribute = &tokens[at..end];
            if attribute.get(2).is_some_and(|token| token.is_name("path"))
                && let Some(Kind::Text(text)) = attribute.get(4).map(|token| &token.kind)
            {
                path = Some(text.clone());
            }
            at = end;
        }
        let end = end_of_item(&tokens, at);
        let item = &tokens[at..end];
        let declared = item.iter().position(|token| token.is_name("mod"));
        if let Some(declared) = declared.filter(|declared| *declared <= 4)
            && let Some(Kind::Name(name)) = item.get(declared + 1).map(|token| &token.kind)
            && item.get(declared + 2).is_some_and(|token| token.is_sign(';'))
        {
            pieces.push(Piece::TestModule { name: name.clone(), path });
        }
        at = end;
    }
    pieces
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let signs = [(0, '#'), (1, '['), (3, '('), (5, ')'), (6, ']')];
    tokens.len() > 6
        && signs.iter().all(|(at, sign)| tokens[*at].is_sign(*sign))
        && tokens[2].is_name("cfg")
        && tokens[4].is_name("test")
}

fn is_inner_test_attribute(tokens: &[Token]) -> bool {
    tokens.len() > 7
        && tokens[1].is_sign('!')
        && tokens[2].is_sign('[')
        && tokens[3].is_name("cfg")
        && tokens[4].is_sign('(')
        && tokens[5].is_name("test")
        && tokens[6].is_sign(')')
}

/// Position after the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += depth_change(token);
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Position after an item, a statement, a field or a variant that starts at `start`.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    const ITEMS: [&str; 14] = [
        "mod",
        "fn",
        "use",
        "impl",
        "struct",
        "enum",
        "const",
        "static",
        "type",
        "trait",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
    ];
    // `pub(crate)` may stand before the word that says what it is.
    let head = &tokens[start..tokens.len().min(start + 6)];
    let is_item =
        head.iter().any(|token| matches!(&token.kind, Kind::Name(name) if ITEMS.contains(&name.as_str())));
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        depth += depth_change(token);
        if depth < 0 {
            return at;
        }
        let ends = token.is_sign(';') || token.is_sign('}') || (!is_item && token.is_sign(','));
        if depth == 0 && ends {
            return at + 1;
        }
    }
    tokens.len()
}

fn depth_change(token: &Token) -> i32 {
    match token.kind {
        Kind::Sign('(' | '[' | '{') => 1,
        Kind::Sign(')' | ']' | '}') => -1,
        _ => 0,
    }
}

fn parse(file: &str, pieces: Vec<Piece>) -> ParsedFile {
    let own = module_of(file);
    let mut parsed = ParsedFile {
        path: file.to_owned(),
        imports: Vec::new(),
        named: Vec::new(),
        modules: vec![own.clone()],
        test_files: Vec::new(),
    };
    let mut tokens = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Token(token) => tokens.push(token),
            Piece::TestModule { name, path } => {
                parsed.test_files.push(file_of_test_module(file, &own, &name, path))
            }
        }
    }

    let mut module = own;
    let mut inline: Vec<i32> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        depth += depth_change(token);
        if inline.last().is_some_and(|opened| depth < *opened) {
            inline.pop();
            module.pop();
        }
        let starts_path = matches!(token.kind, Kind::Name(_))
            && !tokens[..at].last().is_some_and(|before| {
                before.is_sign('.') || before.kind == Kind::Colons && in_path(&tokens, at)
            });
        if token.is_name("mod")
            && let Some(Kind::Name(name)) = tokens.get(at + 1).map(|token| &token.kind)
            && tokens.get(at + 2).is_some_and(|token| token.is_sign('{'))
        {
            depth += 1;
            inline.push(depth);
            module.push(name.clone());
            parsed.modules.push(module.clone());
            at += 3;
        } else if let Some(tree_at) = start_of_use(&tokens, at) {
            let public = is_public(&tokens[..at]);
            let mut tree = UseTree { tokens: &tokens, at: tree_at, leaves: Vec::new() };
            tree.read(&[]);
            at = tree.at;
            for (line, path, name) in tree.leaves {
                parsed.imports.push(Import { module: module.clone(), line, path, name, public });
            }
        } else if starts_path {
            let (path, end) = read_path(&tokens, at);
            if path.len() > 1 {
                parsed.named.push(Named { module: module.clone(), line: token.line, path });
            }
            at = end;
        } else {
            at += 1;
        }
    }
    parsed
}

/// Where the tree of a `use` or the name of an `extern crate` starts; `use<'a>` in a type is neither.
fn start_of_use(tokens: &[Token], at: usize) -> Option<usize> {
    let next = tokens.get(at + 1)?;
    if tokens[at].is_name("use") && !next.is_sign('<') {
        Some(at + 1)
    } else {
        (tokens[at].is_name("extern") && next.is_name("crate")).then_some(at + 2)
    }
}

/// A name after `::` belongs to the path before it, unless the `::` starts one (`::std::env`).
fn in_path(tokens: &[Token], at: usize) -> bool {
    at >= 2 && (matches!(tokens[at - 2].kind, Kind::Name(_)) || tokens[at - 2].is_sign('>'))
}

fn is_public(before: &[Token]) -> bool {
    match before.last() {
        Some(last) if last.is_sign(')') => {
            let open = before.iter().rposition(|token| token.is_sign('('));
            open.is_some_and(|open| open > 0 && before[open - 1].is_name("pub"))
        }
        Some(last) => last.is_name("pub"),
        None => false,
    }
}

fn read_path(tokens: &[Token], start: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut at = start;
    while let Some(Kind::Name(name)) = tokens.get(at).map(|token| &token.kind) {
        path.push(name.clone());
        at += 1;
        let goes_on = tokens.get(at).is_some_and(|token| token.kind == Kind::Colons)
            && matches!(tokens.get(at + 1).map(|token| &token.kind), Some(Kind::Name(_)));
        if !goes_on {
            break;
        }
        at += 1;
    }
    (path, at)
}

fn file_of_test_module(file: &str, own: &[String], name: &str, path: Option<String>) -> String {
    match path {
        Some(path) => {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{path}").trim_start_matches('/').trim_end_matches(".rs").to_owned()
        }
        None => {
            let parents = own[1..].iter().map(String::as_str);
            parents.chain([name]).collect::<Vec<_>>().join("/")
        }
    }
}

type Leaf = (usize, Vec<String>, Option<String>);

struct UseTree<'a> {
    tokens: &'a [Token],
    at: usize,
    leaves: Vec<Leaf>,
}

impl UseTree<'_> {
    /// Reads one tree that stands below `prefix`; leaves `at` on what follows it.
    fn read(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        let mut line = self.tokens.get(self.at).map_or(0, |token| token.line);
        while let Some(token) = self.tokens.get(self.at) {
            match &token.kind {
                Kind::Colons => {}
                Kind::Name(name) if name == "as" => {
                    let alias = self.tokens.get(self.at + 1).map(|token| token.kind.clone());
                    self.at += 2;
                    let name = match alias {
                        Some(Kind::Name(name)) if name != "_" => Some(name),
                        _ => None,
                    };
                    self.leaves.push((line, path, name));
                    return;
                }
                Kind::Name(name) if name == "self" && !path.is_empty() => {}
                Kind::Name(name) => {
                    line = token.line;
                    path.push(name.clone());
                }
                Kind::Sign('*') => {
                    path.push("*".to_owned());
                    self.at += 1;
                    self.leaves.push((line, path, None));
                    return;
                }
                Kind::Sign('{') => {
                    self.at += 1;
                    while self.tokens.get(self.at).is_some_and(|token| !token.is_sign('}')) {
                        let before = self.at;
                        self.read(&path);
                        if self.tokens.get(self.at).is_some_and(|token| token.is_sign(','))
                            || self.at == before
                        {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
            self.at += 1;
        }
        let name = path.last().cloned();
        self.leaves.push((line, path, name));
    }
}
