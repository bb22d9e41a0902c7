//! Files in several forms: compressed beforehand, and in parts.
#![cfg(feature = "http")]

mod program;
mod raw;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use greenlet_core::pool::ThreadPool;
use greenlet_core::run;
use greenlet_net::http::{Coding, Server, StaticFiles};
use raw::{Answer, Client, End, serve};

/// A directory that goes when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("greenlet-http-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("public")).unwrap();
        Directory(path)
    }

    fn public(&self) -> PathBuf {
        self.0.join("public")
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.public().join(name), content).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn get(client: &mut Client, path: &str, headers: &str) -> Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    client.answer()
}

// --- compressed beforehand ------------------------------------------------------------------------------------

fn with_codings(name: &str) -> Directory {
    let directory = Directory::new(name);
    directory.write("app.js", b"plain");
    directory.write("app.js.gz", b"as gzip");
    directory.write("app.js.br", b"as brotli");
    directory.write("index.html", b"index");
    directory.write("index.html.zst", b"index as zstd");
    directory.write("only.css", b"only plain");
    directory
}

#[test]
fn a_client_gets_the_coding_that_it_likes_best() {
    run(|| {
        let directory = with_codings("codings");
        let (_server, address) =
            serve(Server::new(StaticFiles::new(directory.public()).precompressed(Coding::ALL)));
        let mut client = Client::connect(address);
        for (path, accepts, text, coding) in [
            ("/app.js", "Accept-Encoding: gzip, deflate, br, zstd\r\n", "as brotli", Some("br")),
            ("/app.js", "Accept-Encoding: gzip\r\n", "as gzip", Some("gzip")),
            ("/app.js", "Accept-Encoding: br;q=0.1\r\nAccept-Encoding: gzip\r\n", "as gzip", Some("gzip")),
            ("/app.js", "Accept-Encoding: zstd\r\n", "plain", None),
            ("/app.js", "Accept-Encoding: br;q=0, gzip;q=0\r\n", "plain", None),
            ("/app.js", "", "plain", None),
            ("/", "Accept-Encoding: *\r\n", "index as zstd", Some("zstd")),
            ("/only.css", "Accept-Encoding: *\r\n", "only plain", None),
        ] {
            let answer = get(&mut client, path, accepts);
            assert_eq!((answer.status(), answer.text()), (200, text), "{path} {accepts}");
            assert_eq!(answer.header("content-encoding"), coding, "{path} {accepts}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path} {accepts}");
            let expected = match path {
                "/app.js" => "text/javascript; charset=utf-8",
                "/" => "text/html; charset=utf-8",
                _ => "text/css; charset=utf-8",
            };
            assert_eq!(answer.header("content-type"), Some(expected));
        }
        let answer = get(&mut client, "/app.js.gz", "Accept-Encoding: gzip\r\n");
        assert_eq!((answer.text(), answer.header("content-encoding")), ("as gzip", None));
    });
}

#[test]
fn each_coding_is_a_representation_of_its_own() {
    run(|| {
        let directory = with_codings("tags");
        let (_server, address) =
            serve(Server::new(StaticFiles::new(directory.public()).precompressed(Coding::ALL)));
        let mut client = Client::connect(address);
        let accepting = ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: br\r\n"];
        let tags =
            accepting.map(|accepts| get(&mut client, "/app.js", accepts).header("etag").unwrap().to_owned());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
        for (n, tag) in tags.iter().enumerate() {
            for (m, accepts) in accepting.iter().enumerate() {
                let answer = get(&mut client, "/app.js", &format!("{accepts}If-None-Match: {tag}\r\n"));
                assert_eq!(answer.status(), if n == m { 304 } else { 200 }, "{tag} with {accepts}");
                assert_eq!(answer.header("vary"), Some("accept-encoding"));
                let part =
                    get(&mut client, "/app.js", &format!("{accepts}If-Range: {tag}\r\nRange: bytes=3-4\r\n"));
                assert_eq!(part.status(), if n == m { 206 } else { 200 }, "{tag} with {accepts}");
            }
        }
        // Parts are parts of what is sent.
        let part = get(&mut client, "/app.js", "Accept-Encoding: gzip\r\nRange: bytes=3-\r\n");
        assert_eq!((part.text(), part.header("content-range")), ("gzip", Some("bytes 3-6/7")));
        assert_eq!(part.header("content-encoding"), Some("gzip"));
    });
}

#[test]
fn only_what_belongs_to_the_file_stands_for_it() {
    run(|| {
        let directory = with_codings("outside");
        fs::write(directory.0.join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", directory.public().join("only.css.gz")).unwrap();
        fs::create_dir(directory.public().join("only.css.br")).unwrap();
        directory.write("gone.js.gz", b"as gzip");
        let old = File::options().write(true).open(directory.public().join("app.js.br")).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let (_server, address) =
            serve(Server::new(StaticFiles::new(directory.public()).precompressed(Coding::ALL)));
        let mut client = Client::connect(address);
        let all = "Accept-Encoding: *\r\n";
        assert_eq!(get(&mut client, "/only.css", all).text(), "only plain", "a link and a directory");
        assert_eq!(get(&mut client, "/gone.js", all).status(), 404, "nothing to stand for");
        assert_eq!(
            get(&mut client, "/app.js", all).text(),
            "as gzip",
            "the other one is older than the file"
        );
        let (_server, address) = serve(Server::new(StaticFiles::new(directory.public())));
        let answer = get(&mut Client::connect(address), "/app.js", all);
        assert_eq!((answer.text(), answer.header("vary")), ("plain", None), "not asked for");
    });
}

#[test]
fn curl_unpacks_what_gzip_packed() {
    if !program::has("curl", "--version", "curl") || !program::has("gzip", "--version", "gzip") {
        return;
    }
    run(|| {
        let directory = Directory::new("curl");
        let text = "all work and no play ".repeat(1000);
        directory.write("play.txt", text.as_bytes());
        let path = directory.public().join("play.txt");
        let packed = ThreadPool::global().apply(move || Command::new("gzip").arg("-k").arg(path).status());
        assert!(packed.unwrap().unwrap().success());
        let (_server, address) =
            serve(Server::new(StaticFiles::new(directory.public()).precompressed([Coding::Gzip])));
        let curl = ThreadPool::global().apply(move || {
            let url = format!("http://{address}/play.txt");
            Command::new("curl")
                .args(["-sS", "-m", "20", "-w", "%{size_download}", "--compressed", &url])
                .output()
        });
        let output = String::from_utf8(curl.unwrap().unwrap().stdout).unwrap();
        let size = output.strip_prefix(&text).expect("curl unpacks it");
        assert!(size.parse::<usize>().unwrap() < 1000, "{size}");
    });
}

// --- several parts --------------------------------------------------------------------------------------------

#[test]
fn several_parts_come_in_one_response_in_the_order_in_which_they_were_asked_for() {
    run(|| {
        let directory = Directory::new("parts");
        directory.write("digits.txt", b"0123456789");
        let (_server, address) = serve(Server::new(StaticFiles::new(directory.public())));
        let mut client = Client::connect(address);
        let answer = get(&mut client, "/digits.txt", "Range: bytes=5-6, 0-1,-1,20-\r\n");
        assert_eq!((answer.status(), answer.header("content-range")), (206, None));
        let boundary =
            answer.header("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, digits: &str| {
            format!(
                "--{boundary}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {range}/10\r\n\r\n{digits}\r\n"
            )
        };
        let expected =
            part("5-6", "56") + &part("0-1", "01") + &part("9-9", "9") + &format!("--{boundary}--\r\n");
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.header("content-length").unwrap(), expected.len().to_string());
        // One that is there of several is answered as one; `HEAD` knows no ranges.
        let answer = get(&mut client, "/digits.txt", "Range: bytes=20-,2-3\r\n");
        assert_eq!((answer.text(), answer.header("content-range")), ("23", Some("bytes 2-3/10")));
        client.send("HEAD /digits.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1,3-4\r\n\r\n");
        assert_eq!(client.head().unwrap().status(), 200);
        assert_eq!(get(&mut client, "/digits.txt", "Range: bytes=20-,30-\r\n").status(), 416);
    });
}

#[test]
fn too_many_parts_and_such_that_overlap_are_the_whole_file() {
    run(|| {
        let directory = Directory::new("many");
        directory.write("digits.txt", b"0123456789");
        let (_server, address) = serve(Server::new(StaticFiles::new(directory.public()).max_ranges(3)));
        let mut client = Client::connect(address);
        for (ranges, status) in [
            ("0-0,2-2,4-4".to_owned(), 206),
            ("0-0,2-2,4-4,6-6".to_owned(), 200),
            ("0-,0-".to_owned(), 200),
            ("0-5,5-9".to_owned(), 200),
            (vec!["0-"; 2000].join(","), 200),
        ] {
            let answer = get(&mut client, "/digits.txt", &format!("Range: bytes={ranges}\r\n"));
            assert_eq!(answer.status(), status, "{ranges}");
            assert!(status != 200 || answer.text() == "0123456789");
        }
    });
}

#[test]
fn large_parts_are_read_piece_by_piece_and_a_client_may_go() {
    run(|| {
        let directory = Directory::new("large");
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        directory.write("large.bin", &content);
        let (server, address) = serve(Server::new(StaticFiles::new(directory.public())));
        let mut client = Client::connect(address);
        let answer = get(&mut client, "/large.bin", "Range: bytes=600000-999999,0-399999\r\n");
        let find = |part: &[u8]| answer.body.windows(part.len()).any(|window| window == part);
        assert!(find(&content[600_000..]) && find(&content[..400_000]));
        let mut leaving = Client::connect(address);
        leaving.send("GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=600000-999999,0-399999\r\n\r\n");
        assert_eq!(leaving.head().unwrap().status(), 206);
        drop(leaving);
        // A file that becomes shorter meanwhile ends the response early, and nobody takes it for complete.
        let mut client = Client::connect(address);
        client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-399999,600000-999999\r\n\r\n");
        File::options()
            .write(true)
            .open(directory.public().join("large.bin"))
            .unwrap()
            .set_len(500_000)
            .unwrap();
        match client.try_answer() {
            Err(end) => assert_eq!(end, End::CutOff),
            Ok(answer) => assert!(matches!(answer.status(), 200 | 206)),
        }
        assert_eq!(server.stop(raw::FOREVER).killed, 0);
    });
}
