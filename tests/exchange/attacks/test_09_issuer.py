"""Group 9: an issuer that is similar to a trusted issuer. The service never fetches its keys."""

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("iss", "code"),
    [
        (["https://eastus.oic.test/11111111/22222222/"], 90014),
        ({"https://eastus.oic.test/11111111/22222222/": 1}, 90014),
        (None, 90014),
        (True, 90014),
        ("", 90014),
        (5, 90014),
        ("https://eastus.oic.test/11111111/22222222", 700211),
        ("https://eastus.oic.test/11111111/22222222//", 700211),
        ("https://eastus.oic.test//11111111/22222222/", 700211),
        ("https://eastus.oic.test/x/../11111111/22222222/", 700211),
        ("https://eastus.oic.test/./11111111/22222222/", 700211),
        ("https://eastus.oic.test/%31%31111111/22222222/", 700211),
        ("https://EASTUS.oic.test/11111111/22222222/", 700211),
        ("HTTPS://eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test./11111111/22222222/", 700211),
        ("https://eastus.oic.test:443/11111111/22222222/", 700211),
        ("https://eastus.oic.test/11111111/22222222/#", 700211),
        ("https://eastus.oic.test/11111111/22222222/#x", 700211),
        ("https://eastus.oic.test/11111111/22222222/?a", 700211),
        ("https://eastus.oic.test/11111111/22222222/;a", 700211),
        ("https://x@eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test@evil.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test\\@evil.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test.evil.test/11111111/22222222/", 700211),
        ("https://evil.test/https://eastus.oic.test/11111111/22222222/", 700211),
        ("https://e\u0430stus.oic.test/11111111/22222222/", 700211),
        ("https://xn--estus-4ve.oic.test/11111111/22222222/", 700211),
        ("http://eastus.oic.test/11111111/22222222/", 700211),
        ("//eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test/", 700211),
        (" https://eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test/11111111/22222222/\n", 700211),
        ("https://eastus.oic.test/11111111/22222222/\0", 700211),
    ],
)
async def test_issuer_is_compared_byte_for_byte(shared: World, iss: object, code: int) -> None:
    before = len(shared.site.hits)
    assert (await shared.present(shared.mint(iss=iss))).code == code
    assert len(shared.site.hits) == before
