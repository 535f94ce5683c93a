r"""Takes secrets and personal data out of texts before they are stored, published or logged.

A text may hold another one: JSON in JSON, a URL in a query string. So quotes and slashes are known behind any number
of backslashes, and ``: / \ @ = & ?`` also as percent-encoded.
"""

import re

LONGEST_MESSAGE = 2000
LONGEST_INPUT = 16_384
"""Of a longer text only the beginning is looked at: a message that long tells nobody anything."""

MOST_PASSES = 8
"""Taking one secret out may uncover another; texts of people need two passes, to see that nothing is left."""

SECRET = "<secret>"  # noqa: S105 — what stands in a secret's place
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _or_encoded(character: str) -> str:
    """A character, or its code in a URL, or that code in a URL in a URL."""
    return rf"(?:{re.escape(character)}|%(?:25){{0,3}}{ord(character):02X})"


START = r"(?:(?<![\w.])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2})|(?<=%2525[0-9A-Fa-f]{2})|(?<=5C[nrt]))"
"""Where a word or a path begins; a line end or a space before it may be written in letters."""

COLON, AT, EQUALS, AND, ASKS = (_or_encoded(character) for character in ":@=&?")
SLASHES = r"(?:[\\/]|%(?:25){0,3}(?:2F|5C)){1,9}"
SPACE = r"(?:\s|\\{1,9}[nrt]|%(?:25){0,3}(?:20|09|0A|0D)|\+)"
QUOTE = r"""(?:\\{0,9}["'`]|%(?:25){0,3}(?:22|27|60))"""
SCHEME = rf"(?<![a-z])[a-z][a-z0-9+.-]{{0,30}}{COLON}(?:\\{{0,9}}/|%(?:25){{0,3}}2F){{2}}"
NOT_ENCODED_SLASH = r"%(?!(?:25){0,3}(?:2F|5C))"

KEYWORDS = (
    r"(?:passw(?:or)?d|pwd|passphrase|passcode|(?<![a-z])pass|secret(?:[_-]?(?:key|value))?|token"
    r"|(?:api|access|private|account|encryption|signing|subscription)(?:[_-]|%5F)?key(?:[_-]?id)?"
    r"|signature|credentials?)"
)
HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie"
IS = rf"(?:=>|:=|{EQUALS}|{COLON}|[\uff1d\uff1a])"
QUOTED = r"""(?P<quote>\\{0,9}["'`]).*?(?:(?<!\\)(?P=quote)|\Z)"""
BLOCK = r"[|>][+-]?[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\Z))+"
NEXT_FIELD = r"[\w.-]{1,40}[=:]"
BARE = (
    rf"(?:(?!%(?:25){{0,3}}26)[^\s&;,\"'`<>\\]|\\(?!\\{{0,8}}[\"'`])|[&;,](?!{NEXT_FIELD}|amp;)(?=[^\s\"'`]|<)"
    rf"|[\"'`](?=\w)|<(?![/\s]))+"
)
VALUE = rf"(?:{SECRET}|b?{QUOTED}|\{{[^{{}}\n]*\}}|{BLOCK}|{BARE})"
FIELD_NAME = re.compile(rf"[\w.-]{{0,40}}{KEYWORDS}|{HEADERS}", re.IGNORECASE)

NAME = rf"(?:[^\\/\s\"':;,()<>|*?%]|'(?=\w)|{NOT_ENCODED_SLASH})"
PERSON = rf"(?:{NAME}+(?: {NAME}+){{1,3}}(?={SLASHES})|{NAME}+)"
ABOVE_HOMES = (
    r"(?:/(?:var|export|usr|net|data|mnt/[a-z]|cygdrive/[a-z]|[a-z]|System/Volumes/Data|Volumes/[^/\n]{1,60}))?"
)
EMAIL_NAME = r"""(?:\\{0,9}"[^"\n@]{1,64}"|[\w.+-]{1,64}(?:'[\w.+-]{1,64})?)"""

KNOWN_FORMS = (
    # AWS, GitHub, GitLab, Slack, Google, Hugging Face, OpenAI, Stripe, npm, PyPI, SendGrid and ours; JWTs
    START + r"(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|xapp-[\w-]{10,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|hf_\w{20,}|sk-[\w-]{16,}|[rs]k_(?:live|test)_\w{10,}"
    r"|npm_\w{20,}|pypi-[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}|vcl_[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
)
ANY_CASE = re.IGNORECASE
WHOLE = re.IGNORECASE | re.DOTALL

RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL), SECRET),
    # user and password of a URL or DSN; a password may itself hold `@`, `/` and quotes
    (re.compile(rf"({SCHEME})[^\s/?#:@\"'<>]*:(?:[^\s\"'<>]|[\"'<>](?=\w)){{0,1000}}@", ANY_CASE), rf"\1{SECRET}@"),
    (re.compile(rf"({SCHEME})[^\s/?#@\"'<>]{{1,1000}}@", ANY_CASE), rf"\1{SECRET}@"),
    (re.compile(rf"({SCHEME})[^\s/?#@\"'<>&]{{1,1000}}?(%(?:25){{0,3}}40)", ANY_CASE), rf"\1{SECRET}\2"),
    (
        re.compile(
            rf"(authorization{QUOTE}?{SPACE}*{IS}{SPACE}*(?:b?{QUOTE})?)(?:digest{SPACE}[^\n]*|(?:[\w-]{{2,20}}{SPACE}+)?[^\s\"'`,;\\]+)",
            ANY_CASE,
        ),
        rf"\1{SECRET}",
    ),
    (re.compile(rf"(cookie\s*[:=]\s*)(?!{SECRET}|[\"'\s])[^\n\"']+", ANY_CASE), rf"\1{SECRET}"),
    (re.compile(START + rf"(bearer{SPACE}+)[\w.~+/=-]{{6,}}", ANY_CASE), rf"\1{SECRET}"),
    (
        re.compile(
            START + rf"((?i:basic){SPACE}+)(?=[A-Za-z0-9+/]*(?:[0-9=+/]|[a-z][A-Z]))[A-Za-z0-9+/]{{8,}}={{0,2}}"
        ),
        rf"\1{SECRET}",
    ),
    # a field, a pair in a list of pairs, an option of a command, an element
    (re.compile(rf"({KEYWORDS}{QUOTE}?{SPACE}*{IS}{SPACE}*){VALUE}", WHOLE), rf"\1{SECRET}"),
    (re.compile(rf"((?:{KEYWORDS}|{HEADERS}){QUOTE}{SPACE}*,{SPACE}*)b?{QUOTED}", WHOLE), rf"\1{SECRET}"),
    (re.compile(rf"((?<!\w)--?[\w-]{{0,40}}{KEYWORDS}[ \t]+)(?!-){VALUE}", WHOLE), rf"\1{SECRET}"),
    (
        re.compile(rf"(<(?!secret>)[\w.:-]{{0,40}}{KEYWORDS}(?:\s[^<>]{{0,200}})?>)(?!{SECRET})[^<]+", ANY_CASE),
        rf"\1{SECRET}",
    ),
    (
        re.compile(
            rf"((?:{ASKS}|{AND}|&amp;)(?:key|sig|auth|code|session|sas|x-[\w-]{{1,60}}){EQUALS})"
            rf"(?:(?!%(?:25){{0,3}}26)[^\s&#\"'<>])+",
            ANY_CASE,
        ),
        rf"\1{SECRET}",
    ),
    (re.compile(KNOWN_FORMS), SECRET),
    (re.compile(r"(hooks\.slack\.com/(?:services|workflows)/)[\w/-]+"), rf"\1{SECRET}"),
    # an AWS secret key: 40 characters of base64 with all kinds of them, so not a hash in hex
    (
        re.compile(
            r"(?<![\w/+=])(?=[^\s]{0,39}[a-z])(?=[^\s]{0,39}[G-Z])(?=[^\s]{0,39}[0-9])[A-Za-z0-9/+]{40}(?![\w/+=])"
        ),
        SECRET,
    ),
    (re.compile(rf"{EMAIL_NAME}{AT}[\w-]{{1,63}}(?:\.[\w-]{{1,63}})+", ANY_CASE), "<email>"),
    # home folders of Linux and macOS, of Windows, of anyone; then temporary folders
    (re.compile(rf"(\bfile:/{{2}}[\w.-]{{1,100}})/(?:homes?|Users)/{PERSON}"), r"\1/~"),
    (re.compile(rf"{START}{ABOVE_HOMES}/(?:homes?|Users)/{PERSON}"), "~"),
    (re.compile(rf"(?:\\{{1,9}}/|%(?:25){{0,3}}2F)(?:homes?|Users){SLASHES}{PERSON}", ANY_CASE), "~"),
    (re.compile(rf"{START}/root(?![\w.-])"), "~"),
    (
        re.compile(rf"[A-Z]{COLON}{SLASHES}(?:Users|Documents and Settings){SLASHES}{PERSON}", ANY_CASE),
        "~",
    ),
    (re.compile(rf"\\{{1,9}}(?:Users|Documents and Settings)\\{{1,9}}{PERSON}", ANY_CASE), r"\\~"),
    (re.compile(r"(?<![\w~])~[a-z_][\w.-]{0,63}(?=/)", ANY_CASE), "~"),
    (re.compile(START + r"(?:/private)?(?:/var/folders/[^/\s]+/[^/\s]+/T|/var/tmp|/tmp)(?![\w.-])"), "<tmp>"),
    (re.compile(rf"~{SLASHES}AppData{SLASHES}Local{SLASHES}Temp(?![\w.-])", ANY_CASE), "<tmp>"),
)


def sanitise(text: str, *, longest: int = LONGEST_MESSAGE) -> str:
    """The text without secrets, e-mail addresses, home and temporary folders, control characters, and not too long.

    A sanitised text stays as it is.
    """
    if len(text) > LONGEST_INPUT:
        # a word cut in two would not be known for a secret any more
        beginning = text[:LONGEST_INPUT].rsplit(None, 1)
        text = beginning[0] if len(beginning) > 1 else ""
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    for _ in range(MOST_PASSES):
        before, text = text, _replace(text, longest)
        if text == before:
            break
    return text


def _replace(text: str, longest: int) -> str:
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return FIELD_NAME.fullmatch(name) is not None
