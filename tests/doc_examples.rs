//! Every public entry of the crate has an example that is compiled.
//!
//! **An entry** is a function, method, type, trait, constant or macro that a program can name: all that is
//! declared `pub`, because the lint `unreachable_pub` leaves nothing public that is not reachable.
//! Variants and fields are no entries, nor are methods of implemented traits: the example of
//! their type or trait shows them.
//!
//! **It is shown** by an example whose visible lines use its name. The example stands in the documentation of
//!
//! - the entry itself;
//! - its type or trait, if it is a method: `.name(…)`, `Type::name`, or `fn name` of a trait;
//! - the module, if it is something else. A type is also shown by any example of its own.
//!
//! An example is a block of Rust that is compiled: no `text`, no `ignore`, no `compile_fail`.

#[path = "doc_examples/entries.rs"]
mod entries;
#[path = "doc_examples/examples.rs"]
mod examples;

use std::path::Path;

use entries::{Entry, Kind};
use examples::{Words, examples, fences};

fn entries() -> Vec<Entry> {
    entries::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
}

/// Whether this documentation has an example that uses the entry's name.
fn uses(docs: &str, entry: &Entry) -> bool {
    examples(docs).iter().any(|example| {
        let words = Words::of(example);
        match &entry.kind {
            Kind::Item => words.has(&[&entry.name]),
            Kind::Method => {
                words.has(&[".", &entry.name]) || words.has_path(&entry.holder, &entry.name)
            }
            Kind::Associated => words.has_path(&entry.holder, &entry.name),
            Kind::OfTrait => {
                words.has(&["fn", &entry.name])
                    || words.has(&[".", &entry.name])
                    || words.has(&[":", ":", &entry.name])
            }
        }
    })
}

fn is_shown(entry: &Entry) -> bool {
    let by_itself = entry.is_type && !examples(&entry.docs).is_empty();
    by_itself || uses(&entry.docs, entry) || uses(&entry.holder_docs, entry)
}

#[test]
fn every_public_entry_has_an_example() {
    let entries = entries();
    let bare: Vec<_> = entries.iter().filter(|entry| !is_shown(entry)).collect();
    let lines: Vec<_> =
        bare.iter().map(|entry| format!("{}: {}", entry.file.display(), entry.path)).collect();
    assert!(
        bare.is_empty(),
        "{} of {} public entries have no example:\n{}",
        bare.len(),
        entries.len(),
        lines.join("\n")
    );
}

/// Whoever adds a public function sees it in the list above.
#[test]
fn entries_are_found() {
    let entries = entries();
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
    for known in [
        "auth::sign::sign_hs256",
        "cluster::broker::seam::Broker",
        "cluster::broker::seam::Broker::publish",
        "gateway::gateway::Gateway::on",
        "gateway::interceptor::from_fn::from_fn",
        "server::builder::Builder::build",
        "sockets::socket::Socket::id",
    ] {
        assert!(paths.contains(&known), "{known} is an entry");
    }
    assert!(!paths.iter().any(|path| path.contains("fuzzing")), "entries for tests are none");
}

#[test]
fn what_counts_as_shown() {
    let shown = |kind, docs: &str| {
        let entry = Entry {
            kind,
            name: "close".into(),
            holder: "Door".into(),
            docs: docs.into(),
            ..Entry::default()
        };
        is_shown(&entry)
    };
    let method = |docs| shown(Kind::Method, docs);
    assert!(method("```\ndoor.close();\n```"));
    assert!(method("```no_run\nlet x = Door::close(&door);\n```"));
    assert!(method("```rust\n# let door = 1;\ndoor\n    .close();\n```"));
    for not in [
        "door.close()",
        "```text\ndoor.close();\n```",
        "```ignore\ndoor.close();\n```",
        "```compile_fail\ndoor.close();\n```",
        "```\n# door.close();\n```",
        "```\n// door.close()\n```",
        "```\nsay(\"door.close()\");\n```",
        "```\ndoor.close_all();\n```",
        "```\nclose(door);\n```",
        "```\nWindow::close(window);\n```",
        "```\n```\ndoor.close();",
    ] {
        assert!(!method(not), "{not}");
    }
    assert!(shown(Kind::Associated, "```\nDoor::<u8>::close();\n```"));
    assert!(!shown(Kind::Associated, "```\ndoor.close();\n```"));
    assert!(shown(Kind::OfTrait, "```\nimpl Door for Gate { fn close(&self) {} }\n```"));
    assert!(shown(Kind::Item, "```\nclose(door);\n```"));
}

/// An example that nobody compiles goes out of date.
#[test]
fn no_example_is_ignored() {
    let entries = entries();
    let docs = entries.iter().flat_map(|entry| [&entry.docs, &entry.holder_docs]);
    let ignored = docs.flat_map(|docs| fences(docs)).find(|(info, _)| info.contains("ignore"));
    assert_eq!(ignored, None, "an example is compiled");
}
