//! What the `concurrent_download` example promises in its first comment.

use std::process::Command;

fn download(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concurrent_download"));
    let output = command.args(arguments).output().expect("the example starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_downloads_from_a_server_of_its_own() {
    let (code, printed, complaints) = download(&[]);
    assert_eq!(code, Some(0), "{printed}{complaints}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 41, "{printed}");
    assert!(lines[0].starts_with("[ 1/40] http://127.0.0.1:"), "{printed}");
    for line in &lines[..40] {
        // The path says how long the page is.
        let size = line.rsplit('/').next().unwrap().split(':').next().unwrap();
        assert!(line.contains(&format!(": {size} bytes in ")), "{line}");
    }
    assert!(lines[40].starts_with("40 downloads, 11600000 bytes in "), "{printed}");
    assert!(lines[40].ends_with(", 0 failed"), "{printed}");
}

#[test]
fn a_download_that_fails_is_named_and_the_others_go_on() {
    // Port 1 (tcpmux) is below the ports that the system hands out, so no other test listens there.
    let (code, printed, _) = download(&["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains("http://127.0.0.1:1/a: ") && printed.contains("http://127.0.0.1:1/b: "),
        "{printed}"
    );
    assert!(printed.trim_end().ends_with("2 failed"), "{printed}");
}

#[test]
fn what_is_no_url_is_refused() {
    let (code, _, complaints) = download(&["ftp://example.org"]);
    assert_eq!(code, Some(2));
    assert!(complaints.contains("not `ftp://example.org`") && complaints.contains("usage:"), "{complaints}");
}
