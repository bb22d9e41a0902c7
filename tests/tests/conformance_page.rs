//! `docs/gevent.md`, `docs/erlang.md` and `docs/comparison.md` keep their word: every test that they name exists, and no cell is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
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

/// Where the tests are that the page on gevent names, and what it calls these places.
const GEVENT: &[(&str, &str)] = &[
    ("greenlet-core/tests", ""),
    ("greenlet-core/src", "src/"),
    ("greenlet-net/tests", "net/"),
    ("greenlet-net/src", "net/src/"),
    ("examples/tests", "examples/"),
];

/// The same for the page on Erlang.
const ERLANG: &[(&str, &str)] =
    &[("greenlet-actor/tests", ""), ("greenlet-actor/src", "src/"), ("examples/tests", "examples/")];

/// The tests of each file, by what the page calls the file.
fn tests_by_file(places: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    let place = |&(folder, prefix): &(&str, &str)| (repository().join(folder), prefix.to_owned());
    let mut open: Vec<_> = places.iter().map(place).collect();
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
    let named = count_tests_named("gevent.md", GEVENT);
    assert!(named > 500, "only {named} tests were found in the page: has its form changed?");
    let named = count_tests_named("erlang.md", ERLANG);
    assert!(named > 40, "only {named} tests were found in the page: has its form changed?");
}

#[test]
fn every_yes_of_the_comparison_names_a_test_that_exists() {
    let named = count_tests_named("comparison.md", ERLANG);
    assert!(named > 40, "only {named} tests were found in the page: has its form changed?");
    for (at, cells) in rows(&page("comparison.md")) {
        if cells.len() == 8 && cells[1] == "yes" {
            assert!(cited(&cells[7]).next().is_some(), "line {at} says yes and names no test");
        }
    }
}

/// How many tests the page names, all of which exist.
fn count_tests_named(name: &str, places: &[(&str, &str)]) -> usize {
    let (page, tests) = (page(name), tests_by_file(places));
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
    named
}

#[test]
fn every_row_is_complete_and_there_once() {
    let rows = count_complete_rows("gevent.md", "gevent");
    assert!(rows > 400, "only {rows} rows were found");
    let rows = count_complete_rows("erlang.md", "OTP");
    assert!(rows > 30, "only {rows} rows were found");
}

/// How many rows the page has, all of which are complete; those that begin with `heading` do not count.
fn count_complete_rows(name: &str, heading: &str) -> usize {
    let page = page(name);
    let mut seen = BTreeMap::new();
    let mut section = "";
    let mut lines = page.lines();
    for (at, cells) in rows(&page) {
        for line in lines.by_ref().take_while(|line| !line.starts_with('|')) {
            section = line.strip_prefix("## ").unwrap_or(section);
        }
        if cells[0] == heading || cells[0].starts_with("---") {
            continue;
        }
        assert_eq!(cells.len(), 3, "line {at}: {cells:?}");
        assert!(cells.iter().all(|cell| !cell.is_empty() && cell != "-"), "line {at} has an empty cell");
        let held = cited(&cells[2]).next().is_some();
        assert!(held || cells[2].contains("iffers"), "line {at} names neither a test nor a difference");
        let before = seen.insert((section.to_owned(), cells[0].clone()), at);
        assert!(before.is_none(), "line {at} says again what line {before:?} says");
    }
    seen.len()
}
