"""Group 10: a subject that is similar to a credential's subject."""

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("sub", "code"),
    [
        ("system:serviceaccount:default:WEB", 7002138),
        ("System:ServiceAccount:default:web", 7002138),
        ("system:serviceaccount:default:web ", 700213),
        (" system:serviceaccount:default:web", 700213),
        ("system:serviceaccount:default:web\n", 700213),
        ("system:serviceaccount: default:web", 700213),
        ("system:serviceaccount:default:w\u0435b", 700213),
        ("\u017fystem:serviceaccount:default:web", 700213),
        ("system:serviceaccount:default:\uff57eb", 700213),
        ("system:serviceaccount:default:we\u0308b", 700213),
        ("system:serviceaccount:default:web\u200b", 700213),
        ("system:serviceaccount:default:web\u202e", 700213),
        ("system:serviceaccount:*:web", 700213),
        ("system:serviceaccount:default:*", 700213),
        ("system:serviceaccount:default:we?", 700213),
        ("system:serviceaccount:default:.*", 700213),
        ("system:serviceaccount:default:%", 700213),
        ("*", 700213),
        ("system:serviceaccount:default:web2", 700213),
        ("system:serviceaccount:default:we", 700213),
        ("system:serviceaccount:x/../default:web", 700213),
        ("system:serviceaccount:default::web", 700213),
        ("default:web", 700213),
        ("", 90014),
        (None, 90014),
        (["system:serviceaccount:default:web"], 90014),
        (5, 90014),
    ],
)
async def test_subject_is_compared_byte_for_byte(shared: World, sub: object, code: int) -> None:
    answer = await shared.present(shared.mint(sub=sub))
    assert answer.code == code
    assert answer.status in {400, 401}
