"""The HTML of the sign-in pages; they load nothing from other hosts. Pure.

Every value of a caller is escaped. Pages cannot be framed. The only script submits the response form and is
allowed by its hash. A form may only be sent to this service or to the redirect URI.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from podpass.exchange.sign_in.consent_rules import RequestedPermission
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
.choice{font-weight:400}
.fault{border-left:.3rem solid #b00020;padding:.4rem .8rem}
footer{max-width:26rem;margin:1rem auto;font-size:.85rem;color:GrayText}
"""
_SUBMIT = "document.forms[0].submit()"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_STYLE_HASH, _SUBMIT_HASH = _hash(_STYLE), _hash(_SUBMIT)


def headers(*, form_targets: Sequence[str] = (), submits: bool = False) -> Headers:
    """Return the headers of a page.

    `form_targets` are other origins to which a form may be sent: browsers apply `form-action` to the redirect
    after the form too.
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
    *,
    action: str,
    flow: str,
    client: str,
    description: str,
    target: str,
    name: str = "",
    fault: str = "",
) -> bytes:
    """Return the page with the form for user name and password.

    `flow` is the form's token; `client` is a name and `description` the client's kind and ID; `target` is the
    origin of the redirect URI, empty for a device code.
    """
    recipient = f"<br>The response goes to <code>{escape(target)}</code>" if target else ""
    warning = (
        "<p>You entered a code that a program shows. Continue only if you started that program "
        "yourself. If another person sent you the code, they get your access.</p>"
        if not target
        else ""
    )
    focus = ' autofocus aria-describedby="fault"' if not name else ""
    return _page(
        "Sign in",
        f"<p><strong>{escape(client)}</strong> asks you to sign in.</p>"
        f'<p class="about"><small>{escape(description)}.{recipient}</small></p>{warning}{_error_box(fault)}'
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


def consent(
    *,
    action: str,
    flow: str,
    client: str,
    description: str,
    target: str,
    user: str,
    permissions: Sequence[RequestedPermission],
    administers: bool,
) -> bytes:
    """Return the page on which a user accepts or declines the permissions of a client.

    `target` as in `sign_in`; `administers` offers consent for all users.
    """
    recipient = f"<br>The response goes to <code>{escape(target)}</code>" if target else ""
    for_all = (
        '<label class="choice"><input type="checkbox" name="organization" value="1"> '
        "Consent for all users of this directory</label>"
        if administers
        else ""
    )
    return _page(
        "Permissions requested",
        f"<p><strong>{escape(client)}</strong> wants to act for <strong>{escape(user)}</strong>.</p>"
        f'<p class="about"><small>{escape(description)}.{recipient}</small></p>'
        f"<dl>{''.join(map(_permission, permissions))}</dl>"
        "<p>Accept only if you trust the owner of this application. The consent stays valid until an "
        "administrator deletes it.</p>"
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="flow" value="{escape(flow)}">{for_all}'
        '<button type="submit" name="step" value="accept">Accept</button>'
        '<button type="submit" name="step" value="cancel" formnovalidate>Cancel</button>'
        "</form>",
    )


def _permission(requested: RequestedPermission) -> str:
    one = requested.permission
    note = " (for administrators)" if one.admin_only else ""
    about = f"{requested.resource}: {one.value}{note}"
    text = f"{escape(one.description)}<br>" if one.description else ""
    return f"<dt>{escape(one.title)}</dt><dd>{text}<code>{escape(about)}</code></dd>"


def device_code(*, action: str, flow: str, code: str = "", fault: str = "") -> bytes:
    """Return the page with the form for the user code of a device."""
    return _page(
        "Enter the code",
        f"<p>A program on this or another machine shows a code of nine letters and digits.</p>"
        f'{_error_box(fault)}<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="flow" value="{escape(flow)}">'
        '<label for="user_code">Code</label>'
        f'<input class="code" type="text" id="user_code" name="user_code" value="{escape(code)}" '
        'required autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="32" '
        'autofocus aria-describedby="fault">'
        '<button type="submit" name="step" value="code">Next</button></form>',
    )


def completed(title: str, text: str) -> bytes:
    """Return the page that ends a sign-in."""
    return _page(title, f"<p>{escape(text)}</p><p>You can close this window.</p>")


def error(text: str, resolution: str) -> bytes:
    """Return the page with an error and its resolution."""
    return _page("Sign-in failed", f"{_error_box(text)}<p>{escape(resolution)}.</p>")


def details(title: str, rows: Sequence[tuple[str, str]]) -> bytes:
    """Return a page with names and texts."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return _page(title, f"<dl>{body}</dl>")


def auto_submit(*, action: str, fields: str) -> bytes:
    """Return the page that submits the response to the client; `fields` are already escaped."""
    return _page(
        "Signed in",
        f'<form method="post" action="{escape(action)}">{fields}'
        '<p>Returning to the program.</p><button type="submit">Continue</button></form>'
        f"<script>{_SUBMIT}</script>",
    )


def _error_box(text: str) -> str:
    return f'<p class="fault" id="fault" role="alert">{escape(text)}</p>' if text else ""


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - podpass</title><style>{_STYLE}</style></head><body>"
        f"<main><h1>{escape(title)}</h1>{body}</main>"
        "<footer>This page belongs to a podpass instance, which emulates Microsoft Entra. It does not belong "
        "to Microsoft: do not enter the password of a real account.</footer></body></html>"
    ).encode()
