"""What is said of a tracking server that does not do what it is asked to."""

import pytest

from components.errors import ActverseError, Unavailable
from components.registry.connection import check_answers, registry, shown_address
from tests.helpers.scripted_web import scripted_web
from tests.helpers.web import body


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://ann:pa55word@mlflow:5000/path?key=pa55word", "http://mlflow:5000/path"),
        ("http://ann:pa55word@[mlflow:5000", "[mlflow:5000"),
    ],
)
def test_an_address_is_shown_without_what_opens_it(uri: str, shown: str):
    assert shown_address(uri) == shown


@pytest.mark.parametrize(("port", "fault"), [("9", "refused"), ("[", "does not answer")])
def test_one_that_is_away_is_told_of_without_its_password(port: str, fault: str):
    with pytest.raises(Unavailable, match=fault) as caught:
        check_answers(f"http://ann:pa55word@127.0.0.1:{port}")
    assert "pa55word" not in str(caught.value)


def test_one_that_refuses_is_told_of_without_its_password():
    with scripted_web() as web:
        web.scripts["/health"] = [body(b"no", 401), body(b"OK")]
        uri = web.url("").replace("http://", "http://ann:pa55word@")
        with pytest.raises(Unavailable, match="status 401") as caught:
            check_answers(uri)
        assert "pa55word" not in str(caught.value)
        check_answers(uri)
        missing = "/api/2.0/mlflow/registered-models/get"
        web.scripts[missing] = [body(b'{"error_code": "PERMISSION_DENIED"}', 403)]
        with (
            pytest.raises(ActverseError, match="refused the model mice") as refused,
            registry(uri, "the model mice") as client,
        ):
            client.get_registered_model("mice")
        assert "pa55word" not in str(refused.value)
