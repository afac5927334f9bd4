"""Secrets that are stored: nothing of them shows, and only the right secret opens them."""

import pytest

from components.errors import Refused
from components.settings import Settings
from gateway.sealing import seal, unseal

ADDRESS = "mailtos://lab:p\u00e4ss@smtp.example.org"


def test_what_is_sealed_comes_back_and_shows_nothing(settings: Settings):
    sealed = seal(settings, ADDRESS)
    assert unseal(settings, sealed) == ADDRESS
    assert "smtp" not in sealed
    assert seal(settings, ADDRESS) != sealed


def test_another_secret_or_a_changed_text_does_not_open_it(settings: Settings):
    sealed = seal(settings, ADDRESS)
    other = Settings(home=settings.home, api_key_secret="another")
    with pytest.raises(Refused, match="ACTVERSE_API_KEY_SECRET"):
        unseal(other, sealed)
    changed = sealed[:-8] + ("A" if sealed[-8] != "A" else "B") + sealed[-7:]
    with pytest.raises(Refused):
        unseal(settings, changed)
    with pytest.raises(Refused):
        unseal(settings, "")


def test_nothing_is_sealed_without_a_secret(settings: Settings):
    with pytest.raises(Refused, match="ACTVERSE_API_KEY_SECRET"):
        seal(Settings(home=settings.home), ADDRESS)
