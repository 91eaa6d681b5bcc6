//! Reads the modules of a crate from its files, and what each of them names.
//!
//! Tokens are read, not text: comments and strings name nothing, and a path inside a macro counts as
//! any other. What is compiled for tests only is passed over: tests may look at everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The segments of a module below the crate's root; none for the root itself.
pub(crate) type Name = Vec<String>;

/// One module: where it lies, and the paths that it names.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// The first sentence of its documentation.
    pub(crate) about: String,
    pub(crate) children: Vec<String>,
    /// Absolute paths that stand somewhere in the module.
    paths: BTreeSet<Name>,
    /// What it exports under a name of its own: the name, and the path of what it is.
    exports: BTreeMap<String, Name>,
}

/// All modules of a crate.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<Name, Module>,
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub(crate) fn read(root: &Path) -> Self {
        let mut read = Self::default();
        read.file(root, root.parent().expect("a folder"), Vec::new());
        read
    }

    /// `folder` is where the files of its children lie.
    fn file(&mut self, file: &Path, folder: &Path, name: Name) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let about = first_sentence(&text);
        self.module(tokens, file, folder, name, about);
    }

    fn module(
        &mut self,
        tokens: TokenStream,
        file: &Path,
        folder: &Path,
        name: Name,
        about: String,
    ) {
        let tokens = without_tests(tokens);
        let mut module = Module { file: file.to_owned(), about, ..Module::default() };
        let mut inner = Vec::new();
        let mut at = 0;
        let mut path_attribute = None;
        while at < tokens.len() {
            if let Some(path) = path_of(&tokens[at..]) {
                path_attribute = Some(path);
            }
            if let [TokenTree::Ident(word), TokenTree::Ident(child), end, ..] = &tokens[at..]
                && word == "mod"
            {
                let child = child.to_string();
                match end {
                    TokenTree::Punct(_) => inner.push((child, None, path_attribute.take())),
                    TokenTree::Group(body) => inner.push((child, Some(body.stream()), None)),
                    _ => {}
                }
                at += 3;
                continue;
            }
            at += 1;
        }
        module.children = inner.iter().map(|(child, ..)| child.clone()).collect();
        let here = Here { module: &name, children: &module.children };
        let mut found = Found::default();
        find(&tokens, &here, &mut found);
        (module.paths, module.exports) = (found.paths, found.exports);
        for (child, body, path) in inner {
            let mut child_name = name.clone();
            child_name.push(child.clone());
            let child_folder = folder.join(&child);
            match (body, path) {
                (Some(body), _) => {
                    self.module(body, file, &child_folder, child_name, String::new());
                }
                (None, Some(path)) => {
                    let path = file.parent().expect("a folder").join(path);
                    let folder = path.with_extension("");
                    self.file(&path, &folder, child_name);
                }
                (None, None) => {
                    let flat = folder.join(format!("{child}.rs"));
                    let nested = child_folder.join("mod.rs");
                    let file = if flat.exists() { flat } else { nested };
                    self.file(&file, &child_folder, child_name);
                }
            }
        }
        self.modules.insert(name, module);
    }

    /// The modules that a module uses, itself excepted.
    pub(crate) fn uses(&self, name: &Name) -> BTreeSet<Name> {
        let module = &self.modules[name];
        let used = module.paths.iter().map(|path| self.home(path, 0));
        used.filter(|used| used != name).collect()
    }

    /// The module in which that which a path names is declared.
    fn home(&self, path: &[String], depth: usize) -> Name {
        let mut at = 0;
        while at < path.len() && self.modules.contains_key(&path[..=at]) {
            at += 1;
        }
        let module = &path[..at];
        let exported = path.get(at).and_then(|item| self.modules[module].exports.get(item));
        match exported {
            Some(target) if depth < 8 && target != path => {
                let rest = path[at + 1..].iter().cloned();
                let whole: Name = target.iter().cloned().chain(rest).collect();
                self.home(&whole, depth + 1)
            }
            _ => module.to_vec(),
        }
    }
}

/// Where a path stands, from which relative ones are read.
struct Here<'a> {
    module: &'a [String],
    children: &'a [String],
}

#[derive(Default)]
struct Found {
    paths: BTreeSet<Name>,
    exports: BTreeMap<String, Name>,
}

/// Collects the paths in these tokens, and what `pub use` gives other names to.
fn find(tokens: &[TokenTree], here: &Here<'_>, found: &mut Found) {
    let mut at = 0;
    let mut is_public = false;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "pub" => {
                is_public = true;
                at += 1;
                // `pub(crate)`, whose inside is no path.
                if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
                {
                    at += 1;
                }
                continue;
            }
            TokenTree::Ident(word) if word == "use" => {
                let end = at
                    + tokens[at..]
                        .iter()
                        .position(|token| is_punct(token, ';'))
                        .unwrap_or(tokens.len() - at);
                for (path, alias) in tree(&tokens[at + 1..end], &[]) {
                    let Some(path) = absolute(path, here) else { continue };
                    if is_public && let Some(name) = alias.or_else(|| path.last().cloned()) {
                        found.exports.insert(name, path.clone());
                    }
                    found.paths.insert(path);
                }
                at = end;
            }
            TokenTree::Ident(_) => {
                // One colon alone stands before a type, which may well be a path.
                let continues = match &tokens[..at] {
                    [.., first, last] if is_punct(last, ':') => is_punct(first, ':'),
                    [.., last] => is_punct(last, '.'),
                    [] => false,
                };
                let length = path_length(&tokens[at..]);
                if !continues && length > 1 {
                    let (path, _) = tree(&tokens[at..at + length], &[]).remove(0);
                    found.paths.extend(absolute(path, here));
                }
                at += length.max(1) - 1;
            }
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                find(&inner, here, found);
            }
            _ => {}
        }
        is_public = false;
        at += 1;
    }
}

/// How many tokens a path `a::b::c` takes.
fn path_length(tokens: &[TokenTree]) -> usize {
    let mut length = 1;
    while let [first, second, TokenTree::Ident(_), ..] = &tokens[length..]
        && is_punct(first, ':')
        && is_punct(second, ':')
    {
        length += 3;
    }
    length
}

/// The paths of a tree of imports, each with its new name if it has one.
fn tree(tokens: &[TokenTree], prefix: &[String]) -> Vec<(Name, Option<String>)> {
    let mut paths = Vec::new();
    for branch in tokens.split(|token| is_punct(token, ',')) {
        let (mut path, mut alias, mut nested) = (prefix.to_vec(), None, None);
        let mut branch = branch.iter();
        while let Some(token) = branch.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    alias = branch.next().map(ToString::to_string);
                }
                // `a::{self}` is `a`.
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => nested = Some(group.stream()),
                _ => {}
            }
        }
        match nested {
            Some(nested) => {
                let nested: Vec<_> = nested.into_iter().collect();
                paths.extend(tree(&nested, &path));
            }
            None if path.len() > prefix.len() || alias.is_some() => paths.push((path, alias)),
            None if !prefix.is_empty() && path == prefix => paths.push((path, alias)),
            None => {}
        }
    }
    paths
}

/// The path from the crate's root; none if it leads out of the crate.
fn absolute(path: Name, here: &Here<'_>) -> Option<Name> {
    let mut base: Name = here.module.to_vec();
    let mut rest = path.into_iter().peekable();
    match rest.peek()?.as_str() {
        "crate" => {
            base.clear();
            rest.next();
        }
        "self" => {
            rest.next();
        }
        "super" => {
            while rest.next_if(|word| word == "super").is_some() {
                base.pop();
            }
        }
        child if here.children.iter().any(|it| it == child) => {}
        _ => return None,
    }
    Some(base.into_iter().chain(rest).collect())
}

/// The tokens without items that are compiled for tests only.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut is_for_tests = false;
    while let Some(token) = tokens.next() {
        let is_attribute = is_punct(&token, '#')
            && matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket);
        if is_attribute {
            let attribute = tokens.next().expect("just seen");
            let words = attribute.to_string().replace(' ', "");
            is_for_tests |= words == "[test]"
                || words.starts_with("[cfg(test)")
                || words.starts_with("[cfg(all(test");
            kept.push(token);
            kept.push(attribute);
            continue;
        }
        if !is_for_tests {
            kept.push(token);
            continue;
        }
        // Passed over to the end of the item: `;`, or its body.
        let is_end = |token: &TokenTree| {
            is_punct(token, ';')
                || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        };
        let mut last = token;
        // The braces of an import are no body.
        let is_import = matches!(&last, TokenTree::Ident(word) if word == "use");
        while !(is_end(&last) && (!is_import || is_punct(&last, ';'))) {
            let Some(next) = tokens.next() else { break };
            last = next;
        }
        is_for_tests = false;
    }
    kept
}

/// The file that `#[path = "…"]` names, where these tokens begin with one.
fn path_of(tokens: &[TokenTree]) -> Option<String> {
    let [hash, TokenTree::Group(group), ..] = tokens else { return None };
    let words: Vec<_> = group.stream().into_iter().collect();
    match (&words[..], is_punct(hash, '#')) {
        ([TokenTree::Ident(word), _, TokenTree::Literal(path)], true) if word == "path" => {
            Some(path.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// The first sentence of a file's documentation.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let whole = paragraph.join(" ");
    let end = whole.find(". ").unwrap_or(whole.trim_end_matches('.').len());
    whole[..end].to_owned()
}
