"""What becomes of a message's text: blank or unsafe is refused, markup ends inert."""

import html
import time
import unicodedata
from html.parser import HTMLParser

import nh3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatserver.errors import InvalidPayload
from chatserver.services.content import clean_media_url, clean_text

LIMIT = 5000


def clean(raw: str) -> str:
    return clean_text(raw, LIMIT)


def problem(raw: str, max_length: int = LIMIT) -> str:
    with pytest.raises(InvalidPayload) as caught:
        clean_text(raw, max_length)
    assert caught.value.fields is not None
    (message,) = caught.value.fields["content"]
    return message


class Markup(HTMLParser):
    """Collects whatever a parser takes for something other than text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("instruction")

    def unknown_decl(self, data: str) -> None:
        self.found.append("declaration")


def assert_inert(text: str) -> None:
    """Two parsers see text only, also where more of a page follows the text."""
    for page in (text, text + "<", text + ">", text + "' \">x", f"{text} autofocus>"):
        parser = Markup()
        parser.feed(page)
        parser.close()
        assert parser.found == []
        # nh3 parses as a browser does: if it sees no markup, all it does is escape.
        page = "." + page.replace("&", "+")
        assert html.unescape(nh3.clean(page, tags=set())) == page


# --- what stays as typed


@pytest.mark.parametrize(
    "text",
    [
        "a < b",
        "<3",
        "I <3 you >_<",
        "1 << 2",
        "x <= y >= z",
        "<- here ->",
        "AT&T",
        "&amp;",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&#60;img src=x onerror=alert(1)&#62;",
        "javascript:alert(1)",
        "[link](javascript:alert(1))",
        "me@example.org",
        "'; DROP TABLE messages; -- %_\\",
        "line one\n\n\tindented line",
        "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️",
        "مرحبا \u200fשלום",
        "नमस्ते",
        "2 ≮ 3",
    ],
)
def test_text_without_markup_stays_as_typed(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("x<y>z", "x< y>z"),
        ("if a<b && c>d", "if a< b && c>d"),
        ("for(i=0;i<n;i++) if (a>b)", "for(i=0;i< n;i++) if (a>b)"),
        ("<me@example.org>", "< me@example.org>"),
        ("see <https://example.org/?a=b>", "see < https://example.org/?a=b>"),
        ("List<String> names", "List< String> names"),
        ("<mailto:me@example.org> <tel:555>", "< mailto:me@example.org> < tel:555>"),
        ("x<y-1>z", "x< y-1>z"),
        ("broken </3", "broken < /3"),
        ("really <!> <?", "really < !> < ?"),
        ("<b and c>", "< b and c>"),
        ("a<b", "a< b"),
        ("<foo>bar</foo>", "< foo>bar< /foo>"),
    ],
)
def test_what_only_looks_like_a_tag_keeps_its_words_behind_a_space(typed: str, stored: str) -> None:
    assert clean(typed) == stored
    assert_inert(stored)


# --- what is removed


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("<b>bold</b> move", "bold move"),
        ("<B CLASS='x'>bold</B >", "bold"),
        ('<a href="javascript:alert(1)">here</a>', "here"),
        ('<a href="a>b" title=c>here</a>', "here"),
        ("hi<img src=x onerror=alert(1)>", "hi"),
        ('hi<img src=x onerror="alert(1)"/>', "hi"),
        ("<svg/onload=alert(1)>hi", "hi"),
        ("<math><mi//xlink:href='data:x'>hi", "hi"),
        ("<x onclick=alert(1)>hi", "hi"),
        ("<my-element>hi</my-element>", "hi"),
        ("<o:p>hi</o:p>", "hi"),
        ("<input disabled value=1>hi<video controls autoplay></video>", "hi"),
        ("<script>alert(1)</script>hi", "hi"),
        ("<SCRIPT src='//example.org/x'>a<b</ScRiPt\n>hi", "hi"),
        ("hi<style>p { color: red }</style>", "hi"),
        ("hi <script>one</script>and<script>two</script", "hi and"),
        ("hi<!-- <b>secret</b> --> there", "hi there"),
        ("<!doctype html><?xml version='1.0'?><?php echo 1; ?>hi", "hi"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
    ],
)
def test_markup_is_removed_and_its_text_kept(typed: str, stored: str) -> None:
    assert clean(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "<img src=x onerror=",
        "<img src=x onerror=alert(1) ",
        "<img src='x",
        "x<scr<script>ipt>alert(1)</scr</script>ipt>",
        "x<<b>script>alert(1)<<b>/script>",
        "<b && onclick=alert(1)>x",
        "<a\thref=x\nonclick=alert('a b')>x",
        "<script>alert(1)",
        "x<script",
        "x</script",
        "<!--x",
        "<!-->x<img src=x>-->",
        "<![CDATA[x<img src=x>]]>y",
        "<?x y>z",
        "</ x>y",
        "<b\x01>x<\x01b>",
        "<\u212aey>x",
        "<ſcript>x</ſcript>",
        "<textarea></textarea><img src=x>y",
        "<title>&lt;img src=x&gt;</title>y",
        '<b x="<b x=\'><img src=x>"y',
        "<a-" * 100,
        "<plaintext>x<img src=x>",
    ],
)
def test_no_trick_leaves_anything_that_a_parser_takes_for_markup(typed: str) -> None:
    stored = clean(typed)
    assert_inert(stored)
    assert clean(stored) == stored


@pytest.mark.parametrize(
    "typed", ["<b></b>", "<script>alert(1)</script>", "<!-- x -->", "<p>\n</p>"]
)
def test_nothing_but_markup_is_blank(typed: str) -> None:
    assert problem(typed) == "must not be blank"


def test_an_accent_that_loses_the_tag_before_it_is_composed() -> None:
    assert clean("caf<b>e</b>\u0301") == "café"


# --- what is refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        " \t\r\n\u2028",
        "\u00a0\u2003\u3000",
        "\u200b",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u202e\u2066\u2069",
        "\u200e\u200f\u061c",
        "\u3164",
        "\uffa0\u115f\u1160",
        "\u2800",
        "\ufe0f",
        "\U000e0100",
        "\U000e0041\U000e007f",
        "\u034f",
        "\u180e",
        "\x01\x7f\x9f",
        " \u200b\u3164\n\u2800 ",
    ],
)
def test_text_of_which_nothing_is_seen_is_refused(text: str) -> None:
    assert problem(text) == "must not be blank"


@pytest.mark.parametrize("text", ["a\0b", "\0", "<b\0>x", "a\ud800b", "\udfff", "\ud83d \ude00"])
def test_nul_and_lone_surrogates_are_refused(text: str) -> None:
    assert "NUL or lone surrogates" in problem(text)


def test_length_counts_code_points_after_normalisation() -> None:
    assert len(clean("👍" * LIMIT)) == LIMIT
    assert clean("e\u0301" * LIMIT) == "é" * LIMIT
    assert clean("\r\n".join("a" * 2500)) == "\n".join("a" * 2500)
    for too_long in ("a" * (LIMIT + 1), "e\u0301" * (LIMIT + 1), "\u0958" * (LIMIT // 2 + 1)):
        assert problem(too_long) == "must not be longer than 5000 characters"


def test_white_space_that_is_trimmed_does_not_count() -> None:
    assert clean("  " + "a" * LIMIT + "\n\n") == "a" * LIMIT


def test_length_is_checked_before_and_after_markup_is_removed() -> None:
    assert problem("<b>" + "a" * 8 + "</b>", 10).startswith("must not be longer")
    assert problem("a<b a<b a", 10).startswith("must not be longer")
    assert clean_text("a<b a<b", 9) == "a< b a< b"


def test_the_bound_is_the_argument() -> None:
    assert clean_text("abc", 3) == "abc"
    assert problem("abcd", 3) == "must not be longer than 3 characters"


def test_a_refusal_names_the_field_and_repeats_nothing_of_the_text() -> None:
    with pytest.raises(InvalidPayload) as caught:
        clean("hunter2 \0")
    assert caught.value.code == "invalid_payload"
    assert "hunter2" not in str(caught.value.to_dict())


# --- white space and control characters


def test_every_line_end_becomes_a_newline() -> None:
    assert clean("a\r\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h") == "a\nb\nc\nd\ne\nf\ng\nh"


def test_control_characters_but_tab_and_newline_are_dropped() -> None:
    assert clean("a\x01\x08\x1b[31mb\tc\x7fd\x9fe") == "a[31mb\tcde"


def test_white_space_around_is_trimmed_and_inside_is_kept() -> None:
    assert clean("\n  a  b\n\n  c \u00a0\n") == "a  b\n\n  c"


# --- cost


@pytest.mark.parametrize(
    "piece",
    ["<script>", "<script ", "<!--", "<b ", '<b x="', "<b x=", "<b/", "<a a a=", "</b ", "<?xml",
     "<a-", "<b disabled ", "--><!--", "<<b>b", "<b x=a=", "<b x='\""],
)  # fmt: skip
def test_hostile_markup_costs_milliseconds(piece: str) -> None:
    text = ("x" + piece * LIMIT)[:LIMIT]
    begun = time.thread_time()
    clean_text(text.strip() or "x", 3 * LIMIT)
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\u0334", "a\u0334"])
def test_hostile_runs_of_marks_cost_milliseconds(marks: str) -> None:
    begun = time.thread_time()
    if "a" in marks:
        assert clean("é" + marks * 2000)
    else:
        assert "marks" in problem("a" + marks * LIMIT)
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize(
    "text",
    [
        # NFC already: there is no letter that these compose with.
        "a" + "\u0334" * 31,
        "a" + "\u0e47" * 31,
        "a" + "\u20dd" * 31,
        "a" + "\u0301\u200d" * 16,
        "a" + "\u034f" * 31,
        # Two marks each, once they are normalised.
        "a" + "\u0344" * 16,
        # Neighbours only when the tag between them is gone.
        "a" + "\u0334" * 20 + "<b>" + "\u0334" * 20,
    ],
)
def test_marks_that_tower_over_other_lines_are_refused_in_every_form(text: str) -> None:
    assert "marks" in problem(text)


@pytest.mark.parametrize("text", ["Z\u0334" + "\u0335" * 29, "ที่นี่", "अनुच्छेद", "n̈", "👨‍👩‍👧‍👦" * 20])
def test_marks_of_languages_are_kept(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


# --- media


CDN = ("https://media.example/chat/", "https://files.example/")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://media.example/chat/a.jpg", "https://media.example/chat/a.jpg"),
        ("https://files.example/x/../a.jpg?v=1&w=2", "https://files.example/a.jpg?v=1&w=2"),
        ("HTTPS://Files.Example:443/%61.jpg", "https://files.example/a.jpg"),
    ],
)
def test_a_media_url_is_stored_as_browsers_ask_for_it(given: str, stored: str) -> None:
    assert clean_media_url(given, CDN) == stored
    assert clean_media_url(stored, CDN) == stored


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example/chat/../private/a.jpg",
        "https://media.example/chat/%2e%2E/private/a.jpg",
        "https://media.example/chat/.%2e/private",
        "https://media.example/chat/..\\private",
        "https://files.example\\@evil.example/",
        "https://files.example@evil.example/",
        "https://files.example.evil.example/",
        "https://files.example/\tx",
        "http://files.example/a",
        "//files.example/a",
        "javascript:alert(1)//https://files.example/",
        "https://[::1/",
        "",
    ],
)
def test_a_media_url_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        clean_media_url(url, CDN)
    assert list(caught.value.fields or ()) == ["media_url"]


# --- properties

# On a fresh machine the first example takes seconds: Hypothesis indexes Unicode.
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PIECES = st.sampled_from(
    ["<", ">", "</", "<!", "<!--", "-->", "<?", "?>", "<b", "<b>", "</b>", "<script>", "</script>",
     "<style", "</style>", "script>", "ipt>", "<scr", "<img src=x ", "onerror=", "=", '"', "'", "/",
     " ", "\n", "\r", "\t", "\0", "\x01", "\x7f", "\x85", "\u2028", "\ud800", "&lt;", "&#60;", "&",
     "e", "a", "\u0301", "\u0316", "\u0338", "\u0344", "\u0958", "\u212a", "ſ", "\u200b", "\u3164",
     "\U000e0041", "\ufeff", "👍", "disabled", "x-y", "<!doctype ", "<![CDATA[", "]]>"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=40).map("".join),
    st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=40).map("".join),
)


@ANY_SPEED
@given(TEXTS, st.integers(1, 120))
def test_any_text_is_refused_or_ends_short_normal_inert_and_seen(raw: str, max_length: int) -> None:
    try:
        stored = clean_text(raw, max_length)
    except InvalidPayload:
        return
    assert 1 <= len(stored) <= max_length
    assert unicodedata.is_normalized("NFC", stored)
    assert clean_text(stored, max_length) == stored
    assert not any(
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char not in "\n\t"
        for char in stored
    )
    assert stored == stored.strip()
    assert_inert(stored)


@ANY_SPEED
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200))
def test_text_without_a_less_than_sign_is_only_normalised_and_trimmed(raw: str) -> None:
    raw = raw.replace("<", "")
    try:
        stored = clean(raw)
    except InvalidPayload:
        return
    assert stored == unicodedata.normalize("NFC", raw).strip()
