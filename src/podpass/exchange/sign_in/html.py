"""The pages on which people sign in: HTML of our own, nothing loaded from elsewhere. Pure.

Every value from outside is escaped where it is put in. No page may be framed, no script runs but the one
that sends an answer on, known by its hash, and a form leads to ourselves or where the answer belongs.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from podpass.http.server import Headers

_STYLE = """
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem;background:Canvas;color:CanvasText}
main{max-width:26rem;margin:auto;padding:1.5rem;border:1px solid GrayText;border-radius:.5rem}
h1{font-size:1.3rem;margin:.2rem 0 1rem}
label{display:block;margin-top:1rem;font-weight:600}
input[type=text],input[type=password]{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;margin-top:.2rem}
.code{letter-spacing:.2em;text-transform:uppercase}
button{font:inherit;padding:.5rem 1.2rem;margin:1.2rem .5rem 0 0}
.about{color:GrayText;overflow-wrap:anywhere}
dt{font-weight:600;margin-top:1rem}
dd{margin:0;overflow-wrap:anywhere}
.fault{border-left:.3rem solid #b00020;padding:.4rem .8rem}
footer{max-width:26rem;margin:1rem auto;font-size:.85rem;color:GrayText}
"""
_SUBMIT = "document.forms[0].submit()"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_STYLE_HASH, _SUBMIT_HASH = _hash(_STYLE), _hash(_SUBMIT)


def headers(*, form_targets: Sequence[str] = (), submits: bool = False) -> Headers:
    """Give the headers of a page.

    Shapes:  `form_targets` are origins besides our own that a form may end at: browsers apply the rule to
             the redirect after it too.
    """
    targets = " ".join(["'self'", *form_targets])
    script = f"'{_SUBMIT_HASH}'" if submits else "'none'"
    policy = (
        f"default-src 'none'; style-src '{_STYLE_HASH}'; script-src {script}; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", policy.encode()),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
    )


def sign_in(
    *, action: str, flow: str, client: str, about: str, target: str, name: str = "", fault: str = ""
) -> bytes:
    """Ask for user name and password.

    Shapes:  `flow` is the form's token; `client` a name and `about` what nobody chooses; `target` is where
             the answer goes, empty when the program that asks runs elsewhere.
    """
    goes = f"<br>The answer goes to <code>{escape(target)}</code>" if target else ""
    warning = (
        "<p>You typed a code that a program shows. Go on only if you started that program "
        "yourself: whoever sent you the code gets your access.</p>"
        if not target
        else ""
    )
    focus = ' autofocus aria-describedby="fault"' if not name else ""
    return _page(
        "Sign in",
        f"<p><strong>{escape(client)}</strong> asks you to sign in.</p>"
        f'<p class="about"><small>{escape(about)}.{goes}</small></p>{warning}{_fault(fault)}'
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="flow" value="{escape(flow)}">'
        '<label for="username">User name</label>'
        f'<input type="text" id="username" name="username" value="{escape(name)}" required '
        f'autocomplete="username" autocapitalize="none" spellcheck="false"{focus}>'
        '<label for="password">Password</label>'
        '<input type="password" id="password" name="password" autocomplete="current-password">'
        '<button type="submit" name="step" value="sign-in">Sign in</button>'
        '<button type="submit" name="step" value="cancel" formnovalidate>Cancel</button>'
        "</form>",
    )


def device_code(*, action: str, flow: str, code: str = "", fault: str = "") -> bytes:
    """Ask for the code that a program shows."""
    return _page(
        "Enter the code",
        f"<p>A program on this or another machine shows a code of nine letters and digits.</p>"
        f'{_fault(fault)}<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="flow" value="{escape(flow)}">'
        '<label for="user_code">Code</label>'
        f'<input class="code" type="text" id="user_code" name="user_code" value="{escape(code)}" '
        'required autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="32" '
        'autofocus aria-describedby="fault">'
        '<button type="submit" name="step" value="code">Next</button></form>',
    )


def done(title: str, text: str) -> bytes:
    """Say that nothing is left to do here."""
    return _page(title, f"<p>{escape(text)}</p><p>You can close this window.</p>")


def refused(text: str, cure: str) -> bytes:
    """Say why nobody can sign in here."""
    return _page("This does not work", f"{_fault(text)}<p>{escape(cure)}.</p>")


def told(title: str, rows: Sequence[tuple[str, str]]) -> bytes:
    """Tell several things about one, each under its name."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return _page(title, f"<dl>{body}</dl>")


def forward(*, action: str, fields: str) -> bytes:
    """Send an answer on in a form, by itself or by its button; `fields` are escaped already."""
    return _page(
        "Signed in",
        f'<form method="post" action="{escape(action)}">{fields}'
        '<p>Going back to the program.</p><button type="submit">Go on</button></form>'
        f"<script>{_SUBMIT}</script>",
    )


def _fault(text: str) -> str:
    return f'<p class="fault" id="fault" role="alert">{escape(text)}</p>' if text else ""


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - podpass</title><style>{_STYLE}</style></head><body>"
        f"<main><h1>{escape(title)}</h1>{body}</main>"
        "<footer>This is the page of a podpass instance, which stands in for Microsoft Entra. It is not "
        "Microsoft's: do not type a password of a real account here.</footer></body></html>"
    ).encode()
