//! `docs/gevent.md` keeps its word: every test that it names exists, and no cell is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/gevent.md")).unwrap()
}

/// The functions that are tests in this text: marked so, or named in a list of tests that run as processes of their own.
fn tests_in(source: &str) -> BTreeSet<String> {
    let name_of = |line: &str| {
        let name = line.trim().strip_prefix("fn ")?.split('(').next()?;
        Some(name.to_owned())
    };
    let mut tests = BTreeSet::new();
    let mut marked = false;
    let mut listed = false;
    for line in source.lines() {
        if line.trim() == "#[test]" {
            marked = true;
        } else if marked && let Some(name) = name_of(line) {
            tests.insert(name);
            marked = false;
        } else if line == "tests! {" {
            listed = true;
        } else if line == "}" {
            listed = false;
        } else if listed && let Some(name) = line.trim().split([' ', ',']).next() {
            tests.insert(name.to_owned());
        }
    }
    tests
}

/// The tests of each file, by what the page calls the file.
fn tests_by_file() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    let mut open = vec![
        (repository().join("greenlet-core/tests"), String::new()),
        (repository().join("greenlet-core/src"), "src/".to_owned()),
        (repository().join("greenlet-net/tests"), "net/".to_owned()),
        (repository().join("greenlet-net/src"), "net/src/".to_owned()),
        (repository().join("examples/tests"), "examples/".to_owned()),
    ];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                open.push((path.clone(), format!("{prefix}{stem}/")));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                tests.insert(format!("{prefix}{stem}"), tests_in(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    tests
}

/// What the cell names: what is between backquotes and looks like `file::name_of_a_test` or `file::*`, not like `Type::method`.
fn cited(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    let codes = cell.split('`').skip(1).step_by(2);
    let named = codes.filter_map(|code| code.split_once("::"));
    let name =
        |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/*".contains(c));
    named.filter(move |(file, test)| name(file) && name(test) && test.contains(['_', '*']))
}

/// The cells of each row of the page's tables, headings among them.
fn rows(page: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    page.lines().enumerate().filter(|(_, line)| line.starts_with('|')).map(|(at, line)| {
        let cells = line.replace("\\|", "/");
        let cells = cells.trim().trim_start_matches('|').trim_end_matches('|').split('|');
        (at + 1, cells.map(|cell| cell.trim().to_owned()).collect())
    })
}

#[test]
fn every_test_that_the_page_names_exists() {
    let (page, tests) = (page(), tests_by_file());
    let mut named = 0;
    for (at, cells) in rows(&page) {
        for (file, test) in cited(cells.last().unwrap()) {
            let found =
                tests.get(file).unwrap_or_else(|| panic!("line {at}: there is no file of tests `{file}`"));
            let exists = match test.strip_suffix('*') {
                Some(begin) => found.iter().any(|test| test.starts_with(begin)),
                None => found.contains(test),
            };
            assert!(exists, "line {at}: there is no test `{file}::{test}`");
            named += 1;
        }
    }
    assert!(named > 500, "only {named} tests were found in the page: has its form changed?");
}

#[test]
fn every_row_is_complete_and_there_once() {
    let page = page();
    let mut seen = BTreeMap::new();
    let mut section = "";
    let mut lines = page.lines();
    for (at, cells) in rows(&page) {
        for line in lines.by_ref().take_while(|line| !line.starts_with('|')) {
            section = line.strip_prefix("## ").unwrap_or(section);
        }
        if cells[0] == "gevent" || cells[0].starts_with("---") {
            continue;
        }
        assert_eq!(cells.len(), 3, "line {at}: {cells:?}");
        assert!(cells.iter().all(|cell| !cell.is_empty() && cell != "-"), "line {at} has an empty cell");
        let held = cited(&cells[2]).next().is_some();
        assert!(held || cells[2].contains("iffers"), "line {at} names neither a test nor a difference");
        let before = seen.insert((section.to_owned(), cells[0].clone()), at);
        assert!(before.is_none(), "line {at} says again what line {before:?} says");
    }
    assert!(seen.len() > 400, "only {} rows were found", seen.len());
}
