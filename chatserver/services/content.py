"""Rules of stored messages: the only check of `content` and `media_url`.

Stored text is plain text. It is inert even where a page forgets to escape it: no
`<` in it is followed by a letter, `/`, `!` or `?`, which is the only way in which
an HTML parser starts a tag, a comment or a declaration. Two steps get it there:

1. What is clearly markup is removed: known elements, anything with an attribute,
   comments, doctypes, and `<script>` and `<style>` with all that is in them.
2. Any `<` that could still start a tag gets a space behind it, so that `x<y>z`
   and `if a<b && c>d` keep their words (`x< y>z`); `a < b`, `<3` and `1 << 2`
   stay as they are.

Safety rests on the second step alone; the first only decides what is worth
keeping. Entities are never decoded: `&lt;b&gt;` typed by a person stays these
nine characters.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from yarl import URL

from chatserver.errors import InvalidPayload

# Composing shortens text at most fourfold; what is longer than that is refused unread.
_NFC_SHRINKS_BY = 4
# The limit of Unicode's stream-safe text (UAX 15). No language comes near it, a longer
# run covers the lines above and below, and sorting one takes quadratic time. A joiner
# between marks does not end the run: it shows nothing and starts no new character.
_MAX_MARKS_IN_A_ROW = 30
# Where Unicode has its marks; the rest of it need not be looked at for each import.
_MARK_BLOCKS = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))


def _marks() -> Iterable[str]:
    for block in _MARK_BLOCKS:
        yield from (char for char in map(chr, block) if unicodedata.category(char) in ("Mn", "Me"))


_STACKED_MARKS = re.compile(rf"[{''.join(_marks())}\u200c\u200d]{{{_MAX_MARKS_IN_A_ROW + 1}}}")

_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_NEWLINE = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x9f]")

# White space, and what Unicode calls default-ignorable or a font shows as nothing.
_VISIBLE = re.compile(
    r"[^\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    r"\U00013430-\U0001343f\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_STARTS_TAG = re.compile(r"<(?=[A-Za-z/!?])")

# Dropped with all that is between them. Without an end only the tag itself goes.
_BLOCKS = tuple(
    (re.compile(start, re.IGNORECASE | re.ASCII), re.compile(end, re.IGNORECASE | re.ASCII))
    for start, end in (
        (r"<script(?=[\s/>])[^<>]*>", r"</script(?=[\s/>]|\Z)[^<>]*>?"),
        (r"<style(?=[\s/>])[^<>]*>", r"</style(?=[\s/>]|\Z)[^<>]*>?"),
        (r"<!(?=--)", r"--!?>"),
    )
)

_ELEMENTS = """
    a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big
    blink blockquote body br button canvas caption center cite code col colgroup data datalist dd
    del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame
    frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins isindex kbd
    keygen label legend li link listing main map mark marquee math menu meta meter nav nobr noembed
    noframes noscript object ol optgroup option output p param picture plaintext portal pre
    progress q rb rp rt rtc ruby s samp script search section select slot small source span strike
    strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr
    track tt u ul var video wbr xmp
"""
_CUSTOM = r"[a-z][a-z0-9]+-[a-z][a-z0-9_-]*+|[a-z][0-9]?:[a-z0-9]++"  # my-element, o:p
_NAME = rf"(?:{'|'.join(_ELEMENTS.split())}|{_CUSTOM})(?![a-z0-9:_-])"
_FLAG = (
    r"(?:allowfullscreen|async|autofocus|autoplay|checked|controls|defer|disabled|hidden|inert"
    r"|ismap|loop|multiple|muted|nomodule|novalidate|open|playsinline|readonly|required|reversed"
    r"|selected)(?![^\s/>])"
)
# Every repetition is possessive or bounded by the next "<": the time is linear.
_MARKUP = re.compile(
    rf"""
      < {_NAME} (?: [\s/]++ {_FLAG} )*+ [\s/]*+ >                    # <b>, <br/>, <input disabled>
    | < [a-z][a-z0-9:_-]*+ (?: [\s/]++ {_FLAG} )*+
        [\s/]++ [a-z_:@*.\#][\w:.@-]*+ \s*+ =                  # <anything name=
        (?: "[^"]*+" | '[^']*+' | [^"'<>] )*+ >                      #   value …>
    | </ (?P<closed> {_NAME} ) (?: [\s/] [^<>]*+ )? >                # </b>
    | <!doctype (?=[\s>]) [^<>]*+ >
    | <\?(?: xml | php | = ) (?: [^<>?] | \?(?!>) )*+ \?>
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_ENDS_LINE = re.compile(
    r"</(?:p|div|li|tr|h[1-6]|blockquote|pre)(?=[\s/>])|<br(?=[\s/>])", re.IGNORECASE | re.ASCII
)


def clean_text(raw: str, max_length: int) -> str:
    """`raw` as it may be stored: inert plain text, NFC, 1 to `max_length` code points.

    Every kind of line end becomes a newline and other control characters but the tab
    are dropped; white space around the text is trimmed, inside it is kept. The length
    is counted after normalisation, both before and after markup is removed. Cleaning
    the result again changes nothing.

    Raises InvalidPayload with `fields["content"]` for NUL, lone surrogates, more than
    30 marks in a row, text that is too long, and text of which nothing would be seen.
    """
    text = raw if raw.isprintable() else _without_controls(raw)
    text = _normalised(text, max_length).strip()
    if "<" in text and _STARTS_TAG.search(text):
        _check_length(text, max_length)
        text = _without_markup(text).strip()
    _check_length(text, max_length)
    if not _VISIBLE.search(text):
        raise _refused("must not be blank")
    return text


def clean_media_url(raw: str, prefixes: tuple[str, ...]) -> str:
    """`raw` as it may be stored: normalised, and below one of `prefixes`.

    Normalised is what a browser asks for in the end: the host in lower case, `.` and
    `..` resolved, however they are encoded. Compared before that, a URL could begin
    with the prefix and lead elsewhere.

    Raises InvalidPayload with `fields["media_url"]`.
    """
    url = _normalised_url(raw)
    if url is None or not url.startswith(tuple(map(_normalised_prefix, prefixes))):
        raise InvalidPayload(fields={"media_url": ["Not a place for media of this server."]})
    return url


def _normalised_url(raw: str) -> str | None:
    # Browsers read "\\" as "/" and skip control characters; RFC 3986 does neither.
    if not raw.isprintable() or "\\" in raw:
        return None
    try:
        return str(URL(raw))
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _normalised_prefix(prefix: str) -> str:
    return str(URL(prefix))


def _refused(problem: str) -> InvalidPayload:
    return InvalidPayload(fields={"content": [problem]})


def _check_length(text: str, max_length: int) -> None:
    if len(text) > max_length:
        raise _refused(f"must not be longer than {max_length} characters")


def _without_controls(raw: str) -> str:
    if _NOT_TEXT.search(raw):
        raise _refused("must not contain NUL or lone surrogates")
    return _CONTROL.sub("", _NEWLINE.sub("\n", raw))


def _normalised(text: str, max_length: int) -> str:
    if text.isascii():
        return text
    # Of NFC text, too: marks that nothing can be composed with are stacked in either form.
    _check_marks(text)
    if unicodedata.is_normalized("NFC", text):
        return text
    _check_length(text, max_length * _NFC_SHRINKS_BY)
    normal = unicodedata.normalize("NFC", text)
    _check_marks(normal)  # some marks become two
    return normal


def _check_marks(text: str) -> None:
    if _STACKED_MARKS.search(text):
        raise _refused("must not stack so many marks on one character")


def _without_markup(text: str) -> str:
    for start, end in _BLOCKS:
        text = _without_blocks(text, start, end)
    text = _MARKUP.sub(_line_end, text)
    # A letter and an accent may have become neighbours, and so may marks.
    _check_marks(text)
    text = unicodedata.normalize("NFC", text)
    return _STARTS_TAG.sub("< ", text)


def _without_blocks(text: str, start: re.Pattern[str], end: re.Pattern[str]) -> str:
    kept = []
    position = 0
    # Once no end is found there is none for any later start either, so this is linear.
    while (opening := start.search(text, position)) and (
        closing := end.search(text, opening.end())
    ):
        kept.append(text[position : opening.start()])
        position = closing.end()
    return "".join((*kept, text[position:]))


def _line_end(markup: re.Match[str]) -> str:
    """A newline for what ends a line on a page, so that words do not run together."""
    return "\n" if _ENDS_LINE.match(markup[0]) else ""
