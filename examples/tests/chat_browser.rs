//! The page of the chat in a real browser: two people in headless Chromium, driven through chromedriver.

mod browser;
mod chat_server;

use browser::{Browser, Scheme, Screen};
use chat_server::Server;

const PHONE: Screen = Screen { width: 390, height: 844, phone: true };
const DESKTOP: Screen = Screen { width: 1280, height: 800, phone: false };

/// Opens the page in a new window, and joins.
fn join(browser: &Browser, server: &Server, name: &str, room: &str, query: &str) -> String {
    let window = browser.new_window();
    browser.open(&format!("http://{}/{query}", server.page));
    browser.type_into("#name", name);
    browser.run("document.getElementById('room').value = ''");
    browser.type_into("#room", room);
    browser.type_into("#room", browser::ENTER);
    browser.wait("document.getElementById('status').classList.contains('live')");
    window
}

fn say(browser: &Browser, text: &str) {
    browser.type_into("#text", text);
    browser.type_into("#text", browser::ENTER);
}

/// Everything that was said, as shown.
fn texts(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('.message')].map((it) => it.querySelector('.who').textContent + ': ' + it.querySelector('.text').textContent)";
    serde_json::from_value(browser.script(script)).unwrap()
}

fn wait_for_text(browser: &Browser, text: &str) {
    let text = serde_json::to_string(text).unwrap();
    browser.wait(&format!(
        "[...document.querySelectorAll('.message:not(.waiting) .text')].some((it) => it.textContent === {text})"
    ));
}

#[test]
fn two_people_talk_by_websocket_and_by_polling() {
    let Some(browser) = Browser::start() else { return };
    for query in ["", "?transport=poll"] {
        let server = Server::start(&["127.0.0.1:0"]);
        let alice = join(&browser, &server, "alice", "rust", query);
        let bob = join(&browser, &server, "bob", "rust", query);
        browser.wait("document.querySelectorAll('#members li').length === 2");
        let way = browser.script("return document.getElementById('status').textContent");
        assert_eq!(way, if query.is_empty() { "connected" } else { "connected, by polling" });
        // What would do something, if it were not only text.
        let nasty =
            "<img src=x onerror=alert(1)> & <script>alert(2)</script> \u{1f600}".replace('\u{1f600}', "");
        say(&browser, &nasty);
        wait_for_text(&browser, nasty.trim());
        browser.switch_to(&alice);
        wait_for_text(&browser, nasty.trim());
        assert_eq!(browser.script("return document.querySelectorAll('#log img, #log script').length"), 0);
        say(&browser, "hello, bob");
        browser.switch_to(&bob);
        wait_for_text(&browser, "hello, bob");
        assert_eq!(texts(&browser), [format!("bob: {}", nasty.trim()), "alice: hello, bob".into()]);
        // The keyboard is enough: from the field, Tab reaches the button.
        assert_eq!(browser.script("return document.activeElement.id"), "text");
    }
}

#[test]
fn a_reload_keeps_the_user_in_the_room() {
    let Some(browser) = Browser::start() else { return };
    let server = Server::start(&["127.0.0.1:0"]);
    let mut line = server.line_user("liner", "rust");
    join(&browser, &server, "alice", "rust", "");
    assert_eq!(line.next(), "* alice joined");
    say(&browser, "before");
    assert_eq!(line.next(), "<alice> before");
    for _ in 0..3 {
        browser.reload();
        browser.wait("document.getElementById('status').classList.contains('live')");
        wait_for_text(&browser, "before");
        assert_eq!(texts(&browser), ["alice: before"]);
    }
    say(&browser, "after");
    // Nothing about leaving and joining in between.
    assert_eq!(line.next(), "<alice> after");
    browser.click("#leave");
    assert_eq!(line.next(), "* alice left");
}

#[test]
fn a_server_that_was_started_again_is_joined_again_and_nothing_is_shown_twice() {
    let Some(browser) = Browser::start() else { return };
    for query in ["", "?transport=poll"] {
        let mut server = Server::start(&["127.0.0.1:0"]);
        join(&browser, &server, "alice", "rust", query);
        say(&browser, "before");
        wait_for_text(&browser, "before");
        server.stop();
        browser.wait("document.getElementById('status').classList.contains('lost')");
        say(&browser, "meanwhile");
        server.restart();
        wait_for_text(&browser, "meanwhile");
        let mut line = server.line_user("liner", "rust");
        assert_eq!(line.next(), "~ <alice> meanwhile");
        line.send("welcome back");
        wait_for_text(&browser, "welcome back");
        assert_eq!(texts(&browser), ["alice: before", "alice: meanwhile", "liner: welcome back"]);
    }
}

#[test]
fn the_page_fits_a_phone_and_a_desktop() {
    let Some(browser) = Browser::start() else { return };
    let server = Server::start(&["127.0.0.1:0"]);
    let alice = join(&browser, &server, "alice", "rust", "");
    join(&browser, &server, "bob", "rust", "");
    let talk = [(&alice, "Good morning! Is anybody here?"), (&alice, "I have a question about greenlets.")];
    for (window, text) in talk {
        browser.switch_to(window);
        say(&browser, text);
        wait_for_text(&browser, text);
    }
    let mut line = server.line_user("carol", "rust");
    line.send("Hello from a terminal: nc works as well.");
    line.send("Just ask. What is it about?");
    wait_for_text(&browser, "Just ask. What is it about?");
    say(
        &browser,
        "How many of them can wait at the same time? I would like one for each of my connections, and there are a lot of these.",
    );
    browser.wait("!document.querySelector('.waiting')");
    line.send("A million on one thread. A parked one takes less than five kilobytes.");
    wait_for_text(&browser, "A million on one thread. A parked one takes less than five kilobytes.");
    say(&browser, "That should do, thank you!");
    wait_for_text(&browser, "That should do, thank you!");
    for (screen, name) in [(PHONE, "phone"), (DESKTOP, "desktop")] {
        for (scheme, shade) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
            browser.emulate(screen, scheme);
            // Nothing sticks out, and what one types into is on the screen.
            let fits = "return document.documentElement.scrollWidth <= innerWidth && document.getElementById('text').getBoundingClientRect().bottom <= innerHeight";
            assert_eq!(browser.script(fits), true, "{name}");
            let small = "return [...document.querySelectorAll('button, input, summary')].filter((it) => it.offsetParent && it.getBoundingClientRect().height < 36).map((it) => it.id || it.textContent)";
            assert_eq!(browser.script(small), serde_json::json!([]), "{name}: too small for a finger");
            browser.screenshot(&format!("chat-{name}-{shade}"));
        }
    }
    browser.new_window();
    browser.open(&format!("http://{}/#rust", server.page));
    browser.wait("document.getElementById('room').value === 'rust'");
    for (screen, name) in [(PHONE, "phone"), (DESKTOP, "desktop")] {
        for (scheme, shade) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
            browser.emulate(screen, scheme);
            browser.screenshot(&format!("join-{name}-{shade}"));
        }
    }
    // Every field has a label, and what is wrong is said.
    let unlabelled =
        "return [...document.querySelectorAll('input')].filter((it) => !it.labels.length).length";
    assert_eq!(browser.script(unlabelled), 0);
    browser.type_into("#name", "two words");
    browser.type_into("#name", browser::ENTER);
    browser.wait("document.getElementById('join-error').textContent.includes('1 to 24 letters')");
    browser.run("document.getElementById('name').value = ''");
    browser.type_into("#name", "ALICE");
    browser.type_into("#name", browser::ENTER);
    browser.wait("document.getElementById('join-error').textContent.includes('is taken')");
}
