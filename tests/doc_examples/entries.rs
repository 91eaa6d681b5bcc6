//! Reads the public entries of a crate from its files, with their documentation.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// How an entry is named in code.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By its name alone.
    #[default]
    Item,
    /// Of a value: it takes `self`.
    Method,
    /// Of a type.
    Associated,
    OfTrait,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) is_type: bool,
    pub(crate) name: String,
    /// With the modules in which it is declared.
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) docs: String,
    /// The type or trait of a method.
    pub(crate) holder: String,
    /// The documentation of the type, the trait or the public module that it stands in.
    pub(crate) holder_docs: String,
}

/// The public entries of the crate whose root is this file.
pub(crate) fn read(root: &Path) -> Vec<Entry> {
    let mut reader = Reader::default();
    let page = Page { is_public: true, docs: String::new() };
    reader.file(root, root.parent().expect("a folder"), &[], page);
    reader.entries()
}

/// The module whose page shows an entry: the next one above it that is public.
#[derive(Clone)]
struct Page {
    is_public: bool,
    docs: String,
}

/// Methods of one `impl`, whose type may be declared in another file.
struct Implemented {
    module: Vec<String>,
    holder: String,
    docs: String,
    methods: Vec<Entry>,
}

#[derive(Default)]
struct Reader {
    items: Vec<(Vec<String>, Entry)>,
    implemented: Vec<Implemented>,
}

/// What stands before an item.
#[derive(Default)]
struct Before {
    docs: String,
    is_public: bool,
    /// Compiled for tests only, or hidden on the pages.
    is_hidden: bool,
    is_exported: bool,
    path: Option<String>,
}

impl Reader {
    /// `folder` is where the files of its children lie.
    fn file(&mut self, file: &Path, folder: &Path, module: &[String], page: Page) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file:?}: {error}"));
        self.module(tokens, file, folder, module, page);
    }

    fn module(
        &mut self,
        tokens: TokenStream,
        file: &Path,
        folder: &Path,
        module: &[String],
        mut page: Page,
    ) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        if page.is_public {
            page.docs.clear();
        }
        for (before, item) in items(&tokens, &mut page) {
            if before.is_hidden {
                continue;
            }
            let path = |name: &str| [module, &[name.to_owned()]].concat();
            let words = words(item);
            match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["mod", name] => {
                    let page = Page { is_public: before.is_public, ..page.clone() };
                    let (name, child_folder) = (path(name), folder.join(name));
                    if let Some(body) = braces(item) {
                        self.module(body.stream(), file, &child_folder, &name, page);
                    } else if let Some(path) = &before.path {
                        let path = file.parent().expect("a folder").join(path);
                        self.file(&path, &path.with_extension(""), &name, page);
                    } else {
                        let flat = child_folder.with_extension("rs");
                        let nested = child_folder.join("mod.rs");
                        let file = if flat.exists() { flat } else { nested };
                        self.file(&file, &child_folder, &name, page);
                    }
                }
                ["impl", ..] => {
                    let Some(holder) = implementing(item) else { continue };
                    let body = braces(item).expect("a body").stream();
                    let mut methods = functions(body, &holder, file);
                    methods.retain(|(before, _)| before.is_public);
                    self.implemented.push(Implemented {
                        module: module.to_vec(),
                        holder,
                        docs: before.docs,
                        methods: methods.into_iter().map(|(_, method)| method).collect(),
                    });
                }
                ["macro_rules", name, ..] if before.is_exported => {
                    let entry = item_entry(name, module, file, &before, &page);
                    self.items.push((module.to_vec(), entry));
                }
                [word, name, ..] if before.is_public => {
                    let is_type = matches!(*word, "struct" | "enum" | "union" | "trait" | "type");
                    if !(is_type || matches!(*word, "fn" | "const" | "static")) {
                        continue;
                    }
                    let mut entry = item_entry(name, module, file, &before, &page);
                    entry.is_type = is_type;
                    let trait_path = entry.path.clone();
                    self.items.push((module.to_vec(), entry));
                    if *word == "trait" {
                        let body = braces(item).expect("a body").stream();
                        for (_, mut function) in functions(body, name, file) {
                            function.kind = Kind::OfTrait;
                            function.path = format!("{trait_path}::{}", function.name);
                            function.holder_docs.clone_from(&before.docs);
                            self.items.push((module.to_vec(), function));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The entries, each method with the documentation of its type.
    fn entries(self) -> Vec<Entry> {
        let mut docs_of: BTreeMap<String, String> = BTreeMap::new();
        let types: Vec<_> = self.items.iter().filter(|(_, item)| item.is_type).cloned().collect();
        // The type of this name that is declared next to the `impl`.
        let type_of = |it: &Implemented| {
            let shared = |module: &[String]| {
                module.iter().zip(&it.module).take_while(|(one, other)| one == other).count()
            };
            let named = types.iter().filter(|(_, item)| item.name == it.holder);
            named.max_by_key(|(module, _)| shared(module)).map(|(_, item)| item)
        };
        for it in &self.implemented {
            if let Some(of) = type_of(it) {
                let docs = docs_of.entry(of.path.clone()).or_insert_with(|| of.docs.clone());
                *docs += "\n";
                *docs += &it.docs;
            }
        }
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut add = |entry: Entry| match entries.get_mut(&entry.path) {
            // Declared twice, for two features.
            Some(there) => there.docs = format!("{}\n{}", there.docs, entry.docs),
            None => {
                entries.insert(entry.path.clone(), entry);
            }
        };
        for it in &self.implemented {
            for method in &it.methods {
                let of = type_of(it)
                    .unwrap_or_else(|| panic!("{:?}: no type {}", method.file, it.holder));
                let path = format!("{}::{}", of.path, method.name);
                add(Entry { path, holder_docs: docs_of[&of.path].clone(), ..method.clone() });
            }
        }
        for (_, item) in self.items {
            add(item);
        }
        entries.into_values().collect()
    }
}

fn item_entry(name: &str, module: &[String], file: &Path, before: &Before, page: &Page) -> Entry {
    Entry {
        name: name.to_owned(),
        path: [module, &[name.to_owned()]].concat().join("::"),
        file: shown(file),
        docs: before.docs.clone(),
        holder_docs: page.docs.clone(),
        ..Entry::default()
    }
}

/// The functions in the body of an `impl` or a trait.
fn functions(body: TokenStream, holder: &str, file: &Path) -> Vec<(Before, Entry)> {
    let tokens: Vec<_> = body.into_iter().collect();
    let mut page = Page { is_public: true, docs: String::new() };
    let mut functions = Vec::new();
    for (before, item) in items(&tokens, &mut page) {
        if let [word, name, ..] = words(item).as_slice()
            && matches!(word.as_str(), "fn" | "const")
            && !before.is_hidden
        {
            let entry = Entry {
                kind: if takes_self(item) { Kind::Method } else { Kind::Associated },
                name: name.clone(),
                file: shown(file),
                docs: before.docs.clone(),
                holder: holder.to_owned(),
                ..Entry::default()
            };
            functions.push((before, entry));
        }
    }
    functions
}

/// The items of a body, each with what stands before it. The body's own documentation goes to the page.
fn items<'a>(tokens: &'a [TokenTree], page: &mut Page) -> Vec<(Before, &'a [TokenTree])> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut before = Before::default();
        loop {
            match &tokens[at..] {
                [hash, TokenTree::Group(attribute), ..] if is_punct(hash, '#') => {
                    before.attribute(attribute);
                    at += 2;
                }
                [hash, mark, TokenTree::Group(attribute), ..]
                    if is_punct(hash, '#') && is_punct(mark, '!') =>
                {
                    page.docs += &doc_of(attribute).unwrap_or_default();
                    at += 3;
                }
                [TokenTree::Ident(word), TokenTree::Group(within), ..]
                    if word == "pub" && within.delimiter() == Delimiter::Parenthesis =>
                {
                    at += 2;
                }
                [TokenTree::Ident(word), ..] if word == "pub" => {
                    before.is_public = true;
                    at += 1;
                }
                _ => break,
            }
        }
        let rest = &tokens[at..];
        // The braces of an import, a constant's value or a macro's text are no end.
        let first = rest.first().map(ToString::to_string).unwrap_or_default();
        let ends_in_semicolon = matches!(first.as_str(), "use" | "static" | "type")
            || first == "const" && words(rest).first().is_some_and(|word| word == "const");
        let is_end =
            |token: &TokenTree| is_punct(token, ';') || !ends_in_semicolon && is_braces(token);
        let length = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
        if length > 0 {
            found.push((before, &rest[..length]));
        }
        at += length.max(1);
    }
    found
}

impl Before {
    fn attribute(&mut self, attribute: &Group) {
        if let Some(doc) = doc_of(attribute) {
            self.docs += &doc;
            return;
        }
        let words = attribute.stream().to_string().replace(' ', "");
        self.is_exported |= words == "macro_export";
        self.is_hidden |= words == "doc(hidden)"
            || words == "test"
            || words == "cfg(any(test,fuzzing))"
            || words.starts_with("cfg(test")
            || words.starts_with("cfg(all(test");
        if let Some(path) = words.strip_prefix("path=") {
            self.path = Some(path.trim_matches('"').to_owned());
        }
    }
}

/// One line of documentation, if the attribute is that.
fn doc_of(attribute: &Group) -> Option<String> {
    let tokens: Vec<_> = attribute.stream().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word), _, TokenTree::Literal(line)] if word == "doc" => {
            let quoted = line.to_string();
            let escaped = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted);
            let line = escaped.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
            Some(line + "\n")
        }
        _ => None,
    }
}

/// The item's own words: `fn name …`, `struct Name …`, without what may stand before them.
fn words(item: &[TokenTree]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for token in item {
        match token {
            TokenTree::Ident(word) => {
                let word = word.to_string();
                if words.is_empty() && matches!(word.as_str(), "async" | "unsafe" | "extern") {
                    continue;
                }
                words.push(word);
            }
            TokenTree::Punct(mark) if mark.as_char() == '!' => {}
            _ => break,
        }
    }
    // `const fn` is a function.
    if let [first, second, ..] = words.as_slice()
        && first == "const"
        && second == "fn"
    {
        words.remove(0);
    }
    words
}

/// The type that an `impl` is of; none if it is of a trait.
fn implementing(item: &[TokenTree]) -> Option<String> {
    let (mut depth, mut last) = (0_u32, None);
    for (at, token) in item.iter().enumerate().skip(1) {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '<' => depth += 1,
            TokenTree::Punct(mark) if mark.as_char() == '>' && !is_punct(&item[at - 1], '-') => {
                depth = depth.saturating_sub(1);
            }
            TokenTree::Ident(word) if depth == 0 && word == "for" => return None,
            TokenTree::Ident(word) if depth == 0 && word == "where" => break,
            TokenTree::Ident(word) if depth == 0 => last = Some(word.to_string()),
            _ => {}
        }
    }
    last
}

fn takes_self(item: &[TokenTree]) -> bool {
    let arguments = item.iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => Some(group),
        _ => None,
    });
    let Some(arguments) = arguments else { return false };
    let tokens: Vec<_> = arguments.stream().into_iter().collect();
    let first = tokens.split(|token| is_punct(token, ',')).next().unwrap_or_default();
    first.iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "self"))
}

fn braces(item: &[TokenTree]) -> Option<&Group> {
    item.iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    })
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// A file as it is called from the repository's root.
fn shown(file: &Path) -> PathBuf {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file).to_owned()
}
