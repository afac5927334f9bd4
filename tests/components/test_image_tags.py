"""Which tags name one version of an image."""

import pytest

from components.errors import BadInput
from components.image_tags import checked_image_tag
from components.settings import Settings


@pytest.mark.parametrize("tag", ["0.1.0", "v1", "_x", "2024-01-01_a.b", "a" * 128])
def test_tags_of_a_registry_are_taken(tag: str):
    assert checked_image_tag(tag) == tag
    assert Settings(image_tag=tag).light_image == f"actverse/light:{tag}"


@pytest.mark.parametrize(
    "tag", ["", "latest", "-a", ".a", "a" * 129, "a b", "a/b", "a:b", "a@sha256", "a\n", "ü"]
)
def test_others_are_refused_also_by_settings(tag: str):
    with pytest.raises(BadInput, match="image tag"):
        checked_image_tag(tag)
    with pytest.raises(BadInput, match="image tag"):
        Settings(image_tag=tag)
